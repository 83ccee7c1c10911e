//! The session as a connection of SeaORM's that has transactions and streams (U8). Its transactions are nested blocks of the
//! session: memory follows them.
//!
//! SeaORM's transactions borrow each other by `&`, so the compiler does not say which of them may be used: here only the
//! innermost may send, and what is sent through another is refused. No statement may ever run in a block that is not its own.

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
#[cfg(feature = "rbac")]
use sea_orm::StatementBuilder;
use sea_orm::{
    AccessMode, ConnectionTrait, DbErr, ExecResult, IsolationLevel, QueryResult, SqliteTransactionMode, Statement,
    StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};
use tokio::sync::{MutexGuard, mpsc};

use super::Session;
use crate::{
    connection::{
        Fetch, Message, Reply,
        control::{is_cursor_query, refuse_control},
        lent::executed,
    },
    dialect::SeaBackend,
    error::Error,
    unit::{
        block_table::BlockKind,
        body::BlockOnce,
        core::{Core, row_source::RowSource},
    },
};

/// A session lent to SeaORM: what [`Session::sea_orm`] gives, and each transaction that is begun on it (U8).
///
/// It is SeaORM's [`ConnectionTrait`], [`TransactionTrait`] and [`StreamTrait`]. A transaction that is neither committed nor
/// rolled back is rolled back when it is dropped.
pub struct SeaOrm<'s> {
    session: &'s Session,
    /// The block that this one sends in: its place among the open ones, and its number.
    at: usize,
    block: u64,
    /// Whether it is a transaction, which ends; the session that was lent is ended by its owner.
    begun: bool,
    lending: Arc<Lending>,
    /// Whose rights each statement is checked against.
    #[cfg(feature = "rbac")]
    user: Option<sea_orm::RestrictedConnection>,
}

/// What a lent session and its transactions have in common.
#[derive(Default)]
struct Lending {
    /// Blocks whose transactions were dropped and that are still to be left.
    dropped: Mutex<Vec<u64>>,
    /// A stream is open, which keeps the session to itself.
    streaming: AtomicBool,
}

impl Lending {
    /// Leaves the blocks of transactions that were dropped: memory goes back, the server is owed its rollback (C2).
    fn leave_dropped(&self, core: &mut Core) {
        for block in self.dropped.lock().drain(..) {
            if let Some(at) = place_of(block, core) {
                core.abandon(at);
            }
        }
    }
}

/// Where a block that was begun here is among the open ones. A merged block has its parent's number.
fn place_of(block: u64, core: &Core) -> Option<usize> {
    core.frames.iter().rposition(|frame| frame.id == block && frame.kind == BlockKind::Savepoint)
}

impl fmt::Debug for SeaOrm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrm").field("depth", &self.at).finish_non_exhaustive()
    }
}

impl Session {
    /// The session for functions of SeaORM that ask for a [`TransactionTrait`] or a [`StreamTrait`]: nested models (`save`,
    /// `insert`, `cascade_delete` of an `ActiveModelEx`), `begin`, `transaction`, streams (U8). A transaction is a nested
    /// block: a savepoint, and objects go back with it.
    ///
    /// What SeaORM writes goes past the identity map, as every statement of your own does: [`Session::expire_all`] has objects
    /// read again.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// use sea_orm::{TransactionSession, TransactionTrait};
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let connection = s.sea_orm();
    ///     let transaction = connection.begin().await?;
    ///     note.set_title("tentative");
    ///     draft("second").insert(&transaction).await?;
    ///     transaction.rollback().await?;
    ///     assert_eq!(note.title(), "first");
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sea_orm(&mut self) -> SeaOrm<'_> {
        let core = self.core();
        let at = core.frames.len() - 1;
        let block = core.frames[at].id;
        SeaOrm {
            session: self,
            at,
            block,
            begun: false,
            lending: Arc::default(),
            #[cfg(feature = "rbac")]
            user: None,
        }
    }
}

