//! The audit table (U7): one row for each change of a row of an entity with `#[tracked(audit)]`, written by the flush that makes
//! the change, in its transaction.
//!
//! An application makes the table from [`Entity`], as it makes its own: by
//! `Schema::new(backend).create_table_from_entity(audit::Entity)` in a migration. Give it the indexes that your questions need,
//! `(entity, row_key)` for one. Nothing here ever reads it, or removes a row: a role that may only INSERT there will do. Its own rows
//! are seen by no observer, and are not among a unit's changes.

use chrono::{SubsecRound, Utc};
use sea_orm::{Value, entity::prelude::*};
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

/// The columns of [`rows`], by their places in the table.
pub(super) const WRITTEN: [usize; 6] = [
    Column::Entity as usize,
    Column::RowKey as usize,
    Column::Kind as usize,
    Column::Changes as usize,
    Column::Tenant as usize,
    Column::WrittenAt as usize,
];

/// The rows that tell of these changes: all but the number, which the database makes.
pub(super) fn rows(changes: &[&Change], tenant: Option<&str>) -> Vec<Vec<Value>> {
    let written_at = Utc::now().trunc_subsecs(6);
    let row = |change: &&Change| {
        vec![
            change.entity().into(),
            change.key_text().into(),
            change.meaning().into(),
            change.to_json().into(),
            tenant.map(str::to_owned).into(),
            written_at.into(),
        ]
    };
    changes.iter().map(row).collect()
}
