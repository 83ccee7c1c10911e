//! Statements of a session: pending changes go first, then what the open blocks owe, then the statement; a failure flags its
//! block (A8, A14) and perhaps the unit (R8). Nothing is sent for a flagged block.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use sea_orm::IsolationLevel;

use super::{Core, UnitState};
use crate::{
    connection::{Message, Reply, boxed::boxed, control::is_cursor_query},
    error::{Class, Error},
    objects::identity::Key,
    table::{facts::TableFacts, meta::TableMeta},
    unit::{
        block_table::{BlockAction, BlockEvent, BlockKind, decide},
        frame::{Flag, savepoint_name},
    },
};

/// PostgreSQL keeps this many subtransactions in shared memory; more of them spill to disk (A15).
const MANY_SAVEPOINTS: usize = 64;

impl Core {
    /// Sends a statement of the caller: pending changes first, then BEGIN and SAVEPOINT if they are still owed.
    pub(crate) async fn statement(&mut self, message: Message<'_>) -> Result<Reply, Error> {
        // What SQL of the caller's own may have changed nobody knows (U1).
        if self.shared.joins.is_watched() && !is_cursor_query(message.text(), self.dialect()) {
            self.shared.joins.unknown();
        }
        self.statement_about(message, false).await
    }

    /// As [`Core::statement`]; `hide_values` keeps the values of a table with secrets out of the log.
    pub(crate) async fn statement_about(&mut self, message: Message<'_>, hide_values: bool) -> Result<Reply, Error> {
        self.flush_before_query().await?;
        self.unflushed(message, hide_values).await
    }

    /// As [`Core::statement_about`], and pending changes wait: for what belongs to a statement that was sent before.
    pub(super) async fn unflushed(&mut self, message: Message<'_>, hide_values: bool) -> Result<Reply, Error> {
        self.ready().await?;
        if hide_values {
            self.connection.hide_values();
        }
        if message.alters_tables() {
            self.connection.tables_altered();
        }
        let sent = self.connection.send(message).await;
        if sent.is_ok() {
            self.worked();
        }
        sent.inspect_err(|e| self.failed(e))
    }

    /// As [`Core::unflushed`], of a write that may violate a unique key: where that leaves the transaction as it was, it is the
    /// caller's to deal with, and flags nothing.
    pub(crate) async fn attempt(
        &mut self,
        message: Message<'_>,
        hide_values: bool,
    ) -> Result<Result<Reply, Error>, Error> {
        self.ready().await?;
        if hide_values {
            self.connection.hide_values();
        }
        match self.connection.send(message).await {
            Ok(reply) => {
                self.worked();
                Ok(Ok(reply))
            }
            Err(e) if e.is_unique_violation() && !self.dialect().aborts_after_errors => Ok(Err(e)),
            Err(e) => {
                self.failed(&e);
                Err(e)
            }
        }
    }

    /// What a table does to its rows (D1); asked in this transaction if it is not known yet.
    pub(crate) async fn table_facts(&mut self, table: &'static TableMeta) -> Result<Arc<TableFacts>, Error> {
        if let Some(facts) = self.connection.known_facts(table) {
            return Ok(facts);
        }
        self.usable()?;
        self.ready().await?;
        let facts = self.connection.table_facts(table).await;
        facts.inspect_err(|e| self.failed(e))
    }

