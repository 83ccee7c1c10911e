//! What a block did to objects, restored by value when it rolls back (INV4, S2 to S6). No query is ever needed.
//!
//! An object keeps a stack of what it was before each open block that changed it; a block keeps the list of objects it
//! touched. Both grow with what changed, never with what is tracked.

use std::sync::Arc;

use sea_orm::Value;

use super::{
    AnyObject, Data, Phase,
    entity::TrackedEntity,
    identity::{IdentityMap, Key},
};

/// An object as it was before a block changed it.
pub(crate) struct Undo<E: TrackedEntity> {
    pub(crate) frame: u64,
    pub(crate) phase: Phase,
    pub(crate) held: Before<E>,
    pub(crate) key: Option<Key>,
    /// A rollback to a savepoint gives up the row locks that were taken after it.
    pub(crate) locked: bool,
    /// The object had expired, with this the newest block: who rolls back to before a later block does not know the row either.
    pub(crate) expired: Option<u32>,
}

/// The values of an object before a block changed it.
pub(crate) enum Before<E: TrackedEntity> {
    /// None that a rollback could restore: the object was new.
    Nothing,
    /// All of them.
    Whole(Data<E>),
    /// Those of columns that a statement has set, while nothing else of the row was changed: the model needs no copy.
    Columns(Vec<(usize, Value)>),
}

impl<E: TrackedEntity> Before<E> {
    /// What was held before, if `inside` was before a part of the changes that came later.
    pub(crate) fn cover(&mut self, inside: Before<E>) {
        let Before::Columns(known) = self else { return };
        match inside {
            Before::Nothing => {}
            Before::Whole(mut data) => {
                data.put_back(std::mem::take(known));
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
    touched: Vec<Arc<dyn AnyObject>>,
    /// First loaded in the block: they leave the map when it rolls back (S5).
    loaded: Vec<Arc<dyn AnyObject>>,
}

impl UndoLog {
    pub(crate) fn touch(&mut self, object: Arc<dyn AnyObject>) {
        self.touched.push(object);
    }

    pub(crate) fn load(&mut self, object: Arc<dyn AnyObject>) {
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
