//! A Galera cluster of three nodes on this machine (Y3): units that meet at COMMIT, nodes that are killed, answers that are lost,
//! and what one node shows of what another has taken.
//!
//! Three nodes are killed in turn; `GALERA_KILLS=20` asks for more.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod commit_proxy;
mod commits;
mod keys;
mod kills;
mod nodes;
#[path = "../support_load/mod.rs"]
mod support_load;
mod tables;
mod transfers;
