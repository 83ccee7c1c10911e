//! What an account's part of the store holds, in numbers.

use sea_orm::FromQueryResult;
use sea_session::prelude::*;

use super::{Store, Within};
use crate::{access::Caller, error::StoreError, outbox::TOPIC, sql::Sql};

/// The numbers of an account, as far as the caller may see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, FromQueryResult)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StoreStatus {
    /// Nodes that take part.
    pub active: i64,
    /// Archived nodes.
    pub archived: i64,
    /// Broken nodes.
    pub broken: i64,
    /// Bytes of all texts of these nodes.
    pub bytes: i64,
    /// Edges.
    pub edges: i64,
    /// States that were replaced and are kept.
    pub versions: i64,
    /// Records in the index.
    pub index_records: i64,
    /// Events that wait for delivery.
    pub pending: i64,
    /// Events that were given up.
    pub dead: i64,
}

/// How far the index is behind what the caller may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, FromQueryResult)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Backlog {
    /// Events that wait for delivery.
    pub pending: i64,
    /// Events that were given up.
    pub dead: i64,
    /// Records in the index.
    pub index_records: i64,
}

impl Store {
    /// How far the index is behind: the part of [`Store::status`] that changes while events are delivered.
    ///
    /// # Errors
    /// What the database says.
    pub async fn backlog(&self, caller: &Caller) -> Result<Backlog, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).backlog().await).await
    }

    /// Counts.
    ///
    /// # Errors
    /// What the database says.
    pub async fn status(&self, caller: &Caller) -> Result<StoreStatus, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).status().await).await
    }
}

impl Within<'_> {
    /// [`Store::backlog`] in this unit.
    ///
    /// # Errors
    /// As [`Store::backlog`].
    pub async fn backlog(&mut self) -> Result<Backlog, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let mut sql = Sql::of(s);
        let spaces = caller.owner_filter();
        sql.push("SELECT 0 AS zero");
        count(&mut sql, caller, "index_records", "index_records", spaces.as_deref(), "");
        outbox(&mut sql, caller, spaces.as_deref());
        Ok(Backlog::find_by_statement(sql.finish()).one(s).await?.unwrap_or_default())
    }

    /// [`Store::status`] in this unit.
    ///
    /// # Errors
    /// As [`Store::status`].
    pub async fn status(&mut self) -> Result<StoreStatus, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let mut sql = Sql::of(s);
        let bytes = ["abstract", "overview", "content"]
            .map(|level| (sql.dialect().bytes_of)(&format!("n.{level}")))
            .join(" + ");
        let spaces = caller.owner_filter();
        sql.push("SELECT ");
        for status in ["active", "archived", "broken"] {
            sql.push(&format!("count(CASE WHEN n.status = '{status}' THEN 1 END) AS {status}, "));
        }
        sql.push(&format!("CAST(coalesce(sum({bytes}), 0) AS {}) AS bytes", sql.dialect().big));
        // What others have is not counted: an edge is the caller's where both ends are.
        edges(&mut sql, caller, spaces.as_deref());
        count(&mut sql, caller, "node_versions", "versions", spaces.as_deref(), "");
        count(&mut sql, caller, "index_records", "index_records", spaces.as_deref(), "");
        outbox(&mut sql, caller, spaces.as_deref());
        sql.push(" FROM nodes n WHERE n.account_id = ").bind(caller.account());
        sql.and_owned("n.owner_space", spaces.as_deref());
        Ok(StoreStatus::find_by_statement(sql.finish()).one(s).await?.unwrap_or_default())
    }
}

fn edges(sql: &mut Sql, caller: &Caller, spaces: Option<&[String]>) {
    if spaces.is_none() {
        return count(sql, caller, "edges", "edges", None, "");
    }
    sql.push(", (SELECT count(*) FROM edges c JOIN nodes f ON f.id = c.from_id JOIN nodes t ON t.id = c.to_id");
    sql.push(" WHERE c.account_id = ").bind(caller.account());
    sql.and_owned("f.owner_space", spaces).and_owned("t.owner_space", spaces).push(") AS edges");
}

/// The store's own events: those that wait, and those that were given up.
fn outbox(sql: &mut Sql, caller: &Caller, spaces: Option<&[String]>) {
    let waiting = format!(" AND c.topic = '{TOPIC}' AND c.finished_at IS NULL");
    events(sql, caller, spaces, "pending", &waiting);
    let dead = format!(
        " AND c.topic = '{TOPIC}' AND c.state = 'dead' AND c.finished_at IS NOT NULL AND c.last_error IS NOT NULL"
    );
    events(sql, caller, spaces, "dead", &dead);
}

/// The events of nodes that are there and the caller's to see. Of a node that is gone only ROOT is told.
fn events(sql: &mut Sql, caller: &Caller, spaces: Option<&[String]>, name: &str, more: &str) {
    if spaces.is_none() {
        return count(sql, caller, "outbox_events", name, None, more);
    }
    let same = (sql.dialect().has_uuid_text)("o.id", "c.event_key");
    sql.push(&format!(", (SELECT count(*) FROM outbox_events c JOIN nodes o ON {same} WHERE c.account_id = "));
    sql.bind(caller.account()).push(" AND o.account_id = ").bind(caller.account());
    sql.and_owned("o.owner_space", spaces).push(more).push(&format!(") AS {name}"));
}

fn count(sql: &mut Sql, caller: &Caller, table: &str, name: &str, spaces: Option<&[String]>, more: &str) {
    sql.push(&format!(", (SELECT count(*) FROM {table} c WHERE c.account_id = ")).bind(caller.account());
    sql.and_owned("c.owner_space", spaces).push(more).push(&format!(") AS {name}"));
}
