//! Building an index anew from what the store says, in batches, while both are in use.
//!
//! Nothing is emptied first: each batch brings some nodes to what they are now, by the same contract as an event does, so a
//! search finds all along what it would find otherwise, and a change in the meantime is not overwritten.

use context_entities::node;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, prelude::Uuid,
};
use sea_session::{Db, Session};

use super::{EmbeddedIndex, IndexSink, NodeRecords, Refused};
use crate::{
    error::StoreError,
    outbox::unit,
    record::{LEVELS, record_id, records_of},
    sql::Sql,
};

/// What to build anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReindexOptions {
    /// Only this account's nodes; all accounts' for none.
    pub account: Option<String>,
    /// Nodes in one batch; 0 for the usual number, 200.
    pub batch: usize,
    /// Goes on after this node, the `last` of a report that ended early.
    pub after: Option<Uuid>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReindexProgress {
    /// Nodes that were there at the start.
    pub nodes: u64,
    /// Nodes that were gone through.
    pub done: u64,
}

/// What it came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ReindexReport {
    /// Nodes that were gone through.
    pub nodes: u64,
    /// Records that they have.
    pub records: u64,
    /// Records of nodes that are gone, which were removed.
    pub orphans: u64,
    /// Records that the index did not take, with the reason.
    pub refused: Vec<String>,
    /// The last node that was gone through.
    pub last: Option<Uuid>,
}

/// Tells `sink` of every node.
///
/// # Errors
/// What the database says; [`StoreError::Index`] if the index cannot be reached. What was done stays done.
///
/// # Cancel safety
/// Safe: it may be begun again, or gone on with after the last node of the progress.
pub async fn reindex(
    db: &Db,
    sink: &dyn IndexSink,
    options: &ReindexOptions,
    progress: &mut (dyn FnMut(ReindexProgress) + Send),
) -> Result<ReindexReport, StoreError> {
    let batch = if options.batch == 0 { 200 } else { options.batch };
    let mut state = ReindexProgress { nodes: count(db, options).await?, done: 0 };
    let mut report = ReindexReport { last: options.after, ..ReindexReport::default() };
    progress(state);
    loop {
        let nodes = page(db, options, report.last, batch).await?;
        let Some(last) = nodes.last() else { return Ok(report) };
        report.last = Some(last.id);
        let changes: Vec<NodeRecords> = nodes.iter().map(change).collect();
        report.records += changes.iter().map(|change| change.records.len() as u64).sum::<u64>();
        let refused = sink.apply(&changes).await.map_err(|down| StoreError::Index(down.to_string()))?;
        report.refused.extend(refused.iter().map(|Refused { record_id, reason, .. }| format!("{record_id}: {reason}")));
        report.nodes += nodes.len() as u64;
        state.done = report.nodes;
        progress(state);
    }
}

impl EmbeddedIndex {
    /// Removes records of nodes that are gone, in batches. Returns how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_orphans(&self, account: Option<&str>) -> Result<u64, StoreError> {
        const BATCH: u64 = 1_000;
        let mut removed = 0;
        loop {
            let some = unit(self.db())
                .run(async |s: &mut Session| -> Result<u64, StoreError> {
                    let mut sql = Sql::of(s);
                    let [some, of] = sql.dialect().some_of;
                    sql.push("DELETE FROM index_records WHERE id IN (").push(some);
                    sql.push(
                        "SELECT r.id FROM index_records r LEFT JOIN nodes n ON n.id = r.node_id WHERE n.id IS NULL",
                    );
                    if let Some(account) = account {
                        sql.push(" AND r.account_id = ").bind(account);
                    }
                    sql.push(&format!(" LIMIT {BATCH}{of})"));
                    Ok(s.execute_raw(sql.finish()).await?.rows_affected())
                })
                .await?;
            removed += some;
            if some < BATCH {
                return Ok(removed);
            }
        }
    }
}

fn scope(options: &ReindexOptions) -> sea_orm::Select<node::Entity> {
    let nodes = node::Entity::find();
    match &options.account {
        Some(account) => nodes.filter(node::Column::AccountId.eq(account.as_str())),
        None => nodes,
    }
}

async fn count(db: &Db, options: &ReindexOptions) -> Result<u64, StoreError> {
    unit(db).run(async |s: &mut Session| -> Result<u64, StoreError> { Ok(scope(options).count(s).await?) }).await
}

async fn page(
    db: &Db,
    options: &ReindexOptions,
    after: Option<Uuid>,
    batch: usize,
) -> Result<Vec<node::Model>, StoreError> {
    unit(db)
        .run(async |s: &mut Session| -> Result<_, StoreError> {
            let mut nodes = scope(options).order_by_asc(node::Column::Id).limit(batch as u64);
            if let Some(after) = after {
                nodes = nodes.filter(node::Column::Id.gt(after));
            }
            Ok(nodes.all(s).await?)
        })
        .await
}

/// What the index should hold of a node as it is.
fn change(node: &node::Model) -> NodeRecords {
    let mut change = NodeRecords::of_gone(&node.account_id, node.id);
    change.version = node.version;
    change.records = records_of(node);
    change.gone = LEVELS.map(|level| record_id(&node.uri, level)).to_vec();
    change.tidy();
    change
}
