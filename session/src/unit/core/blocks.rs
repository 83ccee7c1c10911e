//! Nested blocks of a session, savepoints by hand among them: how they begin and end, what a parent inherits, and the flag
//! (A, B, S2). What is done in which state is [`crate::unit::block_table`]'s table; memory goes back before the server does.

use std::sync::Arc;

use super::Core;
use crate::{
    error::Error,
    unit::{
        block_table::{BlockAction, BlockEvent, BlockKind, decide},
        frame::{Flag, Frame},
    },
};

impl Core {
    /// Enters a nested block; the parent's pending work is sent first and belongs to the parent (S1).
    pub(crate) async fn enter(&mut self, kind: BlockKind, manual: bool) -> Result<usize, Error> {
        self.usable()?;
        let flagged = self.frames.iter().any(|frame| frame.flag.is_some());
        // A block entered while flagged has nothing to save: what it would send is refused (A3).
        let kind = if flagged { BlockKind::Merged } else { kind };
        if !flagged && kind == BlockKind::Savepoint && (self.shared.has_dirty() || self.refused_add.is_some()) {
            self.flush().await?;
        }
        let id = match kind {
            BlockKind::Merged => self.top().id,
            _ => {
                self.next_frame += 1;
                self.shared.entered(self.next_frame);
                self.next_frame
            }
        };
        self.frames.push(Frame::new(id, kind, manual));
        self.follow_top();
        Ok(self.frames.len() - 1)
    }

    /// New changes and hooks belong to the innermost block.
    pub(super) fn follow_top(&mut self) {
        let id = self.top().id;
        self.hooks.enter(id);
        let doomed = self.frames.iter().any(|frame| frame.flag.is_some());
        self.shared.set_doomed(doomed);
    }

    /// The block at `index` ended well. `Err` says why it was rolled back after all.
    pub(crate) async fn exit_ok(&mut self, index: usize) -> Result<(), Error> {
        if let Some(lost) = self.connection.lost().cloned() {
            self.exit_err(index).await;
            return Err(lost);
        }
        if self.owed.is_empty() {
            self.note_unfinished();
        }
        let flushes = self.frames[index].kind == BlockKind::Savepoint
            && self.frames[index..].iter().all(|frame| frame.flag.is_none());
        if flushes
            && (self.shared.has_dirty() || self.refused_add.is_some())
            && let Err(e) = self.flush().await
        {
            self.exit_err(index).await;
            return Err(e);
        }
        let Some(flag) = self.flag_inside(index).cloned() else {
            for at in (index..self.frames.len()).rev() {
                self.release_frame(at);
            }
            return Ok(());
        };
        if decide(self.frames[index].kind, self.standing(index, true), BlockEvent::ExitOk) == BlockAction::FlagParent {
            self.hand_to_parent(index, flag);
            return Ok(());
        }
        self.exit_err(index).await;
        if flag.by_caller { Ok(()) } else { Err(Error::RolledBack { cause: Arc::new(flag.cause) }) }
    }

    /// Ends one clean frame, the innermost.
    pub(super) fn release_frame(&mut self, at: usize) {
        let action = decide(self.frames[at].kind, self.standing(at, false), BlockEvent::ExitOk);
        let Some(frame) = self.frames.pop() else { return };
        debug_assert_eq!(at, self.frames.len());
        if frame.kind != BlockKind::Merged {
            let holder = self.frames.iter().rposition(|f| f.kind != BlockKind::Merged).unwrap_or(0);
            let parent = self.frames[holder].id;
            self.frames[holder].changes.extend(frame.changes);
            frame.undo.release_into(&mut self.frames[holder].undo, frame.id, parent, holder > 0);
            self.hooks.release(frame.id, parent);
            self.filters.release(frame.id, parent);
            if action == BlockAction::Release {
                self.ride(frame.id);
            }
        }
        self.follow_top();
    }

    /// A merged block ended under a flag. What it did, and what savepoints made inside it did, is its parent's to undo.
    fn hand_to_parent(&mut self, index: usize, flag: Flag) {
        for at in (index..self.frames.len()).rev() {
            self.release_frame(at);
        }
        self.top().set_flag(flag);
        self.follow_top();
    }

    /// The block at `index` ended badly: memory goes back at once, then the server.
    pub(crate) async fn exit_err(&mut self, index: usize) {
        self.abandon(index);
        if self.lost() {
            return;
        }
        if let Err(e) = self.settle().await {
            tracing::error!(error = %e, "a savepoint could not be rolled back to; the block around it must roll back (A6)");
        }
    }

