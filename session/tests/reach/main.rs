//! What a session reaches beyond one object after the other: many rows at once, by one statement or by their unique values.
//! A module a subject; `cargo test -p sea-session --test reach -- many`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod many;
mod support;
