//! Claiming and acknowledging, in batches (Q3). An acknowledgement must show the fencing token of its claim: a worker whose
//! lease ran out changes nothing.

use std::time::Duration;

use chrono::Utc;
use sea_orm::{DbBackend, FromQueryResult, QueryResult, Value, sea_query::ArrayType};

use super::{Delivery, Event, Outbox};
use crate::{Session, connection::Fetch, error::Error, flush::Text};

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How long to wait before attempt `attempt + 1`: twice as long each time, capped, of which a random half is taken away so
/// that events which failed together do not come back together. No attempt count overflows it (Q4).
pub(crate) fn backoff(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or_default().min(20);
    let ceiling = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) done: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    /// Refused: another worker holds the event by now.
    pub(crate) stale: u64,
}

/// Events that end the same way in one statement.
struct Ending<'e> {
    events: Vec<&'e Event>,
    sets: &'static str,
    reasons: Vec<String>,
    pauses: Vec<Duration>,
}

impl Outbox {
    pub(super) fn text(&self) -> Text {
        Text::new(self.backend(), "")
    }

    pub(super) async fn query(&self, text: Text) -> Result<Vec<QueryResult>, Error> {
        let (sql, values) = (text.sql, text.values);
        self.unit()
            .run(async |s: &mut Session| -> Result<_, Error> {
                let text = self.again(&sql, &values);
                Ok(s.core().statement(text.message(Fetch::All)).await?.rows())
            })
            .await
    }

    pub(super) async fn execute(&self, text: Text) -> Result<u64, Error> {
        let (sql, values) = (text.sql, text.values);
        self.unit()
            .run(async |s: &mut Session| -> Result<_, Error> {
                let text = self.again(&sql, &values);
                Ok(s.core().statement(text.message(Fetch::Nothing)).await?.affected())
            })
            .await
    }

    /// The statement for another attempt of its unit.
    fn again(&self, sql: &str, values: &[Value]) -> Text {
        let mut text = Text::new(self.backend(), sql);
        text.values = values.to_vec();
        text
    }

