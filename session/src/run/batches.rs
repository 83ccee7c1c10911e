//! Many items, one unit of work per batch (B6): short transactions, progress, and a point to go on from.
//!
//! The driver keeps the items of a batch until it knows that they were committed. It never runs a batch again whose COMMIT
//! may have worked: that is for the caller to find out ([`Batches::resolve`]).

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::options::UnitOptions;
use crate::{
    connection::db::Db,
    error::Error,
    stats::Stats,
    unit::{
        body::BatchBody,
        fate::{Fate, FateCell},
        predicate::{AboutAny, Accepts},
        session::{Body, Session, keep},
    },
};

/// How far the work has come, after each batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The batch that was just done, counted from 1.
    pub batch: u64,
    /// How many items it had.
    pub items: usize,
    /// How many items are done in all.
    pub done: u64,
    /// Time since the first batch began, pauses included.
    pub elapsed: Duration,
}

/// Why a batch failed, and how far the work had come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchError<E> {
    /// The batch that failed, counted from 1.
    pub batch: u64,
    /// How many items are done in all; after [`Fate::Committed`] those of this batch too.
    pub done: u64,
    /// What became of the batch: mostly rolled back; committed, if only what came after the commit failed.
    pub fate: Fate,
    /// The body's error, or the database's.
    pub cause: E,
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = match self.fate {
            Fate::RolledBack => "failed and was rolled back",
            Fate::Committed => "was committed, but failed afterwards",
            Fate::Unknown => "may have been committed or not",
        };
        write!(f, "batch {} {fate} ({} items are done): {}", self.batch, self.done, self.cause)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for BatchError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<BatchError<Error>> for Error {
    /// The cause, for a caller who asks the driver how far it came.
    fn from(e: BatchError<Error>) -> Self {
        e.cause
    }
}

type OnProgress = Box<dyn FnMut(&Progress) + Send>;

/// Items that are worked through in batches, one unit of work each; made by [`Db::batches`] and [`UnitOptions::batches`].
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = example().await?;
/// use std::time::Duration;
///
/// let titles = (0..10).map(|n| format!("note {n}"));
/// let mut import = db
///     .session()
///     .retry(3)
///     .batches(titles, 4, Duration::from_millis(1))
///     .on_progress(|p| println!("{} done in {:?}", p.done, p.elapsed));
/// let done = import
///     .run(async |s: &mut Session, titles: &[String]| -> Result<(), Error> {
///         for title in titles {
///             s.add(draft(title));
///         }
///         Ok(())
///     })
///     .await?;
/// assert_eq!(done, 10);                                    // in three units: 4, 4 and 2
/// assert_eq!(note::Entity::find().count(db.connection()).await?, 11);
/// # Ok(())
/// # }
/// ```
#[must_use = "batches do nothing until `.run(…)` or `.step(…)`"]
pub struct Batches<I: Iterator, Q = AboutAny> {
    options: UnitOptions<Q>,
    items: I,
    size: usize,
    pause: Duration,
    on_progress: Option<OnProgress>,
    /// The batch that is next, or under way; kept until it is known to be done.
    batch: Vec<I::Item>,
    /// Batches that are behind us, done or skipped.
    behind: u64,
    done: u64,
    started: Option<Instant>,
    /// A batch was done since the last pause.
    pause_due: bool,
    /// Of the batch that was under way when `step` was last left.
    fate_cell: Option<FateCell>,
}

impl<I: Iterator, Q> fmt::Debug for Batches<I, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("size", &self.size)
            .field("pause", &self.pause)
            .field("behind", &self.behind)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Works through `items` in batches of `size`, one unit of work each with the default options, and waits for `pause`
    /// between them. See [`Batches`].
    pub fn batches<I: IntoIterator>(&self, items: I, size: usize, pause: Duration) -> Batches<I::IntoIter> {
        self.session().batches(items, size, pause)
    }
}

impl<Q> UnitOptions<Q> {
    /// Works through `items` in batches of `size`, one unit of work each with these options (retries too), and waits for
    /// `pause` between them, by the clock of [`crate::Retry::sleep_with`]. See [`Batches`].
    ///
    /// `items` is read a batch at a time, so it may be longer than memory.
    pub fn batches<I: IntoIterator>(self, items: I, size: usize, pause: Duration) -> Batches<I::IntoIter, Q> {
        Batches {
            options: self,
            items: items.into_iter(),
            size,
            pause,
            on_progress: None,
            batch: Vec::new(),
            behind: 0,
            done: 0,
            started: None,
            pause_due: false,
            fate_cell: None,
        }
    }
}

impl<I: Iterator, Q> Batches<I, Q> {
    /// Calls `report` after each batch.
    pub fn on_progress(mut self, report: impl FnMut(&Progress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(report));
        self
    }

    /// How many items are done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// The batch that is next, or that failed, counted from 1.
    pub fn batch(&self) -> u64 {
        self.behind + 1
    }

    /// The numbers of all units so far (L2).
    pub fn stats(&self) -> Stats {
        self.options.stats()
    }

    /// Gives up the batch that failed, or that is next: [`Batches::run`] goes on after it. Returns its items, which do not
    /// count as done.
    pub fn skip(&mut self) -> Vec<I::Item> {
        self.count_what_was_committed();
        self.fate_cell = None;
        if self.batch.is_empty() {
            self.batch = self.items.by_ref().take(self.size).collect();
        }
        self.behind += u64::from(!self.batch.is_empty());
        std::mem::take(&mut self.batch)
    }

