//! The inside of a session: connection, open blocks, identity map, and the order in which they are brought to agree.
//!
//! Memory follows the database (INV4): every path that rolls back SQL rolls back objects first, by value and without a
//! query. The first cause of a failure is never replaced (INV6).

use std::{sync::Arc, time::Instant};

use chrono::Utc;
use sea_orm::{DbBackend, IsolationLevel};

use crate::{
    block::{Action, BlockKind, BlockState, Event, Flag, Frame, decide, savepoint_name},
    connection::{Connection, Message, Reply},
    error::{Class, Error},
    fate::Fate,
    flush::{Flush, RowKind},
    hooks::{Due, Hooks},
    identity::IdentityMap,
    options::Settings,
    retry,
    shared::Shared,
    tracked::{AnyObject, Stamp},
};

/// PostgreSQL keeps this many subtransactions in shared memory; more of them spill to disk (A15).
const MANY_SAVEPOINTS: usize = 64;
/// A hook that dirties objects in every round is stopped after this many (S11).
const MOST_FLUSH_ROUNDS: usize = 100;
/// Lazy loads of one relation before they are reported as N+1 (I8).
pub(crate) const LAZY_LOADS_REPORTED: usize = 10;

/// Where a unit stands (B2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Nothing was sent.
    New,
    /// BEGIN was sent.
    Started,
    /// It was committed; the session cannot be used again.
    Committed,
    /// It was rolled back; the session cannot be used again.
    RolledBack,
    /// Its end failed or is not known; the session cannot be used again.
    Failed,
}

type FlushHook = Arc<dyn Fn() -> Result<(), Error> + Send + Sync>;

pub(crate) struct Core {
    pub(crate) connection: Connection,
    pub(crate) frames: Vec<Frame>,
    pub(crate) map: IdentityMap,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hooks: Hooks,
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: UnitState,
    pub(crate) autoflush: bool,
    pub(crate) flush_hooks: (Vec<FlushHook>, Vec<FlushHook>),
    /// Lazy loads by relation, for the N+1 report.
    pub(crate) lazy: rustc_hash::FxHashMap<&'static str, usize>,
    /// An error that `add` could not return; the next flush does (I2).
    pub(crate) refused_add: Option<Error>,
    /// The first error that says the unit should be repeated, whatever the caller made of it (R5).
    pub(crate) said: Option<Error>,
    /// Look-ups that the map answered, counted here because a shared counter would cost more than the look-up.
    pub(crate) hits: u64,
    /// The transaction's id, once a write has told it (R9).
    pub(crate) xid: Option<String>,
    /// When BEGIN was sent: a server that crashed since may have given the transaction's id away again (R9).
    pub(crate) began: Option<Instant>,
    /// The token that rides with COMMIT, for servers that cannot tell by the id (R9).
    pub(crate) token: Option<crate::tokens::Token>,
    /// Cursors that a stream may have left open; the number names the next one.
    pub(crate) cursors_left: usize,
    next_frame: u64,
    /// Savepoints whose RELEASE rides with the next message, oldest first.
    riding: Vec<u64>,
    /// Savepoints that must be rolled back to before anything else is sent, oldest first.
    owed: Vec<u64>,
    /// `on_rollback` hooks of blocks that were dropped.
    due: Vec<Due>,
    warned_of_savepoints: bool,
}

