//! Moving a node and everything below it (V7): five statements, whatever the size.

use std::collections::HashSet;

use context_entities::node_version::Change;
use sea_orm::{ConnectionTrait, FromQueryResult};
use sea_session::prelude::*;
use sha2::{Digest, Sha256};

use super::{
    Store, Within, allow_node,
    set::{self, Extent, Stamp},
    write::{known_sessions, session_spaces},
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    outbox::EventType,
    sql::{Sql, text},
    uri::{Kind, MAX_URI_BYTES, NodeType, Uri},
};

/// What a move did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Moved {
    /// Where it was.
    pub from: Uri,
    /// Where it is.
    pub to: Uri,
    /// How many nodes moved, archived ones included.
    pub nodes: u64,
}

/// What is to be known of the subtree and of the target before a move.
#[derive(FromQueryResult)]
struct Situation {
    /// Active or broken rows in the source.
    present: i64,
    /// Bytes of the longest URI in the source.
    longest: i64,
    /// Levels below the source.
    levels: i64,
    /// Rows at or below the target.
    taken: i64,
}

impl Store {
    /// Moves a node or folder, with everything below it, to a place that is free (V7).
    ///
    /// Owner, category and type follow the new URI, versions rise, edges stay with their nodes, and the index follows
    /// through the outbox. To its own place it is a no-op.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AlreadyExists`], [`StoreError::InvalidMove`], [`StoreError::Denied`]; what the database
    /// says.
    pub async fn move_node(&self, caller: &Caller, from: &Uri, to: &Uri) -> Result<Moved, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).move_node(from, to).await).await
    }
}

impl Within<'_> {
    /// [`Store::move_node`] in this unit.
    ///
    /// # Errors
    /// As [`Store::move_node`].
    pub async fn move_node(&mut self, from: &Uri, to: &Uri) -> Result<Moved, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, from, Access::Write, "be moved")?;
        allow_node(caller, to, Access::Write, "be the target of a move")?;
        if let Some(root) = from.session_root() {
            known_sessions(s, caller, &HashSet::from([root])).await?;
            keep_logs(s, caller.account(), from, to).await?;
        }
        claim_target(s, caller.account(), to).await?;
        let situation = look(s, caller.account(), from, to).await?;
        if situation.present == 0 {
            return Err(StoreError::not_found(from));
        }
        if from == to {
            return Ok(Moved { from: from.clone(), to: to.clone(), nodes: 0 });
        }
        check_target(from, to, &situation)?;
        check_profile(s, caller.account(), from, to).await?;

        let space = match to.owner().space() {
            Some(space) => space,
            None => session_spaces(s, caller, &[to]).await?.into_values().next().unwrap_or_default(),
        };
        let stamp = Stamp::now();
        let held = set::record(s, caller.account(), from, Extent::Subtree, Change::Move, None, stamp).await?;
        if held == 0 {
            // It was there when it was looked for, and somebody else has moved or deleted it since.
            return Err(StoreError::not_found(from));
        }
        let nodes = relocate(s, caller.account(), from, to, &space).await?;
        set::announce(s, caller.account(), to, Extent::Subtree, Change::Move, EventType::Move, stamp).await?;
        set::follow(s);
        self.store.ring(s);
        Ok(Moved { from: from.clone(), to: to.clone(), nodes })
    }
}

/// Two moves to one place, whose names do not collide, would both find it free and end as one folder, which neither order
/// of the two would give.
async fn claim_target(s: &mut Session, account: &str, to: &Uri) -> Result<(), StoreError> {
    if !super::dialect(s).advisory_locks {
        return Ok(());
    }
    let digest = Sha256::digest(format!("context-store move\n{account}\n{to}"));
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    Ok(s.advisory_lock(i64::from_be_bytes(key)).await?)
}

