//! The handle to a row in a unit of work: reads give values, writes are noted, and no lock guard ever leaves a method
//! (INV9).
//!
//! An object knows its values, what the database holds, and what it was before each open block. It never sends SQL.

use std::{
    any::Any,
    fmt,
    ops::Deref,
    sync::{Arc, Weak},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ActiveValue, DbErr, IntoActiveModel, Iterable, ModelTrait,
    PrimaryKeyToColumn, QueryResult, TryIntoModel, Value,
};

use thin_vec::ThinVec;

use crate::{
    error::Error,
    flush::value::{as_integer, integer, is_null, tenant_text, tenant_value, time_value},
    flush::{FlushConnection, RowChange, RowKind, Source},
    identity::{IdentityMap, Key},
    meta::{self, ColumnSet, TableMeta, TrackedEntity},
    shared::Shared,
    states::{self, Operation},
    undo::Undo,
};

/// Where an object stands. See the table in `docs/states.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Not in a unit of work: never added, or the block that added it was rolled back.
    Transient,
    /// Added; the next flush inserts it.
    Pending,
    /// A row of the database, in the identity map.
    Persistent,
    /// Deleted by this unit, flushed or not.
    Deleted,
    /// Its unit has ended, or it was taken out of it: readable, and nothing about it is sent.
    Detached,
}

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

/// An object's values.
pub(crate) enum Data<E: TrackedEntity> {
    /// Every column is known. Shared with readers and with undo, copied on the first write after that.
    Full(Arc<E::Model>),
    /// Some columns come from the database with the insert.
    Draft(Box<E::ActiveModel>),
}

impl<E: TrackedEntity> Clone for Data<E> {
    fn clone(&self) -> Self {
        match self {
            Data::Full(model) => Data::Full(model.clone()),
            Data::Draft(draft) => Data::Draft(draft.clone()),
        }
    }
}

/// A foreign key that follows another object's key, which may not be known yet (F5).
#[derive(Clone)]
struct Link {
    columns: Vec<usize>,
    parent: Arc<dyn AnyObject>,
    parent_columns: Vec<usize>,
}

impl Link {
    /// Whether the parent's key is known.
    fn is_resolved(&self) -> bool {
        self.parent_columns.iter().all(|column| self.parent.column_value(*column).is_some())
    }
}

struct Inner<E: TrackedEntity> {
    phase: Phase,
    data: Data<E>,
    /// What the database holds, while `data` may differ from it.
    base: Option<Arc<E::Model>>,
    /// Columns that a setter touched since `base`; the flush compares their values.
    touched: ColumnSet,
    /// Columns that were read, in an optimistic unit (P1).
    read: ColumnSet,
    /// Whether the object is in its unit's list of dirty objects.
    enlisted: bool,
    /// Loaded under a row lock: nobody else can have changed it (P3).
    locked: bool,
    /// The values are to be read again before they are used (`expire`).
    expired: bool,
    unit: Option<Arc<Shared>>,
    /// Where the identity map holds the object.
    key: Option<Key>,
    undo: ThinVec<Undo<E>>,
    links: ThinVec<Link>,
}

struct ObjectCell<E: TrackedEntity> {
    table: &'static TableMeta,
    this: Weak<ObjectCell<E>>,
    inner: Mutex<Inner<E>>,
}

/// One object of a unit of work, without the typed accessors that the derive adds. Cheap to clone; all clones are the
/// same object.
pub struct Object<E: TrackedEntity>(Arc<ObjectCell<E>>);

impl<E: TrackedEntity> Clone for Object<E> {
    fn clone(&self) -> Self {
        Object(self.0.clone())
    }
}

impl<E: TrackedEntity> fmt::Debug for Object<E> {
    /// Table, key and state; never values (L1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.0.table.entity, self.key_text(), self.state())
    }
}

/// A tracked object with the accessors of its entity: `note.title()`, `note.set_title("…")`.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
///     note.set_title("renamed").set_stars(5);
///     assert_eq!(note.changed(), ["title", "stars"]);
///     assert_eq!(note.with(|model| model.title.len()), 7);
///     note.set_title("first").set_stars(0);                // as the database has it: nothing is sent
///     assert!(note.changed().is_empty());
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Tracked<E: TrackedEntity>(E::Handle);

