//! `nodes`: what an agent remembers, one row a URI.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

/// Whether a node takes part in reading, listing and search (V5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Status {
    /// Read, listed, indexed.
    #[sea_orm(string_value = "active")]
    Active,
    /// Kept, but absent for readers until it is restored.
    #[sea_orm(string_value = "archived")]
    Archived,
    /// Known to be damaged: a read says so.
    #[sea_orm(string_value = "broken")]
    Broken,
}

/// A node.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "nodes")]
#[tracked(no_hooks)]
pub struct Model {
    /// Stable identity, made by the client; edges hold it, so a move rewrites none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant.
    #[tracked(tenant)]
    pub account_id: String,
    /// The canonical URI, unique within the account.
    pub uri: String,
    /// The URI without its last segment; none for the root.
    pub parent_uri: Option<String>,
    /// The last segment of the URI.
    pub name: String,
    /// The space whose members may read it without being asked.
    pub owner_space: String,
    /// The category of a memory; none where the URI has none.
    pub category: Option<String>,
    /// The kind of node that the URI stands for.
    pub node_type: String,
    /// Whether it takes part.
    pub status: Status,
    /// Level 0: one sentence.
    #[sea_orm(column_type = "Text")]
    pub r#abstract: String,
    /// Level 1: a paragraph or a page.
    #[sea_orm(column_type = "Text")]
    pub overview: String,
    /// Level 2: all of it.
    #[sea_orm(column_type = "Text")]
    pub content: String,
    /// A JSON object of the caller's.
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// The optimistic lock; it only rises.
    #[tracked(version)]
    pub version: i64,
    /// SHA-256 of the content in hexadecimal; empty if it was not computed.
    pub content_hash: String,
    /// When the node was created.
    #[tracked(created_at)]
    pub created_at: DateTimeUtc,
    /// When it was last changed.
    #[tracked(updated_at)]
    pub updated_at: DateTimeUtc,
}

/// Relations of a node that need no direction; for edges see [`Outgoing`], [`Incoming`] and [`Neighbours`].
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The message logs that this node summarises.
    #[sea_orm(has_many = "super::session_archive::Entity")]
    SessionArchives,
}

impl Related<super::session_archive::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::SessionArchives.def()
    }
}

/// From a node to the edges that leave it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing;

impl Linked for Outgoing {
    type FromEntity = Entity;
    type ToEntity = super::edge::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![super::edge::Relation::From.def().rev()]
    }
}

/// From a node to the edges that arrive at it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming;

impl Linked for Incoming {
    type FromEntity = Entity;
    type ToEntity = super::edge::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![super::edge::Relation::To.def().rev()]
    }
}

/// From a node to the nodes that its outgoing edges arrive at.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours;

impl Linked for Neighbours {
    type FromEntity = Entity;
    type ToEntity = Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![super::edge::Relation::From.def().rev(), super::edge::Relation::To.def()]
    }
}
