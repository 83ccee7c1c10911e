//! Making a store of an archive again: whole batches, each a unit of work, and none twice.
//!
//! What is there already with the same texts is left alone, so an import that was killed is simply run again. What is
//! there with other texts, or a history that is not the archive's, is never written over: it is refused, one by one,
//! with the reason.
//!
//! An archive is data, and may say anything (W1). Each line is checked by itself ([`super::check`]); each identity is
//! the caller's or nobody's ([`super::identity`]); and what would lay a version under a node asks in the same statement
//! whose the node is.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use context_entities::{edge, node, node_version, session_archive};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Set, Value,
    prelude::{Json, Uuid},
};
use sea_session::prelude::*;

use super::{
    ExportReport, PAGE, check,
    format::{Contents, EdgeLine, Line, LogLine, NodeLine, Numbered, Texts, VersionLine, at, lines, verify},
    identity::{Identities, Identity, Of, is_alone},
};
use crate::{
    access::{Access, Caller, Denial, Role},
    error::StoreError,
    node::status_word,
    outbox::EventType,
    printable::printable_line,
    sql::{Sql, text},
    store::{ImportProgress, Refusal, Store, allow, read::visible, set, sight, write::announce},
    uri::{Kind, Uri},
};

impl Store {
    /// Makes what an archive holds at and below `to`. The sums of the whole file are checked before anything is
    /// written; then whole batches are, and a run again goes on where one has stopped. What a line says is checked line
    /// by line: one that is wrong, or that the caller may not have carried out, is refused with its number and the
    /// reason, and the others are taken.
    ///
    /// Imported where it was exported from, nodes keep their identities: those that are the caller's already, and for
    /// ROOT, in a database that has no other account, those that nobody has. All others get identities of their own,
    /// the same at each run ([`Store::restore_archive`] keeps them). A node starts above every version that its place
    /// ever had (V3), so where something was deleted before, it comes back with a higher version than the archive's.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a file that cannot be read, is no archive, or is damaged: nothing was written then;
    /// [`StoreError::Denied`] for a `to` of another account or space; what the database says. What the caller may not
    /// write, and what is there with another text, is in the report.
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
        self.import_from(caller, file, to, false, progress).await
    }

    /// As [`Store::import_archive`], for the operator of a database with several accounts who brings one of them back
    /// from a backup of theirs: identities that nobody has are the archive's again. Who may call this can find out
    /// whether an identity is taken by another account, so it is not for archives that somebody hands in.
    ///
    /// # Errors
    /// As [`Store::import_archive`]; [`StoreError::InvalidArgument`] for a caller without the role ROOT.
    ///
    /// # Cancel safety
    /// As [`Store::import_archive`].
    pub async fn restore_archive(
        &self,
        caller: &Caller,
        file: &Path,
        to: &Uri,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ExportReport, StoreError> {
        if caller.role() != Role::Root {
            return Err(StoreError::InvalidArgument("an account is brought back with the role ROOT".into()));
        }
        self.import_from(caller, file, to, true, progress).await
    }

    async fn import_from(
        &self,
        caller: &Caller,
        file: &Path,
        to: &Uri,
        trusted: bool,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ExportReport, StoreError> {
        allow(caller, to, Access::Write)?;
        let checked = file.to_owned();
        let checking = tokio::task::spawn_blocking(move || verify(&checked));
        let contents = checking.await.map_err(|e| StoreError::InvalidArgument(e.to_string()))??;
        let alone = self.unit(caller).run(async |s: &mut Session| is_alone(s, caller).await).await?;
        let identities = Identities { caller, to, in_place: *to == contents.from, free_too: trusted || alone };
        let ours = contents.ids.iter().flat_map(|id| identities.candidates(*id)).collect();
        let import = Import { store: self, caller, to, contents, identities, ours };
        let mut done = ImportProgress { files: import.contents.lines, done: 0 };
        progress(done);
        let mut batch = Batch::default();
        let mut outcome = Outcome::default();
        for numbered in lines(file)? {
            let Numbered { number, bytes, line } = numbered?;
            let line = match line {
                Ok(line) => line,
                Err(reason) => {
                    done.done += 1;
                    outcome.refuse(number, &format!("line {number}"), reason);
                    continue;
                }
            };
            if !batch.takes(&line, bytes) {
                done.done += batch.lines.len() as u64;
                import.carry_out(std::mem::take(&mut batch), &mut outcome).await?;
                progress(done);
            }
            batch.bytes += bytes;
            batch.lines.push((number, line));
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
    refused: BTreeSet<(u64, String, String)>,
}

impl Outcome {
    fn report(mut self) -> ExportReport {
        let refused = self.refused.into_iter();
        self.report.refused =
            refused.map(|(line, path, reason)| Refusal { path, reason: format!("line {line}: {reason}") }).collect();
        self.report
    }

    fn refuse(&mut self, line: u64, path: &str, reason: impl AsRef<str>) {
        let shown = |text: &str| printable_line(text).into_owned();
        self.refused.insert((line, shown(path), shown(reason.as_ref())));
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

/// The bytes of the lines of one unit of work, but for the last.
const BATCH_BYTES: usize = 8 << 20;

/// Lines of one kind.
#[derive(Default)]
struct Batch {
    lines: Vec<(u64, Line)>,
    bytes: usize,
}

impl Batch {
    fn takes(&self, line: &Line, bytes: usize) -> bool {
        let Some((_, first)) = self.lines.first() else { return true };
        self.lines.len() < PAGE
            && self.bytes + bytes <= BATCH_BYTES
            && std::mem::discriminant(first) == std::mem::discriminant(line)
    }
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    caller: &'a Caller,
    to: &'a Uri,
    contents: Contents,
    identities: Identities<'a>,
    /// What the archive's nodes may be here.
    ours: HashSet<Uuid>,
}

/// A line of the archive by its number.
type At<T> = (u64, T);

impl Import<'_> {
    async fn carry_out(&self, batch: Batch, outcome: &mut Outcome) -> Result<(), StoreError> {
        let (mut nodes, mut versions, mut logs, mut edges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, line) in batch.lines {
            match line {
                Line::Node(line) => nodes.push((number, *line)),
                Line::Version(line) => versions.push((number, *line)),
                Line::Log(line) => logs.push((number, *line)),
                Line::Edge(line) => edges.push((number, *line)),
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
                self.store.ring(s);
                Ok(outcome)
            })
            .await?;
        outcome.add(done);
        Ok(())
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

    /// Whose a row is, and whether the caller may make one: it follows from the URI, but for a session, which somebody
    /// created.
    fn owner(&self, uri: &Uri, said: &str) -> Result<String, String> {
        let space = uri.owner().space().unwrap_or_else(|| said.to_owned());
        match self.caller.owner_filter() {
            Some(spaces) if !spaces.contains(&space) => Err(format!("it belongs to the space `{space}`")),
            _ => Ok(space),
        }
    }

    async fn nodes(&self, s: &mut Session, lines: &[At<NodeLine>], outcome: &mut Outcome) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &NodeLine, Uri)> = Vec::with_capacity(lines.len());
        let (mut ids, mut uris) = (HashSet::new(), HashSet::new());
        for (number, line) in lines {
            let placed = self.place(at(self.to, &line.path)).and_then(|uri| check::node(line, &uri).map(|()| uri));
            match placed {
                Ok(uri) if !uris.insert(uri.clone()) => {
                    outcome.refuse(*number, &line.path, "an earlier line is of the same place; a place has one node");
                }
                Ok(_) if !ids.insert(line.id) => {
                    outcome.refuse(
                        *number,
                        &line.path,
                        "an earlier line has the same identity; a node is at one place",
                    );
                }
                Ok(uri) => places.push((*number, line, uri)),
                Err(reason) => outcome.refuse(*number, &line.path, reason),
            }
        }
        self.drop_sessions_of_others(s, &mut places, |line| &line.path, outcome).await?;
        if places.is_empty() {
            return Ok(());
        }
        self.sessions(s, &places).await?;
        let ids = plain(self.identities.resolve(s, Of::Node, places.iter().map(|(_, line, _)| line.id)).await?);
        let held = self.held(s, &places, &ids).await?;
        let floors = self.floors(s, &places, &ids).await?;
        for (number, line, uri) in places {
            match held.at.get(uri.as_str()) {
                Some(row) if same(row, line) => {
                    outcome.report.nodes += 1;
                    outcome.report.unchanged += 1;
                }
                Some(_) => outcome.refuse(number, &line.path, format!("{uri} is there with another state")),
                None => {
                    let Some(id) = ids.get(&line.id) else {
                        outcome.refuse(number, &line.path, "no identity could be made for it; try again");
                        continue;
                    };
                    match (held.elsewhere.get(id), self.owner(&uri, &line.owner_space)) {
                        (Some(place), _) => outcome.refuse(number, &line.path, format!("its node is at {place} now")),
                        (None, Err(reason)) => outcome.refuse(number, &line.path, reason),
                        (None, Ok(owner)) => {
                            let floor = floors.get(uri.as_str()).max(floors.get(&id.to_string()));
                            let version = line.version.max(floor.copied().unwrap_or_default().saturating_add(1));
                            self.add_node(s, line, *id, &uri, owner, version);
                            outcome.report.nodes += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn add_node(&self, s: &mut Session, line: &NodeLine, id: Uuid, uri: &Uri, owner: String, version: i64) {
        let account = self.caller.account();
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
            created_at: Set(check::stored(line.created_at)),
            updated_at: Set(check::stored(line.updated_at)),
        });
        announce(s, account, id, version, EventType::Write, uri);
    }

    /// Refuses the lines that lie in sessions of other spaces. A session is there for everybody who names it, and its
    /// owner decides; under row-level security the caller would not even see that there is one.
    async fn drop_sessions_of_others<T>(
        &self,
        s: &mut Session,
        places: &mut Vec<(u64, &T, Uri)>,
        path: impl Fn(&T) -> &str,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let Some(spaces) = self.caller.owner_filter() else { return Ok(()) };
        let roots: HashSet<Uri> = places.iter().filter_map(|(.., uri)| uri.session_root()).collect();
        if roots.is_empty() {
            return Ok(());
        }
        #[derive(FromQueryResult)]
        struct Root {
            uri: String,
            owner_space: String,
        }
        let mut sql = Sql::new(super::super::backend(s));
        sql.push("SELECT uri, owner_space FROM nodes WHERE account_id = ").bind(self.caller.account()).push(" AND ");
        sql.is_in("uri", roots.iter().map(Uri::as_str));
        let others: HashSet<String> = sight::rows::<Root>(s, self.caller, sql)
            .await?
            .into_iter()
            .filter(|root| !spaces.contains(&root.owner_space))
            .map(|root| root.uri)
            .collect();
        places.retain(|(number, line, uri)| match uri.session_root().filter(|root| others.contains(root.as_str())) {
            Some(root) => {
                let reason = Denial::OtherSession { session: root.name().into_owned() };
                outcome.refuse(*number, path(line), reason.to_string());
                false
            }
            None => true,
        });
        Ok(())
    }

    /// The rows of sessions that an archive of a part of one does not have: they tell whose the session is.
    async fn sessions(&self, s: &mut Session, places: &[(u64, &NodeLine, Uri)]) -> Result<(), StoreError> {
        let mut roots: HashMap<Uri, &NodeLine> = HashMap::new();
        for (_, line, uri) in places {
            if let Some(root) = uri.session_root() {
                roots.entry(root).or_insert(line);
            }
        }
        // The archive's own row of a session comes before what lies in it.
        for (.., uri) in places {
            roots.remove(uri);
        }
        let rows: Vec<String> = visible(self.caller)
            .select_only()
            .column(node::Column::Uri)
            .filter(node::Column::Uri.is_in(roots.keys().map(Uri::as_str)))
            .into_tuple()
            .all(s)
            .await?;
        let present: HashSet<String> = rows.into_iter().collect();
        for (root, line) in roots {
            if present.contains(root.as_str()) {
                continue;
            }
            // Where the owner is refused, so is what lies in the session, each with its reason.
            if let Ok(owner) = self.owner(&root, &line.owner_space) {
                let floors = set::version_floors(s, self.caller.account(), &[root.as_str()]).await?;
                let version = floors.get(root.as_str()).copied().unwrap_or_default().saturating_add(1);
                let empty = NodeLine { status: node::Status::Active, texts: Texts::emptied(), ..line.clone() };
                self.add_node(s, &empty, Uuid::now_v7(), &root, owner, version);
            }
        }
        Ok(())
    }

    async fn held(
        &self,
        s: &mut Session,
        places: &[(u64, &NodeLine, Uri)],
        ids: &HashMap<Uuid, Uuid>,
    ) -> Result<Held, StoreError> {
        let rows = visible(self.caller)
            .filter(node::Column::Uri.is_in(places.iter().map(|(.., uri)| uri.as_str())))
            .all(s)
            .await?;
        let elsewhere: Vec<(Uuid, String)> = visible(self.caller)
            .select_only()
            .columns([node::Column::Id, node::Column::Uri])
            .filter(node::Column::Id.is_in(ids.values().copied()))
            .into_tuple()
            .all(s)
            .await?;
        let at = rows.into_iter().map(|row| (row.uri.clone(), row)).collect();
        Ok(Held { at, elsewhere: elsewhere.into_iter().collect() })
    }

    /// The highest version that each place, and each node, ever had.
    async fn floors(
        &self,
        s: &mut Session,
        places: &[(u64, &NodeLine, Uri)],
        ids: &HashMap<Uuid, Uuid>,
    ) -> Result<HashMap<String, i64>, StoreError> {
        let uris: Vec<&str> = places.iter().map(|(.., uri)| uri.as_str()).collect();
        let mut floors = set::version_floors(s, self.caller.account(), &uris).await?;
        let of_nodes: Vec<(Uuid, i64)> = node_version::Entity::find()
            .select_only()
            .column(node_version::Column::NodeId)
            .column_as(node_version::Column::Version.max(), "version")
            .filter(node_version::Column::AccountId.eq(self.caller.account()))
            .filter(node_version::Column::NodeId.is_in(ids.values().copied()))
            .group_by(node_version::Column::NodeId)
            .into_tuple()
            .all(s)
            .await?;
        floors.extend(of_nodes.into_iter().map(|(id, version)| (id.to_string(), version)));
        Ok(floors)
    }

    async fn versions(
        &self,
        s: &mut Session,
        lines: &[At<VersionLine>],
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &VersionLine, Uri)> = Vec::with_capacity(lines.len());
        let mut seen = HashSet::new();
        for (number, line) in lines {
            let placed = self.place(line.place.at(self.to)).and_then(|uri| check::version(line).map(|()| uri));
            match placed {
                Ok(_) if !seen.insert((line.node, line.version)) => {
                    outcome.refuse(
                        *number,
                        line.place.said(),
                        "an earlier line is of the same version of the same node",
                    );
                }
                Ok(uri) => places.push((*number, line, uri)),
                Err(reason) => outcome.refuse(*number, line.place.said(), reason),
            }
        }
        self.drop_sessions_of_others(s, &mut places, |line| line.place.said(), outcome).await?;
        if places.is_empty() {
            return Ok(());
        }
        let found = self.identities.resolve(s, Of::Node, places.iter().map(|(_, line, _)| line.node)).await?;
        // At the place that the archive is of, a history is that of a node which is there: in the archive as well, or
        // before.
        let strict = self.identities.in_place && !self.identities.free_too;
        places.retain(|(number, line, uri)| {
            let refused = strict && found.get(&line.node).is_some_and(|identity| !identity.is_own);
            if refused {
                let reason =
                    "its node was neither made by this import, nor is it in a space that is the caller's to change";
                outcome.refuse(*number, uri.as_str(), reason);
            }
            !refused
        });
        if places.is_empty() {
            return Ok(());
        }
        let ids = plain(found);
        let present = self.present_versions(s, &places, &ids).await?;
        let foreign = self.foreign(s, &places).await?;
        let mut new = Vec::new();
        for (number, line, uri) in places {
            let Some(id) = ids.get(&line.node) else {
                outcome.refuse(number, uri.as_str(), "no identity could be made for its node; try again");
                continue;
            };
            match (present.get(&(*id, line.version)), self.owner(&uri, &line.owner_space)) {
                (Some(row), _) if same_version(row, line, &uri) => {
                    outcome.report.versions += 1;
                    outcome.report.unchanged += 1;
                }
                (Some(_), _) => {
                    let reason = format!("version {} of its node is there with another state", line.version);
                    outcome.refuse(number, uri.as_str(), reason);
                }
                _ if foreign.contains(uri.as_str()) => {
                    let reason = "the place has a history of its own: the archive's was not added to it";
                    outcome.refuse(number, uri.as_str(), reason);
                }
                (None, Err(reason)) => outcome.refuse(number, uri.as_str(), reason),
                (None, Ok(owner)) => new.push((number, line, uri, *id, owner)),
            }
        }
        let added = self.add_versions(s, &new).await?;
        for (number, line, uri, id, _) in new {
            if added.contains(&(id, line.version)) {
                outcome.report.versions += 1;
            } else {
                let reason = format!(
                    "version {} is no earlier one of its node; a node's history has versions below its own",
                    line.version
                );
                outcome.refuse(number, uri.as_str(), reason);
            }
        }
        Ok(())
    }

    /// Adds versions to the history of nodes that are the caller's and have a higher one, or that are nobody's: the
    /// statement itself looks whose they are. Those that were added.
    async fn add_versions(
        &self,
        s: &mut Session,
        new: &[(u64, &VersionLine, Uri, Uuid, String)],
    ) -> Result<HashSet<(Uuid, i64)>, StoreError> {
        if new.is_empty() {
            return Ok(HashSet::new());
        }
        let (account, spaces) = (self.caller.account(), self.caller.own_spaces());
        let mut sql = Sql::new(super::super::backend(s));
        sql.push(
            "INSERT INTO node_versions (node_id, version, account_id, uri, owner_space, category, node_type, status, ",
        );
        sql.push("abstract, overview, content, metadata, content_hash, change, written_at, recorded_at) SELECT ");
        let columns: Vec<String> = (1..=16).map(|n| format!("v.column{n}")).collect();
        sql.push(&columns.join(", ")).push(" FROM (VALUES ");
        for (n, (_, line, uri, id, owner)) in new.iter().enumerate() {
            let Texts { r#abstract, overview, content, metadata, sha256 } = &line.texts;
            let values: [Value; 16] = [
                (*id).into(),
                line.version.into(),
                text(account),
                text(uri.as_str()),
                text(owner),
                Value::String(uri.category().map(str::to_owned)),
                text(node_type(uri)),
                text(status_word(line.status)),
                text(r#abstract),
                text(overview),
                text(content),
                metadata.clone().into(),
                text(sha256),
                text(set::change_word(line.change)),
                check::stored(line.written_at).into(),
                check::stored(line.recorded_at).into(),
            ];
            let marks = if n == 0 { "(" } else { ", (" };
            sql.push(marks).with("?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?", values).push(")");
        }
        sql.push(") AS v WHERE EXISTS (SELECT 1 FROM nodes n WHERE n.id = v.column1 AND n.version > v.column2 AND n.account_id = ");
        sql.bind(account).and_owned("n.owner_space", spaces.as_deref());
        sql.push(") OR NOT (EXISTS (SELECT 1 FROM nodes n WHERE n.id = v.column1)");
        sql.push(" OR EXISTS (SELECT 1 FROM node_versions h WHERE h.node_id = v.column1 AND NOT (h.account_id = ");
        sql.bind(account).and_owned("h.owner_space", spaces.as_deref());
        sql.push("))) ON CONFLICT DO NOTHING RETURNING node_id, version");
        #[derive(FromQueryResult)]
        struct Added {
            node_id: Uuid,
            version: i64,
        }
        let added = sight::rows::<Added>(s, self.caller, sql).await?;
        Ok(added.into_iter().map(|row| (row.node_id, row.version)).collect())
    }

    /// Those of the versions that are there, in the caller's own spaces.
    async fn present_versions(
        &self,
        s: &mut Session,
        places: &[(u64, &VersionLine, Uri)],
        ids: &HashMap<Uuid, Uuid>,
    ) -> Result<HashMap<(Uuid, i64), node_version::Model>, StoreError> {
        let mut sql = Sql::new(super::super::backend(s));
        sql.push("SELECT h.* FROM node_versions h JOIN (VALUES ");
        for (n, (_, line, _)) in places.iter().enumerate() {
            let id = ids.get(&line.node).copied().unwrap_or_default();
            sql.push(if n == 0 { "(" } else { ", (" }).with("?, ?", [id.into(), line.version.into()]).push(")");
        }
        sql.push(") AS v ON h.node_id = v.column1 AND h.version = v.column2 WHERE h.account_id = ");
        sql.bind(self.caller.account()).and_owned("h.owner_space", self.caller.owner_filter().as_deref());
        let rows = node_version::Model::find_by_statement(sql.finish()).all(s).await?;
        Ok(rows.into_iter().map(|row| ((row.node_id, row.version), row)).collect())
    }

    /// Those of the places that other nodes than the archive's have, or had.
    async fn foreign(
        &self,
        s: &mut Session,
        places: &[(u64, &VersionLine, Uri)],
    ) -> Result<HashSet<String>, StoreError> {
        let uris = || places.iter().map(|(.., uri)| uri.as_str());
        let mut past = node_version::Entity::find()
            .select_only()
            .columns([node_version::Column::Uri, node_version::Column::NodeId])
            .distinct()
            .filter(node_version::Column::AccountId.eq(self.caller.account()))
            .filter(node_version::Column::Uri.is_in(uris()));
        if let Some(spaces) = self.caller.owner_filter() {
            past = past.filter(node_version::Column::OwnerSpace.is_in(spaces));
        }
        let past: Vec<(String, Uuid)> = past.into_tuple().all(s).await?;
        let present: Vec<(String, Uuid)> = visible(self.caller)
            .select_only()
            .columns([node::Column::Uri, node::Column::Id])
            .filter(node::Column::Uri.is_in(uris()))
            .into_tuple()
            .all(s)
            .await?;
        let others = past.into_iter().chain(present).filter(|(_, id)| !self.ours.contains(id));
        Ok(others.map(|(uri, _)| uri).collect())
    }

    async fn logs(&self, s: &mut Session, lines: &[At<LogLine>], outcome: &mut Outcome) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &LogLine, Uri)> = Vec::with_capacity(lines.len());
        let (mut ids, mut uris) = (HashSet::new(), HashSet::new());
        for (number, line) in lines {
            let placed = self.place(at(self.to, &line.path)).and_then(|uri| check::log(line, &uri).map(|()| uri));
            match placed {
                Ok(uri) if !uris.insert(uri.clone()) || !ids.insert(line.id) => {
                    outcome.refuse(*number, &line.path, "an earlier line is of the same log");
                }
                Ok(uri) => places.push((*number, line, uri)),
                Err(reason) => outcome.refuse(*number, &line.path, reason),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let nodes = self.present(s, places.iter().map(|(.., uri)| uri.as_str())).await?;
        let ids = plain(self.identities.resolve(s, Of::Log, places.iter().map(|(_, line, _)| line.id)).await?);
        for (number, line, uri) in places {
            let (Some(node), Some(root)) = (nodes.get(uri.as_str()), uri.session_root()) else {
                outcome.refuse(number, &line.path, "its node is not there, so its messages were not taken");
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
            match held.iter().find(|(name, ..)| name == uri.encoded_name()) {
                Some((.., hash)) if *hash == line.sha256 => {
                    outcome.report.logs += 1;
                    outcome.report.unchanged += 1;
                }
                Some(_) => outcome.refuse(number, &line.path, format!("{uri} holds another log")),
                None => {
                    let Some(id) = ids.get(&line.id) else {
                        outcome.refuse(number, &line.path, "no identity could be made for it; try again");
                        continue;
                    };
                    let last = held.iter().map(|(_, sequence, _)| *sequence).max().unwrap_or_default();
                    let taken = held.iter().any(|(_, sequence, _)| *sequence == line.sequence);
                    let sequence = if taken { last.saturating_add(1) } else { line.sequence };
                    self.add_log(s, line, *id, &uri, &root, node, sequence);
                    outcome.report.logs += 1;
                    // The next one asks the database for what is taken.
                    s.flush().await?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a row is made of")]
    fn add_log(
        &self,
        s: &mut Session,
        line: &LogLine,
        id: Uuid,
        uri: &Uri,
        root: &Uri,
        (node, owner): &(Uuid, String),
        sequence: i64,
    ) {
        let state = if line.open { session_archive::State::Open } else { session_archive::State::Closed };
        s.add(session_archive::ActiveModel {
            id: Set(id),
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
            started_at: Set(line.started_at.map(check::stored)),
            ended_at: Set(line.ended_at.map(check::stored)),
            created_at: Set(check::stored(line.created_at)),
            updated_at: Set(check::stored(line.updated_at)),
        });
    }

    async fn edges(&self, s: &mut Session, lines: &[At<EdgeLine>], outcome: &mut Outcome) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &EdgeLine, [Uri; 2], f64)> = Vec::with_capacity(lines.len());
        let mut ids = HashSet::new();
        for (number, line) in lines {
            let placed = self.place(at(self.to, &line.from)).and_then(|from| {
                let to = at(self.to, &line.to).map_err(|e| e.to_string())?;
                Ok((from, to, check::edge(line)?))
            });
            match placed {
                Ok(_) if !ids.insert(line.id) => {
                    outcome.refuse(*number, &line.from, "an earlier line has the same identity");
                }
                Ok((from, to, weight)) => places.push((*number, line, [from, to], weight)),
                Err(reason) => outcome.refuse(*number, &line.from, reason),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let nodes =
            self.present(s, places.iter().flat_map(|(_, _, [from, to], _)| [from.as_str(), to.as_str()])).await?;
        let held: Vec<(Uuid, Uuid, String)> = edge::Entity::find()
            .select_only()
            .columns([edge::Column::FromId, edge::Column::ToId, edge::Column::EdgeType])
            .filter(edge::Column::FromId.is_in(nodes.values().map(|(id, _)| *id)))
            .into_tuple()
            .all(s)
            .await?;
        let mut held: HashSet<(Uuid, Uuid, String)> = held.into_iter().collect();
        let ids = plain(self.identities.resolve(s, Of::Edge, places.iter().map(|(_, line, ..)| line.id)).await?);
        for (number, line, [from, to], weight) in places {
            let ends = nodes.get(from.as_str()).zip(nodes.get(to.as_str()));
            let Some(((from_id, _), (to_id, _))) = ends else {
                outcome.refuse(
                    number,
                    &line.from,
                    format!("an end of its edge to {to} is not there, or not the caller's"),
                );
                continue;
            };
            if !held.insert((*from_id, *to_id, line.edge_type.clone())) {
                outcome.report.edges += 1;
                outcome.report.unchanged += 1;
                continue;
            }
            let Some(id) = ids.get(&line.id) else {
                outcome.refuse(number, &line.from, "no identity could be made for its edge; try again");
                continue;
            };
            outcome.report.edges += 1;
            s.add(edge::ActiveModel {
                id: Set(*id),
                account_id: Set(self.caller.account().to_owned()),
                from_id: Set(*from_id),
                to_id: Set(*to_id),
                edge_type: Set(line.edge_type.clone()),
                weight: Set(weight),
                reason: Set(line.reason.clone()),
                metadata: Set(line.metadata.clone()),
                created_at: Set(check::stored(line.created_at)),
                updated_at: Set(check::stored(line.updated_at)),
            });
        }
        Ok(())
    }

    /// The nodes at these URIs that are there and the caller may see: identity and owner, by URI.
    async fn present<'p>(
        &self,
        s: &mut Session,
        uris: impl Iterator<Item = &'p str>,
    ) -> Result<HashMap<String, (Uuid, String)>, StoreError> {
        let uris: HashSet<&str> = uris.collect();
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

fn plain(found: HashMap<Uuid, Identity>) -> HashMap<Uuid, Uuid> {
    found.into_iter().map(|(id, identity)| (id, identity.id)).collect()
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

/// Whether a version is what the archive has of it.
fn same_version(row: &node_version::Model, line: &VersionLine, uri: &Uri) -> bool {
    row.uri == uri.as_str()
        && row.status == line.status
        && row.change == line.change
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
