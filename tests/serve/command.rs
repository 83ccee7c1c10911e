//! `ctx serve` from outside.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

/// A child that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ctx(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctx"));
    command.env_clear().current_dir(folder.path()).arg("serve").args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The first line that the command prints.
fn announced(child: &mut Running) -> String {
    let mut line = String::new();
    BufReader::new(child.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[tokio::test]
async fn ctx_serve_makes_a_store_prints_its_address_and_ends_by_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--account", "acme", "--user", "alice"];
    let mut child = Running(ctx(&folder, &arguments).spawn().unwrap());
    let line = announced(&mut child);
    let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
    let url = format!("{address}/api/v1/nodes?uri=ctx://acme/users/alice/memories/likes/tea");
    let written =
        reqwest::Client::new().put(&url).header("content-type", "application/json").body(r#"{"content":"Green"}"#);
    assert_eq!(written.send().await.unwrap().status(), 201);
    assert!(reqwest::get(&url).await.unwrap().text().await.unwrap().contains("Green"));
    let kill = Command::new("kill").arg(child.0.id().to_string()).status().unwrap();
    assert!(kill.success());
    let ended = child.0.wait().unwrap();
    let mut told = String::new();
    child.0.stderr.as_mut().unwrap().read_to_string(&mut told).unwrap();
    assert!(ended.success() && told.is_empty(), "{ended}: {told}");
    assert!(folder.path().join("ctx.db").exists());
}

#[tokio::test]
async fn ctx_serve_asks_for_the_tokens_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokens"), "alice-0123456789 acme user:alice\n").unwrap();
    let mut child =
        Running(ctx(&folder, &["--listen", "127.0.0.1:0", "--tokens", "tokens", "--json"]).spawn().unwrap());
    let line: serde_json::Value = serde_json::from_str(&announced(&mut child)).unwrap();
    let url = format!("{}/api/v1/status", line["listening"].as_str().unwrap());
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 401);
    let known = reqwest::Client::new().get(&url).header("authorization", "Bearer alice-0123456789");
    assert_eq!(known.send().await.unwrap().status(), 200);
}

#[test]
fn ctx_serve_does_not_open_a_store_to_the_network_without_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let refused = ctx(&folder, &["--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.starts_with("ctx: 0.0.0.0:0 can be reached from other machines: ") && told.contains("--tokens"),
        "{told}"
    );
    std::fs::write(folder.path().join("tokens"), "short acme user:alice\n").unwrap();
    let refused = ctx(&folder, &["--listen", "127.0.0.1:0", "--tokens", "tokens"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(!String::from_utf8(refused.stderr).unwrap().contains("short"));
}
