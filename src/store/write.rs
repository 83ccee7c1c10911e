//! Writing nodes (V3): one at a time or a batch, in a number of statements that does not depend on how many.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use chrono::{DateTime, SubsecRound, Utc};
use context_entities::{node, node_version, outbox_event};
use sea_orm::{ActiveValue::NotSet, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, Set, prelude::Uuid};
use sea_session::prelude::*;
use serde_json::{Map, Value as Json};

use super::{Store, Within, allow_node, archive::without_nul, edges::LinkTo, set};
use crate::{
    access::{Access, Caller, Denial},
    error::StoreError,
    outbox::{EventType, TOPIC},
    record::content_hash,
    uri::{NodeType, Uri},
};

/// What to write to a node. Whatever is not given stays as it is, and is empty in a new node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Write {
    /// Level 0: one sentence.
    pub r#abstract: Option<String>,
    /// Level 1: a paragraph or a page.
    pub overview: Option<String>,
    /// Level 2: all of it.
    pub content: Option<String>,
    /// Replaces the metadata. Keys that begin with `_`, and `expected_version`, are not stored (V4).
    pub metadata: Option<Map<String, Json>>,
    /// Update this version or fail; without it, create the node or update whatever version it has.
    pub expected_version: Option<i64>,
    /// Replaces the outgoing edges. Not given, they stay (V3).
    pub links: Option<Vec<LinkTo>>,
    /// Create the node or fail: what is there, archived too, stays as it is.
    pub create_only: bool,
}

impl Write {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This content.
    pub fn of(content: impl Into<String>) -> Self {
        Self { content: Some(content.into()), ..Self::default() }
    }

    /// With this abstract.
    pub fn with_abstract(mut self, text: impl Into<String>) -> Self {
        self.r#abstract = Some(text.into());
        self
    }

    /// With this overview.
    pub fn with_overview(mut self, text: impl Into<String>) -> Self {
        self.overview = Some(text.into());
        self
    }

    /// With this metadata.
    pub fn with_metadata(mut self, metadata: Map<String, Json>) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Only onto this version.
    pub fn expecting(mut self, version: i64) -> Self {
        self.expected_version = Some(version);
        self
    }

    /// Only if nothing is there yet.
    pub fn creating(mut self) -> Self {
        self.create_only = true;
        self
    }

