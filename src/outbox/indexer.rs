//! Takes events to an index: reads what their nodes hold now, and tells the sink.

use std::{collections::HashMap, sync::Arc};

use context_entities::node;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, prelude::Uuid};
use sea_session::{
    Db,
    outbox::{Delivery, Event, Handler, Unavailable},
    prelude::*,
};

use super::EventType;
use crate::{
    error::StoreError,
    index::{IndexSink, NodeRecords, Refused},
    record::{LEVELS, record_id, records_of},
};

/// Delivers the store's events to an [`IndexSink`].
#[derive(Clone)]
pub struct Indexer {
    db: Db,
    sink: Arc<dyn IndexSink>,
}

impl std::fmt::Debug for Indexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexer").field("db", &self.db).finish_non_exhaustive()
    }
}

impl Indexer {
    /// An indexer from a store's database to a sink.
    pub fn new(db: &Db, sink: Arc<dyn IndexSink>) -> Self {
        Self { db: db.clone(), sink }
    }

    /// What the index should hold of the nodes of these events, one change a node. Not through the identity map: the
    /// dispatcher serves every tenant, and a unit holds the objects of one (T2).
    async fn changes(&self, events: &[(&Event, Uuid)]) -> Result<Vec<NodeRecords>, StoreError> {
        let mut changes: HashMap<Uuid, NodeRecords> = HashMap::new();
        for (event, node_id) in events {
            let change = changes.entry(*node_id).or_insert_with(|| NodeRecords::of_gone(&event.account_id, *node_id));
            change.version = change.version.max(event.sequence);
            change.gone.extend(places(event).flat_map(|uri| LEVELS.map(|level| record_id(uri, level))));
        }
        let rows = super::unit(&self.db)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let ids = changes.keys().copied();
                Ok(node::Entity::find().filter(node::Column::Id.is_in(ids)).all(s).await?)
            })
            .await?;
        for row in &rows {
            if let Some(change) = changes.get_mut(&row.id) {
                change.version = row.version;
                change.records = records_of(row);
            }
        }
        let mut changes: Vec<NodeRecords> = changes.into_values().collect();
        changes.sort_unstable_by_key(|change| change.node_id);
        changes.iter_mut().for_each(NodeRecords::tidy);
        Ok(changes)
    }
}

/// Where the node was and where it went.
fn places(event: &Event) -> impl Iterator<Item = &str> {
    ["from", "uri"].into_iter().filter_map(|key| event.payload.get(key)?.as_str())
}

#[async_trait::async_trait]
impl Handler for Indexer {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        let mut deliveries = Vec::with_capacity(events.len());
        let mut known = Vec::with_capacity(events.len());
        for event in events {
            deliveries.push(match (event.event_type.parse::<EventType>(), event.key.parse::<Uuid>()) {
                (Ok(_), Ok(node_id)) => {
                    known.push((event, node_id));
                    Delivery::Done
                }
                (Err(e), _) => Delivery::Dead(e.to_string()),
                (_, Err(e)) => Delivery::Dead(format!("an event's key is no node: {e}")),
            });
        }
        let changes = self.changes(&known).await.map_err(|e| Unavailable(e.to_string()))?;
        let refused = self.sink.apply(&changes).await?;
        let refused: HashMap<Uuid, &Refused> = refused.iter().map(|refused| (refused.node_id, refused)).collect();
        for (event, delivery) in events.iter().zip(&mut deliveries) {
            let refused = event.key.parse::<Uuid>().ok().and_then(|node_id| refused.get(&node_id));
            if let (Delivery::Done, Some(refused)) = (&*delivery, refused) {
                let reason = format!("record {}: {}", refused.record_id, refused.reason);
                *delivery = if refused.again { Delivery::Retry(reason) } else { Delivery::Dead(reason) };
            }
        }
        Ok(deliveries)
    }

    /// Several events of one node are one change.
    fn takes_runs(&self) -> bool {
        true
    }
}
