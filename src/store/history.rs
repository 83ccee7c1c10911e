//! What nodes were before (V10): every state that a change replaced can be read, and set again.

use context_entities::{
    node,
    node_version::{self, Change},
};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, prelude::DateTimeUtc,
    prelude::Json, prelude::Uuid,
};
use sea_session::prelude::*;
use serde::{Serialize, Serializer};

use super::{
    Store, Within, allow_node,
    read::visible,
    set::{change_word, next_version},
    write::{Written, announce, hold, keep, now},
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    outbox::EventType,
    page::{Page, Paging},
    uri::Uri,
};

/// One version of a node, without its texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The node.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub node_id: Uuid,
    /// The version.
    pub version: i64,
    /// Where the node was then.
    pub uri: Uri,
    /// SHA-256 of the content then.
    pub content_hash: String,
    /// When this state was written.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub written_at: DateTimeUtc,
    /// What replaced it; none for the current state.
    #[serde(serialize_with = "change_text")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<String>))]
    pub replaced_by: Option<Change>,
}

/// A version of a node with its texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct VersionedNode {
    /// The node.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub node_id: Uuid,
    /// The version.
    pub version: i64,
    /// Where the node was then.
    pub uri: Uri,
    /// Level 0 then.
    pub r#abstract: String,
    /// Level 1 then.
    pub overview: String,
    /// Level 2 then.
    pub content: String,
    /// The metadata then.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub metadata: Json,
    /// When this state was written.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub written_at: DateTimeUtc,
}

fn change_text<S: Serializer>(change: &Option<Change>, serializer: S) -> Result<S::Ok, S::Error> {
    change.map(change_word).serialize(serializer)
}

#[derive(FromQueryResult)]
struct PastRow {
    node_id: Uuid,
    version: i64,
    uri: String,
    content_hash: String,
    written_at: DateTimeUtc,
    change: Change,
}

impl Store {
    /// The versions of the node at a URI, newest first: the current one, and all that were replaced, also those from
    /// before a move. Of a deleted node, what is kept (V10).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`], [`StoreError::InvalidCursor`].
    pub async fn history(&self, caller: &Caller, uri: &Uri, paging: &Paging) -> Result<Page<HistoryEntry>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).history(uri, paging).await).await
    }

    /// A version of the node at a URI, with its texts (V10).
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`], [`StoreError::Denied`].
    pub async fn read_version(&self, caller: &Caller, uri: &Uri, version: i64) -> Result<VersionedNode, StoreError> {
        self.read_unit(caller)
            .run(async |s: &mut Session| self.within(s, caller).read_version(uri, version).await)
            .await
    }

    /// Writes the texts and metadata of an earlier version as a new version (V10). The node stays where it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Archived`], [`StoreError::NoSuchVersion`], [`StoreError::Denied`].
    pub async fn revert(&self, caller: &Caller, uri: &Uri, version: i64) -> Result<Written, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).revert(uri, version).await).await
    }
}

