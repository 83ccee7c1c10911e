//! MySQL and MariaDB.
//!
//! Statements of ours quote names as the standard does, so BEGIN puts each connection into that mode, and into the strict one: a
//! value that does not fit is an error there, never cut or set to zero. Which of the two servers answers, and what it can do, a
//! table's facts say.

mod driver;
mod encoders;
mod facts;
mod two_phase;

use std::fmt::Write;

use sea_orm::{
    ColumnType, ConnectOptions, DatabaseConnection, DatabaseConnectionType, DbBackend,
    sea_query::{MysqlQueryBuilder, Query},
    sqlx::{self, Column, Row, mysql::MySqlDatabaseError},
};

use super::{Begin, Cluster, CommitTokens, Dialect, Lexing, Queues, Sets, errors::Names};
use crate::{
    error::Class,
    table::{columns::ColumnMeta, kinds::ColumnKind, value_ref::Exactness},
};

pub(super) static MYSQL: Dialect = Dialect {
    name: "MySQL",
    backend: DbBackend::MySql,
    schemes: &["mysql", "mariadb"],
    deferrable: Err(
        "`deferrable`; a read-only unit with `isolation(RepeatableRead)` reads one snapshot and waits for nobody",
    ),
    immediate: Err("`immediate`; it is SQLite's way to take the write lock at BEGIN"),
    set_local: Err("`set_local`; there are no settings of a transaction, use `tenant` for tenants"),
    statement_timeout: Ok(()),
    two_phase: Ok(two_phase::TWO_PHASE),
    settle: Ok(()),
    commit_tokens: Ok(CommitTokens {
        create: "CREATE TABLE IF NOT EXISTS sea_session_commits (token char(36) CHARACTER SET ascii COLLATE ascii_bin \
                 PRIMARY KEY, fence boolean NOT NULL DEFAULT false, at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) \
                 ENGINE = InnoDB",
        insert_unless_there: ("INSERT IGNORE", ""),
        reads_all: "/*M!100600 SET STATEMENT wsrep_sync_wait = 1 FOR */ ",
        seconds: ("INTERVAL ", " SECOND"),
    }),
    advisory_locks: Ok(driver::ADVISORY_LOCKS),
    transaction_ids: None,
    replicas: Err("replicas; open a `Db` of its own for each, whose reads are then not known to see what was written"),
    cluster: Ok(Cluster { question: "SHOW VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'", is_outside }),
    lock_timeout: Ok(()),
    aborts_after_errors: false,
    breaks_off: false,
    cursors: false,
    outbox: Ok(()),
    one_writer: None,
    queues: Queues::Documents,
    channels: None,
    sets: Sets::Documents,
    copying: None,
    compares_every_kind: false,
    acts_within_statements: true,
    unsigned: true,
    one_side_collates: true,
    numbered_parameters: false,
    on_conflict: false,
    reads_latest: " LOCK IN SHARE MODE",
    implicit_commits: true,
    shows_locks_as: DbBackend::MySql,
    #[cfg(feature = "testing")]
    enum_types: false,
    most_parameters: 65_535,
    // Both servers' default of `max_allowed_packet` is 16 MiB or more.
    most_bytes: 4 << 20,
    sign: '?',
    hole: "?",
    big: "SIGNED",
    now: Ok("NOW(6)"),
    lexing: Lexing {
        nested_comments: false,
        escape_strings: false,
        dollar_quotes: false,
        backticks: true,
        brackets: false,
        bare_bodies: true,
        backslashes: true,
        hash_comments: true,
        executable_comments: true,
    },
    begin,
    read_alone: |statement, _, _| statement.clone(),
    end: |commit, _| if commit { COMMIT } else { ROLLBACK },
    unchanged,
    expression: |expression| {
        Query::select().expr(expression).to_owned().to_string(MysqlQueryBuilder)["SELECT ".len()..].to_owned()
    },
    exactness,
    binds: |_| true,
    row: encoders::row,
    rows: encoders::rows,
    facts_question: facts::question,
    facts_again: |_, _| None,
    facts: facts::facts,
    recheck: None,
    prepare,
    owns: |pool: &DatabaseConnection| matches!(pool.inner, DatabaseConnectionType::SqlxMySqlPoolConnection(_)),
    acquire: driver::acquire,
    class,
    names_in,
    column_names: |row| Some(row.try_as_mysql_row()?.columns().iter().map(Column::name).collect()),
};

/// The first savepoint of each transaction. The server forgets it with the transaction, so that what releases it fails where the
/// transaction has ended by itself (an implicit commit, a deadlock, another node's sake) instead of saying that all is well (D11).
const UNIT: &str = "sea_session_unit";
const COMMIT: &str = "RELEASE SAVEPOINT sea_session_unit; COMMIT";
const ROLLBACK: &str = "RELEASE SAVEPOINT sea_session_unit; ROLLBACK";

/// What the pool has for the timeouts that a unit sets, and what gives it back: they are the connection's, not the transaction's. What
/// only one of the two servers knows stands in a comment that only that one reads.
const KEEP_TIMEOUTS: &str = ", @sea_session_rows = @@innodb_lock_wait_timeout, @sea_session_tables = @@lock_wait_timeout\
    /*M!100600 , @sea_session_statements = @@max_statement_time */ /*!80000 , @sea_session_statements = @@max_execution_time */";
const GIVE_TIMEOUTS_BACK: &str = ", innodb_lock_wait_timeout = @sea_session_rows, lock_wait_timeout = @sea_session_tables\
    /*M!100600 , max_statement_time = @sea_session_statements */ /*!80000 , max_execution_time = @sea_session_statements */";

/// Names are quoted as in the standard; what does not fit is an error; a key of zero is zero.
const MODES: &str = "ANSI_QUOTES,STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO";

