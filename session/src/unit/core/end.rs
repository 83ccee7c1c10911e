//! The end of a unit: COMMIT or ROLLBACK, in one phase or two, by the session itself or elsewhere; then its hooks. Objects are
//! detached and the connection goes back, or is closed if its state is not known (A5, C4).

use std::{borrow::Cow, sync::Arc};

use super::{Core, UnitState};
use crate::{
    connection::{Message, boxed::boxed, replicas::Write},
    error::{Class, Error},
    unit::{
        block_table::{BlockAction, BlockEvent, BlockKind, decide},
        fate::Fate,
        hooks::DueHook,
        settle,
    },
};

impl Core {
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

    /// COMMIT, without the hooks. What became of one whose answer was lost is found out here, so that every way of committing
    /// has it (R9).
    pub(crate) async fn commit_ready(&mut self) -> Result<(), Error> {
        if decide(BlockKind::Unit, self.standing(0, false), BlockEvent::ExitOk) == BlockAction::Commit {
            let mut write = self.writing();
            match self.send_commit(&mut write).await {
                // Boxed: no COMMIT that is answered has room for it.
                Err(Error::CommitUnknown { cause }) => boxed(|| self.settle_commit(cause)).await?,
                outcome => outcome?,
            }
        }
        self.note_fate(Fate::Committed);
        self.ended(UnitState::Committed);
        Ok(())
    }

    /// Writes a commit token in this transaction (M2, R9), beginning it if need be.
    pub(crate) async fn leave_token(&mut self, token: crate::unit::tokens::Token) -> Result<(), Error> {
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
        let how = self.dialect().need(self.dialect().two_phase)?;
        if let Err(e) = self.connection.send(Message::Control(&(how.prepare)(gid))).await {
            self.rollback().await;
            return Err(e);
        }
        // Where nobody else may end it, it is still this connection's; given up, it leaves what is prepared to all.
        if !how.named_at_begin {
            self.connection.closed();
            // The second phase needs a connection of its own, and a pool of one has no other.
            self.connection.release();
        }
        Ok(true)
    }

    /// Ends what was prepared on the connection that has prepared it, if that is still held. `None`: another one has to.
    pub(crate) async fn end_prepared(&mut self, text: &str) -> Option<Result<(), Error>> {
        if !self.connection.is_held() {
            return None;
        }
        match self.connection.send(Message::Control(text)).await {
            Ok(_) => {
                self.connection.closed();
                self.connection.release();
                Some(Ok(()))
            }
            Err(e) => {
                self.connection.discard(e.clone());
                (!e.is_connection_lost()).then_some(Err(e))
            }
        }
    }

    /// The unit ended elsewhere: its prepared transaction was committed, or rolled back.
    pub(crate) fn ended_elsewhere(&mut self, committed: bool) {
        if committed {
            self.ended(UnitState::Committed);
        } else {
            let due = self.forget_work();
            due.into_iter().for_each(DueHook::spawn);
            self.hooks.over();
            self.ended(UnitState::RolledBack);
        }
    }

    /// `Ok` if the lost COMMIT worked; a retryable error if it is known not to have; [`Error::CommitUnknown`] otherwise.
    async fn settle_commit(&mut self, cause: Arc<Error>) -> Result<(), Error> {
        let why = match settle::fate(self).await {
            Fate::Committed => return Ok(()),
            Fate::RolledBack => (*cause).clone(),
            Fate::Unknown => Error::CommitUnknown { cause },
        };
        self.not_committed(&why).await;
        Err(why)
    }

    /// The transaction did not commit, or nobody can say whether it did ([`Error::CommitUnknown`]).
    pub(crate) async fn not_committed(&mut self, why: &Error) {
        let due = self.forget_work();
        self.ended(UnitState::Failed);
        if !matches!(why, Error::CommitUnknown { .. }) {
            self.note_fate(Fate::RolledBack);
            for hook in due {
                hook.run().await;
            }
        }
        self.hooks.over();
    }