    /// With exactly these outgoing edges.
    pub fn with_links(mut self, links: impl IntoIterator<Item = LinkTo>) -> Self {
        self.links = Some(links.into_iter().collect());
        self
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Written {
    /// The node.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// Where it is.
    pub uri: Uri,
    /// The version that it has now.
    pub version: i64,
    /// Whether it is new.
    pub created: bool,
}

/// An event of the caller's own that goes with a write, in the same transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Which stream; not the store's own.
    pub topic: String,
    /// What order is kept for.
    pub key: String,
    /// The order within the key.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// The particulars.
    pub payload: Json,
}

impl Store {
    /// Creates or updates a node (V3).
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::NotANode`], [`StoreError::VersionConflict`], [`StoreError::NotFound`] (a version was
    /// expected), [`StoreError::AlreadyExists`] (it was only to be created), [`StoreError::Archived`]; what the database says.
    pub async fn write(&self, caller: &Caller, uri: &Uri, write: &Write) -> Result<Written, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).write(uri, write).await).await
    }

    /// Adds text to the end of a node's content, or creates the node with it. Appends of many at once all arrive.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn append(&self, caller: &Caller, uri: &Uri, text: &str) -> Result<Written, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).append(uri, text).await).await
    }

    /// Writes a node, and events of the caller's own, as one (Q1): both or neither.
    ///
    /// The store's own event is written by every operation anyway (V4).
    ///
    /// # Errors
    /// As [`Store::write`]; [`StoreError::InvalidArgument`] for an event in the store's own topic.
    pub async fn write_with_outbox(
        &self,
        caller: &Caller,
        uri: &Uri,
        write: &Write,
        events: &[NewEvent],
    ) -> Result<Written, StoreError> {
        self.unit(caller)
            .run(async |s: &mut Session| self.within(s, caller).write_with_outbox(uri, write, events).await)
            .await
    }

    /// Writes many nodes as one, in a number of statements that does not depend on how many they are.
    ///
    /// # Errors
    /// As [`Store::write`], for the first node that is refused; [`StoreError::InvalidArgument`] if a URI is given twice.
    pub async fn write_many(&self, caller: &Caller, writes: &[(Uri, Write)]) -> Result<Vec<Written>, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).write_many(writes).await).await
    }
}

impl Within<'_> {
    /// [`Store::write`] in this unit.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write(&mut self, uri: &Uri, write: &Write) -> Result<Written, StoreError> {
        let mut written = self.write_many(&[(uri.clone(), write.clone())]).await?;
        written.pop().ok_or_else(|| StoreError::not_found(uri))
    }

    /// [`Store::append`] in this unit.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append(&mut self, uri: &Uri, text: &str) -> Result<Written, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Write, "hold a text")?;
        if let Some(root) = uri.session_root() {
            known_sessions(s, caller, &HashSet::from([root])).await?;
        }
        // Held until the unit ends, so that nobody else appends to the same state.
        let held = hold(s, caller.account(), &[uri]).await?;
        if let Some(node) = held.get(uri.as_str()) {
            let before = node.content();
            return self.write(uri, &Write::of(before + text)).await;
        }
        // Created or nothing: where somebody else creates it meanwhile, their text must not be written over. The unit
        // then meets the unique URI, and runs again.
        check_texts(uri, &Write::of(text))?;
        let spaces = session_spaces(s, caller, &[uri]).await?;
        let floors = set::version_floors(s, caller.account(), &[uri.as_str()]).await?;
        let version = set::next_version(uri, floors.get(uri.as_str()).copied().unwrap_or_default())?;
        self.store.ring(s);
        create(s, caller, uri, &owner_space(uri, &spaces)?, &Write::of(text), version)
    }

    /// Holds a node until the unit ends, if it has this version: so a change that follows in the same unit is one of the state that
    /// the caller has seen.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`], [`StoreError::NotFound`], [`StoreError::Denied`], [`StoreError::NotANode`].
    pub async fn expect(&mut self, uri: &Uri, version: i64) -> Result<(), StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Write, "have a version")?;
        let held = hold(s, caller.account(), &[uri]).await?;
        let visible = |row: &&Tracked<node::Entity>| {
            caller.owner_filter().is_none_or(|spaces| spaces.contains(&row.owner_space()))
        };
        match held.get(uri.as_str()).filter(visible).map(|row| row.version()) {
            Some(actual) if actual == version => Ok(()),
            Some(actual) => Err(StoreError::VersionConflict { uri: uri.clone(), expected: version, actual }),
            None => Err(StoreError::not_found(uri)),
        }
    }

    /// [`Store::write_with_outbox`] in this unit.
    ///
    /// # Errors
    /// As [`Store::write_with_outbox`].
    pub async fn write_with_outbox(
        &mut self,
        uri: &Uri,
        write: &Write,
        events: &[NewEvent],
    ) -> Result<Written, StoreError> {
        if events.iter().any(|event| event.topic == TOPIC) {
            return Err(StoreError::InvalidArgument(format!(
                "the topic `{TOPIC}` is the store's own: choose another for events of yours"
            )));
        }
        let written = self.write(uri, write).await?;
        for event in events {
            self.s.add(outbox_event::ActiveModel {
                account_id: Set(self.caller.account().to_owned()),
                topic: Set(event.topic.clone()),
                event_key: Set(event.key.clone()),
                sequence: Set(event.sequence),
                event_type: Set(event.event_type.clone()),
                payload: Set(event.payload.clone()),
                ..Default::default()
            });
        }
        Ok(written)
    }

    /// [`Store::write_many`] in this unit.
    ///
    /// # Errors
    /// As [`Store::write_many`].
    pub async fn write_many(&mut self, writes: &[(Uri, Write)]) -> Result<Vec<Written>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let mut seen = HashSet::new();
        for (uri, write) in writes {
            allow_node(caller, uri, Access::Write, "hold a text")?;
            check_texts(uri, write)?;
            if !seen.insert(uri) {
                return Err(StoreError::InvalidArgument(format!("{uri} is given twice in one batch")));
            }
        }
        let uris: Vec<&Uri> = writes.iter().map(|(uri, _)| uri).collect();
        let spaces = session_spaces(s, caller, &uris).await?;
        let held = hold(s, caller.account(), &uris).await?;
        let missing: Vec<&str> = uris.iter().map(|uri| uri.as_str()).filter(|uri| !held.contains_key(*uri)).collect();
        let floors = set::version_floors(s, caller.account(), &missing).await?;

        let mut written = Vec::with_capacity(writes.len());
        for (uri, write) in writes {
            let done = match held.get(uri.as_str()) {
                Some(node) => update(s, uri, node, write)?,
                None => {
                    let floor = floors.get(uri.as_str()).copied().unwrap_or_default();
                    create(s, caller, uri, &owner_space(uri, &spaces)?, write, set::next_version(uri, floor)?)?
                }
            };
            written.push(done);
        }
        for ((_, write), done) in writes.iter().zip(&written) {
            if let Some(links) = &write.links {
                self.replace_links(done, links).await?;
            }
        }
        if !written.is_empty() {
            self.store.ring(self.s);
        }
        Ok(written)
    }
}

