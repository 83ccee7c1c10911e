//! A nested block: what it may be asked to be, and how its body is run (A2, A3, A12, A13).
//!
//! It decides nothing about savepoints, which is the session's inside; it must never leave a block open, however its body ends.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::{FutureExt, future::BoxFuture};
use sea_orm::IsolationLevel;
use tracing::Span;

use super::Session;
use crate::{
    connection::{
        boxed::boxed,
        span::{debug_span, in_span, record},
    },
    error::Error,
    unit::{block_table::BlockKind, body::BlockOnce},
};

/// A nested block before it runs.
#[must_use = "a block does nothing until `.run(…)`"]
#[derive(Debug)]
pub struct NestedBlock<'s> {
    pub(super) session: &'s mut Session,
    pub(super) kind: BlockKind,
    /// Why it will not run: an option that a nested block cannot have.
    pub(super) refused: Option<Error>,
}

impl<'s> NestedBlock<'s> {
    /// Without a savepoint: an error inside sets the parent's flag (A3).
    pub fn merged(mut self) -> Self {
        self.kind = BlockKind::Merged;
        self
    }

    /// Must be the outermost block: nested, it is refused before anything is sent (A12).
    pub fn durable(self) -> Self {
        self.refuse(
            "a durable block must be outermost, and this one is inside a unit of work: open it with `db.run(…)`",
        )
    }

    /// Asks for the isolation that the unit was opened with. Another cannot be had inside its transaction: that is refused
    /// before anything is sent (B3).
    pub fn isolation(mut self, level: IsolationLevel) -> Self {
        if let Err(e) = self.session.require_isolation(level) {
            self.refused.get_or_insert(e);
        }
        self
    }

    /// Refused before anything is sent: only a unit as a whole is read-only (B4).
    pub fn read_only(self) -> Self {
        self.refuse("a nested block cannot be read-only: open its unit of work with `.read_only()`")
    }

    /// Refused before anything is sent: only a unit as a whole is deferrable (B4).
    pub fn deferrable(self) -> Self {
        self.refuse(
            "a nested block cannot be deferrable: open its unit of work with `.isolation(Serializable).read_only().deferrable()`",
        )
    }

    /// The first option that cannot be had is the one that is named.
    fn refuse(mut self, why: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.refused.get_or_insert_with(|| Error::usage(why));
        self
    }

    /// Runs the block. See [`Session::atomic`].
    ///
    /// # Errors
    /// As [`Session::atomic`].
    ///
    /// # Cancel safety
    /// As [`Session::atomic`].
    pub fn run<T, E, F>(self, body: F) -> BoxFuture<'s, Result<T, E>>
    where
        F: for<'a> BlockOnce<&'a mut Session, Result<T, E>, Fut: Send> + Send + 's,
        E: From<Error> + Send + 's,
        T: Send + 's,
    {
        boxed(|| async move {
            if let Some(refused) = self.refused {
                return Err(refused.into());
            }
            let open = OpenBlock::enter(self.session, self.kind).await?;
            let outcome = in_span(&open.span, AssertUnwindSafe(body(&mut *open.session)).catch_unwind()).await;
            let left = open.leave(matches!(outcome, Ok(Ok(_)))).await;
            let value = outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
            left?;
            Ok(value)
        })
    }
}

/// Rolls a block back that is dropped before it has ended (A13, C2).
struct OpenBlock<'s> {
    session: &'s mut Session,
    index: Option<usize>,
    span: Span,
    /// How many statements the unit had sent before.
    before: u64,
}

impl<'s> OpenBlock<'s> {
    async fn enter(session: &'s mut Session, kind: BlockKind) -> Result<Self, Error> {
        let index = session.core().enter(kind, false).await?;
        let span = debug_span!("sea_session.block", depth = index, statements = tracing::field::Empty);
        let before = session.core().connection.counters().snapshot().statements;
        Ok(Self { session, index: Some(index), span, before })
    }

    async fn leave(mut self, worked: bool) -> Result<(), Error> {
        let core = self.session.core();
        record(&self.span, "statements", core.connection.counters().snapshot().statements - self.before);
        let Some(index) = self.index else { return Ok(()) };
        let left = match worked {
            true => core.exit_ok(index).await,
            false => {
                core.exit_err(index).await;
                Ok(())
            }
        };
        self.index = None;
        left
    }
}

impl Drop for OpenBlock<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.session.core().abandon(index);
        }
    }
}
