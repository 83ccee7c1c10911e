//! The context store's migrations and the runner that applies them.
//!
//! What it is for: [`Migrator`] holds the schema; `Runner` is what an operator runs in a deployment with many
//! replicas, and what an application calls at start. What it must never do: know the store, or leave a schema that
//! is neither the old one nor the new one without saying so.

mod migrations;

pub use migrations::Migrator;
