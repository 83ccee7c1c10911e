//! What the flush and the undo log do with an object, without knowing its entity.

use std::sync::Arc;

use sea_orm::{QueryResult, Value};

use super::{
    AnyObject, Phase,
    any_object::Link,
    identity::IdentityMap,
    inner::{Moved, key_of, values_in},
    row::{Put, Returned, RowChange, RowKind, Straight, WrittenValue, not_in_unit},
    undo::Before,
    values::{AnyModel, Data},
};
use crate::{
    error::Error,
    table::{
        columns::ColumnSet,
        row_sink::RowSink,
        value::{is_null, next_version},
        value_ref::ValueRef,
    },
};

impl AnyObject {
    pub(crate) fn is_pending(&self) -> bool {
        self.inner.lock().phase == Phase::Pending
    }

    pub(crate) fn column_value(&self, column: usize) -> Option<Value> {
        self.inner.lock().data.value(column)
    }

    /// Why the row's version cannot be raised, if it cannot (E7).
    pub(crate) fn last_version(&self) -> Option<Error> {
        let kind = &self.table.columns[self.table.version?].kind;
        let loaded = self.loaded_version()?;
        next_version(kind, loaded).is_none().then(|| self.version_exhausted(loaded))
    }

    pub(crate) fn version_exhausted(&self, version: i64) -> Error {
        Error::VersionExhausted { entity: self.table.entity, key: self.key_text().into(), version }
    }

    /// What the database holds in a column; `None` for a new object.
    pub(crate) fn held_value(&self, column: usize) -> Option<Value> {
        self.inner.lock().held_when_sent().map(|held| held.value(column))
    }

    /// Takes the object off the dirty list; says what the flush has to do about it, if anything.
    pub(crate) fn due(&self) -> Option<RowKind> {
        let mut inner = self.inner.lock();
        inner.enlisted = false;
        inner.let_go();
        match inner.phase {
            Phase::Pending => Some(RowKind::Insert),
            Phase::Deleting => Some(RowKind::Delete),
            Phase::Persistent if inner.is_due() => Some(RowKind::Update),
            Phase::Persistent => {
                inner.base = None;
                inner.untouch();
                None
            }
            _ => None,
        }
    }

    /// Whether nothing is to be written of the row but what expressions give.
    pub(crate) fn only_expressed(&self) -> bool {
        let inner = self.inner.lock();
        !inner.expressions.is_empty() && inner.links.is_empty() && inner.differing().next().is_none()
    }

