//! The schema of the context store, as migrations for SQLite and PostgreSQL.
//!
//! What it is for: to hold, table by table, the statements of both backends side by side, and beside them the
//! reason of every column, constraint and index. What it must never do: send different *meanings* to the two
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
//! Keys carry the collation `"C"` in the *column*, so every comparison of a query uses it without saying so, and
//! `uri >= 'p/' AND uri < 'p0'` (`0` follows `/`) is a range of the index in byte order on both backends (V6).
//! That form also survives row-level security: `text_ge` and `text_lt` are leakproof in PostgreSQL 15, so they may
//! become index conditions under a policy; `LIKE` and `starts_with` are not, and would be filtered row by row.
//!
//! Enumerations are text with a check, not PostgreSQL's `CREATE TYPE`: a value is added inside a transaction, and the
//! two backends and the dump of both read the same.
//!
//! Empty text means "none" for `abstract`, `overview`, `content`, `reason`: one representation, so that emptied text
//! and text never written are not told apart by accident (V13).

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

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
        ]
    }
}

/// The statements of one direction of a migration, for each backend.
struct Statements {
    postgres: &'static [&'static str],
    sqlite: &'static [&'static str],
}

impl Statements {
    /// Sends them in order, one at a time, so that an error and a recording name the single statement.
    async fn send(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let statements = match manager.get_database_backend() {
            DbBackend::Postgres => self.postgres,
            DbBackend::Sqlite => self.sqlite,
            other => return Err(DbErr::Migration(format!("the context store has no schema for {other:?}"))),
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
