//! The backends (Y1). A dialect is a static of one type: what the backend can do, its limits, its texts and functions. It says
//! why it cannot do a thing, so that the refusal is the same wherever it is asked for.
//!
//! A new backend is a folder here, a line in [`DIALECTS`], and a Cargo feature, without which it is not there at all (Y4); its
//! driver, facts and encoders are reached through its [`Dialect`]. Nothing outside this room names a backend: what differs is
//! asked of the dialect, by what it can do.

pub(crate) mod columns;
pub(crate) mod documents;
mod driver;
mod errors;
pub(crate) mod message;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod replication;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transaction_ids;

use std::{borrow::Cow, fmt, ptr, time::Duration};

use futures_util::future::BoxFuture;
use sea_orm::{
    ColumnType, ConnectOptions, DatabaseConnection, DbBackend, DbErr, IsolationLevel, QueryResult, Statement,
    sea_query::{ArrayType, Expr},
    sqlx,
};
use smallvec::SmallVec;

use crate::{
    error::{Class, Error},
    table::{
        columns::ColumnMeta,
        facts::{KnownDefault, Stored, TableFacts},
        kinds::Form,
        meta::TableMeta,
        row_sink::RowSink,
        value_ref::Exactness,
    },
};
pub(crate) use driver::{Driver, Listener, Unfinished};
use errors::Names;
use message::Arguments;
pub use replication::Position;
pub(crate) use replication::Replication;
pub(crate) use transaction_ids::TransactionIds;

/// The backend as SeaORM names it, for signatures of its own and for statements; nothing is decided by it.
pub(crate) type SeaBackend = DbBackend;

/// Every dialect that is built in: a line each.
pub(crate) static DIALECTS: &[&Dialect] = &[
    #[cfg(feature = "sqlite")]
    &sqlite::SQLITE,
    #[cfg(feature = "postgres")]
    &postgres::POSTGRES,
    #[cfg(feature = "mysql")]
    &mysql::MYSQL,
];

const _: () =
    assert!(!DIALECTS.is_empty(), "sea-session needs a driver: turn its feature `sqlite`, `postgres` or `mysql` on");

/// A thing that can be done, or why it cannot and what to do instead.
pub(crate) type Can<T = ()> = Result<T, &'static str>;

