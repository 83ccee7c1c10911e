//! What a run did, and what it would send: for people and for scripts.
//!
//! It never asks a database.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{direction::Direction, record::Recording};

/// One migration that was applied or taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Which way it went.
    pub direction: Direction,
    /// How long it took, waiting for locks included.
    #[serde(serialize_with = "as_millis")]
    pub took: Duration,
}

/// What a run did, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The steps.
    pub steps: Vec<Step>,
}

/// The SQL of one migration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Which way.
    pub direction: Direction,
    /// Whether it runs in a transaction.
    pub transaction: bool,
    /// What it sends, or why that is not known.
    pub recording: Result<Recording, String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- {} ({})", self.name, self.direction)?;
        let recording = match &self.recording {
            Ok(recording) => recording,
            Err(reason) => return writeln!(f, "-- not known without running it: {reason}"),
        };
        if self.transaction {
            writeln!(f, "BEGIN;")?;
        }
        for sent in recording.sent() {
            writeln!(f, "{};", sent.to_string().trim_end_matches(';'))?;
        }
        if self.transaction {
            writeln!(f, "COMMIT;")?;
        }
        Ok(())
    }
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
