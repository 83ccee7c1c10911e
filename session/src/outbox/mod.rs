//! The outbox: events that commit with the change that caused them, and are delivered at least once, in order within
//! their key, by as many dispatchers as one likes (Q).
//!
//! An application declares a table with the columns below (as an entity with `#[derive(Tracked)]`, so that the flush
//! writes events like any other row) and a [`Handler`]. This module claims, hands over, and acknowledges; it never reads
//! the order of commits from a sequence (Z21), and it never takes a lock for a key. On PostgreSQL the running dispatchers of a
//! stream divide its keys, so that their claims do not meet; nothing depends on it.
//!
//! | column | type | |
//! |---|---|---|
//! | `id` | integer | generated |
//! | `account_id`, `topic`, `event_key`, `event_type` | text | whose, which stream, what order is kept for, what happened |
//! | `sequence` | integer | the order within a key: the writer holds the key's row until it commits |
//! | `payload` | JSON | the particulars |
//! | `state` | text | `pending`, `processing`, `done`, `dead` |
//! | `attempts`, `fence` | integer | how often it was tried; the fencing token |
//! | `available_at`, `created_at` | time | not before; since when |
//! | `claimed_by`, `lease_until` | text, time; nullable | who holds it, and until when |
//! | `last_error`, `finished_at` | text, time; nullable | why it failed; when it was done or dead, and only then |
//!
//! [`Outbox::create_indexes`] adds what claims need to be quick.

mod acknowledge;
mod by_document;
mod claim;
mod dead;
mod delivery;
mod dispatcher;
mod health;
mod indexes;
mod pace;
mod reason;
mod scan;
mod share;
mod wake;

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, IsolationLevel};

pub(crate) use claim::texts;
pub use dead::DeadLetter;
pub use dispatcher::{Dispatcher, Report};
pub use health::Health;
pub use wake::Waker;

use crate::{
    connection::{
        db::{Db, Queues},
        text::Text,
    },
    error::Error,
    run::options::UnitOptions,
    table::sql::quote,
    unit::session::Session,
};

/// An outbox: a table, one stream in it, and how to reach it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: Db,
    table: String,
    topic: String,
    settings: Vec<(String, String)>,
    /// The topic whose done events name, by their keys, the streams to which settled events are copied.
    subscriptions: Option<String>,
    waker: Waker,
}

/// An event that was claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub account_id: String,
    /// What order is kept for.
    pub key: String,
    /// Its place in that order.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// The particulars.
    pub payload: serde_json::Value,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// The token that an acknowledgement must show (Q3).
    fence: i64,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// It is done.
    Done,
    /// It failed; try again after a pause, until the attempts are used up (Q4).
    Retry(String),
    /// It can never succeed (an unknown type, a payload that cannot be read): a dead letter at once (Q5).
    Dead(String),
    /// It is too early: again after this long, not counted as an attempt. What follows of its key waits with it.
    Snooze(Duration),
    /// It was not tried, because something earlier of its key was not delivered. Not counted as an attempt. Only a handler
    /// that [takes runs](Handler::takes_runs) has reason to say so; what it says of such events is taken as this anyway.
    HeldUp,
}

impl Delivery {
    /// Whether what follows of the same key may be delivered now.
    fn settles(&self) -> bool {
        matches!(self, Delivery::Done | Delivery::Dead(_))
    }
}

/// The receiver cannot be reached at all: every event is held back, none is counted as failed (Q5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the receiver cannot be reached: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Receives events. A call holds at most one event of each key, so nothing in it depends on its order; one that
/// [takes runs](Handler::takes_runs) is given whole batches.
#[async_trait::async_trait]
pub trait Handler: Send + Sync {
    /// Takes a batch and says for each event, in the batch's order, what became of it. May be called again with an event
    /// that it took before (Q2): the effect must bear that, or use [`first_time`].
    ///
    /// # Errors
    /// [`Unavailable`] if the receiver is down.
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable>;

    /// Whether a call may hold several events of one key, in their order: for a receiver that keeps the order itself, and
    /// that takes nothing of a key after an event of it which it did not settle. Otherwise a claim with several events of a
    /// key becomes as many calls.
    fn takes_runs(&self) -> bool {
        false
    }
}

