//! An object as SeaORM's `ActiveModelBehavior` sees it, and what the hooks made of it (H10).

use std::sync::Arc;

use sea_orm::{ActiveModelTrait, ActiveValue, DbErr, IntoActiveModel, Iterable, ModelTrait};

use super::{
    AnyObject, Data, ObjectCell,
    entity::TrackedEntity,
    inner::{held_columns, position},
    row::RowKind,
};
use crate::error::Error;

impl<E: TrackedEntity> ObjectCell<E> {
    pub(super) fn take_after_save(&self, model: E::Model) {
        let mut inner = self.inner.lock();
        // A hook may have changed the object by its handle; that change is newer.
        if inner.base.is_none() {
            inner.data = Data::Full(Arc::new(model));
        }
    }

    pub(super) fn hook_error(&self, hook: &'static str, cause: DbErr) -> Error {
        Error::Hook { entity: self.table.entity, key: self.key_text().into(), hook, cause: Arc::new(cause.into()) }
    }

    /// The object as SeaORM's hooks want it: changed columns set, the others unchanged.
    pub(super) fn active(&self, kind: RowKind) -> E::ActiveModel {
        let inner = self.inner.lock();
        match &inner.data {
            Data::Draft(draft) => (**draft).clone(),
            Data::Full(model) => {
                let mut active = (**model).clone().into_active_model();
                if kind == RowKind::Update {
                    let touched =
                        held_columns::<E>().filter(|c| position::<E>(*c).is_some_and(|at| inner.touched.contains(at)));
                    touched.for_each(|column| active.reset(column));
                }
                active
            }
        }
    }

    /// Takes over what a `before_save` hook set.
    pub(super) fn absorb(&self, mut active: E::ActiveModel) -> Result<(), Error> {
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
            inner.touch(position);
            if let Data::Full(model) = &mut inner.data {
                Arc::make_mut(model).try_set(column, value)?;
            }
        }
        Ok(())
    }
}
