//! One attempt of a unit of work: its body, then flush and COMMIT, or the rollback.
//!
//! What runs a body is compiled once, and not once a body: that of any type stands behind [`AnyAttempt`].

use std::{
    any::Any,
    marker::PhantomData,
    panic::{AssertUnwindSafe, resume_unwind},
};

use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;

use super::Session;
use crate::{error::Error, unit::body::Block};

/// What the retry loop runs: a body with what it is called with, the session excepted.
pub(crate) trait Attempt<T, E>: Sync {
    fn attempt<'a>(&'a self, session: &'a mut Session) -> impl Future<Output = Result<T, E>> + Send;
}

/// A body that is called with the session alone.
pub(crate) struct Whole<F>(pub(crate) F);

impl<T, E, F> Attempt<T, E> for Whole<F>
where
    F: for<'a> Block<&'a mut Session, Result<T, E>, Fut: Send> + Sync,
{
    fn attempt<'a>(&'a self, session: &'a mut Session) -> impl Future<Output = Result<T, E>> + Send {
        (self.0)(session)
    }
}

/// An error of a body, of whatever type.
pub(crate) type BodyError = Box<dyn Any + Send>;

/// An [`Attempt`] of whatever types.
pub(crate) trait AnyAttempt: Sync {
    /// Runs the body. The attempt keeps the value of one that works.
    fn attempt<'a>(&'a self, session: &'a mut Session) -> BoxFuture<'a, Result<(), BodyError>>;
    /// An error of this crate as the body's.
    fn convert(&self, error: Error) -> BodyError;
}

/// How a unit ended, and what the database had said whatever the caller made of it (R5).
pub(crate) enum Verdict {
    Done,
    /// Rolled back, or known not to be committed: it may run again.
    Failed {
        error: BodyError,
        reported: Option<Error>,
    },
    /// Committed, or not known: it must not run again.
    Final(BodyError),
}

/// A unit's body, and what its last attempt has come to.
pub(crate) struct Body<B, T, E> {
    body: B,
    value: Mutex<Option<T>>,
    error: PhantomData<fn() -> E>,
}

impl<B, T, E: 'static> Body<B, T, E> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, value: Mutex::new(None), error: PhantomData }
    }

    /// What the unit comes to that ended so.
    pub(crate) fn outcome(self, ended: Result<(), BodyError>) -> Result<T, E> {
        match ended {
            Ok(()) => Ok(self.value.into_inner().expect("a body that worked has left its value")),
            Err(error) => Err(*error.downcast().expect("a body's error is of its own type")),
        }
    }
}

impl<B, T, E> AnyAttempt for Body<B, T, E>
where
    B: Attempt<T, E>,
    E: From<Error> + Send + 'static,
    T: Send,
{
    fn attempt<'a>(&'a self, session: &'a mut Session) -> BoxFuture<'a, Result<(), BodyError>> {
        Box::pin(async move {
            let value = self.body.attempt(session).await.map_err(|error| Box::new(error) as BodyError)?;
            *self.value.lock() = Some(value);
            Ok(())
        })
    }

    fn convert(&self, error: Error) -> BodyError {
        Box::new(E::from(error))
    }
}

impl Session {
    /// One attempt of a unit: body, flush, COMMIT; or rollback.
    pub(crate) async fn run_unit(&mut self, body: &dyn AnyAttempt) -> Verdict {
        self.in_run = true;
        let outcome = AssertUnwindSafe(body.attempt(&mut *self)).catch_unwind().await;
        match outcome {
            Err(panic) => {
                self.core().rollback().await;
                resume_unwind(panic)
            }
            Ok(Ok(())) => self.conclude(body).await,
            Ok(Err(error)) => self.give_up(error, body).await,
        }
    }

    async fn conclude(&mut self, body: &dyn AnyAttempt) -> Verdict {
        match self.core().commit().await {
            Ok(()) => Verdict::Done,
            Err(e @ (Error::AfterCommit { .. } | Error::CommitUnknown { .. })) => Verdict::Final(body.convert(e)),
            Err(e) => {
                let reported = self.core().reported.take().or_else(|| Some(e.clone()));
                Verdict::Failed { error: body.convert(e), reported }
            }
        }
    }

    async fn give_up(&mut self, error: BodyError, body: &dyn AnyAttempt) -> Verdict {
        let settings = self.core().settings.clone();
        let allowed = std::panic::catch_unwind(AssertUnwindSafe(|| {
            settings.allow.as_ref().is_some_and(|allow| allow.says(&*error))
        }));
        let allowed = match allowed {
            Ok(allowed) => allowed,
            Err(panic) => {
                self.core().rollback().await;
                resume_unwind(panic)
            }
        };
        if allowed && settings.retry_on.as_ref().is_some_and(|retry_on| retry_on.says(&*error)) {
            self.core().rollback().await;
            return Verdict::Final(body.convert(Error::usage(
                "an error is both allowed (commit) and retried: `allow` and `retry_on` must not overlap",
            )));
        }
        if allowed {
            return match self.conclude(body).await {
                Verdict::Done => Verdict::Final(error),
                ended => ended,
            };
        }
        self.core().rollback().await;
        let reported = self.core().reported.take();
        Verdict::Failed { error, reported }
    }
}
