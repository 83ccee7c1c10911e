//! The unit of work: one connection, at most one transaction, one identity map (INV1).
//!
//! A session is used through `&mut`: a parent cannot be used while its child block is open, and two children cannot run
//! side by side, because the compiler refuses it.

use std::{
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

use futures_util::FutureExt;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, ExecResult, IsolationLevel, QueryResult,
    Statement, sea_query::IntoValueTuple,
};
use tokio::sync::Mutex;
use tracing::Instrument;

use crate::{
    block::{BlockKind, BlockState},
    body::{Attempt, BlockOnce},
    connection::{Connection, Fetch, Message},
    core::{Core, UnitState},
    db::Db,
    error::Error,
    flush::executed,
    hooks::{HookBody, HookOutcome, Hooks, Registered},
    meta::TrackedEntity,
    options::Settings,
    stats::{Counters, Stats},
    tracked::{Object, Phase, State, Tracked},
};

/// A unit of work.
///
/// Any SeaORM query takes it as its connection; pending changes are flushed before the query runs. Dropped without a
/// commit, it rolls back.
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
    backend: DbBackend,
    /// Whether the unit is `run`'s, so that only `run` may end it (A10).
    in_run: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// How a unit ended, and what the database had said whatever the caller made of it (R5).
pub(crate) enum Verdict<T, E> {
    Done(T),
    /// Rolled back, or known not to be committed: it may run again.
    Failed {
        error: E,
        said: Option<Error>,
    },
    /// Committed, or not known: it must not run again.
    Final(E),
}

/// A savepoint made by hand (B1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(u64);

impl Drop for Session {
    fn drop(&mut self) {
        self.core.get_mut().dropped();
    }
}

impl Session {
    pub(crate) fn new(db: Db, settings: Arc<Settings>, counters: Arc<Counters>) -> Self {
        let backend = db.backend();
        let connection =
            Connection::new(db, counters, settings.recorder.clone(), settings.sql_debug, settings.show_values);
        Self { core: Mutex::new(Core::new(connection, settings)), backend, in_run: false }
    }

    pub(crate) fn core(&mut self) -> &mut Core {
        self.core.get_mut()
    }

    // ---- the unit --------------------------------------------------------------------------------------------------

    /// One attempt of a unit: body, flush, COMMIT; or rollback.
    pub(crate) async fn run_unit<T, E, B>(&mut self, body: &B) -> Verdict<T, E>
    where
        B: Attempt<T, E>,
        E: From<Error> + Send + 'static,
    {
        self.in_run = true;
        let outcome = AssertUnwindSafe(body.attempt(&mut *self)).catch_unwind().await;
        match outcome {
            Err(panic) => {
                self.core().rollback().await;
                resume_unwind(panic)
            }
            Ok(Ok(value)) => self.conclude(value).await,
            Ok(Err(error)) => self.give_up(error).await,
        }
    }

    async fn conclude<T, E: From<Error>>(&mut self, value: T) -> Verdict<T, E> {
        match self.commit_settled().await {
            Ok(()) => Verdict::Done(value),
            Err(e @ (Error::AfterCommit { .. } | Error::CommitUnknown { .. })) => Verdict::Final(e.into()),
            Err(e) => {
                let said = self.core().said.take().or_else(|| Some(e.clone()));
                Verdict::Failed { error: e.into(), said }
            }
        }
    }