/// One backend.
pub(crate) struct Dialect {
    /// What errors call it.
    pub(crate) name: &'static str,
    pub(crate) backend: SeaBackend,
    /// What its URLs begin with; the first is the one that is recommended.
    pub(crate) schemes: &'static [&'static str],

    // ---- what it can do
    pub(crate) deferrable: Can,
    pub(crate) immediate: Can,
    pub(crate) set_local: Can,
    pub(crate) statement_timeout: Can,
    pub(crate) two_phase: Can<TwoPhase>,
    /// Whether a lost answer to COMMIT is something that can happen, and be asked about (R9).
    pub(crate) settle: Can,
    /// What is sent about the table of commit tokens (R9, M2).
    pub(crate) commit_tokens: Can<CommitTokens>,
    pub(crate) advisory_locks: Can<AdvisoryLocks>,
    /// How a write tells the transaction's id, and the server what became of it (R9).
    pub(crate) transaction_ids: Option<TransactionIds>,
    /// How servers are asked that replay what this one writes (U9).
    pub(crate) replicas: Can<Replication>,
    /// How a server is asked whether it is a node of a cluster, each of whose nodes takes writes (Y3).
    pub(crate) cluster: Can<Cluster>,
    /// Whether the wait for a row's lock can be bounded.
    pub(crate) lock_timeout: Can,
    /// Whether a failed statement leaves the transaction, up to the nearest savepoint, refusing everything.
    pub(crate) aborts_after_errors: bool,
    /// Whether of a message of several statements that nobody waits for only the first may be carried out.
    pub(crate) breaks_off: bool,
    /// Whether large answers are read through a cursor; otherwise the statement itself is stepped (I6).
    pub(crate) cursors: bool,
    /// Whether an outbox runs here.
    pub(crate) outbox: Can,
    /// That one unit writes at a time, and the others wait for it.
    pub(crate) one_writer: Option<OneWriter>,
    /// What an outbox divides its work by (Q3).
    pub(crate) queues: Queues,
    /// How one process tells others something at once; without, they poll (Q6).
    pub(crate) channels: Option<Channels>,
    /// How rows of a set travel in one statement.
    pub(crate) sets: Sets,
    /// A way for many new rows that is quicker than any statement, where a table permits it (D2).
    pub(crate) copying: Option<Copying>,
    /// Whether numbers of 64 bits without a sign are held up to their last.
    pub(crate) unsigned: bool,
    /// Whether equal values of every kind compare equal: moments in any spelling, numbers of any scale (P1).
    pub(crate) compares_every_kind: bool,
    /// Whether foreign keys act row by row in the middle of a statement, on rows that it is still to change too.
    pub(crate) acts_within_statements: bool,
    /// Whether a collation that one side of a comparison names is that of both; so the other side need not name it, and an index
    /// that it has serves.
    pub(crate) one_side_collates: bool,
    /// Whether parameters have numbers, and so may stand in any order.
    pub(crate) numbered_parameters: bool,
    /// Whether an INSERT may name the key whose conflict makes it an UPDATE; otherwise a row that is there is updated.
    pub(crate) on_conflict: bool,
    /// What stands behind a SELECT that reads what others have committed since the unit's snapshot; nothing where a failed write
    /// shows it, or fails the unit.
    pub(crate) reads_latest: &'static str,
    /// Whether statements that change tables, or rights, commit (D11).
    pub(crate) implicit_commits: bool,
    /// The backend for which SeaORM writes a query's locks, which say how it was meant.
    pub(crate) shows_locks_as: SeaBackend,
    /// Whether enums are types of their own, to be created before the tables that use them.
    #[cfg(feature = "testing")]
    pub(crate) enum_types: bool,

    // ---- limits
    /// The most parameters of one statement.
    pub(crate) most_parameters: usize,
    /// What the values of one statement may come to (D10).
    pub(crate) most_bytes: usize,

    // ---- texts
    /// What stands before the number of a parameter.
    pub(crate) sign: char,
    /// A single parameter in an expression of SeaORM's.
    pub(crate) hole: &'static str,
    /// What a number of 64 bits is cast to.
    pub(crate) big: &'static str,
    /// The moment at which a statement began, if the server knows it better than the caller.
    pub(crate) now: Can<&'static str>,
    pub(crate) lexing: Lexing,
    /// Writes the message that begins a transaction.
    pub(crate) begin: fn(&Begin<'_>, &mut String),
    /// A statement that only reads, as it is sent outside of a transaction: with these settings bound for it alone, and unable to
    /// write if it is to be read-only.
    pub(crate) read_alone: fn(&Statement, settings: &[(&str, &str)], read_only: bool) -> Statement,
    /// COMMIT or ROLLBACK, which also puts back what BEGIN changed on the connection of a read-only unit.
    pub(crate) end: fn(commit: bool, read_only: bool) -> &'static str,
    /// The condition that a column still holds what was loaded, which is SQL (P1).
    pub(crate) unchanged: fn(&ColumnMeta, column: &str, loaded: &str) -> String,
    /// An expression of SeaORM's as SQL.
    pub(crate) expression: fn(Expr) -> String,

    // ---- values
    /// What a column that was declared so keeps of a value.
    pub(crate) exactness: fn(&ColumnType) -> Exactness,
    /// Whether a single value of this kind can be bound without a detour through `Value`.
    pub(crate) binds: fn(&ArrayType) -> bool,
    /// Takes the values of one row, of columns of these kinds.
    pub(crate) row: for<'k> fn(&[&'k ArrayType]) -> BoxedArguments<'k>,
    /// Takes the values of so many rows, of columns of these kinds, as [`Sets`] says that they travel.
    pub(crate) rows: for<'k> fn(rows: usize, &[&'k ArrayType]) -> Result<BoxedArguments<'k>, Error>,

    // ---- the catalogue
    /// The question about a table (D1).
    pub(crate) facts_question: fn(&TableMeta) -> Statement,
    /// The question once more, where the first answer says that only another one tells all.
    pub(crate) facts_again: fn(&TableMeta, &TableFacts) -> Option<Statement>,
    /// What the answer, a document, says.
    pub(crate) facts: fn(&TableMeta, &str) -> Result<TableFacts, serde_json::Error>,
    /// How a statement makes sure that the facts which it was built from still hold.
    pub(crate) recheck: Option<Recheck>,

    // ---- the driver
    /// Sets what connections of this kind should have, before the pool is made.
    pub(crate) prepare: fn(&mut ConnectOptions, url: &str),
    /// Whether a pool of SeaORM's is one of this kind.
    pub(crate) owns: fn(&DatabaseConnection) -> bool,
    /// Takes a connection from such a pool.
    pub(crate) acquire: fn(&DatabaseConnection) -> Acquiring<'_>,
    /// The class of an error with this code, if it is of this driver.
    pub(crate) class: fn(&dyn sqlx::error::DatabaseError, code: &str) -> Option<Class>,
    /// What an error of this database's driver names; `None` if it is another driver's.
    pub(crate) names_in: for<'e> fn(&'e (dyn sqlx::error::DatabaseError + 'static)) -> Option<Names<'e>>,
    /// What the columns of a row are called, if the row is of this driver.
    pub(crate) column_names: for<'r> fn(&'r QueryResult) -> Option<ColumnNames<'r>>,
}

