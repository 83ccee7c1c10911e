//! The backends, as the store sees them (Y1): what each can do, and its texts, a file each.
//!
//! What differs between backends in a statement of the store's own is asked of its [`Dialect`]; nothing outside this room
//! names a backend. A new one is a file here, a line in [`DIALECTS`], and a Cargo feature, without which it is not there at
//! all (Y4).

#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "what only a backend has that is not built in")
)]

#[cfg(feature = "mysql")]
mod mariadb;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;

use sea_orm::{DbBackend, DbErr, IsolationLevel, QueryResult, Value, sea_query::LockType};
use serde_json::Value as Json;

use crate::sql::Sql;

/// The backend as SeaORM names it, for signatures of its own; nothing is decided by it.
pub(crate) type SeaBackend = DbBackend;

/// Every dialect that is built in: a line each.
static DIALECTS: &[&Dialect] = &[
    #[cfg(feature = "sqlite")]
    &sqlite::SQLITE,
    #[cfg(feature = "postgres")]
    &postgres::POSTGRES,
    #[cfg(feature = "mysql")]
    &mariadb::MARIADB,
];

const _: () =
    assert!(!DIALECTS.is_empty(), "context-store needs a driver: turn its feature `sqlite`, `postgres` or `mysql` on");

/// One backend.
pub(crate) struct Dialect {
    pub(crate) backend: SeaBackend,

    // ---- what it can do
    /// Whether policies bind what a transaction sees, by what was set for it (T3). Without, the conditions of the queries stand
    /// alone.
    pub(crate) policies: bool,
    /// Whether several units write at once, and one waits for another by a lock of a name (V7).
    pub(crate) advisory_locks: bool,
    /// What the store's writing units are to see, where it is not what the server does by itself.
    pub(crate) isolation: Option<IsolationLevel>,
    pub(crate) walks: Walks,
    /// Whether a subquery may look rows up by what stands before it.
    pub(crate) lateral: bool,
    /// Whether a table in a subquery may ask for columns of the query around it.
    pub(crate) correlated_tables: bool,
    /// Whether `VALUES` is a table that takes parameters; otherwise rows are joined by `UNION ALL`.
    pub(crate) values_are_rows: bool,
    /// How the rows of a page are made one and taken apart again, where that is quicker than to hand each over.
    pub(crate) packed: Option<Packed>,
    pub(crate) vectors: Vectors,
    /// The question which version of pgvector is installed, and which could be; none where there is no such thing.
    pub(crate) vector_extension: Option<&'static str>,

    /// What keeps a node from being deleted or moved while an edge is made to it.
    pub(crate) end_lock: LockType,

