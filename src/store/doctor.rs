//! The doctor: checks every invariant of an account's part of the store, names what is wrong, and repairs it on request.
//!
//! It walks the nodes in pages, so its memory does not grow with the store, and it looks at each page in one unit of
//! work. What it repairs it repairs through the same history and outbox as any other change.

mod history;
mod logs;

use std::collections::{HashMap, HashSet};

use chrono::Utc;
use context_entities::{index_record, node, node_version::Change, outbox_event};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Set, prelude::Uuid};
use sea_session::prelude::*;

use history::{beyond, strange_versions, take_out};
use logs::{examine_logs, logs};

use super::{
    Store,
    archive::MOST,
    read::visible,
    write::{announce, keep},
};
use crate::{
    access::{Caller, Role},
    error::StoreError,
    outbox::{EventType, TOPIC},
    record::{content_hash, level_number, records_of},
    sql::Sql,
    uri::{Owner, Uri},
};

/// Nodes looked at in one unit of work.
const PAGE: u64 = 200;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ailment {
    /// A URI that is not canonical, or is no place for a node.
    Uri,
    /// Owner, category, type, parent or name do not follow from the URI (V3).
    Derived,
    /// The hash is not the content's.
    Hash,
    /// The history has the current version or a later one (V10), or versions that are not the node's (W1).
    History,
    /// An edge whose end is gone (V9).
    Edge,
    /// A message log that has no node at its place, belongs to another space than it (V2), or holds what is no message.
    Log,
    /// The index does not hold what it should, and no event is on its way (V4, V13).
    Index,
    /// A node is marked as broken (V5).
    Broken,
    /// An event was given up.
    DeadLetter,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What kind.
    pub ailment: Ailment,
    /// Where: a URI, or an identifier where there is none.
    pub place: String,
    /// What exactly.
    pub what: String,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// What the doctor has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Nodes looked at.
    pub nodes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

#[derive(FromQueryResult)]
struct Held {
    node_id: Uuid,
    record_id: String,
    uri: String,
    level: index_record::Level,
    owner_space: String,
    category: Option<String>,
    node_type: String,
    version: i64,
    content_hash: String,
    words_version: i16,
}

impl Store {
    /// Checks everything, and repairs what can be repaired if `repair` is set: derived columns and hashes are written
    /// anew, nodes whose index records are wrong are given an event, and versions that were laid under a node and are not its
    /// own are taken out of its history: they keep their text and place, and get another identity.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for a caller who may not see all of the account; what the database says.
    ///
    /// # Cancel safety
    /// Dropped, whole pages are checked and repaired.
    pub async fn doctor(&self, caller: &Caller, repair: bool) -> Result<Diagnosis, StoreError> {
        if caller.role() != Role::Root {
            return Err(StoreError::InvalidArgument(
                "the doctor looks at every space of the account: it needs the role ROOT".into(),
            ));
        }
        let mut diagnosis = Diagnosis::default();
        let mut after = String::new();
        loop {
            let from = &after;
            let (page, last) = self
                .unit(caller)
                .run(async |s: &mut Session| {
                    self.ring(s);
                    examine(s, caller, from, repair).await
                })
                .await?;
            diagnosis.nodes += page.nodes;
            diagnosis.findings.extend(page.findings);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        let mut after = None;
        loop {
            let from = after;
            let (page, last) =
                self.unit(caller).run(async |s: &mut Session| examine_logs(s, caller, from, repair).await).await?;
            diagnosis.findings.extend(page);
            match last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        let rest = self.unit(caller).run(async |s: &mut Session| examine_rest(s, caller, repair).await).await?;
        diagnosis.findings.extend(rest);
        Ok(diagnosis)
    }
}

/// One page of nodes; the URI of the last one, if there may be more.
async fn examine(
    s: &mut Session,
    caller: &Caller,
    after: &str,
    repair: bool,
) -> Result<(Diagnosis, Option<String>), StoreError> {
    let rows = visible(caller)
        .filter(node::Column::Uri.gt(after))
        .order_by_asc(node::Column::Uri)
        .limit(PAGE)
        .for_update()
        .load(s)
        .await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id()).collect();
    let mut diagnosis = Diagnosis { nodes: rows.len() as u64, findings: Vec::new() };
    if ids.is_empty() {
        return Ok((diagnosis, None));
    }
    let sessions = session_owners(s, caller, &rows).await?;
    let pending = pending(s, &ids).await?;
    let mut records = records(s, caller, &ids).await?;
    let mut strange = strange_versions(s, caller, &rows, &ids).await?;
    for row in &rows {
        let model = row.model();
        let mut wrong = Wrong { findings: &mut diagnosis.findings, place: &model.uri };
        let mended = derived(&mut wrong, &model, &sessions, repair);
        if model.status == node::Status::Broken {
            wrong.note(Ailment::Broken, "it is marked as broken: write it anew", false);
        }
        if model.version > MOST {
            wrong.note(
                Ailment::History,
                format!(
                    "its version is {}, more than any number of writes: copy its text to another place",
                    model.version
                ),
                false,
            );
        }
        for strange in strange.remove(&model.id).unwrap_or_default() {
            wrong.note(Ailment::History, strange.what, repair);
            if repair {
                take_out(s, caller, model.id, strange.version, &strange.account_id).await?;
            }
        }
        if let Some(mended) = mended.filter(|_| repair) {
            let (id, version) = (model.id, model.version + 1);
            keep(s, model.clone(), Change::Write);
            row.update(|row| *row = mended);
            announce(s, caller.account(), id, version, EventType::Write, &Uri::parse(&model.uri)?);
        } else if !pending.contains(&model.id) {
            let held = records.remove(&model.id).unwrap_or_default();
            if let Some(what) = index_difference(&model, &held) {
                wrong.note(Ailment::Index, what, repair);
                if repair {
                    reindex(s, caller, model.id, model.version, &model.uri);
                }
            }
        }
    }
    let full = rows.len() as u64 == PAGE;
    Ok((diagnosis, rows.last().filter(|_| full).map(|row| row.uri())))
}

/// Notes what is wrong with one node.
struct Wrong<'a> {
    findings: &'a mut Vec<Finding>,
    place: &'a str,
}

impl Wrong<'_> {
    fn note(&mut self, ailment: Ailment, what: impl Into<String>, repaired: bool) {
        self.findings.push(Finding { ailment, place: self.place.to_owned(), what: what.into(), repaired });
    }
}

