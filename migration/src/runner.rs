//! The runner: applies migrations once, whole, one runner at a time, and says what it did.
//!
//! What it is for: everything that SeaORM's migrator leaves to the operator (HAZARDS Z19): the lock, the timeouts, the
//! transaction of each migration together with its record, the checksums, the resumption of what cannot run in a
//! transaction. What it must never do: change a migration's meaning. A migration's own code runs, on a connection of
//! SeaORM's type; only one that asked for no transaction and is a plain list of statements is sent from its recording, so
//! that it can be taken up in the middle.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};
use sea_session::Db;
use serde::Serialize;

use crate::{
    Error, Event, Migrator, Options,
    error::{is_done_already, is_lock_timeout},
    ledger::{self, Entry, Ledger, Note, State},
    lock::{Lock, begin_immediate},
    record::{Recorded, Recording, Words, record},
    workplace::{Workplace, send},
};

/// Which way a migration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Apply.
    Up,
    /// Take back.
    Down,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl Direction {
    pub(crate) async fn run(self, migration: &dyn MigrationTrait, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        match self {
            Self::Up => migration.up(manager).await,
            Self::Down => migration.down(manager).await,
        }
    }
}

/// One migration that was applied or taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Which way it went.
    pub direction: Direction,
    /// How long it took, waiting for locks included.
    #[serde(serialize_with = "as_millis")]
    pub took: Duration,
}

/// What a run did, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One migration as [`Runner::status`] sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether it is applied.
    pub state: State,
    /// When, in seconds since 1970, as SeaORM keeps it.
    pub applied_at: Option<i64>,
    /// How long it took, in milliseconds; not known of what SeaORM's own tool applied.
    pub duration_ms: Option<u64>,
    /// What is wrong with it, if anything (G4).
    pub findings: Vec<Finding>,
}

/// What [`Runner::verify`] finds (G4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// It sends something else than when it was applied.
    Changed {
        /// The checksum of then.
        applied: String,
        /// The checksum of now.
        now: String,
    },
    /// It is applied, and this program does not know it.
    Missing,
    /// It is pending, and a later one is applied: it was added out of order.
    OutOfOrder {
        /// The later one.
        after: String,
    },
    /// It does not run in a transaction, and stopped on its way.
    Interrupted {
        /// How many of its statements were done.
        done: u64,
    },
    /// Its checksum cannot be known.
    NotRecorded {
        /// Why.
        reason: String,
    },
}

impl Finding {
    /// Whether it must be settled before anything is migrated.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Missing)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { applied, now } => {
                write!(f, "changed since it was applied ({} then, {} now)", &applied[..applied.len().min(8)], &now[..8])
            }
            Self::Missing => f.write_str("applied, but not known to this program"),
            Self::OutOfOrder { after } => write!(f, "older than `{after}`, which is applied"),
            Self::Interrupted { done } => write!(f, "interrupted after {done} statements; run it again to resume"),
            Self::NotRecorded { reason } => write!(f, "no checksum: {reason}"),
        }
    }
}

/// The SQL of one migration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Which way.
    pub direction: Direction,
    /// Whether it runs in a transaction.
    pub transaction: bool,
    /// What it sends, or why that is not known.
    pub recording: Result<Recording, String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- {} ({})", self.name, self.direction)?;
        let recording = match &self.recording {
            Ok(recording) => recording,
            Err(reason) => return writeln!(f, "-- not known without running it: {reason}"),
        };
        if self.transaction {
            writeln!(f, "BEGIN;")?;
        }
        for sent in recording.sent() {
            writeln!(f, "{};", sent.to_string().trim_end_matches(';'))?;
        }
        if self.transaction {
            writeln!(f, "COMMIT;")?;
        }
        Ok(())
    }
}

