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
pub(crate) mod values;
mod written;

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use sea_orm::{ActiveModelTrait, ActiveValue, IdenStatic, ModelTrait, Value};

use crate::{
    error::Error,
    objects::{
        entity::{TrackedEntity, table_of},
        shared::Shared,
        states::State,
    },
};
pub(crate) use any_object::{AnyObject, Phase};
pub(crate) use inner::{key_in, key_of};
use values::{AnyDraft, Data, draft_as, draft_as_mut, model_as, model_as_mut, own};

/// One object of a unit of work, without the typed accessors that the derive adds. Cheap to clone; all clones are the
/// same object.
pub struct Object<E: TrackedEntity>(Arc<AnyObject>, PhantomData<fn() -> E>);

impl<E: TrackedEntity> Clone for Object<E> {
    fn clone(&self) -> Self {
        Object(self.0.clone(), PhantomData)
    }
}

impl<E: TrackedEntity> fmt::Debug for Object<E> {
    /// Table, key and state; never values (L1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.0.table.entity, self.0.key_text(), self.state())
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

    pub(crate) fn any(&self) -> &Arc<AnyObject> {
        self.object().any()
    }

    /// What has the values of `E`, by that type.
    pub(crate) fn of(object: Arc<AnyObject>) -> Self {
        Object::of(object).into()
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
    /// What has the values of `E`, by that type.
    pub(crate) fn of(object: Arc<AnyObject>) -> Self {
        Object(object, PhantomData)
    }

    /// A new object. Values that a `Model` brought along as unchanged count as set: the session knows that it is new (Z12).
    pub(crate) fn pending(draft: E::ActiveModel, unit: &Arc<Shared>) -> Self {
        let table = table_of::<E>();
        let mut draft: Box<dyn AnyDraft> = Box::new(draft);
        draft.set_all();
        Self::of(AnyObject::pending(table, Data::Draft(draft), unit))
    }

    pub(crate) fn any(&self) -> &Arc<AnyObject> {
        &self.0
    }

    pub(crate) fn same(&self, other: &Object<E>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    // ---- looking at it without all of its values ---------------------------------------------------------------------

    /// One column's value; `None` if the database has yet to make it.
    pub fn get(&self, column: E::Column) -> Option<Value> {
        let column = position::<E>(column);
        let mut inner = self.0.inner.lock();
        inner.note_read(column);
        inner.data.value(column)
    }

    /// The primary key, if it is known.
    pub fn key(&self) -> Option<sea_orm::sea_query::ValueTuple> {
        match &self.0.inner.lock().data {
            Data::Full(model) => Some(model_as::<E>(&**model).get_primary_key_value()),
            Data::Draft(draft) => draft_as::<E>(&**draft).get_primary_key_value(),
        }
    }

    /// Where the object stands.
    pub fn state(&self) -> State {
        self.0.state()
    }

    /// The columns whose value differs from what the database holds, by name; those that are set by an expression last.
    pub fn changed(&self) -> Vec<&'static str> {
        self.0.changed()
    }

    /// The primary key of the object's row, whatever key it was given since.
    pub(crate) fn row_key(&self) -> Option<sea_orm::sea_query::ValueTuple> {
        let inner = self.0.inner.lock();
        Some(model_as::<E>(&**inner.held()?).get_primary_key_value())
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
        let mut inner = self.0.changing(self.0.inner.lock());
        inner.touch(column);
        inner.unlink(column);
        match &mut inner.data {
            Data::Full(model) => *full(model_as_mut::<E>(own(model))) = value,
            Data::Draft(active) => *draft(draft_as_mut::<E>(&mut **active)) = ActiveValue::Set(value),
        }
    }

    /// Sets one column by value.
    ///
    /// # Errors
    /// The value is not of the column's type; or the object's unit has ended, and was `strict` (S12). Nothing is changed then.
    pub fn set(&self, column: E::Column, value: impl Into<Value>) -> Result<(), Error> {
        self.0.set(position::<E>(column), value.into())
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
        if let Some(refused) = self.0.late_write(&self.0.inner.lock()) {
            return Err(refused);
        }
        Ok(self.updated(model, change))
    }

    fn updated<R>(&self, mut model: E::Model, change: impl FnOnce(&mut E::Model) -> R) -> R {
        let result = change(&mut model);
        self.0.replace(Arc::new(model));
        result
    }
}

/// Where a column stands in the order of `Column::iter()`.
fn position<E: TrackedEntity>(column: E::Column) -> usize {
    table_of::<E>().column(column.as_str()).expect("a table has every column of its entity")
}
