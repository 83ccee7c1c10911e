//! Claims and acknowledgements where locked rows can be skipped, an UPDATE tells nothing of its rows, and there are no arrays:
//! MySQL and MariaDB (Y2).
//!
//! Which events a statement is about goes along as one document, so that its text is always the same. Events are then looked up by
//! their numbers and in no other way: a statement that looked at others on its way would wait for whoever has these locked.

use std::{collections::HashSet, time::Duration};

use rustc_hash::FxHashMap;
use sea_orm::QueryResult;

use super::{
    Event, Outbox,
    acknowledge::{Acknowledged, Ending, micros},
    claim::{CLAIMED, Claimant, Look, in_order, number},
    scan::Aim,
};
use crate::{connection::text::Text, error::Error, unit::session::Session};

/// The place of an event among those of its key.
type Place = (i64, i64);

/// An event of the window.
struct Waiting {
    id: i64,
    key: String,
    sequence: i64,
}

impl Waiting {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self { id: row.try_get_by_index(0)?, key: row.try_get_by_index(1)?, sequence: row.try_get_by_index(2)? })
    }
}

impl Outbox {
    /// The events `e` of these numbers, each with what else is said of it in `u`.
    fn events_of(&self, text: &mut Text, list: &serde_json::Value, more: &str) -> String {
        let list = text.bind(list.to_string().into());
        let table = self.table();
        let n = if more.is_empty() { "$" } else { "$[0]" };
        format!(
            "JSON_TABLE({list}, '$[*]' COLUMNS (n bigint PATH '{n}'{more})) AS u \
             STRAIGHT_JOIN {table} AS e FORCE INDEX (PRIMARY) ON e.id = u.n"
        )
    }

    /// One look, whose rows are locked while those that another claim holds are skipped; then, key by key, what stands before
    /// them; then the change of what is free. Whoever else has events of a key in hand holds rows that are not finished, so they
    /// stand before those that follow, whether or not that claim has committed.
    pub(super) async fn claim_by_document(
        &self,
        s: &mut Session,
        by: &Claimant<'_>,
        aim: Aim,
        most: usize,
    ) -> Result<Look, Error> {
        let seen = self.look_skipping_locks(s, aim).await?;
        let mut look = Look { due: seen.len(), first: seen.iter().map(|one| one.id).min(), ..Look::default() };
        if seen.is_empty() {
            look.locked = self.is_anything_due(s, aim).await?;
            return Ok(look);
        }
        let stops = self.stops(s, &seen).await?;
        let free = serde_json::json!(free(seen, &stops, most));
        if free.as_array().is_some_and(Vec::is_empty) {
            return Ok(look);
        }
        let mut text = self.text();
        let events = self.events_of(&mut text, &free, "");
        let (worker, lease) = (text.bind(by.worker.into()), text.bind(micros(by.lease).into()));
        text.sql = format!(
            "UPDATE {events} SET e.state = 'processing', e.fence = e.fence + 1, e.attempts = e.attempts + 1, \
             e.claimed_by = {worker}, e.lease_until = NOW(6) + INTERVAL {lease} MICROSECOND"
        );
        self.changed(s, &text).await?;
        let mut text = self.text();
        text.sql = format!("SELECT {CLAIMED} FROM {}", self.events_of(&mut text, &free, ""));
        for row in self.rows(s, &text).await? {
            look.events.extend(Event::read(&row, 0)?);
        }
        in_order(&mut look.events);
        Ok(look)
    }

    async fn look_skipping_locks(&self, s: &mut Session, aim: Aim) -> Result<Vec<Waiting>, Error> {
        let mut text = self.text();
        let due = self.due(&mut text, aim);
        let window = text.bind(number(aim.window));
        text.sql = format!("SELECT id, event_key, sequence {due} ORDER BY id LIMIT {window} FOR UPDATE SKIP LOCKED");
        self.rows(s, &text).await?.iter().map(Waiting::read).collect()
    }

    async fn is_anything_due(&self, s: &mut Session, aim: Aim) -> Result<bool, Error> {
        let mut text = self.text();
        text.sql = format!("SELECT id {} LIMIT 1", self.due(&mut text, aim));
        Ok(!self.rows(s, &text).await?.is_empty())
    }

    fn due(&self, text: &mut Text, aim: Aim) -> String {
        let (topic, floor) = (text.bind(self.topic.clone().into()), text.bind(aim.floor.into()));
        format!(
            "FROM {} WHERE topic = {topic} AND finished_at IS NULL AND id > {floor} AND available_at <= NOW(6) \
             AND (state = 'pending' OR lease_until < NOW(6))",
            self.table()
        )
    }

