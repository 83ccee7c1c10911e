//! Talking to the driver: the only functions of the workspace that may (INV2); `clippy.toml` refuses these methods elsewhere.
//!
//! It must never hold on to what a message carries: that is the driver's before the first poll.

use std::time::Duration;

use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, Either},
    stream::BoxStream,
};
use sea_orm::{
    ExecResult, QueryResult, Statement,
    sqlx::{self, AssertSqlSafe, Executor, IntoArguments, Postgres, SqlSafeStr, SqlStr, Sqlite, pool::PoolConnection},
};
use sea_query::Values;
use sea_query_sqlx::SqlxValues;
use tokio::runtime::{Builder, Handle};

use super::{Fetch, Message, Piece, Raw, Reply, Taker};

impl Raw {
    /// Hands the message to the driver. What it holds is the driver's by then: no caller's future has room for it.
    pub(super) fn dispatch<'a, 'm: 'a>(
        &'a mut self,
        message: Message<'m>,
    ) -> impl Future<Output = Result<Reply, sqlx::Error>> + Send + use<'a, 'm> {
        match self {
            Raw::Postgres(conn) => Either::Left(postgres(conn, message).answer()),
            Raw::Sqlite(conn) => Either::Right(sqlite(conn, message).answer()),
        }
    }

    /// The rows of a read as they come.
    pub(super) fn step(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        let Statement { sql, values, .. } = statement;
        match self {
            Raw::Postgres(conn) => conn.fetch((text(sql), bound::<Postgres>(values))).map_ok(QueryResult::from).boxed(),
            Raw::Sqlite(conn) => conn.fetch((text(sql), bound::<Sqlite>(values))).map_ok(QueryResult::from).boxed(),
        }
    }

    /// Closes the socket at once, so that the server gives up what it is doing and frees its locks (C3).
    pub(super) fn close(self) {
        match self {
            Raw::Postgres(conn) => drop(conn.detach()),
            // Closing SQLite's only in-memory connection would lose the database; a rollback makes its state known.
            raw @ Raw::Sqlite(_) => raw.abandon(true),
        }
    }

    /// What happens to a connection whose session was dropped inside a transaction: it is rolled back, or closed.
    pub(super) fn abandon(self, in_flight: bool) {
        let Ok(runtime) = Handle::try_current() else { return self.sever(None) };
        let mut unfinished = Unfinished { raw: Some(self), runtime: runtime.clone() };
        if in_flight && matches!(unfinished.raw, Some(Raw::Postgres(_))) {
            return;
        }
        runtime.spawn(async move {
            if unfinished.roll_back().await {
                drop(unfinished.raw.take());
            }
        });
    }

    /// Gives a connection up outside of the runtime that it works in, which may never run again. PostgreSQL's is closed: the
    /// server rolls back at once. SQLite's works in a thread of its own, and so it is rolled back; it may be the one connection
    /// of a database in memory.
    pub(super) fn sever(self, runtime: Option<Handle>) {
        match self {
            Raw::Postgres(conn) => within(runtime, move || drop(conn.detach())),
            Raw::Sqlite(conn) => {
                elsewhere(move || {
                    let Ok(own) = Builder::new_current_thread().enable_all().build() else {
                        return within(runtime, || drop(conn));
                    };
                    own.block_on(async move {
                        let runtime = Handle::current();
                        let mut unfinished = Unfinished { raw: Some(Raw::Sqlite(conn)), runtime: runtime.clone() };
                        let ended = unfinished.roll_back().await;
                        match unfinished.raw.take() {
                            Some(Raw::Sqlite(conn)) if !ended => drop(conn.detach()),
                            raw => drop(raw),
                        }
                        // The driver gives it back to the pool in a task.
                        while runtime.metrics().num_alive_tasks() > 0 {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    });
                });
            }
        }
    }
}

/// A connection whose transaction is still to be ended. Dropped before, with its runtime for example, it does not go back to the
/// pool as it is (INV3).
struct Unfinished {
    raw: Option<Raw>,
    runtime: Handle,
}

