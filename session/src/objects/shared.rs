//! What a session and the objects it handed out have in common: the list of dirty objects, and whether the unit lives.
//!
//! Objects never reach the session itself; a setter only says "I changed" here (INV7).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;

use super::{AnyObject, joins::Joins};
use crate::dialect::Dialect;

/// One unit of work as its objects see it.
pub(crate) struct Shared {
    pub(crate) dialect: &'static Dialect,
    dirty: Mutex<Vec<Arc<AnyObject>>>,
    ended: AtomicBool,
    /// Set while the block must roll back: changes made then are dropped (S9).
    doomed: AtomicBool,
    /// Whether an object of the unit has had children linked to it (D6): in most units none has.
    leads: AtomicBool,
    /// Whether a column of an object was set by an expression (U2): in most units none is.
    expresses: AtomicBool,
    /// What relations join on, once one was loaded (U1).
    pub(crate) joins: Joins,
    /// The number of the block that was entered last.
    newest_block: AtomicU32,
    pub(crate) strict: bool,
    /// Whether reads are noted (P1).
    pub(crate) optimistic: bool,
    pub(crate) show_values: bool,
}

impl Shared {
    pub(crate) fn new(dialect: &'static Dialect, strict: bool, optimistic: bool, show_values: bool) -> Arc<Self> {
        Arc::new(Self {
            dialect,
            dirty: Mutex::default(),
            ended: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
            leads: AtomicBool::new(false),
            expresses: AtomicBool::new(false),
            joins: Joins::default(),
            newest_block: AtomicU32::new(1),
            strict,
            optimistic,
            show_values,
        })
    }

    /// A block of this number was entered; numbers grow.
    pub(crate) fn entered(&self, block: u64) {
        self.newest_block.store(u32::try_from(block).unwrap_or(u32::MAX), Ordering::Release);
    }

    /// What happens now has happened in the block of this number, in one around it, or after it has ended.
    pub(crate) fn newest_block(&self) -> u32 {
        self.newest_block.load(Ordering::Acquire)
    }

    pub(crate) fn enlist(&self, object: Arc<AnyObject>) {
        self.dirty.lock().push(object);
    }

    /// Puts an object back that a flush took off the list and did not send.
    pub(crate) fn enlist_again(&self, object: Arc<AnyObject>) {
        if object.requeue() {
            self.enlist(object);
        }
    }

    pub(crate) fn take_dirty(&self) -> Vec<Arc<AnyObject>> {
        std::mem::take(&mut *self.dirty.lock())
    }

    /// The dirty objects, which stay so.
    pub(crate) fn dirty_objects(&self) -> Vec<Arc<AnyObject>> {
        self.dirty.lock().clone()
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.lock().is_empty()
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// An object of the unit has children that follow it.
    pub(crate) fn note_leader(&self) {
        self.leads.store(true, Ordering::Release);
    }

    /// Whether some object of the unit may have children that follow it.
    pub(crate) fn has_leaders(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// A column of an object is to be set by an expression.
    pub(crate) fn note_expression(&self) {
        self.expresses.store(true, Ordering::Release);
    }

    /// Whether some object of the unit may have columns that an expression sets.
    pub(crate) fn has_expressions(&self) -> bool {
        self.expresses.load(Ordering::Acquire)
    }

    pub(crate) fn set_doomed(&self, doomed: bool) {
        self.doomed.store(doomed, Ordering::Release);
    }

    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Acquire)
    }
}