    /// Claims up to `most` events that are the first of their key, for `lease`.
    ///
    /// # Errors
    /// What the database says; nothing is claimed then.
    pub(crate) async fn claim(&self, worker: &str, most: usize, lease: Duration) -> Result<Vec<Event>, Error> {
        let mut text = self.text();
        let topic = text.bind(self.topic.clone().into());
        let now = text.bind(Utc::now().into());
        let by = text.bind(worker.into());
        let until = text.bind((Utc::now() + lease).into());
        let table = self.table();
        let skip = if self.backend() == DbBackend::Postgres { " FOR UPDATE SKIP LOCKED" } else { "" };
        // SQLite has no SKIP LOCKED and needs none: the unit holds the write lock, so the claim is one compare-and-set.
        text.sql = format!(
            "UPDATE {table} SET state = 'processing', fence = fence + 1, attempts = attempts + 1, claimed_by = {by}, lease_until = {until} \
             WHERE id IN (SELECT e.id FROM {table} AS e WHERE e.topic = {topic} AND e.state = 'pending' AND e.available_at <= {now} \
             AND NOT EXISTS (SELECT 1 FROM {table} AS p WHERE p.topic = e.topic AND p.event_key = e.event_key \
             AND p.state IN ('pending', 'processing') AND (p.sequence, p.id) < (e.sequence, e.id)) \
             ORDER BY e.available_at, e.id LIMIT {most}{skip}) \
             RETURNING id, account_id, event_key, sequence, event_type, payload, attempts, created_at, fence"
        );
        let rows = self.query(text).await?;
        let mut events = rows.iter().map(|row| Event::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
        events.sort_by_key(|event| event.id);
        Ok(events)
    }

    /// Gives events back whose worker was not heard of until its lease ran out.
    pub(crate) async fn reclaim(&self) -> Result<u64, Error> {
        let mut text = self.text();
        let topic = text.bind(self.topic.clone().into());
        let now = text.bind(Utc::now().into());
        text.sql = format!(
            "UPDATE {} SET state = 'pending', claimed_by = NULL, lease_until = NULL, last_error = 'the lease ran out' \
             WHERE topic = {topic} AND state = 'processing' AND lease_until < {now}",
            self.table()
        );
        self.execute(text).await
    }

    /// Extends the leases of events that are still being handled.
    pub(crate) async fn extend(&self, events: &[Event], lease: Duration) -> Result<u64, Error> {
        let mut text = self.text();
        let until = text.bind((Utc::now() + lease).into());
        let held = self.held(&mut text, &events.iter().collect::<Vec<_>>());
        text.sql = format!("UPDATE {} SET lease_until = {until} WHERE {held}", self.table());
        self.execute(text).await
    }

    /// Puts claimed events back untouched (a shutdown, a receiver that is down); the claim does not count as an attempt.
    pub(crate) async fn release(&self, events: &[Event], pause: Duration, reason: &str) -> Result<u64, Error> {
        let mut text = self.text();
        let at = text.bind((Utc::now() + pause).into());
        let reason = text.bind(reason.into());
        let held = self.held(&mut text, &events.iter().collect::<Vec<_>>());
        text.sql = format!(
            "UPDATE {} SET state = 'pending', attempts = attempts - 1, available_at = {at}, last_error = {reason}, claimed_by = NULL, \
             lease_until = NULL WHERE {held}",
            self.table()
        );
        self.execute(text).await
    }

    /// Writes what became of a batch, one statement for each kind of ending.
    pub(crate) async fn acknowledge(
        &self,
        events: &[Event],
        deliveries: &[Delivery],
        most_attempts: i32,
        keep_done: bool,
    ) -> Result<Acknowledged, Error> {
        let mut acknowledged = Acknowledged::default();
        let pairs = || events.iter().zip(deliveries);
        let done: Vec<&Event> = pairs().filter(|(_, d)| **d == Delivery::Done).map(|(e, _)| e).collect();
        if !done.is_empty() {
            let changed = self.finish_done(&done, keep_done).await?;
            acknowledged.done = changed;
            acknowledged.stale += done.len() as u64 - changed;
        }
        let mut dead =
            Ending { events: vec![], sets: "state = 'dead', finished_at = {at}", reasons: vec![], pauses: vec![] };
        let mut later =
            Ending { events: vec![], sets: "state = 'pending', available_at = {at}", reasons: vec![], pauses: vec![] };
        for (event, delivery) in pairs() {
            let (ending, reason, pause) = match delivery {
                Delivery::Done => continue,
                Delivery::Dead(reason) => (&mut dead, reason.clone(), Duration::ZERO),
                Delivery::Retry(reason) if event.attempt >= most_attempts => {
                    (&mut dead, reason.clone(), Duration::ZERO)
                }
                Delivery::Retry(reason) => (&mut later, reason.clone(), backoff(event.attempt)),
                Delivery::Snooze(pause) => {
                    let changed = self.release(std::slice::from_ref(event), *pause, "snoozed").await?;
                    acknowledged.stale += 1 - changed.min(1);
                    continue;
                }
            };
            ending.events.push(event);
            ending.reasons.push(reason);
            ending.pauses.push(pause);
        }
        for (ending, count) in [(dead, &mut acknowledged.dead), (later, &mut acknowledged.retried)] {
            let sent = ending.events.len() as u64;
            if sent > 0 {
                *count = self.finish(ending).await?;
                acknowledged.stale += sent - *count;
            }
        }
        Ok(acknowledged)
    }

    async fn finish_done(&self, done: &[&Event], keep: bool) -> Result<u64, Error> {
        let mut text = self.text();
        let at = keep.then(|| text.bind(Utc::now().into()));
        let held = self.held(&mut text, done);
        text.sql = match at {
            Some(at) => format!(
                "UPDATE {} SET state = 'done', finished_at = {at}, claimed_by = NULL, lease_until = NULL, last_error = NULL WHERE {held}",
                self.table()
            ),
            None => format!("DELETE FROM {} WHERE {held}", self.table()),
        };
        self.execute(text).await
    }

    /// Each event with its own reason and time, in one statement.
    async fn finish(&self, ending: Ending<'_>) -> Result<u64, Error> {
        let mut text = self.text();
        let tuples: Vec<String> = ending
            .events
            .iter()
            .zip(ending.reasons)
            .zip(ending.pauses)
            .map(|((event, reason), pause)| {
                let values = [event.id.into(), event.fence.into(), reason.into(), (Utc::now() + pause).into()];
                let places: Vec<String> = values.into_iter().map(|value: Value| text.bind(value)).collect();
                if self.backend() == DbBackend::Postgres {
                    format!(
                        "({}::bigint, {}::bigint, {}::text, {}::timestamptz)",
                        places[0], places[1], places[2], places[3]
                    )
                } else {
                    format!("({})", places.join(", "))
                }
            })
            .collect();
        let sets = ending.sets.replace("{at}", "u.at");
        text.sql = format!(
            "WITH u(id, fence, reason, at) AS (VALUES {}) UPDATE {1} SET {sets}, last_error = u.reason, claimed_by = NULL, lease_until = NULL \
             FROM u WHERE {1}.id = u.id AND {1}.fence = u.fence AND {1}.state = 'processing'",
            tuples.join(", "),
            self.table()
        );
        self.execute(text).await
    }

    /// The condition that these events are still held under their tokens.
    fn held(&self, text: &mut Text, events: &[&Event]) -> String {
        let table = self.table();
        if self.backend() == DbBackend::Postgres {
            let array = |values: Vec<i64>| {
                Value::Array(ArrayType::BigInt, Some(Box::new(values.into_iter().map(Value::from).collect())))
            };
            let ids = text.bind(array(events.iter().map(|e| e.id).collect()));
            let fences = text.bind(array(events.iter().map(|e| e.fence).collect()));
            return format!(
                "state = 'processing' AND ({table}.id, {table}.fence) IN (SELECT * FROM UNNEST({ids}, {fences}))"
            );
        }
        let tuples: Vec<String> =
            events.iter().map(|e| format!("({}, {})", text.bind(e.id.into()), text.bind(e.fence.into()))).collect();
        format!("state = 'processing' AND (id, fence) IN (VALUES {})", tuples.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q4_backoff_is_capped_jittered_and_never_overflows() {
        for attempt in [i32::MIN, 0, 1, 2, 10, 31, 32, 64, 1_000, i32::MAX] {
            let pause = backoff(attempt);
            assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{attempt}: {pause:?}");
        }
        let (early, late) = (backoff(1), backoff(8));
        assert!(early <= FIRST_PAUSE && late > FIRST_PAUSE * 32, "{early:?} {late:?}");
        let several: std::collections::BTreeSet<Duration> = (0..32).map(|_| backoff(5)).collect();
        assert!(several.len() > 16, "jittered");
    }
}
