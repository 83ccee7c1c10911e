//! Nodes of an archive, and the sessions that hold some of them.

use std::collections::{HashMap, HashSet};

use context_entities::{node, node_version};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Set, prelude::Uuid};
use sea_session::prelude::*;

use super::{At, Import, Outcome, node_type, plain};
use crate::store::archive::{
    check,
    format::{NodeLine, Texts, at},
    identity::Of,
};
use crate::{
    access::Denial,
    error::StoreError,
    outbox::EventType,
    sql::Sql,
    store::{read::visible, set, sight, write::announce},
    uri::Uri,
};

impl Import<'_> {
    pub(super) async fn nodes(
        &self,
        s: &mut Session,
        lines: &[At<NodeLine>],
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
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
    pub(super) async fn drop_sessions_of_others<T>(
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
        let mut sql = Sql::of(s);
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