/// Applies the migrations of `M` to one database.
///
/// ```no_run
/// # async fn f(db: sea_orm::DatabaseConnection) -> Result<(), context_migration::Error> {
/// use context_migration::Runner;
///
/// let report = Runner::new(db).up().await?;          // at the start of each replica: one migrates, the others wait
/// println!("{} migrations applied", report.steps.len());
/// # Ok(()) }
/// ```
pub struct Runner<M = Migrator> {
    db: DatabaseConnection,
    options: Options,
    ledger: Ledger,
    tell: Arc<dyn Fn(&Event) + Send + Sync>,
    migrator: PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Runner<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("options", &self.options).field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Runner<Migrator> {
    /// A runner of the context store's migrations.
    pub fn new(db: impl Into<Db>) -> Self {
        Self::of(db)
    }
}

/// The order of all the runner knows: the program's migrations, then what only the database has.
struct Known {
    migrations: Vec<Box<dyn MigrationTrait>>,
    recorded: Vec<Recorded>,
    entries: Vec<Entry>,
}

impl Known {
    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn state(&self, name: &str) -> State {
        self.entry(name).map_or(State::Pending, |entry| entry.state)
    }

    fn recorded(&self, name: &str) -> Option<&Recorded> {
        self.recorded.iter().find(|recorded| recorded.name == name)
    }

    fn names(&self) -> Vec<String> {
        self.migrations.iter().map(|migration| migration.name().to_owned()).collect()
    }

    fn findings(&self, name: &str) -> Vec<Finding> {
        let names = self.names();
        let entry = self.entry(name);
        let Some(at) = names.iter().position(|known| known == name) else { return vec![Finding::Missing] };
        let mut findings = Vec::new();
        if let Some(entry) = entry
            && matches!(entry.state, State::Applying | State::Reverting)
        {
            findings.push(Finding::Interrupted { done: entry.statements_done });
        }
        if self.state(name) == State::Pending
            && let Some(after) = names[at + 1..].iter().find(|later| self.state(later) == State::Applied)
        {
            findings.push(Finding::OutOfOrder { after: after.clone() });
        }
        match self.recorded(name).map(|recorded| &recorded.recording) {
            Some(Ok(recording)) => {
                let now = recording.checksum();
                if let Some(applied) = entry.and_then(|entry| entry.checksum.clone())
                    && applied != now
                    && self.state(name) == State::Applied
                {
                    findings.push(Finding::Changed { applied, now });
                }
            }
            Some(Err(reason)) => findings.push(Finding::NotRecorded { reason: reason.clone() }),
            None => {}
        }
        findings
    }
}

/// What a run under the lock works with.
struct Work {
    lock: Lock,
    place: Workplace,
    /// Statements that went wrong, as SeaORM reports them.
    failed: Arc<Mutex<Option<String>>>,
}

impl<M: MigratorTrait> Runner<M> {
    /// A runner of any SeaORM migrator, unchanged: `Runner::<other::Migrator>::of(db)`.
    pub fn of(db: impl Into<Db>) -> Self {
        Self {
            db: db.into().connection().clone(),
            options: Options::default(),
            ledger: Ledger::of::<M>(),
            tell: Arc::new(|event| tracing::info!(target: "context_migration", "{event}")),
            migrator: PhantomData,
        }
    }

    /// With other options.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Tells `listener` what happens, while it happens. Without one it goes to `tracing`.
    #[must_use]
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.tell = Arc::new(listener);
        self
    }

    /// Applies all pending migrations, oldest first. Without any it neither locks nor writes.
    ///
    /// # Errors
    /// [`Error::Locked`] if another runner was busy for too long; [`Error::Failed`] for the first migration that fails,
    /// the ones before it stand; [`Error::Changed`] and [`Error::Missing`] before anything is done.
    ///
    /// # Cancel safety
    /// Safe: the migration in hand is rolled back, or, without a transaction, resumed by the next run.
    pub async fn up(&self) -> Result<Report, Error> {
        self.up_by(u32::MAX).await
    }

    /// Applies at most `n` pending migrations. See [`up`](Self::up).
    ///
    /// # Errors
    /// As [`up`](Self::up).
    ///
    /// # Cancel safety
    /// As [`up`](Self::up).
    pub async fn up_by(&self, n: u32) -> Result<Report, Error> {
        let known = self.known().await?;
        self.refuse_findings(&known)?;
        if !needs_work(&known) {
            return Ok(Report::default());
        }
        let mut work = self.begin().await?;
        let outcome = self.climb(&mut work, n).await;
        self.end(work, outcome).await
    }