    /// Notes that the object goes back on the dirty list. `false`: it is on it already.
    pub(crate) fn requeue(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().enlisted, true)
    }

    /// The flush writes what the object is now. A change from now on is for the next one (F3).
    pub(crate) fn hold(&self) {
        self.inner.lock().hold();
    }

    /// What is to be written.
    pub(crate) fn change(&self, kind: RowKind) -> Result<Option<RowChange>, Error> {
        let inner = self.inner.lock();
        Ok(match kind {
            RowKind::Insert => self.insert_change(&inner),
            RowKind::Update => self.update_change(&inner),
            RowKind::Delete => self.delete_change(&inner),
        })
    }

    /// What is to be written, if the row can go straight to the wire: it is found by its key and version alone, and neither
    /// gives up nor takes what is unique. `None`: only the planner can tell.
    pub(crate) fn straight(&self, kind: RowKind) -> Option<Straight> {
        let inner = self.inner.lock();
        let checked = !inner.locked && inner.unit.as_ref().is_some_and(|unit| unit.optimistic);
        let linked = || inner.written_links().iter().flat_map(|link| &link.columns).copied();
        let columns: ColumnSet = match (kind, inner.written_data()) {
            (RowKind::Insert, Data::Draft(draft)) => {
                let set = (0..self.table.columns.len()).filter(|column| draft.lent(*column).is_some());
                set.chain(linked()).collect()
            }
            (RowKind::Update, Data::Full(_)) if !checked => inner.differing().chain(linked()).collect(),
            (RowKind::Delete, Data::Full(_)) if !checked => {
                return Some(Straight { columns: ColumnSet::default(), rank: inner.rank() });
            }
            _ => return None,
        };
        let foreign = |column: usize| self.table.parents.iter().any(|fk| fk.columns.contains(&column));
        let plain = match kind {
            RowKind::Update => !columns.meets(self.table.claimed),
            _ => true,
        };
        // Parents that are not part of this flush are for the planner to report.
        let known = |link: &Link| link.is_resolved() || link.parent.is_pending();
        let follows = linked().all(foreign) && inner.written_links().iter().all(known);
        (plain && follows && !columns.is_empty()).then(|| Straight { columns, rank: inner.rank() })
    }

    /// Where the row stands among those of its table: [`crate::objects::identity::Key::rank`] of the key that the map has it under.
    pub(crate) fn rank(&self) -> i64 {
        self.inner.lock().rank()
    }

    /// Puts the values of one row where they are written.
    pub(crate) fn put_row(&self, places: &[Put], sink: &mut dyn RowSink) -> Result<(), Error> {
        let inner = self.inner.lock();
        for (at, place) in places.iter().enumerate() {
            let own = |column| inner.written_data().lent(column).unwrap_or(ValueRef::Null);
            let value = match *place {
                Put::Held(column) | Put::Checked(column) => {
                    inner.base.as_ref().map_or_else(|| own(column), |held| held.lent(column))
                }
                Put::New(column) => match inner.link_of(column) {
                    Some(WrittenValue::Value(key)) => {
                        sink.put(at, &ValueRef::from(&key))?;
                        continue;
                    }
                    Some(WrittenValue::KeyOf(parent, _)) => {
                        return Err(not_in_unit(self.table, column, parent.table()));
                    }
                    None => own(column),
                },
            };
            sink.put(at, &value)?;
        }
        Ok(())
    }

    /// The key that the database holds the row under, or will.
    pub(crate) fn held_key(&self) -> Option<Vec<Value>> {
        let inner = self.inner.lock();
        match &inner.base {
            Some(held) => Some(values_in(&**held, &self.table.keys)),
            None => inner.written_data().values(&self.table.keys),
        }
    }

    /// The write worked: the object now is what the database holds.
    pub(crate) fn written(
        self: &Arc<Self>,
        kind: RowKind,
        returned: Option<&Returned<'_>>,
        micros: &[usize],
        frame: u64,
        map: &mut IdentityMap,
    ) -> Result<bool, Error> {
        let mut inner = self.inner.lock();
        let late = inner.take_late();
        let (touched, moved) = match kind {
            RowKind::Insert => (false, self.inserted(&mut inner, returned, micros)?),
            RowKind::Update => self.updated(&mut inner, returned, micros, frame)?,
            RowKind::Delete => self.deleted(&mut inner, frame),
        };
        late.map_or(Ok(()), |late| inner.apply_late(late))?;
        let key = moved.as_ref().and_then(|_| inner.key.clone());
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, key);
        }
        Ok(touched)
    }

    /// What a cycle postponed is written too: these values in these columns.
    pub(crate) fn closed(
        &self,
        values: &mut dyn Iterator<Item = (usize, Value)>,
        returned: Option<&Returned<'_>>,
    ) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let mut written: Vec<(usize, Value)> = inner.resolved_links().into_iter().chain(values).collect();
        if let Some(Returned::Values(told)) = returned {
            written.extend(told.iter().cloned());
        }
        for (column, value) in written {
            inner.database_holds(column, value)?;
        }
        inner.links.clear();
        match returned {
            Some(Returned::Row(row)) => {
                let model = inner.data.entity().read(row)?;
                Ok(inner.now_holds(model)?)
            }
            _ => Ok(()),
        }
    }

    /// The row was read once more after it was written: this is what it holds (D4).
    pub(crate) fn told_again(self: &Arc<Self>, row: &QueryResult, map: &mut IdentityMap) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let model = inner.data.entity().read(row)?;
        let key = key_of(self.table, &*model);
        inner.now_holds(model)?;
        let moved = inner.move_to(key);
        let key = inner.key.clone();
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, key);
        }
        Ok(())
    }

    /// What the database holds in a column, as far as the object knows; nothing if it is no row, or is to be read again.
    pub(crate) fn stored_value(&self, column: usize) -> Option<Value> {
        let known = {
            let inner = self.inner.lock();
            inner.phase == Phase::Persistent && !inner.expired
        };
        known.then(|| self.held_value(column)).flatten()
    }

    /// The database has set these columns by itself (D6): changes that were not sent stay changes. True if the frame must be
    /// told.
    pub(crate) fn database_set(
        self: &Arc<Self>,
        values: &[(usize, Value)],
        frame: u64,
        map: &mut IdentityMap,
    ) -> Result<bool, Error> {
        let mut inner = self.inner.lock();
        inner.passed = 0;
        inner.joins_anew();
        let told = match inner.base.is_some() || inner.enlisted {
            true => {
                let before = inner.base.clone().map(Data::Full).or_else(|| Some(inner.data.clone()));
                let key = inner.key.clone();
                inner.remember(frame, Phase::Persistent, before, key)
            }
            false => inner.remember_columns(frame, values.iter().map(|(column, _)| *column)),
        };
        for (column, value) in values {
            inner.database_holds(*column, value.clone())?;
        }
        let Some(key) = inner.held().map(|held| key_of(self.table, &**held)) else { return Ok(told) };
        let moved = inner.move_to(key);
        let key = inner.key.clone();
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, key);
        }
        Ok(told)
    }

    /// Whether the object is a row of which it is not known what it holds, nor whether it is still there.
    pub(crate) fn is_doubted(&self) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Persistent && inner.expired
    }

    /// Whether nothing is to be written of an expired object but what follows a parent.
    pub(crate) fn is_led(&self) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Persistent && inner.led
    }

    /// Whether a delete of the row is to be sent.
    pub(crate) fn is_deleting(&self) -> bool {
        self.inner.lock().phase == Phase::Deleting
    }

    /// Whether a foreign key without which the row is to be deleted has become NULL (U3).
    pub(crate) fn is_orphan(&self) -> bool {
        let inner = self.inner.lock();
        let (Phase::Persistent, Some(held)) = (inner.phase, &inner.base) else { return false };
        let has = |model: &dyn AnyModel, key: &[usize]| key.iter().all(|column| !is_null(&model.value(*column)));
        let orphaned = |now: &dyn AnyModel| self.table.orphans.iter().any(|key| has(&**held, key) && !has(now, key));
        inner.data.model().is_some_and(|now| orphaned(&**now))
    }

    /// Whether its row was found to be gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.inner.lock().phase == Phase::Deleted
    }

    /// What the row holds is not known any more (D6).
    pub(crate) fn doubt(&self) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Persistent {
            inner.expire(self.address());
            // This unit's own write has changed it: what was read before is no promise (P5).
            inner.read = ColumnSet::default();
        }
    }

    /// The row was found to be gone (D7). True if the frame must be told.
    pub(crate) fn vanish(self: &Arc<Self>, frame: u64, map: &mut IdentityMap) -> bool {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Persistent {
            return false;
        }
        inner.joins_anew();
        let (touched, moved) = self.deleted(&mut inner, frame);
        // Whoever rolls back to before this does not know whether the row is there again.
        if touched && let Some(undo) = inner.undo.last_mut() {
            undo.expired = Some(0);
        }
        inner.untouch();
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, None);
        }
        touched
    }

    /// Says that the object was added in `frame`.
    pub(crate) fn added(&self, frame: u64) -> bool {
        let mut inner = self.inner.lock();
        inner.remember(frame, Phase::Transient, None, None)
    }

    /// Takes back what was not flushed.
    pub(crate) fn revert(self: &Arc<Self>, map: &mut IdentityMap) -> bool {
        let mut inner = self.inner.lock();
        inner.enlisted = false;
        if inner.phase == Phase::Detached {
            return false;
        }
        inner.let_go();
        inner.passed = 0;
        // One that was never inserted keeps the parent that it follows: it may be added again (S3).
        if inner.phase != Phase::Pending {
            inner.links.clear();
        }
        inner.untouch();
        inner.expressions.clear();
        let dropped = inner.base.is_some();
        if let Some(base) = inner.base.take() {
            inner.data = Data::Full(base);
        }
        if inner.phase == Phase::Deleting {
            inner.phase = Phase::Persistent;
            let key = inner.key.clone();
            drop(inner);
            // A row switch may have put another object in its place.
            self.rekey(map, None, key);
            return true;
        }
        dropped
    }

    pub(crate) fn rollback(self: &Arc<Self>, frame: u64, map: &mut IdentityMap) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Detached || inner.undo.last().is_none_or(|undo| undo.frame != frame) {
            return;
        }
        let Some(undo) = inner.undo.pop() else { return };
        inner.base = None;
        inner.passed = 0;
        inner.untouch();
        inner.expressions.clear();
        match undo.held {
            Before::Nothing => {}
            Before::Whole(data) => inner.data = data,
            Before::Columns(columns) => inner.data.put_back(self.table, columns),
        }
        inner.phase = undo.phase;
        inner.locked = undo.locked;
        // What expired inside the block, or in one inside that, was known before.
        if let Some(newest) = undo.expired.filter(|newest| u64::from(*newest) < undo.frame) {
            (inner.expired, inner.expired_in) = (true, newest);
        }
        let (left, back) = (std::mem::replace(&mut inner.key, undo.key.clone()), undo.key);
        drop(inner);
        self.rekey(map, left, back);
    }

    pub(crate) fn release(&self, frame: u64, parent: u64) -> bool {
        let mut inner = self.inner.lock();
        let top = inner.undo.len();
        if top == 0 || inner.undo[top - 1].frame != frame {
            return false;
        }
        if top > 1 && inner.undo[top - 2].frame == parent {
            // The parent's own, older state is what its rollback restores.
            if let Some(inside) = inner.undo.pop()
                && let Some(own) = inner.undo.last_mut()
            {
                own.held.cover(self.table, inside.held);
            }
            return false;
        }
        inner.undo[top - 1].frame = parent;
        true
    }

    pub(crate) fn forget(self: &Arc<Self>, map: &mut IdentityMap) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Transient {
            return;
        }
        inner.joins_anew();
        inner.phase = Phase::Detached;
        let key = inner.key.take();
        drop(inner);
        self.rekey(map, key, None);
    }
}
