//! The audit table (U7): one row for each change of a row of an entity with `#[tracked(audit)]`, written by the flush that makes
//! the change, in its transaction.
//!
//! An application makes the table from [`Entity`], as it makes its own: by
//! `Schema::new(backend).create_table_from_entity(audit::Entity)` in a migration. Give it the indexes that your questions need,
//! `(entity, row_key)` for one. Nothing here ever reads it, or removes a row.

use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session_macros::Tracked;

use crate::objects::changes::Change;

/// One change of one row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "audit_log")]
#[tracked(no_hooks)]
pub struct Model {
    /// Numbers rise within a unit.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The table that was changed.
    pub entity: String,
    /// The row's key, as errors show it; a secret part is not shown.
    pub row_key: String,
    /// [`Change::meaning`]: `insert`, `update`, `delete` or `restore`.
    pub kind: String,
    /// [`Change::to_json`]: the columns with their old and new values; secret ones without.
    #[sea_orm(column_type = "JsonBinary")]
    pub changes: Json,
    /// The tenant of the unit, if it had one.
    pub tenant: Option<String>,
    /// When the change was written.
    #[tracked(created_at)]
    pub written_at: DateTimeUtc,
}

/// It refers to no other table: what it tells of may be gone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

/// The row that tells of a change.
pub(super) fn row(change: &Change, tenant: Option<String>) -> ActiveModel {
    ActiveModel {
        entity: Set(change.entity().to_owned()),
        row_key: Set(change.key_text()),
        kind: Set(change.meaning().to_owned()),
        changes: Set(change.to_json()),
        tenant: Set(tenant),
        ..Default::default()
    }
}
