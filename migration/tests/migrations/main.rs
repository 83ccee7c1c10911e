//! The context store's migrations under the rules G, and the schema that they make, on every backend.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks past the session"
)]

// What `common` keeps its files in.
use tempfile as _;

#[path = "../../../session/migration/tests/runner/common.rs"]
mod common;
mod runner;
mod schema;
mod support;
mod words;
