//! MySQL and MariaDB (Y2): a statement that changes the schema commits by itself.

mod connections;
mod lock;
mod statements;
mod texts;

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    ColumnType, DatabaseConnection, DbErr,
    sqlx::{self, MySqlConnection, mysql::MySqlDatabaseError},
};

use crate::{
    dialect::{Can, Commits, Dialect, LastStatement, Scratch, SeaBackend, knock_once},
    error::Error,
    lock::{Lock, Wanted},
    options::Options,
    sql::{self, now_ms, send},
};

#[derive(Debug)]
pub(super) struct MySql;

static COMMITS: Commits = Commits { split: statements::split, effect: statements::effect };

const NO_ROW_SECURITY: &str = "MySQL and MariaDB have no row-level security that a role could be bound by: \
    give the application a user of its own by GRANT, and keep tenants apart by filters";

#[async_trait]
impl Dialect for MySql {
    fn name(&self) -> &'static str {
        "MySQL"
    }

    #[cfg(feature = "cli")]
    fn key(&self) -> &'static str {
        "mysql"
    }

    fn backend(&self) -> SeaBackend {
        SeaBackend::MySql
    }

    fn commits(&self) -> Option<&'static Commits> {
        Some(&COMMITS)
    }

    fn hides_failed_statements(&self) -> bool {
        true
    }

    fn roles(&self) -> Can<()> {
        Err(NO_ROW_SECURITY)
    }

    fn excess_rights(&self) -> Can<Option<&'static str>> {
        Err(NO_ROW_SECURITY)
    }

    fn quoted(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn has_table(&self) -> &'static str {
        "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? \
         AND TABLE_TYPE <> 'VIEW'"
    }

    fn ledger(&self) -> &'static str {
        texts::LEDGER
    }

    fn catalogue(&self) -> (&'static str, &'static str) {
        (texts::CATALOGUE, "SELECT concat('`', DATABASE(), '`')")
    }

    fn columns_of(&self, table: &str) -> String {
        format!(
            "SELECT CONVERT(c.COLUMN_NAME USING utf8mb4), CONVERT(c.COLUMN_TYPE USING utf8mb4), c.IS_NULLABLE = 'NO', \
                CAST(COALESCE((SELECT k.ORDINAL_POSITION FROM information_schema.KEY_COLUMN_USAGE k \
                    WHERE k.TABLE_SCHEMA = c.TABLE_SCHEMA AND k.TABLE_NAME = c.TABLE_NAME AND k.COLUMN_NAME = c.COLUMN_NAME \
                        AND k.CONSTRAINT_NAME = 'PRIMARY'), -1) AS signed) \
             FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = '{table}' \
             ORDER BY c.ORDINAL_POSITION"
        )
    }

    fn type_names(&self, kind: &ColumnType) -> &'static [&'static str] {
        match kind {
            ColumnType::Uuid => &["binary", "uuid"],
            ColumnType::JsonBinary | ColumnType::Json => &["json", "longtext"],
            ColumnType::Timestamp | ColumnType::TimestampWithTimeZone => &["timestamp", "datetime"],
            ColumnType::DateTime => &["datetime", "timestamp"],
            ColumnType::BigInteger => &["bigint"],
            ColumnType::BigUnsigned => &["bigint unsigned"],
            ColumnType::Integer => &["int", "integer"],
            ColumnType::Unsigned => &["int unsigned"],
            ColumnType::SmallInteger => &["smallint"],
            ColumnType::SmallUnsigned => &["smallint unsigned"],
            ColumnType::TinyInteger => &["tinyint"],
            ColumnType::TinyUnsigned => &["tinyint unsigned"],
            ColumnType::Float => &["float"],
            ColumnType::Double => &["double"],
            ColumnType::Boolean => &["tinyint", "bit"],
            ColumnType::Date => &["date"],
            ColumnType::Time => &["time"],
            ColumnType::Decimal(_) | ColumnType::Money(_) => &["decimal"],
            ColumnType::Blob | ColumnType::Binary(_) | ColumnType::VarBinary(_) => {
                &["blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary"]
            }
            ColumnType::Text | ColumnType::String(_) | ColumnType::Char(_) => {
                &["varchar", "text", "char", "tinytext", "mediumtext", "longtext"]
            }
            _ => &[],
        }
    }

    fn is_lock_timeout(&self, error: &dyn sqlx::error::DatabaseError) -> bool {
        // A row's or a table's; a deadlock has rolled the transaction back.
        matches!(number(error), 1205 | 1213)
    }

    fn is_done_already(&self, error: &dyn sqlx::error::DatabaseError) -> bool {
        matches!(number(error), 1050 | 1051 | 1060 | 1061 | 1091 | 1146 | 1304 | 1305 | 1359 | 1360 | 1826 | 4092)
    }

    async fn lock(&self, wanted: Wanted<'_>) -> Result<Box<dyn Lock>, Error> {
        lock::take(wanted).await
    }

    async fn connections(
        &self,
        db: &DatabaseConnection,
        options: &Options,
        guard: String,
        most: u32,
    ) -> Result<Option<DatabaseConnection>, DbErr> {
        connections::workers(db, options, guard, most).await.map(Some)
    }

    /// Each goes by itself; foreign keys are not looked at meanwhile.
    async fn drop_everything(&self, db: &DatabaseConnection, _but: &str) -> Result<(), DbErr> {
        let mut script = String::from("SET FOREIGN_KEY_CHECKS = 0;");
        for row in sql::all(db, texts::EVERYTHING).await? {
            let (kind, name): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            script += &format!(" DROP {kind} IF EXISTS {};", self.quoted(&name));
        }
        let dropped = send(db, &script).await;
        // Whatever became of it: the connection is used on.
        send(db, "SET FOREIGN_KEY_CHECKS = 1").await?;
        dropped
    }

    async fn scratch(&self, db: &DatabaseConnection) -> Result<Scratch, DbErr> {
        let name = self.quoted(&format!("doctor_{}_{}", std::process::id(), now_ms()));
        let row = sql::one(db, "SELECT @@character_set_database, @@collation_database", []).await?;
        let (charset, collation): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let database = connections::one(db, &Options::default()).await?;
        let last = LastStatement::new(&database, format!("DROP DATABASE IF EXISTS {name}"));
        let create = format!("CREATE DATABASE {name} CHARACTER SET {charset} COLLATE {collation}; USE {name}");
        send(&database, &create).await?;
        Ok(Scratch::Database(database, Some(last)))
    }

    async fn knock(&self, url: &str, patience: Duration) -> Result<(), String> {
        let is_one = ["mysql:", "mariadb:"].iter().any(|scheme| url.starts_with(scheme));
        if is_one { knock_once::<MySqlConnection>(url, patience).await } else { Ok(()) }
    }
}

/// The server's number of an error.
fn number(error: &dyn sqlx::error::DatabaseError) -> u16 {
    error.as_error().downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number)
}
