//! Search in the embedded index (V11, W5): the nodes that answer a question best, within what the caller may see.

use std::{collections::HashMap, sync::Arc};

use sea_orm::{FromQueryResult, prelude::DateTimeUtc, prelude::Json, prelude::Uuid};
use sea_session::{
    outbox::{Dispatcher, Outbox, Report},
    prelude::*,
};

use super::{
    Store, Within, allow,
    rank::{Ranked, Ranking, Scope},
    vectors::QuestionVector,
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    index::{EmbeddedIndex, IndexSink, ReindexOptions, ReindexProgress, ReindexReport, reindex},
    outbox,
    page::{Page, Paging},
    sql::Sql,
    uri::{SHARED_SPACE, Uri},
    words::{Marks, Question, marked, snippet},
};

/// How much of a text is looked at for a snippet, in characters.
const SHOWN_OF: i64 = 200_000;

/// What to search, and where. Every condition that is given holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchOptions {
    /// Only at or below this folder; none for the whole account.
    pub within: Option<Uri>,
    /// Only what belongs to this owner space, named as it is stored: `user:alice`, `agent:planner`, `shared`.
    pub owner_space: Option<String>,
    /// Only nodes of this category, in canonical spelling.
    pub category: Option<String>,
    /// Only nodes of this type.
    pub node_type: Option<String>,
    /// Only nodes whose metadata has each of these keys at its top with this text, number or truth value, or with a list that
    /// has it.
    pub metadata: Vec<(String, Json)>,
    /// Only nodes that were last changed at this time or later.
    pub since: Option<DateTimeUtc>,
    /// Only nodes that were last changed before this time.
    pub until: Option<DateTimeUtc>,
    /// By words alone, although there is a model: also where the model cannot be reached.
    pub words_only: bool,
    /// Which page.
    pub paging: Paging,
}

/// A node that a search has found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Hit {
    /// The node.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// Where it is.
    pub uri: Uri,
    /// How well it matches: more is better. Comparable within one search only.
    pub score: f64,
    /// The node's name, the words that match marked with `[` and `]`.
    pub title: String,
    /// The place of the text that has most of the words, marked in the same way.
    pub snippet: String,
}

impl Store {
    /// Delivers what the outbox holds to the embedded index, until nothing is due; then, where there is a model, the vectors.
    ///
    /// # Errors
    /// What the database says; that the model cannot be reached: then words are indexed all the same, and the vectors wait.
    ///
    /// # Cancel safety
    /// Safe: what was claimed and not acknowledged is claimed again when its lease runs out.
    pub async fn drain(&self) -> Result<Report, StoreError> {
        let report = self.dispatcher(Arc::new(EmbeddedIndex::new(&self.db))).drain().await?;
        if let Some(vectors) = self.vector_dispatcher().await? {
            vectors.drain().await?;
        }
        Ok(report)
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
    pub fn dispatcher(&self, sink: Arc<dyn IndexSink>) -> Dispatcher {
        outbox::dispatcher(&self.db, sink)
    }

    /// The active nodes that answer a question best, each once, by its best text.
    ///
    /// Any word of the question may match; what counts is how rare the words are, how often and in how long a text they are
    /// there (BM25), computed from what this caller may see and nothing else (W7). Stop words count only where there is nothing
    /// else. `"in quotes"` must be there in this order (unless no text has it so), `-word` and `-"in quotes"` must not, and
    /// `begin*` is any word that begins so. Case, accents and inflection do not count; docs/book/src/store.md says more.
    ///
    /// With a model ([`Store::with_embedder`]) the best 200 by words are ranked again by words and vectors together; where the
    /// database has pgvector, with the 200 nearest of all texts, which need not have any of the words.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for a query without words, or for what is no owner space; [`StoreError::Denied`] for its
    /// folder or owner space; [`StoreError::InvalidCursor`]; [`StoreError::Embedding`] if the model cannot be reached.
    pub async fn search(&self, caller: &Caller, query: &str, options: &SearchOptions) -> Result<Page<Hit>, StoreError> {
        // Before the unit: no transaction is open while the model is asked.
        let vector = self.vector_of(caller, query, options).await?;
        let vector = vector.as_ref();
        let unit = self.read_unit(caller);
        unit.run(async |s: &mut Session| self.within(s, caller).search_by(query, vector, options).await).await
    }
}

impl Within<'_> {
    /// [`Store::search`] in this unit.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search(&mut self, query: &str, options: &SearchOptions) -> Result<Page<Hit>, StoreError> {
        let vector = self.store.vector_of(self.caller, query, options).await?;
        self.search_by(query, vector.as_ref(), options).await
    }

    async fn search_by(
        &mut self,
        query: &str,
        vector: Option<&QuestionVector>,
        options: &SearchOptions,
    ) -> Result<Page<Hit>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let scope = scope(caller, options)?;
        let limit = options.paging.checked_limit()?;
        let after = options.paging.after.as_deref().map(search_cursor).transpose()?;
        let mut question = Question::parse(query)?;
        let is_after = |row: &Ranked| {
            after.is_none_or(|(score, uri)| row.score < score || (row.score == score && row.uri.as_str() > uri))
        };
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let (mut rows, marks) = loop {
            let ranking = Ranking::of(s, &scope, &question).await?;
            let rows = match (&ranking, vector) {
                (Some(ranking), None) => ranking.best(s, &scope, wanted, is_after).await?,
                (ranking, Some(vector)) => {
                    vector.best(s, &scope, &question, ranking.as_ref(), wanted, is_after).await?
                }
                (None, None) => None,
            };
            match rows {
                Some(rows) => break (rows, ranking.map(|ranking| ranking.marks()).unwrap_or_default()),
                None if question.phrases.is_empty() => return Ok(Page::default()),
                // What nobody has said in this order is asked for word by word.
                None => question.phrases.clear(),
            }
        };
        rows.truncate(wanted);
        let page = Page::of(rows, limit, |row| format!("{:e} {}", row.score, row.uri));
        let texts = texts(s, &scope, &page.items).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(hit(row, &texts, &marks)?);
        }
        Ok(Page { items, next: page.next })
    }
}