    /// Takes the last `n` applied migrations back, newest first.
    ///
    /// # Errors
    /// As [`up`](Self::up); also for a migration that has no way down.
    ///
    /// # Cancel safety
    /// As [`up`](Self::up).
    pub async fn down(&self, n: u32) -> Result<Report, Error> {
        let mut work = self.begin().await?;
        let outcome = self.descend(&mut work, n).await;
        self.end(work, outcome).await
    }

    /// Takes all migrations back.
    ///
    /// # Errors
    /// As [`down`](Self::down).
    ///
    /// # Cancel safety
    /// As [`up`](Self::up).
    pub async fn reset(&self) -> Result<Report, Error> {
        self.down(u32::MAX).await
    }

    /// Takes all migrations back and applies them again.
    ///
    /// # Errors
    /// As [`down`](Self::down) and [`up`](Self::up).
    ///
    /// # Cancel safety
    /// As [`up`](Self::up).
    pub async fn refresh(&self) -> Result<Report, Error> {
        let mut work = self.begin().await?;
        let outcome = async {
            let mut report = self.descend(&mut work, u32::MAX).await?;
            report.steps.extend(self.climb(&mut work, u32::MAX).await?.steps);
            Ok(report)
        }
        .await;
        self.end(work, outcome).await
    }

    /// Drops everything in the schema that is not an extension's, in one transaction, and applies all migrations.
    ///
    /// # Errors
    /// As [`up`](Self::up); the drop fails as a whole where an object belongs to another role.
    ///
    /// # Cancel safety
    /// As [`up`](Self::up).
    pub async fn fresh(&self) -> Result<Report, Error> {
        let mut work = self.begin().await?;
        let outcome = async {
            crate::fresh::drop_everything(&work.place.connection, &self.ledger.lock_table()).await?;
            self.ledger.install::<M, _>(&work.place.connection).await?;
            self.climb(&mut work, u32::MAX).await
        }
        .await;
        self.end(work, outcome).await
    }

    /// Every migration, known to the program or to the database, and what is wrong with it. Writes nothing, and needs
    /// no right but to read SeaORM's table.
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn status(&self) -> Result<Vec<Status>, Error> {
        let known = self.known().await?;
        let mut names = known.names();
        names.extend(
            known
                .entries
                .iter()
                .map(|entry| entry.name.clone())
                .filter(|name| !known.migrations.iter().any(|migration| migration.name() == name)),
        );
        Ok(names
            .into_iter()
            .map(|name| {
                let entry = known.entry(&name);
                Status {
                    state: known.state(&name),
                    applied_at: entry.and_then(|entry| entry.applied_at),
                    duration_ms: entry
                        .and_then(|entry| entry.duration)
                        .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                    findings: known.findings(&name),
                    name,
                }
            })
            .collect())
    }

    /// What is wrong, by migration: changed, missing, out of order, interrupted, without a checksum (G4).
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn verify(&self) -> Result<Vec<(String, Finding)>, Error> {
        let status = self.status().await?;
        Ok(status
            .into_iter()
            .flat_map(|status| {
                let name = status.name;
                status.findings.into_iter().map(move |finding| (name.clone(), finding))
            })
            .collect())
    }

