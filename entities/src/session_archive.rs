//! `session_archives`: the message logs of an agent's sessions.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

/// Whether messages may still be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Messages are appended.
    #[sea_orm(string_value = "open")]
    Open,
    /// Complete.
    #[sea_orm(string_value = "closed")]
    Closed,
}

/// A message log.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "session_archives")]
#[tracked(no_hooks)]
pub struct Model {
    /// Identity, made by the client.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant.
    #[tracked(tenant)]
    pub account_id: String,
    /// The session.
    pub session_id: String,
    /// The place in the session, from 1.
    pub sequence: i64,
    /// The last segment of the archive's URI.
    pub name: String,
    /// The space that created the session: the only one that may read it.
    pub owner_space: String,
    /// The node that carries abstract and overview, once it is summarised.
    pub node_id: Option<Uuid>,
    /// Whether it may grow.
    pub state: State,
    /// A JSON array of messages.
    #[sea_orm(column_type = "JsonBinary")]
    pub messages: Json,
    /// The length of that array, which the database checks.
    pub message_count: i64,
    /// SHA-256 of the log in hexadecimal; empty if it was not computed.
    pub content_hash: String,
    /// The optimistic lock of appenders.
    #[tracked(version)]
    pub version: i64,
    /// When the conversation began, if it is known.
    pub started_at: Option<DateTimeUtc>,
    /// When it ended, if it is known.
    pub ended_at: Option<DateTimeUtc>,
    /// When the row was created.
    #[tracked(created_at)]
    pub created_at: DateTimeUtc,
    /// When it was last changed.
    #[tracked(updated_at)]
    pub updated_at: DateTimeUtc,
}

/// Whose text summarises it.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The node that carries abstract and overview.
    #[sea_orm(
        belongs_to = "super::node::Entity",
        from = "Column::NodeId",
        to = "super::node::Column::Id",
        on_delete = "Cascade"
    )]
    Node,
}

impl Related<super::node::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Node.def()
    }
}
