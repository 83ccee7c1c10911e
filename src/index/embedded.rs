//! The index in the store's own database: FTS5 on SQLite, `tsvector` on PostgreSQL, over the table `index_records`.

use async_trait::async_trait;
use chrono::Utc;
use sea_orm::ConnectionTrait;
use sea_session::Session;

use super::{IndexSink, NodeRecords};
use crate::{
    error::StoreError,
    record::{Record, content_hash, level_number},
    sql::Sql,
};

/// Records in one INSERT: each has twelve values, and SQLite takes 32,766.
const RECORDS_A_STATEMENT: usize = 1_000;

/// The embedded full-text index.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbeddedIndex;

#[async_trait]
impl IndexSink for EmbeddedIndex {
    async fn apply(&self, s: &mut Session, changes: &[NodeRecords]) -> Result<(), StoreError> {
        let records: Vec<&Record> = changes.iter().flat_map(|change| &change.records).collect();
        for some in changes.chunks(RECORDS_A_STATEMENT) {
            delete_others(s, some).await?;
        }
        for some in records.chunks(RECORDS_A_STATEMENT) {
            upsert(s, some).await?;
        }
        Ok(())
    }
}

/// Deletes the nodes' records that are not to stay. By node: a record id that has become another node's is not touched.
async fn delete_others(s: &mut Session, changes: &[NodeRecords]) -> Result<(), StoreError> {
    let mut sql = Sql::new(s.backend());
    sql.push("DELETE FROM index_records WHERE ").is_in("node_id", changes.iter().map(|change| change.node_id));
    let staying: Vec<&Record> = changes.iter().flat_map(|change| &change.records).collect();
    if !staying.is_empty() {
        sql.push(" AND (node_id, record_id) NOT IN (VALUES ");
        for (i, record) in staying.iter().enumerate() {
            sql.push(if i == 0 { "" } else { ", " }).with("(?, ?)", [record.node_id.into(), record.id.as_str().into()]);
        }
        sql.push(")");
    }
    s.execute_raw(sql.finish()).await?;
    Ok(())
}

async fn upsert(s: &mut Session, records: &[&Record]) -> Result<(), StoreError> {
    let now = Utc::now();
    let mut sql = Sql::new(s.backend());
    sql.push("INSERT INTO index_records (account_id, record_id, node_id, uri, level, owner_space, category, node_type, title, body, version, content_hash, indexed_at) VALUES ");
    for (i, record) in records.iter().enumerate() {
        sql.push(if i == 0 { "" } else { ", " }).with(
            "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                record.account_id.as_str().into(),
                record.id.as_str().into(),
                record.node_id.into(),
                record.uri.as_str().into(),
                i16::from(level_number(record.level)).into(),
                record.owner_space.as_str().into(),
                record.category.clone().into(),
                record.node_type.as_str().into(),
                // PostgreSQL's text holds everything but NUL, which SQLite holds and would stop the batch there.
                record.title.replace('\0', " ").into(),
                record.body.replace('\0', " ").into(),
                record.version.into(),
                content_hash(&record.body).into(),
                now.into(),
            ],
        );
    }
    sql.push(" ON CONFLICT (account_id, record_id) DO UPDATE SET node_id = excluded.node_id, uri = excluded.uri, level = excluded.level");
    sql.push(", owner_space = excluded.owner_space, category = excluded.category, node_type = excluded.node_type, title = excluded.title");
    sql.push(", body = excluded.body, version = excluded.version, content_hash = excluded.content_hash, indexed_at = excluded.indexed_at");
    s.execute_raw(sql.finish()).await?;
    Ok(())
}
