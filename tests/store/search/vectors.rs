//! The second stage of a search (W5), with a model of the test's own: what it ranks, and what it may not spoil.

use std::sync::Arc;

use context_store::{
    Caller, Hit, Page, Paging, SearchOptions, Store, StoreError, Write,
    embed::{EmbedError, Embedder},
};
use parking_lot::Mutex;
use sea_session::{Recorder, prelude::*};

use crate::{
    on_each_backend,
    support::{self, admin, uri},
};

/// Gives `sail` and `river` alone one direction, `stone` another, and `stone` beside many rivers one that is still further off;
/// refuses `forbidden`; and does wrong as it is told.
struct Model {
    name: &'static str,
    fault: Option<Fault>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Down,
    Fewer,
    Dimensions,
    NotANumber,
    Zeros,
}

impl Model {
    fn named(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, fault: None, asked: Mutex::default() })
    }

    fn with(fault: Fault) -> Arc<Self> {
        Arc::new(Self { name: "model", fault: Some(fault), asked: Mutex::default() })
    }

    /// The texts that it was asked for since it was last looked at.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock());
        asked.sort();
        asked
    }
}

#[async_trait::async_trait]
impl Embedder for Model {
    fn model(&self) -> &str {
        self.name
    }

    fn dimensions(&self) -> usize {
        3
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        if texts.iter().any(|text| text.contains("forbidden")) {
            return Err(EmbedError::Refused("there is a forbidden text".into()));
        }
        self.asked.lock().extend(texts.iter().cloned());
        let one = |text: &String| match (text == "river" || text.contains("sail"), text.contains("stone")) {
            (true, _) => vec![1.0, 0.1, 0.0],
            (false, true) if text.contains("river river") => vec![0.0, 1.0, 0.0],
            (false, true) => vec![0.1, 1.0, 0.0],
            (false, false) => vec![0.1, 0.1, 1.0],
        };
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(one).collect();
        match self.fault {
            None => {}
            Some(Fault::Down) => return Err(EmbedError::Unavailable("the model is asleep".into())),
            Some(Fault::Fewer) => drop(vectors.pop()),
            Some(Fault::Dimensions) => vectors[0].push(0.5),
            Some(Fault::NotANumber) => vectors[0][1] = f32::NAN,
            Some(Fault::Zeros) => vectors[0] = vec![0.0; 3],
        }
        Ok(vectors)
    }
}

async fn write(store: &Store, name: &str, content: &str) {
    let place = uri(&format!("ctx://acme/resources/{name}"));
    store.write(&admin(), &place, &Write::of(content)).await.unwrap_or_else(|e| panic!("{e}"));
}

fn names(page: &Page<Hit>) -> Vec<String> {
    page.items.iter().map(|hit| hit.uri.name().into_owned()).collect()
}

async fn found(store: &Store, options: &SearchOptions) -> Vec<String> {
    names(&store.search(&admin(), "river", options).await.unwrap_or_else(|e| panic!("{e}")))
}

const VECTORS: &str = "SELECT count(*) FROM index_vectors";

/// By words `x` is first and `z` last; by vectors `y` is first.
async fn rivers(store: &Store) {
    write(store, "x", "river river river stone").await;
    write(store, "y", "a river on which some people of the town sail").await;
    write(store, "z", "one more river, long and wide and slow, of which we know every single stone there is").await;
}