impl<E: TrackedEntity> Tracked<E> {
    /// Whether two handles are the same object (I1).
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        a.0.same(&b.0)
    }

    pub(crate) fn object(&self) -> &Object<E> {
        &self.0
    }
}

impl<E: TrackedEntity> From<Object<E>> for Tracked<E> {
    fn from(object: Object<E>) -> Self {
        Tracked(object.into())
    }
}

impl<E: TrackedEntity> Clone for Tracked<E> {
    fn clone(&self) -> Self {
        Tracked(self.0.clone())
    }
}

impl<E: TrackedEntity> Deref for Tracked<E> {
    type Target = E::Handle;

    fn deref(&self) -> &E::Handle {
        &self.0
    }
}

impl<E: TrackedEntity> fmt::Debug for Tracked<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object().fmt(f)
    }
}

impl<E: TrackedEntity> Object<E> {
    fn new(phase: Phase, data: Data<E>, unit: Option<Arc<Shared>>) -> Self {
        Object(Arc::new_cyclic(|this| ObjectCell {
            table: meta::table::<E>(),
            this: this.clone(),
            inner: Mutex::new(Inner {
                phase,
                data,
                base: None,
                touched: ColumnSet::default(),
                read: ColumnSet::default(),
                enlisted: false,
                locked: false,
                expired: false,
                unit,
                key: None,
                undo: ThinVec::new(),
                links: ThinVec::new(),
            }),
        }))
    }

    /// A row that was just read.
    pub(crate) fn loaded(model: E::Model, key: Key, locked: bool, unit: &Arc<Shared>) -> Self {
        let object = Self::new(Phase::Persistent, Data::Full(Arc::new(model)), Some(unit.clone()));
        {
            let mut inner = object.0.inner.lock();
            inner.key = Some(key);
            inner.locked = locked;
        }
        object
    }

    /// A new object. Values that a `Model` brought along as unchanged count as set: the session knows that it is new (Z12).
    pub(crate) fn pending(mut draft: E::ActiveModel, unit: &Arc<Shared>) -> Self {
        E::Column::iter().for_each(|column| draft.reset(column));
        Self::new(Phase::Pending, Data::Draft(Box::new(draft)), Some(unit.clone()))
    }

