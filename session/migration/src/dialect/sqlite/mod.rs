//! SQLite: one file, one writer.

mod connections;
mod lock;

use async_trait::async_trait;
use sea_orm::{
    ColumnType, ConnectOptions, Database, DatabaseConnection, DbErr, SqliteTransactionMode, TransactionOptions, sqlx,
};

use crate::{
    dialect::{Can, Dialect, Scratch, SeaBackend},
    error::Error,
    lock::{Lock, Wanted},
    options::Options,
    sql::{self, send},
    words::Words,
};

const CATALOGUE: &str = "SELECT type || ' ' || tbl_name || '.' || name || ': ' || coalesce(sql, 'automatic') FROM sqlite_master \
    WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' AND name <> 'sqlite_sequence'";

#[derive(Debug)]
pub(super) struct Sqlite;

#[async_trait]
impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    #[cfg(feature = "cli")]
    fn key(&self) -> &'static str {
        "sqlite"
    }

    fn backend(&self) -> SeaBackend {
        SeaBackend::Sqlite
    }

    fn shuns_transactions(&self, sql: &str) -> bool {
        let first = Words::of(sql).next().unwrap_or_default().to_ascii_uppercase();
        matches!(first.as_str(), "PRAGMA" | "VACUUM" | "ATTACH" | "DETACH" | "BEGIN" | "COMMIT")
    }

    fn hides_failed_statements(&self) -> bool {
        true
    }

    fn roles(&self) -> Can<()> {
        Err("SQLite has no roles: whoever may open the file may do everything")
    }

    fn excess_rights(&self) -> Can<Option<&'static str>> {
        Ok(None)
    }

    fn has_table(&self) -> &'static str {
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1"
    }

    fn catalogue(&self) -> (&'static str, &'static str) {
        (CATALOGUE, "SELECT 'main'")
    }

    fn columns_of(&self, table: &str) -> String {
        format!(
            r#"SELECT name, type, "notnull" <> 0, CASE WHEN pk = 0 THEN -1 ELSE pk END FROM pragma_table_xinfo('{table}')"#
        )
    }

    fn type_names(&self, kind: &ColumnType) -> &'static [&'static str] {
        match kind {
            ColumnType::Uuid => &["BLOB", "uuid_text"],
            ColumnType::JsonBinary => &["TEXT", "jsonb_text"],
            ColumnType::Json => &["TEXT", "json_text"],
            ColumnType::TimestampWithTimeZone => &["TEXT", "timestamp_with_timezone_text"],
            ColumnType::BigInteger => &["INTEGER", "bigint"],
            ColumnType::Integer => &["INTEGER"],
            ColumnType::SmallInteger => &["INTEGER", "smallint"],
            ColumnType::Double => &["REAL", "double"],
            ColumnType::Boolean => &["INTEGER", "boolean"],
            ColumnType::Text | ColumnType::String(_) | ColumnType::Char(_) => &["TEXT", "varchar", "char"],
            _ => &[],
        }
    }

    /// Busy (5), locked (6), and their kin.
    fn is_lock_timeout(&self, error: &dyn sqlx::error::DatabaseError) -> bool {
        matches!(error.code().as_deref(), Some("5" | "261" | "517" | "773" | "6" | "262"))
    }

    fn is_done_already(&self, error: &dyn sqlx::error::DatabaseError) -> bool {
        let text = error.message();
        error.code().as_deref() == Some("1")
            && ["already exists", "duplicate column name", "no such"].iter().any(|part| text.contains(part))
    }

    fn transaction(&self) -> TransactionOptions {
        TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        }
    }

    async fn lock(&self, wanted: Wanted<'_>) -> Result<Box<dyn Lock>, Error> {
        lock::take(wanted).await
    }

    async fn connections(
        &self,
        db: &DatabaseConnection,
        options: &Options,
        _guard: String,
        _most: u32,
    ) -> Result<Option<DatabaseConnection>, DbErr> {
        Ok(connections::worker(db, options))
    }

    async fn drop_everything(&self, db: &DatabaseConnection, but: &str) -> Result<(), DbErr> {
        let dialect: &dyn Dialect = self;
        let transaction = dialect.begin(db).await?;
        // Rows go before tables, and what refers before what is referred to, by deferring the checks to the end, when
        // nothing is left that could refer.
        send(&transaction, "PRAGMA defer_foreign_keys = ON").await?;
        let sql = format!(
            "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name <> '{but}' \
             ORDER BY CASE WHEN type = 'trigger' THEN 0 WHEN type = 'view' THEN 1 WHEN sql LIKE 'CREATE VIRTUAL%' THEN 2 ELSE 3 END"
        );
        let mut tables = Vec::new();
        for row in sql::all(&transaction, &sql).await? {
            let (kind, name): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let name = self.quoted(&name);
            if kind == "table" {
                tables.push(name);
            } else {
                send(&transaction, &format!("DROP {kind} IF EXISTS {name}")).await?;
            }
        }
        for name in tables {
            // A virtual table takes its shadow tables with it.
            send(&transaction, &format!("DROP TABLE IF EXISTS {name}")).await?;
        }
        transaction.commit().await
    }

    async fn scratch(&self, _db: &DatabaseConnection) -> Result<Scratch, DbErr> {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        Ok(Scratch::Database(Database::connect(options).await?, None))
    }
}
