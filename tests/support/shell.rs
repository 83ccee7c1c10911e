//! The command `ctx` as people and scripts call it: in a folder of its own, on a database of its own.

#![allow(dead_code, reason = "each test file uses a part")]

use std::process::{Command, Output};

use sea_orm::{ConnectionTrait, Database};
use sea_session::testing::cluster::{TestDatabase, fresh_database};
use serde_json::Value;

/// A folder in which `ctx` runs, and its database.
pub struct Shell {
    pub folder: tempfile::TempDir,
    database: String,
    in_environment: bool,
    server: Option<TestDatabase>,
}

impl Shell {
    /// On a database that is named like this, whether there is one or not.
    pub fn on(database: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, database: database.into(), in_environment: false, server: None }
    }

    pub fn sqlite() -> Self {
        Self::on("ctx.db")
    }

    pub async fn postgres() -> Self {
        let server = fresh_database().await.unwrap_or_else(|e| panic!("{e}"));
        let url = server.url();
        Self { server: Some(server), ..Self::on(url) }
    }

    /// One on each backend.
    pub async fn each() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    /// Names the database in the environment, as a service's is, and not on the command line.
    pub fn in_environment(mut self) -> Self {
        self.in_environment = true;
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctx"));
        command.current_dir(self.folder.path());
        let embedder = ["CTX_EMBEDDER", "CTX_EMBEDDER_MODEL", "CTX_EMBEDDER_DIMENSIONS", "CTX_EMBEDDER_KEY"];
        for variable in ["CTX_DATABASE", "CTX_ACCOUNT", "CTX_INDEX_SECRET"].into_iter().chain(embedder) {
            command.env_remove(variable);
        }
        if self.in_environment {
            command.env("CTX_DATABASE", &self.database);
        } else {
            command.args(["--database", &self.database]);
        }
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("ctx runs")
    }

    /// Standard output of a command that succeeds.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Exit code and the one sentence of a command that fails.
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(!output.status.success(), "{arguments:?} must fail");
        assert!(output.stdout.is_empty(), "nothing on standard output");
        assert_eq!(message.lines().count(), 1, "one sentence: {message}");
        (output.status.code().unwrap_or_default(), message)
    }

    /// Behind the store's back.
    pub async fn sql(&self, sql: &str) {
        let url = match self.server {
            Some(_) => self.database.clone(),
            None => format!("sqlite://{}", self.folder.path().join(&self.database).display()),
        };
        let db = Database::connect(url).await.expect("the database");
        db.execute_unprepared(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        db.close().await.expect("close");
    }

    pub fn found(&self, word: &str) -> usize {
        self.json(&["search", word, "--account", "acme"])["items"].as_array().expect("items").len()
    }
}
