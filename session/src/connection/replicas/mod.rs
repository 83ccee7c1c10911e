//! Replicas (U9): units that only read go to a server that has replayed what this process last wrote, or to the primary after a
//! bounded wait.
//!
//! What was replayed is asked of the replica itself, in the message that begins the unit, and never deduced from an earlier answer:
//! a server that was started again is behind where it was. A unit must never see less than was written before it opened, and
//! must never fail because a replica did.

mod options;
mod replica;
mod written;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use smallvec::SmallVec;

pub(crate) use self::written::Write;
use self::{
    options::Patience,
    replica::{Answer, Question, Replica, first_answer},
    written::Writes,
};
pub use self::{options::Replicas, replica::ReplicaStats};
use super::{Reply, db::Db};
use crate::{
    dialect::{Driver, Position, Replication},
    error::Error,
    stats::{Counters, Route},
};

/// How long a unit waits before it asks again whether a replica has replayed what it must see: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The replicas of a pool.
pub(crate) struct ReplicaSet {
    replicas: Vec<Arc<Replica>>,
    patience: Patience,
    how: Replication,
    /// Units that were sent: each begins its search at the next replica.
    turn: AtomicUsize,
    writes: Writes,
}

/// What a unit that may run on a replica asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// What it must see, besides what this process has written.
    pub(crate) after: Option<Position>,
    /// Whether it says which isolation it has.
    pub(crate) isolated: bool,
}

/// A connection of a replica.
pub(crate) struct Placed {
    pub(crate) number: usize,
    pub(crate) driver: Box<dyn Driver>,
    /// The answer to the unit's BEGIN, if that was sent along.
    pub(crate) answer: Option<Result<Reply, Error>>,
}

/// Replicas in the order in which a unit asks them.
type InTurn<'a> = SmallVec<[&'a Arc<Replica>; 4]>;

impl Db {
    /// Sends units that only read to replicas of this database (U9), for all handles of this pool: those opened with
    /// [`read_only`](crate::UnitOptions::read_only), but for serializable ones, which no replica takes, and those that ask for the
    /// [primary](crate::UnitOptions::on_primary). All others stay on the primary.
    ///
    /// A unit sees what sessions of this pool had written before it opened: only a replica that has replayed that takes it. Of
    /// several they take turns. One that is behind is passed over; if all are, the unit waits for as long as
    /// [`Replicas::wait`] says, and then goes to the primary. One that cannot be reached, or follows no primary any more because it
    /// was promoted, is left out until it can be had again; if all are, units go to the primary at once. The question rides in the
    /// message that begins the unit; the first unit after a write asks the primary for its position besides.
    ///
    /// Of what is written past all sessions of this pool, tell it by [`Db::note_written`]; what another process has
    /// written is seen by [`UnitOptions::reads_after`](crate::UnitOptions::reads_after).
    ///
    /// Connect replicas with [`Db::connect`], as the primary: lazily (SeaORM's `connect_lazy`), if this process must start while
    /// one is down.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on SQLite, MySQL and MariaDB. [`Error::Usage`]: no replica was given, one is of another backend, is
    /// the primary's own pool or has replicas itself; or this pool has some already.
    pub fn replicas(self, replicas: impl Into<Replicas>) -> Result<Self, Error> {
        let how = self.dialect().need(self.dialect().replicas)?;
        let replicas = replicas.into();
        replicas.check(&self)?;
        let Replicas { databases, patience } = replicas;
        let numbered = databases.into_iter().enumerate().map(|(number, db)| Arc::new(Replica::new(number, db)));
        let set = ReplicaSet {
            replicas: numbered.collect(),
            patience,
            how,
            turn: AtomicUsize::new(0),
            writes: Writes::new(),
        };
        match self.keep_replicas(set) {
            true => Ok(self),
            false => Err(Error::usage("this pool has replicas already: give all of them at once")),
        }
    }

    /// The numbers of each replica, in the order in which [`Db::replicas`] was given them; none without replicas.
    pub fn replica_stats(&self) -> Vec<ReplicaStats> {
        let replicas = self.replica_set().map(|set| set.replicas.iter());
        replicas.into_iter().flatten().map(|replica| replica.stats()).collect()
    }

    /// Something was written past all sessions of this pool, and units that open from now on must see it (U9). Without replicas
    /// it does nothing.
    pub fn note_written(&self) {
        drop(self.writing());
    }

    /// How far the log of the primary is: behind all that this process has written, for another process that must see it, by
    /// [`UnitOptions::reads_after`](crate::UnitOptions::reads_after) (U9). Replicas are not needed here. It is asked of the
    /// primary, but not again before something is written, if this pool has replicas.
    ///
    /// # Errors
    /// The primary cannot be reached, or follows another server itself; [`Error::Unsupported`] on SQLite, MySQL and MariaDB.
    ///
    /// # Cancel safety
    /// Safe: nothing is left behind.
    pub async fn written(&self) -> Result<Position, Error> {
        let how = self.dialect().need(self.dialect().replicas)?;
        match self.replica_set() {
            Some(set) => set.written(self, None).await,
            None => ask_position(self, how).await,
        }
    }

    /// To be held while something is sent that may write; none without replicas.
    pub(crate) fn writing(&self) -> Option<Write> {
        self.replica_set().cloned().map(Write::new)
    }
}

