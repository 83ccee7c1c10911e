//! The session as SeaORM's `TransactionTrait` and `StreamTrait` (U8): its transactions are nested blocks of the session, and memory
//! follows them.
//!
//! SeaORM's transactions borrow nothing, so the compiler does not say which of them may be used: here only the innermost may send,
//! and what is sent through another is refused. No statement may ever run in a block that is not its own.

#![expect(clippy::disallowed_methods, reason = "these are SeaORM's transactions that are blocks of a session (INV1)")]

use std::{
    fmt,
    future::{Future, ready},
    mem,
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
use tokio::sync::{self, OwnedMappedMutexGuard, OwnedMutexGuard, mpsc};

use super::{Session, Standing};
use crate::{
    connection::{
        Connection, Fetch, Message, Reply,
        control::{is_cursor_query, refuse_control},
        lent::executed,
    },
    dialect::{Dialect, SeaBackend},
    error::Error,
    unit::{
        block_table::BlockKind,
        body::BlockOnce,
        core::{Core, UnitState, row_source::RowSource},
        frame::Flag,
        settings::Settings,
    },
};

/// A transaction of SeaORM's inside a unit of work, begun on a [`Session`] or on another such: a nested block, with a savepoint,
/// and objects that go back with it (U8).
///
/// It is SeaORM's [`ConnectionTrait`], [`TransactionTrait`] and [`StreamTrait`], and ends with `commit` or `rollback` of
/// [`TransactionSession`]; dropped before, it is rolled back. While it is open it is used in place of the session: a statement
/// through the session is refused, and any other use of the session gives the transaction up, whose block must then roll back.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// use sea_orm::{TransactionSession, TransactionTrait};
/// # let db = example().await?;
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
///     let transaction = TransactionTrait::begin(s).await?;
///     note.set_title("tentative");
///     author::ActiveModel { name: Set("ann".into()), ..Default::default() }.insert(&transaction).await?;
///     transaction.rollback().await?;
///     assert_eq!(note.title(), "first");
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
pub struct NestedTransaction {
    lending: Arc<Lending>,
    place: Place,
    /// Whose rights each statement is checked against.
    #[cfg(feature = "rbac")]
    user: Option<sea_orm::RestrictedConnection>,
}

impl fmt::Debug for NestedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestedTransaction").field("depth", &self.place.at).finish_non_exhaustive()
    }
}

/// A block that statements are sent in: its place among the open ones, and its number.
#[derive(Clone, Copy)]
pub(super) struct Place {
    at: usize,
    block: u64,
}

/// The inside of a session, out on loan to transactions of SeaORM, which have no lifetime in which they could borrow it.
pub(super) struct Lending {
    /// Nothing, once the session has taken it back.
    core: Arc<sync::Mutex<Option<Core>>>,
    dialect: &'static Dialect,
    settings: Arc<Settings>,
    /// Blocks whose transactions were dropped and that are still to be left.
    dropped: Mutex<Vec<u64>>,
    /// A stream is open, which keeps the session to itself.
    streaming: AtomicBool,
}

type Lent = OwnedMappedMutexGuard<Option<Core>, Core>;

impl Lending {
    /// The session's inside, if a statement may be sent in this block now.
    async fn core(&self, place: Place) -> Result<Lent, Error> {
        // It would be waited for for ever in a task that reads the stream itself.
        if self.streaming.load(Ordering::Acquire) {
            return Err(Error::usage(
                "a stream of this session is open: read it to its end, or drop it, before the next statement",
            ));
        }
        let lent = self.core.clone().lock_owned().await;
        let Ok(mut core) = OwnedMutexGuard::try_map(lent, Option::as_mut) else {
            return Err(Error::usage("this transaction is over: its session was used, or ended, while it was open"));
        };
        self.leave_dropped(&mut core);
        if core.frames.get(place.at).is_none_or(|frame| frame.id != place.block) {
            return Err(Error::usage("this transaction is over: one around it was rolled back"));
        }
        if place.at + 1 < core.frames.len() {
            return Err(Error::usage("a transaction that was begun inside is open: use that one, or end it first"));
        }
        Ok(core)
    }

