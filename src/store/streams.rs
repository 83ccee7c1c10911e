//! Streams of the store's events for indexes elsewhere (E4).
//!
//! The store's own stream feeds the embedded index, and every `drain` delivers from it. An index elsewhere has a stream
//! of its own, into which the store's events are copied as the embedded index takes them: what it waits for, nobody
//! else can deliver.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, FromQueryResult, prelude::DateTimeUtc};
use sea_session::{
    outbox::{Dispatcher, Outbox},
    prelude::*,
};
use sha2::{Digest, Sha256};

use super::{Store, vectors};
use crate::{
    error::{StoreError, without_password},
    index::IndexSink,
    outbox::{self, EventType, Indexer, NOBODY, STREAMS, TOPIC},
    record::hex,
    sql::{Sql, text},
};

/// A stream of the store's events, for one index.
#[derive(Clone, Debug)]
pub struct SinkStream {
    name: String,
    outbox: Outbox,
}

/// What there is to know of a stream.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult, serde::Serialize)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Where it leads, without a password.
    pub sink: String,
    /// Since when.
    pub created_at: DateTimeUtc,
}

impl SinkStream {
    /// Its name, which is the topic of its events.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its numbers and dead letters.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// A dispatcher that keeps `sink` in step with the store, for as long as it runs. It delivers what was copied to
    /// the stream; copying is what a dispatcher of the store's own stream does ([`Store::dispatcher`],
    /// [`Store::drain`]), so one has to run as well.
    pub fn dispatcher(&self, sink: Arc<dyn IndexSink>) -> Dispatcher {
        Dispatcher::new(&self.outbox, Indexer::new(self.outbox.db(), sink)).batch(200)
    }
}

impl Store {
    /// The stream of an index elsewhere, by whatever tells it from others: its address, say. The first time, the stream
    /// is made, and begins with an event for every node that is there, so the index gets everything.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: the stream is made with all it begins with, or not.
    pub async fn sink_stream(&self, sink: &str) -> Result<SinkStream, StoreError> {
        let shown = without_password(sink);
        // Short: it is a part of the name of the channel on which its dispatchers are woken.
        let name = format!("{TOPIC}.{}", &hex(&Sha256::digest(&shown))[..16]);
        let made = outbox::unit(&self.db)
            .run(async |s: &mut Session| -> Result<bool, StoreError> {
                if is_subscribed(s, &name).await? {
                    return Ok(false);
                }
                // Waits for the acknowledgements that are under way, which do not know of the stream yet; those that
                // follow do.
                if let Some(lock) = super::dialect(s).lock_events {
                    s.execute_unprepared(lock).await?;
                    if is_subscribed(s, &name).await? {
                        return Ok(false);
                    }
                }
                subscribe(s, &name, &shown).await?;
                begin(s, &name).await?;
                Ok(true)
            })
            .await?;
        let stream = self.stream_named(&name);
        if made {
            stream.outbox.wake();
        }
        Ok(stream)
    }

    fn stream_named(&self, name: &str) -> SinkStream {
        SinkStream { name: name.to_owned(), outbox: outbox::stream(&self.db, name) }
    }

    /// The streams that there are beside the store's own.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sink_streams(&self) -> Result<Vec<(StreamInfo, SinkStream)>, StoreError> {
        let rows = outbox::unit(&self.db)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let mut sql = Sql::of(s);
                let sink = (sql.dialect().member)("payload", "sink");
                sql.push(&format!(
                    "SELECT event_key AS name, coalesce({sink}, '') AS sink, created_at FROM outbox_events"
                ));
                subscriptions(&mut sql);
                sql.push(" ORDER BY event_key");
                Ok(StreamInfo::find_by_statement(sql.finish()).all(s).await?)
            })
            .await?;
        Ok(rows.into_iter().map(|info| (info.clone(), self.stream_named(&info.name))).collect())
    }

    /// Ends a stream, with what waits in it and its dead letters: its index gets nothing more. With the stream of a model its
    /// vectors go. Returns whether there was one.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: the stream is there with all it holds, or gone.
    pub async fn forget_sink_stream(&self, name: &str) -> Result<bool, StoreError> {
        outbox::unit(&self.db)
            .run(async |s: &mut Session| -> Result<bool, StoreError> {
                let mut sql = Sql::of(s);
                sql.push("DELETE FROM outbox_events");
                subscriptions(&mut sql);
                let sink = (sql.dialect().member)("payload", "sink");
                sql.push(" AND event_key = ").bind(name).push(&format!(" RETURNING {sink} AS sink"));
                let Some(row) = s.query_one_raw(sql.finish()).await? else { return Ok(false) };
                let sink: Option<String> = row.try_get("", "sink")?;
                if let Some((model, dimensions)) = sink.as_deref().and_then(vectors::model_of) {
                    let mut sql = Sql::of(s);
                    sql.push("DELETE FROM index_vectors WHERE model = ").bind(model);
                    sql.push(" AND dimensions = ").bind(dimensions);
                    s.execute_raw(sql.finish()).await?;
                }
                let mut sql = Sql::of(s);
                sql.push("DELETE FROM outbox_events WHERE topic = ").bind(name);
                s.execute_raw(sql.finish()).await?;
                Ok(true)
            })
            .await
    }
}

/// ` WHERE …`: the events that say which streams there are.
fn subscriptions(sql: &mut Sql) {
    sql.push(" WHERE topic = ").bind(STREAMS).push(" AND finished_at IS NOT NULL");
}

async fn is_subscribed(s: &mut Session, name: &str) -> Result<bool, StoreError> {
    let mut sql = Sql::of(s);
    sql.push("SELECT event_key AS name, '' AS sink, created_at FROM outbox_events");
    subscriptions(&mut sql);
    sql.push(" AND event_key = ").bind(name);
    Ok(StreamInfo::find_by_statement(sql.finish()).one(s).await?.is_some())
}

async fn subscribe(s: &mut Session, name: &str, sink: &str) -> Result<(), StoreError> {
    let mut sql = Sql::of(s);
    let now: sea_orm::Value = super::write::now().into();
    let payload: sea_orm::Value = serde_json::json!({ "sink": sink }).into();
    sql.push("INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type, payload, state, created_at, finished_at) VALUES (");
    sql.with(
        "?, ?, ?, 1, 'stream.opened', ?, 'done', ?, ?)",
        [text(NOBODY), text(STREAMS), text(name), payload, now.clone(), now],
    );
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

/// An event for each node, but for those of which an event of the store's own stream is on its way and will be copied.
async fn begin(s: &mut Session, name: &str) -> Result<(), StoreError> {
    let mut sql = Sql::of(s);
    sql.push(
        "INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type, payload) SELECT n.account_id, ",
    );
    sql.bind(name).push(", k.event_key, n.version, ").bind(EventType::Write.as_str()).push(", ");
    let key = (sql.dialect().uuid_text)("n.id");
    sql.say(|d| d.object);
    sql.push("('uri', n.uri, 'from', n.uri, 'version', n.version) FROM nodes n JOIN (SELECT n.id, ");
    sql.push(&key).push(" AS event_key FROM nodes n) k ON k.id = n.id WHERE n.status = 'active' AND NOT EXISTS (SELECT 1 FROM outbox_events e WHERE e.topic = ");
    sql.bind(TOPIC).push(" AND e.event_key = k.event_key AND e.finished_at IS NULL) ORDER BY n.id");
    s.execute_raw(sql.finish()).await?;
    Ok(())
}