    /// The SQL that [`up_by`](Self::up_by) or [`down`](Self::down) would send to this database. Sends none of it (G6).
    ///
    /// # Errors
    /// Those of the database while it is asked what is applied.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn plan(&self, direction: Direction, n: u32) -> Result<Vec<Plan>, Error> {
        let known = self.known().await?;
        let mut plans = Self::plan_for(self.db.get_database_backend(), direction).await;
        plans.retain(|plan| match direction {
            Direction::Up => known.state(&plan.name) != State::Applied,
            Direction::Down => known.state(&plan.name) != State::Pending,
        });
        plans.truncate(usize::try_from(n).unwrap_or(usize::MAX));
        Ok(plans)
    }

    /// The SQL of all migrations for a backend, without a database.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn plan_for(backend: DbBackend, direction: Direction) -> Vec<Plan> {
        let mut plans: Vec<Plan> = record::<M>(backend, direction)
            .await
            .into_iter()
            .zip(M::migrations())
            .map(|(recorded, migration)| Plan {
                name: recorded.name,
                direction,
                transaction: runs_in_transaction(migration.as_ref(), backend, recorded.recording.as_ref().ok()),
                recording: recorded.recording,
            })
            .collect();
        if direction == Direction::Down {
            plans.reverse();
        }
        plans
    }

    /// Accepts an applied migration as it is now: its checksum is written anew.
    ///
    /// # Errors
    /// [`Error::Unknown`], and those of the database.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn accept(&self, name: &str) -> Result<(), Error> {
        let known = self.known().await?;
        let recorded = known.recorded(name).ok_or_else(|| Error::Unknown { name: name.to_owned() })?;
        if known.state(name) != State::Applied {
            return Err(Error::Unknown { name: name.to_owned() });
        }
        Ok(self.ledger.accept(&self.db, recorded).await?)
    }

    async fn known(&self) -> Result<Known, Error> {
        self.known_on(&self.db).await
    }

    async fn known_on(&self, db: &DatabaseConnection) -> Result<Known, Error> {
        Ok(Known {
            migrations: M::migrations(),
            recorded: record::<M>(self.db.get_database_backend(), Direction::Up).await,
            entries: self.ledger.entries(db).await?,
        })
    }

    fn refuse_findings(&self, known: &Known) -> Result<(), Error> {
        let all: Vec<(String, Finding)> = known
            .entries
            .iter()
            .flat_map(|entry| known.findings(&entry.name).into_iter().map(|finding| (entry.name.clone(), finding)))
            .collect();
        let names = |wanted: fn(&Finding) -> bool| -> Vec<String> {
            all.iter().filter(|(_, finding)| wanted(finding)).map(|(name, _)| name.clone()).collect()
        };
        let missing = names(|finding| matches!(finding, Finding::Missing));
        if !missing.is_empty() && !self.options.allow_missing {
            return Err(Error::Missing { names: missing });
        }
        let changed = names(|finding| matches!(finding, Finding::Changed { .. }));
        if !changed.is_empty() && !self.options.allow_changed {
            return Err(Error::Changed { names: changed });
        }
        Ok(())
    }

    async fn begin(&self) -> Result<Work, Error> {
        let lock = Lock::take(&self.db, &self.options, &self.ledger, self.tell.as_ref()).await?;
        let mut place = Workplace::open(&self.db, &self.options, &self.options.runner_name(), lock.guard()).await?;
        let failed: Arc<Mutex<Option<String>>> = Arc::default();
        if place.own {
            let failed = failed.clone();
            place.connection.set_metric_callback(move |info| {
                if info.failed {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.statement.sql.clone());
                }
            });
        }
        let work = Work { lock, place, failed };
        match self.ledger.install::<M, _>(&work.place.connection).await {
            Ok(()) => Ok(work),
            Err(error) => self.end(work, Err(error.into())).await,
        }
    }

    /// Closes the working connections before the lock is given back, whatever the outcome was.
    async fn end<T>(&self, work: Work, outcome: Result<T, Error>) -> Result<T, Error> {
        let closed = work.place.close().await;
        let released = work.lock.release().await;
        let value = outcome?;
        closed?;
        released?;
        Ok(value)
    }

    async fn climb(&self, work: &mut Work, n: u32) -> Result<Report, Error> {
        // Again, under the lock: another runner may have been here.
        let known = self.known_on(&work.place.connection).await?;
        self.refuse_findings(&known)?;
        for entry in known.entries.iter().filter(|entry| !entry.known_to_ledger) {
            if let Some(recorded) = known.recorded(&entry.name) {
                self.ledger.adopt(&work.place.connection, recorded).await?;
            }
        }
        let pending: Vec<_> =
            known.migrations.iter().filter(|migration| known.state(migration.name()) != State::Applied).collect();
        let of = pending.len().min(usize::try_from(n).unwrap_or(usize::MAX));
        let mut report = Report::default();
        for (index, migration) in pending.into_iter().take(of).enumerate() {
            report.steps.push(self.step(work, &known, migration.as_ref(), Direction::Up, (index, of)).await?);
        }
        Ok(report)
    }

    async fn descend(&self, work: &mut Work, n: u32) -> Result<Report, Error> {
        let known = self.known_on(&work.place.connection).await?;
        let missing: Vec<String> = known
            .entries
            .iter()
            .filter(|entry| !known.migrations.iter().any(|migration| migration.name() == entry.name))
            .map(|entry| entry.name.clone())
            .collect();
        if !missing.is_empty() {
            return Err(Error::Missing { names: missing });
        }
        let applied: Vec<_> =
            known.migrations.iter().rev().filter(|migration| known.state(migration.name()) != State::Pending).collect();
        let of = applied.len().min(usize::try_from(n).unwrap_or(usize::MAX));
        let mut report = Report::default();
        for (index, migration) in applied.into_iter().take(of).enumerate() {
            report.steps.push(self.step(work, &known, migration.as_ref(), Direction::Down, (index, of)).await?);
        }
        Ok(report)
    }

    async fn step(
        &self,
        work: &mut Work,
        known: &Known,
        migration: &dyn MigrationTrait,
        direction: Direction,
        (index, of): (usize, usize),
    ) -> Result<Step, Error> {
        let name = migration.name().to_owned();
        (self.tell)(&Event::Started { name: name.clone(), direction, index, of });
        let since = Instant::now();
        let unrecorded = || Recorded { name: name.clone(), recording: Err("not known".to_owned()) };
        let recorded = known.recorded(&name).cloned().unwrap_or_else(unrecorded);
        let backend = self.db.get_database_backend();
        if runs_in_transaction(migration, backend, recorded.recording.as_ref().ok()) {
            self.step_in_transaction(work, migration, &recorded, direction).await?;
        } else {
            self.step_without_transaction(work, known, migration, &recorded, direction).await?;
        }
        let took = since.elapsed();
        (self.tell)(&Event::Finished { name: name.clone(), direction, took });
        Ok(Step { name, direction, took })
    }

    /// Tries again where a lock could not be had within the lock timeout: each try waits no longer than that, so those
    /// who queue behind it do not either (G7).
    async fn step_in_transaction(
        &self,
        work: &mut Work,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
    ) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.try_in_transaction(work, migration, recorded, direction).await {
                Err(Error::Failed { source, .. })
                    if is_lock_timeout(&source) && attempt < self.options.lock_attempts =>
                {
                    (self.tell)(&Event::Retrying { name: recorded.name.clone(), attempt, error: source.to_string() });
                    tokio::time::sleep(self.options.pause_before(attempt)).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_in_transaction(
        &self,
        work: &mut Work,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
    ) -> Result<(), Error> {
        let since = Instant::now();
        let transaction = begin_immediate(&work.place.connection)
            .await
            .map_err(|source| failure(&recorded.name, direction, None, None, source))?;
        let backend_pid = self.guard_transaction(work, &transaction, &recorded.name).await?;
        *work.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(source) = direction.run(migration, &SchemaManager::new(&transaction)).await {
            let statement = self.guilty_statement(work, backend_pid, &transaction).await;
            // The migration's error is the one to tell of; a rollback that fails ends with the connection.
            let _ = transaction.rollback().await;
            let statement = match statement {
                None => self.replay(work, recorded, direction, &source).await,
                known => known,
            };
            return Err(failure(&recorded.name, direction, statement, None, source));
        }
        match direction {
            Direction::Up => {
                self.ledger.applied(&transaction, recorded, since.elapsed(), &self.options.runner_name()).await?;
            }
            Direction::Down => self.ledger.reverted(&transaction, &recorded.name).await?,
        }
        if !work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: recorded.name.clone() });
        }
        match transaction.commit().await {
            Ok(()) => Ok(()),
            // The answer to COMMIT may have been lost on the way; the table knows.
            Err(source) => match self.ledger.is_applied(&self.db, &recorded.name).await {
                Ok(applied) if applied == (direction == Direction::Up) => Ok(()),
                _ => Err(failure(&recorded.name, direction, None, None, source)),
            },
        }
    }

    async fn guard_transaction(
        &self,
        work: &Work,
        transaction: &sea_orm::DatabaseTransaction,
        name: &str,
    ) -> Result<Option<i32>, Error> {
        if !work.lock.is_held(transaction).await? {
            return Err(Error::LockLost { migration: name.to_owned() });
        }
        match self.db.get_database_backend() {
            DbBackend::Postgres => {
                Ok(Some(ledger::one(transaction, "SELECT pg_backend_pid()", []).await?.try_get_by_index(0)?))
            }
            _ => Ok(None),
        }
    }

    /// The statement that failed: PostgreSQL still shows it; SeaORM reports those it built.
    async fn guilty_statement(
        &self,
        work: &Work,
        backend_pid: Option<i32>,
        _open: &sea_orm::DatabaseTransaction,
    ) -> Option<String> {
        let reported = work.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match work.lock.last_statement(backend_pid).await {
            None => reported,
            shown => shown,
        }
    }

    /// SQLite does not say which statement failed. A recorded migration is sent once more, statement by statement, until
    /// it fails in the same way, and rolled back.
    async fn replay(&self, work: &Work, recorded: &Recorded, direction: Direction, error: &DbErr) -> Option<String> {
        if direction == Direction::Down || self.db.get_database_backend() != DbBackend::Sqlite {
            return None;
        }
        let statements = recorded.recording.as_ref().ok()?.as_list()?;
        let transaction = begin_immediate(&work.place.connection).await.ok()?;
        let mut guilty = None;
        for statement in statements {
            if let Err(again) = send_one(&transaction, statement).await {
                guilty = (again.to_string() == error.to_string()).then(|| statement.sql.clone());
                break;
            }
        }
        transaction.rollback().await.ok()?;
        guilty
    }

    async fn step_without_transaction(
        &self,
        work: &mut Work,
        known: &Known,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
    ) -> Result<(), Error> {
        let since = Instant::now();
        work.lock.keep_alive(&self.db);
        let name = &recorded.name;
        let db = work.place.connection.clone();
        let way = match direction {
            Direction::Up => recorded.recording.clone().ok(),
            Direction::Down => recording_of::<M>(self.db.get_database_backend(), name).await,
        };
        let course = Course::of(known.entry(name), direction, way.as_ref());
        if let Some(done) = course.resumed_at {
            (self.tell)(&Event::Resumed { name: name.clone(), done });
        }
        let runner = self.options.runner_name();
        let note = async |done: u64| {
            let checksum = way.as_ref().map(|way| way.checksum_of_first(done));
            let state = direction.marker();
            let note = Note { name, state, checksum, statements_done: done, took: None, runner: &runner };
            self.ledger.note(&db, &note).await
        };
        let start = course.resumed_at.unwrap_or(0);
        note(start).await?;
        if let Some(statements) = way.as_ref().and_then(Recording::as_list) {
            for (index, statement) in (0_u64..).zip(&statements).skip_while(|(index, _)| *index < start) {
                if let Err(source) = send_alone(&db, statement, course.forgives(index)).await {
                    return Err(failure(name, direction, Some(statement.sql.clone()), Some(index), source));
                }
                note(index + 1).await?;
            }
        } else if let Err(source) = direction.run(migration, &SchemaManager::new(&db)).await {
            let statement = work.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(failure(name, direction, statement, Some(0), source));
        }
        let transaction = begin_immediate(&db).await?;
        if !work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: name.clone() });
        }
        match direction {
            Direction::Up => self.ledger.applied(&transaction, recorded, since.elapsed(), &runner).await?,
            Direction::Down => self.ledger.reverted(&transaction, name).await?,
        }
        Ok(transaction.commit().await?)
    }
}

