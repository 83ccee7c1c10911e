//! What the store refuses, one clear sentence each.
//!
//! Typed, so that a program can tell a lost race from a wrong name. The session's own errors pass through whole: the
//! retry needs them (R5).

use std::fmt;

use sea_session::extend::without_page;

use crate::{
    access::Denial,
    uri::{Uri, UriError},
};

/// The error of every operation of the store. Its text ends with the name of its page in the book:
/// `… (see errors/store-not-found)` is `docs/book/src/errors/store-not-found.md`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The text is no context URI.
    InvalidUri(UriError),

    /// The URI is a folder of the scheme, above the places where nodes are.
    NotANode {
        /// The URI.
        uri: Uri,
        /// What was asked of it.
        what: &'static str,
    },

    /// The caller may not do this (V2).
    Denied {
        /// What was asked for.
        uri: Uri,
        /// The true reason.
        reason: Denial,
    },

    /// There is no such node, or it is archived (V5).
    NotFound {
        /// What was asked for.
        uri: Uri,
        /// Whether it exists but is archived.
        archived: bool,
    },

    /// The node is known to be damaged (V5).
    Broken {
        /// The node.
        uri: Uri,
    },

    /// The node is archived: a write does not revive it (V3).
    Archived {
        /// The node.
        uri: Uri,
    },

    /// Something is at the target already (V7).
    AlreadyExists {
        /// The target.
        uri: Uri,
    },

    /// The node has another version than the caller expected (V3).
    VersionConflict {
        /// The node.
        uri: Uri,
        /// What the caller expected.
        expected: i64,
        /// What the database holds.
        actual: i64,
    },

    /// A move that makes no sense (V7).
    InvalidMove {
        /// The source.
        from: Uri,
        /// The target.
        to: Uri,
        /// Why not.
        reason: String,
    },

    /// A folder has nodes below it, and the delete was not recursive (V8).
    NotEmpty {
        /// The folder.
        uri: Uri,
    },

    /// No such version is kept (V10).
    NoSuchVersion {
        /// The node.
        uri: Uri,
        /// The version asked for.
        version: i64,
    },

    /// There is no such edge (V9).
    NoSuchEdge {
        /// Where it would leave.
        from: Uri,
        /// Where it would arrive.
        to: Uri,
        /// Its type.
        edge_type: String,
    },

    /// An argument is out of its range.
    InvalidArgument(String),

    /// A page cursor that this operation did not give out.
    InvalidCursor,

    /// A file or folder could not be read or written.
    Io {
        /// The file.
        path: String,
        /// What the system says.
        message: String,
    },

    /// The search index cannot be reached, or took nothing.
    Index(String),

    /// The embedding model cannot be reached, or gives what are no vectors.
    Embedding(String),

    /// The database does not answer.
    Unreachable {
        /// Which, without its password.
        database: String,
        /// What the driver or the system says.
        message: String,
    },

    /// The database has tables, and is no context store.
    NotOurs {
        /// Which, without its password.
        database: String,
    },

    /// The database holds no context store, or an earlier version's, and was not to be migrated.
    NotMigrated {
        /// Which, without its password.
        database: String,
        /// How many migrations are to be applied.
        pending: usize,
        /// Whether there is nothing at all in it.
        empty: bool,
    },

    /// The schema could not be brought up to date.
    Migration(std::sync::Arc<context_migration::Error>),

    /// The database, or the unit of work.
    Session(sea_session::Error),
}

impl From<UriError> for StoreError {
    fn from(e: UriError) -> Self {
        StoreError::InvalidUri(e)
    }
}

impl From<sea_session::Error> for StoreError {
    fn from(e: sea_session::Error) -> Self {
        StoreError::Session(e)
    }
}

impl From<context_migration::Error> for StoreError {
    fn from(e: context_migration::Error) -> Self {
        StoreError::Migration(std::sync::Arc::new(e))
    }
}

impl From<sea_orm::DbErr> for StoreError {
    fn from(e: sea_orm::DbErr) -> Self {
        StoreError::Session(e.into())
    }
}

impl StoreError {
    pub(crate) fn denied(uri: &Uri, reason: Denial) -> Self {
        StoreError::Denied { uri: uri.clone(), reason }
    }

    pub(crate) fn not_found(uri: &Uri) -> Self {
        StoreError::NotFound { uri: uri.clone(), archived: false }
    }

    pub(crate) fn io(path: &std::path::Path, e: &std::io::Error) -> Self {
        StoreError::Io { path: path.display().to_string(), message: e.to_string() }
    }

    pub(crate) fn unreachable(url: &str, e: &sea_session::Error) -> Self {
        // The pool tries until its time is up and then says that only.
        let message = match e.text().to_string() {
            said if said.contains("timed out") => {
                "no connection could be made in time: is the server running, and may this user connect?".into()
            }
            said => said.replace(url, &without_password(url)),
        };
        StoreError::Unreachable { database: without_password(url), message }
    }
}

