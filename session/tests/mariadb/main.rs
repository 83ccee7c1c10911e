//! What is MariaDB's own: how rows are written there, what its transactions do, and what is refused by name (Y2). The rules that
//! hold on every backend are tested by `tests/conformance`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod blocks;
mod handful;
mod kinds;
mod locks;
mod rows;
mod tables;
mod unique;
