//! The second stage of a search: what words have found is ranked again by words and vectors together (W5).
//!
//! By reciprocal rank fusion: each of two orders gives a node `1 / (60 + place)`, and the sum is its score. Only places count,
//! so the scores of a question's words and the angles of a model need not be comparable. The best 200 by words take part;
//! each later one has the part of its words alone, which is less than any of these has, so pages follow each other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sea_orm::{FromQueryResult, prelude::Uuid};
use sea_session::{outbox::Dispatcher, prelude::*};

use super::{
    SearchOptions, Store,
    rank::{Ranked, Ranking, Scope},
    search::scope,
};
use crate::{
    access::Caller,
    embed::{self, EmbedError, Embedder},
    error::StoreError,
    index::{VectorSink, dimensions},
    outbox::Indexer,
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
    pub async fn vector_dispatcher(&self) -> Result<Option<Dispatcher<Indexer>>, StoreError> {
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
    /// As [`Ranking::best`], ranked by words and vectors together.
    pub(super) async fn best(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        ranking: &Ranking<'_>,
        wanted: usize,
        counts: impl Fn(&Ranked) -> bool,
    ) -> Result<Option<Vec<Ranked>>, StoreError> {
        // A place is one among all, whichever page is asked for.
        let mut most = wanted.max(CANDIDATES);
        let mut places: Option<HashMap<Uuid, usize>> = None;
        loop {
            let Some(mut rows) = ranking.best(s, scope, most, |_| true).await? else { return Ok(None) };
            let is_all = rows.len() < most;
            let places = match &mut places {
                Some(places) => places,
                none => none.insert(self.places(s, scope, &rows[..rows.len().min(CANDIDATES)]).await?),
            };
            for (place, row) in rows.iter_mut().enumerate() {
                row.score = worth(place) + places.get(&row.id).copied().map_or(0.0, worth);
            }
            rows.sort_unstable_by(Ranked::before);
            rows.retain(|row| counts(row));
            if is_all || rows.len() >= wanted {
                return Ok(Some(rows));
            }
            most = most.saturating_mul(8);
        }
    }

    /// The candidates in the order of their vectors: each node by its nearest text; those without one are in no place.
    async fn places(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        candidates: &[Ranked],
    ) -> Result<HashMap<Uuid, usize>, StoreError> {
        #[derive(FromQueryResult)]
        struct Row {
            node_id: Uuid,
            vector: Vec<u8>,
        }
        let mut sql = Sql::new(super::backend(s));
        sql.push(
            "SELECT r.node_id, v.vector FROM index_records r JOIN index_vectors v ON v.record = r.id AND v.model = ",
        );
        sql.bind(self.model.as_str()).push(" AND v.dimensions = ").bind(self.dimensions);
        sql.push(" AND v.content_hash = r.content_hash WHERE r.account_id = ").bind(scope.account).push(" AND ");
        sql.is_in("r.node_id", candidates.iter().map(|row| row.id));
        let mut nearest: HashMap<Uuid, f64> = HashMap::with_capacity(candidates.len());
        for row in Row::find_by_statement(sql.finish()).all(s).await? {
            if let Some(cosine) = embed::cosine(&self.vector, &row.vector) {
                let best = nearest.entry(row.node_id).or_insert(cosine);
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