macro_rules! codes {
    ($($variant:pat => $code:literal,)+) => {
        impl StoreError {
            /// Every word that [`StoreError::code`] gives.
            pub const CODES: &[&str] = &[$($code),+];

            /// A stable word for the kind of error, for programs that read `--json`.
            pub fn code(&self) -> &'static str {
                match self {
                    $($variant => $code,)+
                }
            }
        }
    };
}

// Without a wildcard: a new variant does not compile before it has a code, and with it a page.
codes! {
    StoreError::InvalidUri(_) => "invalid_uri",
    StoreError::NotANode { .. } => "not_a_node",
    StoreError::Denied { .. } => "denied",
    StoreError::NotFound { .. } => "not_found",
    StoreError::Broken { .. } => "broken",
    StoreError::Archived { .. } => "archived",
    StoreError::AlreadyExists { .. } => "already_exists",
    StoreError::VersionConflict { .. } => "version_conflict",
    StoreError::InvalidMove { .. } => "invalid_move",
    StoreError::NotEmpty { .. } => "not_empty",
    StoreError::NoSuchVersion { .. } => "no_such_version",
    StoreError::NoSuchEdge { .. } => "no_such_edge",
    StoreError::InvalidArgument(_) => "invalid_argument",
    StoreError::InvalidCursor => "invalid_cursor",
    StoreError::Io { .. } => "io",
    StoreError::Index(_) => "index",
    StoreError::Embedding(_) => "embedding",
    StoreError::Unreachable { .. } => "unreachable",
    StoreError::NotOurs { .. } => "not_ours",
    StoreError::NotMigrated { .. } => "not_migrated",
    StoreError::Migration(_) => "migration",
    StoreError::Session(_) => "database",
}

impl StoreError {
    /// The page of the book that explains this error: `store-not-found` is `docs/book/src/errors/store-not-found.md`. What the
    /// session or the runner of migrations says has the page that it has there.
    pub fn page(&self) -> String {
        match self {
            StoreError::Session(e) => e.page().to_owned(),
            StoreError::Migration(e) => e.page().to_owned(),
            own => format!("store-{}", own.code().replace('_', "-")),
        }
    }

    /// What was wrong, without the name of the page: for those who use a program, and not the library.
    pub fn text(&self) -> String {
        // A cause may name its own page.
        without_page(&Text(self).to_string()).to_owned()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (see errors/{})", self.text(), self.page())
    }
}

struct Text<'e>(&'e StoreError);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StoreError::InvalidUri(e) => write!(f, "{e}"),
            StoreError::NotANode { uri, what } => {
                write!(f, "{uri} is a folder of the scheme and cannot {what}")
            }
            StoreError::Denied { uri, reason } => write!(f, "{uri} is denied: {reason}"),
            StoreError::NotFound { uri, archived: false } => write!(f, "{uri} does not exist"),
            StoreError::NotFound { uri, archived: true } => {
                write!(f, "{uri} does not exist (it is archived: restore it to read it)")
            }
            StoreError::Broken { uri } => {
                write!(f, "{uri} is broken: its text is not to be trusted until it is written anew")
            }
            StoreError::Archived { uri } => write!(f, "{uri} is archived: restore it first"),
            StoreError::AlreadyExists { uri } => write!(f, "{uri} exists already"),
            StoreError::VersionConflict { uri, expected, actual } => {
                write!(f, "{uri} has version {actual}, not {expected}: read it again")
            }
            StoreError::InvalidMove { from, to, reason } => write!(f, "cannot move {from} to {to}: {reason}"),
            StoreError::NotEmpty { uri } => {
                write!(f, "{uri} has nodes below it: delete it recursively, or them first")
            }
            StoreError::NoSuchVersion { uri, version } => write!(f, "{uri} has no version {version} that is kept"),
            StoreError::NoSuchEdge { from, to, edge_type } => {
                write!(f, "there is no edge `{edge_type}` from {from} to {to}")
            }
            StoreError::InvalidArgument(what) => f.write_str(what),
            StoreError::InvalidCursor => {
                f.write_str("this is not a cursor of this operation: pass the `next` of the page before")
            }
            StoreError::Io { path, message } => write!(f, "{path}: {message}"),
            StoreError::Index(what) => write!(f, "the index: {what}"),
            StoreError::Embedding(what) => write!(f, "the embedding model: {what}"),
            StoreError::Unreachable { database, message } => write!(f, "cannot open {database}: {message}"),
            StoreError::NotOurs { database } => {
                write!(f, "{database} belongs to something else: it has tables and is no context store")
            }
            StoreError::NotMigrated { database, empty: true, .. } => {
                write!(f, "{database} holds no context store: `ctx migrate` makes one")
            }
            StoreError::NotMigrated { database, pending, empty: false } => {
                write!(f, "{database} needs {pending} migration(s): `ctx migrate` applies them")
            }
            StoreError::Migration(e) => write!(f, "cannot migrate the database: {e}"),
            StoreError::Session(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::InvalidUri(e) => e.source(),
            StoreError::Session(e) => e.source(),
            _ => None,
        }
    }
}

pub(crate) use context_migration::without_password;