/// How units write where one can at a time.
pub(crate) struct OneWriter {
    /// What is in the message that begins a unit which writes.
    pub(crate) begins: &'static str,
    /// How long a unit waits for its turn before it asks the database, which refuses it if somebody writes.
    pub(crate) patience: Duration,
}

/// A connection on its way from its pool.
pub(crate) type Acquiring<'a> = BoxFuture<'a, Result<Box<dyn Driver>, sqlx::Error>>;

/// The names of an answer's columns.
pub(crate) type ColumnNames<'r> = SmallVec<[&'r str; 16]>;

/// What a queue in a table divides its work by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Queues {
    /// One unit writes at a time, so nobody comes between a look at the rows and their change.
    OneWriter,
    /// Rows that others have locked can be passed over (`SKIP LOCKED`), and arrays be rows (`UNNEST`).
    Arrays,
    /// Rows that others have locked can be passed over, and a document be rows (`JSON_TABLE`); an UPDATE tells nothing of its rows.
    Documents,
}

/// How rows of a set travel in one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sets {
    /// One array a column: the text does not depend on the number of rows.
    Arrays,
    /// One parameter a value, in chunks.
    Values,
    /// New rows as with [`Sets::Values`]; rows that are there as one document, which the statement reads as a table, or a few by their
    /// values where the table's facts say so.
    Documents,
}

/// Rows that go to the server in a form of their own, beside SQL.
#[derive(Clone, Copy)]
pub(crate) struct Copying {
    /// A column, of a type with this number in the catalogue, as it is copied; `None` if it does not take its values' form.
    pub(crate) column: fn(&ColumnMeta, type_oid: i64) -> Option<CopyColumn<'_>>,
    /// The condition that the table still takes rows so; `tables` as in [`Recheck`].
    pub(crate) still: fn(tables: &str) -> String,
    /// The statement that begins it, for columns of these names.
    pub(crate) statement: fn(table: &str, columns: &str) -> String,
    /// What it begins and ends with.
    pub(crate) header: &'static [u8],
    pub(crate) trailer: &'static [u8],
    /// Appends rows of these columns.
    pub(crate) rows: for<'r> fn(&'r mut Vec<u8>, &'r [CopyColumn<'r>]) -> Box<dyn CopyRows + 'r>,
}

/// A column that takes rows beside SQL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyColumn<'a> {
    pub(crate) form: Form,
    pub(crate) kind: &'a ArrayType,
    pub(crate) type_oid: i64,
}

/// What appends rows to a piece of a copy.
pub(crate) trait CopyRows {
    fn sink(&mut self) -> &mut dyn RowSink;
    /// How long the piece is so far.
    fn bytes(&self) -> usize;
}

