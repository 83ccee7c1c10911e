//! The rules G of the runner, with migrations made for the purpose, on SQLite and PostgreSQL; what is
//! MariaDB's own stands in `mariadb`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test fails by panicking, and looks past the session"
)]

mod common;
mod failures;
mod mariadb;
mod rules;
mod support;