    async fn give_up<T, E: From<Error> + 'static>(&mut self, error: E) -> Verdict<T, E> {
        let settings = self.core().settings.clone();
        let allowed = std::panic::catch_unwind(AssertUnwindSafe(|| {
            settings.allow.as_ref().is_some_and(|allow| allow.says(&error))
        }));
        let allowed = match allowed {
            Ok(allowed) => allowed,
            Err(panic) => {
                self.core().rollback().await;
                resume_unwind(panic)
            }
        };
        if allowed && settings.retry_on.as_ref().is_some_and(|retry_on| retry_on.says(&error)) {
            self.core().rollback().await;
            return Verdict::Final(
                Error::usage("an error is both allowed (commit) and retried: `allow` and `retry_on` must not overlap")
                    .into(),
            );
        }
        if allowed {
            return match self.conclude::<(), E>(()).await {
                Verdict::Done(()) => Verdict::Final(error),
                Verdict::Failed { error, said } => Verdict::Failed { error, said },
                Verdict::Final(error) => Verdict::Final(error),
            };
        }
        self.core().rollback().await;
        let said = self.core().said.take();
        Verdict::Failed { error, said }
    }

    /// Commits, and finds out what became of a COMMIT whose answer was lost (R9).
    async fn commit_settled(&mut self) -> Result<(), Error> {
        let outcome = self.core().commit().await;
        match outcome {
            Err(Error::CommitUnknown { cause }) => crate::settle::settle(self, cause).await,
            other => other,
        }
    }

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
        self.commit_settled().await
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

    /// Where the unit stands (B2).
    pub fn unit_state(&mut self) -> UnitState {
        self.core().state
    }

    /// Whether BEGIN was sent and the transaction is open (B3).
    pub fn in_transaction(&mut self) -> bool {
        self.core().connection.is_open()
    }

    /// How many blocks are open inside the unit; 0 outside of them (B3).
    pub fn depth(&mut self) -> usize {
        self.core().frames.len() - 1
    }

    /// What the innermost block is, and where it stands: a row of the table in `docs/blocks.md` (B3).
    pub fn block_state(&mut self) -> (BlockKind, BlockState) {
        let core = self.core();
        let top = core.frames.len() - 1;
        (core.frames[top].kind, core.standing(top, core.flag_around().is_some()))
    }

    /// Says whether the unit was opened with this isolation level, for code that is not safe under another (B3): a function
    /// with `#[db_session(isolation = …)]` asks first.
    ///
    /// # Errors
    /// [`Error::Usage`] if it was opened with another, or with none; on SQLite too, where all are granted, so that what is
    /// tried out there does not surprise on PostgreSQL.
    pub fn require_isolation(&mut self, level: IsolationLevel) -> Result<(), Error> {
        match self.core().settings.isolation {
            Some(has) if has == level => Ok(()),
            Some(has) => Err(Error::usage(format!(
                "{level} is asked for inside a unit of work that is {has}: a transaction has one isolation level"
            ))),
            None => Err(Error::usage(format!(
                "{level} is asked for inside a unit of work that was opened without: open it with `.isolation(…)`"
            ))),
        }
    }

    /// Which database this is.
    pub fn backend(&self) -> DbBackend {
        self.backend
    }

    /// The numbers of the unit so far (L2).
    pub fn stats(&mut self) -> Stats {
        let core = self.core();
        core.report_hits();
        core.connection.counters().snapshot()
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
    pub async fn atomic<T, E, F>(&mut self, body: F) -> Result<T, E>
    where
        F: for<'a> BlockOnce<&'a mut Session, Result<T, E>, Fut: Send>,
        E: From<Error>,
    {
        self.block().run(body).await
    }

    /// A nested block with options.
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
    pub fn needs_rollback(&mut self) -> bool {
        self.core().flag_around().is_some()
    }

    /// A savepoint by hand (B1). Pending changes are flushed first and stay when it is rolled back to.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let mut s = db.begin().await?;
    /// let before = s.savepoint().await?;
    /// s.add(draft("a try"));
    /// s.flush().await?;
    /// s.rollback_to(before).await?;
    /// assert_eq!(note::Entity::find().count(&s).await?, 1);
    /// s.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The flush fails, or the block must roll back.
    pub async fn savepoint(&mut self) -> Result<Savepoint, Error> {
        if let Some(flag) = self.core().flag_around().cloned() {
            return Err(Error::Refused { cause: Arc::new(flag.cause) });
        }
        let at = self.core().enter(BlockKind::Savepoint, true).await?;
        Ok(Savepoint(self.core().frames[at].id))
    }

    /// Rolls back to a savepoint, objects included; the savepoint stays and can be rolled back to again (B1).
    ///
    /// # Errors
    /// The savepoint no longer exists or belongs to a block outside; nothing is sent then.
    pub async fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), Error> {
        self.core().rollback_to(savepoint.0).await
    }

    /// Ends a savepoint and keeps what was done since (B1).
    ///
    /// # Errors
    /// The savepoint no longer exists or belongs to a block outside; or the flush fails.
    pub async fn release(&mut self, savepoint: Savepoint) -> Result<(), Error> {
        self.core().release(savepoint.0).await
    }

    /// Takes a lock of the transaction by number, waiting for it (B5); it is released with the transaction.
    ///
    /// # Errors
    /// SQLite has none: the refusal says so.
    pub async fn advisory_lock(&mut self, key: i64) -> Result<(), Error> {
        self.advisory("SELECT pg_advisory_xact_lock($1)", key).await.map(|_| ())
    }

    /// Takes a lock of the transaction by number if it is free (B5).
    ///
    /// # Errors
    /// SQLite has none: the refusal says so.
    pub async fn try_advisory_lock(&mut self, key: i64) -> Result<bool, Error> {
        let row = self.advisory("SELECT pg_try_advisory_xact_lock($1) AS taken", key).await?;
        row.map_or(Ok(false), |row| Ok(row.try_get("", "taken")?))
    }

    async fn advisory(&mut self, sql: &str, key: i64) -> Result<Option<QueryResult>, Error> {
        if self.backend != DbBackend::Postgres {
            return Err(Error::unsupported(
                self.backend,
                "advisory locks; a writing unit holds the write lock of the whole file already",
            ));
        }
        let statement = Statement::from_sql_and_values(self.backend, sql, [key.into()]);
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
    pub fn hooks(&mut self) -> Hooks {
        self.core().hooks.clone()
    }

    /// Runs before each flush that has something to send (H10). An error fails the flush.
    pub fn before_flush(&mut self, hook: impl Fn() -> Result<(), Error> + Send + Sync + 'static) {
        self.core().flush_hooks.0.push(Arc::new(hook));
    }

    /// Runs after each flush that sent something (H10). An error fails the flush.
    pub fn after_flush(&mut self, hook: impl Fn() -> Result<(), Error> + Send + Sync + 'static) {
        self.core().flush_hooks.1.push(Arc::new(hook));
    }

    // ---- objects ---------------------------------------------------------------------------------------------------

    /// Adds a new object; the next flush inserts it. The object may be used at once, except for values that the database
    /// makes.
    ///
    /// If an object with the same key is in this unit already, the next flush says so ([`Error::Duplicate`], I2);
    /// [`Session::try_add`] says it at once.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.add(draft("second"));
    ///     assert_eq!(s.state(&note), State::Pending);
    ///     s.flush().await?;
    ///     assert_eq!(s.state(&note), State::Persistent);
    ///     assert_eq!((note.id(), note.version()), (2, 1));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add<A>(&mut self, active_model: A) -> Tracked<A::Entity>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let object = Object::pending(active_model, &self.core().shared);
        if let Err(e) = self.admit(&object) {
            self.core().refused_add.get_or_insert(e);
        }
        object.into()
    }

    /// Adds a new object, or says that its key is taken in this unit (I2).
    ///
    /// # Errors
    /// [`Error::Duplicate`].
    pub fn try_add<A>(&mut self, active_model: A) -> Result<Tracked<A::Entity>, Error>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let object = Object::pending(active_model, &self.core().shared);
        self.admit(&object)?;
        Ok(object.into())
    }

    /// Adds an object again whose adding was rolled back (S3).
    ///
    /// # Errors
    /// The object is not transient, or its key is taken in this unit.
    pub fn add_again<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        let shared = self.core().shared.clone();
        object.object().revive(&shared)?;
        self.admit(object.object())
    }

    fn admit<E: TrackedEntity>(&mut self, object: &Object<E>) -> Result<(), Error> {
        self.place(object).inspect_err(|_| object.refused())
    }

    fn place<E: TrackedEntity>(&mut self, object: &Object<E>) -> Result<(), Error> {
        let core = self.core();
        core.usable()?;
        if let Some(key) = object.known_key() {
            if let Some(held) = core.map.get::<E>(&key)
                && !matches!(held.phase(), Phase::Deleting | Phase::Deleted)
            {
                let entity = crate::meta::table::<E>().entity;
                return Err(Error::Duplicate { entity, key: object.key_for_messages().into() });
            }
            object.set_map_key(key.clone());
            core.map.insert(key, object.clone());
        }
        let any = object.as_any_object();
        let holder = core.holder();
        let id = core.frames[holder].id;
        if any.added(id) {
            core.frames[holder].undo.touch(any);
        }
        object.enlist_new();
        Ok(())
    }

    /// Deletes an object; the next flush sends it. One that was added and never flushed is simply forgotten (F6).
    pub fn delete<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        let core = self.core();
        if !object.object().belongs_to(&core.shared) {
            tracing::warn!(?object, "an object of another unit of work was to be deleted; nothing is sent");
            return;
        }
        object.object().mark_deleted(&mut core.map);
    }

    /// The object with this key if it is in the map already; asks nobody (I4).
    pub fn peek<E: TrackedEntity>(&mut self, key: impl IntoValueTuple) -> Option<Tracked<E>> {
        let key = crate::identity::Key::of(key);
        let object = self.core().map.get::<E>(&key)?;
        (object.phase() == Phase::Persistent || object.phase() == Phase::Pending).then(|| object.clone().into())
    }

    /// Whether the map holds this object.
    pub fn contains<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> bool {
        let object = object.object();
        object.map_key().is_some_and(|key| self.core().map.get::<E>(&key).is_some_and(|held| held.same(object)))
    }

    /// Where the object stands.
    pub fn state<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> State {
        object.object().state()
    }

    /// Takes an object out of the unit: it keeps its values, nothing about it is sent, and a rollback leaves it out (S7).
    pub fn expunge<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        object.object().expunge(&mut self.core().map);
    }

    /// Has the object read again by the next [`Session::get`] or query that returns it.
    pub fn expire<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        object.object().expire();
    }

    /// Expires every clean object of an entity: for after a set-based statement of your own.
    pub fn expire_all<E: TrackedEntity>(&mut self) {
        self.core().map.objects::<E>().for_each(Object::expire);
    }

    /// How many objects the map holds.
    pub fn tracked(&mut self) -> usize {
        self.core().map.len()
    }

    /// Whether anything waits to be flushed.
    pub fn is_dirty(&mut self) -> bool {
        self.core().shared.has_dirty()
    }

    /// Sends what changed: set-based, in the order that the foreign keys ask for (F).
    ///
    /// # Errors
    /// What the database says, with entity, key and constraint. Memory and database are then back at the nearest boundary,
    /// and the block refuses everything until it ends (S8).
    ///
    /// # Cancel safety
    /// A dropped flush leaves its block flagged: it must roll back (C1).
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.core().flush().await
    }

    /// A stretch in which queries do not flush first (F7); ends when the guard is dropped.
    pub fn no_autoflush(&mut self) -> NoAutoflush<'_> {
        let before = std::mem::replace(&mut self.core().autoflush, false);
        NoAutoflush { session: self, before }
    }

    pub(crate) async fn autoflush(&mut self) -> Result<(), Error> {
        self.core().flush_before_query().await
    }

    pub(crate) async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, Error> {
        Ok(self.core().statement(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

/// A nested block before it runs.
#[must_use = "a block does nothing until `.run(…)`"]
#[derive(Debug)]
pub struct NestedBlock<'s> {
    session: &'s mut Session,
    kind: BlockKind,
    /// Why it will not run: an option that a nested block cannot have.
    refused: Option<Error>,
}

impl NestedBlock<'_> {
    /// Without a savepoint: an error inside sets the parent's flag (A3).
    pub fn merged(mut self) -> Self {
        self.kind = BlockKind::Merged;
        self
    }

    /// Must be the outermost block: nested, it is refused before anything is sent (A12).
    pub fn durable(self) -> Self {
        self.refuse(
            "a durable block must be outermost, and this one is inside a unit of work: open it with `db.run(…)`",
        )
    }

    /// Asks for the isolation that the unit was opened with. Another cannot be had inside its transaction: that is refused
    /// before anything is sent (B3).
    pub fn isolation(mut self, level: IsolationLevel) -> Self {
        if let Err(e) = self.session.require_isolation(level) {
            self.refused.get_or_insert(e);
        }
        self
    }

    /// Refused before anything is sent: only a unit as a whole is read-only (B4).
    pub fn read_only(self) -> Self {
        self.refuse("a nested block cannot be read-only: open its unit of work with `.read_only()`")
    }

    /// Refused before anything is sent: only a unit as a whole is deferrable (B4).
    pub fn deferrable(self) -> Self {
        self.refuse(
            "a nested block cannot be deferrable: open its unit of work with `.isolation(Serializable).read_only().deferrable()`",
        )
    }

    /// The first option that cannot be had is the one that is named.
    fn refuse(mut self, why: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.refused.get_or_insert_with(|| Error::usage(why));
        self
    }

    /// Runs the block. See [`Session::atomic`].
    ///
    /// # Errors
    /// As [`Session::atomic`].
    ///
    /// # Cancel safety
    /// As [`Session::atomic`].
    pub async fn run<T, E, F>(self, body: F) -> Result<T, E>
    where
        F: for<'a> BlockOnce<&'a mut Session, Result<T, E>, Fut: Send>,
        E: From<Error>,
    {
        if let Some(refused) = self.refused {
            return Err(refused.into());
        }
        let index = self.session.core().enter(self.kind, false).await?;
        let mut guard = BlockGuard { session: self.session, index: Some(index) };
        let span = tracing::debug_span!("sea_session.block", depth = index, statements = tracing::field::Empty);
        let before = guard.session.core().connection.counters().snapshot().statements;
        let outcome = AssertUnwindSafe(body(&mut *guard.session)).catch_unwind().instrument(span.clone()).await;
        span.record("statements", guard.session.core().connection.counters().snapshot().statements - before);
        let outcome = match outcome {
            Err(panic) => {
                guard.session.core().exit_err(index).await;
                guard.index = None;
                resume_unwind(panic)
            }
            Ok(Ok(value)) => guard.session.core().exit_ok(index).await.map(|()| value).map_err(E::from),
            Ok(Err(e)) => {
                guard.session.core().exit_err(index).await;
                Err(e)
            }
        };
        guard.index = None;
        outcome
    }
}

/// Rolls a block back that is dropped or panics before it ended (A13, C2).
struct BlockGuard<'s> {
    session: &'s mut Session,
    index: Option<usize>,
}

impl Drop for BlockGuard<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.session.core().abandon(index);
        }
    }
}

/// A session whose queries do not flush first (F7).
#[derive(Debug)]
pub struct NoAutoflush<'s> {
    session: &'s mut Session,
    before: bool,
}

impl Deref for NoAutoflush<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for NoAutoflush<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl Drop for NoAutoflush<'_> {
    fn drop(&mut self) {
        self.session.core().autoflush = self.before;
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Session {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        executed(self.core.lock().await.statement(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        executed(self.core.lock().await.statement(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.core.lock().await.statement(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        Ok(self.core.lock().await.statement(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}
