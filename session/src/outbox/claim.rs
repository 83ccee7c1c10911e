//! Claiming, in batches (Q3): which events are due, in the order of their keys, and whose they are for the length of a lease.
//!
//! A claim is one look at a window of due events in the order of their numbers. From it every key gives the longest run of
//! events that nothing earlier of that key stands before, so that a busy key costs one claim and not one for each of its
//! events. Whether something stands before is asked of the table, never of a number (Z21): events that commit late are
//! found because they are there.
//!
//! What a claim changes is in no index, so on PostgreSQL it is a heap-only update: where the table's `fillfactor` leaves
//! room, no index grows.

use std::time::Duration;

use chrono::Utc;
use sea_orm::{ConnectionTrait, QueryResult, Value, sea_query::ArrayType};

use super::{
    Event, Outbox,
    scan::{Aim, Found, Scan},
    share::Share,
};
use crate::{
    connection::{db::Queues, text::Text},
    error::Error,
    table::value::number_array,
    unit::session::Session,
};

/// What a claim found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// What was claimed: the events of a key in their order.
    pub(crate) events: Vec<Event>,
    /// How many events of the window were due.
    pub(super) due: usize,
    /// The first of them.
    pub(super) first: Option<i64>,
    /// None was free to look at, but there are some: others have them locked, and may not take them all.
    pub(super) locked: bool,
}

impl Look {
    /// So many columns of each row tell of the window, before those of an event.
    const COLUMNS: usize = 3;

    /// The window, which each row tells of.
    fn at(rows: &[QueryResult]) -> Result<Self, Error> {
        let mut look = Self::default();
        if let Some(row) = rows.first() {
            look.first = row.try_get("", "first")?;
            look.due = usize::try_from(row.try_get::<i64>("", "due")?).unwrap_or_default();
            look.locked = row.try_get("", "locked")?;
        }
        Ok(look)
    }

    /// Due events that something earlier of their key stands before, which another claim holds.
    pub(crate) fn held_up(&self) -> usize {
        self.due.saturating_sub(self.events.len())
    }

    /// Whether there are due events that others had locked when they were looked for.
    pub(crate) fn locked(&self) -> bool {
        self.locked
    }

    fn found(&self) -> Found {
        Found { due: self.due, claimed: self.events.len(), first: self.first }
    }
}

/// Who claims, and how.
#[derive(Debug)]
pub(crate) struct Claimant<'c> {
    pub(crate) worker: &'c str,
    pub(crate) lease: Duration,
    pub(crate) scan: &'c Scan,
    /// The keys that are looked at first; all of them otherwise.
    pub(crate) share: Option<Share>,
}

pub(super) const CLAIMED: &str =
    "id, account_id, event_key, sequence, event_type, payload, attempts, created_at, fence";

impl Event {
    /// Reads the columns of [`CLAIMED`] from `first` on; nothing if there is no event in the row. By place: by name, each
    /// column of each row is hashed.
    pub(super) fn read(row: &QueryResult, first: usize) -> Result<Option<Self>, Error> {
        let Some(id) = row.try_get_by_index(first)? else { return Ok(None) };
        Ok(Some(Self {
            id,
            account_id: row.try_get_by_index(first + 1)?,
            key: row.try_get_by_index(first + 2)?,
            sequence: row.try_get_by_index(first + 3)?,
            event_type: row.try_get_by_index(first + 4)?,
            payload: row.try_get_by_index(first + 5)?,
            attempt: row.try_get_by_index(first + 6)?,
            created_at: row.try_get_by_index(first + 7)?,
            fence: row.try_get_by_index(first + 8)?,
        }))
    }
}

impl Outbox {
    pub(super) fn text(&self) -> Text {
        self.db().text()
    }

    /// A statement whose parameters have their numbers already.
    fn numbered(&self, sql: String, values: Vec<Value>) -> Text {
        let mut text = self.text();
        (text.sql, text.values) = (sql, values);
        text
    }

