//! The unit of work: one connection, at most one transaction, one identity map (INV1).
//!
//! A session is used through `&mut`: a parent cannot be used while its child block is open, and two children cannot run
//! side by side, because the compiler refuses it.

mod attempt;
mod lending;
mod membership;
mod nested;
mod savepoint;
mod transaction;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sea_orm::{ConnectionTrait, DbErr, ExecResult, IsolationLevel, QueryResult, Statement};
use tokio::sync::Mutex;

pub(crate) use attempt::{AnyAttempt, Body, BodyError, Verdict, keep};
pub use membership::NoAutoflush;
pub use nested::NestedBlock;
pub use savepoint::Savepoint;
pub use transaction::NestedTransaction;

use lending::{Lending, Place};

use super::{
    block_table::{BlockKind, BlockState},
    body::BlockOnce,
    core::{Core, UnitState},
    hooks::{HookBody, HookOutcome, Hooks, Registered},
    settings::Settings,
};
use crate::{
    connection::{Connection, Fetch, Message, db::Db, lent::executed, text::Text},
    dialect::{Dialect, Queues, SeaBackend},
    error::Error,
    objects::shared::Shared,
    stats::{Counters, Stats},
};

/// A unit of work.
///
/// Any SeaORM query takes it as its connection; pending changes are flushed before the query runs. Dropped without a
/// commit, it rolls back. SQL of the caller's own that begins, ends or divides the transaction is refused before it is sent
/// (D11).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// let mut s = db.begin().await?;
/// s.add(draft("second"));
/// // Any SeaORM query; the INSERT goes first.
/// assert_eq!(note::Entity::find().count(&s).await?, 2);
/// s.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct Session {
    core: Mutex<Core>,
    /// Set while the core is out on loan to transactions and streams of SeaORM (U8).
    lent: parking_lot::Mutex<Option<(Arc<Lending>, Place)>>,
    // What a look at the session needs, so that it does not wait for a statement that is under way.
    standing: parking_lot::Mutex<Standing>,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    hooks: Hooks,
    counters: Arc<Counters>,
    dialect: &'static Dialect,
    /// Whether the unit is `run`'s, or held for whom it is lent to, so that only that may end it (A10).
    in_run: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("backend", &self.dialect.backend).finish_non_exhaustive()
    }
}

/// What a look at a session says.
#[derive(Clone, Copy)]
struct Standing {
    unit: UnitState,
    open: bool,
    depth: usize,
    block: (BlockKind, BlockState),
    tracked: usize,
    replica: Option<usize>,
}

