//! Talking to a driver: with the dialects' own drivers, the only functions of the workspace that may (INV2); `clippy.toml` refuses
//! these methods elsewhere.
//!
//! It must never hold on to what a message carries: that is the driver's before the first poll.

#![expect(clippy::disallowed_methods, reason = "what talks to a driver is here and in its like, and nowhere else")]

use futures_util::{TryStreamExt, future::BoxFuture, stream::BoxStream};
use sea_orm::{
    ExecResult, QueryResult, Statement,
    sqlx::{self, AssertSqlSafe, Executor, IntoArguments, SqlSafeStr, SqlStr, pool::PoolConnection},
};
use sea_query::Values;
use sea_query_sqlx::SqlxValues;
use tokio::runtime::Handle;

use super::message::{Fetch, Message, Reply, Taker};

/// A connection of a pool, as its dialect's driver knows it.
pub(crate) trait Driver: Send {
    /// Hands the message to the driver. What it holds is the driver's by then: no caller's future has room for it.
    fn dispatch<'a, 'm: 'a>(&'a mut self, message: Message<'m>) -> BoxFuture<'a, Result<Reply, sqlx::Error>>;

    /// The rows of a read as they come.
    fn step(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>>;

    /// Whether the transaction that was begun here is gone, after an error with this code (D11).
    fn has_ended<'a>(&'a mut self, code: Option<&'a str>) -> BoxFuture<'a, bool>;

    /// Ends whatever is open. `false`: it may be open still.
    fn roll_back(&mut self) -> BoxFuture<'_, bool>;

    /// Whether a message whose answer nobody waits for is carried out before what is sent next, so that a rollback may follow it.
    fn finishes_messages(&self) -> bool;

    /// Closes the connection, or, where that would lose the database, has it rolled back.
    fn close(self: Box<Self>);

    /// Gives a connection up outside of the runtime that it works in, which may never run again.
    fn sever(self: Box<Self>, runtime: Option<Handle>);
}

/// A connection that hears what is told on a channel.
pub(crate) trait Listener: Send {
    /// Sends a statement that answers with `true` or `false`.
    fn ask(&mut self, sql: String) -> BoxFuture<'_, Result<bool, sqlx::Error>>;

    /// What is told next; `None` once the connection is lost.
    fn heard(&mut self) -> BoxFuture<'_, Option<String>>;

    /// Gives the connection up.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A connection whose transaction is still to be ended. Dropped before, with its runtime for example, it does not go back to the
/// pool as it is (INV3).
pub(crate) struct Unfinished {
    driver: Option<Box<dyn Driver>>,
    runtime: Handle,
}

impl Unfinished {
    pub(crate) fn new(driver: Box<dyn Driver>, runtime: Handle) -> Self {
        Self { driver: Some(driver), runtime }
    }

    /// Sends a message that nothing else need be known of.
    pub(crate) async fn dispatch(&mut self, message: Message<'_>) -> Result<Reply, sqlx::Error> {
        match &mut self.driver {
            Some(driver) => driver.dispatch(message).await,
            None => Err(sqlx::Error::PoolClosed),
        }
    }

    /// What is open is known, and the caller's to end.
    pub(crate) fn finish(mut self) -> Option<Box<dyn Driver>> {
        self.driver.take()
    }

    /// What happens to a connection whose session was dropped inside a transaction: it is rolled back, or closed.
    pub(crate) fn abandon(driver: Box<dyn Driver>, in_flight: bool) {
        let Ok(runtime) = Handle::try_current() else { return driver.sever(None) };
        let mut unfinished = Self::new(driver, runtime.clone());
        if in_flight && !unfinished.driver.as_ref().is_some_and(|driver| driver.finishes_messages()) {
            return;
        }
        runtime.spawn(async move {
            if unfinished.roll_back().await {
                drop(unfinished.driver.take());
            }
        });
    }

