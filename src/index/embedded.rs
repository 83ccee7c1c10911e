//! The index in the store's own database: records in `index_records`, their words in `index_terms`, alike on both backends.
//! Ranking and marked places are those of [`crate::Store::search`].
//!
//! It holds no version of its own beside the nodes': a change applies if the node is still as the change says, which is
//! looked at under a lock in the same transaction. Otherwise the node has changed since, and another event follows.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::Utc;
use context_entities::node;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, prelude::Uuid,
};
use sea_session::{Class, Db, Session};

use super::{Gone, IndexSink, NodeRecords, Refused, Unavailable};
use crate::{
    dialect::{self, Dialect},
    error::StoreError,
    outbox::unit,
    record::{Record, content_hash, level_number},
    sql::Sql,
    words,
};

const FULL_TEXT: &str = "terms";

/// Nodes or records in one statement: each record has seventeen values, and SQLite takes 32,766.
const A_STATEMENT: usize = 1_000;

/// The embedded full-text index.
#[derive(Clone, Debug)]
pub struct EmbeddedIndex {
    db: Db,
}

/// What becomes of the other records of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Go,
    Stay,
}

/// What the database of an embedded index can do beyond full text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IndexCapabilities {
    /// What finds words: `terms`, the store's own words in tables of their own, on every backend.
    pub full_text: &'static str,
    /// The version of pgvector, if it is installed in this database: a column of vectors may then be added to
    /// `index_records`. Nothing here asks for it.
    pub pgvector: Option<String>,
    /// The version of pgvector that the server could install (`CREATE EXTENSION vector`).
    pub pgvector_available: Option<String>,
}