    /// A row was found to be gone: the map forgets its object, and its key may be added again (D7).
    pub(crate) fn vanished(&mut self, table: &'static TableMeta, key: &Key) {
        let Some(object) = self.map.get(table, key).filter(|object| object.wants_reading()).cloned() else {
            return;
        };
        let holder = self.holder();
        if object.vanish(self.frames[holder].id, &mut self.map) {
            self.frames[holder].undo.touch(object);
        }
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
    pub(super) fn worked(&mut self) {
        if !self.reported.as_ref().and_then(Error::class).is_some_and(Class::dooms_unit) {
            self.reported = None;
        }
    }

    /// Notes a failed statement: its block must roll back (A14), and perhaps the unit (R8).
    pub(crate) fn failed(&mut self, error: &Error) {
        let class = error.class();
        if class == Some(Class::Decode) {
            return;
        }
        // The last word counts, unless an earlier one already asked for the whole unit to be repeated.
        let asked = self.reported.as_ref().and_then(Error::class).is_some_and(Class::dooms_unit);
        if !asked {
            self.reported = Some(error.clone());
        }
        let aborted = self.dialect().aborts_after_errors;
        let flag = Flag { cause: error.clone(), by_caller: false, aborted };
        if class.is_some_and(Class::dooms_unit) {
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
        let action = decide(self.frames[top].kind, self.standing(top, flag.is_some()), BlockEvent::Statement);
        if let (BlockAction::Refuse, Some(flag)) = (action, flag) {
            return Err(Error::Refused { cause: Arc::new(flag.cause.clone()) });
        }
        self.open_blocks().await
    }

    /// A statement that was dropped half-way, an observed flush too (U7), and a stream that failed, flag the block as if they had been awaited.
    pub(super) fn note_unfinished(&mut self) {
        if let Some(e) = self.connection.take_failed_stream() {
            self.failed(&e);
        }
        if self.connection.was_cancelled() || std::mem::take(&mut self.observing) {
            self.failed(&Error::Cancelled);
        }
    }

    /// Sends what the open blocks still owe: RELEASE of closed ones, BEGIN, SAVEPOINT, all in one message.
    async fn open_blocks(&mut self) -> Result<(), Error> {
        match self.frames.iter().position(|frame| !frame.live && frame.kind != BlockKind::Merged) {
            // Boxed: once a block, so that no statement's future has room for it.
            // A unit of one statement that reads begins no transaction.
            Some(_) if self.settings.alone => Ok(()),
            Some(first) => boxed(|| self.open_blocks_from(first)).await,
            None => Ok(()),
        }
    }

    /// What holds in a cluster only, or on a single server only, is refused where it does not (Y3).
    async fn check_cluster(&mut self) -> Result<(), Error> {
        let (causal, serializable) =
            (self.settings.causal, self.settings.isolation == Some(IsolationLevel::Serializable));
        if !causal && !serializable {
            return Ok(());
        }
        match self.connection.is_clustered().await? {
            true if serializable => Err(self.dialect().unsupported(
                "a serializable unit in a cluster; its nodes do not know of each other's reads: use `optimistic`, or lock by a write",
            )),
            false if causal => {
                Err(self.dialect().unsupported("`causal`; this server is no node of a cluster, and shows all that was committed"))
            }
            _ => Ok(()),
        }
    }

    async fn open_blocks_from(&mut self, first: usize) -> Result<(), Error> {
        if self.state == UnitState::New
            && let Err(e) = self.check_cluster().await
        {
            self.failed(&e);
            return Err(e);
        }
        let mut text = String::with_capacity(64);
        for savepoint in std::mem::take(&mut self.riding).into_iter().rev() {
            _ = write!(next(&mut text), "RELEASE SAVEPOINT {}", savepoint_name(savepoint));
        }
        for index in first..self.frames.len() {
            let frame = &self.frames[index];
            match decide(frame.kind, self.standing(index, false), BlockEvent::Statement) {
                BlockAction::Begin => {
                    self.settings.write_begin(self.dialect(), next(&mut text));
                    self.connection.opening();
                    self.state = UnitState::Started;
                    self.began = Some(Instant::now());
                }
                BlockAction::Savepoint => {
                    _ = write!(next(&mut text), "SAVEPOINT {}", frame.savepoint_name());
                    self.connection.counters().savepoint();
                }
                _ => continue,
            }
            self.frames[index].live = true;
        }
        self.warn_of_savepoints();
        self.opening = Some(self.frames[first].id);
        let sent = self.connection.send(Message::Control(&text)).await;
        self.opening = None;
        if let Ok(reply) = sent {
            self.xid = self.xid.take().or_else(|| self.connection.dialect().xid_in(&reply.rows()));
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
        while let Some(&(savepoint, _)) = self.owed.last() {
            // Sent again after a cancelled attempt it does the same, so nothing depends on the answer having come.
            self.connection.forgive_cancelled();
            self.observing = false;
            let name = savepoint_name(savepoint);
            let mut text = String::new();
            if self.dialect().breaks_off && self.opening.is_some_and(|first| first <= savepoint) {
                // Nothing was sent in it. If it was made after all, the other one of its name goes with the block around it.
                _ = write!(text, "SAVEPOINT {name}");
            }
            _ = write!(next(&mut text), "ROLLBACK TO SAVEPOINT {name}");
            let sent = self.connection.send(Message::Control(&text)).await;
            self.owed.pop();
            self.opening = self.opening.filter(|first| *first < savepoint);
            match sent {
                Ok(_) => self.ride(savepoint),
                Err(e) => {
                    self.failed(&e);
                    // What was to be undone is still there, in the block around it, whichever block is innermost by now.
                    let around = self.frames.iter().rposition(|frame| frame.id < savepoint).unwrap_or(0);
                    self.frames[around].set_flag(Flag { cause: e.clone(), by_caller: false, aborted: true });
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
    pub(super) fn ride(&mut self, savepoint: u64) {
        self.riding.retain(|inner| *inner < savepoint);
        self.riding.push(savepoint);
    }

    /// This savepoint is rolled back to: nothing is owed for those inside it, which go with it, nor for itself.
    pub(super) fn gone_with(&mut self, savepoint: u64) {
        self.riding.retain(|inner| *inner < savepoint);
        self.owed.retain(|(inner, _)| *inner < savepoint);
    }
}

/// The text of a message of several statements, ready for one more.
fn next(text: &mut String) -> &mut String {
    if !text.is_empty() {
        *text += "; ";
    }
    text
}
