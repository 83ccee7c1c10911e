//! Whether a dispatcher gets on (Q10).

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Whether a dispatcher gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How long ago the outbox was last read; none if it never was.
    pub last_claim: Option<Duration>,
    /// Why the database could not be read, if the last attempt failed.
    pub database: Option<String>,
    /// Why the receiver takes nothing, if it took nothing last time.
    pub receiver: Option<String>,
    /// How many attempts in a row have failed, at the database or at the receiver.
    pub failures: u32,
}

impl Health {
    /// Whether database and receiver both answered last time.
    pub fn is_healthy(&self) -> bool {
        self.database.is_none() && self.receiver.is_none()
    }
}

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<PulseState>);

#[derive(Debug, Default)]
struct PulseState {
    claimed: Option<Instant>,
    database: Option<String>,
    receiver: Option<String>,
    failures: u32,
}

impl Pulse {
    pub(crate) fn claimed(&self) {
        let mut state = self.0.lock();
        state.claimed = Some(Instant::now());
        state.database = None;
        if state.receiver.is_none() {
            state.failures = 0;
        }
    }

    pub(crate) fn delivered(&self) {
        let mut state = self.0.lock();
        state.receiver = None;
        state.failures = 0;
    }

    pub(crate) fn database_failed(&self, why: String) {
        let mut state = self.0.lock();
        state.database = Some(why);
        state.failures = state.failures.saturating_add(1);
    }

    pub(crate) fn receiver_failed(&self, why: String) {
        let mut state = self.0.lock();
        state.receiver = Some(why);
        state.failures = state.failures.saturating_add(1);
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.0.lock();
        Health {
            last_claim: state.claimed.map(|at| at.elapsed()),
            database: state.database.clone(),
            receiver: state.receiver.clone(),
            failures: state.failures,
        }
    }
}
