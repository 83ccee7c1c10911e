//! One runner at a time (G2).
//!
//! What it is for: to let concurrent runners wait for each other, and to say who they wait for. What it must never do:
//! outlive its process, or be held in a transaction (a runner that waits inside one would hold back `CREATE INDEX
//! CONCURRENTLY` of the runner that it waits for, and both would wait for ever).
//!
//! # PostgreSQL
//!
//! A session's advisory lock, on a connection of its own, asked for by polling. It goes when the connection goes, so a
//! killed runner leaves nothing; but the killed runner's *other* connection may still be in the midst of a long statement.
//! Therefore each working connection holds a second advisory lock, shared, and whoever has the first waits until nobody
//! holds the second. And before a migration commits, its transaction looks that the first lock is still held by the
//! connection that took it.
//!
//! # SQLite
//!
//! SQLite has one write lock for the file, and it cannot be held across the transactions of several migrations. So a row
//! says who migrates, until when, and it is taken, renewed and checked *under the write lock*: in the same
//! `BEGIN IMMEDIATE` transaction as each migration. A runner that dies leaves a row that runs out.

use std::time::{Duration, Instant};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

pub use crate::holder::Holder;
use crate::{
    error::{Error, is_lock_timeout},
    ledger::Ledger,
    options::{Event, Options},
    sql::{self, now_ms, send},
    workplace::{self, lock_connection},
};

/// How long a SQLite runner may be silent between two of its transactions before another takes over.
const SQLITE_LEASE: Duration = Duration::from_secs(5);

/// The two advisory locks of one migration table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    runner: (i32, i32),
    worker: (i32, i32),
}

impl Keys {
    /// Of a migration table in the schema that `db` works in. Advisory locks are per database already.
    async fn of(db: &DatabaseConnection, ledger: &Ledger) -> Result<Self, DbErr> {
        let schema: Option<String> = sql::one(db, "SELECT current_schema()::text", []).await?.try_get_by_index(0)?;
        let digest = Sha256::digest(format!("{}.{}", schema.unwrap_or_default(), ledger.table).as_bytes());
        // Positive, so that pg_locks, which shows unsigned numbers, shows the same ones.
        let number =
            |at: usize| i32::from_be_bytes([digest[at] & 0x7f, digest[at + 1], digest[at + 2], digest[at + 3]]);
        Ok(Self { runner: (number(0), number(4)), worker: (number(0), number(8)) })
    }
}

/// The lock, held.
pub(crate) enum Lock {
    Postgres { session: DatabaseConnection, pid: i32, keys: Keys },
    Sqlite { db: DatabaseConnection, table: String, token: String, renewal: Option<JoinHandle<()>>, released: bool },
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Self::Sqlite { db, table, token, renewal, released } = self else { return };
        if let Some(renewal) = renewal.take() {
            renewal.abort();
        }
        // A run that was dropped: the row would run out by itself, but those who wait need not wait for that. It cannot go
        // before the write lock of what was in hand does.
        if !*released && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (db, table, token) = (db.clone(), table.clone(), token.clone());
            runtime.spawn(async move { give_back(&db, &table, &token).await });
        }
    }
}