    /// The first event of each key that is not finished and not in the window, for those keys that have one.
    async fn stops(&self, s: &mut Session, seen: &[Waiting]) -> Result<FxHashMap<String, Place>, Error> {
        let mut one_of_each: FxHashMap<&str, i64> = FxHashMap::default();
        for one in seen {
            one_of_each.entry(&one.key).or_insert(one.id);
        }
        let keys: FxHashMap<i64, &str> = one_of_each.into_iter().map(|(key, id)| (id, key)).collect();
        let mut text = self.text();
        let events = self.events_of(&mut text, &serde_json::json!(keys.keys().collect::<Vec<_>>()), "");
        let window = text.bind(serde_json::json!(seen.iter().map(|one| one.id).collect::<Vec<_>>()).to_string().into());
        let table = self.table();
        text.sql = format!(
            "SELECT e.id, p.sequence, p.id FROM {events} STRAIGHT_JOIN {table} AS p ON p.id = (SELECT q.id FROM {table} AS q \
             WHERE q.topic = e.topic AND q.event_key = e.event_key AND q.finished_at IS NULL \
             AND q.id NOT IN (SELECT w.n FROM JSON_TABLE({window}, '$[*]' COLUMNS (n bigint PATH '$')) AS w) \
             ORDER BY q.sequence, q.id LIMIT 1)"
        );
        let mut stops = FxHashMap::default();
        for row in self.rows(s, &text).await? {
            let (of, place) = (row.try_get_by_index(0)?, (row.try_get_by_index(1)?, row.try_get_by_index(2)?));
            if let Some(key) = keys.get(&of) {
                stops.insert((*key).to_owned(), place);
            }
        }
        Ok(stops)
    }

    pub(super) async fn extend_by_document(&self, events: &[Event], lease: Duration) -> Result<u64, Error> {
        let mut text = self.text();
        let tokens: Vec<[i64; 2]> = events.iter().map(|event| [event.id, event.fence]).collect();
        let events = self.events_of(&mut text, &serde_json::json!(tokens), ", fence bigint PATH '$[1]'");
        let lease = text.bind(micros(lease).into());
        text.sql = format!(
            "UPDATE {events} AND e.fence = u.fence SET e.lease_until = NOW(6) + INTERVAL {lease} MICROSECOND \
             WHERE e.state = 'processing'"
        );
        self.execute(text).await
    }

    /// Locks the events that are still held under their tokens, and writes what became of these and no others.
    pub(super) async fn acknowledge_by_document(
        &self,
        s: &mut Session,
        endings: &[Ending],
    ) -> Result<Acknowledged, Error> {
        let held = self.hold(s, endings).await?;
        let stale = (endings.len() - held.len()) as u64;
        let mut acknowledged = Acknowledged { stale, ..Acknowledged::default() };
        if held.is_empty() {
            return Ok(acknowledged);
        }
        self.copy_by_document(s, &held).await?;
        if held.iter().all(|ending| ending.state == "gone") {
            let mut text = self.text();
            text.sql = format!("DELETE e FROM {}", self.events_of(&mut text, &numbers(&held), ""));
            self.changed(s, &text).await?;
        } else {
            self.finish_by_document(s, &held).await?;
        }
        for ending in held {
            match ending.kept_state() {
                "done" => acknowledged.done += 1,
                "dead" => acknowledged.dead += 1,
                _ if !ending.unspent => acknowledged.retried += 1,
                _ => {}
            }
        }
        Ok(acknowledged)
    }

