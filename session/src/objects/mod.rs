//! The handle to a row in a unit of work: reads give values, writes are noted, and no lock guard ever leaves a method
//! (INV9).
//!
//! An object knows its values, what the database holds, and what it was before each open block. It never sends SQL.

mod any_object;
mod behavior;
pub(crate) mod changes;
pub(crate) mod entity;
mod expression;
mod filtered;
mod flushed;
mod follow;
pub(crate) mod identity;
mod inner;
pub(crate) mod joins;
mod lifecycle;
pub(crate) mod loaded;
mod reading;
pub(crate) mod row;
mod row_change;
mod serialize;
pub(crate) mod shared;
mod stamp;
pub(crate) mod states;
pub(crate) mod undo;
mod written;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, MutexGuard};
use sea_orm::{ActiveModelTrait, ActiveValue, Iterable, ModelTrait, PrimaryKeyToColumn, Value, sea_query::Expr};
use thin_vec::ThinVec;

use crate::{
    error::Error,
    objects::{
        entity::{TrackedEntity, table_of},
        identity::Key,
        shared::Shared,
        states::State,
        undo::Undo,
    },
    table::{columns::ColumnSet, meta::TableMeta},
};
pub(crate) use any_object::AnyObject;
use inner::{all_set, held_columns, position};
pub(crate) use inner::{key_in, key_of};

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
    /// Whether this is the very reference that `other` is.
    fn is(&self, other: &Link) -> bool {
        self.columns == other.columns && Arc::ptr_eq(&self.parent, &other.parent)
    }

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
    /// Columns that were set while what the database holds was not known: they are sent, whatever the old value was (D8).
    forced: ColumnSet,
    /// Columns that were read, in an optimistic unit (P1).
    read: ColumnSet,
    /// Whether the object is in its unit's list of dirty objects.
    enlisted: bool,
    /// Loaded under a row lock: nobody else can have changed it (P3).
    locked: bool,
    /// The values are to be read again before they are used (`expire`).
    expired: bool,
    /// The newest block when it expired.
    expired_in: u32,
    /// Nothing was changed since it expired but what follows a parent: its row may be gone, and then nothing is lost (D7).
    led: bool,
    /// The last of the caller's filters that the row has passed since it was changed (U5).
    passed: u32,
    unit: Option<Arc<Shared>>,
    /// Where the identity map holds the object.
    key: Option<Key>,
    undo: ThinVec<Undo<E>>,
    links: ThinVec<Link>,
    /// Columns that the next flush sets to what an expression gives.
    expressions: ThinVec<(usize, Expr)>,
    /// The children that were linked to the object (D6).
    family: follow::Family,
    /// Whether a flush is writing the object: a setter then keeps what is being written in `outgoing` first.
    sending: bool,
    outgoing: Option<Box<Outgoing<E>>>,
}

/// What a flush is writing, of an object that was changed since.
struct Outgoing<E: TrackedEntity> {
    data: Data<E>,
    links: ThinVec<Link>,
}

struct ObjectCell<E: TrackedEntity> {
    table: &'static TableMeta,
    this: Weak<ObjectCell<E>>,
    inner: Mutex<Inner<E>>,
}

