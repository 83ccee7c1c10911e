//! The command `migrate` of the context store.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    context_migration::cli::main::<context_migration::Migrator>().await
}