    /// Rolls memory back to before the block at `index` and notes what the server is owed. Sends nothing, so it can run in
    /// a drop (C2).
    pub(crate) fn abandon(&mut self, index: usize) {
        if index == 0 || index >= self.frames.len() {
            return;
        }
        self.refused_add = None;
        if self.frames[index].kind == BlockKind::Merged {
            let cause = self.flag_inside(index).cloned().unwrap_or_else(|| Flag {
                cause: Error::usage("a merged block inside this one ended with an error"),
                by_caller: false,
                aborted: false,
            });
            self.hand_to_parent(index, cause);
            return;
        }
        let restored = self.restore_memory(index);
        let mut outermost_live = None;
        for at in (index..self.frames.len()).rev() {
            let action = decide(self.frames[at].kind, self.standing(at, true), BlockEvent::ExitErr);
            let Some(frame) = self.frames.pop() else { break };
            self.filters.rolled_back(frame.id);
            let due = self.hooks.rolled_back(frame.id);
            self.due.extend(due);
            if action == BlockAction::RollbackTo {
                outermost_live = Some(frame.id);
            }
            debug_assert_eq!(at, self.frames.len());
        }
        if let Some(savepoint) = outermost_live {
            self.gone_with(savepoint);
            self.owed.push((savepoint, restored));
        }
        self.follow_top();
    }

    // ---- savepoints by hand ----------------------------------------------------------------------------------------

    /// Where the savepoint `id` is, if the block that is running may use it (B1).
    pub(crate) fn manual_frame(&self, id: u64) -> Result<usize, Error> {
        let block = self.frames.iter().rposition(|frame| !frame.manual).unwrap_or(0);
        match self.frames.iter().rposition(|frame| frame.manual && frame.id == id) {
            Some(at) if at > block => Ok(at),
            Some(_) => {
                Err(Error::usage("this savepoint is outside the block that is running; roll the block back instead"))
            }
            None => Err(Error::usage(
                "this savepoint no longer exists: it was released, or rolled back with what was around it",
            )),
        }
    }

    /// Rolls back to a savepoint and keeps it, so that it can be rolled back to again.
    pub(crate) async fn rollback_to(&mut self, id: u64) -> Result<(), Error> {
        self.usable()?;
        let at = self.manual_frame(id)?;
        if let Some(lost) = self.connection.lost() {
            return Err(lost.clone());
        }
        let restored = self.restore_memory(at);
        let was_live = self.frames[at].live;
        for frame in self.frames.drain(at..).rev() {
            self.filters.rolled_back(frame.id);
            let due = self.hooks.rolled_back(frame.id);
            self.due.extend(due);
        }
        let mut frame = Frame::new(id, BlockKind::Savepoint, true);
        frame.live = was_live;
        self.frames.push(frame);
        self.follow_top();
        if was_live {
            self.gone_with(id);
            self.connection.forgive_cancelled();
            self.observing = false;
            let sent = self.roll_back_to(id, restored).await;
            sent.inspect_err(|e| self.failed(e))?;
        }
        // One at a time: if this future is dropped in one hook, the others are still due.
        while !self.due.is_empty() {
            self.due.remove(0).run().await;
        }
        Ok(())
    }

    /// Ends a savepoint and keeps what was done since.
    pub(crate) async fn release(&mut self, id: u64) -> Result<(), Error> {
        self.usable()?;
        let at = self.manual_frame(id)?;
        self.exit_ok(at).await
    }

    // ---- the flag --------------------------------------------------------------------------------------------------

    pub(crate) fn set_rollback(&mut self, rollback: bool) -> Result<(), Error> {
        self.usable()?;
        let at = self.frames.iter().rposition(|frame| frame.kind != BlockKind::Merged).unwrap_or(0);
        if rollback {
            let cause = Error::usage("the block was marked for rollback with `set_rollback(true)`");
            self.frames[at].set_flag(Flag { cause, by_caller: true, aborted: false });
        } else {
            let flagged = self.frames[at..].iter().filter_map(|frame| frame.flag.as_ref());
            if flagged.clone().any(|flag| flag.aborted) {
                return Err(Error::usage("the database has aborted this block: roll back to a savepoint first"));
            }
            self.frames[at..].iter_mut().for_each(|frame| frame.flag = None);
        }
        self.follow_top();
        Ok(())
    }
}
