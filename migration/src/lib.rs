//! The context store's migrations.
//!
//! What it is for: [`Migrator`] holds the schema, for any SeaORM tool; [`Runner`] applies it in a deployment with many replicas,
//! and is what an application calls at start. What it must never do: know the store.
//!
//! ```no_run
//! # async fn f(db: sea_orm::DatabaseConnection) -> Result<(), context_migration::Error> {
//! use context_migration::Runner;
//!
//! let report = Runner::new(db).up().await?;          // at the start of each replica: one migrates, the others wait
//! println!("{} migrations applied", report.steps.len());
//! # Ok(()) }
//! ```
#![cfg_attr(feature = "document-features", doc = "# Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
// A migration's code takes SeaORM's own connection and transaction.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "SeaORM's MigrationTrait asks for them")]

mod dialect;
mod migrations;

use context_entities::{edge, inbox, index_record, node, node_version, outbox_event, session_archive};
use sea_orm_migration::MigratorTrait;
use sea_session_migration::doctor::Entities;
pub use sea_session_migration::{Error, State, knock, without_password};

pub use migrations::Migrator;

/// The runner of the context store's migrations.
pub type Runner = sea_session_migration::Runner<Migrator>;

/// How many migrations the context store's schema has.
#[must_use]
pub fn migrations() -> usize {
    Migrator::migrations().len()
}

/// The entities that the schema is for: what its doctor compares it with.
#[must_use]
pub fn entities() -> Entities {
    Entities::default()
        .and::<node::Entity>()
        .and::<node_version::Entity>()
        .and::<edge::Entity>()
        .and::<session_archive::Entity>()
        .and::<outbox_event::Entity>()
        .and::<inbox::Entity>()
        .and::<index_record::Entity>()
}