impl Standing {
    fn of(core: &Core) -> Self {
        let depth = core.frames.len() - 1;
        let block = (core.frames[depth].kind, core.standing(depth, core.flag_around().is_some()));
        Self {
            unit: core.state,
            open: core.connection.is_open(),
            depth,
            block,
            tracked: core.map.len(),
            replica: core.connection.replica(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core().dropped();
    }
}

impl Session {
    pub(crate) fn new(db: Db, settings: Arc<Settings>, counters: Arc<Counters>) -> Self {
        let dialect = db.dialect();
        let recorder = settings.recorder.clone();
        let connection = Connection::new(db, counters.clone(), recorder, settings.sql_debug, settings.show_values)
            .with_settings(settings.set_local.iter().chain(&settings.tenant))
            .reading(settings.reading());
        let core = Core::new(connection, settings.clone());
        let (shared, hooks) = (core.shared.clone(), core.hooks.clone());
        let (standing, lent) = (parking_lot::Mutex::new(Standing::of(&core)), parking_lot::Mutex::default());
        Self { core: Mutex::new(core), standing, lent, shared, settings, hooks, counters, dialect, in_run: false }
    }

    /// Only who holds it ends it: whom it is lent to, `commit` and `rollback` are refused (A10).
    pub(crate) fn ended_by_its_holder(mut self) -> Self {
        self.in_run = true;
        self
    }

    pub(crate) fn core(&mut self) -> &mut Core {
        if self.lent.get_mut().is_some() {
            self.take_back();
        }
        self.core.get_mut()
    }

    /// Where the session stands; while a statement is under way, as it stood when that began.
    fn standing(&self) -> Standing {
        // Those who look do so one at a time: whom the inside is kept from here, it is kept from by a statement.
        let mut standing = self.standing.lock();
        // What stands in for a core that is out on loan is no answer: it stands as it did when that was lent.
        if let Ok(core) = self.core.try_lock()
            && self.lent.lock().is_none()
        {
            *standing = Standing::of(&core);
        }
        *standing
    }

    // ---- the unit --------------------------------------------------------------------------------------------------

    /// Commits a unit that was begun by hand: flush, COMMIT, then the hooks (B2).
    ///
    /// # Errors
    /// The flush or COMMIT failed and the unit was rolled back; or a hook failed after the commit
    /// ([`Error::AfterCommit`]). Inside `run` or a nested block it is refused (A10).
    ///
    /// # Cancel safety
    /// Dropped before COMMIT was sent, the unit is rolled back; after, it is committed or not as the server decides.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.refuse_inside("commit")?;
        self.core().commit().await
    }

    /// Rolls back a unit that was begun by hand (B2). Objects go back to what they were.
    ///
    /// # Errors
    /// The unit has ended already. Inside `run` or a nested block it is refused (A10).
    ///
    /// # Cancel safety
    /// Safe: the connection is then rolled back or closed.
    pub async fn rollback(&mut self) -> Result<(), Error> {
        self.refuse_inside("rollback")?;
        self.core().usable()?;
        self.core().rollback().await;
        Ok(())
    }

    fn refuse_inside(&mut self, what: &str) -> Result<(), Error> {
        let nested = self.core().frames.iter().any(|frame| frame.kind != BlockKind::Unit && !frame.manual);
        if self.in_run || nested {
            return Err(Error::usage(format!(
                "`{what}` inside a block: the block ends by itself; return an error or call `set_rollback(true)` to roll it back"
            )));
        }
        Ok(())
    }

    /// Where the unit stands (B2). While a statement is under way on the shared session, this and the four below say what
    /// held when it began.
    pub fn unit_state(&self) -> UnitState {
        self.standing().unit
    }

    /// Whether BEGIN was sent and the transaction is open (B3).
    pub fn in_transaction(&self) -> bool {
        self.standing().open
    }

    /// How many blocks are open inside the unit; 0 outside of them (B3).
    pub fn depth(&self) -> usize {
        self.standing().depth
    }

    /// What the innermost block is, and where it stands: a row of the table in `docs/book/src/blocks.md` (B3).
    pub fn block_state(&self) -> (BlockKind, BlockState) {
        self.standing().block
    }

    /// The replica that the unit runs on, by its place in the list that [`Db::replicas`] was given, from 0 (U9); none on the
    /// primary, and before the first statement.
    pub fn replica(&self) -> Option<usize> {
        self.standing().replica
    }

    /// Says whether the unit was opened with this isolation level, for code that is not safe under another (B3): a function
    /// with `#[db_session(isolation = …)]` asks first.
    ///
    /// # Errors
    /// [`Error::Usage`] if it was opened with another, or with none; on SQLite too, where all are granted, so that what is
    /// tried out there does not surprise on PostgreSQL.
    pub fn require_isolation(&self, level: IsolationLevel) -> Result<(), Error> {
        self.settings.require_isolation(level)
    }

    /// Says whether the unit was opened with `.read_only()`, for code that must not write or hold the write lock (B4): a
    /// function with `#[db_session(read_only)]` asks first.
    ///
    /// # Errors
    /// [`Error::Usage`] if it was not.
    pub fn require_read_only(&self) -> Result<(), Error> {
        self.settings.require_read_only()
    }

    /// Says whether the unit was opened with `.deferrable()`, for code that must not fail for a concurrent one (B4): a function
    /// with `#[db_session(deferrable)]` asks first.
    ///
    /// # Errors
    /// [`Error::Usage`] if it was not.
    pub fn require_deferrable(&self) -> Result<(), Error> {
        self.settings.deferrable.then_some(()).ok_or_else(|| {
            Error::usage("a deferrable unit of work is asked for inside one that is not: open it with `.deferrable()`")
        })
    }

    /// Which database this is.
    pub fn backend(&self) -> SeaBackend {
        self.dialect.backend
    }

    /// An empty text for a statement of this database.
    pub fn text(&self) -> Text {
        Text::new(self.dialect, "")
    }

    /// As [`Db::takes_outbox`](crate::Db::takes_outbox).
    ///
    /// # Errors
    /// [`Error::Unsupported`]: it cannot.
    pub fn takes_outbox(&self) -> Result<(), Error> {
        self.dialect.need(self.dialect.outbox)
    }

    /// As [`Db::queues`](crate::Db::queues).
    pub fn queues(&self) -> Queues {
        self.dialect.queues
    }

    /// As [`Session::backend`], by the name that two traits of SeaORM's have for it.
    pub fn get_database_backend(&self) -> SeaBackend {
        self.dialect.backend
    }

    /// What this database can do, and how.
    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.dialect
    }

