//! What a block did to objects, restored by value when it rolls back (INV4, S2 to S6). No query is ever needed.
//!
//! An object keeps a stack of what it was before each open block that changed it; a block keeps the list of objects it
//! touched. Both grow with what changed, never with what is tracked.

use std::sync::Arc;

use sea_orm::Value;

use super::{
    AnyObject, Phase,
    identity::{IdentityMap, Key},
    values::Data,
};
use crate::table::meta::TableMeta;

/// An object as it was before a block changed it.
pub(super) struct Undo {
    pub(super) frame: u64,
    pub(super) phase: Phase,
    pub(super) held: Before,
    pub(super) key: Option<Key>,
    /// A rollback to a savepoint gives up the row locks that were taken after it.
    pub(super) locked: bool,
    /// The object had expired, with this the newest block: who rolls back to before a later block does not know the row either.
    pub(super) expired: Option<u32>,
}

/// The values of an object before a block changed it.
pub(super) enum Before {
    /// None that a rollback could restore: the object was new.
    Nothing,
    /// All of them.
    Whole(Data),
    /// Those of columns that a statement has set, while nothing else of the row was changed: the model needs no copy.
    Columns(Vec<(usize, Value)>),
}

impl Before {
    /// What was held before, if `inside` was before a part of the changes that came later.
    pub(super) fn cover(&mut self, table: &TableMeta, inside: Before) {
        let Before::Columns(known) = self else { return };
        match inside {
            Before::Nothing => {}
            Before::Whole(mut data) => {
                data.put_back(table, std::mem::take(known));
                *self = Before::Whole(data);
            }
            Before::Columns(columns) => {
                for (column, value) in columns {
                    if known.iter().all(|(other, _)| *other != column) {
                        known.push((column, value));
                    }
                }
            }
        }
    }
}

/// The objects that a block touched.
#[derive(Default)]
pub(crate) struct UndoLog {
    /// Changed, added, deleted or re-keyed in the block.
    touched: Vec<Arc<AnyObject>>,
    /// First loaded in the block: they leave the map when it rolls back (S5).
    loaded: Vec<Arc<AnyObject>>,
}

impl UndoLog {
    pub(crate) fn touch(&mut self, object: Arc<AnyObject>) {
        self.touched.push(object);
    }

    pub(crate) fn load(&mut self, object: Arc<AnyObject>) {
        self.loaded.push(object);
    }

    /// Rolls every touched object back to before `frame`, newest first.
    pub(crate) fn rollback(self, frame: u64, map: &mut IdentityMap) {
        for object in self.touched.into_iter().rev() {
            object.rollback(frame, map);
        }
        for object in self.loaded {
            object.forget(map);
        }
    }

    /// The block was released: what it did now belongs to its parent (S2).
    pub(crate) fn release_into(self, parent: &mut UndoLog, frame: u64, parent_frame: u64, parent_keeps_loads: bool) {
        for object in self.touched {
            if object.release(frame, parent_frame) {
                parent.touched.push(object);
            }
        }
        if parent_keeps_loads {
            parent.loaded.extend(self.loaded);
        }
    }
}
