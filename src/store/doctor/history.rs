//! Versions that are not in the history where they belong.

use std::collections::HashMap;

use context_entities::{
    node,
    node_version::{self, Change},
};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, prelude::Uuid};
use sea_session::prelude::*;

use super::{
    super::{
        archive::{MOST, hashed},
        sight,
    },
    Ailment, Finding, PAGE,
};
use crate::{access::Caller, error::StoreError, sql::Sql};

/// A version in the history of a node that is not the node's.
pub(super) struct Strange {
    pub(super) version: i64,
    pub(super) account_id: String,
    pub(super) what: String,
}

/// The versions that do not belong to the nodes whose history they are in: an archive of somebody's making may have laid them
/// there. Another account's never do; nor does one that is not below the node's own; and where the place changes from one version to
/// the next, the earlier one was replaced by a move, or the node was deleted and came back.
pub(super) async fn strange_versions(
    s: &mut Session,
    caller: &Caller,
    nodes: &[Tracked<node::Entity>],
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Strange>>, StoreError> {
    #[derive(FromQueryResult)]
    struct Past {
        node_id: Uuid,
        version: i64,
        account_id: String,
        uri: String,
        change: Change,
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT v.node_id, v.version, v.account_id, v.uri, v.change FROM node_versions v WHERE ")
        .is_in("v.node_id", ids.iter().copied())
        .push(" ORDER BY v.node_id, v.version DESC");
    let mut past: HashMap<Uuid, Vec<Past>> = HashMap::new();
    for row in sight::rows::<Past>(s, caller, sql).await? {
        past.entry(row.node_id).or_default().push(row);
    }
    let mut strange: HashMap<Uuid, Vec<Strange>> = HashMap::new();
    for node in nodes {
        let (id, current) = (node.id(), node.version());
        let mut place = node.uri();
        for row in past.remove(&id).unwrap_or_default() {
            let what = if row.account_id != caller.account() {
                format!("version {} in its history is not of this account", row.version)
            } else if row.version >= current {
                format!("its version is {current}, and the history has {}", row.version)
            } else if row.uri != place && !matches!(row.change, Change::Move | Change::Delete) {
                format!("version {} in its history is of {}, from where it never moved", row.version, row.uri)
            } else {
                place = row.uri;
                continue;
            };
            strange.entry(id).or_default().push(Strange { version: row.version, account_id: row.account_id, what });
        }
    }
    Ok(strange)
}

/// Gives a version that is in the wrong history an identity of its own, under which nothing else is. Its text and place stay.
pub(super) async fn take_out(
    s: &mut Session,
    caller: &Caller,
    id: Uuid,
    version: i64,
    account: &str,
) -> Result<(), StoreError> {
    const MOST_TRIED: u32 = 16;
    for n in 0..MOST_TRIED {
        let other = hashed(&format!("context-store doctor\n{id}\n{account}\n{n}"));
        let mut sql = Sql::of(s);
        sql.push("UPDATE node_versions SET node_id = ").bind(other).push(", version = ").bind(version.min(MOST));
        sql.push(" WHERE node_id = ").bind(id).push(" AND version = ").bind(version);
        sql.push(" AND account_id = ").bind(account);
        sql.push(" AND NOT EXISTS (SELECT 1 FROM node_versions o WHERE o.node_id = ").bind(other);
        sql.push(" AND o.version = ").bind(version.min(MOST)).push(")");
        if sight::execute(s, caller, sql).await?.rows_affected() == 1 {
            return Ok(());
        }
    }
    Err(StoreError::InvalidArgument(format!(
        "version {version} of the node {id} could not be taken out of its history"
    )))
}

/// Versions with numbers that no number of writes gets to.
pub(super) async fn beyond(s: &mut Session, caller: &Caller, repair: bool) -> Result<Vec<Finding>, StoreError> {
    let rows: Vec<(Uuid, i64, String)> = node_version::Entity::find()
        .select_only()
        .columns([node_version::Column::NodeId, node_version::Column::Version, node_version::Column::Uri])
        .filter(node_version::Column::AccountId.eq(caller.account()))
        .filter(node_version::Column::Version.gt(MOST))
        .order_by_asc(node_version::Column::NodeId)
        .limit(PAGE)
        .into_tuple()
        .all(s)
        .await?;
    let mut findings = Vec::with_capacity(rows.len());
    for (id, version, uri) in rows {
        if repair {
            take_out(s, caller, id, version, caller.account()).await?;
        }
        findings.push(Finding {
            ailment: Ailment::History,
            place: uri,
            what: format!("its history has version {version}, more than any number of writes"),
            repaired: repair,
        });
    }
    Ok(findings)
}