async fn look(s: &mut Session, account: &str, from: &Uri, to: &Uri) -> Result<Situation, StoreError> {
    let length = (super::dialect(s).count)(length_of(from));
    let rest = "substr(n.uri, ? + 1)";
    let mut sql = Sql::of(s);
    sql.push("SELECT count(CASE WHEN n.status <> 'archived' THEN 1 END) AS present");
    let big = sql.dialect().big;
    sql.push(&format!(", CAST(coalesce(max(length(n.uri)), 0) AS {big}) AS longest"));
    sql.with(
        &format!(", CAST(coalesce(max(length({rest}) - length(replace({rest}, '/', ''))), 0) AS {big}) AS levels"),
        [length.clone(), length],
    );
    sql.push(", (SELECT count(*) FROM (SELECT 1 FROM nodes t WHERE t.account_id = ").bind(account).push(" AND ");
    set::within(&mut sql, "t", to, Extent::Subtree);
    // Held from here on: whoever archives or deletes these rows does so before they are looked at, or after they have moved.
    sql.push(" LIMIT 1) AS found) AS taken FROM (SELECT n.uri, n.status FROM nodes n WHERE n.account_id = ");
    sql.bind(account).push(" AND ");
    set::within(&mut sql, "n", from, Extent::Subtree);
    sql.say(|d| d.order_held).push(") AS n");
    let found = Situation::find_by_statement(sql.finish()).one(s).await?;
    Ok(found.unwrap_or(Situation { present: 0, longest: 0, levels: 0, taken: 0 }))
}

fn length_of(uri: &Uri) -> i64 {
    i64::try_from(uri.as_str().len()).unwrap_or(i64::MAX)
}

fn check_target(from: &Uri, to: &Uri, situation: &Situation) -> Result<(), StoreError> {
    let refuse = |reason: String| Err(StoreError::InvalidMove { from: from.clone(), to: to.clone(), reason });
    if to.is_below(from) {
        return refuse("the target lies inside what moves".into());
    }
    if situation.taken > 0 {
        return Err(StoreError::AlreadyExists { uri: to.clone() });
    }
    let levels = usize::try_from(situation.levels).unwrap_or_default();
    if let Some(room) = to.levels_below().filter(|room| levels > *room) {
        let have =
            if room == 0 { "nothing lies below it".to_owned() } else { format!("only {room} level(s) lie below it") };
        return refuse(format!("{levels} level(s) would have to move, and at the target {have}"));
    }
    let longest = (usize::try_from(situation.longest).unwrap_or_default() + to.as_str().len())
        .saturating_sub(from.as_str().len());
    if longest > MAX_URI_BYTES {
        return refuse(format!("a URI below it would have {longest} bytes, more than {MAX_URI_BYTES}"));
    }
    Ok(())
}

/// A user's `memories/profile` is one node, while elsewhere a folder may have that name and nodes below it.
async fn check_profile(s: &mut Session, account: &str, from: &Uri, to: &Uri) -> Result<(), StoreError> {
    let Some(profile) = to.child("profile").ok().filter(|uri| uri.kind() == Kind::Profile) else { return Ok(()) };
    let mut sql = Sql::of(s);
    sql.push("SELECT 1 AS found FROM nodes n WHERE n.account_id = ").bind(account);
    let below = format!("{from}/profile");
    sql.with(" AND n.uri >= ? AND n.uri < ? LIMIT 1", [text(format!("{below}/")), text(format!("{below}0"))]);
    if s.query_one_raw(sql.finish()).await?.is_none() {
        return Ok(());
    }
    let reason = format!("nodes lie below {below}, and nothing may lie below {profile}");
    Err(StoreError::InvalidMove { from: from.clone(), to: to.clone(), reason })
}

