//! What can go wrong in a unit of work, said once and kept: the first cause is what the caller gets (INV6).
//!
//! The dialects say what class of failure a database reported. What a class means for a unit is said here ([`Class`]); what is
//! done about it is the retry loop's. No value of a column gets into a message (L1).

use std::{borrow::Cow, fmt, sync::Arc};

use sea_orm::{DbErr, RuntimeErr};

mod text;

pub use text::without_page;

/// The error of every operation of this crate. Cheap to clone: a cause is shared, not copied.
///
/// Its text ends with the name of a page of the book, once: `… (see errors/stale)` is `docs/book/src/errors/stale.md`, which
/// says what was wrong and what to do. [`Error::page`] is that name, [`Error::text`] the text without it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The database, or the way to it, refused a statement.
    Database(Arc<DatabaseError>),

    /// The unit or block was marked for rollback by an earlier error; nothing is sent until the block ends (A8).
    Refused {
        /// The first error of the block.
        cause: Arc<Error>,
    },

    /// A block ended well but had to be rolled back, because an error inside it was swallowed (A7, Z5).
    RolledBack {
        /// The error that was swallowed.
        cause: Arc<Error>,
    },

    /// A row was changed or deleted by somebody else since it was loaded (O1, F8).
    Stale {
        /// The table of the row.
        entity: &'static str,
        /// The row's primary key.
        key: Box<str>,
        /// The version that was loaded, if the entity has one.
        expected: Option<i64>,
        /// The version that the database holds now; `None` if the row is gone or the entity has no version.
        found: Option<i64>,
    },

    /// A row that was read again differs in a column that this unit has read (P5, P6).
    UnrepeatableRead {
        /// The table of the row.
        entity: &'static str,
        /// The row's primary key.
        key: Box<str>,
        /// The column that changed.
        column: &'static str,
        /// Old and new value, only in a unit with `show_values`.
        change: Option<Box<(String, String)>>,
    },

    /// A row's version has reached the end of its type, so that no change of the row could be told by it any more. Nothing was
    /// sent (E7).
    VersionExhausted {
        /// The table of the row.
        entity: &'static str,
        /// The row's primary key.
        key: Box<str>,
        /// The version that the row has.
        version: i64,
    },

    /// The transaction has ended although the unit did not end it: a trigger or a conflict clause that says ROLLBACK, or a
    /// failure of the database file. Everything of the unit is rolled back (D11).
    TransactionEnded {
        /// What was answered when it was noticed.
        cause: Arc<Error>,
    },

    /// An object with this key is in the identity map already (I2).
    Duplicate {
        /// The table of the row.
        entity: &'static str,
        /// The primary key that was added twice.
        key: Box<str>,
    },

    /// The flush could not order its statements because rows need each other (F1).
    Cycle {
        /// The cycle, as `a -> b -> a`.
        cycle: Box<str>,
    },

    /// The connection was lost or closed while COMMIT was under way: committed or not is not known (INV8, R9).
    CommitUnknown {
        /// What happened to the connection.
        cause: Arc<Error>,
    },

    /// A statement was dropped before its answer came; what it did is not known, so the block must roll back (C1).
    Cancelled,

    /// The transaction was committed, and a hook failed afterwards (H6).
    AfterCommit {
        /// The hook's error.
        message: Arc<str>,
    },

    /// Of several databases some have committed and others have not, or it is not known of some (M1, E2).
    PartialCommit {
        /// Names of the databases that hold the unit's changes.
        committed: Arc<Vec<String>>,
        /// Names of those that do not.
        failed: Arc<Vec<String>>,
        /// Names of those whose answer to COMMIT was lost and could not be found out: they hold the changes, or they do not.
        unknown: Arc<Vec<String>>,
        /// Why the first that has not committed, or is not known to have, did not.
        cause: Arc<Error>,
    },

    /// This database cannot do what was asked, and it is not emulated.
    Unsupported {
        /// The database.
        backend: &'static str,
        /// What was asked, and what to do instead.
        what: Cow<'static, str>,
    },

    /// The session or an object was used in a way that its state does not allow.
    Usage(Cow<'static, str>),

    /// A unit that was to be repeated lost every time (R6).
    Exhausted {
        /// How often it was run.
        attempts: u32,
        /// What ended the last attempt.
        cause: Arc<Error>,
    },

    /// A tenant's entity was used in a unit that has no tenant, or another one (T2).
    Tenant {
        /// The table.
        entity: &'static str,
        /// What is missing.
        reason: Cow<'static, str>,
    },

    /// A hook or an entity's `ActiveModelBehavior` refused.
    Hook {
        /// The table of the object.
        entity: &'static str,
        /// The object's key, or `(new)`.
        key: Box<str>,
        /// Which hook.
        hook: &'static str,
        /// What it said.
        cause: Arc<Error>,
    },

    /// The database did something else with rows than was sent: a rule, trigger or view of the table drops or adds rows, or
    /// changes their keys. Nothing was sent again (D2, F8).
    Diverted {
        /// Table and keys of the rows.
        rows: Box<str>,
        /// What was to happen to them, and what did.
        what: Box<str>,
    },

    /// The receiver of events is down: they are held back, and none is counted as failed (Q5).
    Unavailable(Box<str>),
}

