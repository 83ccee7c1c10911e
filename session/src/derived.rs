//! Events that are derived from changes (U7): of entities with `#[tracked(outbox = "topic")]`, one for each row that a flush writes,
//! in the same transaction.
//!
//! An event's key names the row, and whoever writes a row holds its lock until COMMIT. So the highest number of the key's events
//! that are still to be delivered, asked for after the row was written, is not raised by anybody else meanwhile.

use std::marker::PhantomData;

use chrono::{DateTime, SubsecRound, Utc};
use rustc_hash::FxHashMap;
use sea_orm::{ActiveModelTrait, ConnectionTrait, IdenStatic, Iterable, Value};

use crate::{
    connection::text::Text,
    dialect::Sets,
    error::Error,
    objects::{
        changes::Change,
        entity::{TrackedEntity, table_of},
    },
    outbox::{Outbox, texts},
    table::value::{as_column, json_of, time_value},
    unit::observer::{FlushObserver, Flushing},
};

impl Outbox {
    /// Derives the events of this stream from changes: from now on, each row of an entity with `#[tracked(outbox = "topic")]`, where
    /// the topic is this stream's, that a unit of this pool writes adds an event, in the same transaction; dispatchers are woken after
    /// COMMIT. `E` is the entity of the event table. Call it once, when the program starts; a flush of such a row fails where it was
    /// not called.
    ///
    /// The event's key is the table's name and the row's key (`note 7`), its type `insert`, `update`, `delete` or `restore`
    /// ([`Change::meaning`]), its account the unit's tenant (empty without one), and its payload
    /// `{"key": {"id": 7}, "changes": {"title": {"old": …, "new": …}}}` ([`Change::to_json`]). Its number is above those of the
    /// key's events that are still to be delivered, and not below the row's version.
    pub fn derive_into<E: TrackedEntity>(&self) {
        self.db().on_flush(Deriving::<E> { outbox: self.clone(), entity: PhantomData });
    }
}

struct Deriving<E> {
    outbox: Outbox,
    entity: PhantomData<fn() -> E>,
}

#[async_trait::async_trait]
impl<E: TrackedEntity> FlushObserver for Deriving<E> {
    async fn flushed(&self, unit: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error> {
        let changes: Vec<&Change> = changes.iter().filter(|c| c.topic() == Some(self.outbox.topic())).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let now = Utc::now().trunc_subsecs(6);
        let account = unit.tenant().unwrap_or_default().to_owned();
        let mut last = self.last_numbers(unit, &changes).await?;
        for change in changes {
            let key = key_of(change);
            let sequence = (last.get(&key).copied().unwrap_or(0) + 1).max(change.version().unwrap_or(1));
            last.insert(key.clone(), sequence);
            let draft = self.event(change, &account, key, sequence, now)?;
            unit.add(draft);
        }
        let waker = self.outbox.waker().clone();
        unit.on_commit(async move || waker.wake()).robust();
        Ok(())
    }

    fn takes_topic(&self, topic: &str) -> bool {
        self.outbox.topic() == topic
    }
}

impl<E: TrackedEntity> Deriving<E> {
    /// The highest number of each key's events that are still to be delivered.
    async fn last_numbers(
        &self,
        unit: &mut Flushing<'_>,
        changes: &[&Change],
    ) -> Result<FxHashMap<String, i64>, Error> {
        let dialect = self.outbox.db().dialect();
        self.outbox.db().takes_outbox()?;
        let mut keys: Vec<String> = changes.iter().map(|change| key_of(change)).collect();
        keys.sort_unstable();
        keys.dedup();
        // Where each key is a parameter, no more than a statement takes.
        let most = if dialect.sets == Sets::Documents { dialect.most_parameters / 2 } else { keys.len() };
        let mut last = FxHashMap::default();
        for keys in keys.chunks(most.max(1)) {
            let mut text = Text::new(dialect, "");
            let topic = text.bind(self.outbox.topic().into());
            let among = match dialect.sets {
                Sets::Values => {
                    let list = text.bind(serde_json::Value::from(keys).to_string().into());
                    format!("IN (SELECT value FROM json_each({list}))")
                }
                // A text of a document has a collation of its own, which an index of the column's does not serve.
                Sets::Documents => {
                    let places: Vec<String> = keys.iter().map(|key| text.bind(key.as_str().into())).collect();
                    format!("IN ({})", places.join(", "))
                }
                Sets::Arrays => format!("= ANY ({})", text.bind(texts(keys.iter().map(String::as_str)))),
            };
            text.sql = format!(
                "SELECT event_key, max(sequence) FROM {} WHERE topic = {topic} AND event_key {among} AND finished_at IS NULL \
                 GROUP BY event_key{}",
                table_of::<E>().table,
                dialect.reads_latest
            );
            for row in unit.connection().query_all_raw(text.statement()).await? {
                last.insert(row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            }
        }
        Ok(last)
    }

    /// The event as a row of its table; columns that are not of the outbox are left to the database.
    fn event(
        &self,
        change: &Change,
        account: &str,
        key: String,
        sequence: i64,
        now: DateTime<Utc>,
    ) -> Result<E::ActiveModel, Error> {
        let keys = change.named_key().map(|(name, value)| (name.to_owned(), json_of(value)));
        let key_columns = serde_json::Value::Object(keys.collect());
        let payload = serde_json::json!({ "key": key_columns, "changes": change.to_json() });
        let mut draft = <E::ActiveModel as ActiveModelTrait>::default();
        for (position, column) in E::Column::iter().enumerate() {
            let kind = &table_of::<E>().columns[position].kind;
            let value: Value = match column.as_str() {
                "account_id" => account.into(),
                "topic" => self.outbox.topic().into(),
                "event_key" => key.as_str().into(),
                "sequence" => as_column(sequence.into(), kind),
                "event_type" => change.meaning().into(),
                "payload" => payload.clone().into(),
                "state" => "pending".into(),
                "attempts" | "fence" => as_column(0_i64.into(), kind),
                "available_at" | "created_at" => match time_value(kind, now) {
                    Some(moment) => moment,
                    None => continue,
                },
                _ => continue,
            };
            draft.try_set(column, value)?;
        }
        Ok(draft)
    }
}

/// What order is kept for: the row.
fn key_of(change: &Change) -> String {
    format!("{} {}", change.entity(), change.key_text())
}
