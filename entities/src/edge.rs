//! `edges`: typed, weighted relations between nodes of one account.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

/// An edge. It holds the ids of its ends, so a move of either does not touch it.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "edges")]
#[tracked(no_hooks)]
pub struct Model {
    /// Identity, made by the client.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant, of both ends.
    #[tracked(tenant)]
    pub account_id: String,
    /// Where it leaves.
    pub from_id: Uuid,
    /// Where it arrives.
    pub to_id: Uuid,
    /// What kind of relation it is; at most one of a kind from one node to another.
    pub edge_type: String,
    /// Strength, 0 to 1.
    #[sea_orm(column_type = "Double")]
    pub weight: f64,
    /// Why it was made; may be empty.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
    /// A JSON object of the caller's.
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// When it was made.
    #[tracked(created_at)]
    pub created_at: DateTimeUtc,
    /// When it was last changed.
    #[tracked(updated_at)]
    pub updated_at: DateTimeUtc,
}

/// The two ends.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The node that it leaves.
    #[sea_orm(
        belongs_to = "super::node::Entity",
        from = "Column::FromId",
        to = "super::node::Column::Id",
        on_delete = "Cascade"
    )]
    From,
    /// The node that it arrives at.
    #[sea_orm(
        belongs_to = "super::node::Entity",
        from = "Column::ToId",
        to = "super::node::Column::Id",
        on_delete = "Cascade"
    )]
    To,
}