impl Direction {
    fn in_progress(self) -> State {
        match self {
            Self::Up => State::Applying,
            Self::Down => State::Reverting,
        }
    }

    fn marker(self) -> &'static str {
        match self {
            Self::Up => "applying",
            Self::Down => "reverting",
        }
    }
}

/// Where a migration without a transaction is taken up, and what may be found done already.
struct Course {
    resumed_at: Option<u64>,
    /// It goes down from half-way up: any of what it takes back may not be there.
    from_half_way: bool,
}

impl Course {
    fn of(entry: Option<&Entry>, direction: Direction, way: Option<&Recording>) -> Self {
        // Taken up only if what was done then is what would be done now: the rest may have been corrected since.
        let resumed_at = entry
            .filter(|entry| entry.state == direction.in_progress())
            .filter(|entry| entry.checksum == way.map(|way| way.checksum_of_first(entry.statements_done)))
            .map(|entry| entry.statements_done);
        let from_half_way = direction == Direction::Down && entry.is_some_and(|entry| entry.state == State::Applying);
        Self { resumed_at, from_half_way }
    }

    /// The first statement of a resumed run may have been done without being noted.
    fn forgives(&self, index: u64) -> bool {
        self.from_half_way || self.resumed_at == Some(index)
    }
}

async fn recording_of<M: MigratorTrait>(backend: DbBackend, name: &str) -> Option<Recording> {
    let recorded = record::<M>(backend, Direction::Down).await;
    recorded.into_iter().find(|recorded| recorded.name == name)?.recording.ok()
}

