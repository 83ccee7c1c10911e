//! The context store as a library, on SQLite and on PostgreSQL. A module is chosen by its name:
//! `cargo test --test store -- export::`.

mod access;
mod chaos_outbox;
mod concurrency;
mod examples;
mod export;
mod faults;
mod git;
mod graph;
mod hazards_migration;
mod interleaving;
mod model;
mod nodes;
mod plans;
mod prune;
mod quickstart;
mod search;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod uri;
#[path = "../../examples/replay/verify.rs"]
mod verify;
