//! Where each migration stands and what is wrong with it (G4): what the program has beside what the database was told.
//!
//! It compares; it never refuses, and never writes.

use std::fmt;

use sea_orm_migration::MigrationTrait;
use serde::Serialize;

use crate::{ledger::Entry, record::Recorded, state::State};

/// One migration as [`Runner::status`](crate::Runner::status) sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether it is applied.
    pub state: State,
    /// When, in seconds since 1970, as SeaORM keeps it.
    pub applied_at: Option<i64>,
    /// How long it took, in milliseconds; not known of what SeaORM's own tool applied.
    pub duration_ms: Option<u64>,
    /// What is wrong with it, if anything (G4).
    pub findings: Vec<Finding>,
}

/// What [`Runner::verify`](crate::Runner::verify) finds (G4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// It sends something else than when it was applied.
    Changed {
        /// The checksum of then.
        applied: String,
        /// The checksum of now.
        now: String,
    },
    /// It is applied, and this program does not know it.
    Missing,
    /// It is pending, and a later one is applied: it was added out of order.
    OutOfOrder {
        /// The later one.
        after: String,
    },
    /// It does not run in a transaction, and stopped on its way.
    Interrupted {
        /// How many of its statements were done.
        done: u64,
    },
    /// Its checksum cannot be known.
    NotRecorded {
        /// Why.
        reason: String,
    },
}

impl Finding {
    /// Whether it must be settled before anything is migrated.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Missing)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { applied, now } => {
                write!(f, "changed since it was applied ({} then, {} now)", &applied[..applied.len().min(8)], &now[..8])
            }
            Self::Missing => f.write_str("applied, but not known to this program"),
            Self::OutOfOrder { after } => write!(f, "older than `{after}`, which is applied"),
            Self::Interrupted { done } => write!(f, "interrupted after {done} statements; run it again to resume"),
            Self::NotRecorded { reason } => write!(f, "no checksum: {reason}"),
        }
    }
}

/// The order of all the runner knows: the program's migrations, then what only the database has.
pub(crate) struct Known {
    pub(crate) migrations: Vec<Box<dyn MigrationTrait>>,
    pub(crate) recorded: Vec<Recorded>,
    pub(crate) entries: Vec<Entry>,
}

impl Known {
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.entry(name).map_or(State::Pending, |entry| entry.state)
    }

    pub(crate) fn recorded(&self, name: &str) -> Option<&Recorded> {
        self.recorded.iter().find(|recorded| recorded.name == name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.migrations.iter().map(|migration| migration.name().to_owned()).collect()
    }

    pub(crate) fn findings(&self, name: &str) -> Vec<Finding> {
        let names = self.names();
        let entry = self.entry(name);
        let Some(at) = names.iter().position(|known| known == name) else { return vec![Finding::Missing] };
        let mut findings = Vec::new();
        if let Some(entry) = entry
            && matches!(entry.state, State::Applying | State::Reverting)
        {
            findings.push(Finding::Interrupted { done: entry.statements_done });
        }
        if self.state(name) == State::Pending
            && let Some(after) = names[at + 1..].iter().find(|later| self.state(later) == State::Applied)
        {
            findings.push(Finding::OutOfOrder { after: after.clone() });
        }
        match self.recorded(name).map(|recorded| &recorded.recording) {
            Some(Ok(recording)) => {
                let now = recording.checksum();
                if let Some(applied) = entry.and_then(|entry| entry.checksum.clone())
                    && applied != now
                    && self.state(name) == State::Applied
                {
                    findings.push(Finding::Changed { applied, now });
                }
            }
            Some(Err(reason)) => findings.push(Finding::NotRecorded { reason: reason.clone() }),
            None => {}
        }
        findings
    }
}
