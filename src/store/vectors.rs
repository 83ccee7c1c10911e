//! The second stage of a search: what words have found is ranked again by words and vectors together (W5).
//!
//! By reciprocal rank fusion: each of two orders gives a node `1 / (60 + place)`, and the sum is its score. Only places count,
//! so the scores of a question's words and the angles of a model need not be comparable. The best 200 by words take part, and
//! where the database compares vectors (pgvector) the 200 nearest of all that the caller may see; each later one has the part of its
//! words alone. What one place is worth never depends on the page, so pages follow each other.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, prelude::Uuid};
use sea_session::{outbox::Dispatcher, prelude::*};

use super::{
    SearchOptions, Store,
    rank::{Ranked, Ranking, Scope, has_words},
    search::scope,
};
use crate::{
    access::Caller,
    embed::{self, EmbedError, Embedder},
    error::StoreError,
    index::{VectorSink, dimensions},
    sql::Sql,
    uri::{decode, encode},
    words::Question,
};

/// How many of the best by words are ranked again.
const CANDIDATES: usize = 200;

/// How little the first places are worth more than those that follow: the usual constant.
const FLATNESS: f64 = 60.0;

/// Nodes in one claim, and how long it holds.
const NODES: usize = 50;
const LEASE: Duration = Duration::from_secs(5 * 60);

/// How the address of a stream of vectors begins.
const STREAM: &str = "vectors:";

/// A question as a vector.
pub(super) struct QuestionVector {
    vector: Vec<f32>,
    model: String,
    dimensions: i32,
}

impl Store {
    /// The same store with a second stage: [`Store::drain`] keeps vectors of this model, and [`Store::search`] ranks with them.
    /// A model that is seen for the first time gets every node's texts, through a stream of its own
    /// ([`Store::vector_dispatcher`]).
    #[must_use]
    pub fn with_embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// The model of the second stage, if there is one.
    pub fn embedder(&self) -> Option<&Arc<dyn Embedder>> {
        self.embedder.as_ref()
    }

    /// A dispatcher that keeps the vectors of this store's model in step, for as long as it runs; none without a model. It
    /// delivers what a dispatcher of the store's own stream copies to it, so one has to run as well.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// As [`Store::sink_stream`].
    pub async fn vector_dispatcher(&self) -> Result<Option<Dispatcher>, StoreError> {
        let Some(embedder) = &self.embedder else { return Ok(None) };
        let address = address_of(embedder.model(), dimensions(&**embedder));
        let stream = self.sink_stream(&address).await?;
        let sink = Arc::new(VectorSink::new(&self.db, embedder.clone()));
        // A model takes its time: few nodes at once, and a claim that holds until it has answered.
        Ok(Some(stream.dispatcher(sink).batch(NODES).lease(LEASE)))
    }

    /// What the model makes of a question; none without a model, or where words are to count alone. Nothing is asked for
    /// somebody who may not search there.
    pub(super) async fn vector_of(
        &self,
        caller: &Caller,
        query: &str,
        options: &SearchOptions,
    ) -> Result<Option<QuestionVector>, StoreError> {
        let Some(embedder) = self.embedder.as_ref().filter(|_| !options.words_only) else { return Ok(None) };
        scope(caller, options)?;
        Question::parse(query)?;
        let refuse = |e: EmbedError| StoreError::Embedding(e.to_string());
        let vectors = embed::embed(&**embedder, &[wanted_words(query)]).await.map_err(refuse)?;
        let model = embedder.model().to_owned();
        Ok(vectors.into_iter().next().map(|vector| QuestionVector {
            vector,
            model,
            dimensions: dimensions(&**embedder),
        }))
    }
}

/// What tells the stream of a model's vectors from others. A model's name may hold anything.
fn address_of(model: &str, dimensions: i32) -> String {
    format!("{STREAM}{}/{dimensions}", encode(model))
}

/// The model and dimensions of a stream of vectors, by its address.
pub(super) fn model_of(address: &str) -> Option<(String, i32)> {
    let (model, dimensions) = address.strip_prefix(STREAM)?.rsplit_once('/')?;
    Some((decode(model).into_owned(), dimensions.parse().ok()?))
}