impl Core {
    pub(crate) fn new(connection: Connection, settings: Arc<Settings>) -> Self {
        // A serializable transaction is told by the database itself (P3).
        let optimistic = settings.optimistic && settings.isolation != Some(IsolationLevel::Serializable);
        let shared = Shared::new(settings.strict, optimistic, settings.show_values);
        let hooks = Hooks::default();
        Self {
            connection,
            frames: vec![Frame::new(0, BlockKind::Unit, false)],
            map: IdentityMap::default(),
            shared,
            hooks,
            settings,
            state: UnitState::New,
            autoflush: true,
            flush_hooks: (Vec::new(), Vec::new()),
            lazy: rustc_hash::FxHashMap::default(),
            refused_add: None,
            said: None,
            hits: 0,
            xid: None,
            began: None,
            token: None,
            cursors_left: 0,
            next_frame: 1,
            riding: Vec::new(),
            owed: Vec::new(),
            due: Vec::new(),
            warned_of_savepoints: false,
        }
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.connection.backend()
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        match self.state {
            UnitState::New | UnitState::Started => Ok(()),
            UnitState::Committed => Err(Error::usage("this unit of work was committed; open a new one")),
            UnitState::RolledBack => Err(Error::usage("this unit of work was rolled back; open a new one")),
            UnitState::Failed => Err(Error::usage("this unit of work has failed; open a new one")),
        }
    }