    pub(super) async fn query(&self, text: Text) -> Result<Vec<QueryResult>, Error> {
        self.unit().run(async |s: &mut Session| -> Result<_, Error> { self.rows(s, &text).await }).await
    }

    pub(super) async fn execute(&self, text: Text) -> Result<u64, Error> {
        self.unit().run(async |s: &mut Session| -> Result<_, Error> { self.changed(s, &text).await }).await
    }

    pub(super) async fn rows(&self, s: &mut Session, text: &Text) -> Result<Vec<QueryResult>, Error> {
        s.takes_outbox()?;
        Ok(s.query_all_raw(text.statement()).await?)
    }

    pub(super) async fn changed(&self, s: &mut Session, text: &Text) -> Result<u64, Error> {
        s.takes_outbox()?;
        Ok(s.execute_raw(text.statement()).await?.rows_affected())
    }

    /// Claims up to `most` due events for `lease`, in the unit of `s`, as this one.
    ///
    /// # Errors
    /// What the database says; nothing is claimed then.
    pub(crate) async fn claim(&self, s: &mut Session, by: &Claimant<'_>, most: usize) -> Result<Look, Error> {
        loop {
            let aim = by.scan.aim(most, by.share);
            let look = match self.db().queues() {
                Queues::Arrays => self.claim_skipping_locks(s, by, aim, most).await?,
                Queues::Documents => self.claim_by_document(s, by, aim, most).await?,
                Queues::OneWriter => self.claim_under_write_lock(s, by, aim, most).await?,
            };
            if !by.scan.learn(aim, look.found()) {
                return Ok(look);
            }
        }
    }

    /// One statement. The rows of the window are locked, and those that another claim holds at this moment are skipped; the
    /// lock looks at each row's newest version, so nothing is claimed twice. `free` sees the keys as they were when the
    /// statement began: what another has taken since is not in the window and ends its key's run. A share limits which keys
    /// are looked at, and each of its keys is looked at whole.
    ///
    /// Each key of the window looks for its `stop`, the first of its events that is not finished and not in the window. However
    /// many of a key are in hand, one of them is read; and no row where the window has one event of it and that is free. What
    /// is before a stop is therefore in the window, all of it, and is read from the index: joined to the window, keys that are
    /// all held up would be compared each with each. (Without its order, `before` would be such a join too.) Only a window that
    /// is wider than what may be taken is put in order.
    async fn claim_skipping_locks(
        &self,
        s: &mut Session,
        by: &Claimant<'_>,
        aim: Aim,
        most: usize,
    ) -> Result<Look, Error> {
        let table = self.table();
        let mut values = vec![
            self.topic.clone().into(),
            aim.floor.into(),
            number(aim.window),
            by.worker.into(),
            i64::try_from(by.lease.as_micros()).unwrap_or(i64::MAX).into(),
            number(most),
        ];
        let share = match aim.share {
            None => "",
            Some(share) => {
                values.extend([share.of, share.from, share.upto].map(|n| Value::from(i64::from(n))));
                "AND (hashtext(event_key) & 2147483647) % $7 BETWEEN $8 AND $9 "
            }
        };
        // Only the index of due events has this order. With `topic = $1` and the order of numbers the primary key would do as well,
        // and reads all that was delivered and is kept.
        let due = format!(
            "FROM {table} WHERE (topic, id) > ($1, $2) AND topic <= $1 AND finished_at IS NULL \
             AND available_at <= statement_timestamp() AND (state = 'pending' OR lease_until < statement_timestamp()) {share}"
        );
        let taken = if aim.window > most {
            "SELECT id FROM (SELECT id, sequence, max(id) OVER (PARTITION BY event_key ORDER BY sequence, id) AS place FROM free) AS run \
             ORDER BY place, sequence, id"
        } else {
            "SELECT id FROM free"
        };
        let sql = format!(
            "WITH seen AS MATERIALIZED (SELECT id, event_key, sequence {due}ORDER BY topic, id LIMIT $3 FOR UPDATE SKIP LOCKED), \
             stop AS MATERIALIZED (SELECT k.event_key, p.sequence, p.id \
             FROM (SELECT event_key, max(sequence) AS upto, max(id) AS last FROM seen GROUP BY event_key) AS k CROSS JOIN LATERAL \
             (SELECT p.sequence, p.id FROM {table} AS p WHERE p.topic = $1 AND p.event_key = k.event_key \
             AND (p.sequence, p.id) < (k.upto, k.last) AND p.finished_at IS NULL AND p.id NOT IN (SELECT id FROM seen) \
             ORDER BY p.sequence, p.id LIMIT 1) AS p), \
             free AS (SELECT id, event_key, sequence FROM seen WHERE event_key NOT IN (SELECT event_key FROM stop) \
             UNION ALL SELECT before.* FROM stop CROSS JOIN LATERAL (SELECT p.id, p.event_key, p.sequence FROM {table} AS p WHERE p.topic = $1 \
             AND p.event_key = stop.event_key AND (p.sequence, p.id) < (stop.sequence, stop.id) AND p.finished_at IS NULL \
             ORDER BY p.sequence, p.id) AS before), \
             taken AS (UPDATE {table} SET state = 'processing', fence = fence + 1, attempts = attempts + 1, claimed_by = $4, \
             lease_until = statement_timestamp() + $5 * interval '1 microsecond' WHERE id = ANY(ARRAY({taken} LIMIT $6)) RETURNING {CLAIMED}) \
             SELECT look.*, taken.* FROM (SELECT min(id) AS first, count(*) AS due, CASE WHEN count(*) = 0 THEN EXISTS (SELECT {due}) ELSE false END AS locked FROM seen) AS look LEFT JOIN taken ON true"
        );
        let rows = self.rows(s, &self.numbered(sql, values)).await?;
        let mut look = Look::at(&rows)?;
        for row in &rows {
            look.events.extend(Event::read(row, Look::COLUMNS)?);
        }
        in_order(&mut look.events);
        Ok(look)
    }

