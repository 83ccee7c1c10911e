//! What the flush and the undo log do with an object, without knowing its entity.

use std::{any::Any, sync::Arc};

use futures_util::future::BoxFuture;
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ActiveValue, DbErr, IntoActiveModel, Iterable, ModelTrait,
    PrimaryKeyToColumn, QueryResult, Value,
};

use super::{
    Data, Inner, Link, Object, ObjectCell, Phase,
    values::{Moved, column_at, key_of, keys_of, whole_model},
};
use crate::{
    error::Error,
    flush::value::{as_integer, integer, is_null, tenant_text, tenant_value, time_value},
    flush::{FlushConnection, RowChange, RowKind, Source, not_in_unit, wire::RowSink},
    identity::{IdentityMap, Key},
    meta::{ColumnSet, TableMeta, TrackedEntity},
    value_ref::ValueRef,
};

/// What the flush and the undo log do with an object of any entity.
pub(crate) trait AnyObject: Send + Sync {
    fn table(&self) -> &'static TableMeta;
    fn key_text(&self) -> String;
    fn is_pending(&self) -> bool;
    fn column_value(&self, column: usize) -> Option<Value>;

    /// Sets a column of a new object before it is written.
    fn set_before_insert(&self, column: usize, value: Value) -> Result<(), Error>;
    /// Takes the object off the dirty list; says what the flush has to do about it, if anything.
    fn due(&self) -> Option<RowKind>;
    /// Notes that the object goes back on the dirty list. `false`: it is on it already.
    fn requeue(&self) -> bool;
    /// Sets what the flush itself sets: versions, times, tenants.
    fn stamp(&self, kind: RowKind, stamp: &Stamp) -> Result<(), Error>;
    /// Runs SeaORM's `before_save` or `before_delete` (H10).
    fn before<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
    ) -> BoxFuture<'a, Result<Carried, Error>>;
    /// The flush writes what the object is now. A change from now on is for the next one (F3).
    fn hold(&self);
    /// What is to be written.
    fn change(&self, kind: RowKind) -> Result<Option<RowChange>, Error>;
    /// The columns that are to be written, if the row can go straight to the wire: it is found by its key and version alone,
    /// and neither gives up nor takes what is unique. `None`: only the planner can tell.
    fn straight(&self, kind: RowKind) -> Option<ColumnSet>;
    /// Puts the values of one row where they are written.
    fn put_row(&self, places: &[Put], sink: &mut dyn RowSink) -> Result<(), Error>;
    /// The key that the database holds the row under, or will.
    fn held_key(&self) -> Option<Vec<Value>>;
    /// The write worked: the object now is what the database holds.
    fn written(
        &self,
        kind: RowKind,
        returned: Option<&Returned<'_>>,
        frame: u64,
        map: &mut IdentityMap,
    ) -> Result<bool, Error>;
    /// The keys that a cycle postponed are written too.
    fn closed(&self) -> Result<(), Error>;
    /// Runs SeaORM's `after_save` or `after_delete`.
    fn after<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
        carried: Carried,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Says that the object was added in `frame`.
    fn added(&self, frame: u64) -> bool;
    /// Takes back what was not flushed.
    fn revert(&self, map: &mut IdentityMap) -> bool;
    fn rollback(&self, frame: u64, map: &mut IdentityMap);
    fn release(&self, frame: u64, parent: u64) -> bool;
    fn forget(&self, map: &mut IdentityMap);
}

/// One value of a row on its way to the wire.
#[derive(Clone, Copy)]
pub(crate) enum Put {
    /// As the database holds it.
    Held(usize),
    /// As it is to be written.
    New(usize),
}

/// What a `before` hook hands to the `after` hook of the same object.
pub(crate) type Carried = Option<Box<dyn Any + Send>>;

/// What the flush writes into every row it touches.
pub(crate) struct Stamp {
    pub(crate) now: chrono::DateTime<chrono::Utc>,
    pub(crate) tenant: Option<String>,
}