    // ---- texts
    /// Whether placeholders have numbers.
    pub(crate) numbered_parameters: bool,
    /// The names of the tables that there are.
    pub(crate) tables: &'static str,
    /// What keeps others from writing events until the transaction ends; none where one unit writes at a time.
    pub(crate) lock_events: Option<&'static str>,
    /// What stands behind a query whose rows are held until the transaction ends.
    pub(crate) for_update: &'static str,
    /// The same behind one whose rows are locked in the order of their URIs.
    pub(crate) order_held: &'static str,
    pub(crate) no: &'static str,
    pub(crate) yes: &'static str,
    /// The character that stands for `/` in the order of the tree, and the one after it.
    pub(crate) separator: &'static str,
    pub(crate) after_separator: &'static str,
    /// The greatest of several values.
    pub(crate) greatest: &'static str,
    /// Where a text stands in another.
    pub(crate) position: &'static str,
    /// What makes a document of keys and values.
    pub(crate) object: &'static str,
    /// What types are called in a `CAST`.
    pub(crate) big: &'static str,
    pub(crate) integer: &'static str,
    pub(crate) real: &'static str,
    /// What stands around a value that is to be a text, compared as a column's.
    pub(crate) text: [&'static str; 2],
    /// What stands around an expression with which a URI is compared.
    pub(crate) key: [&'static str; 2],
    /// A backslash as a text.
    pub(crate) backslash: &'static str,
    /// What has a common table expression carried out once.
    pub(crate) materialized: &'static str,
    /// What stands before a recursive query of any length.
    pub(crate) walk: &'static str,
    /// What stands before a column by which rows are not to be looked up.
    pub(crate) not_by: &'static str,
    /// What stands between a column and a query of the values that it may have, and behind the query, in a form that becomes a
    /// condition of an index.
    pub(crate) one_of: [&'static str; 2],
    /// What stands before the first row of a list of rows behind `IN (`.
    pub(crate) list: &'static str,
    /// What stands around a query with a limit behind `IN (`.
    pub(crate) some_of: [&'static str; 2],
    /// What begins and ends an INSERT that leaves rows as they are which are there.
    pub(crate) insert_new: [&'static str; 2],
    /// What begins a condition behind [`terms`](Dialect::terms).
    pub(crate) and_terms: &'static str,
    /// What joins `nodes n` with the last state of each that was recorded, `h`.
    pub(crate) last_state: &'static str,
    /// Ends an INSERT that changes these columns of a row that has its key already.
    pub(crate) or_update: fn(&mut Sql, key: &str, columns: &[&str]),
    /// The text of an identifier.
    pub(crate) uuid_text: fn(&str) -> String,
    /// That a table's identifier is the one with this text; tables are joined on it without comparing each row with each.
    pub(crate) has_uuid_text: fn(&str, text: &str) -> String,
    /// The number of bytes of a text, which is not read for it.
    pub(crate) bytes_of: fn(&str) -> String,
    /// A text in a document.
    pub(crate) member: fn(column: &str, key: &str) -> String,
    /// A number of characters or segments, as functions of texts take it.
    pub(crate) count: fn(i64) -> Value,
    /// Adds the first segment of a URI behind so many characters.
    pub(crate) first_segment: fn(&mut Sql, length: i64),
    /// Adds the first `depth` segments of a key of the tree's order behind so many characters.
    pub(crate) segments: fn(&mut Sql, key: &str, skip: i64, depth: i64),
    /// Adds that a key of the metadata of `nodes n` is this scalar, or a list that has it.
    pub(crate) has_metadata: fn(&mut Sql, key: &str, value: &serde_json::Value),
    /// The terms of a record as they are kept, and as they were.
    pub(crate) kept_terms: fn(Json) -> Json,
    pub(crate) terms_of: fn(Json) -> Json,
    /// Adds the rows `t` of a term, of the spaces that there are.
    pub(crate) terms: fn(&mut Sql, Terms<'_>),
}

/// How the vectors of records are kept (W5).
pub(crate) struct Vectors {
    /// Their type, as in `CAST`.
    pub(crate) kept_as: &'static str,
    /// A vector as a value of this type.
    pub(crate) value: fn(&[f32]) -> Value,
    /// What a row holds in a column of this type.
    pub(crate) numbers: fn(&QueryResult, &str) -> Result<Vec<f32>, DbErr>,
    /// How the nearest are found, where the database can have something for it.
    pub(crate) nearest: Option<Nearest>,
}

/// How the database compares vectors.
pub(crate) struct Nearest {
    /// A question that has a row where it can.
    pub(crate) can: &'static str,
    /// What stands before a column and between it and a vector, and behind that, where their distance is meant.
    pub(crate) distance: [&'static str; 3],
}

/// As bytes: 32-bit floats, the least significant byte first, as any program reads them.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
const AS_BYTES: fn(&[f32]) -> Value = |vector| {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.into()
};

#[cfg(any(feature = "sqlite", feature = "mysql"))]
const FROM_BYTES: fn(&QueryResult, &str) -> Result<Vec<f32>, DbErr> = |row, column| {
    let bytes: Vec<u8> = row.try_get("", column)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect())
};

/// How far a recursive query goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walks {
    /// As far as it is asked to.
    AsAsked,
    /// As far as the limit of its own says.
    Limited,
    /// To its end: it counts its steps itself.
    Counted,
}

/// Rows that travel as one.
pub(crate) struct Packed {
    /// What stands before and behind their query.
    pub(crate) around: [&'static str; 2],
}

/// Which rows of `index_terms` are asked for.
pub(crate) struct Terms<'t> {
    pub(crate) account: &'t str,
    /// The owner spaces; all of the account's for none.
    pub(crate) spaces: Option<&'t [String]>,
    /// What the table of terms and their worth is called.
    pub(crate) question: &'t str,
    /// The column that says which record; any for none.
    pub(crate) record: Option<&'t str>,
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialect").field(&self.backend).finish()
    }
}

/// The dialect of a backend. One that is not built in is refused before a store is made over it ([`is_known`]).
pub(crate) fn of(backend: SeaBackend) -> &'static Dialect {
    DIALECTS.iter().copied().find(|dialect| dialect.backend == backend).unwrap_or(DIALECTS[0])
}

/// Whether the store runs on a backend.
pub(crate) fn is_known(backend: SeaBackend) -> bool {
    DIALECTS.iter().any(|dialect| dialect.backend == backend)
}

/// The parts of an identifier's text, where it is kept as bytes.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn hex_parts(column: &str) -> [String; 5] {
    [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)]
        .map(|(from, length)| format!("substr(hex({column}), {from}, {length})"))
}

/// By its bytes, which the key's index has.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn has_bytes_of(column: &str, text: &str) -> String {
    format!("{column} = unhex(replace({text}, '-', ''))")
}

/// As both PostgreSQL and SQLite have it.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn on_conflict(sql: &mut Sql, key: &str, columns: &[&str]) {
    let set: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    sql.push(" ON CONFLICT (").push(key).push(") DO UPDATE SET ").push(&set.join(", "));
}