    pub(crate) fn same(&self, other: &Object<E>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn any(&self) -> Arc<dyn AnyObject> {
        self.0.clone()
    }

    pub(crate) fn as_any_object(&self) -> Arc<dyn AnyObject> {
        self.any()
    }

    // ---- reading -------------------------------------------------------------------------------------------------

    /// One field's value; called by the derived getters.
    ///
    /// # Panics
    /// If the field has no value yet because the database makes it: flush first.
    pub fn get_field<T: Clone + Into<Value>>(
        &self,
        column: usize,
        full: impl FnOnce(&E::Model) -> &T,
        draft: impl FnOnce(&E::ActiveModel) -> &ActiveValue<T>,
    ) -> T {
        let mut inner = self.0.inner.lock();
        inner.note_read(column);
        match &inner.data {
            Data::Full(model) => full(model).clone(),
            Data::Draft(active) => match draft(active) {
                ActiveValue::Set(value) | ActiveValue::Unchanged(value) => value.clone(),
                ActiveValue::NotSet => {
                    let (entity, name) = (self.0.table.entity, self.0.table.columns[column].name);
                    drop(inner);
                    panic!(
                        "`{entity}.{name}` has no value yet: the database makes it, so call `s.flush().await?` before reading it"
                    )
                }
            },
        }
    }

    /// Looks at the whole model without cloning its fields. Other handles may read and write meanwhile, inside the closure
    /// too: it sees the values of the moment it was called.
    ///
    /// # Panics
    /// If the object was added and some of its columns come from the database: flush first.
    pub fn with<R>(&self, look: impl FnOnce(&E::Model) -> R) -> R {
        look(&self.snapshot())
    }

    /// A copy of the model.
    ///
    /// # Panics
    /// As [`Object::with`].
    pub fn model(&self) -> E::Model {
        (*self.snapshot()).clone()
    }

    fn snapshot(&self) -> Arc<E::Model> {
        let mut inner = self.0.inner.lock();
        inner.note_read_all();
        match &inner.data {
            Data::Full(model) => model.clone(),
            Data::Draft(draft) => match (**draft).clone().try_into_model() {
                Ok(model) => Arc::new(model),
                Err(e) => {
                    let entity = self.0.table.entity;
                    drop(inner);
                    panic!(
                        "`{entity}` is not complete before its insert ({e}): call `s.flush().await?` before reading it whole"
                    )
                }
            },
        }
    }

    /// One column's value; `None` if the database has yet to make it.
    pub fn get(&self, column: E::Column) -> Option<Value> {
        let mut inner = self.0.inner.lock();
        if let Some(position) = position::<E>(column) {
            inner.note_read(position);
        }
        inner.value(column)
    }

    /// The primary key, if it is known.
    pub fn key(&self) -> Option<sea_orm::sea_query::ValueTuple> {
        let inner = self.0.inner.lock();
        match &inner.data {
            Data::Full(model) => Some(model.get_primary_key_value()),
            Data::Draft(draft) => draft.get_primary_key_value(),
        }
    }

    /// Where the object stands.
    pub fn state(&self) -> State {
        let inner = self.0.inner.lock();
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

    /// The columns whose value differs from what the database holds, by name.
    pub fn changed(&self) -> Vec<&'static str> {
        let inner = self.0.inner.lock();
        inner.changed_columns().into_iter().map(|c| self.0.table.columns[c].name).collect()
    }

    /// The primary key of the object's row, whatever key it was given since.
    pub(crate) fn row_key(&self) -> Option<sea_orm::sea_query::ValueTuple> {
        let inner = self.0.inner.lock();
        match (&inner.base, &inner.data) {
            (Some(held), _) => Some(held.get_primary_key_value()),
            (None, Data::Full(model)) => Some(model.get_primary_key_value()),
            (None, Data::Draft(_)) => None,
        }
    }

    pub(crate) fn key_for_messages(&self) -> String {
        self.key_text()
    }

    fn key_text(&self) -> String {
        let inner = self.0.inner.lock();
        let keys: Option<Vec<Value>> = E::PrimaryKey::iter().map(|k| inner.value(k.into_column())).collect();
        keys.map_or_else(|| "(new)".to_owned(), |keys| self.0.table.show_key(&keys))
    }

    // ---- writing -------------------------------------------------------------------------------------------------

    /// Sets one field; called by the derived setters. The flush sends it if it differs from what the database holds (F3).
    pub fn set_field<T: Clone + Into<Value>>(
        &self,
        column: usize,
        value: T,
        full: impl FnOnce(&mut E::Model) -> &mut T,
        draft: impl FnOnce(&mut E::ActiveModel) -> &mut ActiveValue<T>,
    ) {
        let mut inner = self.0.inner.lock();
        let enlist = self.before_write(&mut inner);
        inner.touched.insert(column);
        inner.unlink(column);
        match &mut inner.data {
            Data::Full(model) => *full(Arc::make_mut(model)) = value,
            Data::Draft(active) => *draft(active) = ActiveValue::Set(value),
        }
        drop(inner);
        self.enlist(enlist);
    }

    /// Sets one column by value.
    ///
    /// # Errors
    /// The value is not of the column's type; nothing is changed then.
    pub fn set(&self, column: E::Column, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        let mut inner = self.0.inner.lock();
        let mut next = inner.data.clone();
        match &mut next {
            Data::Full(model) => Arc::make_mut(model).try_set(column, value)?,
            Data::Draft(draft) => draft.try_set(column, value)?,
        }
        let enlist = self.before_write(&mut inner);
        match position::<E>(column) {
            Some(position) => {
                inner.touched.insert(position);
                inner.unlink(position);
            }
            None => inner.touched = ColumnSet::all(),
        }
        inner.data = next;
        drop(inner);
        self.enlist(enlist);
        Ok(())
    }

    /// Changes the model in place. What the closure sees is a copy, so it may call any method of this object too; its
    /// result then wins.
    ///
    /// # Panics
    /// As [`Object::with`].
    pub fn update<R>(&self, change: impl FnOnce(&mut E::Model) -> R) -> R {
        let mut model = self.model();
        let result = change(&mut model);
        let mut inner = self.0.inner.lock();
        let enlist = self.before_write(&mut inner);
        inner.touched = ColumnSet::all();
        inner.data = match &inner.data {
            Data::Full(_) => Data::Full(Arc::new(model)),
            Data::Draft(_) => Data::Draft(Box::new(all_set::<E>(model))),
        };
        drop(inner);
        self.enlist(enlist);
        result
    }

    /// Keeps what the database holds before the first change, and says whether the object must be enlisted as dirty.
    fn before_write(&self, inner: &mut Inner<E>) -> Option<Arc<Shared>> {
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
        }
        if matches!(inner.phase, Phase::Deleting | Phase::Deleted) {
            tracing::warn!(entity = self.0.table.entity, "a deleted object was changed; the change is not sent");
            return None;
        }
        if unit.is_doomed() {
            tracing::warn!(
                entity = self.0.table.entity,
                "changed in a block that must roll back; the change will be dropped (S9)"
            );
        }
        if inner.enlisted || inner.phase == Phase::Transient {
            return None;
        }
        inner.enlisted = true;
        Some(unit)
    }

