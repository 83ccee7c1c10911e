//! What an account's part of the store holds, in numbers.

use sea_orm::FromQueryResult;
use sea_session::prelude::*;

use super::Store;
use crate::{access::Caller, error::StoreError, outbox::TOPIC, sql::Sql};

/// The numbers of an account, as far as the caller may see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, FromQueryResult)]
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

impl Store {
    /// Counts.
    ///
    /// # Errors
    /// What the database says.
    pub async fn status(&self, caller: &Caller) -> Result<StoreStatus, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.status_in(s, caller).await).await
    }

    /// [`Store::status`] inside the caller's unit.
    ///
    /// # Errors
    /// What the database says.
    pub async fn status_in(&self, s: &mut Session, caller: &Caller) -> Result<StoreStatus, StoreError> {
        let mut sql = Sql::new(super::backend(s));
        let bytes = ["abstract", "overview", "content"]
            .map(|level| super::read::bytes_of(sql.is_postgres(), level))
            .join(" + ");
        let spaces = caller.owner_filter();
        sql.push("SELECT ");
        for status in ["active", "archived", "broken"] {
            sql.push(&format!("coalesce(sum(CASE WHEN n.status = '{status}' THEN 1 ELSE 0 END), 0) AS {status}, "));
        }
        sql.push(&format!("CAST(coalesce(sum({bytes}), 0) AS bigint) AS bytes"));
        count(&mut sql, caller, "edges", "edges", None, "");
        count(&mut sql, caller, "node_versions", "versions", spaces.as_deref(), "");
        count(&mut sql, caller, "index_records", "index_records", spaces.as_deref(), "");
        let waiting = format!(" AND c.topic = '{TOPIC}' AND c.finished_at IS NULL");
        count(&mut sql, caller, "outbox_events", "pending", None, &waiting);
        count(
            &mut sql,
            caller,
            "outbox_events",
            "dead",
            None,
            &format!(
                " AND c.topic = '{TOPIC}' AND c.state = 'dead' AND c.finished_at IS NOT NULL AND c.last_error IS NOT NULL"
            ),
        );
        sql.push(" FROM nodes n WHERE n.account_id = ").bind(caller.account());
        sql.and_owned("n.owner_space", spaces.as_deref());
        Ok(StoreStatus::find_by_statement(sql.finish()).one(s).await?.unwrap_or_default())
    }
}

fn count(sql: &mut Sql, caller: &Caller, table: &str, name: &str, spaces: Option<&[String]>, more: &str) {
    sql.push(&format!(", (SELECT count(*) FROM {table} c WHERE c.account_id = ")).bind(caller.account());
    sql.and_owned("c.owner_space", spaces).push(more).push(&format!(") AS {name}"));
}
