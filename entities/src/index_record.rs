//! `index_records`: the embedded full-text index, fed by the dispatcher.
//!
//! What words it has is not part of the entity: the columns `terms`, `words`, `length` and `words_version`, and the tables
//! `index_terms`, `index_spaces` and `index_totals` that triggers make of them.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

/// Which text of a node a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum Level {
    /// Level 0.
    #[sea_orm(num_value = 0)]
    Abstract,
    /// Level 1.
    #[sea_orm(num_value = 1)]
    Overview,
    /// Level 2.
    #[sea_orm(num_value = 2)]
    Content,
}

/// A record of the index.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "index_records")]
#[tracked(no_hooks)]
pub struct Model {
    /// The row that the full-text index refers to.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    #[tracked(tenant)]
    pub account_id: String,
    /// Sixteen hexadecimal digits of the hash of URI and level, unique within the account.
    pub record_id: String,
    /// Whose text it is.
    pub node_id: Uuid,
    /// The record's own address.
    pub uri: String,
    /// Which text it is.
    pub level: Level,
    /// The owner space to filter by.
    pub owner_space: String,
    /// The category to filter by.
    pub category: Option<String>,
    /// The kind of node to filter by.
    pub node_type: String,
    /// Searched, with more weight.
    #[sea_orm(column_type = "Text")]
    pub title: String,
    /// Searched.
    #[sea_orm(column_type = "Text")]
    pub body: String,
    /// The version of the node that the text is of.
    pub version: i64,
    /// SHA-256 of the text in hexadecimal; empty if it was not computed.
    pub content_hash: String,
    /// When it was written.
    #[tracked(updated_at)]
    pub indexed_at: DateTimeUtc,
}

/// None: the index follows by events.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
