//! SQLite.

mod driver;
mod encoders;
mod facts;

use std::time::Duration;

use sea_orm::{
    ColumnType, ConnectOptions, DatabaseConnection, DatabaseConnectionType, DbBackend,
    sea_query::{Query, SqliteQueryBuilder},
    sqlx::{
        self, Column, Row,
        sqlite::{SqliteError, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::{Begin, Dialect, Lexing, OneWriter, Queues, Sets, errors::Names};
use crate::{
    error::Class,
    table::{columns::ColumnMeta, value_ref::Exactness},
};

/// How long a writer waits for SQLite's write lock before it is told that the file is busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Begins a unit that may write: its reads are of the moment from which nobody else writes.
const WRITES: &str = "BEGIN IMMEDIATE";

pub(super) static SQLITE: Dialect = Dialect {
    name: "SQLite",
    backend: DbBackend::Sqlite,
    schemes: &["sqlite"],
    deferrable: Err("`deferrable`; a read-only unit there never fails a conflict"),
    immediate: Ok(()),
    set_local: Err("`set_local`; there are no transaction settings, use `tenant` for tenants"),
    statement_timeout: Err("`statement_timeout`; bound the future with `tokio::time::timeout`"),
    two_phase: Err("two-phase commit; leave out `two_phase`"),
    settle: Err("`settle`; there is no server whose answer could be lost"),
    commit_tokens: Err("commit tokens; there is no server whose answer could be lost"),
    advisory_locks: Err("advisory locks; a writing unit holds the write lock of the whole file already"),
    transaction_ids: None,
    replicas: Err("replicas; a file has none, and its read-only units run beside the writing one already"),
    cluster: Err("nodes that each take writes, and `causal`; a file has no servers"),
    lock_timeout: Err(
        "`lock_timeout`; no row is locked there, and `busy_timeout` of a pool's connections bounds the wait for the file",
    ),
    aborts_after_errors: false,
    breaks_off: true,
    cursors: false,
    outbox: Ok(()),
    one_writer: Some(OneWriter { begins: WRITES, patience: BUSY_TIMEOUT }),
    queues: Queues::OneWriter,
    channels: None,
    sets: Sets::Values,
    copying: None,
    // Moments are texts that may be written in many ways, and decimals are numbers.
    compares_every_kind: false,
    acts_within_statements: true,
    unsigned: false,
    one_side_collates: false,
    numbered_parameters: true,
    on_conflict: true,
    reads_latest: "",
    implicit_commits: false,
    // SQLite's own text leaves the lock out.
    shows_locks_as: DbBackend::Postgres,
    #[cfg(feature = "testing")]
    enum_types: false,
    most_parameters: 32_766,
    most_bytes: 16 << 20,
    sign: '?',
    hole: "?",
    big: "bigint",
    now: Err("the clock of the database, which is this process"),
    lexing: Lexing {
        nested_comments: false,
        escape_strings: false,
        dollar_quotes: false,
        backticks: true,
        brackets: true,
        bare_bodies: true,
        backslashes: false,
        hash_comments: false,
        executable_comments: false,
    },
    begin,
    // The tenant is bound to objects, and the words of the text are all that can write.
    read_alone: |statement, _, _| statement.clone(),
    end,
    unchanged,
    expression: |expression| {
        Query::select().expr(expression).to_owned().to_string(SqliteQueryBuilder)["SELECT ".len()..].to_owned()
    },
    exactness,
    binds: |_| true,
    row: encoders::row,
    rows: encoders::rows,
    facts_question: |table| facts::question(table, table.schema.as_deref()),
    facts_again: facts::second_question,
    facts: facts::facts,
    recheck: None,
    prepare,
    owns: |pool: &DatabaseConnection| matches!(pool.inner, DatabaseConnectionType::SqlxSqlitePoolConnection(_)),
    acquire: driver::acquire,
    class,
    names_in,
    column_names: |row| Some(row.try_as_sqlite_row()?.columns().iter().map(Column::name).collect()),
};

fn begin(begin: &Begin<'_>, sql: &mut String) {
    *sql += if begin.read_only { "BEGIN; PRAGMA query_only = 1" } else { WRITES };
}

fn end(commit: bool, read_only: bool) -> &'static str {
    match (commit, read_only) {
        (true, false) => "COMMIT",
        (true, true) => "COMMIT; PRAGMA query_only = 0",
        (false, false) => "ROLLBACK",
        (false, true) => "ROLLBACK; PRAGMA query_only = 0",
    }
}

fn unchanged(_: &ColumnMeta, column: &str, loaded: &str) -> String {
    format!("{column} IS {loaded}")
}

/// SQLite keeps decimals as numbers, moments and documents as texts.
fn exactness(declared: &ColumnType) -> Exactness {
    match declared {
        ColumnType::Decimal(_) | ColumnType::Money(_) => Exactness::Value,
        ColumnType::Array(element) => exactness(element),
        _ => Exactness::Form,
    }
}

fn prepare(options: &mut ConnectOptions, url: &str) {
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
    });
    if in_memory {
        // A second connection would be a second, empty database; a closed one would lose it.
        options.max_connections(1).min_connections(1).idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
    } else if options.get_max_connections().is_none() {
        options.max_connections(8);
    }
}

fn class(error: &dyn sqlx::error::DatabaseError, code: &str) -> Option<Class> {
    error.try_downcast_ref::<SqliteError>()?;
    // The primary result code is the low byte of the extended one: 5 is BUSY (517 its snapshot form), 6 is LOCKED.
    Some(match code.parse::<u32>().unwrap_or_default() & 0xff {
        5 | 6 => Class::Busy,
        9 => Class::QueryCanceled,
        17 => Class::PlanChanged,
        _ => Class::Other,
    })
}

/// SQLite names things in its message only: `UNIQUE constraint failed: author.name, author.born`.
fn names_in<'e>(error: &'e (dyn sqlx::error::DatabaseError + 'static)) -> Option<Names<'e>> {
    error.try_downcast_ref::<SqliteError>()?;
    let Some((kind, constraint)) = error.message().split_once(" constraint failed: ") else {
        return Some(Names::default());
    };
    // A CHECK is named by itself, or by its expression.
    let columns = matches!(kind, "UNIQUE" | "NOT NULL").then_some(constraint);
    let (table, column) = columns.and_then(|columns| columns.split_once('.')).unzip();
    let column = column.filter(|column| !column.contains(", "));
    Some(Names { constraint: Some(constraint), table, column })
}
