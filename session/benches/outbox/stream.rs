//! The stream of events that is measured, and how it is written and delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sea_orm::Set;
use sea_orm::sqlx::{self, postgres::PgPool};
use sea_session::outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable};
use sea_session::prelude::*;
use tokio::sync::Notify;

pub use crate::support_outbox::event;
use crate::support_outbox::new_event;

pub mod note {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// What changes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub body: String,
        #[tracked(version)]
        pub version: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub fn outbox(db: &Db) -> Outbox {
    Outbox::new(db, "events", "bench")
}

/// A dispatcher as it is measured: two batches in hand, delivered events removed.
pub fn dispatcher(db: &Db, handler: impl Handler + 'static, batch: usize) -> Dispatcher {
    Dispatcher::new(&outbox(db), handler).batch(batch).claims(2).retention(None)
}

/// Does nothing with an event but count it.
pub struct Count {
    left: AtomicUsize,
    over: Arc<Notify>,
}

#[async_trait::async_trait]
impl Handler for Count {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        if self.left.fetch_sub(events.len(), Ordering::Relaxed) == events.len() {
            self.over.notify_one();
        }
        Ok(vec![Delivery::Done; events.len()])
    }
}

/// Delivers so many events, acknowledgement included.
pub async fn deliver(db: &Db, events: usize) -> Duration {
    let over = Arc::new(Notify::new());
    let dispatcher = dispatcher(db, Count { left: AtomicUsize::new(events), over: over.clone() }, crate::BATCH);
    let start = Instant::now();
    let report = dispatcher.run(async move { over.notified().await }).await;
    let time = start.elapsed();
    assert_eq!(report.delivered, events as u64);
    time
}

fn written(n: usize) -> event::ActiveModel {
    event::ActiveModel {
        payload: Set(serde_json::json!({ "uri": format!("ctx://acme/resources/n{n}"), "version": n })),
        ..new_event("bench", &format!("key {}", n % 1_000), n as i64, "changed")
    }
}

/// One unit with so many events.
pub async fn enqueue(db: &Db, events: usize) -> Duration {
    let events: Vec<_> = (0..events).map(written).collect();
    let start = Instant::now();
    let outbox = outbox(db);
    let events = parking_lot::Mutex::new(Some(events));
    let outcome: Result<(), SessionError> = db
        .run(async |s: &mut Session| {
            for event in events.lock().take().into_iter().flatten() {
                s.add(event);
            }
            outbox.wake_after_commit(s);
            Ok(())
        })
        .await;
    outcome.expect("a unit");
    start.elapsed()
}

/// The same rows by one INSERT from arrays.
pub async fn enqueue_by_hand(pool: &PgPool, events: usize) -> Duration {
    let rows = || 0..events as i64;
    let keys: Vec<String> = rows().map(|n| format!("key {}", n % 1_000)).collect();
    let payloads: Vec<serde_json::Value> =
        rows().map(|n| serde_json::json!({ "uri": format!("ctx://acme/resources/n{n}"), "version": n })).collect();
    let accounts = vec!["acme"; events];
    let topics = vec!["bench"; events];
    let types = vec!["changed"; events];
    let states = vec!["pending"; events];
    let zeros = vec![0_i32; events];
    let fences = vec![0_i64; events];
    let times = vec![chrono::Utc::now(); events];
    let sequences: Vec<i64> = rows().collect();
    let start = Instant::now();
    let mut unit = pool.begin().await.expect("begin");
    let sql = "INSERT INTO events (account_id, topic, event_key, sequence, event_type, payload, state, attempts, fence, available_at, created_at) \
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::jsonb[], $7::text[], $8::int[], $9::bigint[], \
         $10::timestamptz[], $11::timestamptz[])";
    sqlx::query(sql)
        .bind(accounts)
        .bind(topics)
        .bind(keys)
        .bind(sequences)
        .bind(types)
        .bind(payloads)
        .bind(states)
        .bind(zeros)
        .bind(fences)
        .bind(times.clone())
        .bind(times)
        .execute(&mut *unit)
        .await
        .expect("rows");
    unit.commit().await.expect("commit");
    start.elapsed()
}

/// One unit with one event.
pub async fn write_one(db: &Db, n: usize) {
    let outbox = outbox(db);
    let outcome: Result<(), SessionError> = db
        .run(async |s: &mut Session| {
            s.add(written(n));
            outbox.wake_after_commit(s);
            Ok(())
        })
        .await;
    outcome.expect("a unit");
}

/// A row for each client.
pub async fn notes(db: &Db, clients: usize) {
    let outcome: Result<(), SessionError> = db
        .run(async |s: &mut Session| {
            for id in 0..clients as i64 {
                if s.get::<note::Entity>(id).await?.is_none() {
                    s.add(note::ActiveModel { id: Set(id), body: Set(String::new()), ..Default::default() });
                }
            }
            Ok(())
        })
        .await;
    outcome.expect("notes");
}

/// So many units from so many clients, each of which changes its row and enqueues the event of it.
pub async fn write(db: &Db, clients: usize, units: usize) -> Duration {
    let start = Instant::now();
    let clients = (0..clients).map(|client| {
        let db = db.clone();
        tokio::spawn(async move {
            let outbox = outbox(&db);
            for n in (client..units).step_by(clients) {
                let outcome: Result<(), SessionError> = db
                    .run(async |s: &mut Session| {
                        let note = s.get::<note::Entity>(client as i64).await?;
                        let note = note.ok_or_else(|| SessionError::Usage("the note is gone".into()))?;
                        note.set_body(format!("revision {n}"));
                        s.add(written(n));
                        outbox.wake_after_commit(s);
                        Ok(())
                    })
                    .await;
                outcome.expect("a unit");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    start.elapsed()
}
