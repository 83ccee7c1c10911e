//! `node_versions`: what a change of a node replaced. Rows are only added, and outlive their node.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

pub use super::node::Status;

/// What replaced the state that a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Change {
    /// A write of its text or metadata.
    #[sea_orm(string_value = "write")]
    Write,
    /// A move, of the node or of a folder above it.
    #[sea_orm(string_value = "move")]
    Move,
    /// It was archived.
    #[sea_orm(string_value = "archive")]
    Archive,
    /// It was restored.
    #[sea_orm(string_value = "restore")]
    Restore,
    /// It was deleted: this is its last state.
    #[sea_orm(string_value = "delete")]
    Delete,
    /// It was set back to an earlier version.
    #[sea_orm(string_value = "revert")]
    Revert,
}

/// The state of a node at one version.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "node_versions")]
#[tracked(no_hooks)]
pub struct Model {
    /// The node, which may no longer exist.
    #[sea_orm(primary_key, auto_increment = false)]
    pub node_id: Uuid,
    /// The version that this state had.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// The tenant.
    #[tracked(tenant)]
    pub account_id: String,
    /// The URI it had then.
    pub uri: String,
    /// The owner space it had then.
    pub owner_space: String,
    /// The category it had then.
    pub category: Option<String>,
    /// The kind of node it was then.
    pub node_type: String,
    /// The status it had then.
    pub status: Status,
    /// Level 0 then.
    #[sea_orm(column_type = "Text")]
    pub r#abstract: String,
    /// Level 1 then.
    #[sea_orm(column_type = "Text")]
    pub overview: String,
    /// Level 2 then.
    #[sea_orm(column_type = "Text")]
    pub content: String,
    /// The metadata then.
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// The content's hash then.
    pub content_hash: String,
    /// What replaced it.
    pub change: Change,
    /// When this state was written: the node's `updated_at` then.
    pub written_at: DateTimeUtc,
    /// When it was replaced.
    #[tracked(created_at)]
    pub recorded_at: DateTimeUtc,
}

/// None: history outlives its node, so nothing is declared that a flush would order by.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
