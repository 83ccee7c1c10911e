//! What a unit of work may be asked to be. Nothing is emulated silently: what a backend cannot do is an error that says so.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sea_orm::IsolationLevel;

use super::retry_loop::run_unit;
use crate::{
    connection::{boxed::boxed, db::Db},
    dialect::{Dialect, Position},
    error::Error,
    stats::{Counters, Recorder},
    unit::{
        body::Block,
        fate::FateCell,
        predicate::{About, AboutAny, Accepts, Predicate},
        retry::Retry,
        session::{Body, Session, keep},
        settings::Settings,
    },
};

/// A unit of work before it runs: its options, then [`UnitOptions::run`], [`UnitOptions::begin`] or [`UnitOptions::batches`].
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// let options = db.session().read_only().retry(3);
/// let titles = options.clone().run(async |s: &mut Session| -> Result<Vec<String>, Error> {
///     let notes = note::Entity::find().load(s).await?;
///     Ok(notes.iter().map(|note| note.title()).collect())
/// }).await?;
/// assert_eq!(titles, ["first"]);
/// assert_eq!(options.stats().statements, 1);
///
/// // What a backend cannot do is refused before anything is sent.
/// let refused = db.session().set_local("app.user", 7).begin().await;
/// assert!(matches!(refused, Err(Error::Unsupported { backend: "SQLite", .. })));
/// # Ok(())
/// # }
/// ```
///
/// `Q` is whom its questions are about: [`UnitOptions::allow`] and [`UnitOptions::retry_on`] make it [`About`] of an error type,
/// which the body's error must then be.
#[must_use = "options do nothing until `.run(…)`, `.begin()` or `.batches(…)`"]
pub struct UnitOptions<Q = AboutAny> {
    db: Db,
    settings: Settings,
    counters: Arc<Counters>,
    questions: PhantomData<fn(Q)>,
}

impl<Q> Clone for UnitOptions<Q> {
    fn clone(&self) -> Self {
        let Self { db, settings, counters, .. } = self;
        Self { db: db.clone(), settings: settings.clone(), counters: counters.clone(), questions: PhantomData }
    }
}

impl<Q> fmt::Debug for UnitOptions<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitOptions").field("db", &self.db).finish_non_exhaustive()
    }
}

impl UnitOptions {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, settings: Settings::default(), counters: Arc::default(), questions: PhantomData }
    }
}

impl<Q> UnitOptions<Q> {
    /// Whose questions are about `E` from now on.
    fn asking<E>(self, ask: impl FnOnce(&mut Settings)) -> UnitOptions<About<E>> {
        let Self { db, mut settings, counters, .. } = self;
        ask(&mut settings);
        UnitOptions { db, settings, counters, questions: PhantomData }
    }

    /// The isolation level. SQLite is always serializable, so every level is granted there.
    pub fn isolation(mut self, level: IsolationLevel) -> Self {
        self.settings.isolation = Some(level);
        self
    }

    /// Only reads: the database refuses writes. With [`Db::replicas`] the unit may run on one (U9).
    pub fn read_only(mut self) -> Self {
        self.settings.read_only = true;
        self
    }

    /// Stays on the primary, though the unit only reads and there are replicas (U9): for what must be as new as can be, or for
    /// a lock that must keep others out.
    pub fn on_primary(mut self) -> Self {
        self.settings.on_primary = true;
        self
    }

    /// The unit must see what another process had written when it took this position with [`Db::written`] (U9): a replica that has
    /// not replayed it is passed over, as one that has not replayed what this process has written. What is on the primary sees it
    /// anyway. Of several positions the last one given counts. PostgreSQL only.
    ///
    /// A position that clients hand back is theirs to change: one that is too high sends each of their units to the primary, after
    /// the wait. Sign it if that matters.
    pub fn reads_after(mut self, position: Position) -> Self {
        self.settings.reads_after = Some(position);
        self
    }

    /// Waits for a moment at which the reads cannot fail. Needs serializable and read-only (B4); PostgreSQL only.
    pub fn deferrable(mut self) -> Self {
        self.settings.deferrable = true;
        self
    }

    /// Takes SQLite's write lock at BEGIN, which writing units do anyway; SQLite only.
    pub fn immediate(mut self) -> Self {
        self.settings.immediate = true;
        self
    }

    /// Sets a configuration parameter for this transaction only (T1), in the message that carries BEGIN; PostgreSQL only.
    pub fn set_local(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.settings.set_local.push((key.into(), value.to_string()));
        self
    }

