//! What the store hands out of a node: values, not rows. Nothing here changes the store when it is changed.

use context_entities::node::{Model, Status};
use sea_orm::prelude::{DateTimeUtc, Json, Uuid};
use serde::{Serialize, Serializer};

use crate::{error::StoreError, uri::Uri};

/// A node with its texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Node {
    /// Stable, also through moves.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// Where it is.
    pub uri: Uri,
    /// Whose it is.
    pub owner_space: String,
    /// The category of a memory.
    pub category: Option<String>,
    /// `memory`, `skill`, `session` or `resource`.
    pub node_type: String,
    /// Level 0: one sentence.
    pub r#abstract: String,
    /// Level 1: a paragraph or a page.
    pub overview: String,
    /// Level 2: all of it.
    pub content: String,
    /// A JSON object of the caller's.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub metadata: Json,
    /// Rises with every change.
    pub version: i64,
    /// SHA-256 of the content, in hexadecimal.
    pub content_hash: String,
    /// When the node was created.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub created_at: DateTimeUtc,
    /// When it was last changed.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub updated_at: DateTimeUtc,
}

impl TryFrom<Model> for Node {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, Self::Error> {
        Ok(Self {
            id: row.id,
            uri: Uri::parse(&row.uri)?,
            owner_space: row.owner_space,
            category: row.category,
            node_type: row.node_type,
            r#abstract: row.r#abstract,
            overview: row.overview,
            content: row.content,
            metadata: row.metadata,
            version: row.version,
            content_hash: row.content_hash,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// A node without its texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Stat {
    /// Stable, also through moves.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// Where it is.
    pub uri: Uri,
    /// Whose it is.
    pub owner_space: String,
    /// The category of a memory.
    pub category: Option<String>,
    /// `memory`, `skill`, `session` or `resource`.
    pub node_type: String,
    /// Whether it takes part.
    #[serde(serialize_with = "status_text")]
    #[cfg_attr(feature = "serve", schema(value_type = String))]
    pub status: Status,
    /// Rises with every change.
    pub version: i64,
    /// SHA-256 of the content, in hexadecimal.
    pub content_hash: String,
    /// Bytes of the abstract.
    pub abstract_bytes: i64,
    /// Bytes of the overview.
    pub overview_bytes: i64,
    /// Bytes of the content.
    pub content_bytes: i64,
    /// When the node was created.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub created_at: DateTimeUtc,
    /// When it was last changed.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub updated_at: DateTimeUtc,
}

/// One line of a listing: a node, or a folder that is there because something lies below it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Entry {
    /// Where it is.
    pub uri: Uri,
    /// The last segment, readable.
    pub name: String,
    /// Whether something lies below it.
    pub is_folder: bool,
    /// What is stored there; none for an implied folder (V6).
    pub node: Option<EntryNode>,
}

/// What a listing tells of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct EntryNode {
    /// Stable, also through moves.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// `memory`, `skill`, `session` or `resource`.
    pub node_type: String,
    /// Rises with every change.
    pub version: i64,
    /// The abstract.
    pub r#abstract: String,
    /// Bytes of the content.
    pub content_bytes: i64,
    /// When it was last changed.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub updated_at: DateTimeUtc,
}

pub(crate) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Archived => "archived",
        Status::Broken => "broken",
    }
}

fn status_text<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status_word(*status))
}