    /// Whether no transaction is open any more.
    pub(crate) async fn roll_back(&mut self) -> bool {
        match &mut self.driver {
            None => true,
            Some(driver) => driver.roll_back().await,
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.sever(Some(self.runtime.clone()));
        }
    }
}

/// Does something in which the driver may start a task: in the runtime that there is, or in the connection's own.
pub(super) fn within(runtime: Option<Handle>, act: impl FnOnce() + Send + 'static) {
    match Handle::try_current() {
        Ok(_) => act(),
        Err(e) if e.is_missing_context() && runtime.is_some() => {
            let _inside = runtime.as_ref().map(Handle::enter);
            act();
        }
        // A thread that is ending knows no runtime any more; another one does.
        Err(_) => elsewhere(move || {
            let _inside = runtime.as_ref().map(Handle::enter);
            act();
        }),
    }
}

pub(super) fn elsewhere(act: impl FnOnce() + Send + 'static) {
    if let Err(e) = std::thread::Builder::new().name("sea-session-drop".to_owned()).spawn(act) {
        tracing::error!(error = %e, "no thread could be started to give a connection up in");
    }
}

/// A question that the driver has, and what is wanted of its answer.
pub(super) enum Asked<'a, 'm, DB: sqlx::Database> {
    /// No more than the first row.
    One(BoxFuture<'a, Result<Option<DB::Row>, sqlx::Error>>),
    Nothing(Parts<'a, DB>),
    All(Parts<'a, DB>),
    /// Each row to the taker.
    Each(Parts<'a, DB>, Taker<'m>),
    Copied(BoxFuture<'a, Result<Reply, sqlx::Error>>),
    Refused(&'static str),
}

/// The rows of each statement, and its end.
type Parts<'a, DB> =
    BoxStream<'a, Result<sqlx::Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>, sqlx::Error>>;

impl<'a, 'm: 'a, DB: sqlx::Database> Asked<'a, 'm, DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Row: Into<QueryResult>,
    DB::QueryResult: Into<ExecResult>,
{
    pub(super) fn new(conn: &'a mut PoolConnection<DB>, question: Question<DB>, fetch: Fetch) -> Self {
        match fetch {
            Fetch::One => Asked::One(conn.fetch_optional(question)),
            Fetch::Nothing => Asked::Nothing(conn.fetch_many(question)),
            Fetch::All => Asked::All(conn.fetch_many(question)),
        }
    }

    pub(super) async fn answer(self) -> Result<Reply, sqlx::Error> {
        match self {
            Asked::One(row) => Ok(Reply::Rows(row.await?.into_iter().map(Into::into).collect())),
            Asked::Nothing(mut parts) => {
                let mut done = DB::QueryResult::default();
                while let Some(part) = parts.try_next().await? {
                    done.extend(part.left());
                }
                Ok(Reply::Done(done.into()))
            }
            Asked::All(mut parts) => {
                let mut rows = Vec::new();
                while let Some(part) = parts.try_next().await? {
                    rows.extend(part.right().map(Into::into));
                }
                Ok(Reply::Rows(rows))
            }
            Asked::Each(mut parts, take) => {
                let mut count = 0;
                while let Some(part) = parts.try_next().await? {
                    if let Some(row) = part.right() {
                        take(row.into());
                        count += 1;
                    }
                }
                Ok(Reply::Counted(count))
            }
            Asked::Copied(copied) => copied.await,
            Asked::Refused(why) => Err(sqlx::Error::Protocol(why.into())),
        }
    }
}

/// A text and what it binds. One type for all messages, so that the driver's code for a message is there once: most of it
/// runs once a unit, and is waited for.
pub(super) type Question<DB> = (SqlStr, Option<<DB as sqlx::Database>::Arguments>);

pub(super) fn text<S>(sql: S) -> SqlStr
where
    AssertSqlSafe<S>: SqlSafeStr,
{
    AssertSqlSafe(sql).into_sql_str()
}

/// What a statement binds, as SeaORM has built it: with nothing to bind it is prepared all the same.
pub(super) fn bound<DB: sqlx::Database>(values: Option<Values>) -> Option<DB::Arguments>
where
    SqlxValues: IntoArguments<DB>,
{
    Some(SqlxValues(values.unwrap_or(Values(Vec::new()))).into_arguments())
}

/// The question of a message that every driver asks in the same way. What a dialect does not know of is refused by name.
pub(super) fn ask<'a, 'm: 'a, DB>(
    conn: &'a mut PoolConnection<DB>,
    message: Message<'m>,
    control: Fetch,
) -> Asked<'a, 'm, DB>
where
    DB: sqlx::Database<Arguments: Send + 'static>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Row: Into<QueryResult>,
    DB::QueryResult: Into<ExecResult>,
    SqlxValues: IntoArguments<DB>,
{
    let bound = bound::<DB>;
    match message {
        Message::Control(sql) => Asked::new(conn, (text(sql), None), control),
        Message::Unprepared(sql) => Asked::new(conn, (text(sql), None), Fetch::Nothing),
        Message::Statement(Statement { sql, values, .. }, fetch) => Asked::new(conn, (text(sql), bound(values)), fetch),
        Message::Facts(Statement { sql, values, .. }) => Asked::new(conn, (text(sql), bound(values)), Fetch::One),
        Message::Built { sql, values, fetch } => Asked::new(conn, (text(sql), bound(Some(values))), fetch),
        Message::Read(Statement { sql, values, .. }, take) => {
            Asked::Each(conn.fetch_many((text(sql), bound(values))), take)
        }
        Message::Bound { sql, arguments, fetch } => match arguments.downcast::<DB::Arguments>() {
            Ok(arguments) => Asked::new(conn, (text(sql), Some(*arguments)), fetch),
            Err(_) => Asked::Refused("the arguments are in the form of another driver"),
        },
        Message::Copy { .. } => Asked::Refused("this driver knows no COPY"),
    }
}
