//! What a tenant's entity refuses (T2): a unit without a tenant, and another tenant's row.

use sea_orm::{Iterable, ModelTrait};

use crate::{
    error::Error,
    objects::entity::TrackedEntity,
    table::{meta::TableMeta, value},
    unit::settings::Settings,
};

/// A tenant's entity is not read without a tenant (T2).
pub(crate) fn refuse_without_tenant(table: &TableMeta, settings: &Settings) -> Result<(), Error> {
    match (table.tenant, &settings.tenant) {
        (Some(_), None) => {
            Err(Error::Tenant { entity: table.entity, reason: "open the unit with `.tenant(key, …)`".into() })
        }
        _ => Ok(()),
    }
}

/// As [`refuse_without_tenant`]; nor is another tenant's row.
pub(crate) fn refuse_other_tenant<E: TrackedEntity>(
    table: &TableMeta,
    settings: &Settings,
    model: &E::Model,
) -> Result<(), Error> {
    refuse_without_tenant(table, settings)?;
    let (Some(column), Some((_, tenant))) = (table.tenant, &settings.tenant) else { return Ok(()) };
    let held = E::Column::iter().nth(column).map(|column| model.get(column));
    match held.as_ref().map(value::tenant_text) {
        Some(owner) if owner.as_deref() != Some(tenant) => Err(Error::Tenant {
            entity: table.entity,
            reason: "the row belongs to another tenant than the unit".into(),
        }),
        _ => Ok(()),
    }
}
