//! What tests of applications, and this workspace's own, need: databases that come and go, and assertions on what was sent.

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub mod cluster;
mod session_test;

pub use session_test::{Backend, TestOutcome, create_table, run_test, run_test_on};

use crate::{
    connection::{Message, db::Db},
    error::Error,
    stats::Recorder,
    unit::session::Session,
};

/// Sends SQL through a session past the check of rule D11, to see what the session makes of a transaction that is not as it left
/// it: a savepoint that is gone, or the whole transaction.
///
/// # Errors
/// As any statement of the session.
///
/// # Cancel safety
/// As any statement: dropped half-way it flags its block (C1).
pub async fn send_unchecked(s: &mut Session, sql: &str) -> Result<(), Error> {
    s.core().statement(Message::Unprepared(sql)).await.map(|_| ())
}

/// What the backend of a database cannot do, by the name of the capability, and what the error says then: what it is, and why not
/// or what to do instead (Y1).
pub fn refusals(db: &Db) -> Vec<(&'static str, &'static str)> {
    db.dialect().refusals()
}

/// Asserts that exactly `expected` messages were recorded, and returns them; the failure lists what was sent (L3).
///
/// # Panics
/// If the number differs.
#[track_caller]
pub fn assert_statements(expected: usize, recorder: &Recorder) -> Vec<String> {
    let sent = recorder.take();
    assert_eq!(
        sent.len(),
        expected,
        "expected {expected} messages, {} were sent:\n  {}",
        sent.len(),
        sent.join("\n  ")
    );
    sent
}