/// The conditions, each allowed (V2).
pub(super) fn scope<'o>(caller: &'o Caller, options: &'o SearchOptions) -> Result<Scope<'o>, StoreError> {
    if let Some(within) = &options.within {
        allow(caller, within, Access::Read)?;
    }
    for (key, value) in &options.metadata {
        if value.is_array() || value.is_object() {
            let why =
                format!("metadata is searched for a text, a number or a truth value, and `{key}` is to be {value}");
            return Err(StoreError::InvalidArgument(why));
        }
    }
    let spaces = match &options.owner_space {
        Some(space) => {
            allow(caller, &folder_of(caller, space)?, Access::Read)?;
            Some(vec![space.clone()])
        }
        None => caller.owner_filter(),
    };
    Ok(Scope {
        account: caller.account(),
        spaces,
        within: options.within.as_ref(),
        category: options.category.as_deref(),
        node_type: options.node_type.as_deref(),
        metadata: options.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect(),
        since: options.since,
        until: options.until,
    })
}

/// Where the nodes of an owner space are.
fn folder_of(caller: &Caller, space: &str) -> Result<Uri, StoreError> {
    let root = Uri::account_root(caller.account())?;
    let place = match space.split_once(':') {
        Some(("user", id)) if !id.is_empty() => format!("{root}/users/{id}"),
        Some(("agent", id)) if !id.is_empty() => format!("{root}/agents/{id}"),
        None if space == SHARED_SPACE => format!("{root}/resources"),
        _ => {
            let why = format!("`{space}` is no owner space: they are `user:NAME`, `agent:NAME` and `{SHARED_SPACE}`");
            return Err(StoreError::InvalidArgument(why));
        }
    };
    Ok(Uri::parse(&place)?)
}

#[derive(FromQueryResult)]
struct TextRow {
    id: i64,
    title: String,
    body: String,
}

/// The texts of a page's records.
async fn texts(s: &mut Session, scope: &Scope<'_>, page: &[Ranked]) -> Result<HashMap<i64, TextRow>, StoreError> {
    /// Values in one statement: SQLite takes 32,766.
    const A_STATEMENT: usize = 10_000;
    let mut texts = HashMap::with_capacity(page.len());
    for some in page.chunks(A_STATEMENT) {
        let mut sql = Sql::of(s);
        sql.push("SELECT r.id, r.title, substr(r.body, 1, ").push(&SHOWN_OF.to_string());
        sql.push(") AS body FROM index_records r WHERE ");
        sql.say(|d| d.not_by).push("r.account_id = ").bind(scope.account).push(" AND ");
        sql.is_in("r.id", some.iter().map(|row| row.record));
        texts.extend(TextRow::find_by_statement(sql.finish()).all(s).await?.into_iter().map(|row| (row.id, row)));
    }
    Ok(texts)
}

fn hit(row: Ranked, texts: &HashMap<i64, TextRow>, marks: &Marks) -> Result<Hit, StoreError> {
    let text = texts.get(&row.record);
    Ok(Hit {
        id: row.id,
        uri: Uri::parse(&row.uri)?,
        score: row.score,
        title: text.map(|text| marked(&text.title, marks)).unwrap_or_default(),
        snippet: text.map(|text| snippet(&text.body, marks)).unwrap_or_default(),
    })
}

fn search_cursor(after: &str) -> Result<(f64, &str), StoreError> {
    let (score, uri) = after.split_once(' ').ok_or(StoreError::InvalidCursor)?;
    Ok((score.parse().map_err(|_| StoreError::InvalidCursor)?, uri))
}
