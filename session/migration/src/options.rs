//! What an operator may want otherwise, and what the runner tells while it works.

use std::{fmt, time::Duration};

use crate::{direction::Direction, holder::Holder, shown::shortened};

/// Options of a [`Runner`](crate::Runner).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long to wait for another runner (G2).
    pub wait: Duration,
    /// How long a statement of a migration may wait for a lock, and so hold up the service behind it (G7).
    pub lock_timeout: Duration,
    /// How often a migration is tried whose lock could not be had in that time.
    pub lock_attempts: u32,
    /// How long one statement may take. None: as long as it takes (building an index may take hours).
    pub statement_timeout: Option<Duration>,
    /// Go on although an applied migration has changed.
    pub allow_changed: bool,
    /// Go on although migrations are applied that this program does not know.
    pub allow_missing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(300),
            lock_timeout: Duration::from_secs(2),
            lock_attempts: 10,
            statement_timeout: None,
            allow_changed: false,
            allow_missing: false,
        }
    }
}

impl Options {
    /// What the runner is called where others see it: in `pg_stat_activity`, in the lock.
    pub(crate) fn runner_name(&self) -> String {
        let host = std::env::var("HOSTNAME")
            .ok()
            .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
            .map_or_else(|| "this host".to_owned(), |host| host.trim().chars().take(40).collect());
        format!("migrate {host}:{}", std::process::id())
    }

    /// Longer after each attempt, so that those who queued behind the last one get their turn.
    pub(crate) fn pause_before(&self, attempt: u32) -> Duration {
        (Duration::from_millis(100) * attempt.min(20)).min(Duration::from_secs(2))
    }
}

/// What happens while migrations run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Another runner is at work.
    Waiting {
        /// Who, if it can be named.
        holder: Option<Holder>,
    },
    /// A migration begins.
    Started {
        /// Its name.
        name: String,
        /// Which way.
        direction: Direction,
        /// Its place in this run, from 0.
        index: usize,
        /// How many this run has.
        of: usize,
    },
    /// A lock could not be had in time; it is tried again.
    Retrying {
        /// Which migration.
        name: String,
        /// Which attempt has failed, from 1.
        attempt: u32,
        /// What the database said.
        error: String,
    },
    /// A migration without a transaction is taken up where it stopped.
    Resumed {
        /// Which.
        name: String,
        /// How many statements stand already.
        done: u64,
    },
    /// A statement whose answer was lost was found to be carried out, and is not sent again.
    FoundDone {
        /// Of which migration.
        name: String,
        /// The statement.
        statement: String,
    },
    /// A migration is done.
    Finished {
        /// Its name.
        name: String,
        /// Which way.
        direction: Direction,
        /// How long it took.
        took: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { holder: Some(holder) } => write!(f, "waiting for {holder}"),
            Self::Waiting { holder: None } => f.write_str("waiting for another runner"),
            Self::Started { name, direction, index, of } => write!(f, "[{}/{of}] {name} {direction} …", index + 1),
            Self::Retrying { name, attempt, error } => write!(f, "{name}: attempt {attempt}: {error}; trying again"),
            Self::Resumed { name, done } => write!(f, "{name}: resumed after {done} statements"),
            Self::FoundDone { name, statement } => write!(f, "{name}: found done: {}", shortened(statement)),
            Self::Finished { name, direction, took } => write!(f, "{name} {direction}: {took:.1?}"),
        }
    }
}
