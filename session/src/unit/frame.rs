//! An open block as the session keeps it: what was sent for it, why it must roll back, and what it did to objects.

use super::block_table::BlockKind;
use crate::{
    error::Error,
    objects::{changes::Change, undo::UndoLog},
};

/// Why a block must roll back.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    pub(crate) cause: Error,
    /// The caller asked for it with `set_rollback(true)`: the block still returns its value (A7).
    pub(crate) by_caller: bool,
    /// The server's transaction is aborted as well: only a rollback clears the flag (A9).
    pub(crate) aborted: bool,
}

/// An open block.
pub(crate) struct Frame {
    /// Unique in the session; a merged block has its parent's, because its work is its parent's.
    pub(crate) id: u64,
    pub(crate) kind: BlockKind,
    /// Made by `savepoint()`: ended by hand, or with the block around it.
    pub(crate) manual: bool,
    /// Its BEGIN or SAVEPOINT was sent.
    pub(crate) live: bool,
    pub(crate) flag: Option<Flag>,
    pub(crate) undo: UndoLog,
    /// What flushes have done in the block, if somebody asked (U7).
    pub(crate) changes: Vec<Change>,
}

impl Frame {
    pub(crate) fn new(id: u64, kind: BlockKind, manual: bool) -> Self {
        Self { id, kind, manual, live: false, flag: None, undo: UndoLog::default(), changes: Vec::new() }
    }

    /// Keeps the first cause (INV6).
    pub(crate) fn set_flag(&mut self, flag: Flag) {
        match &mut self.flag {
            Some(first) => {
                first.aborted |= flag.aborted;
                // A database error after `set_rollback(true)` is swallowed no better than without it.
                if first.by_caller && !flag.by_caller {
                    *first = flag;
                }
            }
            none => *none = Some(flag),
        }
    }

    pub(crate) fn savepoint_name(&self) -> String {
        savepoint_name(self.id)
    }
}

pub(crate) fn savepoint_name(id: u64) -> String {
    format!("sea_session_{id}")
}
