//! What a session reaches in one go: graphs of objects, pages of them, many at once. One module a subject.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod blog;
mod graphs;
mod nested;
mod pages;