fn needs_work(known: &Known) -> bool {
    known.migrations.iter().any(|migration| known.state(migration.name()) != State::Applied)
        || known.entries.iter().any(|entry| !entry.known_to_ledger)
}

fn failure(name: &str, direction: Direction, statement: Option<String>, left: Option<u64>, source: DbErr) -> Error {
    Error::Failed { migration: name.to_owned(), direction, statement, left, source }
}

/// A transaction unless the migration says otherwise: both backends have transactional DDL. (SeaORM takes none on
/// SQLite by default.)
pub(crate) fn wants_transaction(migration: &dyn MigrationTrait, backend: DbBackend) -> bool {
    migration.use_transaction().unwrap_or(matches!(backend, DbBackend::Postgres | DbBackend::Sqlite))
}

/// A migration that leaves the choice to the backend was written for SeaORM's convention, which is none on SQLite: one
/// that sends what cannot be sent in a transaction there gets none.
fn runs_in_transaction(migration: &dyn MigrationTrait, backend: DbBackend, recording: Option<&Recording>) -> bool {
    let left_open = migration.use_transaction().is_none() && backend == DbBackend::Sqlite;
    wants_transaction(migration, backend) && !(left_open && recording.is_some_and(Recording::shuns_transactions))
}

async fn send_one<C: ConnectionTrait>(db: &C, statement: &Statement) -> Result<(), DbErr> {
    if statement.values.is_some() {
        db.execute_raw(statement.clone()).await.map(|_| ())
    } else {
        send(db, &statement.sql).await
    }
}

