//! The dispatcher: claims, hands over, acknowledges, and starts again (Q2 to Q7).
//!
//! Any number of them may run, in one process or many. Dead at any moment, a dispatcher leaves nothing but a lease that
//! runs out.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::future::{OptionFuture, join_all};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tracing::Instrument;

use super::{
    Event, Handler, Health, Outbox, Unavailable,
    acknowledge::{Acknowledged, Ending},
    claim::{Claimant, Look},
    delivery::EventBatch,
    health::Pulse,
    pace::{Pace, Watch, backoff},
    reason::plain,
    scan::Scan,
    share::StreamMember,
};
use crate::{error::Error, unit::session::Session};

/// The first look after events that another claim held up, and the bound of its doubling.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(10);

/// What is owed waits so long after a wake-up, so that one transaction acknowledges and claims.
const GRACE: Duration = Duration::from_millis(2);

/// Delivers the events of an outbox to a [`Handler`]. Clones share handler, name and counts, and may run side by side.
#[must_use = "a dispatcher does nothing until `.run(…)` or `.drain()`"]
#[derive(Clone)]
pub struct Dispatcher {
    outbox: Outbox,
    handler: Arc<dyn Handler>,
    worker: String,
    batch: usize,
    claims: usize,
    lease: Duration,
    poll: Duration,
    linger: Duration,
    most_attempts: i32,
    retention: Option<Duration>,
    deadline: Duration,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("worker", &self.worker).field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    stale: AtomicU64,
    batches: AtomicU64,
    latency_us: AtomicU64,
    pulse: Pulse,
}

/// What a dispatcher has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Events delivered and acknowledged.
    pub delivered: u64,
    /// Failed attempts that will be repeated.
    pub retried: u64,
    /// Events given up.
    pub dead: u64,
    /// Acknowledgements refused because the lease had run out and somebody else had the event (Q3).
    pub stale: u64,
    /// Batches claimed that had an event in them.
    pub batches: u64,
    /// Mean time from the event's writing to its acknowledgement.
    pub mean_latency: Duration,
}

/// What is owed to the outbox for batches before: the next claim of the dispatcher, whichever it is, pays it.
#[derive(Debug, Default)]
struct Owed {
    endings: Vec<Ending>,
    /// When the events that were delivered were written.
    written: Vec<DateTime<Utc>>,
}

impl Owed {
    fn add(&mut self, more: Owed) {
        self.endings.extend(more.endings);
        self.written.extend(more.written);
    }
}

/// What the claimants of one dispatcher owe together.
type Debt = Mutex<Owed>;

impl Dispatcher {
    /// Batches of 100, one at a time, leases of 30 seconds, a poll every second, events gathered for at most 100 ms, 10
    /// attempts, done events kept for a day.
    pub fn new(outbox: &Outbox, handler: impl Handler + 'static) -> Self {
        Self {
            outbox: outbox.clone(),
            handler: Arc::new(handler),
            worker: format!("{}-{:08x}", std::process::id(), fastrand::u32(..)),
            batch: 100,
            claims: 1,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            linger: Duration::from_millis(100),
            most_attempts: 10,
            retention: Some(Duration::from_secs(24 * 60 * 60)),
            deadline: Duration::from_secs(10),
            counts: Arc::default(),
        }
    }