    /// Leaves the blocks of transactions that were dropped: memory goes back, the server is owed its rollback (C2).
    fn leave_dropped(&self, core: &mut Core) {
        for block in self.dropped.lock().drain(..) {
            if let Some(at) = place_of(block, core) {
                core.abandon(at);
            }
        }
    }

    async fn begin(&self, place: Place, options: TransactionOptions) -> Result<Place, Error> {
        self.check(options)?;
        let mut core = self.core(place).await?;
        if let Some(flag) = core.flag_around() {
            return Err(Error::Refused { cause: Arc::new(flag.cause.clone()) });
        }
        let at = core.enter(BlockKind::Savepoint, false).await?;
        Ok(Place { at, block: core.frames[at].id })
    }

    /// A part of a transaction has no settings of its own: only what its unit has already may be asked for (B3, B4).
    fn check(&self, options: TransactionOptions) -> Result<(), Error> {
        if let Some(level) = options.isolation_level {
            self.settings.require_isolation(level)?;
        }
        match options.access_mode {
            Some(AccessMode::ReadOnly) => self.settings.require_read_only()?,
            Some(AccessMode::ReadWrite) if self.settings.read_only => {
                return Err(Error::usage("a transaction that writes is asked for inside a read-only unit of work"));
            }
            _ => {}
        }
        match options.sqlite_transaction_mode {
            Some(SqliteTransactionMode::Immediate) if !self.settings.immediate => Err(Error::usage(
                "an immediate transaction is asked for inside a unit of work that is not: open it with `.immediate()`",
            )),
            Some(SqliteTransactionMode::Exclusive) => {
                Err(Error::usage("an exclusive transaction is asked for: a unit of work has none"))
            }
            _ => Ok(()),
        }
    }

    async fn rows(self: Arc<Self>, place: Place, statement: Statement) -> Result<Rows, DbErr> {
        refuse_control(&statement.sql, self.dialect)?;
        let mut core = self.core(place).await?;
        if !is_cursor_query(&statement.sql, self.dialect) {
            let rows = core.statement(Message::Statement(statement, Fetch::All)).await?.rows();
            return Ok(stream::iter(rows.into_iter().map(Ok)).boxed());
        }
        core.flush_before_query().await?;
        Ok(rows_of(core, Streaming::begin(self), statement))
    }
}

impl Drop for Lending {
    /// What the session could not take back ends here, with the last that could have used it.
    fn drop(&mut self) {
        if let Ok(mut core) = self.core.try_lock()
            && let Some(mut core) = core.take()
        {
            core.dropped();
        }
    }
}

/// Where a block that was begun here is among the open ones. A merged block has its parent's number.
fn place_of(block: u64, core: &Core) -> Option<usize> {
    core.frames.iter().rposition(|frame| frame.id == block && frame.kind == BlockKind::Savepoint)
}

type Rows = BoxStream<'static, Result<QueryResult, DbErr>>;

/// A stream is open as long as this lives.
struct Streaming(Arc<Lending>);

impl Streaming {
    fn begin(lending: Arc<Lending>) -> Self {
        lending.streaming.store(true, Ordering::Release);
        Self(lending)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.store(false, Ordering::Release);
    }
}

