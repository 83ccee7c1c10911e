//! The schema of the context store, as migrations for SQLite, PostgreSQL and MariaDB.
//!
//! What it is for: to hold, table by table, the statements of the backends side by side, and beside them the
//! reason of every column, constraint and index. What it must never do: send different *meanings* to the
//! backends, change a migration that was released (add one instead; the runner's checksum reports a change), or
//! use a name that is made at run time.
//!
//! # Conventions
//!
//! | Meaning | PostgreSQL | SQLite (all tables `STRICT`) |
//! |---|---|---|
//! | identifier | `uuid` | `BLOB`, 16 bytes, checked |
//! | instant | `timestamptz` | `TEXT`, RFC 3339 with `+00:00`, as SeaORM binds it: for one offset its order is time's order, whatever the number of decimals |
//! | document | `jsonb` | `TEXT`, `json_valid` checked |
//! | text that is a key | `text COLLATE "C"` | `TEXT` (`BINARY` collation) |
//! | enumeration | `text` with a `CHECK` | `TEXT` with a `CHECK` |
//! | number, flag | `bigint`, `integer`, `double precision` | `INTEGER`, `REAL` |
//!
//! On MariaDB an identifier is `binary(16)`, an instant `datetime(6)` in UTC, a document `json`. Texts are compared by their bytes, without
//! padding (`utf8mb4_nopad_bin`), and URIs, which are ASCII, are kept as such: an index takes 3,072 bytes, four for each character of
//! other texts. So an account has at most 240 characters there, an owner space 510, a session's identity and an edge's type 255. There are no
//! partial indexes: `status` stands behind the account instead. The events of a stream are found by `finished_at`, and its dead letters by
//! `last_error`, which no claim changes. MySQL 8 has other names for these collations, and is refused.
//!
//! Keys carry the collation `"C"` in the *column*, so every comparison of a query uses it without saying so, and
//! `uri >= 'p/' AND uri < 'p0'` (`0` follows `/`) is a range of the index in byte order on both backends (V6).
//! That form also survives row-level security: `text_ge` and `text_lt` are leakproof in PostgreSQL 15, so they may
//! become index conditions under a policy; `LIKE` and `starts_with` are not, and would be filtered row by row.
//!
//! Enumerations are text with a check, not PostgreSQL's `CREATE TYPE`: a value is added inside a transaction, and the
//! two backends and the dump of each read the same.
//!
//! Empty text means "none" for `abstract`, `overview`, `content`, `reason`: one representation, so that emptied text
//! and text never written are not told apart by accident (V13).

use sea_orm_migration::{MigrationTrait, MigratorTrait};

use crate::dialect::Statements;

mod m20260101_000001_nodes;
mod m20260101_000002_edges;
mod m20260101_000003_session_archives;
mod m20260101_000004_outbox;
mod m20260101_000005_index_records;
mod m20260101_000006_row_level_security;
mod m20260101_000007_tree_order;
mod m20260101_000008_search_words;
mod m20260101_000009_words_that_differ;
mod m20260101_000010_vectors;
mod m20260101_000011_vectors_as_arrays;

/// The context store's migrations, oldest first, in the form every SeaORM tool takes.
///
/// Apply them with [`crate::Runner`], which adds the lock, the checksums and the resumption that
/// [`MigratorTrait::up`] lacks (HAZARDS Z19).
#[derive(Clone, Copy, Debug, Default)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20260101_000001_nodes::Migration),
            Box::new(m20260101_000002_edges::Migration),
            Box::new(m20260101_000003_session_archives::Migration),
            Box::new(m20260101_000004_outbox::Migration),
            Box::new(m20260101_000005_index_records::Migration),
            Box::new(m20260101_000006_row_level_security::Migration),
            Box::new(m20260101_000007_tree_order::Migration),
            Box::new(m20260101_000008_search_words::Migration),
            Box::new(m20260101_000009_words_that_differ::Migration),
            Box::new(m20260101_000010_vectors::Migration),
            Box::new(m20260101_000011_vectors_as_arrays::Migration),
        ]
    }
}
