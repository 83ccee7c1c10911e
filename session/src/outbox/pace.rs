//! How long to wait: after failures, and between claims of a busy stream.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How long to wait before attempt `attempt + 1`: twice as long each time, capped, of which a random half is taken away so
/// that events which failed together do not come back together. No attempt count overflows it (Q4).
pub(crate) fn backoff(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or_default().min(20);
    let ceiling = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// After one full batch, it shows within this time whether there is a queue.
const SOON: Duration = Duration::from_millis(15);

/// When the claimants of one dispatcher answer the wake-up.
///
/// One event at a time is delivered at once. Where several came together more are coming, and a claim costs the writers'
/// server about the same for one event as for twenty: so one claimant at a time keeps watch, and it answers when enough may
/// have come for a batch that is worth its claim. Queues and polls do not ask here.
#[derive(Debug)]
pub(crate) struct Pace {
    batch: usize,
    /// The longest that a wake-up is left unanswered.
    longest: Duration,
    watch: tokio::sync::Mutex<()>,
    rate: Mutex<Rate>,
}

/// Held by the claimant that answers the wake-up, until it knows what it claimed.
pub(crate) type Watch<'p> = tokio::sync::MutexGuard<'p, ()>;

/// How fast events come.
#[derive(Debug)]
struct Rate {
    /// So many were claimed since then.
    events: usize,
    since: Instant,
    /// The wake-up is not answered before.
    opens: Instant,
}

impl Pace {
    pub(crate) fn new(batch: usize, longest: Duration) -> Self {
        let now = Instant::now();
        Self {
            batch,
            longest,
            watch: tokio::sync::Mutex::default(),
            rate: Mutex::new(Rate { events: 0, since: now, opens: now }),
        }
    }

    /// Waits until no other claimant keeps watch, and until the wake-up may be answered.
    pub(crate) async fn watch(&self) -> Watch<'_> {
        let watch = self.watch.lock().await;
        // What others claim meanwhile may put it off.
        while self.opens() > Instant::now() {
            tokio::time::sleep_until(self.opens()).await;
        }
        watch
    }

    /// When the wake-up may be answered.
    pub(crate) fn opens(&self) -> Instant {
        self.rate.lock().opens
    }

    /// Learns from a claim.
    pub(crate) fn claimed(&self, events: usize) {
        let (mut rate, now) = (self.rate.lock(), Instant::now());
        rate.events += events;
        let pause = self.linger(rate.events, now - rate.since);
        if events < self.batch {
            *rate = Rate { events: 0, since: now, opens: rate.opens.max(now + pause) };
        } else if rate.events > events {
            // The second full batch in a row: there is a queue, for all claimants.
            rate.opens = now;
        } else {
            rate.opens = rate.opens.max(now + pause.min(SOON));
        }
    }

    /// How long to wait after a claim, if so many events have come within `time`.
    fn linger(&self, events: usize, time: Duration) -> Duration {
        const EACH: Duration = Duration::from_millis(1);
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let most = EACH.saturating_mul(events.saturating_sub(1)).min(self.longest);
        let enough = u32::try_from(self.batch).unwrap_or(u32::MAX) / 5 * 4;
        if events > enough { most.min(time * enough / events) } else { most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(30);

    #[test]
    fn q4_backoff_is_capped_jittered_and_never_overflows() {
        for attempt in [i32::MIN, 0, 1, 2, 10, 31, 32, 64, 1_000, i32::MAX] {
            let pause = backoff(attempt);
            assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{attempt}: {pause:?}");
        }
        let (early, late) = (backoff(1), backoff(8));
        assert!(early <= FIRST_PAUSE && late > FIRST_PAUSE * 32, "{early:?} {late:?}");
        let several: std::collections::BTreeSet<Duration> = (0..32).map(|_| backoff(5)).collect();
        assert!(several.len() > 16, "jittered");
    }

    #[test]
    fn q6_one_event_at_a_time_is_not_waited_with_and_many_are_taken_together() {
        let (second, pace) = (Duration::from_secs(1), Pace::new(100, LONGEST));
        assert_eq!((pace.linger(0, second), pace.linger(1, second)), (Duration::ZERO, Duration::ZERO));
        assert!(pace.linger(9, second) > pace.linger(8, second));
        assert_eq!(pace.linger(60, second), LONGEST);
        assert_eq!(Pace::new(100, Duration::ZERO).linger(60, second), Duration::ZERO);
        assert!(pace.linger(usize::MAX, second) < Duration::from_micros(1), "a batch is there already");
        let fast = pace.linger(160, Duration::from_millis(20));
        assert_eq!(fast, Duration::from_millis(10), "until four fifths of a batch are there");
    }

    #[test]
    fn q6_after_one_full_batch_more_may_come_and_a_second_is_a_queue() {
        let pace = Pace::new(10, LONGEST);
        let wait = || pace.opens().saturating_duration_since(Instant::now());
        std::thread::sleep(LONGEST);
        pace.claimed(10);
        assert!(wait() > Duration::ZERO && wait() <= SOON);
        pace.claimed(10);
        assert_eq!(wait(), Duration::ZERO);
        std::thread::sleep(LONGEST);
        pace.claimed(8);
        let (before, _) = (pace.opens(), pace.claimed(1));
        assert!(before > Instant::now() && pace.opens() == before, "a claim of few shortens nothing");
    }

    #[tokio::test]
    async fn q6_one_claimant_at_a_time_answers_the_bell() {
        use futures_util::FutureExt;
        let pace = Pace::new(100, LONGEST);
        let watch = pace.watch().await;
        let mut second = Box::pin(pace.watch());
        assert!(second.as_mut().now_or_never().is_none(), "the first keeps watch");
        pace.claimed(11);
        let opens = pace.opens();
        drop(watch);
        drop(second.await);
        assert!(Instant::now() >= opens, "the second waits until several may have come");
    }
}
