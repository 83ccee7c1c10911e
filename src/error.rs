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
            StoreError::Unreachable { .. } => "unreachable",
            StoreError::NotOurs { .. } => "not_ours",
            StoreError::NotMigrated { .. } => "not_migrated",
            StoreError::Migration(_) => "migration",
            StoreError::Session(_) => "database",
        }
    }
}

/// A URL as it may be shown: without the password of its user, and without what its parameters hold of the kind, however it is
/// spelled (W8). Of a text that is no URL, too little is shown rather than too much.
pub(crate) fn without_password(url: &str) -> String {
    let start = url.find("://").map_or_else(|| url.find(':').map_or(0, |at| at + 1), |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    // A password may hold a `/`, `?` or `@` that nobody encoded: its end is the last `@` that can be one.
    let query = rest.find('?').unwrap_or(rest.len());
    let at = rest[..query].rfind('@').or_else(|| {
        let at = rest.rfind('@')?;
        (!rest[query..at].contains('=')).then_some(at)
    });
    let (login, rest) = at.map_or(("", rest), |at| rest.split_at(at));
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    let mut shown = format!("{scheme}{user}");
    let mut hidden = false;
    for part in rest.split_inclusive(['?', '&', ';', ' ']) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        // What follows a hidden value and has no name may be more of it.
        let has_name = part.contains('=');
        if has_name {
            hidden = is_secret(name);
        }
        match (hidden, has_name) {
            (false, _) => shown.push_str(part),
            (true, true) => {
                shown.push_str(name);
                shown.push_str("=***");
                shown.extend(value.chars().last().filter(|end| matches!(end, '&' | ';' | ' ')));
            }
            (true, false) => {}
        }
    }
    shown
}

fn is_secret(name: &str) -> bool {
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_lowercase();
    ["pass", "pwd", "secret", "token", "key", "credential", "auth"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn w8_no_form_of_a_url_shows_its_password() {
        for (url, shown) in [
            ("postgres://ann:hunter2@db:5432/memory", "postgres://ann@db:5432/memory"),
            ("postgres://ann:hun@ter2@db/memory", "postgres://ann@db/memory"),
            ("postgres://ann:hunter2/x@db/memory", "postgres://ann@db/memory"),
            ("postgres://ann:hunter2?x@db/memory", "postgres://ann@db/memory"),
            ("postgres://:hunter2@db/memory", "postgres://@db/memory"),
            ("postgres://ann@db/memory?password=hunter2", "postgres://ann@db/memory?password=***"),
            (
                "postgres://db/memory?password=hunter2@x&sslmode=require",
                "postgres://db/memory?password=***&sslmode=require",
            ),
            ("postgres://db/m?sslmode=require&PassWord=hunter2", "postgres://db/m?sslmode=require&PassWord=***"),
            ("postgres://db/m?pass%77ord=hunter2", "postgres://db/m?pass%77ord=***"),
            ("postgres://db/m?password=hun&ter2", "postgres://db/m?password=***&"),
            ("postgres:ann:hunter2@db/m", "postgres:ann@db/m"),
            ("host=db user=ann password=hunter2 dbname=m", "host=db user=ann password=*** dbname=m"),
            ("https://index.example/ctx?token=hunter2", "https://index.example/ctx?token=***"),
            ("sqlite://ctx.db?mode=rwc", "sqlite://ctx.db?mode=rwc"),
            ("ctx.db", "ctx.db"),
        ] {
            assert_eq!(without_password(url), shown, "{url}");
            assert!(!without_password(url).contains("ter2"), "{url}");
        }
    }
}
