//! What a unit of work did, in numbers (L2), and what it sent, in words (L3). Never holds a value of a row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

/// The numbers of one unit of work. All attempts of a retried unit are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Statements that do the caller's work (queries and flush statements).
    pub statements: u64,
    /// Messages that only move the transaction: BEGIN, SAVEPOINT, RELEASE, ROLLBACK, COMMIT.
    pub control: u64,
    /// Rows that were returned or changed.
    pub rows: u64,
    /// Look-ups answered by the identity map without SQL.
    pub hits: u64,
    /// Look-ups that had to ask the database.
    pub misses: u64,
    /// Flushes that had something to send.
    pub flushes: u64,
    /// Savepoints that were really sent.
    pub savepoints: u64,
    /// Further attempts after the first.
    pub retries: u64,
    /// Questions about tables to the catalogue: one for each table and pool, before its first write (D1). They are not
    /// among the statements, and no recorder keeps them.
    pub facts: u64,
    /// How the rows of flushes were sent (D2).
    pub paths: Paths,
    /// Where a unit that only reads ran, where there are replicas (U9). What was asked for it is not among the statements, and no
    /// recorder keeps it.
    pub routing: Routing,
    /// Time spent waiting for the database.
    pub waited: Duration,
}

/// How the rows of flushes were sent, in rows: the ways are chosen by what each table does to its rows (D2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paths {
    /// By binary COPY (PostgreSQL).
    pub copied: u64,
    /// In arrays, one a column (PostgreSQL).
    pub arrays: u64,
    /// In texts of many rows (SQLite).
    pub chunks: u64,
    /// One statement each.
    pub single: u64,
}

/// Where a unit that only reads ran, where there are replicas (U9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Routing {
    /// Attempts that ran on a replica.
    pub on_replica: u64,
    /// Replicas that were asked and had not replayed what the unit must see.
    pub passed_over: u64,
    /// Attempts that waited until a replica had, or for as long as was allowed.
    pub waits: u64,
    /// Questions to the primary how far its log was: one after a write.
    pub positions: u64,
}

/// One of the numbers of [`Routing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    OnReplica,
    PassedOver,
    Wait,
    Position,
}

/// One of the ways of [`Paths`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Copied,
    Arrays,
    Chunks,
    Single,
}

impl Stats {
    /// Messages sent, each waited for once: statements and control together.
    pub fn round_trips(&self) -> u64 {
        self.statements + self.control
    }
}

/// Shared by a unit's attempts, so that a retried unit reports the whole.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    statements: AtomicU64,
    control: AtomicU64,
    rows: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    flushes: AtomicU64,
    savepoints: AtomicU64,
    retries: AtomicU64,
    facts: AtomicU64,
    paths: [AtomicU64; 4],
    routing: [AtomicU64; 4],
    waited_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn sent(&self, control: bool, waited: Duration) {
        if control { &self.control } else { &self.statements }.fetch_add(1, Ordering::Relaxed);
        self.waited_ns.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn facts(&self, waited: Duration) {
        self.facts.fetch_add(1, Ordering::Relaxed);
        self.waited_ns.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn path(&self, path: Path, rows: usize) {
        self.paths[path as usize].fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn route(&self, route: Route) {
        self.routing[route as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rows(&self, n: u64) {
        self.rows.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn hits(&self, n: u64) {
        self.hits.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn savepoint(&self) {
        self.savepoints.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            statements: read(&self.statements),
            control: read(&self.control),
            rows: read(&self.rows),
            hits: read(&self.hits),
            misses: read(&self.misses),
            flushes: read(&self.flushes),
            savepoints: read(&self.savepoints),
            retries: read(&self.retries),
            facts: read(&self.facts),
            paths: Paths {
                copied: read(&self.paths[Path::Copied as usize]),
                arrays: read(&self.paths[Path::Arrays as usize]),
                chunks: read(&self.paths[Path::Chunks as usize]),
                single: read(&self.paths[Path::Single as usize]),
            },
            routing: Routing {
                on_replica: read(&self.routing[Route::OnReplica as usize]),
                passed_over: read(&self.routing[Route::PassedOver as usize]),
                waits: read(&self.routing[Route::Wait as usize]),
                positions: read(&self.routing[Route::Position as usize]),
            },
            waited: Duration::from_nanos(read(&self.waited_ns)),
        }
    }
}

/// Keeps the text of every message of a unit, in order, for tests and for looking (L3). Values are never kept, nor are the
/// questions about tables that the first write to each asks the catalogue (D1).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use sea_session::{Recorder, testing::assert_statements};
///
/// let recorder = Recorder::new();
/// db.session().record(&recorder).run(async |s: &mut Session| -> Result<(), Error> {
///     s.get::<note::Entity>(1).await?.expect("the example's note").set_stars(3);
///     Ok(())
/// }).await?;
/// let sent = assert_statements(4, &recorder);              // BEGIN, SELECT, UPDATE, COMMIT
/// assert!(sent[2].contains("UPDATE"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    /// An empty recorder; hand a clone to [`crate::UnitOptions::record`].
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&self, sql: &str) {
        self.0.lock().push(sql.to_owned());
    }

    /// What was sent so far, oldest first.
    pub fn statements(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// Empties the record and returns what it held.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}
