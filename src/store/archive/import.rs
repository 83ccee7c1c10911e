//! Making a store of an archive again: whole batches, each a unit of work, and none twice.
//!
//! What is there already with the same texts is left alone, so an import that was killed is simply run again. What is there
//! with other texts, or a history that is not the archive's, is never written over: it is refused, one by one, with the reason.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use context_entities::{edge, node, node_version, session_archive};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Set,
    prelude::{Json, Uuid},
};
use sea_session::prelude::*;
use sha2::{Digest, Sha256};

use super::{
    ExportReport, PAGE,
    format::{Contents, EdgeLine, Line, LogLine, NodeLine, Texts, VersionLine, at, lines, verify},
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    outbox::EventType,
    store::{
        ImportProgress, Refusal, Store, allow,
        read::visible,
        set,
        write::{announce, known_sessions},
    },
    uri::{Kind, Uri},
};

impl Store {
    /// Makes what an archive holds at and below `to`. The whole file is checked before anything is written; then whole batches
    /// are, and a run again goes on where one has stopped.
    ///
    /// Imported where it was exported from, nodes keep their identities; elsewhere they get others, the same at each run.
    /// A node starts above every version that its place ever had (V3), so where something was deleted before, it comes
    /// back with a higher version than the archive's.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a file that cannot be read, is no archive, or is damaged: nothing was written then;
    /// [`StoreError::Denied`] for a `to` of another account or space; what the database says. What the caller may not write, and
    /// what is there with another text, is in the report.
    ///
    /// # Cancel safety
    /// Dropped, whole batches are there; the next run goes on.
    pub async fn import_archive(
        &self,
        caller: &Caller,
        file: &Path,
        to: &Uri,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ExportReport, StoreError> {
        allow(caller, to, Access::Write)?;
        let checked = file.to_owned();
        let checking = tokio::task::spawn_blocking(move || verify(&checked));
        let contents = checking.await.map_err(|e| StoreError::InvalidArgument(e.to_string()))??;
        let import = Import { store: self, caller, to, contents };
        let mut done = ImportProgress { files: import.contents.lines, done: 0 };
        progress(done);
        let mut batch = Batch::default();
        let mut outcome = Outcome::default();
        for line in lines(file)? {
            let line = line?;
            if matches!(line, Line::Head { .. } | Line::End { .. }) {
                continue;
            }
            if !batch.takes(&line) {
                done.done += batch.lines.len() as u64;
                import.carry_out(std::mem::take(&mut batch), &mut outcome).await?;
                progress(done);
            }
            batch.lines.push(line);
        }
        import.carry_out(batch, &mut outcome).await?;
        progress(ImportProgress { done: done.files, ..done });
        Ok(outcome.report())
    }
}

/// What the batches did.
#[derive(Default)]
struct Outcome {
    report: ExportReport,
    refused: BTreeSet<(String, String)>,
}

impl Outcome {
    fn report(mut self) -> ExportReport {
        self.report.refused = self.refused.into_iter().map(|(path, reason)| Refusal { path, reason }).collect();
        self.report
    }

    fn refuse(&mut self, path: &str, reason: impl Into<String>) {
        self.refused.insert((path.to_owned(), reason.into()));
    }

