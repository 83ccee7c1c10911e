//! Handing a claimed batch to its [`Handler`], in an order that keeps the order of each key whatever fails (Q2, Q5).

use std::{collections::BTreeMap, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use tokio::time::Instant;

use super::{Delivery, Event, Handler, Unavailable};

/// What a handler made of a batch: an answer for each event that it was asked about, and why it was not asked about the
/// rest.
pub(crate) struct DeliveryOutcome {
    pub(crate) deliveries: Vec<Option<Delivery>>,
    pub(crate) down: Option<Unavailable>,
}

/// A claimed batch on its way to the handler.
pub(crate) struct EventBatch<'b> {
    events: &'b [Event],
    /// Until when it is certainly ours. A process that was stopped and goes on finds out here, before it delivers more.
    ours_until: &'b Mutex<Instant>,
}

impl<'b> EventBatch<'b> {
    pub(crate) fn new(events: &'b [Event], ours_until: &'b Mutex<Instant>) -> Self {
        Self { events, ours_until }
    }

    /// Asks the handler.
    pub(crate) async fn deliver(&self, handler: &dyn Handler) -> DeliveryOutcome {
        let mut outcome = DeliveryOutcome { deliveries: vec![None; self.events.len()], down: None };
        let waves = if handler.takes_runs() { vec![(0..self.events.len()).collect()] } else { self.waves() };
        let mut stopped: FxHashSet<&str> = FxHashSet::default();
        for wave in waves {
            let wave: Vec<usize> = wave.into_iter().filter(|at| !stopped.contains(self.key(*at))).collect();
            if wave.is_empty() || !self.is_ours() {
                continue;
            }
            if let Err(down) = self.deliver_wave(handler, &wave, &mut outcome.deliveries).await {
                outcome.down = Some(down);
                break;
            }
            for at in wave {
                if !outcome.deliveries[at].as_ref().is_some_and(Delivery::settles) {
                    stopped.insert(self.key(at));
                }
            }
        }
        self.hold_up(&mut outcome);
        outcome
    }

    fn key(&self, at: usize) -> &'b str {
        &self.events[at].key
    }

    fn is_ours(&self) -> bool {
        Instant::now() < *self.ours_until.lock()
    }

    /// The n-th wave holds the n-th event of every key.
    fn waves(&self) -> Vec<Vec<usize>> {
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        let mut waves: Vec<Vec<usize>> = Vec::new();
        for at in 0..self.events.len() {
            let nth = met.entry(self.key(at)).or_default();
            if waves.len() == *nth {
                waves.push(Vec::new());
            }
            waves[*nth].push(at);
            *nth += 1;
        }
        waves
    }

    /// One call. If the handler panics, or answers for too few, it is asked again event by event, so that a bad one fails
    /// alone (Q5).
    async fn deliver_wave(
        &self,
        handler: &dyn Handler,
        wave: &[usize],
        deliveries: &mut [Option<Delivery>],
    ) -> Result<(), Unavailable> {
        let copied: Vec<Event>;
        let events = if wave.len() == self.events.len() {
            self.events
        } else {
            copied = wave.iter().map(|at| self.events[*at].clone()).collect();
            &copied
        };
        match AssertUnwindSafe(handler.deliver(events)).catch_unwind().await {
            Ok(Ok(answers)) if answers.len() == wave.len() => {
                for (at, answer) in wave.iter().zip(answers) {
                    deliveries[*at] = Some(answer);
                }
                return Ok(());
            }
            Ok(Err(down)) => return Err(down),
            _ => {}
        }
        let mut stopped: FxHashSet<&str> = FxHashSet::default();
        for at in wave.iter().copied() {
            if stopped.contains(self.key(at)) || !self.is_ours() {
                continue;
            }
            let answer = self.deliver_one(handler, at).await?;
            if !answer.settles() {
                stopped.insert(self.key(at));
            }
            deliveries[at] = Some(answer);
        }
        Ok(())
    }

    async fn deliver_one(&self, handler: &dyn Handler, at: usize) -> Result<Delivery, Unavailable> {
        let one = std::slice::from_ref(&self.events[at]);
        match AssertUnwindSafe(handler.deliver(one)).catch_unwind().await {
            Ok(Ok(mut answer)) if answer.len() == 1 => Ok(answer.remove(0)),
            Ok(Ok(answer)) => Ok(Delivery::Retry(format!("the handler answered {} times for one event", answer.len()))),
            Ok(Err(down)) => Err(down),
            Err(_) => Ok(Delivery::Retry("the handler panicked".to_owned())),
        }
    }

    /// Whatever was said of an event after one of its key that is not settled, it waits.
    fn hold_up(&self, outcome: &mut DeliveryOutcome) {
        let mut stopped: FxHashSet<&str> = FxHashSet::default();
        for (at, delivery) in outcome.deliveries.iter_mut().enumerate() {
            if stopped.contains(self.key(at)) {
                *delivery = delivery.is_some().then_some(Delivery::HeldUp);
            } else if !delivery.as_ref().is_some_and(Delivery::settles) {
                stopped.insert(self.key(at));
            }
        }
        if outcome.down.is_none() {
            outcome.deliveries.iter_mut().for_each(|delivery| {
                delivery.get_or_insert(Delivery::HeldUp);
            });
        }
    }
}
