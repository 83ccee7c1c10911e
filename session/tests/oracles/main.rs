//! What a session does beside something that is not our code: SeaORM's own statements, a model in memory, the histories that
//! an isolation level permits. `cargo test -p sea-session --test oracles -- differential::`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod differential;
mod isolation;
#[path = "../support_item/mod.rs"]
mod item;
mod model;
#[path = "../support_proof/mod.rs"]
mod support_proof;
