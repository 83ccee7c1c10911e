//! Migrations made for the tests, and programs that run them.

pub mod foreign_bakery;
pub mod foreign_forum;
pub mod scripted;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sea_session_migration::Options;

use crate::common::connect;
use scripted::Script;

/// This test program once more, as a child that runs the scripted migrations named: the test that it is told to run
/// begins with [`child_runs`].
pub fn child(script: Script, url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "failures::g3_a_runner_that_is_killed_leaves_nothing_and_the_next_one_waits_for_what_is_left_of_it",
            "--nocapture",
        ])
        .env("CHILD_SCRIPT", script.to_string())
        .env("CHILD_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the script that this process was started for, if it was.
pub async fn child_runs() -> bool {
    let (Ok(script), Ok(url)) = (std::env::var("CHILD_SCRIPT"), std::env::var("CHILD_URL")) else { return false };
    let (script, db) = (script.parse().unwrap(), connect(&url).await);
    scripted::run_with(script, db, Options::default(), |event| println!("{event}")).await.unwrap();
    true
}

/// Blocks until the child says that it begins this migration.
pub fn until_child_starts(child: &mut Child, migration: &str) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(&format!("{migration} up …")));
    assert!(found, "the child ended before it began {migration}");
}

pub async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !done().await {
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
