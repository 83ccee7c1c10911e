//! The dispatcher: claims, hands over, acknowledges, and starts again (Q2 to Q7).
//!
//! Any number of them may run, in one process or many. Dead at any moment, a dispatcher leaves nothing but a lease that
//! runs out.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{Delivery, Event, Handler, Outbox, Unavailable, claim::backoff};
use crate::error::Error;

/// Delivers the events of an outbox to a [`Handler`].
#[must_use = "a dispatcher does nothing until `.run(…)` or `.drain()`"]
pub struct Dispatcher<H> {
    outbox: Outbox,
    handler: Arc<H>,
    worker: String,
    batch: usize,
    lease: Duration,
    poll: Duration,
    most_attempts: i32,
    retention: Option<Duration>,
    deadline: Duration,
    counts: Arc<Counts>,
}

impl<H> Clone for Dispatcher<H> {
    /// The same dispatcher: clones share handler, name and counts, and may run side by side.
    fn clone(&self) -> Self {
        Self {
            outbox: self.outbox.clone(),
            handler: self.handler.clone(),
            worker: self.worker.clone(),
            batch: self.batch,
            lease: self.lease,
            poll: self.poll,
            most_attempts: self.most_attempts,
            retention: self.retention,
            deadline: self.deadline,
            counts: self.counts.clone(),
        }
    }
}

impl<H> std::fmt::Debug for Dispatcher<H> {
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
    latency_us: AtomicU64,
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
    /// Mean time from the event's writing to its acknowledgement.
    pub mean_latency: Duration,
}

/// What one round found.
enum Round {
    Nothing,
    Delivered,
    /// The receiver is down.
    Held(Unavailable),
}