impl Within<'_> {
    /// [`Store::history`] in this unit.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub async fn history(&mut self, uri: &Uri, paging: &Paging) -> Result<Page<HistoryEntry>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "have a history")?;
        let limit = paging.checked_limit()?;
        let after = paging
            .after
            .as_deref()
            .map(|after| after.parse::<i64>().map_err(|_| StoreError::InvalidCursor))
            .transpose()?;
        let current = current_of(s, caller, uri).await?;
        let mut past = past_of(caller, uri, current.as_ref().map(|row| row.0));
        if let Some(after) = after {
            past = past.filter(node_version::Column::Version.lt(after));
        }
        let rows: Vec<PastRow> = past
            .select_only()
            .columns([
                node_version::Column::NodeId,
                node_version::Column::Version,
                node_version::Column::Uri,
                node_version::Column::ContentHash,
                node_version::Column::WrittenAt,
                node_version::Column::Change,
            ])
            .order_by_desc(node_version::Column::Version)
            .limit(limit + 1)
            .into_model()
            .all(s)
            .await?;
        let mut items = Vec::with_capacity(rows.len() + 1);
        if let Some((node_id, version, content_hash, written_at)) =
            current.filter(|row| after.is_none_or(|after| row.1 < after))
        {
            items.push(HistoryEntry {
                node_id,
                version,
                uri: uri.clone(),
                content_hash,
                written_at,
                replaced_by: None,
            });
        }
        for row in rows {
            items.push(HistoryEntry {
                node_id: row.node_id,
                version: row.version,
                uri: Uri::parse(&row.uri)?,
                content_hash: row.content_hash,
                written_at: row.written_at,
                replaced_by: Some(row.change),
            });
        }
        if items.is_empty() && after.is_none() {
            return Err(StoreError::not_found(uri));
        }
        Ok(Page::of(items, limit, |entry| entry.version.to_string()))
    }

    /// [`Store::read_version`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_version`].
    pub async fn read_version(&mut self, uri: &Uri, version: i64) -> Result<VersionedNode, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "have a history")?;
        let current =
            visible(caller).filter(node::Column::Uri.eq(uri.as_str())).load_one(s).await?.map(|row| row.model());
        if let Some(row) = current.as_ref().filter(|row| row.version == version) {
            return Ok(VersionedNode {
                node_id: row.id,
                version,
                uri: uri.clone(),
                r#abstract: row.r#abstract.clone(),
                overview: row.overview.clone(),
                content: row.content.clone(),
                metadata: row.metadata.clone(),
                written_at: row.updated_at,
            });
        }
        let row = past_of(caller, uri, current.map(|row| row.id))
            .filter(node_version::Column::Version.eq(version))
            .one(s)
            .await?
            .ok_or_else(|| StoreError::NoSuchVersion { uri: uri.clone(), version })?;
        Ok(VersionedNode {
            node_id: row.node_id,
            version,
            uri: Uri::parse(&row.uri)?,
            r#abstract: row.r#abstract,
            overview: row.overview,
            content: row.content,
            metadata: row.metadata,
            written_at: row.written_at,
        })
    }

    /// [`Store::revert`] in this unit.
    ///
    /// # Errors
    /// As [`Store::revert`].
    pub async fn revert(&mut self, uri: &Uri, version: i64) -> Result<Written, StoreError> {
        allow_node(self.caller, uri, Access::Write, "be reverted")?;
        let old = self.read_version(uri, version).await?;
        let (s, caller) = (&mut *self.s, self.caller);
        let held = hold(s, caller.account(), &[uri]).await?;
        let node = held.get(uri.as_str()).ok_or_else(|| StoreError::not_found(uri))?;
        let before = node.model();
        if caller.owner_filter().is_some_and(|spaces| !spaces.contains(&before.owner_space)) {
            return Err(StoreError::not_found(uri));
        }
        if before.status == node::Status::Archived {
            return Err(StoreError::Archived { uri: uri.clone() });
        }
        let (id, next) = (before.id, next_version(uri, before.version)?);
        keep(s, before, Change::Revert);
        node.update(|row| {
            row.content_hash = crate::record::content_hash(&old.content);
            row.r#abstract = old.r#abstract;
            row.overview = old.overview;
            row.content = old.content;
            row.metadata = old.metadata;
            row.status = node::Status::Active;
            row.updated_at = now();
        });
        announce(s, caller.account(), id, next, EventType::Write, uri);
        self.store.ring(s);
        Ok(Written { id, uri: uri.clone(), version: next, created: false })
    }
}

/// The current state without its texts.
async fn current_of(
    s: &mut Session,
    caller: &Caller,
    uri: &Uri,
) -> Result<Option<(Uuid, i64, String, DateTimeUtc)>, StoreError> {
    Ok(visible(caller)
        .filter(node::Column::Uri.eq(uri.as_str()))
        .select_only()
        .columns([node::Column::Id, node::Column::Version, node::Column::ContentHash, node::Column::UpdatedAt])
        .into_tuple()
        .one(s)
        .await?)
}

/// The replaced states of a node that is there, or of those that were at the URI before it.
fn past_of(caller: &Caller, uri: &Uri, id: Option<Uuid>) -> sea_orm::Select<node_version::Entity> {
    let which = match id {
        Some(id) => node_version::Column::NodeId.eq(id),
        // At one URI no two states have the same number, whichever node had them: versions never fall there (V3).
        None => node_version::Column::Uri.eq(uri.as_str()),
    };
    let past = node_version::Entity::find().filter(node_version::Column::AccountId.eq(caller.account())).filter(which);
    match caller.owner_filter() {
        Some(spaces) => past.filter(node_version::Column::OwnerSpace.is_in(spaces)),
        None => past,
    }
}
