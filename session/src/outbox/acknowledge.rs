//! Acknowledging, in batches (Q3): what became of the events of a claim, in one statement, each event matched on its
//! fencing token. A worker whose lease ran out changes nothing.

use std::time::Duration;

use chrono::Utc;
use sea_orm::QueryResult;

use super::{
    Delivery, Event, Outbox,
    claim::{HELD, held_as, texts},
    pace::backoff,
    reason::plain,
};
use crate::{connection::db::Queues, error::Error, table::value::number_array, unit::session::Session};

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) done: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    /// Refused: another worker holds the event by now.
    pub(crate) stale: u64,
}

/// How an event ends its claim.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(super) id: i64,
    pub(super) fence: i64,
    /// The state that it gets; `gone` for a done one that is not kept.
    pub(super) state: &'static str,
    pub(super) reason: String,
    pub(super) pause: Duration,
    /// An attempt that does not count.
    pub(super) unspent: bool,
}

impl Ending {
    /// What `delivery` makes of `event`.
    pub(crate) fn of(event: &Event, delivery: &Delivery, most_attempts: i32, keep_done: bool) -> Self {
        let (state, reason, pause, unspent) = match delivery {
            Delivery::Done if keep_done => ("done", "", Duration::ZERO, false),
            Delivery::Done => ("gone", "", Duration::ZERO, false),
            Delivery::Dead(reason) => ("dead", reason.as_str(), Duration::ZERO, false),
            Delivery::Retry(reason) if event.attempt >= most_attempts => {
                ("dead", reason.as_str(), Duration::ZERO, false)
            }
            Delivery::Retry(reason) => ("pending", reason.as_str(), backoff(event.attempt), false),
            Delivery::Snooze(pause) => ("pending", "snoozed", *pause, true),
            Delivery::HeldUp => ("pending", "", Duration::ZERO, true),
        };
        let reason = plain(reason);
        // A dead letter without a reason would not be found by the index of dead letters.
        let reason = if state == "dead" && reason.is_empty() { "no reason was given".to_owned() } else { reason };
        Self { id: event.id, fence: event.fence, state, reason, pause, unspent }
    }

    /// Put back untouched (a shutdown, a receiver that is down); the claim does not count as an attempt.
    pub(crate) fn released(event: &Event, pause: Duration, reason: &str) -> Self {
        Self { id: event.id, fence: event.fence, state: "pending", reason: plain(reason), pause, unspent: true }
    }
}

impl Outbox {
    /// Writes what became of a batch, in the unit of `s`.
    pub(crate) async fn acknowledge_in(&self, s: &mut Session, endings: &[Ending]) -> Result<Acknowledged, Error> {
        if endings.is_empty() {
            return Ok(Acknowledged::default());
        }
        if self.db().queues() == Queues::Documents {
            return self.acknowledge_by_document(s, endings).await;
        }
        self.copy(s, endings).await?;
        if endings.iter().all(|ending| ending.state == "gone") {
            let done = self.remove(s, endings).await?;
            return Ok(Acknowledged { done, stale: endings.len() as u64 - done, ..Acknowledged::default() });
        }
        let rows = match self.takes_arrays() {
            true => self.finish_by_arrays(s, endings).await?,
            false => self.finish_one_by_one(s, endings).await?,
        };
        let mut acknowledged = Acknowledged::default();
        for row in &rows {
            let (id, state): (i64, String) = (row.try_get("", "id")?, row.try_get("", "state")?);
            match state.as_str() {
                "done" => acknowledged.done += 1,
                "dead" => acknowledged.dead += 1,
                _ if endings.iter().any(|ending| ending.id == id && !ending.unspent) => acknowledged.retried += 1,
                _ => {}
            }
        }
        acknowledged.stale = (endings.len() as u64).saturating_sub(rows.len() as u64);
        Ok(acknowledged)
    }

    /// Copies what is settled to the other streams, and wakes their dispatchers after the commit; an event that another worker
    /// holds by now is that worker's to copy.
    async fn copy(&self, s: &mut Session, endings: &[Ending]) -> Result<(), Error> {
        let Some(subscriptions) = &self.subscriptions else { return Ok(()) };
        let settled: Vec<&Ending> = endings.iter().filter(|ending| ending.state != "pending").collect();
        if settled.is_empty() {
            return Ok(());
        }
        let mut text = self.text();
        let held = match self.takes_arrays() {
            true => {
                let ids = text.bind(number_array(settled.iter().map(|ending| ending.id)));
                let fences = text.bind(number_array(settled.iter().map(|ending| ending.fence)));
                format!(
                    "EXISTS (SELECT 1 FROM UNNEST({ids}::bigint[], {fences}::bigint[]) AS u(id, fence) WHERE u.id = e.id AND u.fence = e.fence) \
                     AND e.id = ANY ({ids}::bigint[]) AND e.state = 'processing'"
                )
            }
            false => held_as(&mut text, settled.iter().map(|ending| [ending.id, ending.fence])),
        };
        let now = self.db().clock().map_or_else(|| text.bind(Utc::now().into()), str::to_owned);
        let topic = text.bind(subscriptions.clone().into());
        text.sql = format!(
            "INSERT INTO {0} (account_id, topic, event_key, sequence, event_type, payload, state, attempts, fence, available_at, created_at) \
             SELECT e.account_id, t.name, e.event_key, e.sequence, e.event_type, e.payload, 'pending', 0, 0, {now}, {now} \
             FROM {0} AS e CROSS JOIN (SELECT DISTINCT n.event_key AS name FROM {0} AS n WHERE n.topic = {topic} AND n.finished_at IS NOT NULL) AS t \
             WHERE {held} ORDER BY e.id RETURNING topic",
            self.table()
        );
        let rows = self.rows(s, &text).await?;
        let mut streams: Vec<String> = rows.iter().map(|row| row.try_get("", "topic")).collect::<Result<_, _>>()?;
        streams.sort_unstable();
        streams.dedup();
        for stream in streams {
            self.beside(&stream).wake_after_commit(s);
        }
        Ok(())
    }