on_each_backend! {
    async fn w5_words_and_vectors_rank_together(t: TestStore) {
        let model = Model::named("model");
        let store = t.store.clone().with_embedder(model.clone());
        rivers(&store).await;
        store.drain().await.expect("a drain");
        assert_eq!(model.asked().len(), 3);
        assert_eq!(t.count(VECTORS).await, 3);
        assert_eq!(t.count("SELECT count(*) FROM index_vectors WHERE model = 'model' AND dimensions = 3").await, 3);

        let plain = SearchOptions::default();
        let words = SearchOptions { words_only: true, ..plain.clone() };
        assert_eq!(found(&t.store, &plain).await, ["x", "y", "z"]);
        assert_eq!(found(&store, &words).await, ["x", "y", "z"]);
        assert_eq!(model.asked(), Vec::<String>::new(), "nobody asks it where words are to count alone");
        assert_eq!(found(&store, &plain).await, ["y", "x", "z"]);
        assert_eq!(model.asked(), ["river"]);
        // Pages follow each other, inside the caller's unit too.
        let mut pages = Vec::new();
        let mut paging = Paging::first(1);
        loop {
            let options = SearchOptions { paging, ..plain.clone() };
            let page = store.unit(&admin()).run(async |s: &mut Session| store.within(s, &admin()).search("river", &options).await).await.expect("a page");
            pages.extend(names(&page));
            match page.next {
                Some(next) => paging = Paging::first(1).after(next),
                None => break,
            }
        }
        assert_eq!(pages, ["y", "x", "z"]);
        // Who may not search there is refused before the model hears of the question.
        model.asked();
        let space = SearchOptions { owner_space: Some("user:bob".into()), ..plain.clone() };
        let denied = store.search(&Caller::user("acme", "carol"), "river", &space).await;
        assert!(matches!(denied, Err(StoreError::Denied { .. })), "{denied:?}");
        assert!(matches!(store.search(&admin(), "-river", &plain).await, Err(StoreError::InvalidArgument(_))));
        assert_eq!(model.asked(), Vec::<String>::new());
    }

    async fn w5_a_vector_counts_for_its_text_alone_and_goes_with_its_record(t: TestStore) {
        let model = Model::named("model");
        let store = t.store.clone().with_embedder(model.clone());
        let plain = SearchOptions::default();
        rivers(&store).await;
        store.drain().await.expect("a drain");
        model.asked();
        // The same text again is no reason to ask.
        write(&store, "x", "river river river stone").await;
        store.drain().await.expect("a drain");
        assert_eq!(model.asked(), Vec::<String>::new());
        // Words are indexed by a process that knows no model: the old text's vector counts no longer.
        write(&t.store, "y", "a river on which some people of the town walk").await;
        t.store.drain().await.expect("a drain");
        assert_eq!(found(&store, &plain).await, ["x", "z", "y"], "y is in no place of the second order");
        model.asked();
        store.drain().await.expect("a drain");
        assert_eq!(model.asked(), ["y\n\na river on which some people of the town walk"]);
        assert_eq!(t.count(VECTORS).await, 3);
        // A move, an emptied text, an archiving, a delete.
        store.move_node(&admin(), &uri("ctx://acme/resources/x"), &uri("ctx://acme/resources/w")).await.expect("a move");
        store.drain().await.expect("a drain");
        assert_eq!(model.asked(), ["w\n\nriver river river stone"]);
        assert_eq!(t.count(VECTORS).await, 3);
        write(&store, "w", "").await;
        store.archive(&admin(), &uri("ctx://acme/resources/y"), Default::default()).await.expect("archived");
        store.drain().await.expect("a drain");
        assert_eq!(t.count(VECTORS).await, 1);
        store.delete(&admin(), &uri("ctx://acme/resources/z"), Default::default()).await.expect("deleted");
        store.drain().await.expect("a drain");
        assert_eq!(t.count(VECTORS).await, 0);
    }

    async fn w5_vectors_of_another_model_are_never_compared(t: TestStore) {
        let store = t.store.clone().with_embedder(Model::named("model"));
        let plain = SearchOptions::default();
        rivers(&store).await;
        store.drain().await.expect("a drain");
        let other = Model::named("other/model:2@x");
        let others = t.store.clone().with_embedder(other.clone());
        assert_eq!(found(&others, &plain).await, ["x", "y", "z"], "it has no vectors yet");
        other.asked();
        // A model that is new gets every node, and the old one keeps what it has.
        others.drain().await.expect("a drain");
        assert_eq!(other.asked().len(), 3);
        assert_eq!(t.count(VECTORS).await, 6);
        assert_eq!(found(&others, &plain).await, ["y", "x", "z"]);
        let streams = t.store.sink_streams().await.expect("streams");
        let (info, _) = streams.iter().find(|(info, _)| info.sink == "vectors:model/3").expect("the first model's stream");
        assert!(t.store.forget_sink_stream(&info.name).await.expect("forgotten"));
        assert_eq!(t.count("SELECT count(*) FROM index_vectors WHERE model = 'model'").await, 0);
        assert_eq!(t.count(VECTORS).await, 3);
    }

    async fn e4_a_model_that_fails_holds_no_words_up_and_spoils_no_vector(t: TestStore) {
        let plain = SearchOptions::default();
        let words = SearchOptions { words_only: true, ..plain.clone() };
        rivers(&t.store).await;
        for (fault, message) in [
            (Fault::Down, "the model is asleep"),
            (Fault::Fewer, "the model \"model\" gave 2 vector(s) for 3 text(s)"),
            (Fault::Dimensions, "gave a vector of 4 dimensions, and 3 were said to be its number"),
            (Fault::NotANumber, "gave a vector with what is no number (NaN or infinity)"),
            (Fault::Zeros, "gave a vector of zeros, which has no direction"),
        ] {
            let store = t.store.clone().with_embedder(Model::with(fault));
            // What failed once waits before it is tried again.
            t.sql("UPDATE outbox_events SET available_at = created_at WHERE finished_at IS NULL").await;
            let down = store.drain().await.expect_err("it cannot be reached").to_string();
            assert!(down.contains(message), "{fault:?}: {down}");
            assert_eq!(found(&store, &words).await, ["x", "y", "z"], "{fault:?}");
            let error = store.search(&admin(), "river", &plain).await.expect_err("no vector");
            assert!(matches!(error, StoreError::Embedding(_)), "{fault:?}: {error:?}");
            assert_eq!(t.count(VECTORS).await, 0, "{fault:?}");
        }
        // Nothing is lost, and nobody had to be told.
        t.sql("UPDATE outbox_events SET available_at = created_at WHERE finished_at IS NULL").await;
        let store = t.store.clone().with_embedder(Model::named("model"));
        store.drain().await.expect("a drain");
        assert_eq!(t.count(VECTORS).await, 3);
        assert_eq!(found(&store, &plain).await, ["y", "x", "z"]);
        // A text that the model refuses fails alone.
        write(&store, "bad", "a forbidden river").await;
        write(&store, "good", "a river").await;
        store.drain().await.expect("a drain");
        assert_eq!(t.count(VECTORS).await, 4);
        let streams = t.store.sink_streams().await.expect("streams");
        let dead = streams[0].1.outbox().dead(0, 10).await.expect("dead letters");
        assert_eq!(dead.len(), 1);
        let reason = dead[0].last_error.as_deref().unwrap_or_default();
        assert!(reason.contains("there is a forbidden text"), "{reason}");
        assert_eq!(found(&store, &words).await.len(), 5);
    }

    async fn w5_without_a_model_the_statements_are_the_same(t: TestStore) {
        rivers(&t.store).await;
        t.store.drain().await.expect("a drain");
        assert_eq!(t.count("SELECT count(*) FROM outbox_events WHERE topic <> 'context'").await, 0, "no stream is made");
        let store = t.store.clone().with_embedder(Model::named("model"));
        store.drain().await.expect("a drain");
        let sent = async |store: &Store, options: &SearchOptions| {
            let recorder = Recorder::new();
            let unit = store.unit(&admin()).record(&recorder);
            unit.run(async |s: &mut Session| store.within(s, &admin()).search("river", options).await.map(drop)).await.expect("a search");
            recorder.take()
        };
        let plain = SearchOptions::default();
        let without = sent(&t.store, &plain).await;
        assert!(without.iter().all(|sql| !sql.contains("vector")), "{without:#?}");
        assert_eq!(sent(&store, &SearchOptions { words_only: true, ..plain.clone() }).await, without);
        let mut with = sent(&store, &plain).await;
        with.retain(|sql| !without.contains(sql));
        // On PostgreSQL it is asked first whether there is pgvector.
        with.retain(|sql| !sql.contains("to_regtype"));
        assert_eq!(with.len(), 1, "one statement more: {with:#?}");
        assert!(with[0].contains("index_vectors"), "{with:#?}");
    }
}

