//! The driver of MySQL and MariaDB.
//!
//! The server answers a message whether or not anybody waits for it, and sqlx does not find its way in an answer of which it has
//! read the first half (a statement that was being prepared): so a message that was handed over is always seen to its end. One whose
//! future was dropped is finished before the next is sent, or goes with its connection.

#![expect(clippy::disallowed_methods, reason = "what talks to a driver is here and in its like, and nowhere else")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use sea_orm::{
    DatabaseConnection, QueryResult, Statement,
    sqlx::{
        self, Connection, Executor, MySql, MySqlConnection, Row,
        mysql::{MySqlArguments, MySqlConnectOptions, MySqlDatabaseError},
        pool::PoolConnection,
    },
};
use tokio::runtime::{Builder, Handle};

use super::{GIVE_TIMEOUTS_BACK, KEEP_TIMEOUTS, UNIT};
use crate::dialect::{
    AdvisoryLocks,
    driver::{Asked, Driver, Question, bound, elsewhere, text, within},
    message::{Fetch, Message, Reply},
};

/// What BEGIN's answer calls the connection's number.
pub(super) const CONNECTION: &str = "sea_session_connection";

/// Locks by number. The server's named locks outlive the transaction: whatever ends that releases them in the same message, and a
/// connection that is given up takes them along. Their names are the whole server's, so the database is part of them; what waits
/// is given a year.
pub(super) const ADVISORY_LOCKS: AdvisoryLocks = AdvisoryLocks {
    wait: "SELECT GET_LOCK(CONCAT('sea_session_', LEFT(MD5(COALESCE(DATABASE(), '')), 16), '_', ?), 31536000) = 1 AS taken",
    may_give_up: true,
    try_once: "SELECT GET_LOCK(CONCAT('sea_session_', LEFT(MD5(COALESCE(DATABASE(), '')), 16), '_', ?), 0) = 1 AS taken",
};

/// How the server says that a savepoint, and so mostly the transaction, is not there.
const NO_SAVEPOINT: u16 = 1305;

/// Has the server say that the transaction is gone.
const ENDED: &str = "SIGNAL SQLSTATE '25000' SET MYSQL_ERRNO = 1305, \
     MESSAGE_TEXT = 'a statement has ended the transaction that it was in'";

struct MySqlDriver {
    /// The connection, unless it is with a message.
    idle: Option<PoolConnection<MySql>>,
    under_way: Option<UnderWay>,
    options: MySqlConnectOptions,
    /// The server's number of this connection, once a transaction has begun.
    number: Option<u64>,
    /// The number of the last error.
    failed: u16,
    /// That error says that the transaction's own savepoint is gone.
    unit_is_gone: bool,
    /// A named lock may have been taken, which the end of the transaction does not release.
    locks: bool,
    /// The unit has timeouts of its own, which the connection keeps.
    timeouts: bool,
    /// Nobody has seen the first row of an answer that is read row by row.
    unread: Arc<AtomicBool>,
}

/// A message on its way, with the connection that it is on.
type UnderWay = BoxFuture<'static, (Held, Result<Reply, sqlx::Error>)>;

/// A connection in the middle of a message: dropped there, it is closed.
struct Held(Option<PoolConnection<MySql>>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

pub(super) fn acquire(pool: &DatabaseConnection) -> BoxFuture<'_, Result<Box<dyn Driver>, sqlx::Error>> {
    Box::pin(async move {
        let pool = pool.get_mysql_connection_pool();
        let driver = MySqlDriver {
            idle: Some(pool.acquire().await?),
            under_way: None,
            options: (*pool.connect_options()).clone(),
            number: None,
            failed: 0,
            unit_is_gone: false,
            locks: false,
            timeouts: false,
            unread: Arc::default(),
        };
        Ok(Box::new(driver) as Box<dyn Driver>)
    })
}

