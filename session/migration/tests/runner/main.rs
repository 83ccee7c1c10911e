//! The rules G of the runner, with migrations made for the purpose, on both backends.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks past the session"
)]

mod common;
mod failures;
mod rules;
mod support;
