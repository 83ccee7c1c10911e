//! The command `migrate` of the context store.

use std::process::ExitCode;

use context_migration::{Migrator, entities};

#[tokio::main]
async fn main() -> ExitCode {
    sea_session_migration::cli::main::<Migrator>(entities()).await
}