/// Conditions that a table still is as its facts say. `tables` is an array of the catalogue's numbers, the table's own first.
#[derive(Clone, Copy)]
pub(crate) struct Recheck {
    /// Nothing has come between new rows and these tables.
    pub(crate) undisturbed: fn(tables: &str) -> String,
    /// A default still is what it was.
    pub(crate) still_default: fn(KnownDefault, tables: &str, bind: &mut dyn FnMut(i64) -> String) -> String,
}

/// Servers that hold one database together, and each take writes.
#[derive(Clone, Copy)]
pub(crate) struct Cluster {
    /// Answered with a row by a node of one.
    pub(crate) question: &'static str,
    /// Whether this is how a node says that it has no part in its cluster now.
    pub(crate) is_outside: fn(&dyn sqlx::error::DatabaseError) -> bool,
}

/// Names of channels on the server, on which what is told reaches all who listen.
#[derive(Clone, Copy)]
pub(crate) struct Channels {
    /// The statement that tells; it answers with `true`.
    pub(crate) tell: fn(channel: &str, payload: &str) -> String,
    /// Listens on a connection that is not the pool's, which may be as small as it likes.
    pub(crate) listen: for<'a> fn(&'a DatabaseConnection, channel: &'a str) -> Listening<'a>,
}

/// A listener on its way.
pub(crate) type Listening<'a> = BoxFuture<'a, Result<Box<dyn Listener>, sqlx::Error>>;

/// Locks of the transaction by number (B5); each takes the number as its one parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdvisoryLocks {
    pub(crate) wait: &'static str,
    /// Whether that answers with `taken` too: its wait may end without the lock.
    pub(crate) may_give_up: bool,
    /// Answers with `taken`.
    pub(crate) try_once: &'static str,
}

/// How a transaction outlives its connection, prepared under a name (M2). A name is of the library's making, and at most 50 characters
/// long; behind a `/` stands what the dialect needs besides.
#[derive(Clone, Copy)]
pub(crate) struct TwoPhase {
    /// Whether the transaction must have its name when it begins; and whether its connection, as long as it lives, is then the
    /// only one that can end it.
    pub(crate) named_at_begin: bool,
    /// The question what stands behind the `/` of every name in this database, if anything does.
    pub(crate) place: Option<&'static str>,
    pub(crate) prepare: fn(name: &str) -> String,
    /// Commits or rolls back what is prepared.
    pub(crate) end: fn(commit: bool, name: &str) -> String,
    /// The code of the answer to a name that is not there.
    pub(crate) not_there: &'static str,
    /// The code of the answer while another connection is at work on it.
    pub(crate) busy: &'static str,
    /// Asks for what is prepared in this database, under names that begin so, for so long; the oldest first.
    pub(crate) prepared: fn(prefix: &str, grace: Duration) -> String,
    /// The names in the answer that are of this place.
    pub(crate) names: PreparedNames,
}

/// Reads names of what is prepared from an answer.
pub(crate) type PreparedNames = fn(&[QueryResult], place: &str, grace: Duration) -> Result<Vec<String>, DbErr>;

/// The table of commit tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitTokens {
    /// Makes it.
    pub(crate) create: &'static str,
    /// What stands before `INTO` and after the values of an INSERT that does nothing where the token is there.
    pub(crate) insert_unless_there: (&'static str, &'static str),
    /// What stands before a SELECT that sees what any node of a cluster has committed.
    pub(crate) reads_all: &'static str,
    /// What stands before and after the number of seconds that a span of time lasts.
    pub(crate) seconds: (&'static str, &'static str),
}