    /// The innermost open block. The unit's is always there.
    pub(crate) fn top(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// The flag that a statement sent now would meet: the innermost block's, or that of one around it.
    pub(crate) fn flag_around(&self) -> Option<&Flag> {
        self.frames.iter().rev().find_map(|frame| frame.flag.as_ref())
    }

    /// The flag that keeps the block at `index` from ending well: its own, or that of one left open inside it.
    fn flag_inside(&self, index: usize) -> Option<&Flag> {
        self.frames[index..].iter().find_map(|frame| frame.flag.as_ref())
    }

    /// Where the block at `index` stands, as the table of blocks has it.
    pub(crate) fn standing(&self, index: usize, flagged: bool) -> BlockState {
        // A merged block has no SQL of its own: it is as live as the block that its statements run in.
        let holder = self.frames[..=index].iter().rev().find(|frame| frame.kind != BlockKind::Merged);
        BlockState::of(self.lost(), flagged, holder.is_some_and(|frame| frame.live))
    }

    /// The innermost block that can be rolled back by itself: what happens to objects belongs to it.
    pub(crate) fn holder(&self) -> usize {
        self.frames.iter().rposition(|frame| frame.kind != BlockKind::Merged).unwrap_or(0)
    }

    fn lost(&self) -> bool {
        self.connection.lost().is_some()
    }

    // ---- statements ------------------------------------------------------------------------------------------------

    /// Sends a statement of the caller: pending changes first, then BEGIN and SAVEPOINT if they are still owed.
    pub(crate) async fn statement(&mut self, message: Message<'_>) -> Result<Reply, Error> {
        self.statement_about(message, false).await
    }

    /// As [`Core::statement`]; `hush` keeps the values of a table with secrets out of the log.
    pub(crate) async fn statement_about(&mut self, message: Message<'_>, hush: bool) -> Result<Reply, Error> {
        self.flush_before_query().await?;
        self.ready().await?;
        if hush {
            self.connection.hush();
        }
        let sent = self.connection.send(message).await;
        if sent.is_ok() {
            self.worked();
        }
        sent.inspect_err(|e| self.failed(e))
    }

    /// A query sees what was changed: it is flushed first (F7 says when not).
    pub(crate) async fn flush_before_query(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.autoflush && self.shared.has_dirty() {
            self.flush().await?;
        }
        Ok(())
    }

    /// A statement worked, so an earlier failure was dealt with: what the caller says from here on is its own (R6).
    fn worked(&mut self) {
        if !self.said.as_ref().and_then(Error::class).is_some_and(retry::dooms_unit) {
            self.said = None;
        }
    }

    /// Notes a failed statement: its block must roll back (A14), and perhaps the unit (R8).
    fn failed(&mut self, error: &Error) {
        let class = error.class();
        if class == Some(Class::Decode) {
            return;
        }
        // The last word counts, unless an earlier one already asked for the whole unit to be repeated.
        let asked = self.said.as_ref().and_then(Error::class).is_some_and(retry::dooms_unit);
        if !asked {
            self.said = Some(error.clone());
        }
        let aborted = self.backend() != DbBackend::Sqlite;
        let flag = Flag { cause: error.clone(), by_caller: false, aborted };
        if class.is_some_and(retry::dooms_unit) {
            self.frames[0].set_flag(flag.clone());
        }
        self.top().set_flag(flag);
        self.shared.set_doomed(true);
    }

    /// Brings the server to the block that the next statement belongs to.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        if let Some(lost) = self.connection.lost() {
            return Err(Error::Refused { cause: Arc::new(lost.clone()) });
        }
        self.settle().await?;
        self.note_unfinished();
        let top = self.frames.len() - 1;
        let flag = self.flag_around();
        let action = decide(self.frames[top].kind, self.standing(top, flag.is_some()), Event::Statement);
        if let (Action::Refuse, Some(flag)) = (action, flag) {
            return Err(Error::Refused { cause: Arc::new(flag.cause.clone()) });
        }
        self.open_blocks().await
    }

    /// A statement that was dropped half-way, and a stream that failed, flag the block as if they had been awaited.
    fn note_unfinished(&mut self) {
        if let Some(e) = self.connection.take_failed_stream() {
            self.failed(&e);
        }
        if self.connection.was_cancelled() {
            self.failed(&Error::Cancelled);
        }
    }

    /// Sends what the open blocks still owe: RELEASE of closed ones, BEGIN, SAVEPOINT, all in one message.
    async fn open_blocks(&mut self) -> Result<(), Error> {
        match self.frames.iter().position(|frame| !frame.live && frame.kind != BlockKind::Merged) {
            // Boxed: once a block, so that no statement's future has room for it.
            Some(first) => Box::pin(self.open_blocks_from(first)).await,
            None => Ok(()),
        }
    }

    async fn open_blocks_from(&mut self, first: usize) -> Result<(), Error> {
        let mut parts: Vec<String> = std::mem::take(&mut self.riding).into_iter().rev().map(release_text).collect();
        for index in first..self.frames.len() {
            let frame = &self.frames[index];
            match decide(frame.kind, self.standing(index, false), Event::Statement) {
                Action::Begin => {
                    parts.push(self.settings.begin_text(self.backend()));
                    if self.settings.settle {
                        parts.push("SELECT pg_current_xact_id()::text AS sea_session_xid".into());
                    }
                    self.connection.opening();
                    self.state = UnitState::Started;
                    self.began = Some(Instant::now());
                }
                Action::Savepoint => {
                    parts.push(format!("SAVEPOINT {}", frame.savepoint_name()));
                    self.connection.counters().savepoint();
                }
                _ => continue,
            }
            self.frames[index].live = true;
        }
        self.warn_of_savepoints();
        let sent = self.connection.send(Message::Control(&parts.join("; "))).await;
        if let Ok(reply) = sent {
            self.xid =
                self.xid.take().or_else(|| reply.rows().iter().find_map(|row| row.try_get("", "sea_session_xid").ok()));
        } else if let Err(e) = sent {
            // Which of the message's parts worked is not asked: the block around them rolls back.
            let around = first.saturating_sub(1);
            for frame in &mut self.frames[first.max(1)..] {
                frame.live = false;
            }
            if !self.connection.is_held() {
                // No connection was to be had: there is nothing to roll back, and nobody to ask for it again.
                self.frames[0].live = false;
                self.connection.closed();
            }
            self.failed(&e);
            let flag = Flag { cause: e.clone(), by_caller: false, aborted: true };
            self.frames[around].set_flag(flag);
            return Err(e);
        }
        Ok(())
    }

    fn warn_of_savepoints(&mut self) {
        let open = self.frames.iter().filter(|frame| frame.kind == BlockKind::Savepoint && frame.live).count();
        if open >= MANY_SAVEPOINTS && !self.warned_of_savepoints {
            self.warned_of_savepoints = true;
            tracing::warn!(
                open,
                "64 savepoints are open at once: PostgreSQL keeps no more than 64 subtransactions of a session in memory, and every look at a row gets slower"
            );
        }
    }

    /// Rolls the server back to where memory went already: blocks that were dropped (C2).
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        if self.owed.is_empty() && self.due.is_empty() {
            return Ok(());
        }
        // Boxed: after a rollback only, so that no statement's future has room for it.
        Box::pin(self.settle_owed()).await
    }

    async fn settle_owed(&mut self) -> Result<(), Error> {
        while let Some(savepoint) = self.owed.last().copied() {
            // Sent again after a cancelled attempt it does the same, so nothing depends on the answer having come.
            self.connection.forgive_cancelled();
            let name = savepoint_name(savepoint);
            let sent = self.connection.send(Message::Control(&format!("ROLLBACK TO SAVEPOINT {name}"))).await;
            self.owed.pop();
            match sent {
                Ok(_) => self.ride(savepoint),
                Err(e) => {
                    self.failed(&e);
                    return Err(e);
                }
            }
        }
        // One at a time: if this future is dropped in one hook, the others are still due.
        while !self.due.is_empty() {
            self.due.remove(0).run().await;
        }
        Ok(())
    }

    /// RELEASE of this savepoint rides with the next message. Those inside it go with it.
    fn ride(&mut self, savepoint: u64) {
        self.riding.retain(|inner| *inner < savepoint);
        self.riding.push(savepoint);
    }

    // ---- flush -----------------------------------------------------------------------------------------------------

    /// Sends what is dirty, until nothing is (S11).
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.refused_add.is_none() && !self.shared.has_dirty() {
            return Ok(());
        }
        // Boxed: every block and every query has a flush in its future, and most of them have nothing to flush.
        Box::pin(self.flush_dirty()).await
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
        let dirty = self.shared.take_dirty();
        let due: Vec<(Arc<dyn AnyObject>, RowKind)> =
            dirty.into_iter().filter_map(|o| o.due().map(|kind| (o, kind))).collect();
        if due.is_empty() {
            return Ok(());
        }
        if let Err(e) = self.ready().await {
            return Err(self.keep_dirty(due, e));
        }
        self.connection.counters().flush();
        let span = tracing::debug_span!("sea_session.flush", objects = due.len());
        let frame = self.top().id;
        let last = self.frames.iter().rposition(|f| f.kind != BlockKind::Merged).unwrap_or(0);
        let flush = Flush {
            connection: &mut self.connection,
            map: &mut self.map,
            undo: &mut self.frames[last].undo,
            frame,
            stamp: Stamp { now: Utc::now(), tenant: self.settings.tenant.as_ref().map(|(_, tenant)| tenant.clone()) },
            xid: &mut self.xid,
            show_values: self.settings.show_values,
            json_binary: Vec::new(),
        };
        // If this future is dropped, the objects are found again by the rollback of their block.
        let mut guard = Requeue { shared: self.shared.clone(), objects: due.iter().map(|(o, _)| o.clone()).collect() };
        let outcome = tracing::Instrument::instrument(flush.run(due), span).await;
        match outcome {
            Ok(()) => {
                guard.objects.clear();
                self.worked();
                let after = self.flush_hooks.1.clone();
                after.iter().try_for_each(|hook| hook())
            }
            Err(e) => {
                drop(guard);
                Err(e)
            }
        }
    }

    fn keep_dirty(&self, due: Vec<(Arc<dyn AnyObject>, RowKind)>, error: Error) -> Error {
        due.into_iter().for_each(|(object, _)| self.shared.enlist_again(object));
        error
    }

    /// A failed flush puts memory and database back to the nearest boundary at once (S8); the block then stays flagged.
    async fn flush_failed(&mut self, error: Error) -> Error {
        if matches!(error, Error::Refused { .. }) {
            return error;
        }
        self.failed(&error);
        let boundary = self.frames.iter().rposition(|frame| frame.kind != BlockKind::Merged).unwrap_or(0);
        self.restore_memory(boundary);
        let frame = &mut self.frames[boundary];
        let flag = Flag { cause: error.clone(), by_caller: false, aborted: true };
        frame.set_flag(flag);
        if frame.kind == BlockKind::Savepoint && frame.live && !self.lost() {
            let id = self.frames[boundary].id;
            self.riding.retain(|inner| *inner < id);
            let text = format!("ROLLBACK TO SAVEPOINT {}", savepoint_name(id));
            if let Err(e) = self.connection.send(Message::Control(&text)).await {
                tracing::error!(error = %e, "the savepoint could not be rolled back to after a failed flush");
            } else if let Some(flag) = &mut self.frames[boundary].flag {
                flag.aborted = false;
            }
        }
        error
    }

    /// Takes back everything that the block at `index` (and blocks inside it) did to objects.
    fn restore_memory(&mut self, index: usize) {
        self.refused_add = None;
        let mut dropped = false;
        for object in self.shared.take_dirty() {
            dropped |= object.revert(&mut self.map);
        }
        if dropped && self.shared.is_doomed() {
            tracing::warn!("changes that were not flushed were dropped with the rollback of their block (S9)");
        }
        for at in (index..self.frames.len()).rev() {
            let (id, undo) = (self.frames[at].id, std::mem::take(&mut self.frames[at].undo));
            undo.rollback(id, &mut self.map);
        }
    }

    // ---- blocks ----------------------------------------------------------------------------------------------------

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
                self.next_frame
            }
        };
        self.frames.push(Frame::new(id, kind, manual));
        self.follow_top();
        Ok(self.frames.len() - 1)
    }

    /// New changes and hooks belong to the innermost block.
    fn follow_top(&mut self) {
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
        if decide(self.frames[index].kind, self.standing(index, true), Event::ExitOk) == Action::FlagParent {
            self.hand_to_parent(index, flag);
            return Ok(());
        }
        self.exit_err(index).await;
        if flag.by_caller { Ok(()) } else { Err(Error::RolledBack { cause: Arc::new(flag.cause) }) }
    }

    /// Ends one clean frame, the innermost.
    fn release_frame(&mut self, at: usize) {
        let action = decide(self.frames[at].kind, self.standing(at, false), Event::ExitOk);
        let Some(frame) = self.frames.pop() else { return };
        debug_assert_eq!(at, self.frames.len());
        if frame.kind != BlockKind::Merged {
            let holder = self.frames.iter().rposition(|f| f.kind != BlockKind::Merged).unwrap_or(0);
            let parent = self.frames[holder].id;
            frame.undo.release_into(&mut self.frames[holder].undo, frame.id, parent, holder > 0);
            self.hooks.release(frame.id, parent);
            if action == Action::Release {
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
        self.restore_memory(index);
        let mut outermost_live = None;
        for at in (index..self.frames.len()).rev() {
            let action = decide(self.frames[at].kind, self.standing(at, true), Event::ExitErr);
            let Some(frame) = self.frames.pop() else { break };
            let due = self.hooks.rolled_back(frame.id);
            self.due.extend(due);
            if action == Action::RollbackTo {
                outermost_live = Some(frame.id);
            }
            debug_assert_eq!(at, self.frames.len());
        }
        if let Some(savepoint) = outermost_live {
            self.riding.retain(|inner| *inner < savepoint);
            self.owed.retain(|inner| *inner < savepoint);
            self.owed.push(savepoint);
        }
        self.follow_top();
    }

    // ---- the end of the unit ---------------------------------------------------------------------------------------

    /// Commits the unit: flush, COMMIT, hooks. On any failure the unit is rolled back.
    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        if !self.ready_to_commit().await? {
            return Ok(());
        }
        self.commit_ready().await?;
        self.hooks.committed().await
    }

    /// Sends what is left to send, and decides. `false`: rolled back, because the caller wished it. `Err`: rolled back.
    pub(crate) async fn ready_to_commit(&mut self) -> Result<bool, Error> {
        self.usable()?;
        if let Some(lost) = self.connection.lost().cloned() {
            self.rollback().await;
            return Err(lost);
        }
        for at in (1..self.frames.len()).rev() {
            if self.frames[at].flag.is_some() || self.frames[0].flag.is_some() {
                break;
            }
            if let Err(e) = self.flush().await {
                self.rollback().await;
                return Err(e);
            }
            self.release_frame(at);
        }
        let unflagged = self.frames.iter().all(|frame| frame.flag.is_none());
        if unflagged && let Err(e) = self.finish_work().await {
            self.rollback().await;
            return Err(e);
        }
        if let Some(flag) = self.frames.iter().find_map(|frame| frame.flag.clone()) {
            self.rollback().await;
            return if flag.by_caller { Ok(false) } else { Err(Error::RolledBack { cause: Arc::new(flag.cause) }) };
        }
        Ok(true)
    }

    /// COMMIT, without the hooks.
    pub(crate) async fn commit_ready(&mut self) -> Result<(), Error> {
        if decide(BlockKind::Unit, self.standing(0, false), Event::ExitOk) == Action::Commit {
            self.send_commit().await?;
        }
        self.leave_word(Fate::Committed);
        self.ended(UnitState::Committed);
        Ok(())
    }

    /// Writes a commit token in this transaction (M2, R9), beginning it if need be.
    pub(crate) async fn leave_token(&mut self, token: crate::tokens::Token) -> Result<(), Error> {
        self.ready().await?;
        let sent = self.connection.send(Message::Unprepared(&token.insert_text())).await;
        if let Err(e) = sent {
            self.rollback().await;
            return Err(e);
        }
        Ok(())
    }

    /// First phase of two (M2): the transaction outlives its connection under `gid`. `false` if there is nothing to prepare.
    pub(crate) async fn prepare(&mut self, gid: &str) -> Result<bool, Error> {
        if !self.frames[0].live {
            return Ok(false);
        }
        self.riding.clear();
        let text = format!("PREPARE TRANSACTION {}", crate::options::literal(gid));
        if let Err(e) = self.connection.send(Message::Control(&text)).await {
            self.rollback().await;
            return Err(e);
        }
        self.connection.closed();
        // The second phase needs a connection of its own, and a pool of one has no other.
        self.connection.release();
        Ok(true)
    }

    /// The unit ended elsewhere: its prepared transaction was committed, or rolled back.
    pub(crate) fn ended_elsewhere(&mut self, committed: bool) {
        if committed {
            self.ended(UnitState::Committed);
        } else {
            let due = self.forget_work();
            due.into_iter().for_each(Due::spawn);
            self.hooks.over();
            self.ended(UnitState::RolledBack);
        }
    }

    /// What became of a COMMIT whose answer was lost is known now, or known not to be knowable (R9).
    pub(crate) async fn settled(&mut self, committed: bool, outcome: Result<(), Error>) -> Result<(), Error> {
        if committed {
            self.leave_word(Fate::Committed);
            self.ended(UnitState::Committed);
            return self.hooks.committed().await;
        }
        let due = self.forget_work();
        self.ended(UnitState::Failed);
        if !matches!(outcome, Err(Error::CommitUnknown { .. })) {
            self.leave_word(Fate::RolledBack);
            for hook in due {
                hook.run().await;
            }
        }
        self.hooks.over();
        outcome
    }

    async fn finish_work(&mut self) -> Result<(), Error> {
        self.flush().await?;
        self.settle().await?;
        self.note_unfinished();
        Ok(())
    }

    async fn send_commit(&mut self) -> Result<(), Error> {
        let mut text = format!("COMMIT{}", self.settings.end_text(self.backend()));
        if self.settings.settle_by_token {
            let token = crate::tokens::Token::new();
            text = format!("{}; {text}", token.insert_text());
            self.token = Some(token);
        }
        self.riding.clear();
        self.leave_word(Fate::Unknown);
        let Err(e) = self.connection.send(Message::Control(&text)).await else {
            self.connection.closed();
            return Ok(());
        };
        if e.is_connection_lost() || e.class() == Some(Class::CompletionUnknown) {
            self.connection.discard(e.clone());
            self.state = UnitState::Failed;
            return Err(Error::CommitUnknown { cause: Arc::new(e) });
        }
        self.leave_word(Fate::RolledBack);
        if self.said.is_none() && e.class().is_some_and(retry::dooms_unit) {
            self.said = Some(e.clone());
        }
        self.rollback().await;
        Err(e)
    }

    fn leave_word(&self, fate: Fate) {
        if let Some(word) = &self.settings.word {
            word.leave(fate);
        }
    }

    /// Rolls the unit back. Never fails: what cannot be rolled back is closed (A5, C4).
    pub(crate) async fn rollback(&mut self) {
        let action = decide(BlockKind::Unit, self.standing(0, true), Event::ExitErr);
        let due = self.forget_work();
        if action == Action::Rollback {
            self.connection.forgive_cancelled();
            let text = format!("ROLLBACK{}", self.settings.end_text(self.backend()));
            match self.connection.send(Message::Control(&text)).await {
                Ok(_) => self.connection.closed(),
                Err(e) if e.to_string().contains("no transaction is active") => self.connection.closed(),
                Err(e) => self.connection.discard(e),
            }
        }
        self.ended(UnitState::RolledBack);
        for hook in due {
            hook.run().await;
        }
        self.hooks.over();
    }

    /// Memory goes back to before the unit; says which `on_rollback` hooks are due.
    fn forget_work(&mut self) -> Vec<Due> {
        self.restore_memory(0);
        self.riding.clear();
        self.owed.clear();
        let mut due = std::mem::take(&mut self.due);
        for frame in self.frames.drain(1..).rev() {
            due.extend(self.hooks.rolled_back(frame.id));
        }
        due.extend(self.hooks.rolled_back(0));
        due
    }

    /// Puts what was counted aside into the unit's numbers.
    pub(crate) fn report_hits(&mut self) {
        let hits = std::mem::take(&mut self.hits);
        self.connection.counters().hits(hits);
    }

    fn ended(&mut self, state: UnitState) {
        self.state = state;
        self.report_hits();
        self.shared.end();
        self.map.clear();
        self.connection.release();
    }

    /// The session is dropped with its unit open: memory goes back, the connection's own drop does the rest (C1).
    pub(crate) fn dropped(&mut self) {
        if self.usable().is_err() {
            return;
        }
        let due = self.forget_work();
        due.into_iter().for_each(Due::spawn);
        self.hooks.over();
        self.shared.end();
        self.map.clear();
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
        self.restore_memory(at);
        let was_live = self.frames[at].live;
        for frame in self.frames.drain(at..).rev() {
            let due = self.hooks.rolled_back(frame.id);
            self.due.extend(due);
        }
        let mut frame = Frame::new(id, BlockKind::Savepoint, true);
        frame.live = was_live;
        self.frames.push(frame);
        self.follow_top();
        if was_live {
            self.riding.retain(|inner| *inner < id);
            self.owed.retain(|inner| *inner < id);
            self.connection.forgive_cancelled();
            let text = format!("ROLLBACK TO SAVEPOINT {}", savepoint_name(id));
            let sent = self.connection.send(Message::Control(&text)).await;
            sent.map(|_| ()).inspect_err(|e| self.failed(e))?;
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

/// Puts objects back on the dirty list if the flush that took them off does not finish, so that a rollback finds them.
struct Requeue {
    shared: Arc<Shared>,
    objects: Vec<Arc<dyn AnyObject>>,
}

impl Drop for Requeue {
    fn drop(&mut self) {
        self.objects.drain(..).for_each(|object| self.shared.enlist_again(object));
    }
}

fn release_text(savepoint: u64) -> String {
    format!("RELEASE SAVEPOINT {}", savepoint_name(savepoint))
}