    fn refuse_late_write(&self, inner: &Inner<E>) {
        let entity = self.0.table.entity;
        if inner.unit.as_ref().is_some_and(|unit| unit.strict) {
            panic!(
                "`{entity}` was changed after its unit of work had ended; load it in a new unit and change it there"
            );
        }
        tracing::warn!(entity, "an object was changed after its unit of work had ended; the change is not sent (S12)");
    }

    fn enlist(&self, unit: Option<Arc<Shared>>) {
        if let Some(unit) = unit {
            unit.enlist(self.any());
        }
    }

    // ---- what the session does to an object ------------------------------------------------------------------------

    /// Enlists a new object, so that the next flush sees it.
    pub(crate) fn enlist_new(&self) {
        let mut inner = self.0.inner.lock();
        // One that was added, deleted and added again is on the list already.
        let unit = (!inner.enlisted).then(|| inner.unit.clone()).flatten();
        inner.enlisted = true;
        drop(inner);
        self.enlist(unit);
    }

    /// The unit refused the object: it is in none (I2).
    pub(crate) fn refused(&self) {
        self.0.inner.lock().phase = Phase::Transient;
    }

    /// Brings a transient object into a unit again (S3).
    pub(crate) fn revive(&self, unit: &Arc<Shared>) -> Result<(), Error> {
        let state = self.state();
        if states::next(state, Operation::AddAgain).is_none() {
            return Err(Error::usage(format!(
                "{} is {state:?}, and only a transient object can be added again: {}",
                self.0.table.entity,
                states::reason(state, Operation::AddAgain)
            )));
        }
        let mut inner = self.0.inner.lock();
        if let Data::Full(model) = &inner.data {
            inner.data = Data::Draft(Box::new(all_set::<E>((**model).clone())));
        }
        inner.phase = Phase::Pending;
        inner.unit = Some(unit.clone());
        inner.undo.clear();
        Ok(())
    }

    pub(crate) fn known_key(&self) -> Option<Key> {
        self.key().map(Key::from_tuple)
    }

    pub(crate) fn set_map_key(&self, key: Key) {
        self.0.inner.lock().key = Some(key);
    }

    pub(crate) fn map_key(&self) -> Option<Key> {
        self.0.inner.lock().key.clone()
    }

    /// A column's value by position, without noting a read.
    pub(crate) fn any_column(&self, column: usize) -> Option<Value> {
        self.0.column_value(column)
    }

    /// Where the object stands, unless it is to be read again.
    pub(crate) fn phase_unless_expired(&self) -> Option<Phase> {
        let inner = self.0.inner.lock();
        (!inner.expired).then_some(inner.phase)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.0.inner.lock().phase
    }

    pub(crate) fn belongs_to(&self, unit: &Arc<Shared>) -> bool {
        self.0.inner.lock().unit.as_ref().is_some_and(|own| Arc::ptr_eq(own, unit))
    }