/// The rows of a query, whose source borrows from the lock that is kept beside it: a future has both, and hands over row by row.
fn rows_of(mut core: Lent, streaming: Streaming, statement: Statement) -> Rows {
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

// ---- the session -------------------------------------------------------------------------------------------------------

impl Session {
    /// Lends the session's inside, until the session is next used by `&mut`.
    async fn lend(&self) -> (Arc<Lending>, Place) {
        let mut core = self.core.lock().await;
        *self.standing.lock() = Standing::of(&core);
        let mut lent = self.lent.lock();
        if let Some((lending, place)) = &*lent {
            return (lending.clone(), *place);
        }
        let at = core.frames.len() - 1;
        let place = Place { at, block: core.frames[at].id };
        let stand_in = self.without_core(&core);
        let own = mem::replace(&mut *core, stand_in);
        let lending = Arc::new(Lending {
            core: Arc::new(sync::Mutex::new(Some(own))),
            dialect: self.dialect,
            settings: self.settings.clone(),
            dropped: Mutex::default(),
            streaming: AtomicBool::new(false),
        });
        *lent = Some((lending.clone(), place));
        (lending, place)
    }

    /// What stands in for the inside while that is out: a unit that has failed, in case it never comes back.
    fn without_core(&self, core: &Core) -> Core {
        let connection = Connection::new(core.connection.db().clone(), self.counters.clone(), None, false, false);
        let mut stand_in = Core::new(connection, self.settings.clone());
        stand_in.state = UnitState::Failed;
        stand_in
    }

    /// Takes the session's inside back. A transaction that is still open is given up: what it did is not to be continued by
    /// statements of the session, so its block refuses them and must roll back.
    #[cold]
    pub(super) fn take_back(&mut self) {
        let Some((lending, place)) = self.lent.get_mut().take() else { return };
        // A statement that is under way in another task keeps it, and the unit is lost.
        let Ok(mut lent) = lending.core.try_lock() else { return };
        let Some(mut core) = lent.take() else { return };
        lending.leave_dropped(&mut core);
        if core.frames.len() > place.at + 1 {
            let cause = Error::usage(
                "the session was used while a transaction that was begun on it was open: use the transaction, or end it first",
            );
            // A unit that was begun by hand can then be ended: they are no blocks of anybody's any more.
            core.frames[place.at + 1..].iter_mut().for_each(|frame| frame.manual = true);
            core.top().set_flag(Flag { cause, by_caller: false, aborted: false });
            core.shared.set_doomed(true);
        }
        *self.core.get_mut() = core;
    }

    pub(super) async fn send(&self, message: Message<'_>) -> Result<Reply, DbErr> {
        refuse_control(message.text(), self.dialect)?;
        // While it is under way, looks are answered with what is seen now.
        self.standing();
        let mut core = self.core.lock().await;
        let lent = self.lent.lock().clone();
        match lent {
            None => Ok(core.statement(message).await?),
            Some((lending, place)) => {
                drop(core);
                Ok(lending.core(place).await?.statement(message).await?)
            }
        }
    }

    /// As [`TransactionTrait::transaction`], with an async closure: SeaORM's own connections have it too.
    ///
    /// # Errors
    /// What the callback returns, after the rollback; or why its transaction could not begin or commit.
    ///
    /// # Cancel safety
    /// Dropped, the transaction is rolled back: memory at once, the database before anything else is sent (C2).
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> BlockOnce<&'c NestedTransaction, Result<T, E>, Fut: Send>,
        E: fmt::Display + fmt::Debug,
    {
        let transaction = TransactionTrait::begin(self).await.map_err(TransactionError::Connection)?;
        let outcome = callback(&transaction).await;
        transaction.conclude(outcome).await
    }
}

#[async_trait::async_trait]
impl TransactionTrait for Session {
    type Transaction = NestedTransaction;

    async fn begin(&self) -> Result<NestedTransaction, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<NestedTransaction, DbErr> {
        let options = TransactionOptions { isolation_level, access_mode, ..Default::default() };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<NestedTransaction, DbErr> {
        let (lending, place) = self.lend().await;
        let place = lending.begin(place, options).await?;
        Ok(NestedTransaction {
            lending,
            place,
            #[cfg(feature = "rbac")]
            user: None,
        })
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c NestedTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
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
        F: for<'c> FnOnce(&'c NestedTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

impl StreamTrait for Session {
    type Stream<'a>
        = BoxStream<'a, Result<QueryResult, DbErr>>
    where
        Self: 'a;

    fn get_database_backend(&self) -> SeaBackend {
        self.dialect.backend
    }

    /// Rows as they are asked for (I6). A statement that writes has done all its work by its first row, and gives what it gives
    /// from memory.
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let (lending, place) = self.lend().await;
            lending.rows(place, statement).await
        })
    }
}

// ---- its transactions --------------------------------------------------------------------------------------------------

impl NestedTransaction {
    async fn send(&self, message: Message<'_>) -> Result<Reply, DbErr> {
        refuse_control(message.text(), self.lending.dialect)?;
        Ok(self.lending.core(self.place).await?.statement(message).await?)
    }

    async fn end(self, commit: bool) -> Result<(), Error> {
        let Place { at, block } = self.place;
        if commit {
            return self.lending.core(self.place).await?.exit_ok(at).await;
        }
        // One that is open inside goes with it; one around it that was rolled back took it along.
        let mut lent = self.lending.core.lock().await;
        if let Some(core) = &mut *lent {
            self.lending.leave_dropped(core);
            if let Some(at) = place_of(block, core) {
                core.exit_err(at).await;
            }
        }
        Ok(())
    }

    async fn run<F, T, E>(self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        E: fmt::Display + fmt::Debug,
    {
        let outcome = callback(&self).await;
        self.conclude(outcome).await
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

    /// As [`Session::transaction_async`].
    ///
    /// # Errors
    /// As [`Session::transaction_async`].
    ///
    /// # Cancel safety
    /// As [`Session::transaction_async`].
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> BlockOnce<&'c Self, Result<T, E>, Fut: Send>,
        E: fmt::Display + fmt::Debug,
    {
        let transaction = self.begin().await.map_err(TransactionError::Connection)?;
        let outcome = callback(&transaction).await;
        transaction.conclude(outcome).await
    }

    /// A text of the caller's own, whose rights nobody can tell, is none that a user may send.
    fn refuse_of_user(&self, _sql: &str) -> Result<(), DbErr> {
        #[cfg(feature = "rbac")]
        if self.user.is_some() {
            return Err(DbErr::RbacError(format!("Raw query is not supported: {_sql}")));
        }
        Ok(())
    }
}

#[cfg(feature = "rbac")]
impl NestedTransaction {
    /// The transaction with the rights of one user: SeaORM's role-based access control, of which a `RestrictedConnection` says
    /// whose. It holds in transactions that are begun inside, and refuses raw SQL. What the session itself flushes is not a
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
        Ok(self.lending.dialect.backend.build(statement))
    }
}

impl Drop for NestedTransaction {
    fn drop(&mut self) {
        self.lending.dropped.lock().push(self.place.block);
        // What holds the session now is a statement of a transaction inside this one, which leaves both blocks when it is
        // dropped itself.
        if let Ok(mut lent) = self.lending.core.try_lock()
            && let Some(core) = &mut *lent
        {
            self.lending.leave_dropped(core);
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for NestedTransaction {
    fn get_database_backend(&self) -> SeaBackend {
        self.lending.dialect.backend
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
impl TransactionTrait for NestedTransaction {
    type Transaction = Self;

    async fn begin(&self) -> Result<Self, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Self, DbErr> {
        let options = TransactionOptions { isolation_level, access_mode, ..Default::default() };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        let place = self.lending.begin(self.place, options).await?;
        Ok(Self {
            lending: self.lending.clone(),
            place,
            #[cfg(feature = "rbac")]
            user: self.user.clone(),
        })
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
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
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

#[async_trait::async_trait]
impl TransactionSession for NestedTransaction {
    async fn commit(self) -> Result<(), DbErr> {
        Ok(self.end(true).await?)
    }

    async fn rollback(self) -> Result<(), DbErr> {
        Ok(self.end(false).await?)
    }
}

impl StreamTrait for NestedTransaction {
    type Stream<'a>
        = BoxStream<'a, Result<QueryResult, DbErr>>
    where
        Self: 'a;

    fn get_database_backend(&self) -> SeaBackend {
        self.lending.dialect.backend
    }

    /// As on a [`Session`].
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            self.refuse_of_user(&statement.sql)?;
            self.lending.clone().rows(self.place, statement).await
        })
    }

    #[cfg(feature = "rbac")]
    fn stream<'a, S: StatementBuilder + Sync>(
        &'a self,
        statement: &S,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        let statement = self.permitted(statement);
        Box::pin(async move { self.lending.clone().rows(self.place, statement?).await })
    }
}