impl<'s> SeaOrm<'s> {
    /// The session's inside, if a statement may be sent through this one now.
    async fn core(&self) -> Result<MutexGuard<'s, Core>, Error> {
        // It would be waited for for ever in a task that reads the stream itself.
        if self.lending.streaming.load(Ordering::Acquire) {
            return Err(Error::usage(
                "a stream of this session is open: read it to its end, or drop it, before the next statement",
            ));
        }
        let mut core = self.session.core.lock().await;
        self.lending.leave_dropped(&mut core);
        if core.frames.get(self.at).is_none_or(|frame| frame.id != self.block) {
            return Err(Error::usage("this transaction is over: one around it was rolled back"));
        }
        if self.at + 1 < core.frames.len() {
            return Err(Error::usage(
                "a transaction that was begun on this connection is open: use that one, or end it first",
            ));
        }
        Ok(core)
    }

    async fn send(&self, message: Message<'_>) -> Result<Reply, DbErr> {
        refuse_control(message.text(), self.session.dialect)?;
        Ok(self.core().await?.statement(message).await?)
    }

    /// A text of the caller's own, whose rights nobody can tell, is none that a user may send.
    fn refuse_of_user(&self, _sql: &str) -> Result<(), DbErr> {
        #[cfg(feature = "rbac")]
        if self.user.is_some() {
            return Err(DbErr::RbacError(format!("Raw query is not supported: {_sql}")));
        }
        Ok(())
    }

    async fn rows(&self, statement: Statement) -> Result<<Self as StreamTrait>::Stream<'_>, DbErr> {
        refuse_control(&statement.sql, self.session.dialect)?;
        let mut core = self.core().await?;
        if !is_cursor_query(&statement.sql, self.session.dialect) {
            let rows = core.statement(Message::Statement(statement, Fetch::All)).await?.rows();
            return Ok(stream::iter(rows.into_iter().map(Ok)).boxed());
        }
        core.flush_before_query().await?;
        Ok(rows_of(core, Streaming::begin(&self.lending), statement))
    }

    async fn enter(&self, options: TransactionOptions) -> Result<Self, Error> {
        self.check(options)?;
        let mut core = self.core().await?;
        if let Some(flag) = core.flag_around() {
            return Err(Error::Refused { cause: Arc::new(flag.cause.clone()) });
        }
        let at = core.enter(BlockKind::Savepoint, false).await?;
        let block = core.frames[at].id;
        Ok(Self {
            session: self.session,
            at,
            block,
            begun: true,
            lending: self.lending.clone(),
            #[cfg(feature = "rbac")]
            user: self.user.clone(),
        })
    }

    /// A part of a transaction has no settings of its own: only what its unit has already may be asked for (B3, B4).
    fn check(&self, options: TransactionOptions) -> Result<(), Error> {
        let settings = &self.session.settings;
        if let Some(level) = options.isolation_level {
            self.session.require_isolation(level)?;
        }
        match options.access_mode {
            Some(AccessMode::ReadOnly) => self.session.require_read_only()?,
            Some(AccessMode::ReadWrite) if settings.read_only => {
                return Err(Error::usage("a transaction that writes is asked for inside a read-only unit of work"));
            }
            _ => {}
        }
        match options.sqlite_transaction_mode {
            Some(SqliteTransactionMode::Immediate) if !settings.immediate => Err(Error::usage(
                "an immediate transaction is asked for inside a unit of work that is not: open it with `.immediate()`",
            )),
            Some(SqliteTransactionMode::Exclusive) => {
                Err(Error::usage("an exclusive transaction is asked for: a unit of work has none"))
            }
            _ => Ok(()),
        }
    }

    async fn end(self, commit: bool) -> Result<(), Error> {
        if !self.begun {
            return Err(Error::usage(
                "the session was only lent: its unit of work is ended where it was opened; `begin()` makes a part that ends here",
            ));
        }
        if commit {
            return self.core().await?.exit_ok(self.at).await;
        }
        // One that is open inside goes with it; one around it that was rolled back took it along.
        let mut core = self.session.core.lock().await;
        self.lending.leave_dropped(&mut core);
        if let Some(at) = place_of(self.block, &core) {
            core.exit_err(at).await;
        }
        Ok(())
    }

    /// As [`TransactionTrait::transaction`], with an async closure.
    ///
    /// # Errors
    /// What the callback returns, after the rollback; or why its transaction could not begin or commit.
    ///
    /// # Cancel safety
    /// Dropped, the transaction is rolled back: memory at once, the database before anything else is sent (C2).
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> BlockOnce<&'c SeaOrm<'s>, Result<T, E>, Fut: Send>,
        E: fmt::Display + fmt::Debug,
    {
        let transaction = self.begin().await.map_err(TransactionError::Connection)?;
        let outcome = callback(&transaction).await;
        transaction.conclude(outcome).await
    }

    async fn conclude<T, E>(self, outcome: Result<T, E>) -> Result<T, TransactionError<E>>
    where
        E: fmt::Display + fmt::Debug,
    {
        let ended = self.end(outcome.is_ok()).await;
        let value = outcome.map_err(TransactionError::Transaction)?;
        ended.map_err(|e| TransactionError::Connection(e.into()))?;
        Ok(value)
    }
}

