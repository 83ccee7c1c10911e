//! Running a unit of work again when the database says that it lost against a concurrent one (R).
//!
//! The loop knows what the database reported from the session, not from the caller's error type. It never repeats a unit
//! whose COMMIT may have worked.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    connection::{
        boxed::boxed,
        db::Db,
        span::{debug_span, in_span},
    },
    error::Error,
    stats::Counters,
    unit::{
        session::{AnyAttempt, Body, BodyError, Verdict},
        settings::Settings,
    },
};

/// Runs a unit of work, and again if a retry was asked for.
pub(crate) async fn run_unit<B, T, E>(
    db: &Db,
    settings: Arc<Settings>,
    counters: &Arc<Counters>,
    body: Body<B, T, E>,
) -> Result<T, E>
where
    B: Sync,
    T: Send,
    E: From<Error> + Send + 'static,
{
    let ended = boxed(|| run_attempts(db, settings, counters, &body)).await;
    body.outcome(ended)
}

async fn run_attempts(
    db: &Db,
    settings: Arc<Settings>,
    counters: &Arc<Counters>,
    body: &dyn AnyAttempt,
) -> Result<(), BodyError> {
    let allowed = settings.check(db.dialect()).and_then(|()| settings.check_predicates(&|error| body.convert(error)));
    allowed.map_err(|refused| body.convert(refused))?;
    let retry = &settings.retry;
    let started = Instant::now();
    let mut attempt = 1;
    loop {
        let span = unit_span(attempt);
        let mut session = db.open(&settings, counters);
        let verdict = in_span(&span, session.run_unit(body)).await;
        record_numbers(&span, counters);
        let (error, reported) = match verdict {
            Verdict::Done => return Ok(()),
            Verdict::Failed { error, reported } => (error, reported),
            Verdict::Final(error) => return Err(error),
        };
        let asked = reported.as_ref().is_some_and(|reported| retry.wants(reported))
            || settings.retry_on.as_ref().is_some_and(|own| own.says(&*error));
        let cause = reported.as_ref().and_then(Error::class);
        let pause = retry.next_pause(attempt, cause, started.elapsed()).filter(|_| attempt < retry.attempts());
        let Some(pause) = pause.filter(|_| asked) else {
            return Err(if asked && retry.attempts() > 1 { exhausted(error, attempt) } else { error });
        };
        drop(session);
        counters.retry();
        tracing::debug!(attempt, cause = reported.as_ref().map(tracing::field::display), "a unit of work is retried");
        let span = debug_span!("sea_session.retry", attempt, pause_ms = pause.as_millis());
        in_span(&span, retry.pause(pause)).await;
        attempt += 1;
    }
}

/// The last error with the attempts made (R6): in the error itself where it is ours, in the log where it is the caller's.
fn exhausted(mut error: BodyError, attempts: u32) -> BodyError {
    tracing::warn!(attempts, "a unit of work was given up after its last attempt");
    if let Some(own) = error.downcast_mut::<Error>() {
        *own = Error::Exhausted { attempts, cause: Arc::new(own.clone()) };
    }
    error
}

fn unit_span(attempt: u32) -> tracing::Span {
    use tracing::field::Empty;
    debug_span!("sea_session.unit", attempt, statements = Empty, rows = Empty, flushes = Empty, savepoints = Empty)
}

fn record_numbers(span: &tracing::Span, counters: &Counters) {
    if span.is_disabled() {
        return;
    }
    let stats = counters.snapshot();
    span.record("statements", stats.statements).record("rows", stats.rows);
    span.record("flushes", stats.flushes).record("savepoints", stats.savepoints);
}
