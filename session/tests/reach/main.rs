//! What users of the great units of work look for (U, E3): a module a subject, with its own entities, chosen by its name:
//! `cargo test -p sea-session --test reach -- sea_orm_inside`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod errors;
mod forms;
mod renamed;
#[cfg(feature = "rbac")]
mod rights;
mod sea_orm_inside;
mod small;
mod written_out;