/// One statement of a migration without a transaction.
///
/// `CREATE INDEX CONCURRENTLY` leaves an invalid index when it fails; it is dropped, before and after. Where it is
/// `forgiving`, "already there" and "not there" are what they are to be.
async fn send_alone(db: &DatabaseConnection, statement: &Statement, forgiving: bool) -> Result<(), DbErr> {
    let index = concurrent_index(&statement.sql);
    if let Some(index) = &index {
        drop_invalid(db, index).await?;
    }
    match send_one(db, statement).await {
        Ok(()) => Ok(()),
        Err(error) if forgiving && is_done_already(&error) => Ok(()),
        Err(error) => {
            if let Some(index) = &index {
                // The error of the statement is the one to tell of; the next run drops what this did not.
                let _ = drop_invalid(db, index).await;
            }
            Err(error)
        }
    }
}

/// The name in `CREATE [UNIQUE] INDEX CONCURRENTLY [IF NOT EXISTS] name`.
fn concurrent_index(sql: &str) -> Option<String> {
    let words: Vec<String> = Words::of(sql).take(9).collect();
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("CONCURRENTLY"))?;
    if !words.first()?.eq_ignore_ascii_case("CREATE") {
        return None;
    }
    words[at + 1..]
        .iter()
        .find(|word| !["IF", "NOT", "EXISTS"].iter().any(|noise| noise.eq_ignore_ascii_case(word)))
        .cloned()
}

async fn drop_invalid(db: &DatabaseConnection, index: &str) -> Result<(), DbErr> {
    let sql = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
        WHERE c.relname = $1 AND pg_table_is_visible(c.oid) AND NOT i.indisvalid";
    let found = ledger::one(db, sql, [index.into()]).await?.try_get_by_index::<i64>(0)?;
    if found > 0 {
        send(db, &format!(r#"DROP INDEX CONCURRENTLY "{}""#, index.replace('"', "\"\""))).await?;
    }
    Ok(())
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
