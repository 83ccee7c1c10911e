//! An object of any entity: its values, what the database holds, and what it was before each open block.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use sea_orm::{Value, sea_query::Expr};
use thin_vec::ThinVec;

use super::{
    follow,
    identity::Key,
    shared::Shared,
    states::State,
    undo::Undo,
    values::{AnyModel, Data},
};
use crate::{
    error::Error,
    table::{columns::ColumnSet, meta::TableMeta},
};

/// The state as the object keeps it: whether a delete was sent matters to the flush only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Transient,
    Pending,
    Persistent,
    Deleting,
    Deleted,
    Detached,
}

/// A foreign key that follows another object's key, which may not be known yet (F5).
#[derive(Clone)]
pub(super) struct Link {
    pub(super) columns: Vec<usize>,
    pub(super) parent: Arc<AnyObject>,
    pub(super) parent_columns: Vec<usize>,
}

impl Link {
    /// Whether this is the very reference that `other` is.
    pub(super) fn is(&self, other: &Link) -> bool {
        self.columns == other.columns && Arc::ptr_eq(&self.parent, &other.parent)
    }

    /// Whether the parent's key is known.
    pub(super) fn is_resolved(&self) -> bool {
        self.parent_columns.iter().all(|column| self.parent.column_value(*column).is_some())
    }
}

/// An object, whatever its entity: what sessions, the flush and the undo log work with.
pub(crate) struct AnyObject {
    pub(super) table: &'static TableMeta,
    pub(super) inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) phase: Phase,
    pub(super) data: Data,
    /// What the database holds, while `data` may differ from it.
    pub(super) base: Option<Arc<dyn AnyModel>>,
    /// Columns that a setter touched since `base`; the flush compares their values.
    pub(super) touched: ColumnSet,
    /// Columns that were set while what the database holds was not known: they are sent, whatever the old value was (D8).
    pub(super) forced: ColumnSet,
    /// Columns that were read, in an optimistic unit (P1).
    pub(super) read: ColumnSet,
    /// Whether the object is in its unit's list of dirty objects.
    pub(super) enlisted: bool,
    /// Loaded under a row lock: nobody else can have changed it (P3).
    pub(super) locked: bool,
    /// The values are to be read again before they are used (`expire`).
    pub(super) expired: bool,
    /// The newest block when it expired.
    pub(super) expired_in: u32,
    /// Nothing was changed since it expired but what follows a parent: its row may be gone, and then nothing is lost (D7).
    pub(super) led: bool,
    /// The last of the caller's filters that the row has passed since it was changed (U5).
    pub(super) passed: u32,
    pub(super) unit: Option<Arc<Shared>>,
    /// Where the identity map holds the object.
    pub(super) key: Option<Key>,
    pub(super) undo: ThinVec<Undo>,
    pub(super) links: ThinVec<Link>,
    /// Columns that the next flush sets to what an expression gives.
    pub(super) expressions: ThinVec<(usize, Expr)>,
    /// The children that were linked to the object (D6).
    pub(super) family: follow::Family,
    /// Whether a flush is writing the object: a setter then keeps what is being written in `outgoing` first.
    pub(super) sending: bool,
    pub(super) outgoing: Option<Box<Outgoing>>,
}

/// What a flush is writing, of an object that was changed since.
pub(super) struct Outgoing {
    pub(super) data: Data,
    pub(super) links: ThinVec<Link>,
}