/// The question without its signs, and without what no answer may have: a model would look for that.
fn wanted_words(query: &str) -> String {
    let mut wanted = String::with_capacity(query.len());
    let (mut quoted, mut left_out, mut begins) = (false, false, true);
    for (at, c) in query.char_indices() {
        match c {
            '"' | '“' | '”' => {
                quoted = !quoted;
                left_out &= quoted;
                begins = !quoted;
                wanted.push(' ');
            }
            // Only in front of something: ` - ` is none.
            '-' if begins && !quoted => {
                left_out = query[at + 1..].chars().next().is_some_and(|next| !next.is_whitespace());
                begins = left_out;
            }
            '*' => {}
            c if c.is_whitespace() && !quoted => {
                (left_out, begins) = (false, true);
                wanted.push(c);
            }
            c => {
                begins = false;
                if !left_out {
                    wanted.push(c);
                }
            }
        }
    }
    wanted.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a place in one order is worth; the first is 0.
fn worth(place: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a place in a list")]
    let place = place as f64;
    1.0 / (FLATNESS + place + 1.0)
}

impl QuestionVector {
    /// As [`Ranking::best`], ranked by words and vectors together; by vectors alone where no text has any of the words.
    pub(super) async fn best(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        question: &Question,
        ranking: Option<&Ranking<'_>>,
        wanted: usize,
        counts: impl Fn(&Ranked) -> bool,
    ) -> Result<Option<Vec<Ranked>>, StoreError> {
        let neighbours = self.neighbours(s, scope, question).await?;
        let mut most = wanted.max(CANDIDATES);
        let mut places: Option<HashMap<Uuid, usize>> = None;
        loop {
            let found = match ranking {
                Some(ranking) => ranking.best(s, scope, most, |_| true).await?,
                None => None,
            };
            let mut rows = found.unwrap_or_default();
            if rows.is_empty() && neighbours.is_empty() {
                return Ok(None);
            }
            // What was not looked at yet is worth this at most.
            let unseen = if rows.len() < most { 0.0 } else { worth(rows.len()) };
            rows.iter_mut().enumerate().for_each(|(place, row)| row.score = worth(place));
            let later = rows.split_off(rows.len().min(CANDIDATES));
            let by_words: HashSet<Uuid> = rows.iter().map(|row| row.id).collect();
            let joining: HashSet<Uuid> =
                neighbours.iter().map(|row| row.id).filter(|id| !by_words.contains(id)).collect();
            rows.extend(neighbours.iter().filter(|row| joining.contains(&row.id)).cloned());
            let places = match &mut places {
                Some(places) => places,
                none => none.insert(self.places(s, scope, &rows).await?),
            };
            rows.iter_mut().for_each(|row| row.score += places.get(&row.id).copied().map_or(0.0, worth));
            rows.extend(later.into_iter().filter(|row| !joining.contains(&row.id)));
            rows.sort_unstable_by(Ranked::before);
            rows.retain(|row| row.score > unseen && counts(row));
            if unseen == 0.0 || rows.len() >= wanted {
                return Ok(Some(rows));
            }
            most = most.saturating_mul(8);
        }
    }

    /// The nodes whose texts are nearest to the question, where the database can tell; none of what the question leaves out.
    ///
    /// Every vector that the caller may see is compared, and no other: an index of vectors of all accounts would give fewer to
    /// whom a smaller part of it belongs, and tell of the others by it (W7).
    async fn neighbours(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        question: &Question,
    ) -> Result<Vec<Ranked>, StoreError> {
        let mut sql = Sql::of(s);
        let (vectors, real) = (&sql.dialect().vectors, sql.dialect().real);
        let Some(nearest) = &vectors.nearest else { return Ok(Vec::new()) };
        let can = Statement::from_string(s.get_database_backend(), nearest.can);
        if s.query_one_raw(can).await?.is_none() {
            return Ok(Vec::new());
        }
        sql.push(&format!(
            "SELECT r.id AS record, n.id, n.uri, CAST(0 AS {real}) AS score, CAST(0 AS {real}) AS floor "
        ));
        sql.push("FROM index_records r JOIN index_vectors v ON v.record = r.id AND v.model = ")
            .bind(self.model.as_str());
        sql.push(" AND v.dimensions = ").bind(self.dimensions).push(" AND v.content_hash = r.content_hash");
        sql.push(" JOIN nodes n ON n.id = r.node_id WHERE r.account_id = ").bind(scope.account);
        scope.conditions(&mut sql);
        scope.leave_out(&mut sql, &question.without);
        for phrase in &question.phrases {
            sql.push(" AND ");
            has_words(&mut sql, "r", &phrase.stream);
        }
        let [before, between, behind] = nearest.distance;
        sql.push(" ORDER BY ").push(before).push("v.vector").push(between).bind((vectors.value)(&self.vector));
        sql.push(behind).push(", n.uri, r.id LIMIT ").bind(i64::try_from(CANDIDATES).unwrap_or(i64::MAX));
        let mut rows = Ranked::find_by_statement(sql.finish()).all(s).await?;
        let mut seen = HashSet::with_capacity(rows.len());
        rows.retain(|row| seen.insert(row.id));
        Ok(rows)
    }

    /// The candidates in the order of their vectors: each node by its nearest text; those without one are in no place.
    async fn places(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        candidates: &[Ranked],
    ) -> Result<HashMap<Uuid, usize>, StoreError> {
        let mut sql = Sql::of(s);
        let numbers = sql.dialect().vectors.numbers;
        sql.push(
            "SELECT r.node_id, v.vector FROM index_records r JOIN index_vectors v ON v.record = r.id AND v.model = ",
        );
        sql.bind(self.model.as_str()).push(" AND v.dimensions = ").bind(self.dimensions);
        sql.push(" AND v.content_hash = r.content_hash WHERE r.account_id = ").bind(scope.account).push(" AND ");
        sql.is_in("r.node_id", candidates.iter().map(|row| row.id));
        let mut nearest: HashMap<Uuid, f64> = HashMap::with_capacity(candidates.len());
        for row in s.query_all_raw(sql.finish()).await? {
            if let Some(cosine) = embed::cosine(&self.vector, &numbers(&row, "vector")?) {
                let best = nearest.entry(row.try_get("", "node_id")?).or_insert(cosine);
                *best = best.max(cosine);
            }
        }
        let mut order: Vec<(f64, &Ranked)> =
            candidates.iter().filter_map(|row| Some((*nearest.get(&row.id)?, row))).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.uri.cmp(&b.1.uri)));
        Ok(order.into_iter().enumerate().map(|(place, (_, row))| (row.id, place)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::without_password;

    #[test]
    fn w5_a_model_is_asked_for_what_is_wanted_and_not_for_what_is_not() {
        let cases = [
            ("what did we decide about retries?", "what did we decide about retries?"),
            ("\"support group\" -draft migrat*", "support group migrat"),
            ("tea -\"first try\" cups", "tea cups"),
            ("a - b well-known -x", "a b well-known"),
            ("“In Quotes” -“left out” rest", "In Quotes rest"),
            ("-all -\"of it\"", ""),
        ];
        for (query, wanted) in cases {
            assert_eq!(wanted_words(query), wanted, "{query}");
        }
    }

    #[test]
    fn w5_every_candidate_is_worth_more_than_what_follows_them() {
        assert!(worth(CANDIDATES - 1) > worth(CANDIDATES));
        assert!(worth(0) < 1.0 / FLATNESS);
    }

    #[test]
    fn e4_a_model_of_any_name_has_a_stream_of_its_own() {
        for model in ["text-embedding-3-small", "@cf/baai/bge-m3", "a:b@c/d?key=x&%41", "模型 1"] {
            let address = address_of(model, 1024);
            assert_eq!(model_of(&without_password(&address)), Some((model.to_owned(), 1024)), "{address}");
        }
        assert_eq!(model_of("https://index.example/1024"), None);
    }
}