#[tokio::test]
async fn w5_the_candidates_vectors_are_found_by_an_index_on_sqlite() {
    let t = support::TestStore::sqlite().await;
    let sql = "EXPLAIN QUERY PLAN SELECT r.node_id, v.vector FROM index_records r JOIN index_vectors v ON v.record = r.id AND v.model = 'm' \
        AND v.dimensions = 3 AND v.content_hash = r.content_hash WHERE r.account_id = 'a' AND r.node_id IN (x'00', x'01')";
    let db = t.owner.connection();
    let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, sql);
    let rows = sea_orm::ConnectionTrait::query_all_raw(db, statement).await.expect("a plan");
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").expect("a step")).collect();
    assert!(steps.iter().all(|step| !step.starts_with("SCAN")), "{steps:?}");
    assert!(steps[0].contains("index_records_node_idx (account_id=? AND node_id=?)"), "{steps:?}");
}

/// What of pgvector is asked for: its type, which is made of an array, and the distance by cosine.
const PGVECTOR: &str = "CREATE DOMAIN vector AS real[];
CREATE FUNCTION cosine_distance(real[], real[]) RETURNS double precision IMMUTABLE LANGUAGE sql
    AS $$ SELECT 1 - sum(a * b) / sqrt(sum(a * a) * sum(b * b)) FROM unnest($1, $2) AS pairs (a, b) $$;