/// Asks the primary for a position behind all that was committed before.
async fn ask_position(primary: &Db, how: Replication) -> Result<Position, Error> {
    let (connection, answer) = first_answer(primary, how.written).await?;
    let rows = answer?.rows();
    drop(connection.finish());
    let position = rows.first().map(|row| row.try_get::<String>("", "position")).transpose()?;
    position.ok_or_else(|| Error::usage("the primary said nothing about its log"))?.parse()
}

impl ReplicaSet {
    /// What tells whether a transaction has written.
    pub(crate) fn wrote(&self) -> &'static str {
        self.how.wrote
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        for replica in &self.replicas {
            replica.db.connection().close_by_ref().await?;
        }
        Ok(())
    }

    /// A position behind all that this process has written.
    async fn written(&self, primary: &Db, counters: Option<&Counters>) -> Result<Position, Error> {
        if let Some(position) = self.writes.position() {
            return Ok(position);
        }
        let count = self.writes.count();
        if let Some(counters) = counters {
            counters.route(Route::Position);
        }
        let position = ask_position(primary, self.how).await?;
        self.writes.learn(count, position);
        Ok(position)
    }

    /// Finds the replica that a unit runs on; none: the primary. `begin` is sent along.
    ///
    /// # Errors
    /// The primary had to be asked how far its log is, and cannot be reached.
    ///
    /// Cancel safety: a connection that a question was sent on goes back to its pool only if the answer has come.
    pub(crate) async fn place(
        &self,
        primary: &Db,
        reading: Reading,
        begin: Option<&str>,
        counters: &Counters,
    ) -> Result<Option<Placed>, Error> {
        let written = match self.written(primary, Some(counters)).await {
            Ok(written) => written,
            Err(e) if e.is_connection_lost() => return Err(e),
            Err(e) => {
                tracing::warn!(error = %e, "the primary does not say how far its log is: units that read go to it");
                return Ok(None);
            }
        };
        let check = (self.how.check)(reading.after.map_or(written, |after| after.max(written)));
        let question = Question {
            check: &check,
            isolated: reading.isolated,
            within: self.patience.reach_within,
            not_here: self.how.not_on_replicas,
        };
        let mut search = Search { set: self, question, late: InTurn::new(), waited: false };
        let placed = search.run(begin, counters).await;
        search.count(placed.as_ref(), counters);
        Ok(placed)
    }

    /// Those that are not left out; a unit later another one is the first.
    fn in_turn(&self, question: Question<'_>) -> InTurn<'_> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.replicas.len();
        let (later, sooner) = self.replicas.split_at(first);
        sooner.iter().chain(later).filter(|replica| replica.is_in(question, self.patience)).collect()
    }
}

/// A unit's search for a replica.
struct Search<'a> {
    set: &'a ReplicaSet,
    question: Question<'a>,
    /// Those that were asked, and could not take the unit at that time.
    late: InTurn<'a>,
    waited: bool,
}

impl<'a> Search<'a> {
    async fn run(&mut self, begin: Option<&str>, counters: &Counters) -> Option<Placed> {
        let patience = self.set.patience;
        let (until, mut pause) = (Instant::now() + patience.wait, FIRST_PAUSE);
        let mut behind = match self.ask(self.set.in_turn(self.question), begin).await {
            Ok(placed) => return Some(placed),
            Err(behind) => behind,
        };
        loop {
            behind.retain(|replica| replica.is_waited_for());
            let left = until.saturating_duration_since(Instant::now());
            if behind.is_empty() {
                return None;
            }
            if left.is_zero() {
                behind.iter().for_each(|replica| replica.waited_in_vain(patience));
                return None;
            }
            if !std::mem::replace(&mut self.waited, true) {
                counters.route(Route::Wait);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            behind = match self.ask(behind, None).await {
                Ok(placed) => return Some(placed),
                Err(behind) => behind,
            };
        }
    }

    /// Asks these, one after the other, until one can take the unit; or says which of them are behind.
    async fn ask(&mut self, replicas: InTurn<'a>, begin: Option<&str>) -> Result<Placed, InTurn<'a>> {
        let mut behind = InTurn::new();
        for replica in replicas {
            match replica.ask(self.question, begin).await {
                Answer::Ready(driver, answer) => return Ok(Placed { number: replica.number, driver, answer }),
                Answer::Gone(why) => replica.leave_out(&why, self.set.patience),
                answer => {
                    if !self.late.iter().any(|late| late.number == replica.number) {
                        self.late.push(replica);
                    }
                    behind.extend(matches!(answer, Answer::Behind).then_some(replica));
                }
            }
        }
        Err(behind)
    }

    /// Keeps the numbers of a search that is over.
    fn count(&self, placed: Option<&Placed>, counters: &Counters) {
        let number = placed.map(|placed| placed.number);
        for replica in self.late.iter().filter(|replica| Some(replica.number) != number) {
            replica.passed_over.fetch_add(1, Ordering::Relaxed);
            counters.route(Route::PassedOver);
        }
        let Some(replica) = number.and_then(|number| self.set.replicas.get(number)) else { return };
        replica.units.fetch_add(1, Ordering::Relaxed);
        if self.waited {
            replica.waits.fetch_add(1, Ordering::Relaxed);
        }
        counters.route(Route::OnReplica);
        tracing::debug!(replica = replica.number, "a unit of work runs on a replica");
    }
}
