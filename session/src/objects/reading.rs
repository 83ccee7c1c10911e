//! Reading an object's values: of one field, or the whole model. What is not known yet, because the database makes it, is a panic
//! in the plain methods, which are for objects that were loaded or flushed, and an error in those that begin with `try_`.

use std::sync::Arc;

use sea_orm::{ActiveValue, TryIntoModel, Value};

use super::{
    Object,
    entity::TrackedEntity,
    values::{Data, draft_as, model_as, shared_as},
};
use crate::{error::Error, table::meta::TableMeta};

impl<E: TrackedEntity> Object<E> {
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
        self.known_field(column, full, draft).unwrap_or_else(|| panic!("{}", not_made(self.0.table, column)))
    }

    /// As [`Object::get_field`]; called by the derived getters that begin with `try_`.
    ///
    /// # Errors
    /// The field has no value yet because the database makes it: flush first.
    pub fn try_get_field<T: Clone + Into<Value>>(
        &self,
        column: usize,
        full: impl FnOnce(&E::Model) -> &T,
        draft: impl FnOnce(&E::ActiveModel) -> &ActiveValue<T>,
    ) -> Result<T, Error> {
        self.known_field(column, full, draft).ok_or_else(|| not_made(self.0.table, column))
    }

    #[inline]
    fn known_field<T: Clone + Into<Value>>(
        &self,
        column: usize,
        full: impl FnOnce(&E::Model) -> &T,
        draft: impl FnOnce(&E::ActiveModel) -> &ActiveValue<T>,
    ) -> Option<T> {
        let column = self.0.table.place(column);
        let mut inner = self.0.inner.lock();
        inner.note_read(column);
        match &inner.data {
            Data::Full(model) => Some(full(model_as::<E>(&**model)).clone()),
            Data::Draft(active) => match draft(draft_as::<E>(&**active)) {
                ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(value.clone()),
                ActiveValue::NotSet => None,
            },
        }
    }

    /// Looks at the whole model without cloning its fields. Other handles may read and write meanwhile, inside the closure
    /// too: it sees the values of the moment it was called.
    ///
    /// # Panics
    /// If the object was added and some of its columns come from the database: flush first, or use [`Object::try_with`].
    pub fn with<R>(&self, look: impl FnOnce(&E::Model) -> R) -> R {
        look(&self.snapshot().unwrap_or_else(|e| panic!("{e}")))
    }

    /// As [`Object::with`].
    ///
    /// # Errors
    /// The object was added and some of its columns come from the database: flush first.
    pub fn try_with<R>(&self, look: impl FnOnce(&E::Model) -> R) -> Result<R, Error> {
        Ok(look(&*self.snapshot()?))
    }

    /// A copy of the model.
    ///
    /// # Panics
    /// As [`Object::with`]; see [`Object::try_model`].
    pub fn model(&self) -> E::Model {
        self.try_model().unwrap_or_else(|e| panic!("{e}"))
    }

    /// A copy of the model.
    ///
    /// # Errors
    /// As [`Object::try_with`].
    pub fn try_model(&self) -> Result<E::Model, Error> {
        Ok((*self.snapshot()?).clone())
    }

    pub(super) fn snapshot(&self) -> Result<Arc<E::Model>, Error> {
        let mut inner = self.0.inner.lock();
        inner.note_read_all();
        match &inner.data {
            Data::Full(model) => Ok(shared_as::<E>(model)),
            Data::Draft(draft) => draft_as::<E>(&**draft).clone().try_into_model().map(Arc::new).map_err(|e| {
                let entity = self.0.table.entity;
                Error::usage(format!(
                    "`{entity}` is not complete before its insert ({e}): call `s.flush().await?` before reading it whole"
                ))
            }),
        }
    }
}

#[cold]
fn not_made(table: &TableMeta, column: usize) -> Error {
    let (entity, name) = (table.entity, table.columns[table.place(column)].name);
    Error::usage(format!(
        "`{entity}.{name}` has no value yet: the database makes it, so call `s.flush().await?` before reading it"
    ))
}