impl<H: Handler + 'static> Dispatcher<H> {
    /// Batches of 100, leases of 30 seconds, a poll every second, 10 attempts, done events kept for a day.
    pub fn new(outbox: &Outbox, handler: H) -> Self {
        Self {
            outbox: outbox.clone(),
            handler: Arc::new(handler),
            worker: format!("{}-{:08x}", std::process::id(), fastrand::u32(..)),
            batch: 100,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
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

    /// What this dispatcher has done so far (Q10); [`Outbox::metrics`] has the stream's own numbers.
    pub fn report(&self) -> Report {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let delivered = read(&self.counts.delivered);
        Report {
            delivered,
            retried: read(&self.counts.retried),
            dead: read(&self.counts.dead),
            stale: read(&self.counts.stale),
            mean_latency: Duration::from_micros(read(&self.counts.latency_us) / delivered.max(1)),
        }
    }

    /// Delivers until nothing can be delivered now, then returns what was done.
    ///
    /// # Errors
    /// What the database says; [`Unavailable`] as [`Error::Usage`] if the receiver is down. What was delivered stays so.
    ///
    /// # Cancel safety
    /// Dropped, the batch at hand is delivered again when its lease runs out.
    pub async fn drain(&self) -> Result<Report, Error> {
        self.outbox.reclaim().await?;
        loop {
            match self.round().await? {
                Round::Delivered => {}
                Round::Nothing => return Ok(self.report()),
                Round::Held(down) => return Err(Error::usage(down.to_string())),
            }
        }
    }

    /// Delivers until `shutdown` completes: then it claims no more, waits for the batch at hand up to the deadline, and
    /// gives back what is not done (Q7). Errors of the database are logged and tried again.
    ///
    /// # Cancel safety
    /// Dropped, the batch at hand is delivered again when its lease runs out.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Report {
        let mut shutdown = std::pin::pin!(shutdown.shared());
        let mut listening = std::pin::pin!(self.outbox.waker().listen());
        let mut tended = Instant::now();
        let mut failures = 0;
        loop {
            if tended.elapsed() >= self.poll {
                self.tend().await;
                tended = Instant::now();
            }
            let round = {
                let mut round = std::pin::pin!(self.round_until(shutdown.clone()));
                tokio::select! {
                    round = &mut round => round,
                    () = &mut listening => round.await,
                }
            };
            let pause = match round {
                Ok(Round::Delivered) => {
                    failures = 0;
                    Duration::ZERO
                }
                Ok(Round::Nothing) => {
                    failures = 0;
                    self.poll
                }
                Ok(Round::Held(down)) => {
                    failures += 1;
                    tracing::warn!(worker = self.worker, error = %down, "events are held back");
                    backoff(failures)
                }
                Err(e) => {
                    failures += 1;
                    tracing::error!(worker = self.worker, error = %e, "the outbox could not be read; trying again");
                    backoff(failures)
                }
            };
            if shutdown.clone().now_or_never().is_some() {
                return self.report();
            }
            if pause.is_zero() {
                continue;
            }
            let woken = failures == 0;
            tokio::select! {
                () = shutdown.as_mut().get_mut().clone() => return self.report(),
                () = self.outbox.waker().rung(), if woken => {}
                () = &mut listening => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Lost leases, and done events that are old enough.
    async fn tend(&self) {
        const MOST_PURGED: u64 = 10_000;
        let reclaimed = self.outbox.reclaim().await;
        let purged = match self.retention {
            Some(keep) => self.outbox.purge_done(keep, MOST_PURGED).await,
            None => Ok(0),
        };
        if let Err(e) = reclaimed.and(purged) {
            tracing::error!(worker = self.worker, error = %e, "the outbox could not be tended; trying again");
        }
    }

    async fn round(&self) -> Result<Round, Error> {
        self.round_until(std::future::pending::<()>()).await
    }

    /// Claims one batch, hands it over and acknowledges it.
    async fn round_until(&self, shutdown: impl Future<Output = ()> + Send) -> Result<Round, Error> {
        let events = self.outbox.claim(&self.worker, self.batch, self.lease).await?;
        if events.is_empty() {
            return Ok(Round::Nothing);
        }
        if events.len() == self.batch {
            self.outbox.waker().ring();
        }
        let span = tracing::debug_span!("sea_session.outbox", worker = self.worker, events = events.len());
        tracing::Instrument::instrument(self.hand_over(&events, shutdown), span).await
    }

    async fn hand_over(&self, events: &[Event], shutdown: impl Future<Output = ()> + Send) -> Result<Round, Error> {
        let deadline = async {
            shutdown.await;
            tokio::time::sleep(self.deadline).await;
        };
        let handled = tokio::select! {
            handled = self.deliver(events) => handled,
            never = self.keep_leases(events) => match never {},
            () = deadline => {
                self.outbox.release(events, Duration::ZERO, "the dispatcher was shut down").await?;
                return Ok(Round::Nothing);
            }
        };
        let deliveries = match handled {
            Ok(deliveries) => deliveries,
            Err(down) => {
                let held_back = events.iter().map(|event| event.attempt).max().unwrap_or(1);
                self.outbox.release(events, backoff(held_back), &down.to_string()).await?;
                return Ok(Round::Held(down));
            }
        };
        let acknowledged =
            self.outbox.acknowledge(events, &deliveries, self.most_attempts, self.retention.is_some()).await?;
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.counts.delivered, acknowledged.done);
        add(&self.counts.retried, acknowledged.retried);
        add(&self.counts.dead, acknowledged.dead);
        add(&self.counts.stale, acknowledged.stale);
        let now = chrono::Utc::now();
        let waited =
            events.iter().map(|e| (now - e.created_at).num_microseconds().unwrap_or_default().max(0)).sum::<i64>();
        add(&self.counts.latency_us, u64::try_from(waited).unwrap_or_default());
        Ok(Round::Delivered)
    }

    /// The handler's answer for every event. One that panics, or answers for too few, is asked again event by event, so
    /// that a bad one fails alone (Q5).
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        let answer = AssertUnwindSafe(self.handler.deliver(events)).catch_unwind().await;
        match answer {
            Ok(Ok(deliveries)) if deliveries.len() == events.len() => return Ok(deliveries),
            Ok(Err(down)) => return Err(down),
            _ => {}
        }
        let mut deliveries = Vec::with_capacity(events.len());
        for event in events {
            let one = std::slice::from_ref(event);
            let answer = AssertUnwindSafe(self.handler.deliver(one)).catch_unwind().await;
            deliveries.push(match answer {
                Ok(Ok(mut answer)) if answer.len() == 1 => answer.remove(0),
                Ok(Ok(answer)) => Delivery::Retry(format!("the handler answered {} times for one event", answer.len())),
                Ok(Err(down)) => return Err(down),
                Err(_) => Delivery::Retry("the handler panicked".to_owned()),
            });
        }
        Ok(deliveries)
    }

    /// Extends the leases for as long as the handler works.
    async fn keep_leases(&self, events: &[Event]) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            if let Err(e) = self.outbox.extend(events, self.lease).await {
                tracing::warn!(worker = self.worker, error = %e, "leases could not be extended");
            }
        }
    }
}
