//! `GET_LOCK`, on a connection of its own, asked for by polling. It goes when the connection goes, so a killed runner leaves
//! nothing; but the killed runner's *other* connections may still be in the midst of a long statement, to whose end the server
//! works whether or not anybody waits. Therefore each working connection holds a lock, one of a few, and whoever has the first
//! waits until all of them are free. The names are the server's, so the database is part of them.
//!
//! It is one server's: nodes of a Galera cluster do not know each other's.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};
use sha2::{Digest, Sha256};

use super::connections::lock_connection;
use crate::{
    error::Error,
    holder::Holder,
    lock::{Lock, Wait, Wanted},
    shown::hexadecimal,
    sql,
};

/// How many connections of one runner may work.
const WORKERS: usize = 8;

/// The lock, held by a session.
struct Named {
    session: DatabaseConnection,
    number: i64,
    name: String,
}

#[async_trait]
impl Lock for Named {
    /// The first that is free.
    fn guard(&self) -> String {
        let cases = (0..WORKERS).map(|at| format!(" WHEN GET_LOCK('{}', 0) = 1 THEN {at}", worker(&self.name, at)));
        format!("SELECT CASE{} END", cases.collect::<String>())
    }

    async fn is_held(&self, transaction: &DatabaseTransaction) -> Result<bool, DbErr> {
        Ok(used_by(transaction, &self.name).await? == Some(self.number))
    }

    async fn release(self: Box<Self>) -> Result<(), DbErr> {
        sql::one(&self.session, "SELECT RELEASE_LOCK(?)", [self.name.as_str().into()]).await?;
        self.session.close().await
    }
}

pub(super) async fn take(wanted: Wanted<'_>) -> Result<Box<dyn Lock>, Error> {
    let Wanted { db, options, table, tell } = wanted;
    let database: Option<String> = sql::one(db, "SELECT lower(DATABASE())", []).await?.try_get_by_index(0)?;
    let digest = Sha256::digest(format!("{}.{table}", database.unwrap_or_default()).as_bytes());
    // At most 64 characters, that of a worker too.
    let name = format!("sea_session_migrate_{}", hexadecimal(&digest[..16]));
    let session = lock_connection(db).await?;
    let number = sql::one(&session, "SELECT CAST(CONNECTION_ID() AS signed)", []).await?.try_get_by_index(0)?;
    let mut wait = Wait::new(options);
    while !try_lock(&session, &name).await? {
        let holder = match used_by(&session, &name).await? {
            Some(holder) => Some(described(&session, holder).await?),
            None => None,
        };
        wait.pause(holder, tell).await?;
    }
    // What a killed runner's connections are still doing.
    for at in 0..WORKERS {
        while let Some(holder) = used_by(&session, &worker(&name, at)).await? {
            wait.pause(Some(described(&session, holder).await?), tell).await?;
        }
    }
    Ok(Box::new(Named { session, number, name }))
}

fn worker(name: &str, at: usize) -> String {
    format!("{name}_{at}")
}

async fn try_lock(session: &DatabaseConnection, name: &str) -> Result<bool, DbErr> {
    let taken: Option<i64> =
        sql::one(session, "SELECT CAST(GET_LOCK(?, 0) AS signed)", [name.into()]).await?.try_get_by_index(0)?;
    Ok(taken == Some(1))
}

/// The number of the connection that holds a lock.
async fn used_by<C: ConnectionTrait>(db: &C, name: &str) -> Result<Option<i64>, DbErr> {
    sql::one(db, "SELECT CAST(IS_USED_LOCK(?) AS signed)", [name.into()]).await?.try_get_by_index(0)
}

/// A connection, as far as this user may see it. It has no name of the runner's on this server.
async fn described(session: &DatabaseConnection, number: i64) -> Result<Holder, DbErr> {
    let question = format!(
        "SELECT CONVERT(concat('user ', USER, ' from ', HOST, ', connection ', ID) USING utf8mb4), \
            CAST(TIME AS signed) FROM information_schema.PROCESSLIST WHERE ID = {number}"
    );
    let Some(row) = sql::all(session, &question).await?.into_iter().next() else {
        return Ok(Holder { who: format!("connection {number}"), since: "an unknown time".to_owned() });
    };
    let seconds: Option<i64> = row.try_get_by_index(1)?;
    Ok(Holder { who: row.try_get_by_index(0)?, since: format!("{} s at least", seconds.unwrap_or(0)) })
}
