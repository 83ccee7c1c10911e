//! A session's advisory lock, on a connection of its own, asked for by polling. It goes when the connection goes, so a killed
//! runner leaves nothing; but the killed runner's *other* connection may still be in the midst of a long statement.
//! Therefore each working connection holds a second advisory lock, shared, and whoever has the first waits until nobody
//! holds the second. And before a migration commits, its transaction looks that the first lock is still held by the
//! connection that took it.

use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use sha2::{Digest, Sha256};

use super::connections::lock_connection;
use crate::{
    error::Error,
    holder::Holder,
    lock::{Lock, Wait, Wanted},
    sql,
};

/// The two advisory locks of one migration table.
#[derive(Clone, Copy, Debug)]
struct Keys {
    runner: (i32, i32),
    worker: (i32, i32),
}

impl Keys {
    /// Of a migration table in the schema that `db` works in. Advisory locks are per database already.
    async fn of(db: &DatabaseConnection, table: &str) -> Result<Self, DbErr> {
        let schema: Option<String> = sql::one(db, "SELECT current_schema()::text", []).await?.try_get_by_index(0)?;
        let digest = Sha256::digest(format!("{}.{table}", schema.unwrap_or_default()).as_bytes());
        // Positive, so that pg_locks, which shows unsigned numbers, shows the same ones.
        let number =
            |at: usize| i32::from_be_bytes([digest[at] & 0x7f, digest[at + 1], digest[at + 2], digest[at + 3]]);
        Ok(Self { runner: (number(0), number(4)), worker: (number(0), number(8)) })
    }
}

/// The lock, held by a session.
struct Advisory {
    session: DatabaseConnection,
    pid: i32,
    keys: Keys,
}

#[async_trait]
impl Lock for Advisory {
    fn guard(&self) -> String {
        let (a, b) = self.keys.worker;
        format!("SELECT pg_advisory_lock_shared({a}, {b})")
    }

    async fn is_held(&self, transaction: &DatabaseTransaction) -> Result<bool, DbErr> {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = $1 \
            AND classid::bigint = $2 AND objid::bigint = $3 AND objsubid = 2";
        let (a, b) = self.keys.runner;
        let values = [self.pid.into(), i64::from(a).into(), i64::from(b).into()];
        Ok(sql::one(transaction, sql, values).await?.try_get_by_index::<i64>(0)? == 1)
    }

    async fn last_statement(&self, connection: i32) -> Option<String> {
        let sql = "SELECT query FROM pg_stat_activity WHERE pid = $1";
        sql::one(&self.session, sql, [connection.into()]).await.ok()?.try_get_by_index(0).ok()
    }

    async fn release(self: Box<Self>) -> Result<(), DbErr> {
        let (a, b) = self.keys.runner;
        sql::one(&self.session, &format!("SELECT pg_advisory_unlock({a}, {b})"), []).await?;
        self.session.close().await
    }
}

pub(super) async fn take(wanted: Wanted<'_>) -> Result<Box<dyn Lock>, Error> {
    let Wanted { db, options, table, tell } = wanted;
    let keys = Keys::of(db, table).await?;
    let session = lock_connection(db, &options.runner_name()).await?;
    let pid = sql::one(&session, "SELECT pg_backend_pid()", []).await?.try_get_by_index(0)?;
    let mut wait = Wait::new(options);
    // The second is what a killed runner's connection is still doing.
    for key in [keys.runner, keys.worker] {
        while !try_lock(&session, key).await? {
            wait.pause(holder(&session, key).await?, tell).await?;
        }
    }
    let (a, b) = keys.worker;
    sql::one(&session, &format!("SELECT pg_advisory_unlock({a}, {b})"), []).await?;
    Ok(Box::new(Advisory { session, pid, keys }))
}

async fn try_lock(session: &DatabaseConnection, (a, b): (i32, i32)) -> Result<bool, DbErr> {
    sql::one(session, &format!("SELECT pg_try_advisory_lock({a}, {b})"), []).await?.try_get_by_index(0)
}

async fn holder(session: &DatabaseConnection, (a, b): (i32, i32)) -> Result<Option<Holder>, DbErr> {
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