    async fn finish_work(&mut self) -> Result<(), Error> {
        self.flush().await?;
        self.settle().await?;
        self.note_unfinished();
        Ok(())
    }

    /// To be held until it is known whether the unit has committed, so that units which read see what it has written (U9).
    fn writing(&self) -> Option<Write> {
        if self.settings.read_only { None } else { self.connection.db().writing() }
    }

    async fn send_commit(&mut self, write: &mut Option<Write>) -> Result<(), Error> {
        let mut text = Cow::Borrowed(self.settings.end_text(self.dialect(), true));
        // A write that told the transaction's id is known of, and so is the token's.
        let asks = write.is_some() && self.xid.is_none() && !self.settings.settle_by_token;
        if let Some(replicas) = self.connection.db().replica_set().filter(|_| asks) {
            text = format!("{}; {text}", replicas.wrote()).into();
        }
        if self.settings.settle_by_token {
            let token = crate::unit::tokens::Token::new();
            text = format!("{}; {text}", token.insert_text()).into();
            self.token = Some(token);
        }
        self.riding.clear();
        self.note_fate(Fate::Unknown);
        let e = match self.connection.send(Message::Control(&text)).await {
            Ok(reply) => {
                self.connection.closed();
                let wrote = reply.rows().first().and_then(|row| row.try_get("", "wrote").ok());
                if wrote == Some(false) {
                    write.take().into_iter().for_each(Write::wrote_nothing);
                }
                return Ok(());
            }
            Err(e) => e,
        };
        if e.is_connection_lost() || e.class() == Some(Class::CompletionUnknown) {
            self.connection.discard(e.clone());
            self.state = UnitState::Failed;
            return Err(Error::CommitUnknown { cause: Arc::new(e) });
        }
        self.note_fate(Fate::RolledBack);
        self.report(&e);
        let ended = self.connection.lost().cloned();
        self.rollback().await;
        // Where COMMIT has failed because there was no transaction any more, that is what is told (D11).
        Err(ended.filter(|_| !e.class().is_some_and(Class::dooms_unit)).unwrap_or(e))
    }

    fn note_fate(&self, fate: Fate) {
        if let Some(cell) = &self.settings.fate {
            cell.note(fate);
        }
    }

    /// What dooms the unit decides whether it runs again, whatever its body comes to (R8).
    fn report(&mut self, e: &Error) {
        if self.reported.is_none() && e.class().is_some_and(Class::dooms_unit) {
            self.reported = Some(e.clone());
        }
    }

    /// Rolls the unit back. Never fails: what cannot be rolled back is closed (A5, C4).
    pub(crate) async fn rollback(&mut self) {
        let action = decide(BlockKind::Unit, self.standing(0, true), BlockEvent::ExitErr);
        let due = self.forget_work();
        if action == BlockAction::Rollback {
            self.connection.forgive_cancelled();
            let text = self.settings.end_text(self.dialect(), false);
            match self.connection.send(Message::Control(text)).await {
                Ok(_) => self.connection.closed(),
                Err(e) if e.to_string().contains("no transaction is active") => self.connection.closed(),
                // It had ended before, and unsaid: for the sake of another node's, perhaps, and then what the body saw since was
                // nobody's (Y3).
                Err(e) if !self.connection.is_open() => self.report(&e),
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
    fn forget_work(&mut self) -> Vec<DueHook> {
        // The caller sends ROLLBACK, or the connection is given up, whose end rolls back.
        let _ = self.restore_memory(0);
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
        self.loaded.clear();
        self.connection.release();
    }

    /// The session is dropped with its unit open: memory goes back, the connection's own drop does the rest (C1).
    pub(crate) fn dropped(&mut self) {
        if self.usable().is_err() {
            return;
        }
        let due = self.forget_work();
        due.into_iter().for_each(DueHook::spawn);
        self.hooks.over();
        self.shared.end();
        self.map.clear();
        self.loaded.clear();
    }
}
