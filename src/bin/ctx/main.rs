//! `ctx`: the context store on the command line.
//!
//! What it is for: every operation of the store, with tables for people and JSON for programs. What it must never do:
//! anything that the library cannot; print more than one sentence for an error.

mod args;
mod command;
mod outbox;
mod output;

use std::{io::Write as _, process::ExitCode};

use clap::Parser;
use context_store::StoreError;

use args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.common.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(json, "io", &e.to_string(), 1),
    };
    match runtime.block_on(command::run(cli)) {
        Ok((text, code)) => print(&text, code),
        Err(e) => fail(json, e.code(), &context_store::printable_line(&e.to_string()), exit_code(&e)),
    }
}

/// A reader that has seen enough (`ctx tree … | head`) is no error.
fn print(text: &str, code: u8) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::from(code),
    }
}

fn fail(json: bool, code: &str, message: &str, exit: u8) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    let _ = match json {
        true => writeln!(std::io::stderr(), "{}", serde_json::json!({ "error": { "code": code, "message": message } })),
        false => writeln!(std::io::stderr(), "ctx: {message}"),
    };
    ExitCode::from(exit)
}

fn exit_code(e: &StoreError) -> u8 {
    match e.code() {
        "invalid_uri" | "not_a_node" | "invalid_argument" | "invalid_cursor" => 2,
        "not_found" | "no_such_version" | "no_such_edge" => 3,
        "denied" => 4,
        "not_migrated" => 7,
        "version_conflict" | "already_exists" | "invalid_move" | "not_empty" | "archived" => 5,
        _ => 1,
    }
}