/// Compares a row with its URI and its content; the row as it should be, if it differs.
fn derived(
    wrong: &mut Wrong<'_>,
    row: &node::Model,
    sessions: &HashMap<String, String>,
    repair: bool,
) -> Option<node::Model> {
    let uri = match Uri::parse(&row.uri) {
        Ok(uri) if uri.as_str() == row.uri => uri,
        Ok(uri) => {
            wrong.note(Ailment::Uri, format!("its canonical form is {uri}"), false);
            return None;
        }
        Err(e) => {
            wrong.note(Ailment::Uri, e.reason.to_string(), false);
            return None;
        }
    };
    let is_session = uri.session_root().is_some_and(|root| root == uri);
    if !uri.holds_nodes() && !is_session {
        wrong.note(Ailment::Uri, "it is a folder of the scheme and cannot hold a node", false);
        return None;
    }
    let mut right = row.clone();
    right.owner_space = match uri.owner() {
        Owner::Session(_) => {
            uri.session_root().and_then(|root| sessions.get(root.as_str()).cloned()).unwrap_or_default()
        }
        owner => owner.space().unwrap_or_default(),
    };
    right.category = uri.category().map(str::to_owned);
    right.node_type = uri.node_type().map_or("session", crate::uri::NodeType::as_str).to_owned();
    right.parent_uri = uri.parent().map(|parent| parent.to_string());
    right.name = uri.encoded_name().to_owned();
    if right.owner_space.is_empty() {
        wrong.note(Ailment::Derived, "its session has no row of its own, which would tell whose it is", false);
        return None;
    }
    let differs = right != *row;
    if differs {
        wrong.note(Ailment::Derived, "owner, category, type, parent or name do not follow from its URI", repair);
    }
    let hash = content_hash(&row.content);
    if row.content_hash != hash {
        wrong.note(Ailment::Hash, "its hash is not its content's", repair);
        right.content_hash = hash;
        return Some(right);
    }
    differs.then_some(right)
}

/// How the index differs from what it should hold of a node.
fn index_difference(row: &node::Model, held: &[Held]) -> Option<String> {
    let expected = records_of(row);
    for record in &expected {
        let Some(found) = held.iter().find(|found| found.record_id == record.id) else {
            return Some(format!("level {} is not in the index", level_number(record.level)));
        };
        // The version rises with changes of other texts as well; what counts is that the text is this one.
        let same = found.uri == record.uri
            && found.level == record.level
            && found.owner_space == record.owner_space
            && found.category == record.category
            && found.node_type == record.node_type
            && found.version <= record.version
            && found.content_hash == content_hash(&record.body);
        if !same {
            return Some(format!("level {} in the index is of another state", level_number(record.level)));
        }
        if found.words_version != crate::words::VERSION {
            return Some(format!(
                "level {} in the index has its words from another release",
                level_number(record.level)
            ));
        }
    }
    let odd = held.iter().find(|found| !expected.iter().any(|record| record.id == found.record_id));
    odd.map(|found| format!("{} is in the index and should not be", found.uri))
}