/// The rows at these URIs, locked until the unit ends, in one order for all writers so that two never wait in a circle.
pub(super) async fn hold(
    s: &mut Session,
    account: &str,
    uris: &[&Uri],
) -> Result<HashMap<String, Tracked<node::Entity>>, StoreError> {
    let rows = node::Entity::find()
        .filter(node::Column::AccountId.eq(account))
        .filter(node::Column::Uri.is_in(uris.iter().map(|uri| uri.as_str())))
        .order_by_asc(node::Column::Uri)
        .for_update()
        .load(s)
        .await?;
    Ok(rows.into_iter().map(|row| (row.uri(), row)).collect())
}

/// The moment, to the microsecond that both backends keep.
pub(super) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

fn update(s: &mut Session, uri: &Uri, node: &Tracked<node::Entity>, write: &Write) -> Result<Written, StoreError> {
    let before = node.model();
    if write.create_only {
        return Err(StoreError::AlreadyExists { uri: uri.clone() });
    }
    if before.status == node::Status::Archived {
        return Err(StoreError::Archived { uri: uri.clone() });
    }
    if let Some(expected) = write.expected_version.filter(|expected| *expected != before.version) {
        return Err(StoreError::VersionConflict { uri: uri.clone(), expected, actual: before.version });
    }
    let version = set::next_version(uri, before.version)?;
    keep(s, before, node_version::Change::Write);
    node.update(|row| {
        row.status = node::Status::Active;
        // A write is a change even if its text is the same: the version rises with every write (V3).
        row.updated_at = now();
        fill(row, write);
    });
    let id = node.id();
    announce(s, &node.account_id(), id, version, EventType::Write, uri);
    Ok(Written { id, uri: uri.clone(), version, created: false })
}

/// A NUL ends a text early in one database and cannot be stored in the other: refused in both.
fn check_texts(uri: &Uri, write: &Write) -> Result<(), StoreError> {
    let texts = [&write.r#abstract, &write.overview, &write.content];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        return Err(StoreError::InvalidArgument(format!("the text for {uri} has a NUL character: it is not text")));
    }
    for value in write.metadata.iter().flat_map(Map::values) {
        without_nul(&format!("the metadata for {uri}"), value).map_err(StoreError::InvalidArgument)?;
    }
    Ok(())
}

/// Sets what is given.
fn fill(row: &mut node::Model, write: &Write) {
    if let Some(text) = &write.r#abstract {
        row.r#abstract.clone_from(text);
    }
    if let Some(text) = &write.overview {
        row.overview.clone_from(text);
    }
    if let Some(text) = &write.content {
        row.content.clone_from(text);
        row.content_hash = content_hash(text);
    }
    if let Some(metadata) = &write.metadata {
        row.metadata = stored_metadata(metadata);
    }
}

fn create(
    s: &mut Session,
    caller: &Caller,
    uri: &Uri,
    owner: &str,
    write: &Write,
    version: i64,
) -> Result<Written, StoreError> {
    if write.expected_version.is_some() {
        return Err(StoreError::not_found(uri));
    }
    let content = write.content.clone().unwrap_or_default();
    let id = Uuid::now_v7();
    s.add(node::ActiveModel {
        id: Set(id),
        account_id: Set(caller.account().to_owned()),
        uri: Set(uri.to_string()),
        parent_uri: Set(uri.parent().map(|parent| parent.to_string())),
        name: Set(uri.encoded_name().to_owned()),
        owner_space: Set(owner.to_owned()),
        category: Set(uri.category().map(str::to_owned)),
        node_type: Set(uri.node_type().unwrap_or(NodeType::Session).as_str().to_owned()),
        status: Set(node::Status::Active),
        r#abstract: Set(write.r#abstract.clone().unwrap_or_default()),
        overview: Set(write.overview.clone().unwrap_or_default()),
        content_hash: Set(content_hash(&content)),
        content: Set(content),
        metadata: Set(write.metadata.as_ref().map_or_else(|| Json::Object(Map::new()), stored_metadata)),
        version: Set(version),
        created_at: NotSet,
        updated_at: NotSet,
    });
    announce(s, caller.account(), id, version, EventType::Write, uri);
    Ok(Written { id, uri: uri.clone(), version, created: true })
}