    /// Two statements. There is no SKIP LOCKED and no need of it: the unit holds the write lock, so nobody comes between
    /// the look and the compare-and-set. A bound on the search for the `stop` would cost more here than it saves.
    async fn claim_under_write_lock(
        &self,
        s: &mut Session,
        by: &Claimant<'_>,
        aim: Aim,
        most: usize,
    ) -> Result<Look, Error> {
        let (table, now) = (self.table(), Utc::now());
        let sql = format!(
            "WITH seen AS MATERIALIZED (SELECT id, event_key, sequence FROM {table} WHERE topic = ?1 AND finished_at IS NULL AND id > ?2 \
             AND available_at <= ?3 AND (state = 'pending' OR lease_until < ?3) ORDER BY id LIMIT ?4), \
             step AS (SELECT *, row_number() OVER (PARTITION BY event_key ORDER BY sequence, id) AS nth FROM seen), \
             run AS (SELECT s.id, s.sequence, max(s.id) OVER w AS place, \
             ((s.sequence, s.id) > (first_value(stop.sequence) OVER w, first_value(stop.id) OVER w)) IS NOT TRUE AS free \
             FROM step AS s LEFT JOIN {table} AS stop ON stop.id = (SELECT p.id FROM {table} AS p WHERE s.nth = 1 AND p.topic = ?1 \
             AND p.event_key = s.event_key AND p.finished_at IS NULL AND p.id NOT IN (SELECT id FROM seen) \
             ORDER BY p.sequence, p.id LIMIT 1) WINDOW w AS (PARTITION BY s.event_key ORDER BY s.sequence, s.id)), \
             free AS (SELECT id FROM run WHERE free ORDER BY place, sequence, id LIMIT ?5) \
             SELECT look.*, free.id FROM (SELECT min(id) AS first, count(*) AS due, false AS locked FROM seen) AS look LEFT JOIN free ON true"
        );
        let values = vec![self.topic.clone().into(), aim.floor.into(), now.into(), number(aim.window), number(most)];
        let rows = self.rows(s, &self.numbered(sql, values)).await?;
        let mut look = Look::at(&rows)?;
        let ids: Vec<Option<i64>> = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
        let ids: Vec<i64> = ids.into_iter().flatten().collect();
        if ids.is_empty() {
            return Ok(look);
        }
        let sql = format!(
            "UPDATE {table} SET state = 'processing', fence = fence + 1, attempts = attempts + 1, claimed_by = ?1, lease_until = ?2 \
             WHERE id IN (SELECT value FROM json_each(?3)) RETURNING {CLAIMED}"
        );
        let values = vec![by.worker.into(), (now + by.lease).into(), serde_json::json!(ids).to_string().into()];
        for row in self.rows(s, &self.numbered(sql, values)).await? {
            look.events.extend(Event::read(&row, 0)?);
        }
        in_order(&mut look.events);
        Ok(look)
    }

