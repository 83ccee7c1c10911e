//! What the store refuses, one clear sentence each.
//!
//! Typed, so that a program can tell a lost race from a wrong name. The session's own errors pass through whole: the
//! retry needs them (R5).

use crate::{
    access::Denial,
    uri::{Uri, UriError},
};

/// The error of every operation of the store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The text is no context URI.
    #[error(transparent)]
    InvalidUri(#[from] UriError),

    /// The URI is a folder of the scheme, above the places where nodes are.
    #[error("{uri} is a folder of the scheme and cannot {what}")]
    NotANode {
        /// The URI.
        uri: Uri,
        /// What was asked of it.
        what: &'static str,
    },

    /// The caller may not do this (V2).
    #[error("{uri} is denied: {reason}")]
    Denied {
        /// What was asked for.
        uri: Uri,
        /// The true reason.
        reason: Denial,
    },

    /// There is no such node, or it is archived (V5).
    #[error("{uri} does not exist{}", archived_hint(.archived))]
    NotFound {
        /// What was asked for.
        uri: Uri,
        /// Whether it exists but is archived.
        archived: bool,
    },

    /// The node is known to be damaged (V5).
    #[error("{uri} is broken: its text is not to be trusted until it is written anew")]
    Broken {
        /// The node.
        uri: Uri,
    },

    /// The node is archived: a write does not revive it (V3).
    #[error("{uri} is archived: restore it first")]
    Archived {
        /// The node.
        uri: Uri,
    },

    /// Something is at the target already (V7).
    #[error("{uri} exists already")]
    AlreadyExists {
        /// The target.
        uri: Uri,
    },

    /// The node has another version than the caller expected (V3).
    #[error("{uri} has version {actual}, not {expected}: read it again")]
    VersionConflict {
        /// The node.
        uri: Uri,
        /// What the caller expected.
        expected: i64,
        /// What the database holds.
        actual: i64,
    },

    /// A move that makes no sense (V7).
    #[error("cannot move {from} to {to}: {reason}")]
    InvalidMove {
        /// The source.
        from: Uri,
        /// The target.
        to: Uri,
        /// Why not.
        reason: String,
    },

    /// A folder has nodes below it, and the delete was not recursive (V8).
    #[error("{uri} has nodes below it: delete it recursively, or them first")]
    NotEmpty {
        /// The folder.
        uri: Uri,
    },

    /// No such version is kept (V10).
    #[error("{uri} has no version {version} that is kept")]
    NoSuchVersion {
        /// The node.
        uri: Uri,
        /// The version asked for.
        version: i64,
    },

    /// There is no such edge (V9).
    #[error("there is no edge `{edge_type}` from {from} to {to}")]
    NoSuchEdge {
        /// Where it would leave.
        from: Uri,
        /// Where it would arrive.
        to: Uri,
        /// Its type.
        edge_type: String,
    },

    /// An argument is out of its range.
    #[error("{0}")]
    InvalidArgument(String),

    /// A page cursor that this operation did not give out.
    #[error("this is not a cursor of this operation: pass the `next` of the page before")]
    InvalidCursor,

    /// A file or folder could not be read or written.
    #[error("{path}: {message}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        message: String,
    },

    /// The search index cannot be reached, or took nothing.
    #[error("the index: {0}")]
    Index(String),

    /// The embedding model cannot be reached, or gives what are no vectors.
    #[error("the embedding model: {0}")]
    Embedding(String),

    /// The database does not answer.
    #[error("cannot open {database}: {message}")]
    Unreachable {
        /// Which, without its password.
        database: String,
        /// What the driver or the system says.
        message: String,
    },

    /// The database has tables, and is no context store.
    #[error("{database} belongs to something else: it has tables and is no context store")]
    NotOurs {
        /// Which, without its password.
        database: String,
    },

    /// The database holds no context store, or an earlier version's, and was not to be migrated.
    #[error("{database} {}: `ctx migrate` {}", unmigrated(.pending, .empty), if *.empty { "makes one" } else { "applies them" })]
    NotMigrated {
        /// Which, without its password.
        database: String,
        /// How many migrations are to be applied.
        pending: usize,
        /// Whether there is nothing at all in it.
        empty: bool,
    },

    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migration(std::sync::Arc<context_migration::Error>),

    /// The database, or the unit of work.
    #[error(transparent)]
    Session(#[from] sea_session::Error),
}

fn unmigrated(pending: &usize, empty: &bool) -> String {
    if *empty { "holds no context store".to_owned() } else { format!("needs {pending} migration(s)") }
}

fn archived_hint(archived: &bool) -> &'static str {
    if *archived { " (it is archived: restore it to read it)" } else { "" }
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
        let message = match e.to_string() {
            said if said.contains("timed out") => {
                "no connection could be made in time: is the server running, and may this user connect?".into()
            }
            said => said.replace(url, &without_password(url)),
        };
        StoreError::Unreachable { database: without_password(url), message }
    }

    /// A stable word for the kind of error, for programs that read `--json`.
    pub fn code(&self) -> &'static str {
        match self {
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
    }
}

pub(crate) use context_migration::without_password;