    /// How many events one claim takes.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events.max(1);
        self
    }

    /// How many batches [`Dispatcher::run`] has in hand side by side: one is claimed and acknowledged while the receiver
    /// works on another. Each needs a connection of the pool for its statements. While there are several dispatchers of
    /// a stream, each claims one batch at a time, of its share of the keys.
    pub fn claims(mut self, batches: usize) -> Self {
        self.claims = batches.max(1);
        self
    }

    /// How long a claim holds without being extended. A live handler's is extended in time.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often to look without having been woken (Q6).
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every;
        self
    }

    /// How long at most events are gathered for a claim while one wake-up follows another. The fewer claims, the less the
    /// writers lose to them; an event that comes alone is claimed at once, and a queue is not waited with. Never longer than a
    /// quarter of the lease, since the next claim acknowledges the batch before.
    pub fn linger(mut self, longest: Duration) -> Self {
        self.linger = longest;
        self
    }

    /// After this many failed attempts an event is a dead letter (Q4).
    pub fn most_attempts(mut self, attempts: i32) -> Self {
        self.most_attempts = attempts.max(1);
        self
    }

    /// How long done events are kept; `None` removes them with their acknowledgement (Q9).
    pub fn retention(mut self, keep: Option<Duration>) -> Self {
        self.retention = keep;
        self
    }

    /// How long a shutdown waits for the batch at hand before it gives it back (Q7).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether database and receiver answer (Q10).
    pub fn health(&self) -> Health {
        self.counts.pulse.health()
    }

    /// What this dispatcher has done so far (Q10); [`Outbox::metrics`] has the stream's own numbers.
    pub fn report(&self) -> Report {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let delivered = read(&self.counts.delivered);
        Report {
            delivered,
            retried: read(&self.counts.retried),
            dead: read(&self.counts.dead),
            stale: read(&self.counts.stale),
            batches: read(&self.counts.batches),
            mean_latency: Duration::from_micros(read(&self.counts.latency_us) / delivered.max(1)),
        }
    }

    /// Delivers until nothing can be delivered now, then returns what was done.
    ///
    /// # Errors
    /// What the database says; [`Error::Unavailable`] if the receiver is down. What was delivered stays so.
    ///
    /// # Cancel safety
    /// Dropped, the batch at hand is delivered again when its lease runs out.
    pub async fn drain(&self) -> Result<Report, Error> {
        let (scan, never) = (Scan::new(self.batch), Stop::never());
        let claimant = self.claimant(&scan);
        let debt = Debt::default();
        loop {
            let look = self.turn(&claimant, &debt, self.batch).await?;
            if look.events.is_empty() {
                return Ok(self.report());
            }
            let (owed, down) = self.hand_over(&look.events, &never).await;
            debt.lock().add(owed);
            if let Some(down) = down {
                self.turn(&claimant, &debt, 0).await?;
                return Err(Error::Unavailable(down.0.into()));
            }
        }
    }

    /// Delivers until `shutdown` completes: then it claims no more, waits for the batch at hand up to the deadline, and
    /// gives back what is not done (Q7). Errors of the database are logged and tried again.
    ///
    /// # Cancel safety
    /// Dropped, the batch at hand is delivered again when its lease runs out.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Report {
        let (told, stop) = watch::channel(false);
        let place = StreamMember::new(self.outbox.waker().name(), self.claims);
        let (scan, pace) = (Scan::new(self.batch), Pace::new(self.batch, self.linger.min(self.lease / 4)));
        let crew = Crew { place, scan, pace, debt: Debt::default(), turns: tokio::sync::Mutex::default() };
        let stop = Stop(Some(stop));
        let working = join_all((0..self.claims).map(|_| self.work(&crew, &stop)));
        let telling = async {
            shutdown.await;
            told.send_replace(true);
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            _ = working => {}
            never = telling => match never {},
            never = self.tend(&crew) => match never {},
            never = self.outbox.waker().listen(&crew.place, &self.outbox) => match never {},
        }
        self.report()
    }

    /// One who may claim any key.
    fn claimant<'c>(&'c self, scan: &'c Scan) -> Claimant<'c> {
        Claimant { worker: &self.worker, lease: self.lease, scan, share: None }
    }

    /// One claim after the other, as one of the dispatcher's crew.
    async fn work(&self, crew: &Crew, stop: &Stop) {
        let Crew { place, scan, pace, debt, turns } = crew;
        let mut failures = 0;
        let mut look_again = FIRST_LOOK;
        let mut watch: Option<Watch<'_>> = None;
        place.known().await;
        let mut divisions = place.divisions();
        while !stop.is_told() {
            divisions.mark_unchanged();
            // From a share one claims at a time: another would find what the first has locked.
            let turn = OptionFuture::from(place.share().map(|_| turns.lock())).await;
            let share = place.share();
            let outcome = self.turn(&Claimant { share, ..self.claimant(scan) }, debt, self.batch).await;
            drop(turn);
            pace.claimed(outcome.as_ref().map_or(0, |look| look.events.len()));
            drop(watch.take());
            let look = match outcome {
                Ok(look) => look,
                Err(e) => {
                    failures += 1;
                    tracing::error!(worker = self.worker, error = %e, "the outbox could not be read; trying again");
                    stop.sleep(backoff(failures)).await;
                    continue;
                }
            };
            let (claimed, held_up, locked) = (look.events.len(), look.held_up() > 0, look.locked());
            if claimed == self.batch && share.is_none() {
                // There is more than one can take. Who has a share knows by itself what is in it.
                self.outbox.waker().wake_another();
            }
            if claimed > 0 {
                let (owed, down) = self.hand_over(&look.events, stop).await;
                debt.lock().add(owed);
                failures = if down.is_some() { failures + 1 } else { 0 };
                look_again = FIRST_LOOK;
                if let Some(down) = down {
                    tracing::warn!(worker = self.worker, error = %down, "events are held back");
                    self.settle(scan, debt).await;
                    stop.sleep(backoff(failures)).await;
                } else if held_up {
                    // Some of it is free by now.
                    continue;
                } else if pace.opens() <= Instant::now() {
                    if claimed == self.batch {
                        continue;
                    }
                    self.settle(scan, debt).await;
                }
            }
            // What was held up is free when another claim ends, of which no wake-up tells.
            // Nor does one when another has locked what it did not take: it may have looked at everything, or at a share that
            // was its own before the keys were divided anew. Who takes something cannot know whether something was locked.
            let now = Instant::now();
            let until = match held_up {
                true => now + look_again,
                false if locked || (claimed > 0 && share.is_some()) => pace.opens().max(now) + LAST_LOOK,
                false => now + self.poll,
            };
            look_again = if claimed == 0 { (look_again * 2).min(LAST_LOOK) } else { FIRST_LOOK };
            tokio::select! {
                held = self.wait(crew, until, stop) => watch = held,
                // A place outlives its claimants, so this ends with a new division only.
                _ = divisions.changed() => {}
            }
        }
        self.settle(scan, debt).await;
    }

    /// Waits for the wake-up, while keeping watch; for `until`; or until what is owed has waited long enough for a claim.
    async fn wait<'c>(&self, crew: &'c Crew, until: Instant, stop: &Stop) -> Option<Watch<'c>> {
        let signal = async {
            let watch = crew.pace.watch().await;
            self.outbox.waker().woken().await;
            watch
        };
        let payday = async {
            while !crew.debt.lock().endings.is_empty() {
                let due = crew.pace.opens() + GRACE;
                if due <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(due).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = stop.told() => None,
            watch = signal => Some(watch),
            () = tokio::time::sleep_until(until) => None,
            () = payday => None,
        }
    }

    /// Acknowledges now what is owed. What cannot be acknowledged is delivered again when its lease runs out.
    async fn settle(&self, scan: &Scan, debt: &Debt) {
        const ATTEMPTS: i32 = 3;
        for attempt in 1..=ATTEMPTS {
            match self.turn(&self.claimant(scan), debt, 0).await {
                Ok(_) => return,
                Err(e) if attempt == ATTEMPTS => {
                    tracing::error!(worker = self.worker, error = %e, "a batch could not be acknowledged; it will be delivered again");
                    *debt.lock() = Owed::default();
                }
                Err(_) => tokio::time::sleep(backoff(attempt)).await,
            }
        }
    }

    /// Clears up, looks who else takes part, and has the next claim look at everything, every now and then.
    async fn tend(&self, Crew { place, scan, .. }: &Crew) -> Infallible {
        const MOST_PURGED: u64 = 10_000;
        // The locks of those that have stopped a moment ago end with their connections.
        tokio::time::sleep(self.poll / 16).await;
        place.look(&self.outbox).await;
        loop {
            tokio::time::sleep(self.poll).await;
            scan.rewind();
            place.look(&self.outbox).await;
            let Some(keep) = self.retention else { continue };
            if let Err(e) = self.outbox.purge_done(keep, MOST_PURGED).await {
                tracing::error!(worker = self.worker, error = %e, "done events could not be removed; trying again");
            }
        }
    }

    /// Acknowledges what is owed and claims the next batch, as one transaction (Q3). On an error what is owed stays owed.
    async fn turn(&self, by: &Claimant<'_>, debt: &Debt, most: usize) -> Result<Look, Error> {
        let owed = std::mem::take(&mut *debt.lock());
        if owed.endings.is_empty() && most == 0 {
            return Ok(Look::default());
        }
        let endings = &owed.endings;
        let outcome = self
            .outbox
            .unit()
            .run(async |s: &mut Session| -> Result<_, Error> {
                let acknowledged = self.outbox.acknowledge_in(s, endings).await?;
                let look = match most {
                    0 => Look::default(),
                    _ => self.outbox.claim(s, by, most).await?,
                };
                Ok((acknowledged, look))
            })
            .await;
        match outcome {
            Ok((acknowledged, look)) => {
                self.counts.pulse.claimed();
                self.count(acknowledged, &owed, &look);
                Ok(look)
            }
            Err(e) => {
                self.counts.pulse.database_failed(e.to_string());
                debt.lock().add(owed);
                Err(e)
            }
        }
    }

    fn count(&self, acknowledged: Acknowledged, owed: &Owed, look: &Look) {
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.counts.delivered, acknowledged.done);
        add(&self.counts.retried, acknowledged.retried);
        add(&self.counts.dead, acknowledged.dead);
        add(&self.counts.stale, acknowledged.stale);
        add(&self.counts.batches, u64::from(!look.events.is_empty()));
        let now = Utc::now();
        let waited =
            owed.written.iter().map(|at| (now - at).num_microseconds().unwrap_or_default().max(0)).sum::<i64>();
        add(&self.counts.latency_us, u64::try_from(waited).unwrap_or_default());
        if acknowledged != Acknowledged::default() {
            let Acknowledged { done, retried, dead, stale } = acknowledged;
            tracing::debug!(worker = self.worker, done, retried, dead, stale, "a batch was acknowledged");
        }
    }

    /// Hands a batch to the receiver; what is owed for it then, and whether the receiver is down.
    async fn hand_over(&self, events: &[Event], stop: &Stop) -> (Owed, Option<Unavailable>) {
        let span = tracing::debug_span!("sea_session.outbox", worker = self.worker, events = events.len());
        let ours_until = Mutex::new(Instant::now() + self.lease);
        let batch = EventBatch::new(events, &ours_until);
        let deadline = async {
            stop.told().await;
            tokio::time::sleep(self.deadline).await;
        };
        let outcome = tokio::select! {
            outcome = batch.deliver(&*self.handler).instrument(span) => outcome,
            never = self.keep_leases(events, &ours_until) => match never {},
            () = deadline => {
                let release = |event| Ending::released(event, Duration::ZERO, "the dispatcher was shut down");
                return (Owed { endings: events.iter().map(release).collect(), written: Vec::new() }, None);
            }
        };
        // What a receiver says of itself is shown and kept as well.
        let down = outcome.down.map(|Unavailable(why)| Unavailable(plain(&why)));
        match &down {
            Some(down) => self.counts.pulse.receiver_failed(down.to_string()),
            None => self.counts.pulse.delivered(),
        }
        let attempt = events.iter().map(|event| event.attempt).max().unwrap_or(1);
        let mut owed = Owed::default();
        for (event, delivery) in events.iter().zip(outcome.deliveries) {
            owed.endings.push(match (&delivery, &down) {
                (Some(delivery), _) => Ending::of(event, delivery, self.most_attempts, self.retention.is_some()),
                (None, Some(down)) => Ending::released(event, backoff(attempt), &down.to_string()),
                (None, None) => Ending::released(event, Duration::ZERO, ""),
            });
            if delivery == Some(super::Delivery::Done) {
                owed.written.push(event.created_at);
            }
        }
        (owed, down)
    }

    /// Extends the leases for as long as the handler works.
    async fn keep_leases(&self, events: &[Event], ours_until: &Mutex<Instant>) -> Infallible {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            let from = Instant::now();
            match self.outbox.extend(events, self.lease).await {
                Ok(held) if held == events.len() as u64 => *ours_until.lock() = from + self.lease,
                Ok(held) => {
                    let lost = events.len() as u64 - held;
                    tracing::warn!(worker = self.worker, lost, "others hold events of this batch by now");
                }
                Err(e) => tracing::warn!(worker = self.worker, error = %e, "leases could not be extended"),
            }
        }
    }
}

/// What the claimants of one dispatcher share.
struct Crew {
    place: StreamMember,
    scan: Scan,
    pace: Pace,
    debt: Debt,
    /// Held by the one that claims from the share.
    turns: tokio::sync::Mutex<()>,
}

/// Whether to stop.
struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    fn never() -> Self {
        Self(None)
    }

    fn is_told(&self) -> bool {
        self.0.as_ref().is_some_and(|stop| *stop.borrow())
    }

    async fn told(&self) {
        let Some(mut stop) = self.0.clone() else { return std::future::pending().await };
        // The sender lives as long as `run`, of which this is a part.
        if stop.wait_for(|told| *told).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps, unless told to stop.
    async fn sleep(&self, pause: Duration) {
        if !pause.is_zero() {
            tokio::select! {
                () = self.told() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