/// Columns that came back with a write.
pub(crate) enum Returned<'a> {
    Row(&'a QueryResult),
    Values(&'a [(usize, Value)]),
}

impl<E: TrackedEntity> ObjectCell<E> {
    /// The handle to this cell. There is one for as long as a method runs on it.
    fn object(&self) -> Option<Object<E>> {
        self.this.upgrade().map(Object)
    }

    fn rekey(&self, map: &mut IdentityMap, from: Option<Key>, to: Option<Key>) {
        let Some(object) = self.object() else { return };
        if let Some(from) = from.filter(|from| Some(from) != to.as_ref()) {
            map.remove(&from, &object);
        }
        if let Some(to) = to {
            map.insert(to, object);
        }
    }

    fn take_after_save(&self, model: E::Model) {
        let mut inner = self.inner.lock();
        // A hook may have changed the object by its handle; that change is newer.
        if inner.base.is_none() {
            inner.data = Data::Full(Arc::new(model));
        }
    }

    fn hook_error(&self, hook: &'static str, cause: DbErr) -> Error {
        Error::Hook { entity: self.table.entity, key: self.key_text().into(), hook, cause: Arc::new(cause.into()) }
    }

    /// The object as SeaORM's hooks want it: changed columns set, the others unchanged.
    fn active(&self, kind: RowKind) -> E::ActiveModel {
        let inner = self.inner.lock();
        match &inner.data {
            Data::Draft(draft) => (**draft).clone(),
            Data::Full(model) => {
                let mut active = (**model).clone().into_active_model();
                if kind == RowKind::Update {
                    let touched =
                        E::Column::iter().enumerate().filter(|(position, _)| inner.touched.contains(*position));
                    touched.for_each(|(_, column)| active.reset(column));
                }
                active
            }
        }
    }

    /// Takes over what a `before_save` hook set.
    fn absorb(&self, mut active: E::ActiveModel) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        if let Data::Draft(draft) = &mut inner.data {
            **draft = active;
            return Ok(());
        }
        for (position, column) in E::Column::iter().enumerate() {
            // Taken, not cloned: the values are ours now.
            let ActiveValue::Set(value) = active.take(column) else { continue };
            let Data::Full(held) = &inner.data else { break };
            if !inner.touched.contains(position) && held.get(column) == value {
                continue;
            }
            inner.touched.insert(position);
            if let Data::Full(model) = &mut inner.data {
                Arc::make_mut(model).try_set(column, value)?;
            }
        }
        Ok(())
    }

    fn set_stamped(&self, column: usize, value: Value) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.touched.insert(column);
        Ok(inner.data.try_set_at(column, value)?)
    }

    fn check_tenant(&self, kind: RowKind, stamp: &Stamp) -> Result<(), Error> {
        let Some(column) = self.table.tenant else { return Ok(()) };
        let entity = self.table.entity;
        let Some(tenant) = &stamp.tenant else {
            return Err(Error::Tenant { entity, reason: "open the unit with `.tenant(key, …)`".into() });
        };
        match self.column_value(column) {
            None if kind == RowKind::Insert => {
                self.set_stamped(column, tenant_value(&self.table.columns[column].kind, tenant)?)
            }
            Some(value) if tenant_text(&value).as_deref() == Some(tenant) => Ok(()),
            _ => Err(Error::Tenant { entity, reason: "the object belongs to another tenant than the unit".into() }),
        }
    }

    fn loaded_version(&self) -> Option<i64> {
        let inner = self.inner.lock();
        let column = column_at::<E>(self.table.version?)?;
        let held = inner.base.as_ref().or(match &inner.data {
            Data::Full(model) => Some(model),
            Data::Draft(_) => None,
        })?;
        as_integer(&held.get(column))
    }

    fn unique_values(&self, model: &E::Model, set: &[usize]) -> Option<Vec<Value>> {
        set.iter().map(|c| column_at::<E>(*c).map(|column| model.get(column)).filter(|v| !is_null(v))).collect()
    }

    fn insert_change(&self, inner: &Inner<E>) -> Option<RowChange> {
        let Data::Draft(draft) = inner.written_data() else { return None };
        let mut cells = Vec::with_capacity(self.table.columns.len());
        for (position, column) in E::Column::iter().enumerate() {
            if let Some(link) = inner.link_of(position) {
                cells.push((position, link));
            } else if let ActiveValue::Set(value) | ActiveValue::Unchanged(value) = draft.get(column) {
                cells.push((position, Source::Value(value)));
            }
        }
        let find = |c: usize| {
            cells.iter().find(|(at, _)| *at == c).and_then(|(_, source)| match source {
                Source::Value(value) if !is_null(value) => Some(value.clone()),
                _ => None,
            })
        };
        let key: Option<Vec<Value>> = self.table.keys.iter().map(|k| find(*k)).collect();
        let takes = self.table.unique.iter().map(|set| set.iter().map(|c| find(*c)).collect()).collect();
        Some(RowChange {
            key: key.unwrap_or_default(),
            version: None,
            cells,
            checks: vec![],
            leaves: vec![],
            frees: vec![None; self.table.unique.len()],
            takes,
        })
    }

    fn update_change(&self, inner: &Inner<E>) -> Option<RowChange> {
        let Data::Full(data) = inner.written_data() else { return None };
        let base = inner.base.as_ref().unwrap_or(data);
        let changed = inner.changed_columns();
        let mut cells: Vec<(usize, Source)> = Vec::with_capacity(changed.len());
        for position in 0..self.table.columns.len() {
            if let Some(link) = inner.link_of(position) {
                cells.push((position, link));
            } else if changed.contains(&position) {
                cells.push((position, Source::Value(data.get(column_at::<E>(position)?))));
            }
        }
        if cells.is_empty() {
            return None;
        }
        let (mut frees, mut takes) = (Vec::new(), Vec::new());
        for set in &self.table.unique {
            let touched = set.iter().any(|c| changed.contains(c));
            frees.push(if touched { self.unique_values(base, set) } else { None });
            takes.push(if touched { self.unique_values(data, set) } else { None });
        }
        let foreign = self.table.parents.iter().flat_map(|fk| &fk.columns);
        let left = foreign.filter(|c| cells.iter().any(|(at, _)| at == *c));
        let leaves = left.filter_map(|c| Some((*c, base.get(column_at::<E>(*c)?)))).collect();
        Some(RowChange {
            key: keys_of::<E>(base),
            version: self.table.version.and_then(column_at::<E>).map(|c| base.get(c)),
            cells,
            checks: self.optimistic_checks(inner, base),
            leaves,
            frees,
            takes,
        })
    }

    fn delete_change(&self, inner: &Inner<E>) -> Option<RowChange> {
        let Data::Full(data) = inner.written_data() else { return None };
        let base = inner.base.as_ref().unwrap_or(data);
        let foreign = self.table.parents.iter().flat_map(|fk| fk.columns.iter().copied());
        let cells = foreign.filter_map(|c| Some((c, Source::Value(base.get(column_at::<E>(c)?))))).collect();
        Some(RowChange {
            key: keys_of::<E>(base),
            version: self.table.version.and_then(column_at::<E>).map(|c| base.get(c)),
            cells,
            checks: self.optimistic_checks(inner, base),
            leaves: vec![],
            frees: self.table.unique.iter().map(|set| self.unique_values(base, set)).collect(),
            takes: vec![None; self.table.unique.len()],
        })
    }

    /// The row is in the database. Says how the map must know it, if that has changed.
    fn inserted(&self, inner: &mut Inner<E>, returned: Option<&Returned<'_>>) -> Result<Option<Moved>, Error> {
        let links: Vec<(usize, Value)> = inner.resolved_links();
        // What a cycle postponed is NULL in the database until its own step, which follows.
        inner.links.retain(|link| !link.is_resolved());
        let postponed = inner.links.iter().flat_map(|link| link.columns.iter().copied());
        let postponed: Vec<(usize, Value)> =
            postponed.map(|column| (column, self.table.columns[column].kind_null())).collect();
        let Data::Draft(draft) = &mut inner.data else { return Ok(None) };
        for (column, value) in links.into_iter().chain(postponed) {
            if let Some(column) = column_at::<E>(column) {
                draft.try_set(column, value)?;
            }
        }
        if let Some(Returned::Values(values)) = returned {
            for (column, value) in *values {
                if let Some(column) = column_at::<E>(*column) {
                    draft.try_set(column, value.clone())?;
                }
            }
        }
        let model = match returned {
            Some(Returned::Row(row)) => <E::Model as sea_orm::FromQueryResult>::from_query_result(row, "")?,
            _ => whole_model::<E>(draft)?,
        };
        let key = key_of::<E>(self.table, &model);
        inner.data = Data::Full(Arc::new(model));
        inner.phase = Phase::Persistent;
        inner.touched = ColumnSet::default();
        Ok(inner.move_to(key))
    }

    /// The row holds what was sent. Whether the frame must be told, and how the map must know the row, if that has changed.
    fn updated(&self, inner: &mut Inner<E>, frame: u64) -> Result<(bool, Option<Moved>), Error> {
        for (column, value) in inner.resolved_links() {
            inner.data.try_set_at(column, value)?;
        }
        inner.links.clear();
        let (before, old_key) = (inner.base.take().map(Data::Full), inner.key.clone());
        let touched = inner.remember(frame, Phase::Persistent, before, old_key);
        inner.touched = ColumnSet::default();
        let Data::Full(model) = &inner.data else { return Ok((touched, None)) };
        let key = key_of::<E>(self.table, model);
        Ok((touched, inner.move_to(key)))
    }

    /// The row is gone.
    fn deleted(&self, inner: &mut Inner<E>, frame: u64) -> (bool, Option<Moved>) {
        let before = inner.base.take().map(Data::Full).or_else(|| Some(inner.data.clone()));
        let key = inner.key.take();
        let touched = inner.remember(frame, Phase::Persistent, before, key.clone());
        inner.phase = Phase::Deleted;
        (touched, Some(Moved { from: key }))
    }

    /// Columns that were read before they were written, with the value that was loaded (P1, P3).
    fn optimistic_checks(&self, inner: &Inner<E>, base: &E::Model) -> Vec<(usize, Value)> {
        if inner.locked || !inner.unit.as_ref().is_some_and(|unit| unit.optimistic) {
            return Vec::new();
        }
        let object = |c: &usize| {
            use sea_orm::sea_query::ArrayType;
            let kind = &self.table.columns[*c].kind;
            !matches!(kind, ArrayType::Float | ArrayType::Double | ArrayType::Json)
                && !self.table.not_optimistic.contains(*c)
                && !self.table.keys.contains(c)
                && self.table.version != Some(*c)
        };
        (0..self.table.columns.len())
            .filter(|c| inner.read.contains(*c))
            .filter(object)
            .filter_map(|c| Some((c, base.get(column_at::<E>(c)?))))
            .collect()
    }
}