impl Driver for MySqlDriver {
    fn dispatch<'a, 'm: 'a>(&'a mut self, message: Message<'m>) -> BoxFuture<'a, Result<Reply, sqlx::Error>> {
        let may_end = self.number.is_some() && may_end(&message);
        let control = if let Message::Control(text) = &message { text } else { "" };
        let (begins, ends) = (control.contains(CONNECTION), ends(control));
        self.locks |= takes_lock(&message);
        self.timeouts |= control.contains(KEEP_TIMEOUTS);
        Box::pin(async move {
            let (question, fetch, take) = match message {
                Message::Control(sql) if ends => ((text(self.with_the_rest(sql)), None), Fetch::All, None),
                other => asked(other)?,
            };
            let answer = self.ask(question, fetch).await;
            self.locks &= !(ends && answer.is_ok());
            if let (true, Ok(Reply::Rows(rows))) = (begins, &answer) {
                self.number = rows.last().and_then(connection_number);
            }
            // What calls procedures may have committed: the server is asked, and its own error says so (D11).
            if may_end && answer.is_ok() && self.in_transaction().await == Some(false) {
                self.ask((text(ENDED), None), Fetch::Nothing).await?;
            }
            match (answer?, take) {
                (Reply::Rows(rows), Some(take)) => {
                    let count = rows.len() as u64;
                    rows.into_iter().for_each(take);
                    Ok(Reply::Counted(count))
                }
                (reply, _) => Ok(reply),
            }
        })
    }

    /// A stream that is dropped after its first row is read to its end by the next message.
    fn step(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        let Statement { sql, values, .. } = statement;
        let (sql, arguments) = (text(sql), bound::<MySql>(values));
        let (unread, started, end) = (self.unread.clone(), self.unread.clone(), self.unread_end());
        let rows = async move {
            self.finish().await;
            let connection = self.idle.as_mut().ok_or_else(given_up)?;
            started.store(true, Ordering::Release);
            Ok::<_, sqlx::Error>(connection.fetch((sql, arguments)).map_ok(QueryResult::from))
        };
        let seen = move |row| {
            unread.store(false, Ordering::Release);
            row
        };
        stream::once(rows).try_flatten().map(seen).chain(end).boxed()
    }

    /// A deadlock of rows has ended it, savepoints too. One of named locks has not, and other errors may have: so the server is asked
    /// (MariaDB; MySQL has no such question, and a savepoint that is gone went with its transaction).
    fn has_ended<'a>(&'a mut self, _: Option<&'a str>) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let failed = self.failed;
            let may_have = matches!(failed, 1213 | 1614 | 1205 | 1020 | NO_SAVEPOINT | 1180 | 1181 | 1317 | 1969);
            if !may_have {
                return false;
            }
            if failed == 1213 && !self.locks {
                return self.roll_back().await;
            }
            match self.in_transaction().await {
                // What was sent after its end has begun another one.
                Some(true) if self.unit_is_gone => self.roll_back().await,
                Some(true) => false,
                None if !matches!(failed, 1213 | 1614 | NO_SAVEPOINT) => false,
                // What may be left of it goes, and what was set for it.
                _ => self.roll_back().await,
            }
        })
    }

    fn roll_back(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let ends = self.with_the_rest("ROLLBACK");
            let ended = self.ask((text(ends), None), Fetch::Nothing).await.is_ok();
            self.locks &= !ended;
            ended
        })
    }

    fn finishes_messages(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) {
        self.sever(Handle::try_current().ok());
    }

    /// It is closed. A server that works on a statement does not look whether anybody still waits for it: it is told to stop (C3).
    fn sever(self: Box<Self>, runtime: Option<Handle>) {
        let Self { idle, under_way, options, number, .. } = *self;
        let busy = under_way.is_some();
        within(runtime, move || {
            drop(under_way);
            drop(idle.map(PoolConnection::detach));
        });
        if let Some(number) = number.filter(|_| busy) {
            elsewhere(move || kill(&options, number));
        }
    }
}

impl MySqlDriver {
    /// Sends one message and waits for its answer. Dropped half-way, the message is finished by the next one.
    async fn ask(&mut self, question: Question<MySql>, fetch: Fetch) -> Result<Reply, sqlx::Error> {
        self.finish().await;
        let mut held = Held(Some(self.idle.take().ok_or_else(given_up)?));
        if self.unread.load(Ordering::Acquire) {
            return Err(sqlx::Error::Protocol("a stream of rows was dropped before its first row".into()));
        }
        self.under_way = Some(Box::pin(async move {
            let answer = match &mut held.0 {
                Some(connection) => Asked::new(connection, question, fetch).answer().await,
                None => Err(given_up()),
            };
            (held, answer)
        }));
        self.finish().await.unwrap_or_else(|| Err(given_up()))
    }

