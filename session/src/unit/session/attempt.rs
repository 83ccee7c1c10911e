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
use crate::{connection::boxed::boxed, error::Error};

/// An error of a body, of whatever type.
pub(crate) type BodyError = Box<dyn Any + Send>;

/// What the retry loop runs: a body of whatever types.
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

/// What a body has come to that worked.
pub(crate) type Value<T> = Mutex<Option<T>>;

/// Calls a body with a session, and [`keep`]s what it comes to.
type Call<B, T> = for<'a> fn(&'a B, &'a mut Session, &'a Value<T>) -> BoxFuture<'a, Result<(), BodyError>>;

/// A unit's body, and what its last attempt has come to.
pub(crate) struct Body<B, T, E> {
    body: B,
    call: Call<B, T>,
    value: Value<T>,
    error: PhantomData<fn() -> E>,
}

impl<B, T, E: 'static> Body<B, T, E> {
    pub(crate) fn new(body: B, call: Call<B, T>) -> Self {
        Self { body, call, value: Value::default(), error: PhantomData }
    }

    /// What the unit comes to that ended so.
    pub(crate) fn outcome(self, ended: Result<(), BodyError>) -> Result<T, E> {
        match ended {
            Ok(()) => Ok(self.value.into_inner().expect("a body that worked has left its value")),
            Err(error) => Err(*error.downcast().expect("a body's error is of its own type")),
        }
    }
}

// Nothing here names the body's future: whoever asks whether this is an attempt does not ask again whether that is `Send`.
impl<B, T, E> AnyAttempt for Body<B, T, E>
where
    B: Sync,
    T: Send,
    E: From<Error> + Send + 'static,
{
    fn attempt<'a>(&'a self, session: &'a mut Session) -> BoxFuture<'a, Result<(), BodyError>> {
        (self.call)(&self.body, session, &self.value)
    }

    fn convert(&self, error: Error) -> BodyError {
        Box::new(E::from(error))
    }
}

/// Runs a body, and keeps the value of one that works.
pub(crate) fn keep<'a, T: Send, E: Send + 'static>(
    body: impl Future<Output = Result<T, E>> + Send + 'a,
    value: &'a Value<T>,
) -> BoxFuture<'a, Result<(), BodyError>> {
    boxed(|| async move {
        let made = body.await.map_err(|error| Box::new(error) as BodyError)?;
        *value.lock() = Some(made);
        Ok(())
    })
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