    /// Marks the object as deleted. A pending one becomes transient: nothing was ever sent (F6).
    pub(crate) fn mark_deleted(&self, map: &mut IdentityMap) {
        let mut inner = self.0.inner.lock();
        match inner.phase {
            Phase::Pending => {
                inner.phase = Phase::Transient;
                if let Some(key) = inner.key.take() {
                    drop(inner);
                    map.remove(&key, self);
                }
            }
            Phase::Persistent => {
                inner.phase = Phase::Deleting;
                let unit = (!inner.enlisted).then(|| inner.unit.clone()).flatten();
                inner.enlisted = true;
                drop(inner);
                self.enlist(unit);
            }
            _ => {}
        }
    }

    /// Takes the object out of its unit; it keeps its values and nothing about it is sent (S7).
    pub(crate) fn expunge(&self, map: &mut IdentityMap) {
        let mut inner = self.0.inner.lock();
        inner.phase = Phase::Detached;
        inner.undo.clear();
        let key = inner.key.take();
        drop(inner);
        if let Some(key) = key {
            map.remove(&key, self);
        }
    }

    pub(crate) fn expire(&self) {
        self.0.inner.lock().expired = true;
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.0.inner.lock().expired
    }

    /// The row was read again in `frame` (I3, P5). Without `overwrite` a clean object keeps what it has. True if the frame
    /// must be told, because its rollback has something to restore.
    pub(crate) fn reread(&self, model: E::Model, overwrite: bool, locked: bool, frame: u64) -> Result<bool, Error> {
        let mut inner = self.0.inner.lock();
        let expired = std::mem::take(&mut inner.expired);
        let dirty = inner.base.is_some();
        let optimistic = inner.unit.as_ref().is_some_and(|unit| unit.optimistic);
        if inner.phase != Phase::Persistent {
            return Ok(false);
        }
        if optimistic {
            self.check_repeatable(&inner, &model)?;
        }
        if dirty && !overwrite {
            return Ok(false);
        }
        if !(overwrite || expired || optimistic) {
            return Ok(false);
        }
        // What a block read it may have written by SQL of its own, and its rollback takes row locks back too (INV4).
        let before = inner.base.take().map(Data::Full).or_else(|| Some(inner.data.clone()));
        let key = inner.key.clone();
        let told = inner.remember(frame, Phase::Persistent, before, key);
        inner.locked |= locked;
        inner.data = Data::Full(Arc::new(model));
        inner.touched = ColumnSet::default();
        Ok(told)
    }

    fn check_repeatable(&self, inner: &Inner<E>, model: &E::Model) -> Result<(), Error> {
        let held = match (&inner.base, &inner.data) {
            (Some(base), _) => base,
            (None, Data::Full(data)) => data,
            _ => return Ok(()),
        };
        for (position, column) in E::Column::iter().enumerate() {
            if !inner.read.contains(position) || !self.is_checkable(position) {
                continue;
            }
            let (old, new) = (held.get(column), model.get(column));
            if old != new {
                let shown =
                    inner.unit.as_ref().is_some_and(|u| u.show_values) && !self.0.table.secret.contains(position);
                return Err(Error::UnrepeatableRead {
                    entity: self.0.table.entity,
                    key: self.0.table.show_key(&keys_of::<E>(held)).into(),
                    column: self.0.table.columns[position].name,
                    change: shown.then(|| Box::new((format!("{old:?}"), format!("{new:?}")))),
                });
            }
        }
        Ok(())
    }

    fn is_checkable(&self, column: usize) -> bool {
        use sea_orm::sea_query::ArrayType;
        let kind = &self.0.table.columns[column].kind;
        !matches!(kind, ArrayType::Float | ArrayType::Double) && !self.0.table.not_optimistic.contains(column)
    }

