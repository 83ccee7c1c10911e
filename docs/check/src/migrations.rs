//! Migrators of a few texts, for pages about the runner's errors.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "SeaORM's MigrationTrait asks for them")]

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};
use sea_session::Db;

/// A migration that sends one statement.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Its name.
    pub name: &'static str,
    /// What it sends.
    pub sql: &'static str,
}

impl MigrationName for Text {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Text {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.sql).await.map(|_| ())
    }
}

/// `migrator!(Migrator: "name" => "SQL", …)`: a migrator of one statement each.
#[macro_export]
macro_rules! migrator {
    ($migrator:ident: $($name:literal => $sql:literal),+ $(,)?) => {
        struct $migrator;

        impl ::sea_orm_migration::MigratorTrait for $migrator {
            fn migrations() -> Vec<Box<dyn ::sea_orm_migration::MigrationTrait>> {
                vec![$(Box::new($crate::migrations::Text { name: $name, sql: $sql })),+]
            }
        }
    };
}

/// Takes the migration lock of a SQLite file as another process would, for a minute.
///
/// # Errors
/// What the database says.
pub async fn hold_the_lock(db: &Db, holder: &str) -> Result<(), DbErr> {
    let table = "CREATE TABLE seaql_migrations_lock (id integer PRIMARY KEY CHECK (id = 1), token text NOT NULL, \
        holder text NOT NULL, since bigint NOT NULL, until bigint NOT NULL)";
    let now = chrono::Utc::now().timestamp_millis();
    let row = format!("INSERT INTO seaql_migrations_lock VALUES (1, 'another', '{holder}', {now}, {})", now + 60_000);
    db.connection().execute_unprepared(table).await?;
    db.connection().execute_unprepared(&row).await.map(|_| ())
}
