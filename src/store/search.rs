//! Search in the embedded index (V11): full text, within what the caller may see, best first.

use std::sync::Arc;

use sea_orm::{FromQueryResult, prelude::Uuid};
use sea_session::{
    outbox::{Dispatcher, Outbox, Report},
    prelude::*,
};

use super::{Store, allow};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    index::{EmbeddedIndex, IndexSink, ReindexOptions, ReindexProgress, ReindexReport, reindex},
    outbox::{self, Indexer},
    page::{Page, Paging},
    sql::{Sql, text},
    uri::Uri,
};

/// What to search, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchOptions {
    /// Only at or below this folder; none for the whole account.
    pub within: Option<Uri>,
    /// Only nodes of this category, in canonical spelling.
    pub category: Option<String>,
    /// Only nodes of this type.
    pub node_type: Option<String>,
    /// Which page.
    pub paging: Paging,
}

/// A node that a search has found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Hit {
    /// The node.
    pub id: Uuid,
    /// Where it is.
    pub uri: Uri,
    /// How well it matches: more is better. Comparable within one search only.
    pub score: f64,
    /// The place of the text that matches, the words marked with `[` and `]`.
    pub snippet: String,
}

#[derive(FromQueryResult)]
struct HitRow {
    id: Uuid,
    uri: String,
    score: f64,
    snippet: String,
}

impl Store {
    /// Delivers what the outbox holds to the embedded index, until nothing is due.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: what was claimed and not acknowledged is claimed again when its lease runs out.
    pub async fn drain(&self) -> Result<Report, StoreError> {
        Ok(self.dispatcher(Arc::new(EmbeddedIndex::new(&self.db))).drain().await?)
    }

    /// The store's own stream of events: its numbers, its dead letters.
    pub fn outbox(&self) -> Outbox {
        outbox::outbox(&self.db)
    }

    /// Builds the embedded index anew, in batches, while it is in use; records of nodes that are gone go.
    ///
    /// # Errors
    /// What the database says. What was done stays done.
    ///
    /// # Cancel safety
    /// Safe: it may be begun again.
    pub async fn reindex(
        &self,
        options: &ReindexOptions,
        progress: &mut (dyn FnMut(ReindexProgress) + Send),
    ) -> Result<ReindexReport, StoreError> {
        let index = EmbeddedIndex::new(&self.db);
        let mut report = reindex(&self.db, &index, options, progress).await?;
        report.orphans = index.remove_orphans(options.account.as_deref()).await?;
        Ok(report)
    }

    /// A dispatcher that keeps an index in step with this store, for as long as it runs.
    pub fn dispatcher(&self, sink: Arc<dyn IndexSink>) -> Dispatcher<Indexer> {
        outbox::dispatcher(&self.db, sink)
    }