    pub(crate) fn link(
        &self,
        columns: Vec<usize>,
        parent: Arc<dyn AnyObject>,
        parent_columns: Vec<usize>,
    ) -> Result<(), Error> {
        let known: Option<Vec<Value>> = parent_columns.iter().map(|c| parent.column_value(*c)).collect();
        // The parent's lock is never taken under this object's own: it may be the same one, or want this one meanwhile.
        let own = Arc::ptr_eq(&self.any(), &parent);
        if own && known.is_none() {
            return Err(Error::usage(format!(
                "a {} cannot follow its own key before the database has made it: flush it first",
                self.0.table.entity
            )));
        }
        let follows = !own && parent.is_pending();
        let mut inner = self.0.inner.lock();
        let mut next = inner.data.clone();
        if let Some(values) = known {
            for (column, value) in columns.iter().zip(values) {
                next.try_set_at(*column, value)?;
            }
        }
        let enlist = self.before_write(&mut inner);
        columns.iter().for_each(|c| inner.touched.insert(*c));
        inner.data = next;
        inner.links.retain(|link| link.columns != columns);
        if follows {
            inner.links.push(Link { columns, parent, parent_columns });
        }
        drop(inner);
        self.enlist(enlist);
        Ok(())
    }
}

fn position<E: TrackedEntity>(column: E::Column) -> Option<usize> {
    use sea_orm::IdenStatic;
    meta::table::<E>().column(column.as_str())
}

fn column_at<E: TrackedEntity>(position: usize) -> Option<E::Column> {
    E::Column::iter().nth(position)
}

fn keys_of<E: TrackedEntity>(model: &E::Model) -> Vec<Value> {
    E::PrimaryKey::iter().map(|k| model.get(k.into_column())).collect()
}

/// The model that a complete draft has become. Moves the values out; an incomplete draft keeps them.
fn whole_model<E: TrackedEntity>(draft: &mut E::ActiveModel) -> Result<E::Model, DbErr> {
    if E::Column::iter().any(|column| draft.is_not_set(column)) {
        return draft.clone().try_into_model();
    }
    std::mem::replace(draft, <E::ActiveModel as ActiveModelTrait>::default()).try_into_model()
}

/// A model as something to insert: every column set.
fn all_set<E: TrackedEntity>(model: E::Model) -> E::ActiveModel {
    model.into_active_model().reset_all()
}

impl<E: TrackedEntity> Data<E> {
    fn try_set_at(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        let Some(column) = column_at::<E>(column) else { return Ok(()) };
        match self {
            // A key of one type may point to a key of another (i32 to i64, T to Option<T>): SeaORM converts or says no.
            Data::Full(model) => Arc::make_mut(model).try_set(column, value),
            Data::Draft(draft) => draft.try_set(column, value),
        }
    }
}

impl<E: TrackedEntity> Inner<E> {
    fn note_read(&mut self, column: usize) {
        if self.unit.as_ref().is_some_and(|unit| unit.optimistic) && !self.touched.contains(column) {
            self.read.insert(column);
        }
    }

    fn note_read_all(&mut self) {
        if self.unit.as_ref().is_some_and(|unit| unit.optimistic) {
            self.read = ColumnSet::all();
        }
    }

    fn value(&self, column: E::Column) -> Option<Value> {
        match &self.data {
            Data::Full(model) => Some(model.get(column)),
            Data::Draft(draft) => match draft.get(column) {
                ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(value),
                ActiveValue::NotSet => None,
            },
        }
    }

    /// Touched columns whose value really differs (F3).
    fn changed_columns(&self) -> Vec<usize> {
        let (Some(base), Data::Full(data)) = (&self.base, &self.data) else { return Vec::new() };
        if self.touched.is_empty() {
            return Vec::new();
        }
        E::Column::iter()
            .enumerate()
            .filter(|(position, column)| self.touched.contains(*position) && base.get(*column) != data.get(*column))
            .map(|(position, _)| position)
            .collect()
    }

    /// A foreign key that is set by hand no longer follows the parent it was pointed at before.
    fn unlink(&mut self, column: usize) {
        self.links.retain(|link| !link.columns.contains(&column));
    }

    /// Foreign keys whose parents have got their keys by now.
    fn resolved_links(&self) -> Vec<(usize, Value)> {
        let pairs = self
            .links
            .iter()
            .flat_map(|link| link.columns.iter().zip(&link.parent_columns).map(move |(c, p)| (*c, &link.parent, *p)));
        pairs.filter_map(|(column, parent, of)| Some((column, parent.column_value(of)?))).collect()
    }

