//! Reading objects again, with a lock or without (I3, D8).

use sea_orm::{QueryFilter, QuerySelect, sea_query::LockType};

use super::{
    by_key::{compared_filter, key_filter, key_values},
    query::{LoadExt, Loader},
};
use crate::{
    error::Error,
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
        states::{self, Operation, State},
    },
    unit::session::Session,
};

impl Session {
    /// Reads an object's row again and overwrites it, changes included.
    ///
    /// # Errors
    /// [`Error::Stale`] if the row is gone; [`Error::UnrepeatableRead`] in an optimistic unit (P5).
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn refresh<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        self.reload(object, None).await
    }

    /// Locks an object's row until the end of the transaction and reads it again (I3). On SQLite a writing unit holds the
    /// write lock already; the row is read again all the same.
    ///
    /// # Errors
    /// As [`Session::refresh`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn lock<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        self.reload(object, Some(LockType::Update)).await
    }

    /// Reads an expired object again: what was set since stays set.
    ///
    /// # Errors
    /// [`Error::Stale`] if its row is gone.
    pub(crate) async fn read_again<E: TrackedEntity>(&mut self, object: &Object<E>) -> Result<(), Error> {
        self.reload_object(object, None, false).await
    }

    async fn reload<E: TrackedEntity>(&mut self, object: &Tracked<E>, lock: Option<LockType>) -> Result<(), Error> {
        self.reload_object(object.object(), lock, true).await
    }

    async fn reload_object<E: TrackedEntity>(
        &mut self,
        object: &Object<E>,
        lock: Option<LockType>,
        overwrite: bool,
    ) -> Result<(), Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        let entity = table.entity;
        // To this unit another unit's object is as detached as can be.
        let own = object.any().belongs_to(&self.core().shared);
        let state = if own { object.state() } else { State::Detached };
        let key = object.row_key().filter(|_| states::next_state(state, Operation::Refresh).is_some());
        let Some(key) = key else {
            return Err(Error::usage(format!(
                "this {entity} is {state:?} and cannot be read again: {}",
                states::reason(state, Operation::Refresh)
            )));
        };
        let shown = object.any().key_text();
        let values = key_values(table, key)?;
        let filter = match table.keys.iter().any(|key| table.columns[*key].may_fold()) {
            false => key_filter::<E>(values),
            true => {
                let facts = self.core().table_facts(table).await?;
                compared_filter::<E>(&[values], &facts, dialect)
            }
        };
        let mut select = E::find().filter(filter);
        if let Some(lock) = lock {
            select = select.lock(lock);
        }
        // A guard, so that a dropped future leaves autoflush as it was.
        let mut quiet = self.no_autoflush();
        let loader = Loader { refresh: overwrite, lock: lock.is_some(), ..select.tracked() };
        let found = loader.load(&mut quiet).await?;
        drop(quiet);
        if !found.is_empty() {
            return Ok(());
        }
        if let Some(key) = object.any().map_key() {
            self.core().not_found(table, &key);
        }
        Err(Error::Stale { entity, key: shown.into(), expected: None, found: None })
    }
}
