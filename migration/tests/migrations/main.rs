//! The rules G of the runner, and the schema that our migrations make, on both backends.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks past the session"
)]

mod common;
mod runner;
mod schema;
mod support;
