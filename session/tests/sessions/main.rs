//! What stands around a session: the macros, the outbox, SeaORM's own entities and those of others, COPY, futures that can be
//! sent. `cargo test -p sea-session --test sessions -- outbox::`.
//!
//! The rules themselves are in the program `conformance`, random programs in `oracles`; what kills a process or a server, or
//! has to be alone in a process, is in `faults`. Each program links SeaORM and sqlx: there are few.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]
// The test entities of SeaORM (in `foreign`) call its crate `crate`, and the features that they ask about are SeaORM's.
#![allow(hidden_glob_reexports, unexpected_cfgs)]

pub use sea_orm::*;

mod copy;
mod foreign;
mod macros;
mod outbox;
mod send;
#[path = "../support_outbox/mod.rs"]
mod support_outbox;
mod turns;

use foreign::tests_cfg;
