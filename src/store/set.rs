//! The parts of set-based statements that moves, deletes and archivings share: one statement for a subtree of any size.
//!
//! A change of a subtree goes in three steps, each one statement: the state that is replaced goes into the history and
//! its rows are locked; the rows change; the events are written. The second and third step take exactly the rows whose
//! current version the first step recorded, so that a node which appears in between (PostgreSQL, read committed) is
//! either wholly part of the change or not at all.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound, Utc};
use context_entities::{edge, node, node_version::Change};
use sea_orm::{ConnectionTrait, FromQueryResult};
use sea_session::prelude::*;

use crate::{
    error::StoreError,
    outbox::{EventType, TOPIC},
    sql::{Sql, text},
    uri::Uri,
};

/// The columns that history and nodes have in common, in one order.
const KEPT: &str =
    "account_id, uri, owner_space, category, node_type, status, abstract, overview, content, metadata, content_hash";

/// Which rows of a subtree a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The node and everything below it.
    Subtree,
    /// The node alone.
    Node,
}

/// Adds the condition that a row lies in the extent; a range of the index, so no character of a name means anything.
pub(super) fn within(sql: &mut Sql, alias: &str, uri: &Uri, extent: Extent) {
    let (low, high) = uri.below();
    match extent {
        Extent::Node => sql.push(&format!("{alias}.uri = ")).bind(uri.as_str()),
        Extent::Subtree => sql.with(
            &format!("({alias}.uri = ? OR ({alias}.uri >= ? AND {alias}.uri < ?))"),
            [text(uri.as_str()), text(low), text(high)],
        ),
    };
}

/// When an operation recorded what it replaces: by it the operation finds its own history rows again, whatever others have
/// recorded since. To the microsecond, which both backends keep.
#[derive(Clone, Copy)]
pub(super) struct Stamp(DateTime<Utc>);

impl Stamp {
    pub(super) fn now() -> Self {
        Self(Utc::now().trunc_subsecs(6))
    }
}

/// Records what is about to be replaced, and locks it. Returns how many rows that are.
pub(super) async fn record(
    s: &mut Session,
    account: &str,
    uri: &Uri,
    extent: Extent,
    change: Change,
    only: Option<node::Status>,
    stamp: Stamp,
) -> Result<u64, StoreError> {
    let mut sql = Sql::of(s);
    sql.push(&format!(
        "INSERT INTO node_versions (node_id, version, {KEPT}, \"change\", written_at, recorded_at) SELECT n.id, n.version, "
    ));
    sql.push(&KEPT.split(", ").map(|c| format!("n.{c}")).collect::<Vec<_>>().join(", "));
    sql.push(", ").bind(change_word(change)).push(", n.updated_at, ").bind(stamp.0);
    sql.push(" FROM nodes n WHERE n.account_id = ").bind(account).push(" AND ");
    within(&mut sql, "n", uri, extent);
    if let Some(status) = only {
        sql.push(" AND n.status = ").bind(crate::node::status_word(status));
    }
    sql.push(" ORDER BY n.uri").say(|d| d.for_update);
    Ok(s.execute_raw(sql.finish()).await?.rows_affected())
}

/// The condition that [`record`] has recorded a row's current version for this change.
pub(super) fn recorded(sql: &mut Sql, alias: &str, change: Change) {
    sql.push(&format!(
        " AND EXISTS (SELECT 1 FROM node_versions h WHERE h.node_id = {alias}.id AND h.version = {alias}.version AND h.change = '{}')",
        change_word(change)
    ));
}

/// One event a row whose last recorded state was replaced by `change`: the rows are where they are now.
pub(super) async fn announce(
    s: &mut Session,
    account: &str,
    at: &Uri,
    extent: Extent,
    change: Change,
    event: EventType,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let mut sql = events(s, account, event, "n.version", "h.uri");
    sql.say(|d| d.last_state)
        .push(" WHERE h.change = '")
        .push(change_word(change))
        .push("' AND h.version < n.version AND h.recorded_at = ");
    sql.bind(stamp.0).push(" AND n.account_id = ").bind(account).push(" AND ");
    within(&mut sql, "n", at, extent);
    sql.push(" ORDER BY n.uri");
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

/// One event a row that is about to be deleted.
pub(super) async fn announce_removal(
    s: &mut Session,
    account: &str,
    uri: &Uri,
    extent: Extent,
) -> Result<(), StoreError> {
    let mut sql = events(s, account, EventType::Delete, "n.version + 1", "n.uri");
    sql.push(" WHERE n.account_id = ").bind(account).push(" AND ");
    within(&mut sql, "n", uri, extent);
    recorded(&mut sql, "n", Change::Delete);
    sql.push(" ORDER BY n.uri");
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

/// `INSERT INTO outbox_events … SELECT … FROM nodes n`, up to there.
fn events(s: &Session, account: &str, event: EventType, sequence: &str, from: &str) -> Sql {
    let mut sql = Sql::of(s);
    sql.push("INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type, payload) SELECT ");
    sql.with("?, ?, ", [text(account), text(TOPIC)]);
    let key = (sql.dialect().uuid_text)("n.id");
    sql.push(&key).push(", ").push(sequence).push(", ").bind(event.as_str()).push(", ");
    sql.say(|d| d.object).push(&format!("('uri', n.uri, 'from', {from}, 'version', {sequence}) FROM nodes n"));
    sql
}

/// What is in the map of nodes and edges is read again before it is used: statements of the store's own went past it.
pub(super) fn follow(s: &mut Session) {
    s.expire_all::<node::Entity>();
    s.expire_all::<edge::Entity>();
}

/// The highest version that each of these URIs ever had, for those that had one: a new node starts above it (V3: no ABA).
pub(super) async fn version_floors(
    s: &mut Session,
    account: &str,
    uris: &[&str],
) -> Result<HashMap<String, i64>, StoreError> {
    if uris.is_empty() {
        return Ok(HashMap::new());
    }
    #[derive(FromQueryResult)]
    struct Floor {
        uri: String,
        version: i64,
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT v.uri AS uri, max(v.version) AS version FROM node_versions v WHERE v.account_id = ").bind(account);
    sql.push(" AND ").is_in("v.uri", uris.iter().copied()).push(" GROUP BY v.uri");
    let rows = Floor::find_by_statement(sql.finish()).all(s).await?;
    Ok(rows.into_iter().map(|row| (row.uri, row.version)).collect())
}

/// The version after one.
///
/// # Errors
/// [`StoreError::InvalidArgument`] at the end of the type.
pub(super) fn next_version(uri: &Uri, version: i64) -> Result<i64, StoreError> {
    version.checked_add(1).ok_or_else(|| {
        StoreError::InvalidArgument(format!("{uri} has the highest version there is: write its text to another place"))
    })
}

pub(crate) fn change_word(change: Change) -> &'static str {
    match change {
        Change::Write => "write",
        Change::Move => "move",
        Change::Archive => "archive",
        Change::Restore => "restore",
        Change::Delete => "delete",
        Change::Revert => "revert",
    }
}