impl EmbeddedIndex {
    /// The index of the store in this database.
    pub fn new(db: &Db) -> Self {
        Self { db: db.clone() }
    }

    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    /// Looks what the database can do.
    ///
    /// # Errors
    /// What the database says.
    pub async fn capabilities(&self) -> Result<IndexCapabilities, StoreError> {
        let Some(question) = dialect::of(self.db.backend()).vector_extension else {
            return Ok(IndexCapabilities { full_text: FULL_TEXT, pgvector: None, pgvector_available: None });
        };
        #[derive(FromQueryResult)]
        struct Extension {
            installed: Option<String>,
            available: Option<String>,
        }
        let found = unit(&self.db)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let mut sql = Sql::of(s);
                sql.push(question);
                Ok(Extension::find_by_statement(sql.finish()).one(s).await?)
            })
            .await?;
        let (pgvector, pgvector_available) = found.map(|found| (found.installed, found.available)).unwrap_or_default();
        Ok(IndexCapabilities { full_text: FULL_TEXT, pgvector, pgvector_available })
    }

    /// All changes as one transaction; if that fails for what is in them, one by one, so that a bad one fails alone (Q5).
    async fn bring(&self, changes: &[NodeRecords], others: Others) -> Result<Vec<Refused>, Unavailable> {
        match self.bring_all(changes, others).await {
            Ok(()) => return Ok(Vec::new()),
            Err(e) if is_outage(&e) => return Err(Unavailable(e.to_string())),
            Err(_) => {}
        }
        let mut refused = Vec::new();
        for change in changes {
            match self.bring_all(std::slice::from_ref(change), others).await {
                Ok(()) => {}
                Err(e) if is_outage(&e) => return Err(Unavailable(e.to_string())),
                Err(e) => {
                    let record_id = change.records.first().map(|record| record.id.clone());
                    let record_id = record_id.or_else(|| change.gone.first().cloned()).unwrap_or_default();
                    refused.push(Refused { node_id: change.node_id, record_id, reason: e.to_string(), again: true });
                }
            }
        }
        Ok(refused)
    }

    async fn bring_all(&self, changes: &[NodeRecords], others: Others) -> Result<(), StoreError> {
        unit(&self.db)
            .run(async |s: &mut Session| -> Result<(), StoreError> {
                for some in changes.chunks(A_STATEMENT) {
                    let current = current(s, some.iter().map(|change| change.node_id)).await?;
                    let some: Vec<&NodeRecords> = some.iter().filter(|change| change.is_current(&current)).collect();
                    if others == Others::Go {
                        delete_others(s, &some).await?;
                    }
                    let records: Vec<&Record> = some.iter().flat_map(|change| &change.records).collect();
                    for records in records.chunks(A_STATEMENT) {
                        bring_records(s, records).await?;
                    }
                }
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl IndexSink for EmbeddedIndex {
    async fn delete(&self, gone: &[Gone]) -> Result<Vec<Refused>, Unavailable> {
        let outcome = unit(&self.db)
            .run(async |s: &mut Session| -> Result<(), StoreError> {
                for some in gone.chunks(A_STATEMENT) {
                    let current = current(s, some.iter().map(|gone| gone.node_id)).await?;
                    let due = |gone: &&Gone| current.get(&gone.node_id).is_none_or(|now| now.version <= gone.version);
                    let due: Vec<&Gone> = some.iter().filter(due).collect();
                    delete(s, &due).await?;
                }
                Ok(())
            })
            .await;
        match outcome {
            Ok(()) => Ok(Vec::new()),
            Err(e) => Err(Unavailable(e.to_string())),
        }
    }

    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable> {
        let mut changes: HashMap<Uuid, NodeRecords> = HashMap::new();
        for record in records {
            let change = changes
                .entry(record.node_id)
                .or_insert_with(|| NodeRecords::of_gone(&record.account_id, record.node_id));
            change.version = change.version.max(record.version);
            change.records.push(record.clone());
        }
        let changes: Vec<NodeRecords> = changes.into_values().collect();
        self.bring(&changes, Others::Stay).await
    }

    async fn apply(&self, changes: &[NodeRecords]) -> Result<Vec<Refused>, Unavailable> {
        self.bring(changes, Others::Go).await
    }
}

/// What is known of a node while its row is locked.
#[derive(FromQueryResult)]
struct Current {
    id: Uuid,
    version: i64,
    status: node::Status,
}

impl NodeRecords {
    /// Whether the node is as this says: neither changed since, nor gone or archived where records are to be written.
    fn is_current(&self, current: &HashMap<Uuid, Current>) -> bool {
        match current.get(&self.node_id) {
            Some(now) => now.version == self.version && (now.status == node::Status::Active || self.records.is_empty()),
            None => self.records.is_empty(),
        }
    }
}

/// The nodes as they are, and stay until the unit ends.
async fn current(s: &mut Session, ids: impl Iterator<Item = Uuid>) -> Result<HashMap<Uuid, Current>, StoreError> {
    let rows = node::Entity::find()
        .select_only()
        .columns([node::Column::Id, node::Column::Version, node::Column::Status])
        .filter(node::Column::Id.is_in(ids))
        .order_by_asc(node::Column::Id)
        .lock_shared()
        .into_model::<Current>()
        .all(s)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Whether the database rather than a change is what failed.
fn is_outage(e: &StoreError) -> bool {
    match e {
        StoreError::Session(e) => {
            let passing = [
                Class::ConnectionLost,
                Class::Busy,
                Class::Serialization,
                Class::Deadlock,
                Class::LockNotAvailable,
                Class::QueryCanceled,
                Class::CompletionUnknown,
            ];
            e.is_connection_lost() || e.class().is_some_and(|class| passing.contains(&class))
        }
        _ => false,
    }
}

async fn delete(s: &mut Session, gone: &[&Gone]) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::of(s);
    sql.push("DELETE FROM index_records WHERE (account_id, record_id, node_id) IN (").say(|d| d.list);
    for (i, gone) in gone.iter().enumerate() {
        let values = [gone.account_id.as_str().into(), gone.id.as_str().into(), gone.node_id.into()];
        sql.push(if i == 0 { "" } else { ", " }).with("(?, ?, ?)", values);
    }
    sql.push(")");
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

/// Deletes the nodes' records that are not to stay. By node: a record id that has become another node's is not touched.
async fn delete_others(s: &mut Session, changes: &[&NodeRecords]) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::of(s);
    let mut accounts: Vec<&str> = changes.iter().map(|change| change.account_id.as_str()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    sql.push("DELETE FROM index_records WHERE ").is_in("account_id", accounts);
    sql.push(" AND ").is_in("node_id", changes.iter().map(|change| change.node_id));
    let staying: Vec<&Record> = changes.iter().flat_map(|change| &change.records).collect();
    if !staying.is_empty() {
        sql.push(" AND (node_id, record_id) NOT IN (").say(|d| d.list);
        for (i, record) in staying.iter().enumerate() {
            sql.push(if i == 0 { "" } else { ", " }).with("(?, ?)", [record.node_id.into(), record.id.as_str().into()]);
        }
        sql.push(")");
    }
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

/// Writes what the index does not hold as it should. A record whose text is held already, by the same words, gets its node's version
/// and no more, and none at all if it has that too.
async fn bring_records(s: &mut Session, records: &[&Record]) -> Result<(), StoreError> {
    let held = held(s, records).await?;
    let dialect = dialect::of(s.get_database_backend());
    let rows: Vec<Row<'_>> = records.iter().map(|record| Row::of(record, dialect)).collect();
    let held_of = |row: &Row<'_>| held.get(&(row.record.account_id.clone(), row.record.id.clone()));
    let (same, changed): (Vec<&Row<'_>>, Vec<&Row<'_>>) =
        rows.iter().partition(|row| held_of(row).is_some_and(|held| held.is(row)));
    let later = |row: &&&Row<'_>| held_of(row).is_some_and(|held| held.version != row.record.version);
    let later: Vec<&Record> = same.iter().filter(later).map(|row| row.record).collect();
    follow_versions(s, &later).await?;
    upsert(s, &changed).await
}

/// A record as a row of the index, with its words.
struct Row<'r> {
    record: &'r Record,
    title: String,
    body: String,
    content_hash: String,
    terms: serde_json::Value,
    words: String,
    length: i32,
}

impl<'r> Row<'r> {
    fn of(record: &'r Record, dialect: &Dialect) -> Self {
        let words = words::analyze(&record.title, &record.body);
        Self {
            record,
            // PostgreSQL's text holds everything but NUL, which SQLite holds and would stop the batch there.
            title: record.title.replace('\0', " "),
            body: record.body.replace('\0', " "),
            content_hash: content_hash(&record.body),
            terms: (dialect.kept_terms)(serde_json::json!(words.terms)),
            words: words.stream,
            length: i32::try_from(words.length).unwrap_or(i32::MAX),
        }
    }
}

/// A row as the index holds it.
#[derive(FromQueryResult)]
struct Held {
    account_id: String,
    record_id: String,
    node_id: Uuid,
    uri: String,
    level: i16,
    owner_space: String,
    category: Option<String>,
    node_type: String,
    title: String,
    body: String,
    version: i64,
    content_hash: String,
    terms: serde_json::Value,
    words: String,
    length: i32,
    words_version: i16,
}

impl Held {
    /// Whether it is this row, but for the version.
    fn is(&self, row: &Row<'_>) -> bool {
        let record = row.record;
        self.node_id == record.node_id
            && self.uri == record.uri
            && self.level == i16::from(level_number(record.level))
            && self.owner_space == record.owner_space
            && self.category == record.category
            && self.node_type == record.node_type
            && self.words_version == words::VERSION
            && self.length == row.length
            && self.content_hash == row.content_hash
            && self.title == row.title
            && self.body == row.body
            && self.words == row.words
            && self.terms == row.terms
    }
}

/// Adds which records: by account and id.
fn these(sql: &mut Sql, records: &[&Record]) {
    sql.push(" WHERE (account_id, record_id) IN (").say(|d| d.list);
    for (i, record) in records.iter().enumerate() {
        sql.push(if i == 0 { "" } else { ", " });
        sql.with("(?, ?)", [record.account_id.as_str().into(), record.id.as_str().into()]);
    }
    sql.push(")");
}

/// The rows that the index holds of these records.
async fn held(s: &mut Session, records: &[&Record]) -> Result<HashMap<(String, String), Held>, StoreError> {
    if records.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT account_id, record_id, node_id, uri, level, owner_space, category, node_type, title, body, version, content_hash, terms, words, length, words_version FROM index_records");
    these(&mut sql, records);
    let rows = Held::find_by_statement(sql.finish()).all(s).await?;
    Ok(rows.into_iter().map(|row| ((row.account_id.clone(), row.record_id.clone()), row)).collect())
}

/// Gives records the version of their nodes, which are locked and as the change says.
async fn follow_versions(s: &mut Session, records: &[&Record]) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::of(s);
    sql.push("UPDATE index_records SET indexed_at = ").bind(Utc::now());
    sql.push(", version = (SELECT n.version FROM nodes n WHERE n.id = index_records.node_id)");
    these(&mut sql, records);
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

async fn upsert(s: &mut Session, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let now = Utc::now();
    let mut sql = Sql::of(s);
    sql.push("INSERT INTO index_records (account_id, record_id, node_id, uri, level, owner_space, category, node_type, title, body, version, content_hash, indexed_at, terms, words, length, words_version) VALUES ");
    for (i, row) in rows.iter().enumerate() {
        let record = row.record;
        sql.push(if i == 0 { "" } else { ", " }).with(
            "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                record.account_id.as_str().into(),
                record.id.as_str().into(),
                record.node_id.into(),
                record.uri.as_str().into(),
                i16::from(level_number(record.level)).into(),
                record.owner_space.as_str().into(),
                record.category.clone().into(),
                record.node_type.as_str().into(),
                row.title.as_str().into(),
                row.body.as_str().into(),
                record.version.into(),
                row.content_hash.as_str().into(),
                now.into(),
                row.terms.clone().into(),
                row.words.as_str().into(),
                row.length.into(),
                words::VERSION.into(),
            ],
        );
    }
    let changed = [
        "node_id",
        "uri",
        "level",
        "owner_space",
        "category",
        "node_type",
        "title",
        "body",
        "version",
        "content_hash",
        "indexed_at",
        "terms",
        "words",
        "length",
        "words_version",
    ];
    (sql.dialect().or_update)(&mut sql, "account_id, record_id", &changed);
    s.execute_raw(sql.finish()).await?;
    Ok(())
}
