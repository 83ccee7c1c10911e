//! Talking to the driver: the only functions of the workspace that may (INV2); `clippy.toml` refuses these methods elsewhere.
//!
//! It must never hold on to what a message carries: that is the driver's before the first poll.

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

    /// What happens to a connection whose session was dropped inside a transaction.
    pub(super) fn abandon(self, in_flight: bool) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return self.sever() };
        match self {
            Raw::Postgres(conn) if in_flight => drop(conn.detach()),
            Raw::Postgres(mut conn) => {
                runtime.spawn(async move {
                    if conn.execute("ROLLBACK").await.is_err() {
                        drop(conn.detach());
                    }
                });
            }
            Raw::Sqlite(mut conn) => {
                // SQLite finishes the message it was given, then takes the rollback; "no transaction is active" is
                // the good case of a message that was never begun.
                runtime.spawn(async move {
                    let ended = match conn.execute("ROLLBACK; PRAGMA query_only = 0").await {
                        Ok(_) => true,
                        Err(sqlx::Error::Database(e)) if e.message().contains("no transaction is active") => {
                            conn.execute("PRAGMA query_only = 0").await.is_ok()
                        }
                        Err(_) => false,
                    };
                    if !ended {
                        drop(conn.detach());
                    }
                });
            }
        }
    }

    fn sever(self) {
        match self {
            Raw::Postgres(conn) => drop(conn.detach()),
            Raw::Sqlite(conn) => drop(conn.detach()),
        }
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