impl Drop for SeaOrm<'_> {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        self.lending.dropped.lock().push(self.block);
        // What holds the session now is a statement of a transaction inside this one, which leaves both blocks when it is
        // dropped itself.
        if let Ok(mut core) = self.session.core.try_lock() {
            self.lending.leave_dropped(&mut core);
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for SeaOrm<'_> {
    fn get_database_backend(&self) -> SeaBackend {
        self.session.dialect.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.refuse_of_user(&statement.sql)?;
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.refuse_of_user(sql)?;
        executed(self.send(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.refuse_of_user(&statement.sql)?;
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.refuse_of_user(&statement.sql)?;
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }

    #[cfg(feature = "rbac")]
    async fn execute<S: StatementBuilder>(&self, statement: &S) -> Result<ExecResult, DbErr> {
        let statement = self.permitted(statement)?;
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    #[cfg(feature = "rbac")]
    async fn query_one<S: StatementBuilder>(&self, statement: &S) -> Result<Option<QueryResult>, DbErr> {
        let statement = self.permitted(statement)?;
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    #[cfg(feature = "rbac")]
    async fn query_all<S: StatementBuilder>(&self, statement: &S) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.permitted(statement)?;
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

#[async_trait::async_trait]
impl<'s> TransactionTrait for SeaOrm<'s> {
    type Transaction = SeaOrm<'s>;

    async fn begin(&self) -> Result<SeaOrm<'s>, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<SeaOrm<'s>, DbErr> {
        let options = TransactionOptions { isolation_level, access_mode, ..Default::default() };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<SeaOrm<'s>, DbErr> {
        Ok(self.enter(options).await?)
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c SeaOrm<'s>) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.transaction_with_config(callback, None, None).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c SeaOrm<'s>) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        let transaction = begun.map_err(TransactionError::Connection)?;
        let outcome = callback(&transaction).await;
        transaction.conclude(outcome).await
    }
}

#[async_trait::async_trait]
impl TransactionSession for SeaOrm<'_> {
    async fn commit(self) -> Result<(), DbErr> {
        Ok(self.end(true).await?)
    }

    async fn rollback(self) -> Result<(), DbErr> {
        Ok(self.end(false).await?)
    }
}

impl StreamTrait for SeaOrm<'_> {
    type Stream<'a>
        = BoxStream<'a, Result<QueryResult, DbErr>>
    where
        Self: 'a;

    fn get_database_backend(&self) -> SeaBackend {
        self.session.dialect.backend
    }

    /// Rows as they are asked for (I6). A statement that writes has done all its work by its first row, and gives what it gives
    /// from memory.
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            self.refuse_of_user(&statement.sql)?;
            self.rows(statement).await
        })
    }

    #[cfg(feature = "rbac")]
    fn stream<'a, S: StatementBuilder + Sync>(
        &'a self,
        statement: &S,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        let statement = self.permitted(statement);
        Box::pin(async move { self.rows(statement?).await })
    }
}

#[cfg(feature = "rbac")]
impl SeaOrm<'_> {
    /// The session with the rights of one user: SeaORM's role-based access control, of which a `RestrictedConnection` says
    /// whose. It holds in transactions that are begun on it, and refuses raw SQL. What the session itself flushes is not a
    /// statement of the user's.
    pub fn restricted_to(mut self, user: &sea_orm::RestrictedConnection) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// The statement, if the user may send it.
    fn permitted<S: StatementBuilder>(&self, statement: &S) -> Result<Statement, DbErr> {
        if let Some(user) = &self.user {
            user.user_can_run(statement)?;
        }
        Ok(self.session.dialect.backend.build(statement))
    }
}

/// A stream is open as long as this lives.
struct Streaming(Arc<Lending>);

impl Streaming {
    fn begin(lending: &Arc<Lending>) -> Self {
        lending.streaming.store(true, Ordering::Release);
        Self(lending.clone())
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.store(false, Ordering::Release);
    }
}

/// The rows of a query, whose source borrows from the lock that is kept beside it: a future has both, and hands over row by row.
fn rows_of<'a>(
    mut core: MutexGuard<'a, Core>,
    streaming: Streaming,
    statement: Statement,
) -> BoxStream<'a, Result<QueryResult, DbErr>> {
    let (give, mut take) = mpsc::channel(1);
    let reading = async move {
        let _streaming = streaming;
        let mut source = match RowSource::open(&mut core, statement, false).await {
            Ok(source) => source,
            Err(e) => return drop(give.send(Err(e.into())).await),
        };
        while let Some(row) = source.next().await.transpose() {
            if give.send(row.map_err(DbErr::from)).await.is_err() {
                return;
            }
        }
    };
    let rows = stream::poll_fn(move |context| take.poll_recv(context));
    stream::select(rows, stream::once(reading).filter_map(|()| ready(None))).boxed()
}
