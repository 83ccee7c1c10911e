//! What the flush and the undo log do with an object, without knowing its entity.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use futures_util::future::BoxFuture;
use sea_orm::{ActiveModelBehavior, FromQueryResult, Iterable, ModelTrait, PrimaryKeyToColumn, QueryResult, Value};

use super::{
    AnyObject, Data, Link, ObjectCell, Phase,
    changes::{Change, RowImage},
    entity::{TrackedEntity, table_of},
    identity::IdentityMap,
    inner::{Moved, column_at, key_of, keys_of},
    row::{Carried, Expressed, Put, Returned, RowChange, RowKind, Stamp, Straight, WrittenValue, not_in_unit},
    undo::Before,
};
use crate::{
    connection::lent::FlushConnection,
    error::Error,
    table::{
        columns::ColumnSet,
        meta::TableMeta,
        row_sink::RowSink,
        value::{is_null, next_version},
        value_ref::ValueRef,
    },
};

impl<E: TrackedEntity> AnyObject for ObjectCell<E> {
    fn table(&self) -> &'static TableMeta {
        // Asked of each object in each step of a flush: without a look at the object, which is not in the cache any more.
        table_of::<E>()
    }

    fn key_text(&self) -> String {
        let keys: Option<Vec<Value>> = self.table.keys.iter().map(|k| self.column_value(*k)).collect();
        keys.map_or_else(|| "(new)".to_owned(), |keys| self.table.show_key(&keys))
    }

    fn is_pending(&self) -> bool {
        self.inner.lock().phase == Phase::Pending
    }

    fn column_value(&self, column: usize) -> Option<Value> {
        let column = column_at::<E>(column)?;
        self.inner.lock().value(column)
    }

    fn last_version(&self) -> Option<Error> {
        let kind = &self.table.columns[self.table.version?].kind;
        let loaded = self.loaded_version()?;
        next_version(kind, loaded).is_none().then(|| self.version_exhausted(loaded))
    }

    fn version_exhausted(&self, version: i64) -> Error {
        Error::VersionExhausted { entity: self.table.entity, key: self.key_text().into(), version }
    }

    fn held_value(&self, column: usize) -> Option<Value> {
        let (inner, column) = (self.inner.lock(), column_at::<E>(column)?);
        match (&inner.base, inner.written_data()) {
            (Some(base), _) => Some(base.get(column)),
            (None, Data::Full(data)) => Some(data.get(column)),
            (None, Data::Draft(_)) => None,
        }
    }

    fn lead_to(&self, child: Weak<dyn AnyObject>, columns: &[usize], own: &[usize], values: Vec<Value>) {
        let mut inner = self.inner.lock();
        inner.note_child(child, columns, own, values);
        inner.unit.iter().for_each(|unit| unit.note_leader());
    }

    fn lead(&self) -> Result<(), Error> {
        self.lead_children()
    }

    fn follow(&self, columns: &[usize], from: &[Vec<Value>], to: &[Value]) -> Result<(), Error> {
        self.follow_parent(columns, from, to)
    }

    fn set_before_insert(&self, column: usize, value: Value) -> Result<(), Error> {
        self.set_stamped(column, value)
    }

    fn due(&self) -> Option<RowKind> {
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

    fn only_expressed(&self) -> bool {
        let inner = self.inner.lock();
        !inner.expressions.is_empty() && inner.links.is_empty() && inner.differing().next().is_none()
    }

    fn expressed(&self) -> Option<Expressed> {
        self.take_expressions()
    }

    fn requeue(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().enlisted, true)
    }

    fn stamp(&self, kind: RowKind, stamp: &Stamp<'_>) -> Result<(), Error> {
        self.stamp_row(kind, stamp)
    }

    fn before<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
    ) -> BoxFuture<'a, Result<Carried, Error>> {
        Box::pin(async move {
            let active = self.active(kind);
            if kind == RowKind::Delete {
                let active = active.before_delete(db).await.map_err(|e| self.hook_error("before_delete", e))?;
                return Ok(Some(Box::new(active) as Box<dyn Any + Send>));
            }
            let hooked = active.before_save(db, kind == RowKind::Insert).await;
            self.absorb(hooked.map_err(|e| self.hook_error("before_save", e))?)?;
            Ok(None)
        })
    }

    fn hold(&self) {
        self.inner.lock().hold();
    }

    fn change(&self, kind: RowKind) -> Result<Option<RowChange>, Error> {
        let inner = self.inner.lock();
        Ok(match kind {
            RowKind::Insert => self.insert_change(&inner),
            RowKind::Update => self.update_change(&inner),
            RowKind::Delete => self.delete_change(&inner),
        })
    }

    fn straight(&self, kind: RowKind) -> Option<Straight> {
        let inner = self.inner.lock();
        let checked = !inner.locked && inner.unit.as_ref().is_some_and(|unit| unit.optimistic);
        let linked = || inner.written_links().iter().flat_map(|link| &link.columns).copied();
        let columns: ColumnSet = match (kind, inner.written_data()) {
            (RowKind::Insert, Data::Draft(draft)) => {
                let set = (0..self.table.columns.len()).filter(|c| E::value_of_draft(draft, *c).is_some());
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

    fn rank(&self) -> i64 {
        self.inner.lock().rank()
    }

    fn put_row(&self, places: &[Put], sink: &mut dyn RowSink) -> Result<(), Error> {
        let inner = self.inner.lock();
        for (at, place) in places.iter().enumerate() {
            let own = |column| inner.written_data().lent(column).unwrap_or(ValueRef::Null);
            let value = match *place {
                Put::Held(column) | Put::Checked(column) => {
                    inner.base.as_ref().map_or_else(|| own(column), |held| E::value_of(held, column))
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

    fn held_key(&self) -> Option<Vec<Value>> {
        let inner = self.inner.lock();
        match &inner.base {
            Some(held) => Some(keys_of::<E>(held)),
            None => E::PrimaryKey::iter().map(|k| inner.written_data().value(k.into_column())).collect(),
        }
    }

    fn written(
        &self,
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

    fn closed(
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
            // A change that came meanwhile stands, and differs from what is written now.
            let late = inner.differing().any(|changed| changed == column);
            if let Some(base) = inner.base.take() {
                let mut base = Data::<E>::Full(base);
                base.try_set_at(column, value.clone())?;
                if let Data::Full(base) = base {
                    inner.base = Some(base);
                }
            }
            if !late {
                inner.data.try_set_at(column, value)?;
            }
        }
        inner.links.clear();
        match returned {
            Some(Returned::Row(row)) => Ok(inner.now_holds(E::Model::from_query_result(row, "")?)?),
            _ => Ok(()),
        }
    }

    fn leave_out(&self, column: usize) {
        self.forget_change(column);
    }

    fn told_again(&self, row: &QueryResult, map: &mut IdentityMap) -> Result<(), Error> {
        let model = E::Model::from_query_result(row, "")?;
        let mut inner = self.inner.lock();
        let key = key_of::<E>(self.table, &model);
        inner.now_holds(model)?;
        let moved = inner.move_to(key);
        let key = inner.key.clone();
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, key);
        }
        Ok(())
    }

    fn stored_value(&self, column: usize) -> Option<Value> {
        let known = {
            let inner = self.inner.lock();
            inner.phase == Phase::Persistent && !inner.expired
        };
        known.then(|| self.held_value(column)).flatten()
    }

    fn database_set(&self, values: &[(usize, Value)], frame: u64, map: &mut IdentityMap) -> Result<bool, Error> {
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
            let own = inner.differing().any(|changed| changed == *column);
            if let Some(base) = inner.base.take() {
                let mut base = Data::<E>::Full(base);
                base.try_set_at(*column, value.clone())?;
                if let Data::Full(base) = base {
                    inner.base = Some(base);
                }
            }
            if !own {
                inner.data.try_set_at(*column, value.clone())?;
            }
        }
        let held = match (&inner.base, &inner.data) {
            (Some(held), _) | (None, Data::Full(held)) => held.clone(),
            (None, Data::Draft(_)) => return Ok(told),
        };
        let moved = inner.move_to(key_of::<E>(self.table, &held));
        let key = inner.key.clone();
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, key);
        }
        Ok(told)
    }

    fn is_doubted(&self) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Persistent && inner.expired
    }

    fn is_led(&self) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Persistent && inner.led
    }

    fn is_deleting(&self) -> bool {
        self.inner.lock().phase == Phase::Deleting
    }

    fn is_orphan(&self) -> bool {
        let inner = self.inner.lock();
        let (Phase::Persistent, Some(held)) = (inner.phase, &inner.base) else { return false };
        let has = |model: &E::Model, columns: &[usize]| {
            columns.iter().all(|column| column_at::<E>(*column).is_some_and(|column| !is_null(&model.get(column))))
        };
        match &inner.data {
            Data::Full(now) => self.table.orphans.iter().any(|key| has(held, key) && !has(now, key)),
            Data::Draft(_) => false,
        }
    }

    fn delete(&self, map: &mut IdentityMap) {
        if let Some(object) = self.object() {
            object.mark_deleted(map);
        }
    }

    fn is_gone(&self) -> bool {
        self.inner.lock().phase == Phase::Deleted
    }

    fn doubt(&self) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Persistent {
            inner.expire(self.address());
            // This unit's own write has changed it: what was read before is no promise (P5).
            inner.read = ColumnSet::default();
        }
    }

    fn vanish(&self, frame: u64, map: &mut IdentityMap) -> bool {
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

    fn after<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
        carried: Carried,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if kind == RowKind::Delete {
                let active = carried.and_then(|carried| carried.downcast::<E::ActiveModel>().ok());
                let active = active.map_or_else(|| self.active(kind), |active| *active);
                active.after_delete(db).await.map_err(|e| self.hook_error("after_delete", e))?;
                return Ok(());
            }
            let model = match &self.inner.lock().data {
                Data::Full(model) => (**model).clone(),
                Data::Draft(_) => return Ok(()),
            };
            let model = E::ActiveModel::after_save(model, db, kind == RowKind::Insert).await;
            let model = model.map_err(|e| self.hook_error("after_save", e))?;
            self.take_after_save(model);
            Ok(())
        })
    }

    fn image(&self) -> Option<RowImage> {
        self.row_image()
    }

    fn change_since_image(&self, kind: RowKind, before: Option<&RowImage>) -> Option<Change> {
        self.change_since(kind, before)
    }

    fn pending_change(&self) -> Option<Change> {
        self.change_ahead()
    }

    fn added(&self, frame: u64) -> bool {
        let mut inner = self.inner.lock();
        inner.remember(frame, Phase::Transient, None, None)
    }

    fn revert(&self, map: &mut IdentityMap) -> bool {
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

    fn rollback(&self, frame: u64, map: &mut IdentityMap) {
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
            Before::Columns(columns) => inner.data.put_back(columns),
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

    fn release(&self, frame: u64, parent: u64) -> bool {
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
                own.held.cover(inside.held);
            }
            return false;
        }
        inner.undo[top - 1].frame = parent;
        true
    }

    fn forget(&self, map: &mut IdentityMap) {
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
