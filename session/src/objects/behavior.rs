//! An object as SeaORM's `ActiveModelBehavior` sees it, and what the hooks made of it (H10).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sea_orm::DbErr;

use super::{
    AnyObject,
    row::{Carried, RowKind},
    values::{AnyDraft, Data, own},
};
use crate::{connection::lent::FlushConnection, error::Error, table::columns::ColumnSet};

impl AnyObject {
    /// Runs SeaORM's `before_save` or `before_delete`.
    pub(crate) fn before<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
    ) -> BoxFuture<'a, Result<Carried, Error>> {
        Box::pin(async move {
            let draft = self.as_draft(kind);
            if kind == RowKind::Delete {
                let draft = draft.before_delete(db).await.map_err(|e| self.hook_error("before_delete", e))?;
                return Ok(Some(draft));
            }
            let hooked = draft.before_save(db, kind == RowKind::Insert).await;
            self.absorb(hooked.map_err(|e| self.hook_error("before_save", e))?)?;
            Ok(None)
        })
    }

    /// Runs SeaORM's `after_save` or `after_delete`.
    pub(crate) fn after<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
        carried: Carried,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if kind == RowKind::Delete {
                let draft = carried.unwrap_or_else(|| self.as_draft(kind));
                return draft.after_delete(db).await.map_err(|e| self.hook_error("after_delete", e));
            }
            let Some(model) = self.inner.lock().data.model().cloned() else { return Ok(()) };
            let saved = model.after_save(db, kind == RowKind::Insert).await;
            let saved = saved.map_err(|e| self.hook_error("after_save", e))?;
            let mut inner = self.inner.lock();
            // A hook may have changed the object by its handle; that change is newer.
            if inner.base.is_none() {
                inner.data = Data::Full(saved);
            }
            Ok(())
        })
    }

    fn hook_error(&self, hook: &'static str, cause: DbErr) -> Error {
        Error::Hook { entity: self.table.entity, key: self.key_text().into(), hook, cause: Arc::new(cause.into()) }
    }

    /// The object as SeaORM's hooks want it: changed columns set, the others unchanged.
    fn as_draft(&self, kind: RowKind) -> Box<dyn AnyDraft> {
        let inner = self.inner.lock();
        match &inner.data {
            Data::Draft(draft) => draft.copied(),
            Data::Full(model) if kind == RowKind::Update => model.with_set(inner.touched),
            Data::Full(model) => model.with_set(ColumnSet::default()),
        }
    }

    /// Takes over what a `before_save` hook set.
    fn absorb(&self, mut hooked: Box<dyn AnyDraft>) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        if let Data::Draft(draft) = &mut inner.data {
            *draft = hooked;
            return Ok(());
        }
        for column in 0..self.table.columns.len() {
            let Some(value) = hooked.take_set(column) else { continue };
            if !inner.touched.contains(column) && inner.data.value(column).as_ref() == Some(&value) {
                continue;
            }
            inner.touch(column);
            if let Data::Full(model) = &mut inner.data {
                own(model).put(column, value)?;
            }
        }
        Ok(())
    }
}
