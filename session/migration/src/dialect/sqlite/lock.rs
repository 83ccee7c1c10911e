//! A row that says who migrates, until when. SQLite has one write lock for the file, which cannot be held across the
//! transactions of several migrations: the row is taken, renewed and checked under it, in the same `BEGIN IMMEDIATE`
//! transaction as each migration. A runner that dies leaves a row that runs out.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement, Value};
use tokio::task::JoinHandle;

use super::{Sqlite, connections::lives_in_memory};
use crate::{
    dialect::Dialect,
    error::Error,
    holder::Holder,
    lock::{Lock, Wait, Wanted},
    sql::{self, now_ms, send},
};

/// How long a runner may be silent between two of its transactions before another takes over.
const LEASE: Duration = Duration::from_secs(5);

const DIALECT: &dyn Dialect = &Sqlite;

/// The row, held.
struct Row {
    db: DatabaseConnection,
    table: String,
    token: String,
    renewal: Option<JoinHandle<()>>,
    released: bool,
}

impl Drop for Row {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
        // A run that was dropped: the row would run out by itself, but those who wait need not wait for that. It cannot go
        // before the write lock of what was in hand does.
        if !self.released
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (db, table, token) = (self.db.clone(), self.table.clone(), self.token.clone());
            runtime.spawn(async move { give_back(&db, &table, &token).await });
        }
    }
}

#[async_trait]
impl Lock for Row {
    async fn is_held(&self, transaction: &DatabaseTransaction) -> Result<bool, DbErr> {
        renew(transaction, &self.table, &self.token).await
    }

    fn keep_alive(&mut self, db: &DatabaseConnection) {
        if self.renewal.is_some() || lives_in_memory(db) {
            return;
        }
        let (db, table, token) = (db.clone(), self.table.clone(), self.token.clone());
        self.renewal = Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LEASE / 4).await;
                // A busy file is renewed the next time; the lease is four times as long.
                let _ = renew(&db, &table, &token).await;
            }
        }));
    }

    async fn release(mut self: Box<Self>) -> Result<(), DbErr> {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
        self.released = true;
        give_back(&self.db, &self.table, &self.token).await
    }
}

pub(super) async fn take(wanted: Wanted<'_>) -> Result<Box<dyn Lock>, Error> {
    let Wanted { db, options, table, tell } = wanted;
    let (table, who) = (format!("{table}_lock"), options.runner_name());
    let token = format!("{who}-{}", now_ms());
    let mut wait = Wait::new(options);
    loop {
        match take_row(db, &table, &token, &who).await {
            Ok(None) => break,
            Ok(Some(holder)) => wait.pause(Some(holder), tell).await?,
            Err(error) if DIALECT.timed_out(&error) => {
                let holder = holder(db, &table).await.ok().flatten();
                wait.pause(holder, tell).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Box::new(Row { db: db.clone(), table, token, renewal: None, released: false }))
}

/// Takes the row, or says who has it.
async fn take_row(db: &DatabaseConnection, table: &str, token: &str, who: &str) -> Result<Option<Holder>, DbErr> {
    // A look first: those who wait must not keep the one who works from writing.
    if let Some(holder) = holder(db, table).await? {
        return Ok(Some(holder));
    }
    let transaction = DIALECT.begin(db).await?;
    send(
        &transaction,
        &format!(
            r#"CREATE TABLE IF NOT EXISTS "{table}" (id integer PRIMARY KEY CHECK (id = 1), token text NOT NULL, holder text NOT NULL, since bigint NOT NULL, until bigint NOT NULL)"#
        ),
    )
    .await?;
    if let Some(holder) = holder(&transaction, table).await? {
        transaction.rollback().await?;
        return Ok(Some(holder));
    }
    let sql =
        format!(r#"INSERT OR REPLACE INTO "{table}" (id, token, holder, since, until) VALUES (1, $1, $2, $3, $4)"#);
    run(&transaction, &sql, [token.into(), who.into(), now_ms().into(), lease_end().into()]).await?;
    transaction.commit().await?;
    Ok(None)
}

/// The live holder.
async fn holder<C: ConnectionTrait>(db: &C, table: &str) -> Result<Option<Holder>, DbErr> {
    if !DIALECT.table_is_there(db, table).await? {
        return Ok(None);
    }
    let rows = sql::all(db, &format!(r#"SELECT holder, since, until FROM "{table}""#)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if row.try_get_by_index::<i64>(2)? < now_ms() {
        return Ok(None);
    }
    let since = Duration::from_millis(u64::try_from(now_ms() - row.try_get_by_index::<i64>(1)?).unwrap_or(0));
    Ok(Some(Holder { who: row.try_get_by_index(0)?, since: format!("{since:.1?}") }))
}

async fn renew<C: ConnectionTrait>(db: &C, table: &str, token: &str) -> Result<bool, DbErr> {
    let sql = format!(r#"UPDATE "{table}" SET until = $1 WHERE token = $2"#);
    Ok(run(db, &sql, [lease_end().into(), token.into()]).await? == 1)
}

async fn give_back(db: &DatabaseConnection, table: &str, token: &str) -> Result<(), DbErr> {
    run(db, &format!(r#"DELETE FROM "{table}" WHERE token = $1"#), [token.into()]).await.map(|_| ())
}

fn lease_end() -> i64 {
    now_ms() + i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// Runs one statement, and says how many rows it was about.
async fn run<C: ConnectionTrait>(db: &C, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}
