//! Vectors beside the records of the embedded index, one a record and model, for the second stage of a search.
//!
//! A sink like any other, with a stream of its own: while the model cannot be reached its events wait, and words are indexed all
//! the same. A vector says of which text it is, and counts only as long as its record has that text; it goes with its record,
//! which the database sees to. What is never done here: a transaction that is open while a model is asked.

use std::{collections::HashSet, fmt, sync::Arc};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, FromQueryResult};
use sea_session::{Db, Session};

use super::{Gone, IndexSink, Refused, Unavailable};
use crate::{
    embed::{self, EmbedError, Embedder},
    error::StoreError,
    outbox::unit,
    record::{Record, content_hash},
    sql::Sql,
};

/// Vectors in one statement: 1,000 of 1,536 dimensions are 6 MiB.
const A_STATEMENT: usize = 1_000;

/// Keeps the vectors of one model.
#[derive(Clone)]
pub struct VectorSink {
    db: Db,
    embedder: Arc<dyn Embedder>,
}

impl fmt::Debug for VectorSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorSink").field("model", &self.embedder.model()).finish_non_exhaustive()
    }
}

/// A vector that a record is to have.
struct New<'r> {
    record: &'r Record,
    hash: String,
    vector: Vec<f32>,
}

impl VectorSink {
    /// The vectors of this model, in the store of this database.
    pub fn new(db: &Db, embedder: Arc<dyn Embedder>) -> Self {
        Self { db: db.clone(), embedder }
    }

    /// The records whose text has no vector of this model yet, with the hash of that text.
    async fn due<'r>(&self, records: &'r [Record]) -> Result<Vec<(&'r Record, String)>, StoreError> {
        #[derive(FromQueryResult)]
        struct Row {
            account_id: String,
            record_id: String,
            content_hash: String,
        }
        let mut has: HashSet<(String, String, String)> = HashSet::new();
        for some in records.chunks(A_STATEMENT) {
            let rows = unit(&self.db)
                .run(async |s: &mut Session| -> Result<_, StoreError> {
                    let mut accounts: Vec<&str> = some.iter().map(|record| record.account_id.as_str()).collect();
                    accounts.sort_unstable();
                    accounts.dedup();
                    let mut sql = Sql::of(s);
                    // From the records to their vectors: SQLite keeps the order of a CROSS JOIN, and would else read all vectors.
                    sql.push("SELECT r.account_id, r.record_id, v.content_hash FROM index_records r CROSS JOIN index_vectors v WHERE ");
                    sql.is_in("r.account_id", accounts).push(" AND ");
                    sql.is_in("r.record_id", some.iter().map(|record| record.id.as_str()));
                    sql.push(" AND v.record = r.id AND v.model = ").bind(self.embedder.model());
                    sql.push(" AND v.dimensions = ").bind(dimensions(&*self.embedder));
                    Ok(Row::find_by_statement(sql.finish()).all(s).await?)
                })
                .await?;
            has.extend(rows.into_iter().map(|row| (row.account_id, row.record_id, row.content_hash)));
        }
        let hashed = records.iter().map(|record| (record, content_hash(&record.body)));
        let is_due = |(record, hash): &(&Record, String)| {
            !has.contains(&(record.account_id.clone(), record.id.clone(), hash.clone()))
        };
        Ok(hashed.filter(is_due).collect())
    }

    /// The vectors, and the records whose text the model refuses: found one by one, so that it is refused alone.
    async fn embed<'r>(&self, due: Vec<(&'r Record, String)>) -> Result<(Vec<New<'r>>, Vec<Refused>), Unavailable> {
        let texts: Vec<String> = due.iter().map(|(record, _)| text_of(record)).collect();
        let new = |(record, hash): (&'r Record, String), vector: Vec<f32>| New { record, hash, vector };
        match embed::embed(&*self.embedder, &texts).await {
            Ok(vectors) => {
                return Ok((due.into_iter().zip(vectors).map(|(due, vector)| new(due, vector)).collect(), Vec::new()));
            }
            Err(EmbedError::Unavailable(why)) => return Err(Unavailable(why)),
            Err(EmbedError::Refused(_)) => {}
        }
        let (mut vectors, mut refused) = (Vec::new(), Vec::new());
        for (due, text) in due.into_iter().zip(&texts) {
            match embed::embed(&*self.embedder, std::slice::from_ref(text)).await {
                Ok(some) => vectors.extend(some.into_iter().map(|vector| new((due.0, due.1.clone()), vector))),
                Err(EmbedError::Unavailable(why)) => return Err(Unavailable(why)),
                Err(EmbedError::Refused(reason)) => {
                    refused.push(Refused { node_id: due.0.node_id, record_id: due.0.id.clone(), reason, again: false })
                }
            }
        }
        Ok((vectors, refused))
    }

    /// Keeps vectors of records that are there and still have the text.
    async fn keep(&self, vectors: &[New<'_>]) -> Result<(), StoreError> {
        for some in vectors.chunks(A_STATEMENT) {
            unit(&self.db)
                .run(async |s: &mut Session| -> Result<(), StoreError> {
                    let mut sql = Sql::of(s);
                    sql.push("INSERT INTO index_vectors (record, model, dimensions, content_hash, vector) ");
                    sql.push("WITH w(account_id, record_id, content_hash, vector) AS (");
                    for (i, new) in some.iter().enumerate() {
                        let (account, id) = (new.record.account_id.as_str(), new.record.id.as_str());
                        sql.begin_row(i).with("?, ?, ?, ", [account.into(), id.into(), new.hash.as_str().into()]);
                        let vector = (sql.dialect().vectors.value)(&new.vector);
                        sql.bind_as(vector, |d| d.vectors.kept_as).end_row();
                    }
                    sql.push(") SELECT r.id, ").bind_text(self.embedder.model()).push(", ");
                    sql.bind_as(dimensions(&*self.embedder), |d| d.integer);
                    sql.push(", w.content_hash, w.vector FROM w JOIN index_records r ON r.account_id = w.account_id");
                    sql.push(
                        " AND r.record_id = w.record_id AND r.content_hash = w.content_hash WHERE true ORDER BY r.id",
                    );
                    (sql.dialect().or_update)(&mut sql, "record, model", &["dimensions", "content_hash", "vector"]);
                    s.execute_raw(sql.finish()).await?;
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}

/// The name of a text says what it is about as much as the text does.
fn text_of(record: &Record) -> String {
    format!("{}\n\n{}", record.title, record.body)
}

/// As the column has it.
pub(crate) fn dimensions(embedder: &dyn Embedder) -> i32 {
    i32::try_from(embedder.dimensions()).unwrap_or(i32::MAX)
}

#[async_trait]
impl IndexSink for VectorSink {
    /// Nothing: a vector goes with its record.
    async fn delete(&self, _gone: &[Gone]) -> Result<Vec<Refused>, Unavailable> {
        Ok(Vec::new())
    }

    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable> {
        let down = |e: StoreError| Unavailable(e.to_string());
        let due = self.due(records).await.map_err(down)?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let (vectors, refused) = self.embed(due).await?;
        self.keep(&vectors).await.map_err(down)?;
        Ok(refused)
    }
}