CREATE OPERATOR <=> (LEFTARG = real[], RIGHTARG = real[], FUNCTION = cosine_distance)";

#[tokio::test]
async fn w5_the_nearest_by_vector_join_where_the_database_compares_vectors() {
    let t = support::TestStore::postgres().await;
    let store = t.store.clone().with_embedder(Model::named("model"));
    rivers(&store).await;
    write(&store, "w", "a sail out at sea").await;
    store.drain().await.expect("a drain");
    let plain = SearchOptions::default();
    assert_eq!(found(&store, &plain).await, ["y", "x", "z"], "without the extension");

    t.sql(PGVECTOR).await;
    assert_eq!(found(&store, &plain).await, ["y", "x", "z", "w"]);
    assert_eq!(found(&store, &SearchOptions { words_only: true, ..plain.clone() }).await, ["x", "y", "z"]);
    // Each page is a part of the same order.
    let mut pages = Vec::new();
    let mut paging = Paging::first(1);
    loop {
        let page = store.search(&admin(), "river", &SearchOptions { paging, ..plain.clone() }).await.expect("a page");
        pages.extend(names(&page));
        let Some(next) = page.next else { break };
        paging = Paging { after: Some(next), ..Paging::first(1) };
    }
    assert_eq!(pages, ["y", "x", "z", "w"]);
    let of = async |caller: &Caller, query: &str, options: &SearchOptions| {
        names(&store.search(caller, query, options).await.unwrap_or_else(|e| panic!("{e}")))
    };
    assert_eq!(of(&admin(), "boat", &plain).await.len(), 4, "nobody has the word, and all have a vector");
    assert_eq!(of(&admin(), "river -sea", &plain).await, ["y", "x", "z"], "what is left out stays out");
    assert_eq!(of(&admin(), "\"one more river\"", &plain).await, ["z"], "what must be there must be there");
    let below = SearchOptions { within: Some(uri("ctx://acme/resources/w")), ..plain.clone() };
    assert_eq!(of(&admin(), "river", &below).await, ["w"]);
    assert_eq!(of(&Caller::account_only("other"), "river", &plain).await, Vec::<String>::new());
}

/// More neighbours and more words than take part: the order does not depend on the page.
#[tokio::test]
async fn w5_pages_follow_each_other_where_neighbours_join() {
    let t = support::TestStore::postgres().await;
    t.sql(PGVECTOR).await;
    let store = t.store.clone().with_embedder(Model::named("model"));
    for n in 0..390 {
        let text = match n % 3 {
            0 => format!("a sail {n}"),
            1 => format!("river {}", "stone ".repeat(n)),
            _ => format!("river and sail {}", "sea ".repeat(n)),
        };
        write(&store, &format!("n{n:03}"), &text).await;
    }
    store.drain().await.expect("a drain");
    let all = found(&store, &SearchOptions { paging: Paging::first(1_000), ..SearchOptions::default() }).await;
    assert_eq!(all.len(), 360, "260 that have the word, and of the nearest 200 those 100 that do not");
    let mut pages = Vec::new();
    let mut paging = Paging::first(7);
    loop {
        let page = store
            .search(&admin(), "river", &SearchOptions { paging, ..SearchOptions::default() })
            .await
            .expect("a page");
        pages.extend(names(&page));
        let Some(next) = page.next else { break };
        paging = Paging { after: Some(next), ..Paging::first(7) };
    }
    assert_eq!(pages, all);
}
