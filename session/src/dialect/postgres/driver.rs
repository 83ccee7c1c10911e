//! PostgreSQL's driver.

#![expect(clippy::disallowed_methods, reason = "what talks to a driver is here and in its like, and nowhere else")]

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use sea_orm::{
    DatabaseConnection, QueryResult, Statement,
    sqlx::{self, Executor, Postgres, pool::PoolConnection},
};
use tokio::runtime::Handle;

use crate::dialect::{
    driver::{Asked, Driver, ask, bound, text, within},
    message::{Fetch, Message, Piece, Reply},
};

/// The answer to what needs a transaction where there is none.
const NO_TRANSACTION: &str = "25P01";

struct PostgresDriver(PoolConnection<Postgres>);

pub(super) fn acquire(pool: &DatabaseConnection) -> BoxFuture<'_, Result<Box<dyn Driver>, sqlx::Error>> {
    Box::pin(async move {
        let connection = pool.get_postgres_connection_pool().acquire().await?;
        Ok(Box::new(PostgresDriver(connection)) as Box<dyn Driver>)
    })
}

impl Driver for PostgresDriver {
    fn dispatch<'a, 'm: 'a>(&'a mut self, message: Message<'m>) -> BoxFuture<'a, Result<Reply, sqlx::Error>> {
        let asked = match message {
            Message::Copy { sql, piece } => Asked::Copied(Box::pin(copy(&mut self.0, sql, piece))),
            // The transaction's id is in the first row of a BEGIN, if it was asked for.
            other => ask(&mut self.0, other, Fetch::One),
        };
        Box::pin(asked.answer())
    }

    fn step(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        let Statement { sql, values, .. } = statement;
        self.0.fetch((text(sql), bound::<Postgres>(values))).map_ok(QueryResult::from).boxed()
    }

    /// PostgreSQL keeps a failed transaction until it is ended; what can only be done inside one says so.
    fn has_ended<'a>(&'a mut self, code: Option<&'a str>) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(code == Some(NO_TRANSACTION)))
    }

    fn roll_back(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.0.execute("ROLLBACK").await.is_ok() })
    }

    fn finishes_messages(&self) -> bool {
        false
    }

    /// Closes the socket at once, so that the server gives up what it is doing and frees its locks (C3).
    fn close(self: Box<Self>) {
        drop(self.0.detach());
    }

    /// It is closed: the server rolls back at once.
    fn sever(self: Box<Self>, runtime: Option<Handle>) {
        within(runtime, move || drop(self.0.detach()));
    }
}

async fn copy(conn: &mut PoolConnection<Postgres>, sql: &str, piece: Piece<'_>) -> Result<Reply, sqlx::Error> {
    let mut copy = conn.copy_in_raw(sql).await?;
    let mut data = Vec::new();
    loop {
        let sent = match piece(&mut data) {
            Ok(more) => copy.send(&data[..]).await.map(|_| more),
            Err(why) => Err(sqlx::Error::Protocol(why)),
        };
        match sent {
            Ok(true) => {}
            Ok(false) => return Ok(Reply::Counted(copy.finish().await?)),
            Err(e) => {
                copy.abort("the data could not be sent").await?;
                return Err(e);
            }
        }
    }
}
