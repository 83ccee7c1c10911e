//! Forgetting (V10): how long replaced versions are kept is the operator's choice, and by default they all are.
//!
//! The current state of a node is no version that could be forgotten. Of each place the newest replaced state stays
//! whatever is asked for: a node that is created there later starts above its number (V3: no ABA).

use chrono::{SubsecRound, Utc};
use sea_orm::ConnectionTrait;
use sea_session::prelude::*;

use super::{
    Store, allow,
    set::{Extent, within},
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    sql::Sql,
    uri::Uri,
};

/// Versions forgotten in one unit of work, so that none holds its locks for long.
const BATCH: i64 = 5_000;

/// Which replaced versions stay. A version goes if nothing that is given keeps it; with nothing given, all stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// So many of each node, the newest.
    pub keep: Option<u64>,
    /// Those that were replaced less than so long ago.
    pub age: Option<std::time::Duration>,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Versions.
    pub versions: u64,
}

impl Store {
    /// Forgets replaced versions at and below a place, of nodes that are gone as well. Run it from time to time.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; [`StoreError::InvalidArgument`] if nothing says what to keep, or the time is out of range; what the database says.
    ///
    /// # Cancel safety
    /// Dropped, whole batches are forgotten; the next run goes on.
    pub async fn prune_history(&self, caller: &Caller, at: &Uri, retention: Retention) -> Result<Pruned, StoreError> {
        allow(caller, at, Access::Write)?;
        if retention == Retention::default() {
            return Err(StoreError::InvalidArgument("say how many versions to keep, or for how long".into()));
        }
        let mut pruned = Pruned::default();
        loop {
            let forgotten =
                self.unit(caller).run(async |s: &mut Session| forget(s, caller, at, retention).await).await?;
            pruned.versions += forgotten;
            if forgotten < BATCH as u64 {
                return Ok(pruned);
            }
        }
    }
}

async fn forget(s: &mut Session, caller: &Caller, at: &Uri, retention: Retention) -> Result<u64, StoreError> {
    let mut sql = Sql::of(s);
    sql.push("DELETE FROM node_versions WHERE (node_id, version) IN (");
    let crate::dialect::Dialect { some_of: [some, of], correlated_tables, .. } = *sql.dialect();
    sql.push(some).push("SELECT v.node_id, v.version FROM node_versions v");
    sql.push(" WHERE v.account_id = ").bind(caller.account()).push(" AND ");
    within(&mut sql, "v", at, Extent::Subtree);
    // Only what the caller may write: a session belongs to a space, and resources need a role.
    sql.and_owned("v.owner_space", caller.owner_filter().as_deref());
    if let Some(keep) = retention.keep {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let newer = "FROM node_versions k WHERE k.node_id = v.node_id AND k.version > v.version";
        match correlated_tables {
            true => {
                sql.push(&format!(" AND (SELECT count(*) FROM (SELECT 1 {newer} LIMIT ")).bind(keep).push(") AS newer)")
            }
            false => sql.push(&format!(" AND (SELECT count(*) {newer})")),
        };
        sql.push(" >= ").bind(keep);
    }
    if let Some(age) = retention.age {
        let age = chrono::Duration::from_std(age).ok().and_then(|age| Utc::now().checked_sub_signed(age));
        let before = age.ok_or_else(|| StoreError::InvalidArgument("that long ago there was no store".into()))?;
        sql.push(" AND v.recorded_at < ").bind(before.trunc_subsecs(6));
    }
    sql.push(" AND EXISTS (SELECT 1 FROM node_versions l WHERE l.account_id = v.account_id AND l.uri = v.uri AND l.version > v.version)");
    sql.push(" LIMIT ").bind(BATCH).push(of).push(")");
    Ok(s.execute_raw(sql.finish()).await?.rows_affected())
}
