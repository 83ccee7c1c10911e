//! PostgreSQL.

mod copy;
mod driver;
mod encoders;
mod facts;
mod listener;
mod replication;

use std::fmt::Write as _;

use sea_orm::{
    ColumnType, ConnectOptions, DatabaseConnection, DatabaseConnectionType, DbBackend, Statement,
    sea_query::{ArrayType, PostgresQueryBuilder, Query, Values},
    sqlx::{self, Column, Executor, Row, postgres::PgDatabaseError},
};

use super::{
    AdvisoryLocks, Begin, Channels, CommitTokens, Dialect, Lexing, Queues, Recheck, Sets, TransactionIds, TwoPhase,
    errors::Names,
};
use crate::{
    error::{Class, class_of_sqlstate},
    table::{columns::ColumnMeta, sql::literal, value_ref::Exactness},
};

pub(super) static POSTGRES: Dialect = Dialect {
    name: "PostgreSQL",
    backend: DbBackend::Postgres,
    schemes: &["postgres", "postgresql"],
    deferrable: Ok(()),
    immediate: Err("`immediate`; it is SQLite's way to take the write lock at BEGIN"),
    set_local: Ok(()),
    statement_timeout: Ok(()),
    two_phase: Ok(TWO_PHASE),
    settle: Ok(()),
    commit_tokens: Ok(CommitTokens {
        create: "CREATE TABLE IF NOT EXISTS sea_session_commits (token uuid PRIMARY KEY, \
                 fence boolean NOT NULL DEFAULT false, at timestamptz NOT NULL DEFAULT now())",
        insert_unless_there: ("INSERT", " ON CONFLICT DO NOTHING"),
        reads_all: "",
        seconds: ("interval '", " seconds'"),
    }),
    advisory_locks: Ok(AdvisoryLocks {
        wait: "SELECT pg_advisory_xact_lock($1)",
        may_give_up: false,
        try_once: "SELECT pg_try_advisory_xact_lock($1) AS taken",
    }),
    transaction_ids: Some(TransactionIds {
        id: "pg_current_xact_id()::text",
        fate: "SELECT pg_xact_status($1::text::xid8) AS status, \
             extract(epoch FROM clock_timestamp() - stats_reset)::float8 AS recovered FROM pg_stat_archiver",
        never_given: "22023",
    }),
    replicas: Ok(replication::REPLICATION),
    cluster: Err("nodes that each take writes, and `causal`; `replicas` with `reads_after` are what there is"),
    lock_timeout: Ok(()),
    aborts_after_errors: true,
    breaks_off: false,
    cursors: true,
    outbox: Ok(()),
    one_writer: None,
    queues: Queues::Arrays,
    channels: Some(Channels { tell: listener::tell, listen: listener::listen }),
    sets: Sets::Arrays,
    copying: Some(copy::COPY),
    compares_every_kind: true,
    acts_within_statements: false,
    unsigned: false,
    one_side_collates: false,
    numbered_parameters: true,
    on_conflict: true,
    reads_latest: "",
    implicit_commits: false,
    shows_locks_as: DbBackend::Postgres,
    #[cfg(feature = "testing")]
    enum_types: true,
    most_parameters: 65_535,
    most_bytes: 16 << 20,
    sign: '$',
    hole: "$1",
    big: "bigint",
    now: Ok("statement_timestamp()"),
    lexing: Lexing {
        nested_comments: true,
        escape_strings: true,
        dollar_quotes: true,
        backticks: false,
        brackets: false,
        bare_bodies: false,
        backslashes: false,
        hash_comments: false,
        executable_comments: false,
    },
    begin,
    read_alone,
    end: |commit, _| if commit { "COMMIT" } else { "ROLLBACK" },
    unchanged,
    expression: |expression| {
        Query::select().expr(expression).to_owned().to_string(PostgresQueryBuilder)["SELECT ".len()..].to_owned()
    },
    exactness,
    binds: encoders::SingleRow::takes,
    row: encoders::row,
    rows: encoders::rows,
    facts_question: facts::question,
    facts_again: |_, _| None,
    facts: facts::facts,
    recheck: Some(Recheck { undisturbed: facts::undisturbed, still_default: facts::still_default }),
    prepare,
    owns: |pool: &DatabaseConnection| matches!(pool.inner, DatabaseConnectionType::SqlxPostgresPoolConnection(_)),
    acquire: driver::acquire,
    class,
    names_in,
    column_names: |row| Some(row.try_as_pg_row()?.columns().iter().map(Column::name).collect()),
};

/// What is prepared in another database of the same server is not this one's to judge by.
const TWO_PHASE: TwoPhase = TwoPhase {
    named_at_begin: false,
    place: None,
    prepare: |name| format!("PREPARE TRANSACTION {}", literal(name)),
    end: |commit, name| format!("{} PREPARED {}", if commit { "COMMIT" } else { "ROLLBACK" }, literal(name)),
    not_there: "42704",
    busy: "55000",
    prepared: |prefix, grace| {
        format!(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE '{prefix}:%' \
             AND prepared < clock_timestamp() - interval '{} milliseconds' ORDER BY prepared",
            grace.as_millis()
        )
    },
    names: |rows, _, _| rows.iter().map(|row| row.try_get("", "gid")).collect(),
};