async fn give_back(db: &DatabaseConnection, table: &str, token: &str) -> Result<(), DbErr> {
    sql::run(db, &format!(r#"DELETE FROM "{table}" WHERE token = $1"#), [token.into()]).await
}

impl Lock {
    /// Waits for the lock.
    pub async fn take(
        db: &DatabaseConnection,
        options: &Options,
        ledger: &Ledger,
        tell: &(dyn Fn(&Event) + Send + Sync),
    ) -> Result<Self, Error> {
        match db.get_database_backend() {
            DbBackend::Postgres => Self::take_postgres(db, options, ledger, tell).await,
            _ => Self::take_sqlite(db, options, ledger, tell).await,
        }
    }

    /// What each working connection sends first.
    pub fn guard(&self) -> String {
        match self {
            Self::Postgres { keys, .. } => {
                format!("SELECT pg_advisory_lock_shared({}, {})", keys.worker.0, keys.worker.1)
            }
            Self::Sqlite { .. } => String::new(),
        }
    }

    async fn take_postgres(
        db: &DatabaseConnection,
        options: &Options,
        ledger: &Ledger,
        tell: &(dyn Fn(&Event) + Send + Sync),
    ) -> Result<Self, Error> {
        let keys = Keys::of(db, ledger).await?;
        let session = lock_connection(db, &options.runner_name()).await?;
        let pid = sql::one(&session, "SELECT pg_backend_pid()", []).await?.try_get_by_index(0)?;
        let mut wait = Wait::new(options);
        while !try_lock(&session, keys.runner).await? {
            let holder = postgres_holder(&session, keys.runner).await?;
            wait.pause(holder, tell).await?;
        }
        // What a killed runner's connection is still doing.
        while !try_lock(&session, keys.worker).await? {
            let holder = postgres_holder(&session, keys.worker).await?;
            wait.pause(holder, tell).await?;
        }
        let (a, b) = keys.worker;
        sql::one(&session, &format!("SELECT pg_advisory_unlock({a}, {b})"), []).await?;
        Ok(Self::Postgres { session, pid, keys })
    }

    async fn take_sqlite(
        db: &DatabaseConnection,
        options: &Options,
        ledger: &Ledger,
        tell: &(dyn Fn(&Event) + Send + Sync),
    ) -> Result<Self, Error> {
        let table = ledger.lock_table();
        let token = format!("{}-{}", options.runner_name(), now_ms());
        let mut wait = Wait::new(options);
        loop {
            match take_row(db, &table, &token, &options.runner_name()).await {
                Ok(None) => break,
                Ok(Some(holder)) => wait.pause(Some(holder), tell).await?,
                Err(error) if is_lock_timeout(&error) => {
                    let holder = sqlite_holder(db, &table).await.ok().flatten();
                    wait.pause(holder, tell).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self::Sqlite { db: db.clone(), table, token, renewal: None, released: false })
    }

    /// Within a migration's transaction: whether the lock is still this runner's.
    pub async fn is_held(&self, transaction: &DatabaseTransaction) -> Result<bool, DbErr> {
        match self {
            Self::Postgres { pid, keys, .. } => {
                let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = $1 \
                    AND classid::bigint = $2 AND objid::bigint = $3 AND objsubid = 2";
                let values = [(*pid).into(), i64::from(keys.runner.0).into(), i64::from(keys.runner.1).into()];
                Ok(sql::one(transaction, sql, values).await?.try_get_by_index::<i64>(0)? == 1)
            }
            Self::Sqlite { table, token, .. } => renew(transaction, table, token).await,
        }
    }

    /// The statement that another connection of the server was last given.
    pub async fn last_statement(&self, worker: Option<i32>) -> Option<String> {
        let Self::Postgres { session, .. } = self else { return None };
        let sql = "SELECT query FROM pg_stat_activity WHERE pid = $1";
        sql::one(session, sql, [worker?.into()]).await.ok()?.try_get_by_index(0).ok()
    }

    /// Keeps a SQLite lock alive while a migration without a transaction is running.
    pub fn keep_alive(&mut self, db: &DatabaseConnection) {
        if let Self::Sqlite { table, token, renewal, .. } = self
            && renewal.is_none()
            && !workplace::lives_in_memory(db)
        {
            let (db, table, token) = (db.clone(), table.clone(), token.clone());
            *renewal = Some(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SQLITE_LEASE / 4).await;
                    // A busy file is renewed the next time; the lease is four times as long.
                    let _ = renew(&db, &table, &token).await;
                }
            }));
        }
    }

    /// Gives the lock back.
    pub async fn release(mut self) -> Result<(), DbErr> {
        match &mut self {
            Self::Postgres { session, keys, .. } => {
                let (a, b) = keys.runner;
                sql::one(session, &format!("SELECT pg_advisory_unlock({a}, {b})"), []).await?;
                session.clone().close().await
            }
            Self::Sqlite { db, table, token, renewal, released } => {
                if let Some(renewal) = renewal.take() {
                    renewal.abort();
                }
                *released = true;
                give_back(db, table, token).await
            }
        }
    }
}