/// What the database (or the driver) said, with what we know of the place.
#[derive(Clone)]
pub struct DatabaseError {
    pub(crate) source: DbErr,
    pub(crate) class: Class,
    pub(crate) code: Option<Box<str>>,
    pub(crate) constraint: Option<Box<str>>,
    pub(crate) table: Option<Box<str>>,
    pub(crate) column: Option<Box<str>>,
    pub(crate) place: Option<Box<str>>,
}

impl fmt::Debug for DatabaseError {
    /// The driver's own error shows the row in its details ("Key (name)=(…) already exists"); this does not (L1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseError")
            .field("message", &self.to_string())
            .field("class", &self.class)
            .field("code", &self.code)
            .field("constraint", &self.constraint)
            .field("table", &self.table)
            .field("column", &self.column)
            .finish_non_exhaustive()
    }
}

impl DatabaseError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The SQLSTATE (PostgreSQL) or the extended result code (SQLite), if the database has answered at all.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The constraint that was violated. SQLite names unique ones by their columns (`author.name, author.born`), and foreign keys
    /// not at all.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// The table, where the database names it: with a violated constraint on PostgreSQL; with a unique one or a NOT NULL on
    /// SQLite.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The column, where the database names a single one: with a NOT NULL; on SQLite also with a unique constraint of one column.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }
}

/// What kind of failure a database error is; the input of the retry classification (R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// 40001: the transaction lost against a concurrent one. Retry the unit.
    Serialization,
    /// 40P01: it was chosen as the victim of a deadlock. Retry the unit.
    Deadlock,
    /// 55P03: NOWAIT or a lock timeout.
    LockNotAvailable,
    /// SQLite 5, 6, 517: the file is locked, or the snapshot is too old. Restart the unit, never the statement.
    Busy,
    /// The plan that the connection had kept of a statement is not valid any more: the table was changed since, or somebody
    /// dropped the connection's prepared statements. Retry the unit; the plan is dropped (E5).
    PlanChanged,
    /// 57014: the statement was cancelled, or its timeout passed.
    QueryCanceled,
    /// 25P02: the transaction was aborted by an earlier error.
    AbortedTransaction,
    /// 40003: it is not known whether the statement completed.
    CompletionUnknown,
    /// The connection is gone, or could not be had (class 08, 57P01 to 57P03, 53300, or an I/O error).
    ConnectionLost,
    /// A unique or primary key constraint.
    Unique,
    /// A foreign key constraint.
    ForeignKey,
    /// A NOT NULL constraint.
    NotNull,
    /// A CHECK constraint.
    Check,
    /// Anything else that the database says.
    Other,
    /// The statement worked but its answer could not be read as asked (a wrong type, a missing column).
    Decode,
}

impl Class {
    /// Whether a unit whose COMMIT was not sent, or is known to have failed, may run again for it (R7).
    pub(crate) fn is_retryable(self) -> bool {
        self.is_conflict() || matches!(self, Class::ConnectionLost | Class::PlanChanged)
    }

    /// Whether the unit lost against a concurrent one, which is done by now or soon.
    pub(crate) fn is_conflict(self) -> bool {
        matches!(self, Class::Serialization | Class::Deadlock | Class::Busy)
    }

    /// Whether a failure inside a nested block dooms the whole unit, because only the unit can be repeated (R8).
    pub(crate) fn dooms_unit(self) -> bool {
        self.is_retryable() || self == Class::CompletionUnknown
    }
}

