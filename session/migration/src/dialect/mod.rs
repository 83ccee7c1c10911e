//! The backends (Y1): what each can do, its texts, its lock and its connections, a folder each.
//!
//! A new backend is a folder here, a line in [`DIALECTS`], and a Cargo feature, without which it is not there at all (Y4).
//! Nothing outside this room names a backend: what differs is asked of its dialect, by what it can do.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use sea_orm::{
    ColumnType, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, TransactionOptions,
    TransactionTrait, sqlx,
};

use crate::{
    error::{Error, by_database},
    lock::{Lock, Wanted},
    options::Options,
    sql,
};

/// The backend as SeaORM names it, for signatures of its own; nothing is decided by it.
pub(crate) type SeaBackend = DbBackend;

/// Every dialect that is built in: a line each.
pub(crate) static DIALECTS: &[&dyn Dialect] = &[
    #[cfg(feature = "postgres")]
    &postgres::Postgres,
    #[cfg(feature = "sqlite")]
    &sqlite::Sqlite,
    #[cfg(feature = "mysql")]
    &mysql::MySql,
];

/// A thing that can be done, or why it cannot.
pub(crate) type Can<T> = Result<T, &'static str>;

/// One backend.
#[async_trait]
pub(crate) trait Dialect: fmt::Debug + Send + Sync {
    /// What messages call it.
    fn name(&self) -> &'static str;
    /// What its feature and the command call it.
    #[cfg(feature = "cli")]
    fn key(&self) -> &'static str;
    fn backend(&self) -> SeaBackend;

    // ---- what it can do
    /// What is known of statements that commit by themselves; `None` where the schema changes in transactions as rows do.
    fn commits(&self) -> Option<&'static Commits> {
        None
    }
    /// Whether a statement is refused, or ignored, inside a transaction.
    fn shuns_transactions(&self, _sql: &str) -> bool {
        false
    }
    /// Whether nobody tells which statement of a migration has failed.
    fn hides_failed_statements(&self) -> bool {
        false
    }
    /// Whether there are roles that row-level security binds (T3).
    fn roles(&self) -> Can<()>;
    /// The question what the current role may do that it should not; `None` where there is nothing to ask.
    fn excess_rights(&self) -> Can<Option<&'static str>>;

    // ---- texts
    fn quoted(&self, name: &str) -> String {
        format!(r#""{}""#, name.replace('"', "\"\""))
    }
    /// Whether there is a table of the name that is the one parameter; asks only for what every role may see.
    fn has_table(&self) -> &'static str;
    /// Whether this role may read a table; `None` where it may read all that it sees.
    fn may_read(&self, _table: &str) -> Option<String> {
        None
    }
    /// The columns of the ledger, and what follows them.
    fn ledger(&self) -> &'static str {
        "(
    version text NOT NULL PRIMARY KEY,
    state text NOT NULL,
    checksum text,
    statements_done bigint NOT NULL DEFAULT 0,
    started_at bigint NOT NULL,
    finished_at bigint,
    duration_ms bigint,
    runner text NOT NULL
)"
    }
    /// The schema as lines (kind, name, definition), and the name that definitions call it by.
    fn catalogue(&self) -> (&'static str, &'static str);
    /// The columns of a table: name, type, whether it is NOT NULL, place in the primary key or -1.
    fn columns_of(&self, table: &str) -> String;
    /// What a type that entities use is called; empty for one that is not compared.
    fn type_names(&self, kind: &ColumnType) -> &'static [&'static str];
    /// The number of a transaction's connection, by which [`Lock::last_statement`] knows it.
    fn connection_number(&self) -> Option<&'static str> {
        None
    }

    // ---- errors
    /// Whether a lock could not be had in the time allowed.
    fn is_lock_timeout(&self, error: &dyn sqlx::error::DatabaseError) -> bool;
    /// Whether the thing to be made is there already, or the thing to be dropped is gone.
    fn is_done_already(&self, error: &dyn sqlx::error::DatabaseError) -> bool;

    // ---- what it does
    /// How a migration's transaction begins.
    fn transaction(&self) -> TransactionOptions {
        TransactionOptions::default()
    }
    /// Waits for the lock (G2).
    async fn lock(&self, wanted: Wanted<'_>) -> Result<Box<dyn Lock>, Error>;
    /// At most so many connections like those of `db`, with the runner's timeouts, each of which sends `guard` first; `None`
    /// where only the given pool reaches the database.
    async fn connections(
        &self,
        db: &DatabaseConnection,
        options: &Options,
        guard: String,
        most: u32,
    ) -> Result<Option<DatabaseConnection>, DbErr>;
    /// Drops everything of the current schema but this table.
    async fn drop_everything(&self, db: &DatabaseConnection, but: &str) -> Result<(), DbErr>;
    /// Clears away what a failed statement outside of a transaction may have left.
    async fn clear_left_over(&self, _db: &DatabaseConnection, _sql: &str) -> Result<(), DbErr> {
        Ok(())
    }
    /// What makes a role, or corrects it if it exists; only where there are [`roles`](Dialect::roles).
    async fn role_statements(&self, _db: &DatabaseTransaction, _role: &Role<'_>) -> Result<Vec<String>, DbErr> {
        Ok(Vec::new())
    }
    /// An empty schema that goes again.
    async fn scratch(&self, db: &DatabaseConnection) -> Result<Scratch, DbErr>;
    /// Knocks at a server once, where the URL is that of one.
    async fn knock(&self, _url: &str, _patience: Duration) -> Result<(), String> {
        Ok(())
    }
}

