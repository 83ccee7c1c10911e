//! What the flush itself writes into a row: its tenant, its times and its version (T, O1).

use sea_orm::Value;

use super::{
    AnyObject,
    row::{RowKind, Stamp},
};
use crate::{
    error::Error,
    table::value::{as_integer, integer, next_version, tenant_text, tenant_value, time_value},
};

impl AnyObject {
    /// Sets what the flush itself sets: versions, times, tenants.
    pub(crate) fn stamp(&self, kind: RowKind, stamp: &Stamp<'_>) -> Result<(), Error> {
        let table = self.table;
        self.check_tenant(kind, stamp)?;
        let entity = self.inner.lock().data.entity();
        let time = |column: usize| {
            let meta = &table.columns[column];
            let made = entity.moment(column, stamp.now.timestamp_micros());
            made.or_else(|| time_value(&meta.kind, stamp.now)).ok_or_else(|| {
                let (entity, column, kind) = (table.entity, meta.name, &meta.kind);
                Error::usage(format!(
                    "`{entity}.{column}` is a tracked time of a type that no moment is made of here ({kind:?}): for another name of a \
                     type of the crate `time` turn on the feature `with-time` of sea-session"
                ))
            })
        };
        if kind == RowKind::Insert {
            for column in [table.created_at, table.updated_at].into_iter().flatten() {
                if self.column_value(column).is_none() {
                    self.set_stamped(column, time(column)?)?;
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
        if let Some(column) = table.updated_at.filter(|c| !changed.contains(c)) {
            self.set_stamped(column, time(column)?)?;
        }
        if let Some(version) = table.version {
            let loaded = self.loaded_version().unwrap_or(0);
            let next = next_version(&table.columns[version].kind, loaded);
            self.set_stamped(version, next.ok_or_else(|| self.version_exhausted(loaded))?)?;
        }
        Ok(())
    }

    /// Sets a column before it is written.
    pub(crate) fn set_stamped(&self, column: usize, value: Value) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.touch(column);
        Ok(inner.data.put(self.table, column, value)?)
    }

    pub(super) fn check_tenant(&self, kind: RowKind, stamp: &Stamp<'_>) -> Result<(), Error> {
        let Some(column) = self.table.tenant else { return Ok(()) };
        let entity = self.table.entity;
        let Some(tenant) = stamp.tenant else {
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

    pub(super) fn loaded_version(&self) -> Option<i64> {
        let version = self.table.version?;
        as_integer(&self.inner.lock().held()?.value(version))
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::sea_query::ArrayType;

    use super::*;

    #[test]
    fn e7_every_type_of_version_has_an_end() {
        let ends = [
            (ArrayType::TinyInt, i8::MAX.into()),
            (ArrayType::SmallInt, i16::MAX.into()),
            (ArrayType::Int, i32::MAX.into()),
            (ArrayType::BigInt, i64::MAX),
            (ArrayType::TinyUnsigned, u8::MAX.into()),
            (ArrayType::SmallUnsigned, u16::MAX.into()),
            (ArrayType::Unsigned, u32::MAX.into()),
            // No driver carries more than 64 bits with a sign.
            (ArrayType::BigUnsigned, i64::MAX),
        ];
        for (kind, last) in ends {
            assert_eq!(next_version(&kind, last), None, "{kind:?}");
            assert_eq!(next_version(&kind, last - 1).as_ref().and_then(as_integer), Some(last), "{kind:?}");
        }
    }
}