impl Outbox {
    /// The stream `topic` in `table`.
    pub fn new(db: &Db, table: &str, topic: &str) -> Self {
        Self {
            db: db.clone(),
            table: table.to_owned(),
            topic: topic.to_owned(),
            settings: Vec::new(),
            subscriptions: None,
            waker: Waker::new(db, table, topic),
        }
    }

    /// Binds a setting in every transaction of the dispatcher (PostgreSQL): what row-level security asks of one that
    /// serves all tenants.
    pub fn set_local(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Copies each event that is delivered, or given up, to each subscribed stream of the same table: in the transaction of the
    /// acknowledgement, so once for each, and in the order of its key. Writers write one stream; each receiver has one of its own,
    /// and who drains one takes nothing that another waits for (E4). Their dispatchers are woken after the commit (Q6).
    ///
    /// A stream is subscribed for as long as there is a done event of the topic `subscriptions` whose key is the stream's name. It
    /// gets what is acknowledged from then on: whoever subscribes locks the table against acknowledgements that are under way
    /// (PostgreSQL: `SHARE ROW EXCLUSIVE`).
    pub fn copying_to(mut self, subscriptions: &str) -> Self {
        self.subscriptions = Some(subscriptions.to_owned());
        self
    }

    /// Another stream of the same table, as a writer sees it.
    pub(crate) fn beside(&self, topic: &str) -> Self {
        Self::new(&self.db, &self.table, topic)
    }

    /// The database that it is in.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Wakes dispatchers after this unit has committed (Q6): not in the transaction, where NOTIFY would make all commits
    /// wait for each other. Call it in the unit that writes events; more than once does no harm.
    pub fn wake_after_commit(&self, s: &mut Session) {
        let waker = self.waker.clone();
        s.on_commit(async move || waker.wake()).robust();
    }

    /// Wakes dispatchers now.
    pub fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    fn unit(&self) -> UnitOptions {
        let mut unit = self.db.session().retry(5);
        match self.db.queues() {
            Queues::OneWriter => {}
            // Each statement looks at what is committed by then, and no gaps between events are locked, into which others write.
            Queues::Documents => unit = unit.isolation(IsolationLevel::ReadCommitted),
            Queues::Arrays => unit = self.planned_once(unit),
        }
        unit
    }

    fn planned_once(&self, mut unit: UnitOptions) -> UnitOptions {
        // A queue is empty when its statements are planned and long when they run, or the other way round: what the
        // planner knows of its size is always wrong. Its indexes are right for every size, so a statement is planned once:
        // it may take longer to plan a claim than to carry it out.
        unit = unit.fixed(
                "; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_generic_plan",
            );
        for (key, value) in &self.settings {
            unit = unit.set_local(key, value);
        }
        unit
    }

    fn name(&self) -> &str {
        &self.table
    }

    fn table(&self) -> String {
        quote(&self.table)
    }

    /// Depth, age and dead letters of the stream, as numbers (Q10).
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn metrics(&self) -> Result<Metrics, Error> {
        let mut text = self.text();
        let topic = text.bind(self.topic.clone().into());
        text.sql = format!(
            "SELECT state, count(*) AS events, max(attempts) AS attempts, min(created_at) AS oldest FROM {} WHERE topic = {topic} GROUP BY state",
            self.table()
        );
        let rows = self.query(text).await?;
        let mut metrics = Metrics::default();
        for row in &rows {
            let events = u64::try_from(row.try_get::<i64>("", "events")?).unwrap_or_default();
            match row.try_get::<String>("", "state")?.as_str() {
                "pending" => metrics.pending = events,
                "processing" => metrics.processing = events,
                "done" => metrics.done = events,
                "dead" => metrics.dead = events,
                _ => continue,
            }
            let waits = matches!(row.try_get::<String>("", "state")?.as_str(), "pending" | "processing");
            if waits {
                let oldest: DateTime<Utc> = row.try_get("", "oldest")?;
                let age = (Utc::now() - oldest).to_std().unwrap_or_default();
                metrics.oldest = Some(metrics.oldest.map_or(age, |held| held.max(age)));
                metrics.most_attempts = metrics.most_attempts.max(row.try_get("", "attempts")?);
            }
        }
        Ok(metrics)
    }

    /// Removes done events that are older than `age`, at most `most` of them, so that a clean-up never holds the table for
    /// long (Q9). Returns how many.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, the statement may have been carried out or not.
    pub async fn purge_done(&self, age: Duration, most: u64) -> Result<u64, Error> {
        let mut text = self.text();
        let topic = text.bind(self.topic.clone().into());
        let before = text.bind((Utc::now() - age).into());
        let (table, old) = (self.table(), format!("topic = {topic} AND state = 'done' AND finished_at < {before}"));
        let first = format!("ORDER BY finished_at LIMIT {most}");
        text.sql = match self.db.queues() {
            Queues::Documents => format!("DELETE FROM {table} WHERE {old} {first}"),
            _ => format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {old} {first})"),
        };
        self.execute(text).await
    }
}

