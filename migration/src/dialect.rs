//! The backends of the schema (Y1): which statements of a migration are whose. Nothing else here names a backend.

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::SchemaManager;

/// The statements of one direction of a migration, for each backend.
pub(crate) struct Statements {
    pub(crate) postgres: &'static [&'static str],
    pub(crate) sqlite: &'static [&'static str],
    pub(crate) mariadb: &'static [&'static str],
}

impl Statements {
    /// Sends them in order, one at a time, so that an error and a recording name the single statement.
    pub(crate) async fn send(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let statements = match manager.get_database_backend() {
            DbBackend::Postgres => self.postgres,
            DbBackend::Sqlite => self.sqlite,
            DbBackend::MySql => self.mariadb,
            other => return Err(DbErr::Migration(format!("the context store has no schema for {other:?}"))),
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