impl Unfinished {
    /// Whether no transaction is open any more.
    async fn roll_back(&mut self) -> bool {
        match &mut self.raw {
            None => true,
            Some(Raw::Postgres(conn)) => conn.execute("ROLLBACK").await.is_ok(),
            // SQLite finishes the message it was given, then takes the rollback; "no transaction is active" is the good case
            // of a message that was never begun.
            Some(Raw::Sqlite(conn)) => match conn.execute("ROLLBACK; PRAGMA query_only = 0").await {
                Ok(_) => true,
                Err(sqlx::Error::Database(e)) if e.message().contains("no transaction is active") => {
                    conn.execute("PRAGMA query_only = 0").await.is_ok()
                }
                Err(_) => false,
            },
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        match self.raw.take() {
            None => {}
            Some(raw @ Raw::Postgres(_)) => raw.sever(Some(self.runtime.clone())),
            // One that cannot be rolled back is closed there.
            Some(raw @ Raw::Sqlite(_)) => raw.sever(None),
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

fn elsewhere(act: impl FnOnce() + Send + 'static) {
    if let Err(e) = std::thread::Builder::new().name("sea-session-drop".to_owned()).spawn(act) {
        tracing::error!(error = %e, "no thread could be started to give a connection up in");
    }
}

/// A question that the driver has, and what is wanted of its answer.
enum Asked<'a, 'm, DB: sqlx::Database> {
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
    fn new(conn: &'a mut PoolConnection<DB>, question: Question<DB>, fetch: Fetch) -> Self {
        match fetch {
            Fetch::One => Asked::One(conn.fetch_optional(question)),
            Fetch::Nothing => Asked::Nothing(conn.fetch_many(question)),
            Fetch::All => Asked::All(conn.fetch_many(question)),
        }
    }

    async fn answer(self) -> Result<Reply, sqlx::Error> {
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
type Question<DB> = (SqlStr, Option<<DB as sqlx::Database>::Arguments>);

fn text<S>(sql: S) -> SqlStr
where
    AssertSqlSafe<S>: SqlSafeStr,
{
    AssertSqlSafe(sql).into_sql_str()
}

/// What a statement binds, as SeaORM has built it: with nothing to bind it is prepared all the same.
fn bound<DB: sqlx::Database>(values: Option<Values>) -> Option<DB::Arguments>
where
    SqlxValues: IntoArguments<DB>,
{
    Some(SqlxValues(values.unwrap_or(Values(Vec::new()))).into_arguments())
}

fn postgres<'a, 'm: 'a>(conn: &'a mut PoolConnection<Postgres>, message: Message<'m>) -> Asked<'a, 'm, Postgres> {
    let bound = bound::<Postgres>;
    match message {
        // The transaction's id is in the first row, if it was asked for.
        Message::Control(sql) => Asked::new(conn, (text(sql), None), Fetch::One),
        Message::Unprepared(sql) => Asked::new(conn, (text(sql), None), Fetch::Nothing),
        Message::Statement(Statement { sql, values, .. }, fetch) => Asked::new(conn, (text(sql), bound(values)), fetch),
        Message::Facts(Statement { sql, values, .. }) => Asked::new(conn, (text(sql), bound(values)), Fetch::One),
        Message::Built { sql, values, fetch } => Asked::new(conn, (text(sql), bound(Some(values))), fetch),
        Message::Read(Statement { sql, values, .. }, take) => {
            Asked::Each(conn.fetch_many((text(sql), bound(values))), take)
        }
        Message::Arrays { sql, arguments, fetch } => Asked::new(conn, (text(sql), Some(*arguments)), fetch),
        Message::Copy { sql, piece } => Asked::Copied(Box::pin(copy(conn, sql, piece))),
        Message::Flat { .. } => Asked::Refused("flat arguments are SQLite's"),
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

fn sqlite<'a, 'm: 'a>(conn: &'a mut PoolConnection<Sqlite>, message: Message<'m>) -> Asked<'a, 'm, Sqlite> {
    let bound = bound::<Sqlite>;
    match message {
        Message::Control(sql) | Message::Unprepared(sql) => Asked::new(conn, (text(sql), None), Fetch::Nothing),
        Message::Statement(Statement { sql, values, .. }, fetch) => Asked::new(conn, (text(sql), bound(values)), fetch),
        Message::Built { sql, values, fetch } => Asked::new(conn, (text(sql), bound(Some(values))), fetch),
        Message::Read(Statement { sql, values, .. }, take) => {
            Asked::Each(conn.fetch_many((text(sql), bound(values))), take)
        }
        Message::Facts(Statement { sql, values, .. }) => Asked::new(conn, (text(sql), bound(values)), Fetch::One),
        Message::Flat { sql, arguments, fetch } => Asked::new(conn, (text(sql), Some(arguments)), fetch),
        Message::Arrays { .. } | Message::Copy { .. } => Asked::Refused("arrays and COPY are PostgreSQL's"),
    }
}