/// A log knows its session and its name: its node stays where it is.
async fn keep_logs(s: &mut Session, account: &str, from: &Uri, to: &Uri) -> Result<(), StoreError> {
    let mut sql = Sql::of(s);
    sql.push(
        "SELECT 1 AS found FROM nodes n JOIN session_archives a ON a.account_id = n.account_id AND a.node_id = n.id",
    );
    sql.push(" WHERE n.account_id = ").bind(account).push(" AND ");
    set::within(&mut sql, "n", from, Extent::Subtree);
    sql.push(" LIMIT 1");
    if from == to || s.query_one_raw(sql.finish()).await?.is_none() {
        return Ok(());
    }
    let reason = "a message log stays in its session".to_owned();
    Err(StoreError::InvalidMove { from: from.clone(), to: to.clone(), reason })
}

/// Rewrites the rows that were recorded.
async fn relocate(s: &mut Session, account: &str, from: &Uri, to: &Uri, space: &str) -> Result<u64, StoreError> {
    let length = (super::dialect(s).count)(length_of(from));
    let mut sql = Sql::of(s);
    // MariaDB sets one column after the other, and what follows sees the new value: so the URI, which all others ask for, is the last.
    sql.push("UPDATE nodes SET ");
    // Above whatever the new URI ever had: a version number that somebody kept of its former node is refused (V3). Where nothing
    // ever was, which is asked once, no row asks.
    let (low, high) = to.below();
    let [convert, converted] = sql.dialect().key;
    sql.push("version = 1 + CASE WHEN EXISTS (SELECT 1 FROM node_versions v WHERE v.account_id = ").bind(account);
    sql.with(" AND (v.uri = ? OR (v.uri >= ? AND v.uri < ?))) THEN ", [text(to.as_str()), text(low), text(high)]);
    sql.say(|d| d.greatest).push("(version, coalesce((SELECT max(v.version) FROM node_versions v");
    sql.push(" WHERE v.account_id = nodes.account_id AND v.uri = ").push(convert);
    sql.with("? || substr(nodes.uri, ? + 1)", [text(to.as_str()), length.clone()]);
    sql.push(converted).push("), 0)) ELSE version END, ");
    sql.with("owner_space = ?, ", [text(space)]);
    category(&mut sql, from, to);
    sql.with(
        "node_type = ?, updated_at = ?, ",
        [text(to.node_type().unwrap_or(NodeType::Resource).as_str()), super::write::now().into()],
    );
    sql.with(
        "parent_uri = CASE WHEN uri = ? THEN ? ELSE ? || substr(parent_uri, ? + 1) END, ",
        [
            text(from.as_str()),
            text(to.parent().map_or_else(String::new, |p| p.to_string())),
            text(to.as_str()),
            length.clone(),
        ],
    );
    sql.with("name = CASE WHEN uri = ? THEN ? ELSE name END, ", [text(from.as_str()), text(to.encoded_name())]);
    sql.with("uri = ? || substr(uri, ? + 1)", [text(to.as_str()), length]);
    sql.push(" WHERE account_id = ").bind(account).push(" AND ");
    set::within(&mut sql, "nodes", from, Extent::Subtree);
    set::recorded(&mut sql, "nodes", Change::Move);
    match s.execute_raw(sql.finish()).await.map_err(sea_session::Error::from) {
        Ok(done) => Ok(done.rows_affected()),
        // Somebody took the place between the look and the move.
        Err(e) if e.is_unique_violation() => Err(StoreError::AlreadyExists { uri: to.clone() }),
        Err(e) => Err(e.into()),
    }
}

/// The category of each row at its new place, from the new URI (V3).
fn category(sql: &mut Sql, from: &Uri, to: &Uri) {
    sql.push("category = ");
    match to.kind() {
        Kind::Category | Kind::Memory | Kind::Profile => {
            sql.bind(to.category().unwrap_or_default());
        }
        // Below the folder of all memories the category is the first segment of what follows.
        Kind::Memories => {
            sql.with("CASE WHEN uri = ? THEN NULL ELSE ", [text(from.as_str())]);
            (sql.dialect().first_segment)(sql, length_of(from));
            sql.push(" END");
        }
        _ => {
            sql.push("NULL");
        }
    }
    sql.push(", ");
}
