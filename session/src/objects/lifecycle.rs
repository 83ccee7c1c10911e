//! What the session does to an object: takes it in, reads it again, deletes it, lets it go.
//!
//! It never sends SQL; the session does that and says here what came of it.

use std::sync::Arc;

use sea_orm::Value;

use super::{
    AnyObject, Phase,
    any_object::{Inner, Link},
    identity::{IdentityMap, Key},
    inner::values_in,
    shared::Shared,
    states::{self, Operation},
    values::{AnyModel, Data},
};
use crate::{
    error::Error,
    table::{columns::ColumnSet, kinds::ColumnKind},
};

impl AnyObject {
    /// Enlists a new object, so that the next flush sees it.
    pub(crate) fn enlist_new(self: &Arc<Self>) {
        // One that was added, deleted and added again is on the list already.
        self.make_due(self.inner.lock()).joins_anew();
    }

    /// The unit refused the object: it is in none (I2).
    pub(crate) fn refused(&self) {
        self.inner.lock().phase = Phase::Transient;
    }

    /// Brings a transient object into a unit again (S3).
    pub(crate) fn revive(&self, unit: &Arc<Shared>) -> Result<(), Error> {
        let state = self.state();
        if states::next_state(state, Operation::AddAgain).is_none() {
            return Err(Error::usage(format!(
                "{} is {state:?}, and only a transient object can be added again: {}",
                self.table.entity,
                states::reason(state, Operation::AddAgain)
            )));
        }
        let mut inner = self.inner.lock();
        if let Data::Full(model) = &inner.data {
            inner.data = Data::Draft(model.all_set());
        }
        inner.phase = Phase::Pending;
        inner.unit = Some(unit.clone());
        inner.undo.clear();
        if inner.has_children() {
            unit.note_leader();
        }
        Ok(())
    }

    pub(crate) fn known_key(&self) -> Option<Key> {
        self.inner.lock().data.values(&self.table.keys).map(Key::from_values)
    }

    pub(crate) fn set_map_key(&self, key: Key) {
        self.inner.lock().key = Some(key);
    }

    pub(crate) fn map_key(&self) -> Option<Key> {
        self.inner.lock().key.clone()
    }

    /// Whether the object is a row whose values are to be read again before they are used (D8).
    pub(crate) fn wants_reading(&self) -> bool {
        let inner = self.inner.lock();
        inner.expired && inner.phase == Phase::Persistent && inner.unit.as_ref().is_some_and(|unit| !unit.has_ended())
    }

    /// Where the object stands, unless it is to be read again.
    pub(crate) fn phase_unless_expired(&self) -> Option<Phase> {
        let inner = self.inner.lock();
        (!inner.expired).then_some(inner.phase)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.inner.lock().phase
    }

    pub(crate) fn belongs_to(&self, unit: &Arc<Shared>) -> bool {
        self.inner.lock().unit.as_ref().is_some_and(|own| Arc::ptr_eq(own, unit))
    }

    /// Marks the object as deleted. A pending one becomes transient: nothing was ever sent (F6).
    pub(crate) fn mark_deleted(self: &Arc<Self>, map: &mut IdentityMap) {
        let mut inner = self.inner.lock();
        inner.joins_anew();
        match inner.phase {
            Phase::Pending => {
                inner.phase = Phase::Transient;
                if let Some(key) = inner.key.take() {
                    drop(inner);
                    map.remove(&key, self);
                }
            }
            Phase::Persistent => {
                self.make_due(inner).phase = Phase::Deleting;
            }
            _ => {}
        }
    }

    /// Takes the object out of its unit; it keeps its values and nothing about it is sent (S7).
    pub(crate) fn expunge(self: &Arc<Self>, map: &mut IdentityMap) {
        let mut inner = self.inner.lock();
        inner.joins_anew();
        inner.phase = Phase::Detached;
        inner.undo.clear();
        let key = inner.key.take();
        drop(inner);
        if let Some(key) = key {
            map.remove(&key, self);
        }
    }

    pub(crate) fn expire(&self) {
        self.inner.lock().expire(self.address());
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.inner.lock().expired
    }

