//! What a session does when nothing dies: the conformance suite, the models and random programs that it is compared with,
//! the macros, the outbox. One program, because each links SeaORM and sqlx; a module is chosen by its name:
//! `cargo test -p sea-session --test sessions -- conformance::a_blocks`.
//!
//! What kills a process or a server, or has to be alone in a process, is in the program `faults`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]
// The test entities of SeaORM (in `foreign`) call its crate `crate`, and the features that they ask about are SeaORM's.
#![allow(hidden_glob_reexports, unexpected_cfgs)]

pub use sea_orm::*;

mod conformance;
mod copy;
mod differential;
#[path = "../../benches/unit_of_work/entities.rs"]
#[allow(dead_code, reason = "the benchmark's entities, not all of which are used here")]
mod entities;
mod flush_ways;
mod foreign;
mod isolation;
#[path = "../support_item/mod.rs"]
mod item;
mod macros;
mod model;
mod outbox;
mod send;
mod support;
#[path = "../support_outbox/mod.rs"]
mod support_outbox;
#[path = "../support_proof/mod.rs"]
mod support_proof;
mod workloads;

use foreign::tests_cfg;
