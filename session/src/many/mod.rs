//! Rows by the values that tell them apart, and many rows at once (U2, U4): found by a unique value, got or added, upserted,
//! deleted by key, updated and deleted by SeaORM's statements; each through the identity map.
//!
//! Pending work goes first, so that a statement meets what the unit has done. What it did to rows is done to their objects, as
//! far as its answer may be trusted (D1); objects of which that does not tell are expired (D8).

mod columns;
mod delete;
mod get_or_add;
mod meeting;
mod new_rows;
mod source;
mod statement;
mod unique;
mod update;
mod upsert;

pub use columns::UniqueColumns;