/// BEGIN, its modes and the local settings in one message (section 5).
fn begin(begin: &Begin<'_>, sql: &mut String) {
    *sql += "BEGIN";
    if let Some(level) = begin.isolation {
        _ = write!(sql, " ISOLATION LEVEL {level}");
    }
    if begin.read_only {
        *sql += " READ ONLY";
    }
    if begin.deferrable {
        *sql += " DEFERRABLE";
    }
    if let Some(timeout) = begin.statement_timeout {
        _ = write!(sql, "; SET LOCAL statement_timeout = {}", timeout.as_millis().max(1));
    }
    if let Some(timeout) = begin.lock_timeout {
        _ = write!(sql, "; SET LOCAL lock_timeout = {}", timeout.as_millis().max(1));
    }
    *sql += begin.fixed;
    // One statement, whatever is asked for: each is parsed, planned and answered.
    let settings = begin.set_local.iter().chain(begin.tenant);
    let settings = settings.map(|(key, value)| format!("set_config('{key}', {}, true)", literal(value)));
    let asked = settings.chain(begin.tell_id.then(|| POSTGRES.xid()));
    for (at, asked) in asked.enumerate() {
        *sql += if at == 0 { "; SELECT " } else { ", " };
        *sql += &asked;
    }
}

/// The statement with the settings in it. `LATERAL`, and the offset that asks for what the settings gave, keep the planner from
/// looking at any row before they are bound; settings that are local to a transaction end with the statement.
fn read_alone(statement: &Statement, settings: &[(&str, &str)], read_only: bool) -> Statement {
    let read_only = read_only.then_some(("transaction_read_only", "on"));
    let settings: Vec<(&str, &str)> = settings.iter().copied().chain(read_only).collect();
    if settings.is_empty() {
        return statement.clone();
    }
    let mut values = statement.values.clone().unwrap_or(Values(Vec::new())).0;
    let mut sql = String::with_capacity(statement.sql.len() + 256);
    sql += "SELECT answer.* FROM (SELECT ";
    for (at, (key, value)) in settings.into_iter().enumerate() {
        sql += if at == 0 { "" } else { " || " };
        values.push(value.into());
        _ = write!(sql, "set_config('{key}', ${}, true)", values.len());
    }
    sql += " AS bound) AS unit CROSS JOIN LATERAL (SELECT asked.* FROM (";
    sql += &statement.sql;
    sql += "\n) AS asked OFFSET length(unit.bound) * 0) AS answer";
    Statement { sql, values: Some(Values(values)), db_backend: statement.db_backend }
}

/// A type that values are cast to may have no equality, so those are compared as texts.
fn unchanged(meta: &ColumnMeta, column: &str, loaded: &str) -> String {
    match meta.is_cast(&POSTGRES) && !matches!(meta.kind, ArrayType::Enum(_)) {
        true => format!("CAST({column} AS text) IS NOT DISTINCT FROM CAST({loaded} AS text)"),
        false => format!("{column} IS NOT DISTINCT FROM {loaded}"),
    }
}

fn exactness(declared: &ColumnType) -> Exactness {
    match declared {
        ColumnType::Decimal(Some(_))
        | ColumnType::Money(_)
        | ColumnType::TimestampWithTimeZone
        | ColumnType::JsonBinary => Exactness::Value,
        ColumnType::Array(element) => exactness(element),
        _ => Exactness::Form,
    }
}

fn prepare(options: &mut ConnectOptions, _: &str) {
    options.map_sqlx_postgres_pool_opts(|pool| {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                // A server that does not know the setting only frees locks later.
                #[expect(clippy::disallowed_methods, reason = "set-up of a connection, before any session owns it")]
                let _ = connection.execute("SET client_connection_check_interval = 100").await;
                Ok(())
            })
        })
    });
}

fn class(error: &dyn sqlx::error::DatabaseError, code: &str) -> Option<Class> {
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    let changed = is_plan_changed(code, error.routine(), error.message());
    Some(if changed { Class::PlanChanged } else { class_of_sqlstate(code) })
}

/// Whether a statement failed because of what the connection remembers of it (E5). The server may speak any language, so its
/// sentence is asked only for what it does not translate: the driver's own names, and sentences that are never translated.
fn is_plan_changed(code: &str, routine: Option<&str>, message: &str) -> bool {
    match code {
        // "cached plan must not change result type"
        "0A000" => routine == Some("RevalidateCachedQuery"),
        // A prepared statement that does not exist, or exists already; of the driver, not of the caller.
        "26000" | "42P05" => message.contains("\"sqlx_s_"),
        // A type that was dropped and made again.
        "XX000" => message.starts_with("cache lookup failed for type"),
        _ => false,
    }
}

fn names_in<'e>(error: &'e (dyn sqlx::error::DatabaseError + 'static)) -> Option<Names<'e>> {
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    Some(Names { constraint: error.constraint(), table: error.table(), column: error.column() })
}
