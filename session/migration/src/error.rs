//! What can go wrong with a migration, said so that an operator can act on it.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

use crate::{direction::Direction, holder::Holder};

/// An error of the runner. Each says which migration, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another runner held the lock for longer than the time allowed (G2).
    #[error("waited {waited:.1?} for the migration lock, which is held by {}; nothing was changed", .holder.as_ref().map_or_else(|| "nobody that can be named".to_owned(), ToString::to_string))]
    Locked {
        /// How long.
        waited: Duration,
        /// Who had it when the time was up.
        holder: Option<Holder>,
    },
    /// The lock was lost while migrating: its connection was cut off, or the process was stopped for so long that another
    /// runner took over. What was in hand was rolled back.
    #[error("the migration lock was lost before `{migration}` was done; it was rolled back, run the command again")]
    LockLost {
        /// What was in hand.
        migration: String,
    },
    /// A migration failed (G3).
    #[error("migration `{migration}` failed to go {direction}{}: {source}{}", .statement.as_ref().map(|sql| format!(" at `{}`", crate::shown::shortened(sql))).unwrap_or_default(), .left.map_or("; it was rolled back", |_| "; it does not run in a transaction, and the next run takes it up where it stopped"))]
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
    #[error("changed since they were applied: {}; write a new migration instead, or accept the change (`migrate accept`) if the schema is the same", .names.join(", "))]
    Changed {
        /// Their names.
        names: Vec<String>,
    },
    /// Migrations are applied here that this program does not know (G4): it is older than the schema, or not its own.
    #[error("applied to this database but not known to this program: {}; is it older than the schema?", .names.join(", "))]
    Missing {
        /// Their names.
        names: Vec<String>,
    },
    /// A migration with this name is not known.
    #[error("there is no migration `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The backend has no migrations here.
    #[error("{0}")]
    Unsupported(String),
    /// The application runs as a role that row-level security does not bind (T3).
    #[error("role `{role}` must not serve the application: {}; create one with `migrate role`", .reasons.join("; "))]
    PrivilegedRole {
        /// The role.
        role: String,
        /// Why it is too powerful.
        reasons: Vec<String>,
    },
    /// The database, outside any migration.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// The SQLSTATE (on SQLite the extended result code) of a database error, if it is one.
pub(crate) fn code(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()))
        }
        _ => None,
    }
}

/// Whether a lock could not be had in the time allowed: 55P03 on PostgreSQL; busy (5) and its kin on SQLite.
pub(crate) fn is_lock_timeout(error: &DbErr) -> bool {
    matches!(code(error).as_deref(), Some("55P03" | "5" | "261" | "517" | "773" | "6" | "262"))
}

/// Whether the thing to be made is there already, or the thing to be dropped is gone.
pub(crate) fn is_done_already(error: &DbErr) -> bool {
    match code(error).as_deref() {
        Some("42P07" | "42701" | "42710" | "42P06" | "42723" | "42P01" | "42704" | "42703") => true,
        Some("1") => {
            let text = error.to_string();
            ["already exists", "duplicate column name", "no such"].iter().any(|part| text.contains(part))
        }
        _ => false,
    }
}
