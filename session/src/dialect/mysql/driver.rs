//! The driver of MySQL and MariaDB.

#![expect(clippy::disallowed_methods, reason = "what talks to a driver is here and in its like, and nowhere else")]

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use sea_orm::{
    DatabaseConnection, QueryResult, Statement,
    sqlx::{
        self, Connection, Executor, MySql, MySqlConnection, Row,
        mysql::{MySqlConnectOptions, MySqlDatabaseError},
        pool::PoolConnection,
    },
};
use tokio::runtime::{Builder, Handle};

use crate::dialect::{
    driver::{Driver, ask, bound, elsewhere, text, within},
    message::{Fetch, Message, Reply},
};

/// What BEGIN's answer calls the connection's number.
pub(super) const CONNECTION: &str = "sea_session_connection";

/// How the server says that a savepoint, and so mostly the transaction, is not there.
const NO_SAVEPOINT: u16 = 1305;

/// Has the server say that the transaction is gone.
const ENDED: &str = "SIGNAL SQLSTATE '25000' SET MYSQL_ERRNO = 1305, \
     MESSAGE_TEXT = 'a statement has ended the transaction that it was in'";

struct MySqlDriver {
    pooled: PoolConnection<MySql>,
    options: MySqlConnectOptions,
    /// The server's number of this connection, once a transaction has begun.
    number: Option<u64>,
    /// A message is under way whose answer nobody may wait for any more.
    busy: bool,
    /// The number of the last error.
    failed: u16,
}

pub(super) fn acquire(pool: &DatabaseConnection) -> BoxFuture<'_, Result<Box<dyn Driver>, sqlx::Error>> {
    Box::pin(async move {
        let pool = pool.get_mysql_connection_pool();
        let pooled = pool.acquire().await?;
        let options = (*pool.connect_options()).clone();
        Ok(Box::new(MySqlDriver { pooled, options, number: None, busy: false, failed: 0 }) as Box<dyn Driver>)
    })
}

impl Driver for MySqlDriver {
    fn dispatch<'a, 'm: 'a>(&'a mut self, message: Message<'m>) -> BoxFuture<'a, Result<Reply, sqlx::Error>> {
        match self.number.is_some() && may_end(&message) {
            false => self.ask(message),
            true => Box::pin(self.ask_what_may_end(message)),
        }
    }

    fn step(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        let Statement { sql, values, .. } = statement;
        self.pooled.fetch((text(sql), bound::<MySql>(values))).map_ok(QueryResult::from).boxed()
    }

    /// A deadlock has ended it, savepoints too; other errors may have, so the server is asked (MariaDB; MySQL has no such question,
    /// and a savepoint that is gone went with its transaction).
    fn has_ended<'a>(&'a mut self, _: Option<&'a str>) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            match self.failed {
                1213 | 1614 => true,
                1205 | 1020 | NO_SAVEPOINT | 1180 | 1181 | 1317 | 1969 => {
                    let gone_by_default = self.failed == NO_SAVEPOINT;
                    !self.in_transaction().await.unwrap_or(!gone_by_default)
                }
                _ => false,
            }
        })
    }

    fn roll_back(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.pooled.execute("ROLLBACK").await.is_ok() })
    }

    fn finishes_messages(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) {
        self.sever(Handle::try_current().ok());
    }

    /// It is closed. A server that works on a statement does not look whether anybody still waits for it: it is told to stop (C3).
    fn sever(self: Box<Self>, runtime: Option<Handle>) {
        let Self { pooled, options, number, busy, .. } = *self;
        within(runtime, move || drop(pooled.detach()));
        if let Some(number) = number.filter(|_| busy) {
            elsewhere(move || kill(&options, number));
        }
    }
}

impl MySqlDriver {
    fn ask<'a, 'm: 'a>(&'a mut self, message: Message<'m>) -> BoxFuture<'a, Result<Reply, sqlx::Error>> {
        let begins = matches!(message, Message::Control(text) if text.contains(CONNECTION));
        let (number, busy, failed) = (&mut self.number, &mut self.busy, &mut self.failed);
        *busy = true;
        // All rows of a message of several statements: an error may come after the first.
        let answer = ask(&mut self.pooled, message, Fetch::All).answer();
        Box::pin(async move {
            let answer = answer.await;
            *busy = false;
            match &answer {
                Ok(Reply::Rows(rows)) if begins => *number = rows.last().and_then(connection_number),
                Err(sqlx::Error::Database(e)) => {
                    *failed = e.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
                }
                _ => {}
            }
            answer
        })
    }

    /// What calls procedures may have committed: the server is asked, and its own error says so (D11).
    async fn ask_what_may_end(&mut self, message: Message<'_>) -> Result<Reply, sqlx::Error> {
        let answer = self.ask(message).await?;
        if self.in_transaction().await == Some(false) {
            self.failed = NO_SAVEPOINT;
            self.pooled.execute(ENDED).await?;
        }
        Ok(answer)
    }

    async fn in_transaction(&mut self) -> Option<bool> {
        let asked = self.pooled.fetch_one("SELECT @@in_transaction").await.ok()?;
        Some(asked.try_get_unchecked::<i64, _>(0).ok()? != 0)
    }
}

/// Ends a connection from another one.
fn kill(options: &MySqlConnectOptions, number: u64) {
    let Ok(own) = Builder::new_current_thread().enable_all().build() else { return };
    own.block_on(async {
        let ended = async {
            let mut connection = MySqlConnection::connect_with(options).await?;
            connection.execute(text(format!("KILL CONNECTION {number}"))).await?;
            connection.close().await
        };
        if let Err(error) = ended.await {
            // It may have ended by itself meanwhile.
            tracing::debug!(%error, "a connection that was given up could not be ended");
        }
    });
}

fn connection_number(row: &QueryResult) -> Option<u64> {
    row.try_as_mysql_row()?.try_get_unchecked(CONNECTION).ok()
}

/// Whether a caller's statement may end the transaction by what it calls.
fn may_end(message: &Message<'_>) -> bool {
    let sql = match message {
        Message::Unprepared(sql) => sql,
        Message::Statement(statement, _) => &*statement.sql,
        _ => return false,
    };
    let first = sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    ["CALL", "EXECUTE", "BEGIN", "IF", "FOR", "LOOP", "WHILE"].iter().any(|word| first.eq_ignore_ascii_case(word))
}
