//! The state machine of nested blocks (A), declared as a table: what a block of each kind does in each state when
//! something happens, and where it stands then. `docs/book/src/blocks.md` prints the table, and a test walks every cell.
//!
//! This module decides; it never sends. The session carries the decision out.

/// What a block is to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// The outermost block: the transaction.
    Unit,
    /// A nested block: a savepoint. One made by [`crate::Session::savepoint`] is the same, ended by hand.
    Savepoint,
    /// A nested block without a savepoint (A3).
    Merged,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Entered; nothing was sent inside it yet.
    Idle,
    /// Its BEGIN or SAVEPOINT was sent.
    Live,
    /// Flagged before anything was sent for it.
    FlaggedIdle,
    /// Flagged after its BEGIN or SAVEPOINT was sent.
    Flagged,
    /// The connection is gone. On SQLite, whose database is in the process, nothing short of a crash of the driver's thread
    /// brings a block here.
    Lost,
}

impl BlockState {
    /// A merged block is as live as the savepoint or transaction that its statements run in.
    pub(crate) fn of(lost: bool, flagged: bool, live: bool) -> Self {
        match (lost, flagged, live) {
            (true, _, _) => BlockState::Lost,
            (_, true, true) => BlockState::Flagged,
            (_, true, false) => BlockState::FlaggedIdle,
            (_, false, true) => BlockState::Live,
            (_, false, false) => BlockState::Idle,
        }
    }
}

/// What happens to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockEvent {
    /// A statement is about to be sent inside it.
    Statement,
    /// Its body returned well.
    ExitOk,
    /// Its body returned an error, panicked, or was dropped.
    ExitErr,
}

/// What the block does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAction {
    /// Send BEGIN with the options, then the statement.
    Begin,
    /// Send SAVEPOINT, then the statement.
    Savepoint,
    /// Send the statement.
    Pass,
    /// Answer with the first cause; send nothing.
    Refuse,
    /// Send COMMIT.
    Commit,
    /// Owe RELEASE to the next message.
    Release,
    /// Send ROLLBACK TO, and owe RELEASE to the next message.
    RollbackTo,
    /// Send ROLLBACK.
    Rollback,
    /// Send nothing.
    Nothing,
    /// Send nothing; flag the parent.
    FlagParent,
}

impl BlockAction {
    /// What the messages that are sent at once begin with, in order; `""` is the statement itself.
    pub const fn sends(self) -> &'static [&'static str] {
        match self {
            BlockAction::Begin => &["BEGIN", ""],
            BlockAction::Savepoint => &["SAVEPOINT sea_session_", ""],
            BlockAction::Pass => &[""],
            BlockAction::Commit => &["COMMIT"],
            BlockAction::RollbackTo => &["ROLLBACK TO SAVEPOINT sea_session_"],
            BlockAction::Rollback => &["ROLLBACK"],
            BlockAction::Release | BlockAction::Refuse | BlockAction::Nothing | BlockAction::FlagParent => &[],
        }
    }
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct BlockCell {
    /// The kind of block.
    pub kind: BlockKind,
    /// Its state.
    pub state: BlockState,
    /// What happens.
    pub event: BlockEvent,
    /// What is done.
    pub action: BlockAction,
    /// Where the block stands then, if what was sent worked; `None`: it is over.
    pub next: Option<BlockState>,
    /// Why, where it is not plain.
    pub reason: &'static str,
}

const fn cell(
    kind: BlockKind,
    state: BlockState,
    event: BlockEvent,
    action: BlockAction,
    reason: &'static str,
) -> BlockCell {
    let next = match (event, state) {
        (BlockEvent::Statement, BlockState::Idle) => Some(BlockState::Live),
        (BlockEvent::Statement, state) => Some(state),
        (BlockEvent::ExitOk | BlockEvent::ExitErr, _) => None,
    };
    BlockCell { kind, state, event, action, next, reason }
}

