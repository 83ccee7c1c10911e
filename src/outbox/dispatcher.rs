//! Claims events, brings the index up to date, acknowledges.
//!
//! A claim takes a lease and raises each event's fencing token; what the index is given and the acknowledgement are one
//! transaction, and an acknowledgement whose token is no longer the event's undoes both: a worker that lost its lease
//! changes nothing (Q3).

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::Utc;
use context_entities::node;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    prelude::Json, prelude::Uuid,
};
use sea_session::prelude::*;

use crate::{
    error::StoreError,
    index::{IndexSink, NodeRecords},
    outbox::{EventType, TOPIC},
    record::{LEVELS, record_id, records_of},
    sql::{Sql, text},
};

/// How long a claim is good for.
const LEASE: Duration = Duration::from_secs(60);

/// After this many failed attempts an event is a dead letter.
const MAX_ATTEMPTS: i32 = 10;

/// The longest wait before another attempt.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Delivers the outbox to an index.
#[derive(Clone)]
pub struct Dispatcher {
    db: Db,
    sink: Arc<dyn IndexSink>,
    batch: u32,
}

/// What a run of the dispatcher did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DispatchReport {
    /// Events delivered.
    pub delivered: u64,
    /// Events that failed and wait for another attempt.
    pub retried: u64,
    /// Events given up.
    pub dead: u64,
    /// Batches claimed.
    pub batches: u64,
}

#[derive(Clone, Debug, FromQueryResult)]
struct Claimed {
    id: i64,
    account_id: String,
    event_key: String,
    event_type: String,
    payload: Json,
    fence: i64,
    attempts: i32,
}

impl Dispatcher {
    /// A dispatcher over a database and an index.
    pub fn new(db: Db, sink: Arc<dyn IndexSink>) -> Self {
        Self { db, sink, batch: 200 }
    }

    /// With at most so many events a claim.
    pub fn batch(mut self, events: u32) -> Self {
        self.batch = events.max(1);
        self
    }

    fn unit(&self) -> UnitOptions {
        let unit = self.db.session().retry(Retry::times(8));
        if self.db.backend() == DbBackend::Postgres { unit.set_local("app.dispatcher", "on") } else { unit }
    }

    /// Delivers until nothing is due.
    ///
    /// # Errors
    /// What the database says. A sink's failure is not one: its events wait, or are given up.
    ///
    /// # Cancel safety
    /// Safe: what was claimed and not acknowledged is claimed again when its lease runs out.
    pub async fn drain(&self) -> Result<DispatchReport, StoreError> {
        let mut report = DispatchReport::default();
        loop {
            let claimed = self.claim().await?;
            if claimed.is_empty() {
                return Ok(report);
            }
            report.batches += 1;
            self.deliver(claimed, &mut report).await?;
        }
    }

    /// Takes the heads of some nodes' queues: of each node the first event that is not delivered.
    async fn claim(&self) -> Result<Vec<Claimed>, StoreError> {
        let worker = Uuid::now_v7().to_string();
        let claimed = self
            .unit()
            .run(async |s: &mut Session| -> Result<Vec<Claimed>, StoreError> {
                let now = Utc::now();
                let mut sql = Sql::new(s.backend());
                sql.with(
                    "UPDATE outbox_events SET state = 'processing', claimed_by = ?, lease_until = ?, fence = fence + 1, attempts = attempts + 1 ",
                    [text(&worker), (now + LEASE).into()],
                );
                sql.push("WHERE id IN (SELECT e.id FROM outbox_events e WHERE e.topic = ").bind(TOPIC);
                sql.with(" AND ((e.state = 'pending' AND e.available_at <= ?) OR (e.state = 'processing' AND e.lease_until < ?))", [
                    now.into(),
                    now.into(),
                ]);
                sql.push(" AND NOT EXISTS (SELECT 1 FROM outbox_events p WHERE p.topic = e.topic AND p.event_key = e.event_key");
                sql.push(" AND p.state IN ('pending', 'processing') AND (p.sequence < e.sequence OR (p.sequence = e.sequence AND p.id < e.id)))");
                sql.push(" ORDER BY e.id LIMIT ").bind(i64::from(self.batch)).either(" FOR UPDATE SKIP LOCKED)", ")");
                sql.push(" RETURNING id, account_id, event_key, event_type, payload, fence, attempts");
                Ok(Claimed::find_by_statement(sql.finish()).all(s).await?)
            })
            .await?;
        Ok(claimed)
    }