    fn takes_arrays(&self) -> bool {
        self.db().queues() == Queues::Arrays
    }

    /// Removes delivered events.
    async fn remove(&self, s: &mut Session, endings: &[Ending]) -> Result<u64, Error> {
        let mut text = self.text();
        let table = self.table();
        match self.takes_arrays() {
            true => {
                let ids = text.bind(number_array(endings.iter().map(|ending| ending.id)));
                let fence = endings[0].fence;
                text.sql = if endings.iter().all(|ending| ending.fence == fence) {
                    let fence = text.bind(fence.into());
                    format!("DELETE FROM {table} WHERE id = ANY ({ids}) AND fence = {fence} AND state = 'processing'")
                } else {
                    let fences = text.bind(number_array(endings.iter().map(|ending| ending.fence)));
                    format!("DELETE FROM {table} AS e USING UNNEST({ids}, {fences}) AS u(id, fence) WHERE {HELD}")
                };
            }
            false => {
                let held = held_as(&mut text, endings.iter().map(|ending| [ending.id, ending.fence]));
                text.sql = format!("DELETE FROM {table} WHERE {held}");
            }
        }
        self.changed(s, &text).await
    }

    /// Each event with its own end, in one statement; done ones that are not kept are marked here and removed by the next
    /// clean-up.
    async fn finish_by_arrays(&self, s: &mut Session, endings: &[Ending]) -> Result<Vec<QueryResult>, Error> {
        let mut text = self.text();
        let ids = text.bind(number_array(endings.iter().map(|ending| ending.id)));
        let fences = text.bind(number_array(endings.iter().map(|ending| ending.fence)));
        let states = text.bind(texts(endings.iter().map(|ending| ending.kept_state())));
        let reasons = text.bind(texts(endings.iter().map(|ending| ending.reason.as_str())));
        let pauses = text.bind(number_array(endings.iter().map(|ending| micros(ending.pause))));
        let unspent = text.bind(number_array(endings.iter().map(|ending| i64::from(ending.unspent))));
        text.sql = format!(
            "UPDATE {} AS e SET state = u.state, attempts = e.attempts - u.unspent, \
             available_at = CASE u.state WHEN 'pending' THEN statement_timestamp() + u.pause * interval '1 microsecond' ELSE e.available_at END, \
             finished_at = CASE u.state WHEN 'pending' THEN NULL ELSE statement_timestamp() END, \
             last_error = coalesce(nullif(u.reason, ''), CASE u.state WHEN 'pending' THEN e.last_error END), \
             claimed_by = NULL, lease_until = NULL \
             FROM UNNEST({ids}::bigint[], {fences}::bigint[], {states}::text[], {reasons}::text[], {pauses}::bigint[], {unspent}::int[]) \
             AS u(id, fence, state, reason, pause, unspent) \
             WHERE {HELD} RETURNING e.id, e.state",
            self.table()
        );
        self.rows(s, &text).await
    }

    async fn finish_one_by_one(&self, s: &mut Session, endings: &[Ending]) -> Result<Vec<QueryResult>, Error> {
        let mut text = self.text();
        let now = Utc::now();
        let list: Vec<serde_json::Value> = endings
            .iter()
            .map(|e| {
                serde_json::json!([
                    e.id,
                    e.fence,
                    e.kept_state(),
                    e.reason,
                    instant(now + e.pause),
                    i32::from(e.unspent)
                ])
            })
            .collect();
        let list = text.bind(serde_json::Value::from(list).to_string().into());
        let now = text.bind(now.into());
        text.sql = format!(
            "UPDATE {0} SET state = u.state, attempts = attempts - u.unspent, \
             available_at = CASE u.state WHEN 'pending' THEN u.at ELSE available_at END, \
             finished_at = CASE u.state WHEN 'pending' THEN NULL ELSE {now} END, \
             last_error = coalesce(nullif(u.reason, ''), CASE u.state WHEN 'pending' THEN last_error END), \
             claimed_by = NULL, lease_until = NULL \
             FROM (SELECT value ->> 0 AS id, value ->> 1 AS fence, value ->> 2 AS state, value ->> 3 AS reason, value ->> 4 AS at, \
             value ->> 5 AS unspent FROM json_each({list})) AS u \
             WHERE {0}.id = u.id AND {0}.fence = u.fence AND {0}.state = 'processing' RETURNING {0}.id, {0}.state",
            self.table()
        );
        self.rows(s, &text).await
    }
}

impl Ending {
    /// The state that it has until the clean-up.
    pub(super) fn kept_state(&self) -> &'static str {
        if self.state == "gone" { "done" } else { self.state }
    }
}

pub(super) fn micros(pause: Duration) -> i64 {
    // A century, at most: more would be no time that PostgreSQL knows.
    i64::try_from(pause.as_micros()).unwrap_or(i64::MAX).min(3_155_760_000_000_000)
}

/// As SeaORM binds a time in SQLite.
fn instant(at: chrono::DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, false)
}
