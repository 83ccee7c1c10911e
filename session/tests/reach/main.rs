//! What users of the great units of work look for next (U): a module a subject. A module is chosen by its name:
//! `cargo test -p sea-session --test reach -- filters`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod blog;
mod changes;
mod errors;
mod filters;
mod forms;
mod graphs;
mod many;
mod nested;
mod pages;
mod renamed;
mod replicas;
#[cfg(feature = "rbac")]
mod rights;
mod sea_orm_inside;
mod small;
mod support;
#[path = "../support_outbox/mod.rs"]
mod support_outbox;
mod written_out;
