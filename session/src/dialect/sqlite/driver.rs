//! SQLite's driver, which works in a thread of its own.

#![expect(clippy::disallowed_methods, reason = "what talks to a driver is here and in its like, and nowhere else")]

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use sea_orm::{
    DatabaseConnection, QueryResult, Statement,
    sqlx::{self, Executor, Sqlite, pool::PoolConnection},
};
use tokio::runtime::{Builder, Handle};

use crate::dialect::{
    driver::{Driver, Unfinished, ask, bound, elsewhere, text, within},
    message::{Fetch, Message, Reply},
};

struct SqliteDriver(PoolConnection<Sqlite>);

pub(super) fn acquire(pool: &DatabaseConnection) -> BoxFuture<'_, Result<Box<dyn Driver>, sqlx::Error>> {
    Box::pin(async move {
        let connection = pool.get_sqlite_connection_pool().acquire().await?;
        Ok(Box::new(SqliteDriver(connection)) as Box<dyn Driver>)
    })
}

impl Driver for SqliteDriver {
    fn dispatch<'a, 'm: 'a>(&'a mut self, message: Message<'m>) -> BoxFuture<'a, Result<Reply, sqlx::Error>> {
        Box::pin(ask(&mut self.0, message, Fetch::Nothing).answer())
    }

    fn step(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        let Statement { sql, values, .. } = statement;
        self.0.fetch((text(sql), bound::<Sqlite>(values))).map_ok(QueryResult::from).boxed()
    }

    /// SQLite may have rolled it back with the statement, and answers only to who tries to begin another.
    fn has_ended<'a>(&'a mut self, _: Option<&'a str>) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            self.dispatch(Message::Control("BEGIN")).await.is_ok()
                && self.dispatch(Message::Control("ROLLBACK; PRAGMA query_only = 0")).await.is_ok()
        })
    }

    /// SQLite finishes the message it was given, then takes the rollback; "no transaction is active" is the good case of a
    /// message that was never begun.
    fn roll_back(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match self.0.execute("ROLLBACK; PRAGMA query_only = 0").await {
                Ok(_) => true,
                Err(sqlx::Error::Database(e)) if e.message().contains("no transaction is active") => {
                    self.0.execute("PRAGMA query_only = 0").await.is_ok()
                }
                Err(_) => false,
            }
        })
    }

    fn finishes_messages(&self) -> bool {
        true
    }

    /// Closing the only connection to a database in memory would lose it; a rollback makes its state known.
    fn close(self: Box<Self>) {
        Unfinished::abandon(self, true);
    }

    /// It works in a thread of its own, and so it is rolled back; it may be the one connection of a database in memory. One that
    /// cannot be rolled back is closed.
    fn sever(self: Box<Self>, runtime: Option<Handle>) {
        elsewhere(move || {
            let Ok(own) = Builder::new_current_thread().enable_all().build() else {
                return within(runtime, || drop(self));
            };
            own.block_on(async move {
                let mut driver = self;
                match driver.roll_back().await {
                    true => drop(driver),
                    false => drop(driver.0.detach()),
                }
                // The driver gives it back to the pool in a task.
                let runtime = Handle::current();
                while runtime.metrics().num_alive_tasks() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
    }
}
