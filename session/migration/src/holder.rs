//! Who holds the migration lock, for whoever waits for it.

use std::fmt;

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Program, host and process.
    pub who: String,
    /// Since when, in words.
    pub since: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (for {})", self.who, self.since)
    }
}