    /// Waits for the message that is under way.
    async fn finish(&mut self) -> Option<Result<Reply, sqlx::Error>> {
        let (mut held, answer) = self.under_way.as_mut()?.await;
        self.under_way = None;
        self.idle = held.0.take();
        if let Err(sqlx::Error::Database(e)) = &answer {
            self.failed = e.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
            self.unit_is_gone = self.failed == NO_SAVEPOINT && e.message().contains(UNIT);
        }
        Some(answer)
    }

    /// A message that ends the transaction, and what stands beside it: each statement commits by itself again, and locks are given
    /// back. Never before the transaction's end, whose changes others see then.
    fn with_the_rest(&self, ends: &str) -> String {
        let locks = if self.locks { "; DO RELEASE_ALL_LOCKS()" } else { "" };
        let timeouts = if self.timeouts { GIVE_TIMEOUTS_BACK } else { "" };
        format!("{ends}; SET autocommit = DEFAULT{timeouts}{locks}")
    }

    async fn in_transaction(&mut self) -> Option<bool> {
        let asked = self.ask((text("SELECT @@in_transaction"), None), Fetch::All).await.ok()?.rows();
        Some(asked.first()?.try_as_mysql_row()?.try_get_unchecked::<i64, _>(0).ok()? != 0)
    }

    /// No row, which is what an answer without rows ends with.
    fn unread_end(&self) -> impl futures_util::Stream<Item = Result<QueryResult, sqlx::Error>> + Send + use<> {
        let unread = self.unread.clone();
        stream::once(async move { unread.store(false, Ordering::Release) }).filter_map(|()| async { None })
    }
}

fn given_up() -> sqlx::Error {
    sqlx::Error::Protocol("the connection was given up".into())
}

/// What a message asks, how much of the answer is wanted, and who takes its rows.
type Wanted<'m> = (Question<MySql>, Fetch, Option<crate::dialect::message::Taker<'m>>);

fn asked(message: Message<'_>) -> Result<Wanted<'_>, sqlx::Error> {
    let refused = |why: &str| sqlx::Error::Protocol(why.into());
    Ok(match message {
        // All rows of a message of several statements: an error may come after the first.
        Message::Control(sql) => ((text(sql.to_owned()), None), Fetch::All, None),
        Message::Unprepared(sql) => ((text(sql.to_owned()), None), Fetch::Nothing, None),
        Message::Statement(Statement { sql, values, .. }, fetch) => ((text(sql), bound::<MySql>(values)), fetch, None),
        Message::Facts(Statement { sql, values, .. }) => ((text(sql), bound::<MySql>(values)), Fetch::All, None),
        Message::Built { sql, values, fetch } => ((text(sql), bound::<MySql>(Some(values))), fetch, None),
        Message::Read(Statement { sql, values, .. }, take) => {
            ((text(sql), bound::<MySql>(values)), Fetch::All, Some(take))
        }
        Message::Bound { sql, arguments, fetch } => match arguments.downcast::<MySqlArguments>() {
            Ok(arguments) => ((text(sql), Some(*arguments)), fetch, None),
            Err(_) => return Err(refused("the arguments are in the form of another driver")),
        },
        Message::Copy { .. } => return Err(refused("this driver knows no COPY")),
    })
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

/// Whether a text ends the transaction, be it one of XA that was prepared.
fn ends(text: &str) -> bool {
    ["COMMIT", "ROLLBACK"].iter().any(|word| text.ends_with(word))
        || text.starts_with("XA COMMIT")
        || text.starts_with("XA ROLLBACK")
}

/// Whether a message takes a named lock.
fn takes_lock(message: &Message<'_>) -> bool {
    matches!(message, Message::Statement(statement, _) if [ADVISORY_LOCKS.wait, ADVISORY_LOCKS.try_once].contains(&&*statement.sql))
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
