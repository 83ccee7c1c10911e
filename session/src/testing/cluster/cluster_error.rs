//! Why a test has no server. Each message is meant to be read in a test's output: it says what to do about it.

use std::io;
use std::path::PathBuf;

use sea_orm::sqlx;

/// Why there is no server, no database, or no role for a test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The server did not start: it is missing, or what it printed.
    #[error("no server for the tests: {0}")]
    Start(String),
    /// The server did not stop or restart as asked.
    #[error("the test cluster in {folder} failed to {action}: {output}", folder = .folder.display())]
    Control {
        /// The cluster's folder.
        folder: PathBuf,
        /// What was asked of it.
        action: &'static str,
        /// What the command printed.
        output: String,
    },
    /// A file or a process of the cluster could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The URL that was given for a server is not one of PostgreSQL. (It is not shown: it may hold a password.)
    #[error("TEST_POSTGRES_URL is not of the form postgres://user[:password]@host[:port]/database")]
    Url,
    /// The same of MySQL and MariaDB.
    #[error("TEST_MYSQL_URL is not of the form mysql://user[:password]@host[:port]/database")]
    MySqlUrl,
    /// The server refused what was asked of it.
    #[error("{what} on the test server: {source}")]
    Sql {
        /// What was asked.
        what: String,
        /// What the server, or the driver, said.
        source: sqlx::Error,
    },
}

/// Turns a system error into one that says what was being done.
pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Io { what: what.into(), source }
}
