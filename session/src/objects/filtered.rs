//! What a filter asks of an object (U5): whether it is soft-deleted, and which conditions of the caller's its row has passed.

use std::sync::Arc;

use chrono::Utc;
use sea_orm::Value;

use super::{AnyObject, Phase};
use crate::{
    error::Error,
    table::{
        value::{is_null, time_value},
        value_ref::ValueRef,
    },
};

impl AnyObject {
    /// Whether a column holds something else than NULL.
    pub(crate) fn holds_value(&self, column: usize) -> bool {
        match self.inner.lock().data.lent(column) {
            None | Some(ValueRef::Null) => false,
            Some(ValueRef::Owned(value)) => !is_null(&value),
            Some(_) => true,
        }
    }

    /// The number of the last filter that its row has passed, of those of the caller's; 0 if it was changed since.
    pub(crate) fn passed(&self) -> u32 {
        self.inner.lock().passed
    }

    /// A read under the filters up to this number has given the row.
    pub(crate) fn note_passed(&self, number: u32) {
        let mut inner = self.inner.lock();
        inner.passed = inner.passed.max(number);
    }

    /// Marks a row as deleted in this column, unless it is already. An object that is no row is left alone.
    ///
    /// # Errors
    /// The column is of a type that holds no moment.
    pub(crate) fn soft_delete(self: &Arc<Self>, column: usize) -> Result<(), Error> {
        if self.phase() != Phase::Persistent || self.holds_value(column) && !self.is_expired() {
            return Ok(());
        }
        let (entity, meta) = (self.table.entity, &self.table.columns[column]);
        let now = time_value(&meta.kind, Utc::now()).ok_or_else(|| {
            Error::usage(format!("`{entity}.{}` marks deleted rows, and holds no moment ({:?})", meta.name, meta.kind))
        })?;
        self.set_at(column, now)
    }

    /// Takes the mark back.
    ///
    /// # Errors
    /// The column is never NULL.
    pub(crate) fn restore(self: &Arc<Self>, column: usize) -> Result<(), Error> {
        self.set_at(column, self.table.columns[column].kind_null())
    }

    fn set_at(self: &Arc<Self>, column: usize, value: Value) -> Result<(), Error> {
        let mut inner = self.changing(self.inner.lock());
        inner.touch(column);
        inner.unlink(column);
        Ok(inner.data.put(self.table, column, value)?)
    }
}