/// What tells words of SQL from what only looks like them (D11).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexing {
    /// Comments hold comments.
    pub(crate) nested_comments: bool,
    /// `E'…'` has escapes.
    pub(crate) escape_strings: bool,
    /// `$tag$ … $tag$`.
    pub(crate) dollar_quotes: bool,
    /// `` `name` ``.
    pub(crate) backticks: bool,
    /// `[name]`.
    pub(crate) brackets: bool,
    /// BEGIN alone opens the body of a trigger; otherwise only `BEGIN ATOMIC` does.
    pub(crate) bare_bodies: bool,
    /// `\` in a string means the character that follows.
    pub(crate) backslashes: bool,
    /// `# …` is a comment, up to the end of the line; and `--` only before a space.
    pub(crate) hash_comments: bool,
    /// `/*! … */` is carried out.
    pub(crate) executable_comments: bool,
}

/// What a transaction is begun with.
pub(crate) struct Begin<'a> {
    pub(crate) isolation: Option<IsolationLevel>,
    pub(crate) read_only: bool,
    pub(crate) deferrable: bool,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) lock_timeout: Option<Duration>,
    /// The transaction begins once its server has what other nodes had committed (Y3).
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "only its driver waits for it"))]
    pub(crate) causal: bool,
    /// Settings that are always the same, as text.
    pub(crate) fixed: &'a str,
    pub(crate) set_local: &'a [(String, String)],
    pub(crate) tenant: Option<&'a (String, String)>,
    /// The answer tells the transaction's id.
    pub(crate) tell_id: bool,
    /// The name that the transaction will be prepared under.
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "only its driver begins by name"))]
    pub(crate) name: Option<&'a str>,
}

/// What takes values of columns of kinds that live so long.
pub(crate) type BoxedArguments<'k> = Box<dyn RowArguments + Send + 'k>;

/// Values on their way into a driver's own form.
pub(crate) trait RowArguments {
    fn sink(&mut self) -> &mut dyn RowSink;
    /// How many bytes its texts and bytes come to.
    fn bytes(&self) -> usize;
    fn finish(self: Box<Self>) -> Result<Arguments, Error>;
}