/// The patience of a waiting runner.
struct Wait {
    since: Instant,
    limit: Duration,
    told: Option<String>,
}

impl Wait {
    fn new(options: &Options) -> Self {
        Self { since: Instant::now(), limit: options.wait, told: None }
    }

    async fn pause(&mut self, holder: Option<Holder>, tell: &(dyn Fn(&Event) + Send + Sync)) -> Result<(), Error> {
        let waited = self.since.elapsed();
        if waited >= self.limit {
            return Err(Error::Locked { waited, holder });
        }
        let who = holder.as_ref().map(|holder| holder.who.clone());
        if self.told.is_none() || (who.is_some() && self.told != who) {
            tell(&Event::Waiting { holder: holder.clone() });
            self.told = Some(who.unwrap_or_default());
        }
        // Differs between processes, so that those who wait together do not ask together.
        let pause = Duration::from_millis(40 + u64::from(std::process::id() % 40));
        tokio::time::sleep(pause.min(self.limit.saturating_sub(waited))).await;
        Ok(())
    }
}

async fn try_lock(session: &DatabaseConnection, (a, b): (i32, i32)) -> Result<bool, DbErr> {
    sql::one(session, &format!("SELECT pg_try_advisory_lock({a}, {b})"), []).await?.try_get_by_index(0)
}

async fn postgres_holder(session: &DatabaseConnection, (a, b): (i32, i32)) -> Result<Option<Holder>, DbErr> {
    let sql = format!(
        "SELECT format('%s, user %s from %s, backend %s', coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename, \
            coalesce(host(a.client_addr), 'the local socket'), a.pid), \
         date_trunc('second', clock_timestamp() - a.backend_start)::text \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = {a} AND l.objid::bigint = {b} \
           AND l.objsubid = 2 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1"
    );
    let rows = sql::all(session, &sql).await?;
    rows.first().map(|row| Ok(Holder { who: row.try_get_by_index(0)?, since: row.try_get_by_index(1)? })).transpose()
}

/// Takes the row, or says who has it.
async fn take_row(db: &DatabaseConnection, table: &str, token: &str, who: &str) -> Result<Option<Holder>, DbErr> {
    // A look first: those who wait must not keep the one who works from writing.
    if let Some(holder) = sqlite_holder(db, table).await? {
        return Ok(Some(holder));
    }
    let transaction = begin_immediate(db).await?;
    send(
        &transaction,
        &format!(
            r#"CREATE TABLE IF NOT EXISTS "{table}" (id integer PRIMARY KEY CHECK (id = 1), token text NOT NULL, holder text NOT NULL, since bigint NOT NULL, until bigint NOT NULL)"#
        ),
    )
    .await?;
    if let Some(holder) = sqlite_holder(&transaction, table).await? {
        transaction.rollback().await?;
        return Ok(Some(holder));
    }
    let sql =
        format!(r#"INSERT OR REPLACE INTO "{table}" (id, token, holder, since, until) VALUES (1, $1, $2, $3, $4)"#);
    sql::run(&transaction, &sql, [token.into(), who.into(), now_ms().into(), lease_end().into()]).await?;
    transaction.commit().await?;
    Ok(None)
}

/// The live holder of a SQLite lock.
async fn sqlite_holder<C: ConnectionTrait>(db: &C, table: &str) -> Result<Option<Holder>, DbErr> {
    if !Ledger::has_table(db, table).await? {
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
    let statement = sea_orm::Statement::from_sql_and_values(DbBackend::Sqlite, sql, [lease_end().into(), token.into()]);
    Ok(db.execute_raw(statement).await?.rows_affected() == 1)
}

fn lease_end() -> i64 {
    now_ms() + i64::try_from(SQLITE_LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// A transaction that has SQLite's write lock from its start, or a plain one elsewhere.
pub(crate) async fn begin_immediate(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let sqlite_transaction_mode =
        (db.get_database_backend() == DbBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
    db.begin_with_options(TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() }).await
}
