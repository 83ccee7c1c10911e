//! Flushes of a session, round by round until nothing is dirty (S11); a failure puts memory and database back to the nearest
//! boundary at once (S8). What is sent, and in which order, is [`crate::flush`]'s business.

use std::sync::Arc;

use super::Core;
use crate::{
    connection::{
        Message,
        boxed::boxed,
        span::{debug_span, in_span},
    },
    error::Error,
    flush::{Flush, Member, Watch, refuse_last_versions},
    objects::{AnyObject, shared::Shared},
    unit::{
        block_table::BlockKind,
        frame::{Flag, savepoint_name},
    },
};

/// A hook that dirties objects in every round is stopped after this many (S11).
const MOST_FLUSH_ROUNDS: usize = 100;

impl Core {
    /// Sends what is dirty, until nothing is (S11).
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.refused_add.is_none() && !self.shared.has_dirty() {
            return Ok(());
        }
        // Boxed: every block and every query has a flush in its future, and most of them have nothing to flush.
        boxed(|| self.flush_dirty()).await
    }

    async fn flush_dirty(&mut self) -> Result<(), Error> {
        if let Some(refused) = self.refused_add.take() {
            return Err(self.flush_failed(refused).await);
        }
        for _ in 0..MOST_FLUSH_ROUNDS {
            if !self.shared.has_dirty() {
                return Ok(());
            }
            if let Err(e) = self.flush_round().await {
                return Err(self.flush_failed(e).await);
            }
        }
        if !self.shared.has_dirty() {
            return Ok(());
        }
        let cause = Error::usage(format!(
            "objects were still dirty after {MOST_FLUSH_ROUNDS} flushes: a hook changes them every time"
        ));
        Err(self.flush_failed(cause).await)
    }

    async fn flush_round(&mut self) -> Result<(), Error> {
        let before = self.flush_hooks.0.clone();
        before.iter().try_for_each(|hook| hook())?;
        let mut dirty = self.take_dirty_with_children()?;
        self.take_along(&mut dirty);
        let due: Vec<Member> = dirty.into_iter().filter_map(|o| o.due().map(|kind| (o, kind))).collect();
        if due.is_empty() {
            return Ok(());
        }
        // If this future is dropped, the objects are found again by the rollback of their block.
        let mut guard = Requeue { shared: self.shared.clone(), due };
        refuse_last_versions(&guard.due)?;
        self.ready().await?;
        self.connection.counters().flush();
        let span = debug_span!("sea_session.flush", objects = guard.due.len());
        self.shared.joins.flushed();
        let watch = match self.observes_all() {
            true => Watch::All,
            false if guard.due.iter().any(|(object, _)| object.table().is_observed()) => Watch::Observed,
            false => Watch::Nothing,
        };
        // Dropped half-way, the changes would be there without what is to be told of them.
        self.observing = watch != Watch::Nothing;
        let outcome = in_span(&span, self.flushing(watch).run(&guard.due)).await;
        match outcome {
            Ok(changes) => {
                guard.due.clear();
                if self.connection.was_lent() {
                    self.shared.joins.unknown();
                }
                self.worked();
                let after = self.flush_hooks.1.clone();
                after.iter().try_for_each(|hook| hook())?;
                if !changes.is_empty() {
                    // Boxed: few flushes are observed.
                    boxed(|| self.observed(changes)).await?;
                }
                self.observing = false;
                Ok(())
            }
            Err(e) => {
                drop(guard);
                Err(e)
            }
        }
    }

    /// What a flush works on, and a statement that does to objects what one would.
    pub(crate) fn flushing(&mut self, watch: Watch) -> Flush<'_> {
        let holder = self.holder();
        let frame = &mut self.frames[holder];
        Flush {
            connection: &mut self.connection,
            map: &mut self.map,
            undo: &mut frame.undo,
            frame: frame.id,
            tenant: self.settings.tenant.as_ref().map(|(_, tenant)| tenant.as_str()),
            xid: &mut self.xid,
            show_values: self.settings.show_values,
            expresses: self.shared.has_expressions(),
            gone: &mut self.gone,
            found_gone: false,
            watch,
            cascaded: Default::default(),
        }
    }

    /// The dirty objects, and those that follow one of them: their foreign keys join what changed there (D6).
    fn take_dirty_with_children(&self) -> Result<Vec<Arc<AnyObject>>, Error> {
        let mut dirty = self.shared.take_dirty();
        let mut led = 0;
        while led < dirty.len() && self.shared.has_leaders() {
            let outcome = dirty[led..].iter().try_for_each(|object| object.lead());
            led = dirty.len();
            dirty.extend(self.shared.take_dirty());
            if let Err(e) = outcome {
                dirty.into_iter().for_each(|object| self.shared.enlist(object));
                return Err(e);
            }
        }
        Ok(dirty)
    }

    /// A failed flush puts memory and database back to the nearest boundary at once (S8); the block then stays flagged.
    pub(crate) async fn flush_failed(&mut self, error: Error) -> Error {
        if matches!(error, Error::Refused { .. }) {
            return error;
        }
        self.observing = false;
        self.failed(&error);
        let boundary = self.frames.iter().rposition(|frame| frame.kind != BlockKind::Merged).unwrap_or(0);
        let restored = self.restore_memory(boundary);
        for object in std::mem::take(&mut self.gone) {
            object.forget(&mut self.map);
        }
        let frame = &mut self.frames[boundary];
        let flag = Flag { cause: error.clone(), by_caller: false, aborted: true };
        frame.set_flag(flag);
        if frame.kind == BlockKind::Savepoint && frame.live && !self.lost() {
            let id = self.frames[boundary].id;
            self.gone_with(id);
            if let Err(e) = self.roll_back_to(id, restored).await {
                tracing::error!(error = %e, "the savepoint could not be rolled back to after a failed flush");
            } else if let Some(flag) = &mut self.frames[boundary].flag {
                flag.aborted = false;
            }
        }
        error
    }

    /// Takes back everything that the block at `index` (and blocks inside it) did to objects. Only then may the server go back.
    pub(super) fn restore_memory(&mut self, index: usize) -> Restored {
        self.refused_add = None;
        let mut dropped = false;
        for object in self.shared.take_dirty() {
            dropped |= object.revert(&mut self.map);
        }
        if dropped && self.shared.is_doomed() {
            tracing::warn!("changes that were not flushed were dropped with the rollback of their block (S9)");
        }
        self.loaded.forget_since(self.frames[index].id);
        for at in (index..self.frames.len()).rev() {
            self.frames[at].changes.clear();
            let (id, undo) = (self.frames[at].id, std::mem::take(&mut self.frames[at].undo));
            undo.rollback(id, &mut self.map);
        }
        Restored(())
    }

    /// Rolls the server back to a savepoint, after memory (INV4).
    pub(super) async fn roll_back_to(&mut self, savepoint: u64, _: Restored) -> Result<(), Error> {
        let text = format!("ROLLBACK TO SAVEPOINT {}", savepoint_name(savepoint));
        self.connection.send(Message::Control(&text)).await.map(|_| ())
    }
}

/// Memory was restored to before a block: what must have happened before the server is rolled back (INV4).
#[must_use = "memory went back, and the server has to follow"]
pub(super) struct Restored(());

/// Puts objects back on the dirty list if the flush that took them off does not finish, so that a rollback finds them.
struct Requeue {
    shared: Arc<Shared>,
    due: Vec<Member>,
}

impl Drop for Requeue {
    fn drop(&mut self) {
        self.due.drain(..).for_each(|(object, _)| self.shared.enlist_again(object));
    }
}
