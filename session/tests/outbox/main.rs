//! The outbox (Q), with an event type that an application would declare, on both backends.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod claim;
mod enqueue;
mod failure;
mod inbox;
mod order;
mod server;
mod share;
mod shutdown;
mod support;
#[path = "../support_outbox/mod.rs"]
mod support_outbox;
mod upkeep;
mod wake;