    /// The numbers of the unit so far (L2).
    pub fn stats(&self) -> Stats {
        // Look-ups that the map answered are counted aside; while a statement is under way none can be made.
        let _alone = self.standing.lock();
        if let Ok(mut core) = self.core.try_lock() {
            core.report_hits();
        }
        self.counters.snapshot()
    }

    // ---- nested blocks ---------------------------------------------------------------------------------------------

    /// A nested block as a savepoint: on `Err`, panic or drop the database and the objects are as they were before it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let outcome = s.atomic(async |s: &mut Session| -> Result<(), Error> {
    ///         note.set_title("tentative");
    ///         s.flush().await?;
    ///         Err(Error::Usage("changed my mind".into()))
    ///     }).await;
    ///     assert!(outcome.is_err());
    ///     assert_eq!(note.title(), "first");
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the body returns; or why the block could not be entered or had to be rolled back ([`Error::RolledBack`]).
    ///
    /// # Cancel safety
    /// A dropped block is rolled back, memory at once, the database before anything else is sent (C2).
    pub fn atomic<'b, T, E, F>(&'b mut self, body: F) -> BoxFuture<'b, Result<T, E>>
    where
        F: for<'a> BlockOnce<&'a mut Session, Result<T, E>, Fut: Send> + Send + 'b,
        E: From<Error> + Send + 'b,
        T: Send + 'b,
    {
        self.block().run(body)
    }

    /// A nested block with options.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let outcome = s.block().durable().run(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await;
    ///     assert!(outcome.is_err());                           // a durable block must be outermost
    ///     s.block().merged().run(async |s: &mut Session| s.flush().await).await
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn block(&mut self) -> NestedBlock<'_> {
        NestedBlock { session: self, kind: BlockKind::Savepoint, refused: None }
    }

    /// Marks the nearest block for rollback, or takes the mark back after a repair (A7, A9).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let tried = db.run(async |s: &mut Session| -> Result<u64, Error> {
    ///     s.add(draft("only to count it"));
    ///     let n = note::Entity::find().count(s).await?;
    ///     s.set_rollback(true)?;
    ///     Ok(n)
    /// }).await?;
    /// assert_eq!(tried, 2);
    /// assert_eq!(note::Entity::find().count(db.connection()).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Outside a block; or `false` while the database itself has aborted the block.
    pub fn set_rollback(&mut self, rollback: bool) -> Result<(), Error> {
        if !self.in_run && self.core().frames.iter().all(|frame| frame.kind == BlockKind::Unit || frame.manual) {
            return Err(Error::usage("`set_rollback` outside a block: call `rollback()` to end a unit begun by hand"));
        }
        self.core().set_rollback(rollback)
    }

    /// Whether the current block must roll back.
    pub fn needs_rollback(&self) -> bool {
        self.shared.is_doomed()
    }

    /// Takes a lock of the transaction by number, waiting for it (B5); it is released with the transaction. On PostgreSQL one that
    /// was taken in a block goes with that block's rollback already; on MySQL and MariaDB, where it is one of the connection's,
    /// only with the transaction. It is the primary's: a unit whose first statement it is runs there (U9).
    ///
    /// # Errors
    /// SQLite has none, and neither has a cluster: the refusal says so. The unit runs on a replica already. What the database says, a deadlock of such locks
    /// too.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn advisory_lock(&mut self, key: i64) -> Result<(), Error> {
        let locks = self.dialect.need(self.dialect.advisory_locks)?;
        let row = self.advisory(locks.wait, key).await?;
        match row.filter(|_| locks.may_give_up).map(|row| row.try_get("", "taken")) {
            None | Some(Ok(Some(true))) => Ok(()),
            _ => Err(Error::usage("the database did not give the lock: its wait was interrupted")),
        }
    }

    /// Takes a lock of the transaction by number if it is free (B5), on the primary as [`Session::advisory_lock`].
    ///
    /// # Errors
    /// SQLite has none, and neither has a cluster: the refusal says so. The unit runs on a replica already.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn try_advisory_lock(&mut self, key: i64) -> Result<bool, Error> {
        let locks = self.dialect.need(self.dialect.advisory_locks)?;
        let row = self.advisory(locks.try_once, key).await?;
        row.map_or(Ok(false), |row| Ok(row.try_get::<Option<bool>>("", "taken")?.unwrap_or(false)))
    }

    async fn advisory(&mut self, sql: &str, key: i64) -> Result<Option<QueryResult>, Error> {
        self.core().connection.stay_on_primary("an advisory lock was asked for")?;
        if self.core().connection.is_clustered().await? {
            return Err(self.dialect.unsupported(
                "advisory locks in a cluster; each of its nodes has its own, lock by a write to a row that all of them know",
            ));
        }
        let statement = Statement::from_sql_and_values(self.dialect.backend, sql, [key.into()]);
        Ok(self.core().statement(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    // ---- hooks -----------------------------------------------------------------------------------------------------

    /// Runs after the outermost COMMIT, or never (H). `.robust()` on the result keeps a failure from stopping the others.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let (send, sent) = std::sync::mpsc::channel();
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     s.add(draft("second"));
    ///     let send = send.clone();
    ///     s.on_commit(async move || { send.send("a mail") });
    ///     Ok(())
    /// }).await?;
    /// assert_eq!(sent.try_recv(), Ok("a mail"));           // sent after COMMIT
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_commit<F, R>(&mut self, hook: F) -> Registered
    where
        F: HookBody<R, Fut: Send + 'static> + Send + 'static,
        R: HookOutcome + 'static,
    {
        self.core().hooks.on_commit(hook)
    }

    /// Runs after the rollback of this block or of one around it; never if the unit commits (H8).
    pub fn on_rollback<F, R>(&mut self, hook: F) -> Registered
    where
        F: HookBody<R, Fut: Send + 'static> + Send + 'static,
        R: HookOutcome + 'static,
    {
        self.core().hooks.on_rollback(hook)
    }

    /// The register of hooks, to be taken along into a hook (H5).
    pub fn hooks(&self) -> Hooks {
        self.hooks.clone()
    }

    /// Runs before each flush that has something to send (H10). An error fails the flush.
    pub fn before_flush(&mut self, hook: impl Fn() -> Result<(), Error> + Send + Sync + 'static) {
        self.core().flush_hooks.0.push(Arc::new(hook));
    }

    /// Runs after each flush that sent something (H10). An error fails the flush.
    pub fn after_flush(&mut self, hook: impl Fn() -> Result<(), Error> + Send + Sync + 'static) {
        self.core().flush_hooks.1.push(Arc::new(hook));
    }

    pub(crate) async fn autoflush(&mut self) -> Result<(), Error> {
        self.core().flush_before_query().await
    }

    pub(crate) async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, Error> {
        Ok(self.core().statement(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Session {
    fn get_database_backend(&self) -> SeaBackend {
        self.dialect.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        executed(self.send(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}