    /// Settings for this transaction that are always the same, each as `; SET LOCAL …`, sent as they are; PostgreSQL only.
    pub fn fixed(mut self, settings: &'static str) -> Self {
        self.settings.fixed = settings;
        self
    }

    /// The unit is one statement that reads, and takes no transaction.
    pub(crate) fn alone(mut self) -> Self {
        self.settings.alone = true;
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.db.dialect()
    }

    /// Names the tenant of the unit (T2): on PostgreSQL it is bound to the parameter `key` like [`UnitOptions::set_local`];
    /// on every backend `#[tracked(tenant)]` entities are refused without it, and reads of objects see its rows alone (U5).
    pub fn tenant(mut self, key: impl Into<String>, tenant: impl ToString) -> Self {
        self.settings.tenant = Some((key.into(), tenant.to_string()));
        self
    }

    /// Reads of objects give soft-deleted rows too (U5), as in a stretch of [`Session::unfiltered`] that lasts as long as the unit.
    /// The tenant's filter holds all the same.
    pub fn unfiltered(mut self) -> Self {
        self.settings.unfiltered = true;
        self
    }

    /// The longest that one statement of this unit may take: refused on SQLite; on MySQL it bounds what only reads.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.settings.statement_timeout = Some(timeout);
        self
    }

    /// The longest that a statement of this unit waits for a lock that another unit holds; then it fails as 55P03, which
    /// [`Retry::on_lock_not_available`] retries. Refused on SQLite; MySQL and MariaDB know whole seconds, and it is rounded up.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.settings.lock_timeout = Some(timeout);
        self
    }

    /// The unit sees what any node of its cluster had committed before it began (Y3): its node waits for that at BEGIN. Galera only;
    /// a server that is no node of a cluster refuses it with the unit's first statement.
    pub fn causal(mut self) -> Self {
        self.settings.causal = true;
        self
    }

    /// Checks at flush that the columns which were read before they were written still hold what was loaded (P1).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.session().optimistic().run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     if note.stars() == 0 {
    ///         note.set_stars(1);                               // … WHERE stars = 0, too
    ///     }
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn optimistic(mut self) -> Self {
        self.settings.optimistic = true;
        self
    }

    /// A write to an object whose unit has ended panics instead of a warning (S12).
    pub fn strict(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// Logs every statement of this unit at `info`, target `sea_session::sql`.
    pub fn sql_debug(mut self) -> Self {
        self.settings.sql_debug = true;
        self
    }

    /// Lets values appear in this unit's logs and errors (L1).
    pub fn show_values(mut self) -> Self {
        self.settings.show_values = true;
        self
    }

    /// Learns the transaction's id with BEGIN, so that a lost answer to COMMIT can be settled also when all writes were
    /// the caller's own SQL (R9). Units that flush objects learn it from their first flush anyway. PostgreSQL only.
    pub fn settle(mut self) -> Self {
        self.settings.settle = true;
        self
    }

    /// Leaves a token row with COMMIT, by which a lost answer is settled on servers that do not know `pg_xact_status` (R9).
    /// It rides in COMMIT's message and costs no round trip; the table is made by [`Db::create_commit_tokens`].
    pub fn settle_by_token(mut self) -> Self {
        self.settings.settle_by_token = true;
        self
    }

    /// Keeps the text of every message in `recorder` (L3).
    pub fn record(mut self, recorder: &Recorder) -> Self {
        self.settings.recorder = Some(recorder.clone());
        self
    }

    /// Runs the whole unit again when the database says that it lost against a concurrent one (R1).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.session().retry(5).run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     note.set_stars(note.stars() + 1);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.settings.retry = retry.into();
        self
    }

    /// Also retries errors of the caller's own (R5). The closure names the error type of the body; another does not compile.
    ///
    /// ```compile_fail
    /// use sea_session::{Error, prelude::*};
    ///
    /// async fn run(db: &Db) -> Result<(), Error> {
    ///     let unit = db.session().retry(3).retry_on(|_: &std::io::Error| true);
    ///     unit.run(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await
    /// }
    /// ```
    pub fn retry_on<E: 'static>(self, predicate: impl Fn(&E) -> bool + Send + Sync + 'static) -> UnitOptions<About<E>>
    where
        Q: Accepts<E>,
    {
        self.asking(|settings| settings.retry_on = Some(Predicate::new(predicate)))
    }

    /// Errors after which the unit still flushes and commits, and then returns the error (X1). The closure names the error type
    /// of the body; another does not compile.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// #[derive(Debug)]
    /// enum LogInError {
    ///     WrongPassword,
    ///     Database(Error),
    /// }
    /// impl From<Error> for LogInError {
    ///     fn from(e: Error) -> Self {
    ///         LogInError::Database(e)
    ///     }
    /// }
    ///
    /// let outcome = db.session()
    ///     .allow(|e: &LogInError| matches!(e, LogInError::WrongPassword))
    ///     .run(async |s: &mut Session| -> Result<(), LogInError> {
    ///         s.add(draft("one failed attempt"));
    ///         Err(LogInError::WrongPassword)
    ///     })
    ///     .await;
    /// assert!(matches!(outcome, Err(LogInError::WrongPassword)));
    /// assert_eq!(note::Entity::find().count(db.connection()).await?, 2);     // the attempt was counted
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow<E: 'static>(self, predicate: impl Fn(&E) -> bool + Send + Sync + 'static) -> UnitOptions<About<E>>
    where
        Q: Accepts<E>,
    {
        self.asking(|settings| settings.allow = Some(Predicate::new(predicate)))
    }

    /// The numbers of the unit so far; after the run, of all its attempts (L2). Keep a clone of the options to ask.
    pub fn stats(&self) -> crate::stats::Stats {
        self.counters.snapshot()
    }

    /// Runs one unit of work: commits on `Ok`, rolls back on `Err` or panic, and runs the whole again if a retry was asked
    /// for and the database says so (R).
    ///
    /// The future is on the heap and `Send` by its type, so that the compiler asks once of each body whether it can be sent to another
    /// thread, and not again at each place that waits for it. A body of a generic type is asked to be `Send + Sync` itself.
    ///
    /// # Errors
    /// What the body returns; or an [`Error`] of flush, COMMIT or an option that this backend cannot carry out.
    ///
    /// # Cancel safety
    /// Dropped at any await, the unit is rolled back and its connection is clean or closed (C1). What was acknowledged
    /// stays.
    pub fn run<'u, T, E, F>(self, body: F) -> BoxFuture<'u, Result<T, E>>
    where
        F: for<'a> Block<&'a mut Session, Result<T, E>, Fut: Send> + Send + Sync + 'u,
        E: From<Error> + Send + 'static,
        T: Send + 'u,
        Q: Accepts<E>,
    {
        let Self { db, settings, counters, .. } = self;
        let settings = Arc::new(settings);
        let body = Body::new(body, |body, session, value| keep(body(session), value));
        boxed(|| async move { run_unit(&db, settings, &counters, body).await })
    }

    /// As [`UnitOptions::run`], leaving word of what became of the COMMIT; the options may be used again.
    pub(crate) async fn run_noting_fate<B, T, E>(&self, cell: FateCell, body: Body<B, T, E>) -> Result<T, E>
    where
        B: Sync,
        E: From<Error> + Send + 'static,
        T: Send,
    {
        let settings = Settings { fate: Some(cell), ..self.settings.clone() };
        run_unit(&self.db, Arc::new(settings), &self.counters, body).await
    }

    /// Waits by the clock of the retry policy.
    pub(crate) async fn pause(&self, pause: Duration) {
        self.settings.retry.pause(pause).await;
    }

    /// Begins a unit of work that is ended by hand (B2). It is never retried (R4).
    ///
    /// # Errors
    /// An option that this backend cannot carry out, or one that only a retried unit has.
    ///
    /// # Cancel safety
    /// Safe: nothing is sent.
    pub async fn begin(self) -> Result<Session, Error> {
        self.opened()
    }

    /// A session with these options that no body stands around.
    pub(crate) fn opened(self) -> Result<Session, Error> {
        self.settings.check(self.db.dialect())?;
        if self.settings.retry.attempts() > 1 {
            return Err(Error::usage("a unit begun by hand is never retried: use `.run(…)` with `.retry(…)`"));
        }
        if self.settings.allow.is_some() || self.settings.retry_on.is_some() {
            return Err(Error::usage(
                "`allow` and `retry_on` look at the error of a body, which a unit begun by hand does not have: use `.run(…)`",
            ));
        }
        Ok(self.db.open(&Arc::new(self.settings), &self.counters))
    }
}