impl<E: TrackedEntity> ObjectCell<E> {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
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
        Self::of_parts(phase, data, unit, None, false)
    }

    fn of_parts(phase: Phase, data: Data<E>, unit: Option<Arc<Shared>>, key: Option<Key>, locked: bool) -> Self {
        Object(Arc::new_cyclic(|this| ObjectCell {
            table: table_of::<E>(),
            this: this.clone(),
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
                unit,
                key,
                undo: ThinVec::new(),
                links: ThinVec::new(),
                expressions: ThinVec::new(),
                family: ThinVec::new(),
                sending: false,
                outgoing: None,
            }),
        }))
    }

    /// A row that was just read.
    pub(crate) fn loaded(model: Arc<E::Model>, key: Key, locked: bool, unit: &Arc<Shared>) -> Self {
        Self::of_parts(Phase::Persistent, Data::Full(model), Some(unit.clone()), Some(key), locked)
    }

    /// A new object. Values that a `Model` brought along as unchanged count as set: the session knows that it is new (Z12).
    pub(crate) fn pending(mut draft: E::ActiveModel, unit: &Arc<Shared>) -> Self {
        held_columns::<E>().for_each(|column| draft.reset(column));
        Self::new(Phase::Pending, Data::Draft(Box::new(draft)), Some(unit.clone()))
    }

    pub(crate) fn same(&self, other: &Object<E>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where the object stands in memory, which no other does while it lives.
    pub(crate) fn address(&self) -> usize {
        self.0.address()
    }

    fn any(&self) -> Arc<dyn AnyObject> {
        self.0.clone()
    }

    pub(crate) fn as_any_object(&self) -> Arc<dyn AnyObject> {
        self.any()
    }

    // ---- looking at it without all of its values ---------------------------------------------------------------------

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

    /// The columns whose value differs from what the database holds, by name; those that are set by an expression last.
    pub fn changed(&self) -> Vec<&'static str> {
        let inner = self.0.inner.lock();
        let set = inner.changed_columns().into_iter();
        let given =
            inner.expressions.iter().map(|(column, _)| *column).filter(|c| !inner.differing().any(|set| set == *c));
        set.chain(given).map(|c| self.0.table.columns[c].name).collect()
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
        let column = self.0.table.place(column);
        let mut inner = self.change(self.0.inner.lock());
        inner.touch(column);
        inner.unlink(column);
        match &mut inner.data {
            Data::Full(model) => *full(Arc::make_mut(model)) = value,
            Data::Draft(active) => *draft(active) = ActiveValue::Set(value),
        }
    }

    /// Sets one column by value.
    ///
    /// # Errors
    /// The value is not of the column's type; or the object's unit has ended, and was `strict` (S12). Nothing is changed then.
    pub fn set(&self, column: E::Column, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        let inner = self.0.inner.lock();
        if let Some(refused) = self.late_write(&inner) {
            return Err(refused);
        }
        let mut next = inner.data.clone();
        match &mut next {
            Data::Full(model) => Arc::make_mut(model).try_set(column, value)?,
            Data::Draft(draft) => draft.try_set(column, value)?,
        }
        let mut inner = self.change(inner);
        match position::<E>(column) {
            Some(position) => {
                inner.touch(position);
                inner.unlink(position);
            }
            None => {
                inner.touched = ColumnSet::all();
                inner.joins_anew();
            }
        }
        inner.data = next;
        Ok(())
    }

    /// Changes the model in place. What the closure sees is a copy, so it may call any method of this object too; its
    /// result then wins.
    ///
    /// # Panics
    /// As [`Object::with`]; see [`Object::try_update`].
    pub fn update<R>(&self, change: impl FnOnce(&mut E::Model) -> R) -> R {
        self.updated(self.model(), change)
    }

    /// As [`Object::update`].
    ///
    /// # Errors
    /// As [`Object::try_with`]; or the object's unit has ended, and was `strict` (S12). Nothing is changed then.
    pub fn try_update<R>(&self, change: impl FnOnce(&mut E::Model) -> R) -> Result<R, Error> {
        let model = self.try_model()?;
        if let Some(refused) = self.late_write(&self.0.inner.lock()) {
            return Err(refused);
        }
        Ok(self.updated(model, change))
    }

    fn updated<R>(&self, mut model: E::Model, change: impl FnOnce(&mut E::Model) -> R) -> R {
        let result = change(&mut model);
        let mut inner = self.change(self.0.inner.lock());
        inner.touched = ColumnSet::all();
        inner.joins_anew();
        if inner.expired {
            let before = &inner.data;
            let set = (0..self.0.table.columns.len()).filter(|column| {
                let after = E::value_of(&model, *column);
                !before.lent(*column).is_some_and(|before| before.same(&after, Default::default))
            });
            let set: ColumnSet = set.collect();
            inner.forced = inner.forced.union(set);
        }
        inner.data = match &inner.data {
            Data::Full(_) => Data::Full(Arc::new(model)),
            Data::Draft(_) => Data::Draft(Box::new(all_set::<E>(model))),
        };
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
            inner.remember_all();
        }
        if matches!(inner.phase, Phase::Deleting | Phase::Deleted) {
            tracing::warn!(entity = self.0.table.entity, "a deleted object was changed; the change is not sent");
            return None;
        }
        inner.keep_outgoing();
        inner.led = false;
        inner.passed = 0;
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

    /// Why the object cannot be changed: its unit has ended, and was strict (S12).
    fn late_write(&self, inner: &Inner<E>) -> Option<Error> {
        let unit = inner.unit.as_ref().filter(|unit| unit.strict)?;
        (inner.phase != Phase::Transient && (unit.has_ended() || inner.phase == Phase::Detached)).then(|| {
            Error::usage(format!(
                "`{}` was changed after its unit of work had ended; load it in a new unit and change it there",
                self.0.table.entity
            ))
        })
    }

    fn refuse_late_write(&self, inner: &Inner<E>) {
        if let Some(refused) = self.late_write(inner) {
            panic!("{refused}");
        }
        let entity = self.0.table.entity;
        tracing::warn!(entity, "an object was changed after its unit of work had ended; the change is not sent (S12)");
    }

    /// The object under change: what the database holds is kept first, and the object is enlisted as dirty afterwards.
    fn change<'o>(&'o self, mut inner: MutexGuard<'o, Inner<E>>) -> Changing<'o, E> {
        let unit = self.before_write(&mut inner);
        Changing { inner, _enlist: Enlist { object: self, unit } }
    }

    /// The object as one that the next flush must see, whatever changes in it.
    fn make_due<'o>(&'o self, mut inner: MutexGuard<'o, Inner<E>>) -> Changing<'o, E> {
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
struct Changing<'o, E: TrackedEntity> {
    inner: MutexGuard<'o, Inner<E>>,
    _enlist: Enlist<'o, E>,
}

impl<E: TrackedEntity> Deref for Changing<'_, E> {
    type Target = Inner<E>;

    fn deref(&self) -> &Inner<E> {
        &self.inner
    }
}

impl<E: TrackedEntity> DerefMut for Changing<'_, E> {
    fn deref_mut(&mut self) -> &mut Inner<E> {
        &mut self.inner
    }
}

/// Enlists an object when it is dropped; none if the object is on the list, or in no unit.
struct Enlist<'o, E: TrackedEntity> {
    object: &'o Object<E>,
    unit: Option<Arc<Shared>>,
}

impl<E: TrackedEntity> Drop for Enlist<'_, E> {
    fn drop(&mut self) {
        if let Some(unit) = self.unit.take() {
            unit.enlist(self.object.any());
        }
    }
}