    async fn hold<'e>(&self, s: &mut Session, endings: &'e [Ending]) -> Result<Vec<&'e Ending>, Error> {
        // In one order, as all who acknowledge.
        let mut tokens: Vec<[i64; 2]> = endings.iter().map(|ending| [ending.id, ending.fence]).collect();
        tokens.sort_unstable();
        let mut text = self.text();
        let events = self.events_of(&mut text, &serde_json::json!(tokens), ", fence bigint PATH '$[1]'");
        text.sql = format!("SELECT e.id FROM {events} AND e.fence = u.fence WHERE e.state = 'processing' FOR UPDATE");
        let rows = self.rows(s, &text).await?;
        let held: HashSet<i64> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        Ok(endings.iter().filter(|ending| held.contains(&ending.id)).collect())
    }

    /// As [`Outbox::copying_to`] says: what is settled, to the other streams.
    async fn copy_by_document(&self, s: &mut Session, held: &[&Ending]) -> Result<(), Error> {
        let Some(subscriptions) = &self.subscriptions else { return Ok(()) };
        let settled: Vec<&Ending> = held.iter().copied().filter(|ending| ending.state != "pending").collect();
        if settled.is_empty() {
            return Ok(());
        }
        let table = self.table();
        // Asked once the events are held: who subscribes holds them too, and has committed by now or waits.
        let mut text = self.text();
        let topic = text.bind(subscriptions.clone().into());
        text.sql = format!(
            "SELECT DISTINCT n.event_key FROM {table} AS n WHERE n.topic = {topic} AND n.finished_at IS NOT NULL"
        );
        let rows = self.rows(s, &text).await?;
        let streams: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        for stream in streams {
            let mut text = self.text();
            let topic = text.bind(stream.as_str().into());
            let events = self.events_of(&mut text, &numbers(&settled), "");
            text.sql = format!(
                "INSERT INTO {table} (account_id, topic, event_key, sequence, event_type, payload, state, attempts, fence, available_at, created_at) \
                 SELECT e.account_id, {topic}, e.event_key, e.sequence, e.event_type, e.payload, 'pending', 0, 0, NOW(6), NOW(6) \
                 FROM {events} ORDER BY e.id"
            );
            self.changed(s, &text).await?;
            self.beside(&stream).wake_after_commit(s);
        }
        Ok(())
    }

    /// Each event with its own end; done ones that are not kept are removed by the next clean-up.
    async fn finish_by_document(&self, s: &mut Session, held: &[&Ending]) -> Result<(), Error> {
        let rows = held.iter().map(|ending| {
            let (pause, unspent) = (micros(ending.pause), i32::from(ending.unspent));
            serde_json::json!([ending.id, ending.kept_state(), ending.reason, pause, unspent])
        });
        let mut text = self.text();
        let events = self.events_of(
            &mut text,
            &rows.collect(),
            ", state varchar(16) CHARACTER SET utf8mb4 PATH '$[1]', reason longtext CHARACTER SET utf8mb4 PATH '$[2]', pause bigint PATH '$[3]', unspent int PATH '$[4]'",
        );
        text.sql = format!(
            "UPDATE {events} SET e.state = u.state, e.attempts = e.attempts - u.unspent, \
             e.available_at = CASE u.state WHEN 'pending' THEN NOW(6) + INTERVAL u.pause MICROSECOND ELSE e.available_at END, \
             e.finished_at = CASE u.state WHEN 'pending' THEN NULL ELSE NOW(6) END, \
             e.last_error = coalesce(nullif(u.reason, ''), CASE u.state WHEN 'pending' THEN e.last_error END), \
             e.claimed_by = NULL, e.lease_until = NULL"
        );
        self.changed(s, &text).await?;
        Ok(())
    }
}

fn numbers(endings: &[&Ending]) -> serde_json::Value {
    let mut numbers: Vec<i64> = endings.iter().map(|ending| ending.id).collect();
    numbers.sort_unstable();
    serde_json::json!(numbers)
}

/// The events of the window before which nothing of their key stands, at most so many: a key's in their order, and keys in the
/// order in which the last of the run so far was written.
fn free(seen: Vec<Waiting>, stops: &FxHashMap<String, Place>, most: usize) -> Vec<i64> {
    let mut keys: FxHashMap<String, Vec<Place>> = FxHashMap::default();
    for one in seen {
        keys.entry(one.key).or_default().push((one.sequence, one.id));
    }
    let mut free = Vec::new();
    for (key, mut run) in keys {
        run.sort_unstable();
        let stop = stops.get(&key);
        let mut last = i64::MIN;
        for place in run.into_iter().take_while(|place| stop.is_none_or(|stop| place < stop)) {
            last = last.max(place.1);
            free.push((last, place));
        }
    }
    free.sort_unstable();
    free.into_iter().take(most).map(|(_, (_, id))| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: i64, key: &str, sequence: i64) -> Waiting {
        Waiting { id, key: key.to_owned(), sequence }
    }

    #[test]
    fn q2_a_run_ends_where_something_earlier_of_its_key_stands() {
        let window = || vec![waiting(1, "a", 2), waiting(2, "b", 1), waiting(3, "a", 1), waiting(4, "a", 4)];
        let stops = |stop| FxHashMap::from_iter([("a".to_owned(), stop)]);
        assert_eq!(free(window(), &FxHashMap::default(), 10), [2, 3, 1, 4]);
        assert_eq!(free(window(), &stops((3, 9)), 10), [2, 3, 1], "the fourth waits for the third");
        assert_eq!(free(window(), &stops((1, 2)), 10), [2], "all of its key wait");
        assert_eq!(free(window(), &stops((1, 5)), 2), [2, 3], "no more than are wanted");
    }
}