impl Dialect {
    /// The dialect of a pool. One of a backend that is not built in is document of when a connection is taken from it.
    pub(crate) fn of(pool: &DatabaseConnection) -> &'static Dialect {
        let backend = pool.get_database_backend();
        let owner = DIALECTS.iter().find(|dialect| (dialect.owns)(pool));
        owner.or_else(|| DIALECTS.iter().find(|dialect| dialect.backend == backend)).unwrap_or(&DIALECTS[0])
    }

    /// The dialect of a URL.
    ///
    /// # Errors
    /// The URL is of no backend that is built in.
    pub(crate) fn of_url(url: &str) -> Result<&'static Dialect, Error> {
        let scheme = url.split(':').next().unwrap_or_default();
        DIALECTS.iter().copied().find(|dialect| dialect.schemes.contains(&scheme)).ok_or_else(|| {
            let known: Vec<_> = DIALECTS.iter().map(|dialect| format!("`{}:`", dialect.schemes[0])).collect();
            let known = known.join(" or ");
            Error::usage(format!(
                "no driver for `{scheme}:` is built in: use {known}, or turn its feature of sea-session on"
            ))
        })
    }

    /// Its place in [`DIALECTS`], by which columns keep their texts.
    pub(crate) fn number(&self) -> usize {
        DIALECTS.iter().position(|dialect| ptr::eq(*dialect, self)).unwrap_or_default()
    }

    /// The error of what this backend cannot do.
    pub(crate) fn unsupported(&self, what: impl Into<Cow<'static, str>>) -> Error {
        Error::Unsupported { backend: self.name, what: what.into() }
    }

    /// What can be done, or the error that says why not.
    pub(crate) fn need<T: Copy>(&self, can: Can<T>) -> Result<T, Error> {
        can.map_err(|why| self.unsupported(why))
    }

    /// What cannot be done, by its name, and why not.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn refusals(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            ("deferrable", self.deferrable.err()),
            ("immediate", self.immediate.err()),
            ("set_local", self.set_local.err()),
            ("statement_timeout", self.statement_timeout.err()),
            ("lock_timeout", self.lock_timeout.err()),
            ("cluster", self.cluster.err()),
            ("two_phase", self.two_phase.err()),
            ("settle", self.settle.err()),
            ("commit_tokens", self.commit_tokens.err()),
            ("advisory_locks", self.advisory_locks.err()),
            ("outbox", self.outbox.err()),
        ];
        all.into_iter().filter_map(|(what, why)| Some((what, why?))).collect()
    }

    /// Whether a server says that it has no part in its cluster now (Y3).
    pub(crate) fn is_outside_cluster(&self, error: &sqlx::Error) -> bool {
        let says = |cluster: Cluster| error.as_database_error().is_some_and(|error| (cluster.is_outside)(error));
        self.cluster.is_ok_and(says)
    }

    /// The parameter with this number, from 1.
    pub(crate) fn parameter(&self, number: usize) -> String {
        format!("{}{number}", self.sign)
    }

    /// The parameter with this number in an expression of SeaORM's that has several, in their order.
    pub(crate) fn place(&self, number: usize) -> String {
        match self.hole.len() {
            1 => self.hole.to_owned(),
            _ => self.parameter(number),
        }
    }

    /// How many rows of `width` values one statement with a parameter for each takes: a power of two, so that few texts exist.
    pub(crate) fn chunk(&self, rows: usize, width: usize) -> usize {
        const MOST_ROWS: usize = 1_024;
        let most = (self.most_parameters / width.max(1)).clamp(1, MOST_ROWS).min(rows.max(1));
        1 << most.ilog2()
    }

    /// Splits so many rows into chunks of powers of two, largest first.
    pub(crate) fn chunks(&self, rows: usize, width: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        let mut left = rows;
        while left > 0 {
            let size = self.chunk(left, width);
            sizes.push(size);
            left -= size;
        }
        sizes
    }

    /// How many rows of values one statement takes as something to select from: where each is a query, the server goes down into
    /// them.
    pub(crate) fn most_selected(&self) -> usize {
        match self.sets {
            Sets::Arrays | Sets::Values => usize::MAX,
            Sets::Documents => 1_000,
        }
    }

    /// Rows of values as something to select from, with these names for its columns.
    pub(crate) fn rows_of(&self, rows: &str, names: &[String], tuples: &[String]) -> String {
        match self.sets {
            Sets::Arrays | Sets::Values => {
                let called = names.iter().enumerate().map(|(at, name)| format!("column{} AS {name}", at + 1));
                let called = called.collect::<Vec<_>>().join(", ");
                format!("(SELECT {called} FROM (VALUES {}) AS {rows}) AS {rows}", tuples.join(", "))
            }
            // MariaDB's VALUES do not take parameters as they come.
            Sets::Documents => {
                let selects = tuples.iter().map(|tuple| format!("SELECT {}", &tuple[1..tuple.len() - 1]));
                let selects = selects.collect::<Vec<_>>().join(" UNION ALL ");
                format!("(WITH {rows}({}) AS ({selects}) SELECT * FROM {rows}) AS {rows}", names.join(", "))
            }
        }
    }

    /// What the catalogue's answer about a table says (D1).
    ///
    /// # Errors
    /// The answer is of another shape than the question asks for.
    pub(crate) fn read_facts(&self, table: &TableMeta, answer: &[QueryResult]) -> Result<TableFacts, Error> {
        let document: Option<String> = answer.first().map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        let Some(document) = document else { return Ok(TableFacts::unknown(table)) };
        let mut facts = (self.facts)(table, &document).map_err(|e| {
            let what = format!("the catalogue's answer about {} was not understood: {e}", table.table);
            Error::decode(DbErr::Type(what))
        })?;
        let micros = facts.columns.iter().enumerate().filter(|(_, column)| column.stored == Stored::Micros);
        facts.micros = micros.map(|(at, _)| at).collect();
        let generated = facts.columns.iter().enumerate().filter(|(_, column)| column.generated);
        facts.generated = generated.map(|(at, _)| at).collect();
        Ok(facts)
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What the columns of a row are called; nothing if it is a row of no driver.
pub(crate) fn column_names(row: &QueryResult) -> ColumnNames<'_> {
    DIALECTS.iter().find_map(|dialect| (dialect.column_names)(row)).unwrap_or_default()
}