impl Error {
    pub(crate) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Error::Usage(message.into())
    }

    pub(crate) fn diverted(rows: String, what: impl Into<Box<str>>) -> Self {
        Error::Diverted { rows: rows.into(), what: what.into() }
    }

    /// What the database said that started this error; `None` if it was none.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// use sea_session::Class;
    /// # let db = example().await?;
    /// let twice = db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let taken = note::ActiveModel { id: Set(1), ..draft("second") };
    ///     s.add(taken);
    ///     s.flush().await
    /// }).await.expect_err("there is a note 1");
    /// let said = twice.database().expect("it was the database");
    /// assert_eq!((said.class(), said.code()), (Class::Unique, Some("1555")));
    /// assert_eq!((said.table(), said.column()), (Some("note"), Some("id")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn database(&self) -> Option<&DatabaseError> {
        match self.root() {
            Error::Database(e) => Some(e),
            _ => None,
        }
    }

    /// The SQLSTATE (PostgreSQL) or the extended result code (SQLite) of the error that started this one.
    pub fn sqlstate(&self) -> Option<&str> {
        self.database()?.code()
    }

    /// The name of the constraint that was violated, where the database says it.
    pub fn constraint(&self) -> Option<&str> {
        self.database()?.constraint()
    }

    /// What kind of database failure started this error; `None` if it was none.
    pub fn class(&self) -> Option<Class> {
        self.database().map(DatabaseError::class)
    }

    /// Whether a unique constraint was violated.
    pub fn is_unique_violation(&self) -> bool {
        self.class() == Some(Class::Unique)
    }

    /// Whether a foreign key was violated.
    pub fn is_foreign_key_violation(&self) -> bool {
        self.class() == Some(Class::ForeignKey)
    }

    /// Whether the connection is gone.
    pub fn is_connection_lost(&self) -> bool {
        self.class() == Some(Class::ConnectionLost)
    }

    /// The error that started this one: through refusals, rollbacks and hooks to the first cause.
    pub fn root(&self) -> &Error {
        match self {
            Error::Refused { cause }
            | Error::RolledBack { cause }
            | Error::Exhausted { cause, .. }
            | Error::TransactionEnded { cause }
            | Error::Hook { cause, .. } => cause.root(),
            other => other,
        }
    }

    /// Says where a database error happened (`note 7`), unless it is known already.
    pub(crate) fn at(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Error::Database(e) if e.place.is_none() => {
                let mut e = (*e).clone();
                e.place = Some(place().into());
                Error::Database(Arc::new(e))
            }
            other => other,
        }
    }

    pub(crate) fn decode(source: DbErr) -> Self {
        Error::Database(Arc::new(DatabaseError {
            source,
            class: Class::Decode,
            code: None,
            constraint: None,
            table: None,
            column: None,
            place: None,
        }))
    }

    pub(crate) fn connection_lost(message: &str) -> Self {
        Self::internal(message, Class::ConnectionLost, None)
    }

    /// The unit has lost against a concurrent one, as the database would say it.
    pub(crate) fn conflict(message: &str) -> Self {
        Self::internal(message, Class::Deadlock, Some("40001"))
    }

    fn internal(message: &str, class: Class, code: Option<&str>) -> Self {
        let source = DbErr::Conn(RuntimeErr::Internal(message.to_owned()));
        let code = code.map(Into::into);
        let cause = DatabaseError { source, class, code, constraint: None, table: None, column: None, place: None };
        Error::Database(Arc::new(cause))
    }

    /// One error of each kind that a unit can meet, to ask predicates about before any has happened (X3).
    pub(crate) fn one_of_each_kind() -> Vec<Self> {
        let said = [
            ("a serialization failure", Class::Serialization, "40001"),
            ("a deadlock", Class::Deadlock, "40P01"),
            ("a lock that is not available", Class::LockNotAvailable, "55P03"),
            ("a locked database file", Class::Busy, "517"),
            ("a plan that is not valid any more", Class::PlanChanged, "0A000"),
            ("a cancelled query", Class::QueryCanceled, "57014"),
            ("a lost connection", Class::ConnectionLost, "08006"),
            ("a unique violation", Class::Unique, "23505"),
            ("a foreign key violation", Class::ForeignKey, "23503"),
            ("a null value", Class::NotNull, "23502"),
            ("a check violation", Class::Check, "23514"),
            ("another database error", Class::Other, "XX000"),
        ];
        let stale = Error::Stale { entity: "table", key: "key".into(), expected: None, found: None };
        let said = said.into_iter().map(|(message, class, code)| Self::internal(message, class, Some(code)));
        said.chain([stale, Error::Cancelled]).collect()
    }
}

/// The class of a SQLSTATE (R7).
pub fn class_of_sqlstate(code: &str) -> Class {
    match code {
        "40001" => Class::Serialization,
        "40P01" => Class::Deadlock,
        "55P03" => Class::LockNotAvailable,
        "57014" => Class::QueryCanceled,
        "25P02" => Class::AbortedTransaction,
        "40003" => Class::CompletionUnknown,
        "57P01" | "57P02" | "57P03" | "53300" | "25P03" => Class::ConnectionLost,
        "23505" => Class::Unique,
        "23503" => Class::ForeignKey,
        "23502" => Class::NotNull,
        "23514" => Class::Check,
        c if c.starts_with("08") => Class::ConnectionLost,
        _ => Class::Other,
    }
}

impl Error {
    /// Whether a table that has changed since its facts were asked for may be why (D1).
    pub(crate) fn doubts_facts(&self) -> bool {
        match self {
            Error::Database(e) => matches!(e.class, Class::Other | Class::Decode | Class::PlanChanged),
            Error::Usage(_) | Error::Diverted { .. } => true,
            _ => false,
        }
    }
}
