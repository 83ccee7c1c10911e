//! The runner: applies migrations once, whole, one runner at a time, and says what it did.
//!
//! What it is for: everything that SeaORM's migrator leaves to the operator (HAZARDS Z19): the lock, the timeouts, the
//! transaction of each migration together with its record, the checksums, the resumption of what cannot run in a
//! transaction. What it must never do: change a migration's meaning. A migration's own code runs, on a connection of
//! SeaORM's type; only one that asked for no transaction and is a plain list of statements is sent from its recording, so
//! that it can be taken up in the middle.

mod resumable;
mod stepwise;
mod transaction;

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use sea_session::Db;

use crate::{
    dialect::{self, Dialect, SeaBackend},
    direction::Direction,
    error::Error,
    findings::{Finding, Known, Status},
    ledger::{Ledger, Note},
    lock::{Lock, Wanted},
    options::{Event, Options},
    record::{Recorded, Recording, record, wants_transaction},
    report::{Plan, Report, Step},
    sql::send,
    state::State,
    workplace::{MOST, Workplace},
};

/// Applies the migrations of `M` to one database.
///
/// ```no_run
/// # async fn f<M: sea_orm_migration::MigratorTrait>(db: sea_orm::DatabaseConnection) -> Result<(), sea_session_migration::Error> {
/// use sea_session_migration::Runner;
///
/// let report = Runner::<M>::new(db).up().await?;          // at the start of each replica: one migrates, the others wait
/// println!("{} migrations applied", report.steps.len());
/// # Ok(()) }
/// ```
pub struct Runner<M> {
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

/// What a run under the lock works with.
struct Work {
    dialect: &'static dyn Dialect,
    lock: Box<dyn Lock>,
    place: Workplace,
    /// Statements that went wrong, as SeaORM reports them.
    failed: Arc<Mutex<Option<String>>>,
}

impl<M: MigratorTrait> Runner<M> {
    /// A runner of a SeaORM migrator as it is: `Runner::<Migrator>::new(db)`.
    pub fn new(db: impl Into<Db>) -> Self {
        Self {
            db: db.into().connection().clone(),
            options: Options::default(),
            ledger: Ledger::of::<M>(),
            tell: Arc::new(|event| tracing::info!(target: "sea_session_migration", "{event}")),
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

    /// Drops everything in the schema that is not an extension's, and applies all migrations. The drop is one transaction,
    /// but on MySQL and MariaDB, where each object goes by itself.
    ///
    /// # Errors
    /// As [`up`](Self::up); the drop fails as a whole where an object belongs to another role.
    ///
    /// # Cancel safety
    /// As [`up`](Self::up); on MySQL and MariaDB some of the schema may be left, and is dropped by the next `fresh`.
    pub async fn fresh(&self) -> Result<Report, Error> {
        let mut work = self.begin().await?;
        let outcome = async {
            work.dialect.drop_everything(&work.place.connection, &self.ledger.lock_table()).await?;
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

    /// The SQL of all migrations for a backend, without a database. Of a backend whose driver is not built in each plan says so.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn plan_for(backend: SeaBackend, direction: Direction) -> Vec<Plan> {
        let dialect = dialect::of(backend).ok();
        let in_transaction = |migration: &dyn MigrationTrait, recording: Option<&Recording>| {
            dialect.is_some_and(|dialect| runs_in_transaction(migration, dialect, recording))
        };
        let mut plans: Vec<Plan> = record::<M>(backend, direction)
            .await
            .into_iter()
            .zip(M::migrations())
            .map(|(recorded, migration)| Plan {
                name: recorded.name,
                direction,
                transaction: in_transaction(migration.as_ref(), recorded.recording.as_ref().ok()),
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

    /// Says of a migration that stopped half-way where an operator has brought the schema: `state` is [`State::Applied`] or
    /// [`State::Pending`]. It is what [`Error::Unsettled`] asks for.
    ///
    /// # Errors
    /// [`Error::NotInterrupted`] of one that did not stop half-way, [`Error::Unknown`] of one that this program does not know,
    /// [`Error::Unsupported`] for any other state; as [`up`](Self::up).
    ///
    /// # Cancel safety
    /// Safe: one transaction.
    pub async fn settle(&self, name: &str, state: State) -> Result<(), Error> {
        if !matches!(state, State::Applied | State::Pending) {
            return Err(Error::Unsupported("a migration is settled as applied or as pending".to_owned()));
        }
        let work = self.begin().await?;
        let outcome = self.settle_as(&work, name, state).await;
        self.end(work, outcome).await
    }

    async fn settle_as(&self, work: &Work, name: &str, state: State) -> Result<(), Error> {
        let known = self.known_on(&work.place.connection).await?;
        let recorded = known.recorded(name).ok_or_else(|| Error::Unknown { name: name.to_owned() })?;
        if !matches!(known.state(name), State::Applying | State::Reverting) {
            return Err(Error::NotInterrupted { name: name.to_owned() });
        }
        let transaction = work.dialect.begin(&work.place.connection).await?;
        let runner = self.options.runner_name();
        match state {
            State::Applied if self.ledger.is_applied(&transaction, name).await? => {
                self.ledger.note(&transaction, &Note::applied(recorded, None, &runner)).await?;
            }
            State::Applied => self.ledger.applied(&transaction, recorded, None, &runner).await?,
            _ => self.ledger.reverted(&transaction, name).await?,
        }
        if !work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: name.to_owned() });
        }
        Ok(transaction.commit().await?)
    }

    /// What is asked of the backend.
    fn dialect(&self) -> Result<&'static dyn Dialect, Error> {
        dialect::of(self.db.get_database_backend()).map_err(|_| Error::Unsupported(dialect::no_driver()))
    }

    async fn known(&self) -> Result<Known, Error> {
        self.known_on(&self.db).await
    }

    async fn known_on(&self, db: &DatabaseConnection) -> Result<Known, Error> {
        self.dialect()?;
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
        let dialect = self.dialect()?;
        let (db, options, table) = (&self.db, &self.options, self.ledger.table.as_str());
        let lock = dialect.lock(Wanted { db, options, table, tell: self.tell.as_ref() }).await?;
        // Settings of a migration are its connection's: where it goes statement by statement, all go on one.
        let most = if dialect.commits().is_some() { 1 } else { MOST };
        let mut place = Workplace::open(dialect, db, options, lock.guard(), most).await?;
        let failed: Arc<Mutex<Option<String>>> = Arc::default();
        if place.own {
            let failed = failed.clone();
            place.connection.set_metric_callback(move |info| {
                if info.failed {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.statement.sql.clone());
                }
            });
        }
        let work = Work { dialect, lock, place, failed };
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
        match work.dialect.commits() {
            Some(commits) => self.step_that_commits(work, known, migration, &recorded, direction, commits).await?,
            None if runs_in_transaction(migration, work.dialect, recorded.recording.as_ref().ok()) => {
                self.step_in_transaction(work, migration, &recorded, direction).await?;
            }
            None => self.step_without_transaction(work, known, migration, &recorded, direction).await?,
        }
        let took = since.elapsed();
        (self.tell)(&Event::Finished { name: name.clone(), direction, took });
        Ok(Step { name, direction, took })
    }

    /// Whether what could not have a lock in time is tried again; waits before it says so. Each try waits no longer than the
    /// lock timeout, so those who queue behind it do not either (G7).
    async fn tries_again(&self, work: &Work, name: &str, attempt: &mut u32, source: &DbErr) -> bool {
        if !work.dialect.timed_out(source) || *attempt >= self.options.lock_attempts {
            return false;
        }
        (self.tell)(&Event::Retrying { name: name.to_owned(), attempt: *attempt, error: source.to_string() });
        tokio::time::sleep(self.options.pause_before(*attempt)).await;
        *attempt += 1;
        true
    }
}

/// What a migration sends in this direction, if that is known.
async fn recording_of<M: MigratorTrait>(
    backend: SeaBackend,
    recorded: &Recorded,
    direction: Direction,
) -> Option<Recording> {
    match direction {
        Direction::Up => recorded.recording.clone().ok(),
        Direction::Down => {
            let down = record::<M>(backend, Direction::Down).await;
            down.into_iter().find(|down| down.name == recorded.name)?.recording.ok()
        }
    }
}

fn needs_work(known: &Known) -> bool {
    known.migrations.iter().any(|migration| known.state(migration.name()) != State::Applied)
        || known.entries.iter().any(|entry| !entry.known_to_ledger)
}

fn failure(name: &str, direction: Direction, statement: Option<String>, left: Option<u64>, source: DbErr) -> Error {
    Error::Failed { migration: name.to_owned(), direction, statement, left, source }
}

/// A migration that leaves the choice to the backend was written for SeaORM's convention, which is none on SQLite: one
/// that sends what cannot be sent in a transaction there gets none. Where statements commit by themselves, a transaction holds
/// what changes rows only.
fn runs_in_transaction(migration: &dyn MigrationTrait, dialect: &dyn Dialect, recording: Option<&Recording>) -> bool {
    if let Some(commits) = dialect.commits() {
        let list = recording.and_then(Recording::as_list);
        let rows_only = |list: Vec<&Statement>| list.iter().all(|statement| commits.changes_rows_only(&statement.sql));
        return migration.use_transaction() != Some(false) && list.is_some_and(rows_only);
    }
    let shuns = |recording: &Recording| recording.statements().any(|one| dialect.shuns_transactions(&one.sql));
    let left_open = migration.use_transaction().is_none();
    wants_transaction(migration, dialect) && !(left_open && recording.is_some_and(shuns))
}

async fn send_one<C: ConnectionTrait>(db: &C, statement: &Statement) -> Result<(), DbErr> {
    if statement.values.is_some() {
        db.execute_raw(statement.clone()).await.map(|_| ())
    } else {
        send(db, &statement.sql).await
    }
}