/// The numbers of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Waiting.
    pub pending: u64,
    /// Claimed.
    pub processing: u64,
    /// Delivered and not yet removed.
    pub done: u64,
    /// Given up.
    pub dead: u64,
    /// How long the oldest that is not delivered has waited.
    pub oldest: Option<Duration>,
    /// The most attempts of one that is not delivered.
    pub most_attempts: i32,
}

impl Metrics {
    /// Whether nothing waits and nothing is under way.
    pub fn is_drained(&self) -> bool {
        self.pending + self.processing == 0
    }
}

/// Forgets messages that were received longer than `age` ago, at most `most` of them: none that could still come again may be
/// that old. `table` is that of [`first_time`], and `received` its column of time. Returns how many.
///
/// # Errors
/// What the database says.
///
/// # Cancel safety
/// A statement dropped half-way flags its block (C1).
pub async fn forget_received(
    s: &mut Session,
    table: &str,
    received: &str,
    age: Duration,
    most: u64,
) -> Result<u64, Error> {
    s.takes_outbox()?;
    let mut text = s.text();
    let before = text.bind((Utc::now() - age).into());
    let (table, received) = (quote(table), quote(received));
    let old = format!("WHERE {received} < {before} ORDER BY {received} LIMIT {most}");
    text.sql = match s.queues() {
        Queues::Documents => format!("DELETE FROM {table} {old}"),
        _ => format!(
            "DELETE FROM {table} WHERE (consumer, message_id) IN (SELECT consumer, message_id FROM {table} {old})"
        ),
    };
    Ok(s.execute_raw(text.statement()).await?.rows_affected())
}

/// Whether `message` reaches `consumer` for the first time (Q8): call it in the unit of the effect, on a table with
/// the columns `consumer`, `message_id`, `account_id`, and a time that has a default. A second delivery gets `false`, also while the
/// first is still under way.
///
/// # Errors
/// What the database says.
///
/// # Cancel safety
/// A statement dropped half-way flags its block (C1).
pub async fn first_time(
    s: &mut Session,
    table: &str,
    account: &str,
    consumer: &str,
    message: &str,
) -> Result<bool, Error> {
    s.takes_outbox()?;
    let mut text = s.text();
    let places: Vec<String> = [consumer, message, account].into_iter().map(|value| text.bind(value.into())).collect();
    let insert =
        format!("INSERT INTO {} (consumer, message_id, account_id) VALUES ({})", quote(table), places.join(", "));
    if s.queues() == Queues::Documents {
        text.sql = insert;
        return inserted(s, text).await;
    }
    text.sql = format!("{insert} ON CONFLICT DO NOTHING");
    Ok(s.execute_raw(text.statement()).await?.rows_affected() == 1)
}

/// Whether a row was not there yet. `INSERT IGNORE` would pass over more than that: it cuts a value that is too long, and then
/// takes one message for another.
async fn inserted(s: &mut Session, text: Text) -> Result<bool, Error> {
    let outcome: Result<(), Error> = s
        .atomic(async |s: &mut Session| {
            s.execute_raw(text.statement()).await?;
            Ok(())
        })
        .await;
    match outcome {
        Ok(()) => Ok(true),
        Err(e) if e.is_unique_violation() => Ok(false),
        Err(e) => Err(e),
    }
}
