//! How often, and how patiently, a unit is run again (R6, R7). The policy alone: the loop is `run`'s.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::error::{Class, Error};

type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;
type Classify = Arc<dyn Fn(&Error) -> Option<bool> + Send + Sync>;

/// How often, and how patiently, a unit is run again.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use std::time::Duration;
///
/// let patient = Retry::times(8).backoff(Duration::from_millis(20), Duration::from_secs(2)).within(Duration::from_secs(30));
/// db.session()
///     .isolation(IsolationLevel::Serializable)
///     .retry(patient)
///     .run(async |s: &mut Session| -> Result<(), Error> {
///         let note = s.get::<note::Entity>(1).await?.expect("the example's note");
///         note.set_stars(note.stars() + 1);
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Retry {
    times: u32,
    base: Duration,
    cap: Duration,
    conflict_cap: Duration,
    limit: Option<Duration>,
    lock_not_available: bool,
    classify: Option<Classify>,
    sleep: Option<Sleep>,
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("times", &self.times)
            .field("base", &self.base)
            .field("cap", &self.cap)
            .finish_non_exhaustive()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::none()
    }
}

impl From<u32> for Retry {
    fn from(times: u32) -> Self {
        Self::times(times)
    }
}

impl Retry {
    /// Never again.
    pub fn none() -> Self {
        Self::times(0)
    }

    /// Up to `n` further attempts, `n + 1` in all (R1), after full-jitter pauses: a random part of 5 ms, doubled each time, never
    /// over 100 ms after a conflict, which is over as soon as the other unit is, and never over a second otherwise: a server
    /// that restarts takes longer.
    pub fn times(n: u32) -> Self {
        Self {
            times: n,
            base: Duration::from_millis(5),
            cap: Duration::from_secs(1),
            conflict_cap: Duration::from_millis(100),
            limit: None,
            lock_not_available: false,
            classify: None,
            sleep: None,
        }
    }

    /// The first pause is a random part of `base`; later ones of twice the one before, never more than `cap`, whatever the cause.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.base, self.cap, self.conflict_cap) = (base, cap, cap);
        self
    }

    /// No further attempt starts when this much time has gone by since the first.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Also retries 55P03: a lock that was not to be had at once or in time.
    pub fn on_lock_not_available(mut self) -> Self {
        self.lock_not_available = true;
        self
    }

    /// Decides before the matrix does: `Some(true)` retries, `Some(false)` does not, `None` leaves it to the matrix (R7).
    /// What cannot be retried safely (a COMMIT that may have worked) is never asked about.
    pub fn classify(mut self, classify: impl Fn(&Error) -> Option<bool> + Send + Sync + 'static) -> Self {
        self.classify = Some(Arc::new(classify));
        self
    }

    /// Sleeps by `sleep` instead of the runtime's clock; for tests.
    pub fn sleep_with(mut self, sleep: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.sleep = Some(Arc::new(sleep));
        self
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.times.saturating_add(1)
    }

    /// The longest pause before attempt `attempt + 1`.
    fn ceiling(&self, attempt: u32, cause: Option<Class>) -> Duration {
        let doubled = self.base.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(if cause.is_some_and(Class::is_conflict) { self.conflict_cap } else { self.cap })
    }

    /// How long to wait before attempt `attempt + 1`; `None` if it would start after the limit.
    pub(crate) fn next_pause(&self, attempt: u32, cause: Option<Class>, elapsed: Duration) -> Option<Duration> {
        let pause = self.ceiling(attempt, cause).mul_f64(fastrand::f64());
        let starts = elapsed.saturating_add(pause);
        self.limit.is_none_or(|limit| starts < limit).then_some(pause)
    }

    /// Sleeps by the clock that the application may have replaced. No time is no sleep: the shortest of a runtime's is a
    /// millisecond.
    pub(crate) async fn pause(&self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        match &self.sleep {
            Some(sleep) => sleep(pause).await,
            None => tokio::time::sleep(pause).await,
        }
    }

    /// Whether a unit that ended with `error` may run again. COMMIT was not sent, or is known to have failed.
    pub(crate) fn wants(&self, error: &Error) -> bool {
        if let Some(decided) = self.classify.as_ref().and_then(|classify| classify(error)) {
            return decided;
        }
        match error.class() {
            Some(Class::LockNotAvailable) => self.lock_not_available,
            Some(class) => class.is_retryable(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn r1_a_pause_of_no_time_asks_no_clock() {
        // Outside of a runtime a timer could not even be made.
        let retry = Retry::times(3).backoff(Duration::ZERO, Duration::ZERO);
        let pause = retry.next_pause(1, Some(Class::Serialization), Duration::ZERO);
        assert_eq!(pause, Some(Duration::ZERO));
        assert_eq!(retry.pause(Duration::ZERO).now_or_never(), Some(()));
    }
}
