//! PostgreSQL.

mod connections;
mod lock;
mod roles;
mod texts;

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    ColumnType, DatabaseConnection, DatabaseTransaction, DbErr,
    sqlx::{self, PgConnection},
};

use crate::{
    dialect::{Can, Dialect, Role, Scratch, SeaBackend, knock_once},
    error::Error,
    lock::{Lock, Wanted},
    options::Options,
    sql::{self, send},
    words::Words,
};

#[derive(Debug)]
pub(super) struct Postgres;

#[async_trait]
impl Dialect for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    #[cfg(feature = "cli")]
    fn key(&self) -> &'static str {
        "postgres"
    }

    fn backend(&self) -> SeaBackend {
        SeaBackend::Postgres
    }

    fn roles(&self) -> Can<()> {
        Ok(())
    }

    fn excess_rights(&self) -> Can<Option<&'static str>> {
        Ok(Some(roles::EXCESS))
    }

    fn has_table(&self) -> &'static str {
        "SELECT count(*) FROM pg_catalog.pg_class WHERE relname = $1 AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
    }

    fn may_read(&self, table: &str) -> Option<String> {
        Some(format!(r#"SELECT has_table_privilege('"{table}"', 'SELECT')"#))
    }

    fn catalogue(&self) -> (&'static str, &'static str) {
        (texts::CATALOGUE, "SELECT current_schema()::text")
    }

    fn columns_of(&self, table: &str) -> String {
        format!(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                coalesce(array_position(i.indkey::int2[], a.attnum), -1)::bigint \
             FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = to_regclass('{table}') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        )
    }

    fn type_names(&self, kind: &ColumnType) -> &'static [&'static str] {
        match kind {
            ColumnType::Uuid => &["uuid"],
            ColumnType::JsonBinary => &["jsonb"],
            ColumnType::Json => &["jsonb", "json"],
            ColumnType::TimestampWithTimeZone => &["timestamp with time zone"],
            ColumnType::BigInteger => &["bigint"],
            ColumnType::Integer => &["integer"],
            ColumnType::SmallInteger => &["smallint"],
            ColumnType::Double => &["double precision"],
            ColumnType::Boolean => &["boolean"],
            ColumnType::Text | ColumnType::String(_) | ColumnType::Char(_) => {
                &["text", "character varying", "character"]
            }
            _ => &[],
        }
    }

    fn connection_number(&self) -> Option<&'static str> {
        Some("SELECT pg_backend_pid()")
    }

    fn is_lock_timeout(&self, error: &dyn sqlx::error::DatabaseError) -> bool {
        error.code().as_deref() == Some("55P03")
    }

    fn is_done_already(&self, error: &dyn sqlx::error::DatabaseError) -> bool {
        matches!(
            error.code().as_deref(),
            Some("42P07" | "42701" | "42710" | "42P06" | "42723" | "42P01" | "42704" | "42703")
        )
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

    async fn drop_everything(&self, db: &DatabaseConnection, _but: &str) -> Result<(), DbErr> {
        let dialect: &dyn Dialect = self;
        let transaction = dialect.begin(db).await?;
        send(&transaction, texts::DROP_EVERYTHING).await?;
        transaction.commit().await
    }

    /// `CREATE INDEX CONCURRENTLY` leaves an invalid index when it fails.
    async fn clear_left_over(&self, db: &DatabaseConnection, sql: &str) -> Result<(), DbErr> {
        let Some(index) = concurrent_index(sql) else { return Ok(()) };
        let sql = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
            WHERE c.relname = $1 AND pg_table_is_visible(c.oid) AND NOT i.indisvalid";
        let found = sql::one(db, sql, [index.as_str().into()]).await?.try_get_by_index::<i64>(0)?;
        if found > 0 {
            send(db, &format!("DROP INDEX CONCURRENTLY {}", self.quoted(&index))).await?;
        }
        Ok(())
    }

    async fn role_statements(&self, db: &DatabaseTransaction, role: &Role<'_>) -> Result<Vec<String>, DbErr> {
        roles::statements(db, role).await
    }

    async fn scratch(&self, db: &DatabaseConnection) -> Result<Scratch, DbErr> {
        let dialect: &dyn Dialect = self;
        let transaction = dialect.begin(db).await?;
        let schema = format!("doctor_{}", std::process::id());
        send(&transaction, &format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}")).await?;
        Ok(Scratch::Transaction(transaction))
    }

    async fn knock(&self, url: &str, patience: Duration) -> Result<(), String> {
        if url.starts_with("postgres") { knock_once::<PgConnection>(url, patience).await } else { Ok(()) }
    }
}

/// The name in `CREATE [UNIQUE] INDEX CONCURRENTLY [IF NOT EXISTS] name`.
fn concurrent_index(sql: &str) -> Option<String> {
    let words: Vec<String> = Words::of(sql).take(9).collect();
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("CONCURRENTLY"))?;
    if !words.first()?.eq_ignore_ascii_case("CREATE") {
        return None;
    }
    words[at + 1..]
        .iter()
        .find(|word| !["IF", "NOT", "EXISTS"].iter().any(|noise| noise.eq_ignore_ascii_case(word)))
        .cloned()
}
