//! What a write that worked makes of an object: it is what the database holds, under the key that it has there.

use std::sync::Arc;

use sea_orm::{ActiveModelTrait, Value};

use super::{
    Data, Inner, Object, ObjectCell, Phase, Returned,
    values::{Moved, column_at, key_of, whole_model},
};
use crate::{
    error::Error,
    identity::{IdentityMap, Key},
    meta::{ColumnSet, TrackedEntity},
};

impl<E: TrackedEntity> ObjectCell<E> {
    /// The handle to this cell. There is one for as long as a method runs on it.
    pub(super) fn object(&self) -> Option<Object<E>> {
        self.this.upgrade().map(Object)
    }

    pub(super) fn rekey(&self, map: &mut IdentityMap, from: Option<Key>, to: Option<Key>) {
        let Some(object) = self.object() else { return };
        if let Some(from) = from.filter(|from| Some(from) != to.as_ref()) {
            map.remove(&from, &object);
        }
        if let Some(to) = to {
            map.insert(to, object);
        }
    }

    /// The row is in the database. Says how the map must know it, if that has changed.
    pub(super) fn inserted(
        &self,
        inner: &mut Inner<E>,
        returned: Option<&Returned<'_>>,
    ) -> Result<Option<Moved>, Error> {
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
    pub(super) fn updated(&self, inner: &mut Inner<E>, frame: u64) -> Result<(bool, Option<Moved>), Error> {
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
    pub(super) fn deleted(&self, inner: &mut Inner<E>, frame: u64) -> (bool, Option<Moved>) {
        let before = inner.base.take().map(Data::Full).or_else(|| Some(inner.data.clone()));
        let key = inner.key.take();
        let touched = inner.remember(frame, Phase::Persistent, before, key.clone());
        inner.phase = Phase::Deleted;
        (touched, Some(Moved { from: key }))
    }
}