    fn add(&mut self, other: Self) {
        let (all, new) = (&mut self.report, other.report);
        all.nodes += new.nodes;
        all.versions += new.versions;
        all.logs += new.logs;
        all.edges += new.edges;
        all.unchanged += new.unchanged;
        self.refused.extend(other.refused);
    }
}

/// Lines of one kind.
#[derive(Default)]
struct Batch {
    lines: Vec<Line>,
}

impl Batch {
    fn takes(&self, line: &Line) -> bool {
        let same = |first: &Line| std::mem::discriminant(first) == std::mem::discriminant(line);
        self.lines.len() < PAGE && self.lines.first().is_none_or(same)
    }
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    caller: &'a Caller,
    to: &'a Uri,
    contents: Contents,
}

impl Import<'_> {
    async fn carry_out(&self, batch: Batch, outcome: &mut Outcome) -> Result<(), StoreError> {
        let (mut nodes, mut versions, mut logs, mut edges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for line in batch.lines {
            match line {
                Line::Node(line) => nodes.push(*line),
                Line::Version(line) => versions.push(*line),
                Line::Log(line) => logs.push(*line),
                Line::Edge(line) => edges.push(*line),
                Line::Head { .. } | Line::End { .. } => {}
            }
        }
        let done = self
            .store
            .unit(self.caller)
            .run(async |s: &mut Session| -> Result<Outcome, StoreError> {
                let mut outcome = Outcome::default();
                self.nodes(s, &nodes, &mut outcome).await?;
                self.versions(s, &versions, &mut outcome).await?;
                self.logs(s, &logs, &mut outcome).await?;
                self.edges(s, &edges, &mut outcome).await?;
                Ok(outcome)
            })
            .await?;
        outcome.add(done);
        Ok(())
    }

    /// The identity of what had this one in the archive.
    fn id(&self, id: Uuid) -> Uuid {
        if *self.to == self.contents.from {
            return id;
        }
        let digest = Sha256::digest(format!("context-store import\n{id}\n{}", self.to));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Uuid::from_bytes(version_8(bytes))
    }

    /// Where a line goes, or why the caller may not put it there.
    fn place(&self, uri: Result<Uri, StoreError>) -> Result<Uri, String> {
        let uri = uri.map_err(|e| e.to_string())?;
        self.caller.check(&uri, Access::Write).map_err(|denial| denial.to_string())?;
        if uri.holds_nodes() || is_session(&uri) {
            return Ok(uri);
        }
        Err(format!("{uri} is a folder of the scheme"))
    }

    /// Whose a row is, and whether the caller may make one: it follows from the URI, but for a session, which somebody created.
    fn owner(&self, uri: &Uri, said: &str) -> Result<String, String> {
        let space = uri.owner().space().unwrap_or_else(|| said.to_owned());
        match self.caller.owner_filter() {
            Some(spaces) if !spaces.contains(&space) => Err(format!("it belongs to the space `{space}`")),
            _ => Ok(space),
        }
    }

    async fn nodes(&self, s: &mut Session, lines: &[NodeLine], outcome: &mut Outcome) -> Result<(), StoreError> {
        let mut places: Vec<(&NodeLine, Uri)> = Vec::with_capacity(lines.len());
        for line in lines {
            match self.place(at(self.to, &line.path)) {
                Ok(uri) => places.push((line, uri)),
                Err(reason) => outcome.refuse(&line.path, reason),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        self.sessions(s, &places).await?;
        let held = self.held(s, &places).await?;
        let floors = self.floors(s, &places).await?;
        for (line, uri) in places {
            match held.at.get(uri.as_str()) {
                Some(row) if same(row, line) => outcome.report.unchanged += 1,
                Some(_) => outcome.refuse(&line.path, format!("{uri} is there with another state")),
                None => match (held.elsewhere.get(&self.id(line.id)), self.owner(&uri, &line.owner_space)) {
                    (Some(place), _) => outcome.refuse(&line.path, format!("its node is at {place} now")),
                    (None, Err(reason)) => outcome.refuse(&line.path, reason),
                    (None, Ok(owner)) => {
                        let floor = floors.get(uri.as_str()).max(floors.get(&self.id(line.id).to_string()));
                        let version = line.version.max(floor.copied().unwrap_or_default() + 1);
                        self.add_node(s, line, &uri, owner, version);
                    }
                },
            }
            outcome.report.nodes += 1;
        }
        Ok(())
    }

    fn add_node(&self, s: &mut Session, line: &NodeLine, uri: &Uri, owner: String, version: i64) {
        let (id, account) = (self.id(line.id), self.caller.account());
        s.add(node::ActiveModel {
            id: Set(id),
            account_id: Set(account.to_owned()),
            uri: Set(uri.to_string()),
            parent_uri: Set(uri.parent().map(|parent| parent.to_string())),
            name: Set(uri.encoded_name().to_owned()),
            owner_space: Set(owner),
            category: Set(uri.category().map(str::to_owned)),
            node_type: Set(node_type(uri)),
            status: Set(line.status),
            r#abstract: Set(line.texts.r#abstract.clone()),
            overview: Set(line.texts.overview.clone()),
            content: Set(line.texts.content.clone()),
            metadata: Set(line.texts.metadata.clone()),
            version: Set(version),
            content_hash: Set(line.texts.sha256.clone()),
            created_at: Set(line.created_at),
            updated_at: Set(line.updated_at),
        });
        announce(s, account, id, version, EventType::Write, uri);
    }

    /// The rows of sessions that an archive of a part of one does not have: they tell whose the session is.
    async fn sessions(&self, s: &mut Session, places: &[(&NodeLine, Uri)]) -> Result<(), StoreError> {
        let mut roots: HashMap<Uri, &NodeLine> = HashMap::new();
        for (line, uri) in places {
            if let Some(root) = uri.session_root() {
                roots.entry(root).or_insert(line);
            }
        }
        // The archive's own row of a session comes before what lies in it.
        for (_, uri) in places {
            roots.remove(uri);
        }
        let known: HashSet<Uri> = roots.keys().cloned().collect();
        let present = known_sessions(s, self.caller, &known).await?;
        for (root, line) in roots {
            if present.contains_key(&root) {
                continue;
            }
            // Where the owner is refused, so is what lies in the session, each with its reason.
            if let Ok(owner) = self.owner(&root, &line.owner_space) {
                let floors = set::version_floors(s, self.caller.account(), &[root.as_str()]).await?;
                let version = floors.get(root.as_str()).copied().unwrap_or_default() + 1;
                let empty = NodeLine {
                    id: derived(&root),
                    status: node::Status::Active,
                    texts: Texts::emptied(),
                    ..line.clone()
                };
                self.add_node(s, &empty, &root, owner, version);
            }
        }
        Ok(())
    }

    async fn held(&self, s: &mut Session, places: &[(&NodeLine, Uri)]) -> Result<Held, StoreError> {
        let rows = node::Entity::find()
            .filter(node::Column::AccountId.eq(self.caller.account()))
            .filter(node::Column::Uri.is_in(places.iter().map(|(_, uri)| uri.as_str())))
            .all(s)
            .await?;
        let ids: Vec<(Uuid, String)> = node::Entity::find()
            .select_only()
            .columns([node::Column::Id, node::Column::Uri])
            .filter(node::Column::AccountId.eq(self.caller.account()))
            .filter(node::Column::Id.is_in(places.iter().map(|(line, _)| self.id(line.id))))
            .into_tuple()
            .all(s)
            .await?;
        let at = rows.into_iter().map(|row| (row.uri.clone(), row)).collect();
        Ok(Held { at, elsewhere: ids.into_iter().collect() })
    }

    /// The highest version that each place, and each node, ever had.
    async fn floors(&self, s: &mut Session, places: &[(&NodeLine, Uri)]) -> Result<HashMap<String, i64>, StoreError> {
        let uris: Vec<&str> = places.iter().map(|(_, uri)| uri.as_str()).collect();
        let mut floors = set::version_floors(s, self.caller.account(), &uris).await?;
        let of_nodes: Vec<(Uuid, i64)> = node_version::Entity::find()
            .select_only()
            .column(node_version::Column::NodeId)
            .column_as(node_version::Column::Version.max(), "version")
            .filter(node_version::Column::NodeId.is_in(places.iter().map(|(line, _)| self.id(line.id))))
            .group_by(node_version::Column::NodeId)
            .into_tuple()
            .all(s)
            .await?;
        floors.extend(of_nodes.into_iter().map(|(id, version)| (id.to_string(), version)));
        Ok(floors)
    }

    async fn versions(&self, s: &mut Session, lines: &[VersionLine], outcome: &mut Outcome) -> Result<(), StoreError> {
        let mut places: Vec<(&VersionLine, Uri)> = Vec::with_capacity(lines.len());
        for line in lines {
            match self.place(line.place.at(self.to)) {
                Ok(uri) => places.push((line, uri)),
                Err(reason) => outcome.refuse(&format!("a version of {}", line.node), reason),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let present: HashSet<(Uuid, i64)> = node_version::Entity::find()
            .select_only()
            .columns([node_version::Column::NodeId, node_version::Column::Version])
            .filter(node_version::Column::NodeId.is_in(places.iter().map(|(line, _)| self.id(line.node))))
            .into_tuple()
            .all(s)
            .await?
            .into_iter()
            .collect();
        let foreign = self.foreign(s, &places).await?;
        for (line, uri) in places {
            let id = self.id(line.node);
            if present.contains(&(id, line.version)) {
                outcome.report.unchanged += 1;
            } else if foreign.contains(uri.as_str()) {
                outcome.refuse(uri.as_str(), "the place has a history of its own: the archive's was not added to it");
                continue;
            } else {
                match self.owner(&uri, &line.owner_space) {
                    Ok(owner) => self.add_version(s, line, &uri, owner),
                    Err(reason) => {
                        outcome.refuse(uri.as_str(), reason);
                        continue;
                    }
                }
            }
            outcome.report.versions += 1;
        }
        Ok(())
    }

    fn add_version(&self, s: &mut Session, line: &VersionLine, uri: &Uri, owner: String) {
        s.add(node_version::ActiveModel {
            node_id: Set(self.id(line.node)),
            version: Set(line.version),
            account_id: Set(self.caller.account().to_owned()),
            uri: Set(uri.to_string()),
            owner_space: Set(owner),
            category: Set(uri.category().map(str::to_owned)),
            node_type: Set(node_type(uri)),
            status: Set(line.status),
            r#abstract: Set(line.texts.r#abstract.clone()),
            overview: Set(line.texts.overview.clone()),
            content: Set(line.texts.content.clone()),
            metadata: Set(line.texts.metadata.clone()),
            content_hash: Set(line.texts.sha256.clone()),
            change: Set(line.change),
            written_at: Set(line.written_at),
            recorded_at: Set(line.recorded_at),
        });
    }

    /// Those of the places that other nodes than the archive's have, or had.
    async fn foreign(&self, s: &mut Session, places: &[(&VersionLine, Uri)]) -> Result<HashSet<String>, StoreError> {
        let uris = || places.iter().map(|(_, uri)| uri.as_str());
        let past: Vec<(String, Uuid)> = node_version::Entity::find()
            .select_only()
            .columns([node_version::Column::Uri, node_version::Column::NodeId])
            .distinct()
            .filter(node_version::Column::AccountId.eq(self.caller.account()))
            .filter(node_version::Column::Uri.is_in(uris()))
            .into_tuple()
            .all(s)
            .await?;
        let present: Vec<(String, Uuid)> = node::Entity::find()
            .select_only()
            .columns([node::Column::Uri, node::Column::Id])
            .filter(node::Column::AccountId.eq(self.caller.account()))
            .filter(node::Column::Uri.is_in(uris()))
            .into_tuple()
            .all(s)
            .await?;
        let ours: HashSet<Uuid> = self.contents.ids.iter().map(|id| self.id(*id)).collect();
        let others = past.into_iter().chain(present).filter(|(_, id)| !ours.contains(id));
        Ok(others.map(|(uri, _)| uri).collect())
    }

    async fn logs(&self, s: &mut Session, lines: &[LogLine], outcome: &mut Outcome) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let nodes = self.present(s, lines.iter().map(|line| line.path.as_str())).await?;
        for line in lines {
            let uri = at(self.to, &line.path)?;
            let (Some(node), Some(root)) = (nodes.get(uri.as_str()), uri.session_root()) else {
                outcome.refuse(&line.path, "its node is not there, so its messages were not taken");
                continue;
            };
            use session_archive::Column;
            let held: Vec<(String, i64, String)> = session_archive::Entity::find()
                .select_only()
                .columns([Column::Name, Column::Sequence, Column::ContentHash])
                .filter(Column::AccountId.eq(self.caller.account()))
                .filter(Column::SessionId.eq(root.encoded_name()))
                .into_tuple()
                .all(s)
                .await?;
            outcome.report.logs += 1;
            match held.iter().find(|(name, ..)| name == uri.encoded_name()) {
                Some((.., hash)) if *hash == line.sha256 => outcome.report.unchanged += 1,
                Some(_) => outcome.refuse(&line.path, format!("{uri} holds another log")),
                None => {
                    let last = held.iter().map(|(_, sequence, _)| *sequence).max().unwrap_or_default();
                    let taken = held.iter().any(|(_, sequence, _)| *sequence == line.sequence);
                    self.add_log(s, line, &uri, &root, node, if taken { last + 1 } else { line.sequence });
                    // The next one asks the database for what is taken.
                    s.flush().await?;
                }
            }
        }
        Ok(())
    }

    fn add_log(
        &self,
        s: &mut Session,
        line: &LogLine,
        uri: &Uri,
        root: &Uri,
        (node, owner): &(Uuid, String),
        sequence: i64,
    ) {
        let state = if line.open { session_archive::State::Open } else { session_archive::State::Closed };
        s.add(session_archive::ActiveModel {
            id: Set(self.id(line.id)),
            account_id: Set(self.caller.account().to_owned()),
            session_id: Set(root.encoded_name().to_owned()),
            sequence: Set(sequence),
            name: Set(uri.encoded_name().to_owned()),
            owner_space: Set(owner.clone()),
            node_id: Set(Some(*node)),
            state: Set(state),
            messages: Set(Json::Array(line.messages.clone())),
            message_count: Set(i64::try_from(line.messages.len()).unwrap_or(i64::MAX)),
            content_hash: Set(line.sha256.clone()),
            version: Set(line.version),
            started_at: Set(line.started_at),
            ended_at: Set(line.ended_at),
            created_at: Set(line.created_at),
            updated_at: Set(line.updated_at),
        });
    }

    async fn edges(&self, s: &mut Session, lines: &[EdgeLine], outcome: &mut Outcome) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let nodes = self.present(s, lines.iter().flat_map(|line| [line.from.as_str(), line.to.as_str()])).await?;
        let from_ids = lines.iter().filter_map(|line| Some(nodes.get(at(self.to, &line.from).ok()?.as_str())?.0));
        let held: HashSet<(Uuid, Uuid, String)> = edge::Entity::find()
            .select_only()
            .columns([edge::Column::FromId, edge::Column::ToId, edge::Column::EdgeType])
            .filter(edge::Column::FromId.is_in(from_ids))
            .into_tuple()
            .all(s)
            .await?
            .into_iter()
            .collect();
        for line in lines {
            let weight = line.weight.parse();
            let weight = weight.map_err(|_| StoreError::InvalidArgument(format!("{:?} is no weight", line.weight)))?;
            let (from, to) = (at(self.to, &line.from)?, at(self.to, &line.to)?);
            let ends = nodes.get(from.as_str()).zip(nodes.get(to.as_str()));
            let denied = self.caller.check(&from, Access::Write).err();
            let (Some(((from_id, _), (to_id, _))), None) = (ends, denied) else {
                outcome.refuse(&line.from, format!("an end of its edge to {to} is not there, or not the caller's"));
                continue;
            };
            outcome.report.edges += 1;
            if held.contains(&(*from_id, *to_id, line.edge_type.clone())) {
                outcome.report.unchanged += 1;
                continue;
            }
            s.add(edge::ActiveModel {
                id: Set(self.id(line.id)),
                account_id: Set(self.caller.account().to_owned()),
                from_id: Set(*from_id),
                to_id: Set(*to_id),
                edge_type: Set(line.edge_type.clone()),
                weight: Set(weight),
                reason: Set(line.reason.clone()),
                metadata: Set(line.metadata.clone()),
                created_at: Set(line.created_at),
                updated_at: Set(line.updated_at),
            });
        }
        Ok(())
    }

    /// The nodes at these paths that are there and the caller may see: identity and owner, by URI.
    async fn present<'p>(
        &self,
        s: &mut Session,
        paths: impl Iterator<Item = &'p str>,
    ) -> Result<HashMap<String, (Uuid, String)>, StoreError> {
        let uris: HashSet<String> =
            paths.map(|path| at(self.to, path).map(|uri| uri.to_string())).collect::<Result<_, _>>()?;
        let rows: Vec<(String, Uuid, String)> = visible(self.caller)
            .select_only()
            .columns([node::Column::Uri, node::Column::Id, node::Column::OwnerSpace])
            .filter(node::Column::Uri.is_in(uris))
            .into_tuple()
            .all(s)
            .await?;
        Ok(rows.into_iter().map(|(uri, id, owner)| (uri, (id, owner))).collect())
    }
}

/// What is there already.
struct Held {
    at: HashMap<String, node::Model>,
    elsewhere: HashMap<Uuid, String>,
}

/// Whether a node is what the archive has of it; its version may be higher, where its place had one before.
fn same(row: &node::Model, line: &NodeLine) -> bool {
    row.status == line.status
        && row.r#abstract == line.texts.r#abstract
        && row.overview == line.texts.overview
        && row.content == line.texts.content
        && row.metadata == line.texts.metadata
}

fn is_session(uri: &Uri) -> bool {
    uri.kind() == Kind::Space && uri.session_root().as_ref() == Some(uri)
}

fn node_type(uri: &Uri) -> String {
    uri.node_type().map_or("session", crate::uri::NodeType::as_str).to_owned()
}

/// An identity for a session's own row that the archive does not have.
fn derived(root: &Uri) -> Uuid {
    let digest = Sha256::digest(format!("context-store session\n{root}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(version_8(bytes))
}

/// Marks bytes as a UUID of a kind of one's own (RFC 9562, version 8).
fn version_8(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}
