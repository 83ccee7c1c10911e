//! The search index: what a sink must do, and the three sinks there are.
//!
//! # The contract
//!
//! A sink is told which records to hold and which to hold no longer, in batches. It may be told the same again, late, or
//! after what followed (a worker that was stopped and goes on), so it goes by id and version:
//!
//! - A record is named by its id; its version never falls, also when another node takes its place (V3).
//! - An upsert of a version below the one that is held, or was deleted, changes nothing. One of the same version writes the same.
//! - A delete names record, node and version. It takes effect only on the record of that node, and only up to that version.
//! - What one record is refused for is told of that record alone; the others of the batch are taken.
//! - [`Unavailable`]: nothing of the call counts, and all of it comes again.

mod embedded;
mod file;
mod http;
mod reindex;
mod vectors;

use async_trait::async_trait;
use sea_orm::prelude::Uuid;
pub use sea_session::outbox::Unavailable;

pub use embedded::{EmbeddedIndex, IndexCapabilities};
pub use file::FileSink;
pub use http::HttpSink;
pub use reindex::{ReindexOptions, ReindexProgress, ReindexReport, reindex};
pub use vectors::VectorSink;
pub(crate) use vectors::dimensions;

use crate::record::Record;

/// What an index should hold of one node from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecords {
    /// The tenant.
    pub account_id: String,
    /// The node.
    pub node_id: Uuid,
    /// The node's version that this is of.
    pub version: i64,
    /// Ids that may still be in the index as this node's and must not be.
    pub gone: Vec<String>,
    /// The records of the node; none if it is deleted or archived.
    pub records: Vec<Record>,
}

impl NodeRecords {
    pub(crate) fn of_gone(account: &str, node_id: Uuid) -> Self {
        Self { account_id: account.to_owned(), node_id, version: 0, gone: Vec::new(), records: Vec::new() }
    }

    /// Each id once, and none that the node has.
    pub(crate) fn tidy(&mut self) {
        self.gone.sort_unstable();
        self.gone.dedup();
        let records = &self.records;
        self.gone.retain(|id| !records.iter().any(|record| record.id == *id));
    }
}

/// A record that is to be held no longer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Gone {
    /// The tenant.
    pub account_id: String,
    /// The record's id.
    pub id: String,
    /// Only if it is this node's.
    pub node_id: Uuid,
    /// Only up to this version.
    pub version: i64,
}

/// A record that the sink did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The node whose record it is.
    pub node_id: Uuid,
    /// The record's id.
    pub record_id: String,
    /// Why.
    pub reason: String,
    /// Whether it may be taken another time; otherwise its event is a dead letter.
    pub again: bool,
}

/// An index that the outbox feeds; the module says what it must do.
#[async_trait]
pub trait IndexSink: Send + Sync {
    /// Holds these records no longer.
    ///
    /// # Errors
    /// [`Unavailable`] if the index cannot be reached.
    async fn delete(&self, gone: &[Gone]) -> Result<Vec<Refused>, Unavailable>;

    /// Holds these records from now on.
    ///
    /// # Errors
    /// As [`IndexSink::delete`].
    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable>;

    /// Brings nodes up to date: deletes what is gone, then writes the records, in this order (V7). A sink that can do both as
    /// one does.
    ///
    /// # Errors
    /// As [`IndexSink::delete`].
    async fn apply(&self, changes: &[NodeRecords]) -> Result<Vec<Refused>, Unavailable> {
        let gone: Vec<Gone> = changes.iter().flat_map(NodeRecords::gone).collect();
        let mut refused = if gone.is_empty() { Vec::new() } else { self.delete(&gone).await? };
        // A node whose old record stays is not given its new one: it would be found twice.
        let records: Vec<Record> = changes
            .iter()
            .filter(|change| refused.iter().all(|refused| refused.node_id != change.node_id))
            .flat_map(|change| change.records.iter().cloned())
            .collect();
        if !records.is_empty() {
            refused.extend(self.upsert(&records).await?);
        }
        Ok(refused)
    }
}

impl NodeRecords {
    fn gone(&self) -> impl Iterator<Item = Gone> {
        self.gone.iter().map(|id| Gone {
            account_id: self.account_id.clone(),
            id: id.clone(),
            node_id: self.node_id,
            version: self.version,
        })
    }
}