impl<E: TrackedEntity> AnyObject for ObjectCell<E> {
    fn table(&self) -> &'static TableMeta {
        self.table
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
            Phase::Persistent if !inner.links.is_empty() || inner.differing().next().is_some() => Some(RowKind::Update),
            Phase::Persistent => {
                inner.base = None;
                inner.touched = ColumnSet::default();
                None
            }
            _ => None,
        }
    }

    fn requeue(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().enlisted, true)
    }

    fn stamp(&self, kind: RowKind, stamp: &Stamp) -> Result<(), Error> {
        let table = self.table;
        self.check_tenant(kind, stamp)?;
        let time = |column: usize| time_value(&table.columns[column].kind, stamp.now);
        if kind == RowKind::Insert {
            for column in [table.created_at, table.updated_at].into_iter().flatten() {
                if self.column_value(column).is_none()
                    && let Some(time) = time(column)
                {
                    self.set_stamped(column, time)?;
                }
            }
            if let Some(version) = table.version.filter(|v| self.column_value(*v).is_none()) {
                self.set_stamped(version, integer(&table.columns[version].kind, 1))?;
            }
            return Ok(());
        }
        let (linked, changed) = {
            let inner = self.inner.lock();
            (!inner.links.is_empty(), inner.changed_columns())
        };
        if kind != RowKind::Update || (!linked && changed.is_empty()) {
            return Ok(());
        }
        if let Some(column) = table.updated_at.filter(|c| !changed.contains(c))
            && let Some(time) = time(column)
        {
            self.set_stamped(column, time)?;
        }
        if let Some(version) = table.version {
            let loaded = self.loaded_version().unwrap_or(0);
            self.set_stamped(version, integer(&table.columns[version].kind, loaded + 1))?;
        }
        Ok(())
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

    fn straight(&self, kind: RowKind) -> Option<ColumnSet> {
        let inner = self.inner.lock();
        let checked = !inner.locked && inner.unit.as_ref().is_some_and(|unit| unit.optimistic);
        let linked = || inner.written_links().iter().flat_map(|link| &link.columns).copied();
        let columns: ColumnSet = match (kind, inner.written_data()) {
            (RowKind::Insert, Data::Draft(draft)) => {
                let set = (0..self.table.columns.len()).filter(|c| E::value_of_draft(draft, *c).is_some());
                set.chain(linked()).collect()
            }
            (RowKind::Update, Data::Full(_)) if !checked => inner.differing().chain(linked()).collect(),
            (RowKind::Delete, Data::Full(_)) if !checked => return Some(ColumnSet::default()),
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
        (plain && follows && !columns.is_empty()).then_some(columns)
    }

    fn put_row(&self, places: &[Put], sink: &mut dyn RowSink) -> Result<(), Error> {
        let inner = self.inner.lock();
        for (at, place) in places.iter().enumerate() {
            let own = |column| inner.written_data().lent(column).unwrap_or(ValueRef::Null);
            let value = match *place {
                Put::Held(column) => inner.base.as_ref().map_or_else(|| own(column), |held| E::value_of(held, column)),
                Put::New(column) => match inner.link_of(column) {
                    Some(Source::Value(key)) => {
                        sink.put(at, &ValueRef::from(&key))?;
                        continue;
                    }
                    Some(Source::KeyOf(parent, _)) => return Err(not_in_unit(self.table, column, parent.table())),
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
        frame: u64,
        map: &mut IdentityMap,
    ) -> Result<bool, Error> {
        let mut inner = self.inner.lock();
        let late = inner.take_late();
        let (touched, moved) = match kind {
            RowKind::Insert => (false, self.inserted(&mut inner, returned)?),
            RowKind::Update => self.updated(&mut inner, frame)?,
            RowKind::Delete => self.deleted(&mut inner, frame),
        };
        late.map_or(Ok(()), |late| inner.apply_late(late))?;
        let key = inner.key.clone().filter(|_| moved.is_some());
        drop(inner);
        if let Some(Moved { from }) = moved {
            self.rekey(map, from, key);
        }
        Ok(touched)
    }

    fn closed(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        for (column, value) in inner.resolved_links() {
            inner.data.try_set_at(column, value)?;
        }
        inner.links.clear();
        Ok(())
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
        // One that was never inserted keeps the parent that it follows: it may be added again (S3).
        if inner.phase != Phase::Pending {
            inner.links.clear();
        }
        inner.touched = ColumnSet::default();
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
        inner.touched = ColumnSet::default();
        if let Some(data) = undo.data {
            inner.data = data;
        }
        inner.phase = undo.phase;
        inner.locked = undo.locked;
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
            inner.undo.pop();
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
        inner.phase = Phase::Detached;
        let key = inner.key.take();
        drop(inner);
        self.rekey(map, key, None);
    }
}
