//! The outbox (Q), with an event type that an application would declare, on every backend.

mod claim;
mod enqueue;
mod failure;
mod inbox;
mod order;
mod server;
mod share;
mod shutdown;
mod support;
mod upkeep;
mod wake;
