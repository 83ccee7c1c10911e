//! A runner of SeaORM migrations, for a deployment with many replicas, and the library of its command.
//!
//! What it is for: [`Runner`] is what an operator runs, and what an application calls at start. It takes any SeaORM migrator as
//! it is, and adopts the table that SeaORM keeps. What it must never do: know a migration, or leave a schema that is neither
//! the old one nor the new one without saying so.
//!
//! ```no_run
//! # async fn f<M: sea_orm_migration::MigratorTrait>(db: sea_orm::DatabaseConnection) -> Result<(), sea_session_migration::Error> {
//! use sea_session_migration::Runner;
//!
//! let runner = Runner::<M>::new(db).on_event(|event| println!("{event}"));
//! runner.up().await?;
//! for status in runner.status().await? {
//!     println!("{} {:?} {:?}", status.name, status.state, status.findings);
//! }
//! # Ok(()) }
//! ```
//!
//! | Question | Answer |
//! |---|---|
//! | Many replicas start at once | One migrates, the others wait and find nothing to do ([`lock`] holds the reasons). |
//! | A migration fails | It is rolled back together with its record; the error names migration, statement and cause. |
//! | It cannot run in a transaction | It says so by SeaORM's `use_transaction() -> Some(false)`; it is noted statement by statement and resumed. |
//! | A migration was edited after it was applied | [`Runner::verify`] says so, [`Runner::up`] refuses. |
//! | The database is MySQL or MariaDB | Statements that change the schema commit by themselves, so each is noted before and after it is sent; one whose answer was lost is compared with the schema, and never repeated unless it is known not to have been carried out ([`Error::Unsettled`]). |
//! | The service must go on meanwhile | [`Options::lock_timeout`] bounds how long anybody queues behind a migration. |
//!
//! The command is a page: `cli::main::<Migrator>(entities).await`, where `entities` is what [`doctor`] compares the schema with.
#![cfg_attr(feature = "document-features", doc = "# Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
// A migration's code takes SeaORM's own connection and transaction, so this crate cannot go through a session: here is
// no unit of work, no object and no nesting, and the connections are the runner's own.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "SeaORM's MigrationTrait asks for them")]

pub mod catalogue;
#[cfg(feature = "cli")]
pub mod cli;
mod dialect;
mod direction;
pub mod doctor;
mod error;
mod findings;
mod holder;
mod ledger;
pub mod lock;
mod options;
pub mod record;
mod report;
pub mod role;
#[cfg(test)]
mod rooms;
mod runner;
mod shown;
mod sql;
mod state;
#[cfg(feature = "cli")]
mod template;
mod words;
mod workplace;

pub use dialect::knock;
pub use direction::Direction;
pub use error::Error;
pub use findings::{Finding, Status};
pub use options::{Event, Options};
pub use report::{Plan, Report, Step};
pub use runner::Runner;
pub use shown::without_password;
pub use state::State;