    /// Extends the leases of events that are still being handled: those that are still held under their tokens.
    pub(crate) async fn extend(&self, events: &[Event], lease: Duration) -> Result<u64, Error> {
        if self.db().queues() == Queues::Documents {
            return self.extend_by_document(events, lease).await;
        }
        let (mut text, table) = (self.text(), self.table());
        text.sql = if self.db().queues() == Queues::Arrays {
            let lease = text.bind(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX).into());
            let ids = text.bind(number_array(events.iter().map(|e| e.id)));
            let fences = text.bind(number_array(events.iter().map(|e| e.fence)));
            format!(
                "UPDATE {table} AS e SET lease_until = statement_timestamp() + {lease} * interval '1 microsecond' \
                 FROM UNNEST({ids}, {fences}) AS u(id, fence) WHERE {HELD}"
            )
        } else {
            let until = text.bind((Utc::now() + lease).into());
            let held = held_as(&mut text, events.iter().map(|e| [e.id, e.fence]));
            format!("UPDATE {table} SET lease_until = {until} WHERE {held}")
        };
        self.execute(text).await
    }
}

/// On PostgreSQL, that the event `e` is still held under the token of `u`.
///
/// `= ANY` of one number, since only an index on the number can answer that, event by event. With `=` a join is possible that
/// reads all events there are, and of a queue that was empty when it was vacuumed, the planner believes that those are none.
pub(super) const HELD: &str = "e.id = ANY (ARRAY[u.id]) AND e.fence = u.fence AND e.state = 'processing'";

/// On SQLite, that an event is still held under its token: one of these numbers, with the token that goes with it.
pub(super) fn held_as(text: &mut Text, tokens: impl Iterator<Item = [i64; 2]>) -> String {
    let tokens: Vec<[i64; 2]> = tokens.collect();
    let tokens = text.bind(serde_json::json!(tokens).to_string().into());
    format!("state = 'processing' AND (id, fence) IN (SELECT value ->> 0, value ->> 1 FROM json_each({tokens}))")
}

/// The events of a key in their order, keys in the order of their first event.
pub(super) fn in_order(events: &mut Vec<Event>) {
    use rustc_hash::FxHashMap;
    let mut first: FxHashMap<&str, i64> = FxHashMap::default();
    for event in events.iter() {
        let at = first.entry(event.key.as_str()).or_insert(event.id);
        *at = (*at).min(event.id);
    }
    let mut placed: Vec<(i64, i64, i64, usize)> = events
        .iter()
        .enumerate()
        .map(|(at, event)| (first[event.key.as_str()], event.sequence, event.id, at))
        .collect();
    placed.sort_unstable();
    let mut taken: Vec<Option<Event>> = std::mem::take(events).into_iter().map(Some).collect();
    events.extend(placed.into_iter().filter_map(|(.., at)| taken[at].take()));
}

pub(super) fn number(n: usize) -> Value {
    i64::try_from(n).unwrap_or(i64::MAX).into()
}

/// An array of texts for UNNEST.
pub(crate) fn texts<'t>(values: impl Iterator<Item = &'t str>) -> Value {
    Value::Array(ArrayType::String, Some(Box::new(values.map(Value::from).collect())))
}