/// A role to be made.
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "no other backend has roles that are bound"))]
pub(crate) struct Role<'r> {
    pub(crate) name: &'r str,
    pub(crate) password: Option<&'r str>,
    /// It may not write to these.
    pub(crate) kept: &'r [String],
}

/// Statements that commit by themselves.
pub(crate) struct Commits {
    /// A text as the single statements that it holds.
    pub(crate) split: fn(&str) -> Vec<String>,
    pub(crate) effect: fn(&str) -> Effect,
}

impl Commits {
    /// Whether a text changes rows only, so that all of it commits with its transaction.
    pub(crate) fn changes_rows_only(&self, sql: &str) -> bool {
        (self.split)(sql).iter().all(|statement| (self.effect)(statement) == Effect::Rows)
    }
}

/// What is known of a statement, should its answer be lost.
#[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "elsewhere the schema changes in transactions"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It commits with the transaction that it is in.
    Rows,
    /// It commits by itself, and the catalogue shows of the tables that it names whether it was carried out.
    Schema,
    /// It may be carried out twice.
    Repeatable,
    /// It is the connection's alone, and statements after it may need it.
    Setting,
    /// It begins or ends a transaction.
    Control,
    /// It commits by itself, and nobody can see whether it was carried out.
    Unseen,
    /// It has statements of its own, of which some may have been carried out although it has failed.
    Several,
}

/// An empty schema, for a clean one to be made in.
#[cfg_attr(
    not(all(feature = "postgres", any(feature = "sqlite", feature = "mysql"))),
    expect(dead_code, reason = "each backend has one of them")
)]
pub(crate) enum Scratch {
    /// Rolled back at its end.
    Transaction(DatabaseTransaction),
    /// Closed at its end.
    Database(DatabaseConnection, Option<LastStatement>),
}

impl Scratch {
    pub(crate) async fn end(self) -> Result<(), DbErr> {
        match self {
            Self::Transaction(transaction) => transaction.rollback().await,
            Self::Database(connection, last) => {
                if let Some(mut last) = last {
                    last.send().await?;
                }
                connection.close().await
            }
        }
    }
}

/// A statement that is sent at the end, also of a future that is dropped.
pub(crate) struct LastStatement {
    connection: DatabaseConnection,
    sql: Option<String>,
}

impl LastStatement {
    #[cfg(feature = "mysql")]
    pub(crate) fn new(connection: &DatabaseConnection, sql: String) -> Self {
        Self { connection: connection.clone(), sql: Some(sql) }
    }

    async fn send(&mut self) -> Result<(), DbErr> {
        match self.sql.take() {
            Some(sql) => sql::send(&self.connection, &sql).await,
            None => Ok(()),
        }
    }
}

impl Drop for LastStatement {
    fn drop(&mut self) {
        if let (Some(sql), Ok(runtime)) = (self.sql.take(), tokio::runtime::Handle::try_current()) {
            let connection = self.connection.clone();
            runtime.spawn(async move { sql::send(&connection, &sql).await });
        }
    }
}

impl dyn Dialect + '_ {
    /// A transaction as a migration's begins: one that has SQLite's write lock from its start.
    pub(crate) async fn begin(&self, db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
        db.begin_with_options(self.transaction()).await
    }

    pub(crate) async fn table_is_there<C: ConnectionTrait>(&self, db: &C, table: &str) -> Result<bool, DbErr> {
        Ok(sql::one(db, self.has_table(), [table.into()]).await?.try_get_by_index::<i64>(0)? > 0)
    }

    pub(crate) fn timed_out(&self, error: &DbErr) -> bool {
        by_database(error).is_some_and(|error| self.is_lock_timeout(error))
    }

    pub(crate) fn was_done_already(&self, error: &DbErr) -> bool {
        by_database(error).is_some_and(|error| self.is_done_already(error))
    }
}

/// The dialect of a backend.
///
/// # Errors
/// Its driver is not built in.
pub(crate) fn of(backend: SeaBackend) -> Result<&'static dyn Dialect, DbErr> {
    let found = DIALECTS.iter().copied().find(|dialect| dialect.backend() == backend);
    found.ok_or_else(|| DbErr::Custom(no_driver()))
}

/// What is said of a database whose driver is not built in.
pub(crate) fn no_driver() -> String {
    let built_in: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name()).collect();
    format!("this program migrates {} only", built_in.join(" and "))
}

/// Knocks at a database server once. A pool would try a refused connection again until its patience (30 seconds) ends, and
/// then say only that it ended. `url` is the address; one that names no server needs no knock.
///
/// # Errors
/// Why it cannot be reached.
///
/// # Cancel safety
/// Safe: the connection ends.
pub async fn knock(url: &str, patience: Duration) -> Result<(), String> {
    for dialect in DIALECTS {
        dialect.knock(url, patience).await?;
    }
    Ok(())
}

/// One attempt at a server, within this time.
#[cfg(any(feature = "postgres", feature = "mysql"))]
async fn knock_once<C: sqlx::Connection>(url: &str, patience: Duration) -> Result<(), String> {
    match tokio::time::timeout(patience, C::connect(url)).await {
        Ok(Ok(connection)) => connection.close().await.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the server did not answer within {patience:?}")),
    }
}