    /// The row was read again in `frame` (I3, P5). Without `overwrite` a clean object keeps what it has. True if the frame
    /// must be told, because its rollback has something to restore.
    pub(crate) fn reread(
        &self,
        model: Arc<dyn AnyModel>,
        overwrite: bool,
        locked: bool,
        frame: u64,
    ) -> Result<bool, Error> {
        let mut inner = self.inner.lock();
        let expired = inner.expired;
        let dirty = inner.base.is_some();
        let optimistic = inner.unit.as_ref().is_some_and(|unit| unit.optimistic);
        if inner.phase != Phase::Persistent {
            inner.expired = false;
            return Ok(false);
        }
        if optimistic {
            self.check_repeatable(&inner, &*model)?;
        }
        if dirty && !overwrite {
            if !expired {
                return Ok(false);
            }
            // What was set stays set; the rest is as the database has it.
            let (before, key) = (inner.base.clone().map(Data::Full), inner.key.clone());
            let told = inner.remember(frame, Phase::Persistent, before, key);
            inner.expired = false;
            inner.locked |= locked;
            inner.now_holds(model)?;
            inner.forced = ColumnSet::default();
            return Ok(told);
        }
        if !(overwrite || expired || optimistic) {
            return Ok(false);
        }
        inner.compare_joins(&*model);
        // What a block read it may have written by SQL of its own, and its rollback takes row locks back too (INV4).
        let before = inner.base.take().map(Data::Full).or_else(|| Some(inner.data.clone()));
        let key = inner.key.clone();
        let told = inner.remember(frame, Phase::Persistent, before, key);
        inner.expired = false;
        inner.locked |= locked;
        inner.data = Data::Full(model);
        inner.untouch();
        inner.expressions.clear();
        Ok(told)
    }

    fn check_repeatable(&self, inner: &Inner, model: &dyn AnyModel) -> Result<(), Error> {
        let Some(held) = inner.held() else { return Ok(()) };
        let read = |column: &usize| inner.read.contains(*column) && self.is_checkable(*column);
        for column in (0..self.table.columns.len()).filter(read) {
            let (old, new) = (held.value(column), model.value(column));
            if old != new {
                let shown = inner.unit.as_ref().is_some_and(|u| u.show_values) && !self.table.secret.contains(column);
                return Err(Error::UnrepeatableRead {
                    entity: self.table.entity,
                    key: self.table.show_key(&values_in(&**held, &self.table.keys)).into(),
                    column: self.table.columns[column].name,
                    change: shown.then(|| Box::new((format!("{old:?}"), format!("{new:?}")))),
                });
            }
        }
        Ok(())
    }

    fn is_checkable(&self, column: usize) -> bool {
        let kind = &self.table.columns[column].kind;
        !ColumnKind::of(kind).is_approximate() && !self.table.not_optimistic.contains(column)
    }

    pub(crate) fn link(
        self: &Arc<Self>,
        columns: Vec<usize>,
        parent: Arc<AnyObject>,
        parent_columns: Vec<usize>,
    ) -> Result<(), Error> {
        let known: Option<Vec<Value>> = parent_columns.iter().map(|c| parent.column_value(*c)).collect();
        // The parent's lock is never taken under this object's own: it may be the same one, or want this one meanwhile.
        let own = Arc::ptr_eq(self, &parent);
        if own && known.is_none() {
            return Err(Error::usage(format!(
                "a {} cannot follow its own key before the database has made it: flush it first",
                self.table.entity
            )));
        }
        let follows = !own && parent.is_pending();
        if !own {
            parent.lead_to(Arc::downgrade(self), &columns, &parent_columns, known.clone().unwrap_or_default());
        }
        if let Some(values) = &known {
            // Tried on an empty draft: if one of the values does not fit, none is set.
            let mut probe = Data::Draft(self.inner.lock().data.entity().empty_draft());
            columns.iter().zip(values).try_for_each(|(column, value)| probe.put(self.table, *column, value.clone()))?;
        }
        let mut inner = self.changing(self.inner.lock());
        columns.iter().for_each(|c| inner.touch(*c));
        let mut set = columns.iter().zip(known.into_iter().flatten());
        let set = set.try_for_each(|(column, value)| inner.data.put(self.table, *column, value));
        inner.links.retain(|link| link.columns != columns);
        if follows {
            inner.links.push(Link { columns, parent, parent_columns });
        }
        Ok(set?)
    }
}