    /// Keeps what the object was before `frame` changed it, once a frame. True if the frame must be told.
    fn remember(&mut self, frame: u64, phase: Phase, data: Option<Data<E>>, key: Option<Key>) -> bool {
        if self.undo.last().is_some_and(|undo| undo.frame == frame) {
            return false;
        }
        self.undo.push(Undo { frame, phase, data, key, locked: self.locked });
        true
    }
}

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
    /// What is to be written.
    fn change(&self, kind: RowKind) -> Result<Option<RowChange>, Error>;
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
        let Data::Draft(draft) = &inner.data else { return None };
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
        let Data::Full(data) = &inner.data else { return None };
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
        let Data::Full(data) = &inner.data else { return None };
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

impl<E: TrackedEntity> Inner<E> {
    /// The key of a parent that this column follows and that is not known yet.
    fn link_of(&self, column: usize) -> Option<Source> {
        self.links.iter().find_map(|link| {
            let at = link.columns.iter().position(|c| *c == column)?;
            match link.parent.column_value(link.parent_columns[at]) {
                Some(value) => Some(Source::Value(value)),
                None => Some(Source::KeyOf(link.parent.clone(), link.parent_columns[at])),
            }
        })
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
        match inner.phase {
            Phase::Pending => Some(RowKind::Insert),
            Phase::Deleting => Some(RowKind::Delete),
            Phase::Persistent if !inner.links.is_empty() || !inner.changed_columns().is_empty() => {
                Some(RowKind::Update)
            }
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

    fn change(&self, kind: RowKind) -> Result<Option<RowChange>, Error> {
        let inner = self.inner.lock();
        Ok(match kind {
            RowKind::Insert => self.insert_change(&inner),
            RowKind::Update => self.update_change(&inner),
            RowKind::Delete => self.delete_change(&inner),
        })
    }

    fn written(
        &self,
        kind: RowKind,
        returned: Option<&Returned<'_>>,
        frame: u64,
        map: &mut IdentityMap,
    ) -> Result<bool, Error> {
        let mut inner = self.inner.lock();
        match kind {
            RowKind::Insert => {
                let links: Vec<(usize, Value)> = inner.resolved_links();
                // What a cycle postponed is NULL in the database until its own step, which follows.
                inner.links.retain(|link| !link.is_resolved());
                let postponed = inner.links.iter().flat_map(|link| link.columns.iter().copied());
                let postponed: Vec<(usize, Value)> =
                    postponed.map(|column| (column, self.table.columns[column].kind_null())).collect();
                let Data::Draft(draft) = &mut inner.data else { return Ok(false) };
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
                let key = Key::from_values(keys_of::<E>(&model));
                inner.data = Data::Full(Arc::new(model));
                inner.phase = Phase::Persistent;
                inner.touched = ColumnSet::default();
                let old_key = inner.key.replace(key.clone());
                drop(inner);
                self.rekey(map, old_key, Some(key));
                Ok(false)
            }
            RowKind::Update => {
                for (column, value) in inner.resolved_links() {
                    inner.data.try_set_at(column, value)?;
                }
                inner.links.clear();
                let (before, old_key) = (inner.base.take().map(Data::Full), inner.key.clone());
                let touched = inner.remember(frame, Phase::Persistent, before, old_key.clone());
                inner.touched = ColumnSet::default();
                let Data::Full(model) = &inner.data else { return Ok(touched) };
                let key = Key::from_values(keys_of::<E>(model));
                if old_key.as_ref() != Some(&key) {
                    inner.key = Some(key.clone());
                    drop(inner);
                    self.rekey(map, old_key, Some(key));
                }
                Ok(touched)
            }
            RowKind::Delete => {
                let before = inner.base.take().map(Data::Full).or_else(|| Some(inner.data.clone()));
                let key = inner.key.take();
                let touched = inner.remember(frame, Phase::Persistent, before, key.clone());
                inner.phase = Phase::Deleted;
                drop(inner);
                self.rekey(map, key, None);
                Ok(touched)
            }
        }
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
