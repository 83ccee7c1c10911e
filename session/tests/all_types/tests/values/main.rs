//! D12: any value that SeaORM's own insert and update carry is carried by every path, with every optional feature of SeaORM on.
//!
//! What SeaORM itself does not carry, and is not here: on PostgreSQL `i8` (sent as `"char"`, and refused by a `smallint`),
//! `u8`, `u16`, `u32` and `u64` (written, and not read back); on SQLite `u64`, networks, MAC addresses, vectors and arrays;
//! ranges and the crate `jiff`, which SeaORM has no feature for.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod family;
mod keys;
mod matrix;

use matrix::matrix;
use sea_session::testing::Backend::{Postgres, Sqlite};

/// A type called as pgvector calls its own, which takes and gives the same bytes: what is sent is looked at, and no extension
/// is needed.
const VECTOR: &[&str] = &[
    "CREATE TYPE vector",
    "CREATE FUNCTION vector_in(cstring) RETURNS vector LANGUAGE internal IMMUTABLE STRICT AS 'byteain'",
    "CREATE FUNCTION vector_out(vector) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'byteaout'",
    "CREATE FUNCTION vector_recv(internal) RETURNS vector LANGUAGE internal IMMUTABLE STRICT AS 'bytearecv'",
    "CREATE FUNCTION vector_send(vector) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'byteasend'",
    "CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, RECEIVE = vector_recv, SEND = vector_send, LIKE = bytea)",
];

/// The native enum of the family.
const MOOD: &[&str] = &["CREATE TYPE mood AS ENUM ('it''s fine', 'Bad')"];

#[test]
fn d12_numbers_on_sqlite() {
    matrix::<family::numbers::Entity>(Sqlite, &[]);
}

#[test]
fn d12_numbers_on_postgres() {
    matrix::<family::numbers::Entity>(Postgres, &[]);
}

#[test]
fn d12_decimals_with_their_scales_on_postgres() {
    matrix::<family::decimals::Entity>(Postgres, &[]);
}

#[test]
fn d12_times_on_sqlite() {
    matrix::<family::times::Entity>(Sqlite, &[]);
}

#[test]
fn d12_times_on_postgres() {
    matrix::<family::times::Entity>(Postgres, &[]);
}

#[test]
fn d12_texts_wrappers_and_enums_on_sqlite() {
    matrix::<family::texts::Entity>(Sqlite, &[]);
}

#[test]
fn d12_texts_wrappers_and_enums_on_postgres() {
    matrix::<family::texts::Entity>(Postgres, MOOD);
}

#[test]
fn d12_networks_vectors_and_types_by_cast_on_postgres() {
    matrix::<family::nets::Entity>(Postgres, VECTOR);
}

#[test]
fn d12_arrays_of_every_kind_on_postgres() {
    matrix::<family::arrays::Entity>(Postgres, MOOD);
}