impl AnyObject {
    fn of_parts(
        table: &'static TableMeta,
        phase: Phase,
        data: Data,
        unit: &Arc<Shared>,
        key: Option<Key>,
        locked: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            table,
            inner: Mutex::new(Inner {
                phase,
                data,
                base: None,
                touched: ColumnSet::default(),
                forced: ColumnSet::default(),
                read: ColumnSet::default(),
                enlisted: false,
                locked,
                expired: false,
                expired_in: 0,
                led: false,
                passed: 0,
                unit: Some(unit.clone()),
                key,
                undo: ThinVec::new(),
                links: ThinVec::new(),
                expressions: ThinVec::new(),
                family: ThinVec::new(),
                sending: false,
                outgoing: None,
            }),
        })
    }

    /// A row that was just read.
    pub(crate) fn loaded(
        table: &'static TableMeta,
        model: Arc<dyn AnyModel>,
        key: Key,
        locked: bool,
        unit: &Arc<Shared>,
    ) -> Arc<Self> {
        Self::of_parts(table, Phase::Persistent, Data::Full(model), unit, Some(key), locked)
    }

    /// A new object.
    pub(super) fn pending(table: &'static TableMeta, draft: Data, unit: &Arc<Shared>) -> Arc<Self> {
        Self::of_parts(table, Phase::Pending, draft, unit, None, false)
    }

    /// Where the object stands in memory, which no other does while it lives.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn table(&self) -> &'static TableMeta {
        self.table
    }

    /// The key as messages show it.
    pub(crate) fn key_text(&self) -> String {
        let key = self.inner.lock().data.values(&self.table.keys);
        key.map_or_else(|| "(new)".to_owned(), |key| self.table.show_key(&key))
    }

    /// Sets one column by value.
    pub(super) fn set(self: &Arc<Self>, column: usize, value: Value) -> Result<(), Error> {
        let inner = self.inner.lock();
        if let Some(refused) = self.late_write(&inner) {
            return Err(refused);
        }
        let mut next = inner.data.clone();
        next.put_exactly(column, value)?;
        let mut inner = self.changing(inner);
        inner.touch(column);
        inner.unlink(column);
        inner.data = next;
        Ok(())
    }

    /// Takes over the values of another model.
    pub(super) fn replace(self: &Arc<Self>, model: Arc<dyn AnyModel>) {
        let mut inner = self.changing(self.inner.lock());
        inner.touched = ColumnSet::all();
        inner.joins_anew();
        if inner.expired {
            let before = &inner.data;
            let set = (0..self.table.columns.len()).filter(|column| {
                let after = model.lent(*column);
                !before.lent(*column).is_some_and(|before| before.same(&after, Default::default))
            });
            let set: ColumnSet = set.collect();
            inner.forced = inner.forced.union(set);
        }
        inner.data = match &inner.data {
            Data::Full(_) => Data::Full(model),
            Data::Draft(_) => Data::Draft(model.all_set()),
        };
    }

    /// Where the object stands.
    pub(super) fn state(&self) -> State {
        let inner = self.inner.lock();
        let ended = inner.unit.as_ref().is_some_and(|unit| unit.has_ended());
        match inner.phase {
            Phase::Transient => State::Transient,
            _ if ended => State::Detached,
            Phase::Pending => State::Pending,
            Phase::Persistent => State::Persistent,
            Phase::Deleting | Phase::Deleted => State::Deleted,
            Phase::Detached => State::Detached,
        }
    }

    /// The columns whose value differs from what the database holds, by name; those that are set by an expression last.
    pub(super) fn changed(&self) -> Vec<&'static str> {
        let inner = self.inner.lock();
        let set = inner.changed_columns().into_iter();
        let given =
            inner.expressions.iter().map(|(column, _)| *column).filter(|c| !inner.differing().any(|set| set == *c));
        set.chain(given).map(|c| self.table.columns[c].name).collect()
    }

    /// Keeps what the database holds before the first change, and says whether the object must be enlisted as dirty.
    fn before_write(&self, inner: &mut Inner) -> Option<Arc<Shared>> {
        let live = inner.unit.clone().filter(|unit| !unit.has_ended() && inner.phase != Phase::Detached);
        let Some(unit) = live else {
            if inner.phase != Phase::Transient {
                self.refuse_late_write(inner);
            }
            return None;
        };
        // Of an object that is to be deleted too: its row is found by what the database holds.
        if matches!(inner.phase, Phase::Persistent | Phase::Deleting)
            && inner.base.is_none()
            && let Data::Full(model) = &inner.data
        {
            inner.base = Some(model.clone());
            inner.remember_all();
        }
        if matches!(inner.phase, Phase::Deleting | Phase::Deleted) {
            tracing::warn!(entity = self.table.entity, "a deleted object was changed; the change is not sent");
            return None;
        }
        inner.keep_outgoing();
        inner.led = false;
        inner.passed = 0;
        if unit.is_doomed() {
            tracing::warn!(
                entity = self.table.entity,
                "changed in a block that must roll back; the change will be dropped (S9)"
            );
        }
        if inner.enlisted || inner.phase == Phase::Transient {
            return None;
        }
        inner.enlisted = true;
        Some(unit)
    }

    /// Why the object cannot be changed: its unit has ended, and was strict (S12).
    pub(super) fn late_write(&self, inner: &Inner) -> Option<Error> {
        let unit = inner.unit.as_ref().filter(|unit| unit.strict)?;
        (inner.phase != Phase::Transient && (unit.has_ended() || inner.phase == Phase::Detached)).then(|| {
            Error::usage(format!(
                "`{}` was changed after its unit of work had ended; load it in a new unit and change it there",
                self.table.entity
            ))
        })
    }

    fn refuse_late_write(&self, inner: &Inner) {
        if let Some(refused) = self.late_write(inner) {
            panic!("{refused}");
        }
        let entity = self.table.entity;
        tracing::warn!(entity, "an object was changed after its unit of work had ended; the change is not sent (S12)");
    }

    /// The object under change: what the database holds is kept first, and the object is enlisted as dirty afterwards.
    pub(super) fn changing<'o>(self: &'o Arc<Self>, mut inner: MutexGuard<'o, Inner>) -> Changing<'o> {
        let unit = self.before_write(&mut inner);
        Changing { inner, _enlist: Enlist { object: self, unit } }
    }

    /// The object as one that the next flush must see, whatever changes in it.
    pub(super) fn make_due<'o>(self: &'o Arc<Self>, mut inner: MutexGuard<'o, Inner>) -> Changing<'o> {
        // It may be on the list already.
        let unit = (!inner.enlisted).then(|| inner.unit.clone()).flatten();
        inner.enlisted = true;
        inner.remember_all();
        Changing { inner, _enlist: Enlist { object: self, unit } }
    }
}

/// The inside of an object while it is changed. Dropped, the object is on its unit's list of dirty objects: also if the change
/// stopped half-way. The lock is given up before.
#[must_use]
pub(super) struct Changing<'o> {
    inner: MutexGuard<'o, Inner>,
    _enlist: Enlist<'o>,
}

impl Deref for Changing<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

/// Enlists an object when it is dropped; none if the object is on the list, or in no unit.
struct Enlist<'o> {
    object: &'o Arc<AnyObject>,
    unit: Option<Arc<Shared>>,
}

impl Drop for Enlist<'_> {
    fn drop(&mut self) {
        if let Some(unit) = self.unit.take() {
            unit.enlist(self.object.clone());
        }
    }
}
