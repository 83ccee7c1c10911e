//! One runner at a time (G2).
//!
//! What it is for: to let concurrent runners wait for each other, and to say who they wait for. What it must never do:
//! outlive its process, or be held in a transaction (a runner that waits inside one would hold back `CREATE INDEX
//! CONCURRENTLY` of the runner that it waits for, and both would wait for ever).
//!
//! | Backend | The lock |
//! |---|---|
//! | PostgreSQL | A session's advisory lock, on a connection of its own; it goes with the connection. |
//! | MySQL, MariaDB | `GET_LOCK`, on a connection of its own; it goes with the connection. |
//! | SQLite | A row that runs out, taken and checked under the file's write lock. |
//!
//! On a server each working connection holds a lock besides, for which the next runner waits too: a killed runner's
//! connection may still be in the midst of a long statement. Before a migration commits, its transaction looks that the
//! lock is still held by the connection that took it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};

pub use crate::holder::Holder;
use crate::{
    error::Error,
    options::{Event, Options},
};

/// What takes a lock.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub db: &'a DatabaseConnection,
    pub options: &'a Options,
    /// The migration table that it is about.
    pub table: &'a str,
    pub tell: &'a (dyn Fn(&Event) + Send + Sync),
}

/// The lock, held. It is given back by [`release`](Lock::release); dropped, it goes with what holds it.
#[async_trait]
pub(crate) trait Lock: Send + Sync {
    /// What each working connection sends first.
    fn guard(&self) -> String {
        String::new()
    }

    /// Within a migration's transaction: whether the lock is still this runner's.
    async fn is_held(&self, transaction: &DatabaseTransaction) -> Result<bool, DbErr>;

    /// The statement that the connection with this number was last given, where the server tells.
    async fn last_statement(&self, _connection: i32) -> Option<String> {
        None
    }

    /// Keeps it alive while a migration without a transaction is running.
    fn keep_alive(&mut self, _db: &DatabaseConnection) {}

    /// Gives it back.
    async fn release(self: Box<Self>) -> Result<(), DbErr>;
}

/// The patience of a waiting runner.
pub(crate) struct Wait {
    since: Instant,
    limit: Duration,
    told: Option<String>,
}

impl Wait {
    pub fn new(options: &Options) -> Self {
        Self { since: Instant::now(), limit: options.wait, told: None }
    }

    pub async fn pause(&mut self, holder: Option<Holder>, tell: &(dyn Fn(&Event) + Send + Sync)) -> Result<(), Error> {
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