fn begin(begin: &Begin<'_>, sql: &mut String) {
    // Where a transaction has ended unsaid, what is sent after it must not be committed by itself. The driver takes it back at the
    // transaction's end.
    _ = write!(sql, "SET sql_mode = CONCAT(@@sql_mode, ',{MODES}'), autocommit = 0");
    if begin.statement_timeout.is_some() || begin.lock_timeout.is_some() {
        *sql += KEEP_TIMEOUTS;
    }
    if let Some(timeout) = begin.statement_timeout {
        let millis = timeout.as_millis().max(1);
        _ = write!(
            sql,
            "/*M!100600 , max_statement_time = {}.{:03} */ /*!80000 , max_execution_time = {millis} */",
            millis / 1_000,
            millis % 1_000
        );
    }
    // Whole seconds are all that it knows; the second is of locks on tables.
    if let Some(timeout) = begin.lock_timeout {
        let seconds = timeout.as_millis().div_ceil(1_000).max(1);
        _ = write!(sql, ", innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}");
    }
    // A node waits at the beginning of a transaction, and nowhere in it.
    if begin.causal {
        *sql += "; SET wsrep_sync_wait = 1";
    }
    if let Some(level) = begin.isolation {
        _ = write!(sql, "; SET TRANSACTION ISOLATION LEVEL {level}");
    }
    match begin.name {
        Some(name) => _ = write!(sql, "; XA START {}", two_phase::quoted(name)),
        None => *sql += if begin.read_only { "; START TRANSACTION READ ONLY" } else { "; START TRANSACTION" },
    }
    if begin.causal {
        *sql += "; SET wsrep_sync_wait = DEFAULT";
    }
    *sql += begin.fixed;
    _ = write!(sql, "; SAVEPOINT {UNIT}; SELECT CONNECTION_ID() AS {}", driver::CONNECTION);
}

/// Texts are compared by their bytes, not as their collation does. What only travels as a text is compared as what it is cast to: a
/// `decimal(8, 2)` holds 1.50, and a cast to `decimal(30, 10)` gives 1.5000000000.
fn unchanged(meta: &ColumnMeta, column: &str, loaded: &str) -> String {
    match ColumnKind::of(&meta.kind) {
        _ if meta.is_cast(&MYSQL) && !casts_to_text(&meta.save(&MYSQL, "")) => format!("{column} <=> {loaded}"),
        ColumnKind::String | ColumnKind::Char | ColumnKind::Enum => {
            let bytes = |sql: &str| format!("CAST(CONVERT({sql} USING utf8mb4) AS BINARY)");
            format!("{} <=> {}", bytes(column), bytes(loaded))
        }
        _ => format!("{column} <=> {loaded}"),
    }
}

/// Whether a cast, as SeaORM writes it, is one to a type of texts.
fn casts_to_text(cast: &str) -> bool {
    let target = cast.to_ascii_uppercase();
    ["CHAR", "NCHAR", "VARCHAR", "BINARY"].iter().any(|text| target.contains(&format!(" AS {text}")))
}

/// Decimals have the column's scale, moments have no offset.
fn exactness(declared: &ColumnType) -> Exactness {
    match declared {
        ColumnType::Decimal(_)
        | ColumnType::Money(_)
        | ColumnType::Timestamp
        | ColumnType::TimestampWithTimeZone
        | ColumnType::Json
        | ColumnType::JsonBinary => Exactness::Value,
        _ => Exactness::Form,
    }
}

fn prepare(options: &mut ConnectOptions, _: &str) {
    // The driver's own defaults: utf8mb4, UTC, and rows that were found counted rather than those that were changed.
    options.map_sqlx_mysql_opts(|mysql| mysql.charset("utf8mb4").timezone(Some("+00:00".to_owned())));
}

fn class(error: &dyn sqlx::error::DatabaseError, _: &str) -> Option<Class> {
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(match error.number() {
        // A row that was changed since the snapshot was taken.
        1020 => Class::Serialization,
        1213 | 1614 => Class::Deadlock,
        1205 | 3572 => Class::LockNotAvailable,
        1317 | 1969 | 3024 => Class::QueryCanceled,
        // A statement that must be prepared anew, or is not known any more; a table that was changed since the snapshot.
        1243 | 1412 | 1615 => Class::PlanChanged,
        // COMMIT has failed in the middle: a node that loses its cluster there does not know whether the others have it.
        1180 => Class::CompletionUnknown,
        // Too many connections, a shutdown, a network that failed, a node outside its cluster, a killed connection.
        1040 | 1047 | 1053 | 1152 | 1158..=1161 | 1184 | 1203 | 1927 | 4031 => Class::ConnectionLost,
        _ => Class::Other,
    })
}

/// Whether a node says that it has no part in its cluster: it does not take a statement before it has.
fn is_outside(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|error| error.number() == 1047)
}

/// The server names things in its message only.
fn names_in<'e>(error: &'e (dyn sqlx::error::DatabaseError + 'static)) -> Option<Names<'e>> {
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    let message = error.message();
    // `Column 'name' cannot be null`.
    let column = message.strip_prefix("Column '").filter(|_| error.number() == 1048);
    let column = column.and_then(|rest| rest.split('\'').next());
    Some(Names { constraint: constraint(message), table: None, column })
}

/// `… for key 'name'`, `… CONSTRAINT `name` …`.
fn constraint(message: &str) -> Option<&str> {
    let (begins, ends) = match message.rsplit_once("' for key '") {
        Some((_, rest)) => (rest, '\''),
        None => (message.split_once("CONSTRAINT `")?.1, '`'),
    };
    begins.split(ends).next()
}