    /// Says what became of a batch whose fate was [`Fate::Unknown`]: committed, so that it counts as done, or not, so that it
    /// is run again. Of any other batch the driver knows better, and nothing happens.
    pub fn resolve(&mut self, committed: bool) {
        if self.fate_cell.as_ref().is_some_and(|cell| cell.fate() == Fate::Unknown) {
            self.fate_cell = None;
            if committed {
                self.advance();
            }
        }
    }

    /// The items that are not done: those of the batch that failed, and what follows.
    pub fn into_rest(mut self) -> impl Iterator<Item = I::Item> {
        self.count_what_was_committed();
        self.batch.into_iter().chain(self.items)
    }

    /// A step that was dropped after its COMMIT was answered did its batch.
    fn count_what_was_committed(&mut self) {
        if self.fate_cell.as_ref().is_some_and(|cell| cell.fate() == Fate::Committed) {
            self.advance();
        }
    }

    /// The batch under way is done.
    fn advance(&mut self) -> Progress {
        self.fate_cell = None;
        self.pause_due = true;
        let items = std::mem::take(&mut self.batch).len();
        self.behind += 1;
        self.done += items as u64;
        let elapsed = self.started.map(|started| started.elapsed()).unwrap_or_default();
        let progress = Progress { batch: self.behind, items, done: self.done, elapsed };
        tracing::debug!(batch = progress.batch, items, done = progress.done, "a batch is done");
        if let Some(report) = &mut self.on_progress {
            report(&progress);
        }
        progress
    }
}

impl<I, Q> Batches<I, Q>
where
    I: Iterator<Item: Send + Sync> + Send,
{
    /// Runs all batches that are not done yet, one unit of work each, and returns how many items are done in all.
    ///
    /// After an error it may be called again, with the same body or another: it goes on with the batch that failed. The
    /// body gets the session and the items of its batch; like the body of [`UnitOptions::run`] it may be called more than
    /// once for them. A batch that calls `set_rollback(true)` and ends well is rolled back and counts as done.
    ///
    /// # Errors
    /// What the body returns, or what the database says, with the batch that failed and how many items were done before;
    /// an option that this backend cannot carry out; a `size` of 0. If the fate of the last batch is not known, every
    /// further call says so until [`Batches::resolve`] or [`Batches::skip`].
    ///
    /// # Cancel safety
    /// Safe: the batch that runs is rolled back, and a further call runs it again. Dropped while COMMIT was under way, that
    /// batch is [`Fate::Unknown`], and a further call says so.
    pub async fn run<E, F>(&mut self, body: F) -> Result<u64, BatchError<E>>
    where
        F: for<'a> BatchBody<&'a mut Session, &'a [I::Item], Result<(), E>, Fut: Send> + Sync,
        E: From<Error> + Send + 'static,
        Q: Accepts<E>,
    {
        while self.step(&body).await?.is_some() {}
        Ok(self.done)
    }

    /// Runs the next batch; `None` if there is none. For a loop of your own, which can stop between batches.
    ///
    /// # Errors
    /// As [`Batches::run`].
    ///
    /// # Cancel safety
    /// As [`Batches::run`].
    pub async fn step<E, F>(&mut self, body: &F) -> Result<Option<Progress>, BatchError<E>>
    where
        F: for<'a> BatchBody<&'a mut Session, &'a [I::Item], Result<(), E>, Fut: Send> + Sync,
        E: From<Error> + Send + 'static,
        Q: Accepts<E>,
    {
        self.begin()?;
        if self.batch.is_empty() {
            return Ok(None);
        }
        if self.pause_due {
            self.options.pause(self.pause).await;
            self.pause_due = false;
        }
        let cell = FateCell::default();
        self.fate_cell = Some(cell.clone());
        let whole = Body::new((body, &*self.batch), |(body, items), session, value| keep(body(session, items), value));
        let outcome = self.options.run_noting_fate(cell.clone(), whole).await;
        let (batch, fate) = (self.batch(), cell.fate());
        let progress = (outcome.is_ok() || fate == Fate::Committed).then(|| self.advance());
        match outcome {
            Ok(()) => Ok(progress),
            Err(cause) => Err(BatchError { batch, done: self.done, fate, cause }),
        }
    }

    /// Makes the next batch ready, if there is one.
    fn begin<E: From<Error>>(&mut self) -> Result<(), BatchError<E>> {
        self.started.get_or_insert_with(Instant::now);
        self.count_what_was_committed();
        let refuse = |fate, why: String| {
            Err(BatchError { batch: self.behind + 1, done: self.done, fate, cause: Error::usage(why).into() })
        };
        if self.size == 0 {
            return refuse(Fate::RolledBack, "batches of 0 items would never end".into());
        }
        if self.fate_cell.as_ref().is_some_and(|cell| cell.fate() == Fate::Unknown) {
            return refuse(
                Fate::Unknown,
                "whether this batch was committed is not known: look, then say so with `resolve`, or `skip` it".into(),
            );
        }
        self.fate_cell = None;
        if self.batch.is_empty() {
            self.batch = self.items.by_ref().take(self.size).collect();
        }
        Ok(())
    }
}