    /// The active nodes that have all these words in one of their texts, best first. Each node once, by its best text.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for a query without words, [`StoreError::Denied`] for its folder, [`StoreError::InvalidCursor`].
    pub async fn search(&self, caller: &Caller, query: &str, options: &SearchOptions) -> Result<Page<Hit>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.search_in(s, caller, query, options).await).await
    }

    /// [`Store::search`] inside the caller's unit.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search_in(
        &self,
        s: &mut Session,
        caller: &Caller,
        query: &str,
        options: &SearchOptions,
    ) -> Result<Page<Hit>, StoreError> {
        if let Some(within) = &options.within {
            allow(caller, within, Access::Read)?;
        }
        let limit = options.paging.checked_limit()?;
        let words = words(query)?;
        let mut sql = Sql::new(super::backend(s));
        matches(&mut sql, caller.account(), &words);
        // Only what is still active and still the caller's to see, whatever the index has not yet learned.
        sql.push(", best AS (SELECT m.*, n.uri AS node_uri, row_number() OVER (PARTITION BY m.node_id ORDER BY m.score DESC, m.level DESC) AS place");
        sql.push(" FROM matched m JOIN nodes n ON n.id = m.node_id AND n.status = 'active' WHERE m.account_id = ")
            .bind(caller.account());
        sql.push(" AND n.account_id = ").bind(caller.account());
        sql.and_owned("n.owner_space", caller.owner_filter().as_deref());
        if let Some(within) = &options.within {
            let (low, high) = within.below();
            sql.with(" AND (n.uri = ? OR (n.uri >= ? AND n.uri < ?))", [text(within.as_str()), text(low), text(high)]);
        }
        if let Some(category) = &options.category {
            sql.push(" AND n.category = ").bind(category.as_str());
        }
        if let Some(node_type) = &options.node_type {
            sql.push(" AND n.node_type = ").bind(node_type.as_str());
        }
        sql.push("), page AS (SELECT * FROM best b WHERE b.place = 1");
        if let Some(after) = options.paging.after.as_deref() {
            let (score, uri) = search_cursor(after)?;
            sql.with(" AND (b.score < ? OR (b.score = ? AND b.node_uri > ?))", [score.into(), score.into(), text(uri)]);
        }
        sql.push(" ORDER BY b.score DESC, b.node_uri LIMIT ")
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
            .push(") ");
        snippets(&mut sql, &words);
        let rows = HitRow::find_by_statement(sql.finish()).all(s).await?;
        let page = Page::of(rows, limit, |row| format!("{:e} {}", row.score, row.uri));
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(Hit { id: row.id, uri: Uri::parse(&row.uri)?, score: row.score, snippet: row.snippet });
        }
        Ok(Page { items, next: page.next })
    }
}

/// The words of a query: as both indexes see them, without punctuation.
fn words(query: &str) -> Result<Vec<String>, StoreError> {
    let words: Vec<String> =
        query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    if words.is_empty() {
        return Err(StoreError::InvalidArgument("a search needs at least one word".into()));
    }
    Ok(words)
}

/// `WITH matched AS (…)`: the records that match, and how well. Materialised, because the rank of FTS5 exists only there.
fn matches(sql: &mut Sql, account: &str, words: &[String]) {
    sql.push("WITH matched AS MATERIALIZED (SELECT r.id AS record, r.node_id, r.account_id, r.level, ");
    if sql.is_postgres() {
        sql.push("ts_rank(r.search, plainto_tsquery('simple', ")
            .bind(words.join(" "))
            .push("))::double precision AS score");
        sql.push(" FROM index_records r WHERE r.search @@ plainto_tsquery('simple', ").bind(words.join(" ")).push(")");
    } else {
        sql.push("-bm25(index_records_fts, 10.0, 1.0) AS score FROM index_records_fts JOIN index_records r ON r.id = index_records_fts.rowid");
        sql.push(" WHERE index_records_fts MATCH ").bind(fts_query(words));
    }
    sql.push(" AND r.account_id = ").bind(account).push(")");
}

/// The last SELECT: the page, with the place of the text that matches.
fn snippets(sql: &mut Sql, words: &[String]) {
    if sql.is_postgres() {
        sql.push("SELECT p.node_id AS id, p.node_uri AS uri, p.score, ts_headline('simple', left(r.body, 20000), plainto_tsquery('simple', ");
        sql.bind(words.join(" "))
            .push("), 'StartSel=[, StopSel=], MaxWords=16, MinWords=6, MaxFragments=1') AS snippet");
        sql.push(" FROM page p JOIN index_records r ON r.id = p.record ORDER BY p.score DESC, p.node_uri");
    } else {
        sql.push("SELECT p.node_id AS id, p.node_uri AS uri, p.score, snippet(index_records_fts, 1, '[', ']', '…', 16) AS snippet");
        sql.push(
            " FROM page p JOIN index_records_fts ON index_records_fts.rowid = p.record WHERE index_records_fts MATCH ",
        );
        sql.bind(fts_query(words)).push(" ORDER BY p.score DESC, p.node_uri");
    }
}

/// Each word as a string of FTS5's query language, so that none is an operator.
fn fts_query(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
}

fn search_cursor(after: &str) -> Result<(f64, &str), StoreError> {
    let (score, uri) = after.split_once(' ').ok_or(StoreError::InvalidCursor)?;
    Ok((score.parse().map_err(|_| StoreError::InvalidCursor)?, uri))
}
