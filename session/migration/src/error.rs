//! What can go wrong with a migration, said so that an operator can act on it.

use std::{fmt, time::Duration};

use sea_orm::{DbErr, RuntimeErr, sqlx::error::DatabaseError};

use crate::{direction::Direction, holder::Holder, shown::shortened};

/// An error of the runner. Each says which migration, why, and what to do, and ends with the name of its page in the book:
/// `… (see errors/migration-failed)` is `docs/book/src/errors/migration-failed.md`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Another runner held the lock for longer than the time allowed (G2).
    Locked {
        /// How long.
        waited: Duration,
        /// Who had it when the time was up.
        holder: Option<Holder>,
    },
    /// The lock was lost while migrating: its connection was cut off, or the process was stopped for so long that another
    /// runner took over. What was in hand was rolled back.
    LockLost {
        /// What was in hand.
        migration: String,
    },
    /// A migration failed (G3).
    Failed {
        /// Which.
        migration: String,
        /// Which way.
        direction: Direction,
        /// At which statement, if that is known.
        statement: Option<String>,
        /// For a migration without a transaction: how many of its statements stand.
        left: Option<u64>,
        /// What the database said.
        source: DbErr,
    },
    /// Migrations were changed after they had been applied (G4).
    Changed {
        /// Their names.
        names: Vec<String>,
    },
    /// Migrations are applied here that this program does not know (G4): it is older than the schema, or not its own.
    Missing {
        /// Their names.
        names: Vec<String>,
    },
    /// A migration whose statements commit by themselves stopped on its way, and what of it stands cannot be known
    /// (G3). Nothing is repeated: an operator looks, brings the schema to where it was before or to where it is to be,
    /// and says so by [`Runner::settle`](crate::Runner::settle).
    Unsettled {
        /// Which.
        migration: String,
        /// Which way it went.
        direction: Direction,
        /// The statement of which it is not known whether it was carried out, if it is one.
        statement: Option<String>,
        /// Why it cannot be known.
        reason: String,
    },
    /// A migration with this name is not known.
    Unknown {
        /// The name.
        name: String,
    },
    /// A migration did not stop half-way, so there is nothing to settle.
    NotInterrupted {
        /// Its name.
        name: String,
    },
    /// The backend has no migrations here.
    Unsupported(String),
    /// The application runs as a role that row-level security does not bind (T3).
    PrivilegedRole {
        /// The role.
        role: String,
        /// Why it is too powerful.
        reasons: Vec<String>,
    },
    /// The database, outside any migration.
    Database(DbErr),
}

macro_rules! pages {
    ($($variant:pat => $page:literal,)+) => {
        impl Error {
            /// The names of all pages: `docs/book/src/errors/` has a file for each.
            pub const PAGES: &[&str] = &[$($page),+];

            /// The page of the book that explains this error: `migration-failed` is
            /// `docs/book/src/errors/migration-failed.md`.
            pub fn page(&self) -> &'static str {
                match self {
                    $($variant => $page,)+
                }
            }
        }
    };
}

// Without a wildcard: a new variant does not compile before it has a page.
pages! {
    Error::Locked { .. } => "migration-locked",
    Error::LockLost { .. } => "migration-lock-lost",
    Error::Failed { .. } => "migration-failed",
    Error::Changed { .. } => "migration-changed",
    Error::Missing { .. } => "migration-missing",
    Error::Unsettled { .. } => "migration-unsettled",
    Error::Unknown { .. } => "migration-unknown",
    Error::NotInterrupted { .. } => "migration-not-interrupted",
    Error::Unsupported(_) => "migration-unsupported",
    Error::PrivilegedRole { .. } => "migration-role",
    Error::Database(_) => "migration-database",
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f)?;
        write!(f, " (see errors/{})", self.page())
    }
}

impl Error {
    fn write_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |before: &str, sql: &Option<String>| {
            sql.as_ref().map(|sql| format!("{before} at `{}`", shortened(sql))).unwrap_or_default()
        };
        match self {
            Error::Locked { waited, holder } => {
                let holder = holder.as_ref().map_or_else(|| "nobody that can be named".to_owned(), ToString::to_string);
                write!(f, "waited {waited:.1?} for the migration lock, which is held by {holder}; nothing was changed")
            }
            Error::LockLost { migration } => write!(
                f,
                "the migration lock was lost before `{migration}` was done; it was rolled back, run the command again"
            ),
            Error::Failed { migration, direction, statement, left, source } => {
                let left = match left {
                    None => "it was rolled back",
                    Some(_) => "it does not run in a transaction, and the next run takes it up where it stopped",
                };
                write!(f, "migration `{migration}` failed to go {direction}{}: {source}; {left}", at("", statement))
            }
            Error::Changed { names } => write!(
                f,
                "changed since they were applied: {}; write a new migration instead, or accept the change (`migrate accept`) if \
                 the schema is the same",
                names.join(", ")
            ),
            Error::Missing { names } => write!(
                f,
                "applied to this database but not known to this program: {}; is it older than the schema?",
                names.join(", ")
            ),
            Error::Unsettled { migration, direction, statement, reason } => write!(
                f,
                "migration `{migration}` stopped half-way {direction}: {reason}{}; nothing is repeated: bring the schema to where it \
                 was before, or to where it is to be, and say so by `migrate settle {migration} pending` or `migrate settle \
                 {migration} applied`",
                at(",", statement)
            ),
            Error::Unknown { name } => write!(f, "there is no migration `{name}`"),
            Error::NotInterrupted { name } => {
                write!(f, "migration `{name}` did not stop half-way: there is nothing to settle")
            }
            Error::Unsupported(what) => f.write_str(what),
            Error::PrivilegedRole { role, reasons } => write!(
                f,
                "role `{role}` must not serve the application: {}; create one with `migrate role`",
                reasons.join("; ")
            ),
            Error::Database(source) => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Failed { source, .. } => Some(source),
            Error::Database(source) => source.source(),
            _ => None,
        }
    }
}

impl From<DbErr> for Error {
    fn from(e: DbErr) -> Self {
        Error::Database(e)
    }
}

/// What the database said, if it is the database's error and not that of the way to it.
pub(crate) fn by_database(error: &DbErr) -> Option<&(dyn DatabaseError + 'static)> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => error.as_database_error(),
        _ => None,
    }
}