    /// The whole batch as one; if that fails, each event alone, so that a bad one fails alone (Q5).
    async fn deliver(&self, mut claimed: Vec<Claimed>, report: &mut DispatchReport) -> Result<(), StoreError> {
        let known: Vec<Claimed>;
        (known, claimed) = claimed.into_iter().partition(|event| event.event_type.parse::<EventType>().is_ok());
        for event in &claimed {
            let message = format!("unknown event type `{}`", event.event_type);
            self.fail(event, &message, true, report).await?;
        }
        if known.is_empty() || self.apply(&known).await.map(|()| report.delivered += known.len() as u64).is_ok() {
            return Ok(());
        }
        for event in &known {
            match self.apply(std::slice::from_ref(event)).await {
                Ok(()) => report.delivered += 1,
                Err(e) => self.fail(event, &e.to_string(), false, report).await?,
            }
        }
        Ok(())
    }

    async fn apply(&self, events: &[Claimed]) -> Result<(), StoreError> {
        self.unit()
            .run(async |s: &mut Session| -> Result<(), StoreError> {
                let changes = changes(s, events).await?;
                self.sink.apply(s, &changes).await?;
                acknowledge(s, events).await
            })
            .await
    }

    async fn fail(
        &self,
        event: &Claimed,
        message: &str,
        hopeless: bool,
        report: &mut DispatchReport,
    ) -> Result<(), StoreError> {
        let dead = hopeless || event.attempts >= MAX_ATTEMPTS;
        if dead {
            report.dead += 1;
        } else {
            report.retried += 1;
        }
        self.unit()
            .run(async |s: &mut Session| -> Result<(), StoreError> {
                let now = Utc::now();
                let mut sql = Sql::new(s.backend());
                sql.with("UPDATE outbox_events SET state = ?, claimed_by = NULL, lease_until = NULL, last_error = ?, available_at = ?, finished_at = ", [
                    text(if dead { "dead" } else { "pending" }),
                    text(message),
                    (now + backoff(event.attempts)).into(),
                ]);
                sql.bind(dead.then_some(now)).with(" WHERE id = ? AND fence = ? AND state = 'processing'", [event.id.into(), event.fence.into()]);
                s.execute_raw(sql.finish()).await?;
                Ok(())
            })
            .await
    }
}

/// Doubles with every attempt up to a bound, with full jitter; no attempt count overflows it.
fn backoff(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 20)).unwrap_or_default();
    let cap = Duration::from_millis(200).saturating_mul(1 << doublings).min(MAX_BACKOFF);
    cap.mul_f64(fastrand::f64())
}

/// What the index should hold of each event's node, read under a lock that keeps it true until the unit ends. Not through
/// the identity map: the dispatcher serves every tenant, and a unit holds the objects of one (T2).
async fn changes(s: &mut Session, events: &[Claimed]) -> Result<Vec<NodeRecords>, StoreError> {
    let ids = events.iter().map(|event| event.event_key.parse::<Uuid>());
    let ids: Vec<Uuid> = ids
        .collect::<Result<_, _>>()
        .map_err(|e| StoreError::InvalidArgument(format!("an event's key is no node: {e}")))?;
    let rows = node::Entity::find()
        .filter(node::Column::Id.is_in(ids.iter().copied()))
        .order_by_asc(node::Column::Id)
        .lock_shared()
        .all(s)
        .await?;
    let rows: HashMap<Uuid, node::Model> = rows.into_iter().map(|row| (row.id, row)).collect();
    let changes = events.iter().zip(ids).map(|(event, node_id)| {
        let records = rows.get(&node_id).map(records_of).unwrap_or_default();
        NodeRecords { account_id: event.account_id.clone(), node_id, gone: gone(event, &records), records }
    });
    Ok(changes.collect())
}

/// Record ids that the node may have had and has no longer.
fn gone(event: &Claimed, records: &[crate::record::Record]) -> Vec<String> {
    let uris = ["from", "uri"].into_iter().filter_map(|key| event.payload.get(key)?.as_str());
    let mut ids: Vec<String> = uris.flat_map(|uri| LEVELS.map(|level| record_id(uri, level))).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| !records.iter().any(|record| record.id == *id));
    ids
}

/// Marks the events done, if this worker still holds all of them.
async fn acknowledge(s: &mut Session, events: &[Claimed]) -> Result<(), StoreError> {
    let mut sql = Sql::new(s.backend());
    sql.push("UPDATE outbox_events SET state = 'done', claimed_by = NULL, lease_until = NULL, last_error = NULL, finished_at = ").bind(Utc::now());
    sql.push(" WHERE state = 'processing' AND (id, fence) IN (VALUES ");
    for (i, event) in events.iter().enumerate() {
        sql.push(if i == 0 { "" } else { ", " }).with("(?, ?)", [event.id.into(), event.fence.into()]);
    }
    sql.push(")");
    let done = s.execute_raw(sql.finish()).await?.rows_affected();
    if done == events.len() as u64 {
        return Ok(());
    }
    Err(StoreError::InvalidArgument("the lease on an event was lost to another worker".into()))
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("db", &self.db).field("batch", &self.batch).finish_non_exhaustive()
    }
}