/// What is not found by walking the nodes.
async fn examine_rest(s: &mut Session, caller: &Caller, repair: bool) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for (id, uri) in orphans(s, caller).await? {
        findings.push(Finding {
            ailment: Ailment::Index,
            place: uri.clone(),
            what: format!("it is in the index, and its node {id} is gone"),
            repaired: repair,
        });
        if repair {
            reindex(s, caller, id, i64::MAX, &uri);
        }
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT e.id FROM edges e LEFT JOIN nodes f ON f.id = e.from_id LEFT JOIN nodes t ON t.id = e.to_id WHERE e.account_id = ");
    sql.bind(caller.account()).push(" AND (f.id IS NULL OR t.id IS NULL)");
    for id in ids_of(s, sql).await? {
        findings.push(Finding {
            ailment: Ailment::Edge,
            place: id.to_string(),
            what: "an end of this edge is gone".into(),
            repaired: false,
        });
    }
    findings.extend(logs(s, caller, repair).await?);
    findings.extend(beyond(s, caller, repair).await?);
    let dead = outbox_event::Entity::find()
        .filter(outbox_event::Column::AccountId.eq(caller.account()))
        .filter(outbox_event::Column::Topic.eq(TOPIC))
        .filter(outbox_event::Column::State.eq(outbox_event::State::Dead))
        .filter(outbox_event::Column::FinishedAt.is_not_null())
        .filter(outbox_event::Column::LastError.is_not_null())
        .order_by_asc(outbox_event::Column::Id)
        .limit(PAGE)
        .load(s)
        .await?;
    for event in dead {
        findings.push(Finding {
            ailment: Ailment::DeadLetter,
            place: format!("event {}", event.id()),
            what: event.last_error().unwrap_or_else(|| "it was given up".into()),
            repaired: false,
        });
    }
    Ok(findings)
}

/// Records of nodes that are gone, for which no event is on its way.
async fn orphans(s: &mut Session, caller: &Caller) -> Result<Vec<(Uuid, String)>, StoreError> {
    #[derive(FromQueryResult)]
    struct Orphan {
        node_id: Uuid,
        uri: String,
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT r.node_id, min(r.uri) AS uri FROM index_records r LEFT JOIN nodes n ON n.id = r.node_id WHERE r.account_id = ");
    sql.bind(caller.account()).push(" AND n.id IS NULL GROUP BY r.node_id");
    let found = Orphan::find_by_statement(sql.finish()).all(s).await?;
    let ids: Vec<Uuid> = found.iter().map(|orphan| orphan.node_id).collect();
    let pending = pending(s, &ids).await?;
    Ok(found
        .into_iter()
        .filter(|orphan| !pending.contains(&orphan.node_id))
        .map(|orphan| (orphan.node_id, orphan.uri))
        .collect())
}

async fn ids_of(s: &mut Session, sql: Sql) -> Result<Vec<Uuid>, StoreError> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    Ok(Id::find_by_statement(sql.finish()).all(s).await?.into_iter().map(|row| row.id).collect())
}

/// Has the dispatcher look at a node again.
fn reindex(s: &mut Session, caller: &Caller, id: Uuid, version: i64, uri: &str) {
    s.add(outbox_event::ActiveModel {
        account_id: Set(caller.account().to_owned()),
        topic: Set(TOPIC.to_owned()),
        event_key: Set(id.to_string()),
        sequence: Set(version),
        event_type: Set(EventType::Write.as_str().to_owned()),
        payload: Set(serde_json::json!({ "uri": uri, "from": uri, "version": version })),
        available_at: Set(Utc::now()),
        ..Default::default()
    });
}

/// The nodes for which an event is on its way.
async fn pending(s: &mut Session, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let keys: Vec<String> = outbox_event::Entity::find()
        .select_only()
        .column(outbox_event::Column::EventKey)
        .filter(outbox_event::Column::Topic.eq(TOPIC))
        .filter(outbox_event::Column::EventKey.is_in(ids.iter().map(Uuid::to_string)))
        .filter(outbox_event::Column::FinishedAt.is_null())
        .into_tuple()
        .all(s)
        .await?;
    Ok(keys.iter().filter_map(|key| key.parse().ok()).collect())
}

async fn records(s: &mut Session, caller: &Caller, ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<Held>>, StoreError> {
    let mut sql = Sql::of(s);
    sql.push("SELECT node_id, record_id, uri, level, owner_space, category, node_type, version, content_hash, words_version FROM index_records WHERE account_id = ");
    sql.bind(caller.account()).push(" AND ").is_in("node_id", ids.iter().copied());
    let mut records: HashMap<Uuid, Vec<Held>> = HashMap::new();
    for held in Held::find_by_statement(sql.finish()).all(s).await? {
        records.entry(held.node_id).or_default().push(held);
    }
    Ok(records)
}

/// The owner spaces of the sessions that these nodes lie in.
async fn session_owners(
    s: &mut Session,
    caller: &Caller,
    rows: &[Tracked<node::Entity>],
) -> Result<HashMap<String, String>, StoreError> {
    let roots: HashSet<Uri> = rows.iter().filter_map(|row| Uri::parse(&row.uri()).ok()?.session_root()).collect();
    if roots.is_empty() {
        return Ok(HashMap::new());
    }
    let known = super::write::known_sessions(s, caller, &roots).await?;
    Ok(known.into_iter().map(|(root, space)| (root.to_string(), space)).collect())
}
