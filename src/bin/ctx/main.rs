//! `ctx`: the context store on the command line.
//!
//! What it is for: every operation of the store, with tables for people and JSON for programs. What it must never do:
//! anything that the library cannot; print more than one sentence for an error.

mod args;
mod command;
mod outbox;
mod output;
#[cfg(feature = "serve")]
mod serve;

use std::{error::Error as _, io::Write as _, process::ExitCode};

use clap::{
    Parser,
    error::{ContextKind, ErrorKind},
};
use context_store::{StoreError, UriError, printable, printable_line};

use args::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return misused(&e),
    };
    let json = cli.common.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(json, "io", &e.to_string(), 1),
    };
    match runtime.block_on(command::run(cli)) {
        Ok((text, code)) => print(&text, code),
        Err(e) => fail(json, e.code(), &printable_line(&e.to_string()), exit_code(&e)),
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

/// What the parser refuses. A value of a wrong form is one sentence, as every other error is, which says where it stands;
/// of the value it holds what the value's own parser tells, so that no password of an address is shown.
fn misused(e: &clap::Error) -> ExitCode {
    if !e.use_stderr() {
        // Help and version: in colour where that is seen. Nobody is told where standard output is closed.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    // Nothing is parsed that could tell.
    let json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    let whole = e.render().to_string();
    match (e.kind(), e.source(), e.get(ContextKind::InvalidArg)) {
        (ErrorKind::ValueValidation, Some(source), Some(place)) => {
            let code = if source.is::<UriError>() { "invalid_uri" } else { "invalid_argument" };
            fail(json, code, &printable_line(&format!("{place}: {source}")), 2)
        }
        _ if json => {
            let what = whole.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
            fail(json, "usage", &printable_line(&what.split_whitespace().collect::<Vec<_>>().join(" ")), 2)
        }
        _ => {
            // Where standard error is closed there is nobody to tell.
            let _ = write!(std::io::stderr(), "{}", printable(&whole));
            ExitCode::from(2)
        }
    }
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