/// Every cell. None of the odd ones goes without its reason.
pub const BLOCK_TABLE: &[BlockCell] = {
    use BlockAction::*;
    use BlockEvent::*;
    use BlockKind as K;
    use BlockState as S;
    &[
        cell(
            K::Unit,
            S::Idle,
            Statement,
            Begin,
            "BEGIN waits for the first statement, so that a unit which sends nothing costs nothing (A1)",
        ),
        cell(K::Unit, S::Idle, ExitOk, Nothing, "nothing was sent, so there is nothing to commit"),
        cell(K::Unit, S::Idle, ExitErr, Nothing, "nothing was sent, so there is nothing to roll back"),
        cell(K::Unit, S::Live, Statement, Pass, ""),
        cell(K::Unit, S::Live, ExitOk, Commit, ""),
        cell(K::Unit, S::Live, ExitErr, Rollback, ""),
        cell(
            K::Unit,
            S::FlaggedIdle,
            Statement,
            Refuse,
            "the caller asked for a rollback; what would be sent now would be lost (A8)",
        ),
        cell(K::Unit, S::FlaggedIdle, ExitOk, Nothing, "nothing was sent, so there is nothing to roll back"),
        cell(K::Unit, S::FlaggedIdle, ExitErr, Nothing, "nothing was sent, so there is nothing to roll back"),
        cell(
            K::Unit,
            S::Flagged,
            Statement,
            Refuse,
            "PostgreSQL would answer 25P02 and hide the first cause (A8, A14)",
        ),
        cell(
            K::Unit,
            S::Flagged,
            ExitOk,
            Rollback,
            "COMMIT of an aborted transaction says Ok and commits nothing (Z5)",
        ),
        cell(K::Unit, S::Flagged, ExitErr, Rollback, ""),
        cell(
            K::Unit,
            S::Lost,
            Statement,
            Refuse,
            "a new connection would be a new transaction, half of the unit missing (A11)",
        ),
        cell(
            K::Unit,
            S::Lost,
            ExitOk,
            Nothing,
            "the server has rolled back already; the unit ends with the loss as its cause (A11)",
        ),
        cell(K::Unit, S::Lost, ExitErr, Nothing, "the server has rolled back already (A11)"),
        cell(
            K::Savepoint,
            S::Idle,
            Statement,
            Savepoint,
            "SAVEPOINT waits for the first statement inside the block (A2)",
        ),
        cell(K::Savepoint, S::Idle, ExitOk, Nothing, "a block that sends nothing costs nothing (A2)"),
        cell(K::Savepoint, S::Idle, ExitErr, Nothing, "nothing was sent inside, so only memory goes back"),
        cell(K::Savepoint, S::Live, Statement, Pass, ""),
        cell(
            K::Savepoint,
            S::Live,
            ExitOk,
            Release,
            "RELEASE rides with the next SAVEPOINT, and COMMIT makes it unnecessary; one that fails flags the block around, with the first error (A4)",
        ),
        cell(K::Savepoint, S::Live, ExitErr, RollbackTo, ""),
        cell(K::Savepoint, S::FlaggedIdle, Statement, Refuse, "what would be sent now would be lost (A8)"),
        cell(K::Savepoint, S::FlaggedIdle, ExitOk, Nothing, "nothing was sent inside, so only memory goes back"),
        cell(K::Savepoint, S::FlaggedIdle, ExitErr, Nothing, "nothing was sent inside, so only memory goes back"),
        cell(
            K::Savepoint,
            S::Flagged,
            Statement,
            Refuse,
            "PostgreSQL would answer 25P02 and hide the first cause (A8, A14)",
        ),
        cell(K::Savepoint, S::Flagged, ExitOk, RollbackTo, "a swallowed error never ends in Ok (A7)"),
        cell(K::Savepoint, S::Flagged, ExitErr, RollbackTo, ""),
        cell(K::Savepoint, S::Lost, Statement, Refuse, "there is no connection to send it on (A11)"),
        cell(K::Savepoint, S::Lost, ExitOk, Nothing, "the savepoint went with the connection (A11)"),
        cell(K::Savepoint, S::Lost, ExitErr, Nothing, "the savepoint went with the connection (A11)"),
        cell(K::Merged, S::Idle, Statement, Pass, "a merged block has no SQL of its own (A3)"),
        cell(K::Merged, S::Idle, ExitOk, Nothing, "its work is its parent's (A3)"),
        cell(K::Merged, S::Idle, ExitErr, FlagParent, "there is no savepoint to go back to, so the parent must (A3)"),
        cell(K::Merged, S::Live, Statement, Pass, "a merged block has no SQL of its own (A3)"),
        cell(K::Merged, S::Live, ExitOk, Nothing, "its work is its parent's (A3)"),
        cell(K::Merged, S::Live, ExitErr, FlagParent, "there is no savepoint to go back to, so the parent must (A3)"),
        cell(K::Merged, S::FlaggedIdle, Statement, Refuse, "the parent must roll back (A8)"),
        cell(
            K::Merged,
            S::FlaggedIdle,
            ExitOk,
            FlagParent,
            "the flag is the parent's: a swallowed error never ends in Ok (A7)",
        ),
        cell(
            K::Merged,
            S::FlaggedIdle,
            ExitErr,
            FlagParent,
            "there is no savepoint to go back to, so the parent must (A3)",
        ),
        cell(K::Merged, S::Flagged, Statement, Refuse, "the parent must roll back (A8)"),
        cell(
            K::Merged,
            S::Flagged,
            ExitOk,
            FlagParent,
            "the flag is the parent's: a swallowed error never ends in Ok (A7)",
        ),
        cell(
            K::Merged,
            S::Flagged,
            ExitErr,
            FlagParent,
            "there is no savepoint to go back to, so the parent must (A3)",
        ),
        cell(K::Merged, S::Lost, Statement, Refuse, "there is no connection to send it on (A11)"),
        cell(K::Merged, S::Lost, ExitOk, Nothing, "the parent sees the loss itself (A11)"),
        cell(K::Merged, S::Lost, ExitErr, Nothing, "the parent sees the loss itself (A11)"),
    ]
};

/// What a block does; the table's answer.
pub fn decide(kind: BlockKind, state: BlockState, event: BlockEvent) -> BlockAction {
    // Every statement asks, so the cell is not looked for: `a_block_table_is_total_and_in_order` keeps it in its place.
    BLOCK_TABLE[(kind as usize * 5 + state as usize) * 3 + event as usize].action
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_table_is_total_and_in_order() {
        use BlockKind::{Merged, Savepoint, Unit};
        let mut cells = BLOCK_TABLE.iter();
        for kind in [Unit, Savepoint, Merged] {
            for state in
                [BlockState::Idle, BlockState::Live, BlockState::FlaggedIdle, BlockState::Flagged, BlockState::Lost]
            {
                for event in [BlockEvent::Statement, BlockEvent::ExitOk, BlockEvent::ExitErr] {
                    let cell = cells.next().unwrap();
                    assert_eq!((cell.kind, cell.state, cell.event), (kind, state, event));
                    assert_eq!(decide(kind, state, event), cell.action);
                }
            }
        }
        assert!(cells.next().is_none());
    }
}