/// Puts the state that is about to be replaced into the history (V10).
pub(super) fn keep(s: &mut Session, before: node::Model, change: node_version::Change) {
    s.add(node_version::ActiveModel {
        node_id: Set(before.id),
        version: Set(before.version),
        account_id: Set(before.account_id),
        uri: Set(before.uri),
        owner_space: Set(before.owner_space),
        category: Set(before.category),
        node_type: Set(before.node_type),
        status: Set(before.status),
        r#abstract: Set(before.r#abstract),
        overview: Set(before.overview),
        content: Set(before.content),
        metadata: Set(before.metadata),
        content_hash: Set(before.content_hash),
        change: Set(change),
        written_at: Set(before.updated_at),
        recorded_at: NotSet,
    });
}

/// Writes the outbox event of a change of one node (V4).
pub(super) fn announce(s: &mut Session, account: &str, id: Uuid, version: i64, event: EventType, uri: &Uri) {
    s.add(outbox_event::ActiveModel {
        account_id: Set(account.to_owned()),
        topic: Set(TOPIC.to_owned()),
        event_key: Set(id.to_string()),
        sequence: Set(version),
        event_type: Set(event.as_str().to_owned()),
        payload: Set(serde_json::json!({ "uri": uri.as_str(), "from": uri.as_str(), "version": version })),
        ..Default::default()
    });
}

/// Metadata without what is never stored (V4).
fn stored_metadata(metadata: &Map<String, Json>) -> Json {
    let kept = metadata.iter().filter(|(key, _)| !key.starts_with('_') && *key != "expected_version");
    Json::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn owner_space(uri: &Uri, sessions: &HashMap<Uri, String>) -> Result<String, StoreError> {
    let known = uri.owner().space().or_else(|| sessions.get(&uri.session_root()?).cloned());
    known.ok_or_else(|| StoreError::NotANode { uri: uri.clone(), what: "hold a text" })
}

/// The owner spaces of the sessions that these URIs lie in. A session that is not there yet is created, and belongs to
/// the caller from then on (V2).
///
/// A session has a row of its own, without text, whose unique URI decides between two spaces that create it at once; it
/// is also what tells the owner of every node below.
pub(super) async fn session_spaces(
    s: &mut Session,
    caller: &Caller,
    uris: &[&Uri],
) -> Result<HashMap<Uri, String>, StoreError> {
    let roots: HashSet<Uri> = uris.iter().filter_map(|uri| uri.session_root()).collect();
    if roots.is_empty() {
        return Ok(HashMap::new());
    }
    let mut spaces = known_sessions(s, caller, &roots).await?;
    for root in roots {
        if let Entry::Vacant(vacant) = spaces.entry(root) {
            let space = create_session(s, caller, vacant.key()).await?;
            vacant.insert(space);
        }
    }
    Ok(spaces)
}

/// The owner spaces of those sessions that exist.
///
/// # Errors
/// [`StoreError::Denied`] if one belongs to another space.
pub(super) async fn known_sessions(
    s: &mut Session,
    caller: &Caller,
    roots: &HashSet<Uri>,
) -> Result<HashMap<Uri, String>, StoreError> {
    let rows: Vec<(String, String)> = {
        use sea_orm::QuerySelect;
        node::Entity::find()
            .select_only()
            .columns([node::Column::Uri, node::Column::OwnerSpace])
            .filter(node::Column::AccountId.eq(caller.account()))
            .filter(node::Column::Uri.is_in(roots.iter().map(Uri::as_str)))
            .into_tuple()
            .all(s)
            .await?
    };
    let filter = caller.owner_filter();
    let mut spaces = HashMap::new();
    for (uri, space) in rows {
        let root = Uri::parse(&uri)?;
        if filter.as_ref().is_some_and(|filter| !filter.contains(&space)) {
            return Err(other_session(&root));
        }
        spaces.insert(root, space);
    }
    Ok(spaces)
}

async fn create_session(s: &mut Session, caller: &Caller, root: &Uri) -> Result<String, StoreError> {
    let Some(space) = caller.own_space() else { return Err(StoreError::denied(root, Denial::NoSpace)) };
    let created = s
        .atomic(async |s: &mut Session| -> Result<(), StoreError> {
            let floors = set::version_floors(s, caller.account(), &[root.as_str()]).await?;
            let version = set::next_version(root, floors.get(root.as_str()).copied().unwrap_or_default())?;
            create(s, caller, root, &space, &Write::new(), version)?;
            Ok(s.flush().await?)
        })
        .await;
    match created {
        Ok(()) => Ok(space),
        Err(StoreError::Session(e)) if e.is_unique_violation() => {
            // Somebody was first. Where row-level security hides the row, that somebody is another space.
            let roots = HashSet::from([root.clone()]);
            known_sessions(s, caller, &roots).await?.remove(root).ok_or_else(|| other_session(root))
        }
        Err(e) => Err(e),
    }
}

fn other_session(root: &Uri) -> StoreError {
    StoreError::denied(root, Denial::OtherSession { session: root.name().into_owned() })
}
