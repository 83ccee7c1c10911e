//! How long to wait: after failures, and between claims of a busy stream.

use std::time::Duration;

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

/// How long to wait before the next claim after one that took `claimed` events, fewer than a batch.
///
/// One event at a time is delivered at once. Where several came together more are coming, and a claim costs the writers'
/// server about the same for one event as for twenty: so the next one waits for some of them.
pub(crate) fn linger(claimed: usize) -> Duration {
    const EACH: Duration = Duration::from_micros(500);
    const LONGEST: Duration = Duration::from_millis(20);
    EACH.saturating_mul(u32::try_from(claimed.saturating_sub(1)).unwrap_or(u32::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((linger(0), linger(1)), (Duration::ZERO, Duration::ZERO));
        assert!(linger(9) > linger(8) && linger(usize::MAX) == Duration::from_millis(20));
    }
}
