//! The search index: what a sink must do, and the embedded one.

mod embedded;

use async_trait::async_trait;
use sea_orm::prelude::Uuid;
use sea_session::Session;

pub use embedded::EmbeddedIndex;

use crate::{error::StoreError, record::Record};

/// What an index should hold of one node from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecords {
    /// The tenant.
    pub account_id: String,
    /// The node.
    pub node_id: Uuid,
    /// Ids that may still be in the index and must not be, unless they have become another node's.
    pub gone: Vec<String>,
    /// The records of the node; none if it is deleted or archived.
    pub records: Vec<Record>,
}

/// An index that the outbox feeds.
#[async_trait]
pub trait IndexSink: Send + Sync {
    /// Deletes what is gone, then writes the records, in this order, for each node. Doing it again changes nothing.
    ///
    /// `s` is the unit of work that holds the nodes as they are and acknowledges the events. A sink in the same database
    /// uses it; a remote one need not.
    ///
    /// # Errors
    /// The index did not take all of it; the events will be delivered again.
    async fn apply(&self, s: &mut Session, changes: &[NodeRecords]) -> Result<(), StoreError>;
}
