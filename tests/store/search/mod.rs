//! Search (W5, W7): what is found, in which order, by whom, and how it is shown.

mod corpus;
mod languages;
#[path = "../../../benches/retrieval/measure.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod measure;
mod service;
mod vectors;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use context_store::{
    Caller, DeleteOptions, Hit, Page, Paging, Role, SearchOptions, StoreError, Write,
    index::{EmbeddedIndex, Gone, IndexSink, NodeRecords, Refused, Unavailable},
    record::Record,
};
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::{
    on_each_backend,
    support::{self, admin, uri},
};

async fn write(t: &support::TestStore, name: &str, content: &str) {
    let place = uri(&format!("ctx://acme/resources/{name}"));
    t.store.write(&admin(), &place, &Write::of(content)).await.unwrap_or_else(|e| panic!("{e}"));
}

async fn page(t: &support::TestStore, caller: &Caller, query: &str, options: &SearchOptions) -> Page<Hit> {
    t.store.search(caller, query, options).await.unwrap_or_else(|e| panic!("{query}: {e}"))
}

/// The names of what is found, best first.
async fn found(t: &support::TestStore, query: &str) -> Vec<String> {
    let page = page(t, &admin(), query, &SearchOptions::default()).await;
    page.items.iter().map(|hit| hit.uri.name().into_owned()).collect()
}

async fn found_with(t: &support::TestStore, query: &str, options: SearchOptions) -> Vec<String> {
    let mut names: Vec<String> =
        page(t, &admin(), query, &options).await.items.iter().map(|hit| hit.uri.name().into_owned()).collect();
    names.sort();
    names
}

on_each_backend! {
    async fn w5_any_word_may_match_and_rare_ones_count_more(t: TestStore) {
        write(&t, "job", "She wants to change her career and become a counselor.").await;
        write(&t, "lane", "The path along the river was closed.").await;
        for n in 0..20 {
            write(&t, &format!("river{n}x"), "We walked along the river and looked at the boats.").await;
        }
        t.store.drain().await.expect("a drain");
        assert_eq!(found(&t, "What career path has she decided to pursue along the river?").await[..2], ["lane", "job"]);
        assert_eq!(found(&t, "careers of counselors").await, ["job"]);
        // Words that are nowhere do no harm, and stop words bring nothing in where there are others.
        assert_eq!(found(&t, "xylophone career").await, ["job"]);
        assert_eq!(found(&t, "what is the career").await, ["job"]);
        assert_eq!(found(&t, "xylophone").await, Vec::<String>::new());
        // Alone they are words as any other.
        assert_eq!(found(&t, "and we").await.len(), 21);
    }

    async fn w5_every_spelling_of_a_word_finds_it(t: TestStore) {
        let texts = [
            ("tr", "İstanbul", "istanbul"), ("nfd", "cafe\u{301}", "café"), ("hi", "हिन्दी", "हिन्दी"),
            ("th", "ที่บ้าน", "ที่บ้าน"), ("el", "ΟΔΟΣ", "οδος"), ("zh", "我喜欢在早上喝绿茶", "绿茶"),
            ("code", "fn parseHTTPHeader() calls read_body in src/net/http.rs", "header"),
            ("path", "a::b::Cursor", "a::b::cursor"), ("kebab", "use dry-run here", "dry-run"),
        ];
        for (name, text, _) in texts {
            write(&t, &format!("w{name}x"), text).await;
        }
        t.store.drain().await.expect("a drain");
        for (name, text, word) in texts {
            for query in [text, word] {
                assert_eq!(found(&t, query).await.first(), Some(&format!("w{name}x")), "{query}");
            }
        }
        for query in ["parsehttpheader", "http.rs", "src/net/http.rs", "READ_BODY", "body"] {
            assert_eq!(found(&t, query).await, ["wcodex"], "{query}");
        }
    }

    async fn w5_phrases_exclusions_and_beginnings(t: TestStore) {
        write(&t, "one", "The support group meets on Monday. A first draft.").await;
        write(&t, "two", "A group of volunteers gives support. The migration went well.").await;
        write(&t, "three", "Support the group? Migrating birds.").await;
        t.store.drain().await.expect("a drain");
        let sorted = async |query: &str| {
            let mut names = found(&t, query).await;
            names.sort();
            names
        };
        assert_eq!(sorted("support group").await, ["one", "three", "two"]);
        assert_eq!(sorted("\"support group\"").await, ["one"]);
        assert_eq!(sorted("“Support Group” Monday").await, ["one"]);
        assert_eq!(sorted("support -draft").await, ["three", "two"]);
        assert_eq!(sorted("support -\"support group\" -birds").await, ["two"]);
        assert_eq!(sorted("migrat*").await, ["three", "two"]);
        assert_eq!(sorted("migratio*").await, ["three", "two"], "by the stem of what begins so");
        assert_eq!(sorted("volunt* draf*").await, ["one", "two"]);
        // A phrase of stop words is one all the same, and the words beside it need not be there.
        write(&t, "four", "What is to be done?").await;
        t.store.drain().await.expect("a drain");
        assert_eq!(sorted("\"to be\" support").await, ["four"]);
        assert_eq!(sorted("\"the group\" volunteers").await, ["three"]);
        // A phrase does not begin in the name and end in the text, and one that nobody has is words.
        assert_eq!(sorted("\"one the support\"").await, ["one", "three", "two"]);
        let refused = t.store.search(&admin(), "-draft", &SearchOptions::default()).await;
        assert!(matches!(&refused, Err(StoreError::InvalidArgument(why)) if why.contains("at least one word")), "{refused:?}");
        // What looks like an operator elsewhere is none here.
        for query in ["NEAR(support group)", "support AND OR NOT", "title:support", "support & | ! <->", "%_support"] {
            assert!(!found(&t, query).await.is_empty(), "{query}");
        }
    }

    async fn w5_filters_by_space_category_type_metadata_and_time(t: TestStore) {
        let root = admin().with_role(Role::Root);
        let places = [
            ("ctx://acme/users/alice/memories/likes/tea", json!({"tag": "hot", "n": 3, "list": ["a", 7], "on": true, "none": null})),
            ("ctx://acme/users/alice/memories/events/tea-party", json!({"tag": "cold", "n": 3.5, "on": false})),
            ("ctx://acme/users/bob/memories/likes/bobs-tea", json!({"tag": "hot \"quoted\"", "list": "a", "in": {"tag": "hot"}})),
            ("ctx://acme/agents/cook/skills/tea-making", json!({"a.b": "hot"})),
            ("ctx://acme/resources/teas", json!({})),
        ];
        let mut times = Vec::new();
        for (place, metadata) in &places {
            times.push(chrono::Utc::now());
            let write = Write::of("about tea").with_metadata(metadata.as_object().cloned().expect("an object"));
            t.store.write(&root, &uri(place), &write).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        let search = async |options: SearchOptions| {
            let page = t.store.search(&root, "tea", &options).await.unwrap_or_else(|e| panic!("{e}"));
            let mut names: Vec<String> = page.items.iter().map(|hit| hit.uri.name().into_owned()).collect();
            names.sort();
            names
        };
        let all = SearchOptions::default;
        assert_eq!(search(all()).await.len(), 5);
        assert_eq!(search(SearchOptions { owner_space: Some("user:alice".into()), ..all() }).await, ["tea", "tea-party"]);
        assert_eq!(search(SearchOptions { owner_space: Some("agent:cook".into()), ..all() }).await, ["tea-making"]);
        assert_eq!(search(SearchOptions { owner_space: Some("shared".into()), ..all() }).await, ["teas"]);
        assert_eq!(search(SearchOptions { category: Some("likes".into()), ..all() }).await, ["bobs-tea", "tea"]);
        assert_eq!(search(SearchOptions { node_type: Some("skill".into()), ..all() }).await, ["tea-making"]);
        assert_eq!(search(SearchOptions { within: Some(uri("ctx://acme/users")), ..all() }).await, ["bobs-tea", "tea", "tea-party"]);
        for (key, value, names) in [
            ("tag", json!("hot"), &["tea"][..]),
            ("tag", json!("hot \"quoted\""), &["bobs-tea"]),
            ("n", json!(3), &["tea"]),
            ("n", json!(3.5), &["tea-party"]),
            ("list", json!("a"), &["bobs-tea", "tea"]),
            ("list", json!(7), &["tea"]),
            ("on", json!(true), &["tea"]),
            ("on", json!(false), &["tea-party"]),
            ("none", json!(null), &["tea"]),
            ("a.b", json!("hot"), &["tea-making"]),
            ("in", json!("hot"), &[]),
            ("absent", json!(null), &[]),
        ] {
            assert_eq!(search(SearchOptions { metadata: vec![(key.into(), value.clone())], ..all() }).await, names, "{key} {value}");
        }
        let both = vec![("tag".to_owned(), json!("hot")), ("n".to_owned(), json!(3))];
        assert_eq!(search(SearchOptions { metadata: both, ..all() }).await, ["tea"]);
        assert_eq!(search(SearchOptions { since: Some(times[3]), ..all() }).await, ["tea-making", "teas"]);
        assert_eq!(search(SearchOptions { until: Some(times[1]), ..all() }).await, ["tea"]);
        assert_eq!(search(SearchOptions { since: Some(times[1]), until: Some(times[3]), ..all() }).await, ["bobs-tea", "tea-party"]);
        let list = SearchOptions { metadata: vec![("list".into(), json!(["a"]))], ..all() };
        assert!(matches!(t.store.search(&root, "tea", &list).await, Err(StoreError::InvalidArgument(_))));
        // The space of somebody else is denied, as its folder is.
        let bobs = SearchOptions { owner_space: Some("user:bob".into()), ..all() };
        assert!(matches!(t.store.search(&Caller::user("acme", "alice"), "tea", &bobs).await, Err(StoreError::Denied { .. })));
        for odd in ["", "user:", "bob", "user:a/b/../..", "user"] {
            let odd = SearchOptions { owner_space: Some(odd.into()), ..all() };
            assert!(t.store.search(&root, "tea", &odd).await.is_err(), "{odd:?}");
        }
    }

    async fn w5_pages_go_through_the_same_order_as_one_long_page(t: TestStore) {
        for n in 0..70 {
            // Many with the same score, some with several records.
            let place = uri(&format!("ctx://acme/resources/n{n}x"));
            let write = Write::of(format!("lake {}", "boat ".repeat(n % 4))).with_abstract(if n % 3 == 0 { "the lake again" } else { "" });
            t.store.write(&admin(), &place, &write).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        let whole = page(&t, &admin(), "lake boat", &SearchOptions::default()).await;
        assert_eq!((whole.items.len(), &whole.next), (70, &None));
        for limit in [1, 7, 69] {
            let mut items = Vec::new();
            let mut paging = Paging::first(limit);
            loop {
                let some = page(&t, &admin(), "lake boat", &SearchOptions { paging: paging.clone(), ..Default::default() }).await;
                assert!(some.items.len() as u64 <= limit);
                items.extend(some.items);
                let Some(next) = some.next else { break };
                paging = Paging::first(limit).after(next);
            }
            assert_eq!(items, whole.items, "in pages of {limit}");
        }
        let nonsense = SearchOptions { paging: Paging::default().after("x y"), ..Default::default() };
        assert!(matches!(t.store.search(&admin(), "lake", &nonsense).await, Err(StoreError::InvalidCursor)));
    }

    async fn w5_a_snippet_and_a_title_show_the_words(t: TestStore) {
        write(&t, "Lake notes.md", &format!("{}\nThe children swam\tin the lakes of Bavaria.\n{}", "Nothing here. ".repeat(40), "Nor here. ".repeat(40))).await;
        t.store.drain().await.expect("a drain");
        let hit = page(&t, &admin(), "child lake", &SearchOptions::default()).await.items.remove(0);
        assert_eq!(hit.title, "[Lake] notes.md");
        assert!(hit.snippet.contains("The [children] swam in the [lakes] of Bavaria."), "{}", hit.snippet);
        assert!(hit.snippet.starts_with('…') && hit.snippet.ends_with('…'), "{}", hit.snippet);
        let by_name = page(&t, &admin(), "notes", &SearchOptions::default()).await.items.remove(0);
        assert_eq!(by_name.title, "Lake [notes].md");
        assert!(by_name.snippet.starts_with("Nothing here."), "{}", by_name.snippet);
    }

    async fn w5_what_is_archived_moved_or_changed_is_found_as_it_is(t: TestStore) {
        write(&t, "old", "a walrus").await;
        write(&t, "kept", "another walrus").await;
        t.store.drain().await.expect("a drain");
        write(&t, "old", "a narwhal").await;
        t.store.move_node(&admin(), &uri("ctx://acme/resources/kept"), &uri("ctx://acme/users/alice/memories/animals/kept")).await.expect("a move");
        t.store.drain().await.expect("a drain");
        assert_eq!(found(&t, "walrus").await, ["kept"]);
        assert_eq!(found(&t, "narwhal").await, ["old"]);
        assert_eq!(found_with(&t, "walrus", SearchOptions { owner_space: Some("user:alice".into()), ..Default::default() }).await, ["kept"]);
        t.store.archive(&admin(), &uri("ctx://acme/resources/old"), DeleteOptions::recursive()).await.expect("an archive");
        assert_eq!(found(&t, "narwhal").await, Vec::<String>::new(), "before the index has learned of it");
        t.store.drain().await.expect("a drain");
        assert_eq!(t.count("SELECT count(*) FROM index_terms WHERE term = 'narwhal'").await, 0);
        assert_eq!(t.count("SELECT count(*) FROM index_terms WHERE record NOT IN (SELECT id FROM index_records)").await, 0);
        // The totals are those of the records that are there.
        let differs = "SELECT count(*) FROM (SELECT s.id, (SELECT coalesce(sum(t.records), 0) FROM index_totals t WHERE t.space_id = s.id) AS a, \
             (SELECT count(*) FROM index_records r WHERE r.account_id = s.account_id AND r.owner_space = s.owner_space) AS b, \
             (SELECT coalesce(sum(t.words), 0) FROM index_totals t WHERE t.space_id = s.id) AS c, \
             (SELECT coalesce(sum(r.length), 0) FROM index_records r WHERE r.account_id = s.account_id AND r.owner_space = s.owner_space) AS d \
             FROM index_spaces s) x WHERE x.a <> x.b OR x.c <> x.d";
        assert_eq!(t.count(differs).await, 0);
    }

    async fn w5_only_the_words_that_differ_are_written(t: TestStore) {
        // Words of letters alone: one with a digit is found by its parts too.
        let word = |n: usize| {
            let (first, last) = ("bakdolfimgurhepjatkovlubmeznikpov", "bamcoddumfolgamhobjumkallomnam");
            format!("{}{} ", &first[n / 10 * 3..][..3], &last[n % 10 * 3..][..3])
        };
        let text = |n: usize| (0..40).map(|at| word((n * 7 + at * 3) % 101)).collect::<String>();
        for n in 0..3 {
            write(&t, &format!("n{n}"), &text(n)).await;
        }
        t.store.drain().await.expect("a drain");
        let written = watch_words(&t).await;
        assert_eq!(written.rows(&t).await, 0);
        // One word is another: its row goes, and the other's comes.
        write(&t, "n0", &text(0).replacen(&word(0), "walrus ", 1)).await;
        t.store.drain().await.expect("a drain");
        assert_eq!(written.rows(&t).await, 2);
        assert_eq!(found(&t, "walrus").await, ["n0"]);
        // A word more often than before: its row changes. The length is kept to four binary digits, and stays.
        write(&t, "n0", &text(0).replacen(&word(0), "walrus walrus ", 1)).await;
        t.store.drain().await.expect("a drain");
        assert_eq!(written.rows(&t).await, 3);
        // A node that changes and keeps its texts: its records have its version, and nothing else is written.
        let held = "SELECT count(*) FROM index_records r JOIN nodes n ON n.id = r.node_id WHERE n.version <> r.version";
        let (before, same) = (written.rows(&t).await, Write::of(text(1)).with_metadata([("read".to_owned(), json!(true))].into_iter().collect()));
        t.store.write(&admin(), &uri("ctx://acme/resources/n1"), &same).await.expect("a write");
        assert_eq!(t.count(held).await, 1);
        t.store.drain().await.expect("a drain");
        assert_eq!((t.count(held).await, written.rows(&t).await), (0, before));
        // All that there is once more: nothing differs.
        t.store.reindex(&context_store::index::ReindexOptions::default(), &mut |_| {}).await.expect("a reindex");
        assert_eq!(written.rows(&t).await, before);
        // Twice as long a text is another length for each of its rows.
        write(&t, "n2", &format!("{}{}", text(2), text(2))).await;
        t.store.drain().await.expect("a drain");
        assert!(written.rows(&t).await > before + 38, "{}", written.rows(&t).await);
        assert_eq!(words_of_index(&t).await, words_of_records(&t).await);
    }

    /// Whatever follows whatever, the rows are those that the records have, as if each had been written once.
    async fn w5_rows_that_differ_add_up_to_the_records(t: TestStore) {
        let mut random = fastrand::Rng::with_seed(20);
        for round in 0..12 {
            for n in 0..6 {
                let words = [3, 12, 17, 40, 130][random.usize(..5)];
                let text: String = (0..words).map(|_| format!("word{} ", random.u8(..60))).collect();
                let place = uri(&format!("ctx://acme/resources/{}/n{n}", ["here", "there"][random.usize(..2)]));
                match random.u8(..8) {
                    0 => drop(t.store.delete(&admin(), &place, DeleteOptions::recursive()).await),
                    1 => drop(t.store.archive(&admin(), &place, DeleteOptions::recursive()).await),
                    2 => drop(t.store.restore(&admin(), &place, DeleteOptions::recursive()).await),
                    3 => drop(t.store.move_node(&admin(), &place, &uri(&format!("ctx://acme/users/alice/memories/m{round}/n{n}"))).await),
                    _ => drop(t.store.write(&admin(), &place, &Write::of(text)).await),
                }
                if random.bool() {
                    t.store.drain().await.expect("a drain");
                }
            }
            t.store.drain().await.expect("a drain");
            assert_eq!(words_of_index(&t).await, words_of_records(&t).await, "round {round}");
        }
        assert!(!words_of_index(&t).await.is_empty());
    }

    async fn w7_no_score_or_order_tells_of_texts_of_others(t: TestStore) {
        let (alice, bob) = (Caller::user("acme", "alice"), Caller::user("acme", "bob"));
        for (name, text) in [("one", "a secret merger"), ("two", "the merger of two lakes and a secret"), ("three", "lakes")] {
            t.store.write(&alice, &uri(&format!("ctx://acme/users/alice/memories/notes/{name}")), &Write::of(text)).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        let ask = async || {
            let mut answers = Vec::new();
            for query in ["secret merger", "lakes merger", "mer*", "layoffs"] {
                answers.push(page(&t, &alice, query, &SearchOptions::default()).await);
            }
            answers
        };
        let before = ask().await;
        // Another owner, another tenant and an archived text of her own: many texts with these very words.
        for n in 0..40 {
            let text = format!("merger merger layoffs mercury {}", "secret ".repeat(n));
            t.store.write(&bob, &uri(&format!("ctx://acme/users/bob/memories/notes/n{n}")), &Write::of(text.as_str())).await.expect("a write");
            let rival = Caller::user("rival", "alice");
            t.store.write(&rival, &uri(&format!("ctx://rival/users/alice/memories/notes/n{n}")), &Write::of(text)).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        assert_eq!(ask().await, before);
        // Who may see bob's does count them.
        let root = Caller::user("acme", "alice").with_role(Role::Root);
        assert_eq!(page(&t, &root, "layoffs", &SearchOptions::default()).await.items.len(), 40);
        let seeing = alice.clone().seeing(["user:bob"]);
        assert!(page(&t, &seeing, "merger", &SearchOptions::default()).await.items.len() > 40);
        assert!(page(&t, &seeing.strict(), "layoffs", &SearchOptions::default()).await.items.is_empty());
    }

    async fn w5_a_corpus_of_ours_is_answered(t: TestStore) {
        let corpus = corpus::corpus();
        assert_eq!((corpus.texts.len(), corpus.questions.len()), (300, 300));
        measure::fill(&t.store, &corpus).await;
        let mut measured = measure::Measured::default();
        measure::ask(&t.store, &corpus, &mut measured).await;
        let all = measured.all();
        let [five, ten] = all.recall();
        println!("recall at 5 {five:.3}, at 10 {ten:.3}");
        assert_eq!(all.empty, 0);
        // The same figures on both backends: no less than what was measured when this was written.
        assert!(five >= FIVE && ten >= TEN, "recall at 5 {five}, at 10 {ten}: {:?}", measured.categories);
    }
}

const FIVE: f64 = 0.93;
const TEN: f64 = 0.97;

/// Both backends give the same nodes the same scores in the same order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_both_backends_answer_alike() {
    let (sqlite, postgres) = (support::TestStore::sqlite().await, support::TestStore::postgres().await);
    let corpus = corpus::corpus();
    for t in [&sqlite, &postgres] {
        measure::fill(&t.store, &corpus).await;
    }
    let caller = Caller::user("ours", "reader");
    let options = SearchOptions { paging: Paging::first(20), ..SearchOptions::default() };
    for asked in corpus.questions.iter().step_by(7) {
        let mut answers = Vec::new();
        for t in [&sqlite, &postgres] {
            let page = page(t, &caller, &asked.text, &options).await;
            answers.push(
                page.items.into_iter().map(|hit| (hit.uri, hit.score, hit.title, hit.snippet)).collect::<Vec<_>>(),
            );
        }
        for (a, b) in answers[0].iter().zip(&answers[1]) {
            assert!(
                a.0 == b.0 && (a.1 - b.1).abs() < 1e-5 && (&a.2, &a.3) == (&b.2, &b.3),
                "{}: {a:?} {b:?}",
                asked.text
            );
        }
        assert_eq!(answers[0].len(), answers[1].len());
    }
}

/// Counts the rows of `index_terms` that are written from now on, as the database sees them.
struct WrittenWords;

async fn watch_words(t: &support::TestStore) -> WrittenWords {
    let counting = "INSERT INTO written_words VALUES (1)";
    t.sql("CREATE TABLE written_words (n integer)").await;
    if t.owner.backend() == sea_orm::DbBackend::Postgres {
        t.sql("GRANT INSERT ON written_words TO PUBLIC").await;
        t.sql(&format!(
            "CREATE FUNCTION count_words() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {counting}; RETURN NULL; END $$"
        ))
        .await;
        t.sql("CREATE TRIGGER counting AFTER INSERT OR UPDATE OR DELETE ON index_terms FOR EACH ROW EXECUTE FUNCTION count_words()").await;
    } else {
        let body = match t.owner.backend() {
            sea_orm::DbBackend::MySql => format!("FOR EACH ROW {counting}"),
            _ => format!("BEGIN {counting}; END"),
        };
        for event in ["INSERT", "UPDATE", "DELETE"] {
            t.sql(&format!("CREATE TRIGGER counting_{event} AFTER {event} ON index_terms {body}")).await;
        }
    }
    WrittenWords
}

impl WrittenWords {
    async fn rows(&self, t: &support::TestStore) -> i64 {
        t.count("SELECT count(*) FROM written_words").await
    }
}

/// Space, record, term, frequency and length, from the table of words.
async fn words_of_index(t: &support::TestStore) -> Vec<String> {
    texts(t, "SELECT space_id || ' ' || record || ' ' || term || ' ' || frequency || ' ' || length FROM index_terms")
        .await
}

/// The same from the records.
async fn words_of_records(t: &support::TestStore) -> Vec<String> {
    let each = match t.owner.backend() {
        sea_orm::DbBackend::Postgres => "jsonb_each_text(r.terms) AS e(key, value)",
        sea_orm::DbBackend::MySql => {
            "JSON_TABLE(r.terms, '$[*]' COLUMNS (`key` varchar(255) PATH '$[0]', value integer PATH '$[1]')) e"
        }
        _ => "json_each(r.terms) e",
    };
    let rows = texts(t, &format!("SELECT s.id || ' ' || r.id || ' ' || e.key || ' ' || e.value || ' ' || r.length FROM index_records r JOIN index_spaces s ON s.account_id = r.account_id AND s.owner_space = r.owner_space CROSS JOIN {each}")).await;
    let about = |row: String| {
        let (rest, length) = row.rsplit_once(' ').expect("a length");
        let length: u32 = length.parse().expect("a number");
        let digits = (u32::BITS - length.leading_zeros()).saturating_sub(4);
        format!("{rest} {}", length >> digits << digits)
    };
    let mut rows: Vec<String> = rows.into_iter().map(about).collect();
    rows.sort();
    rows
}

async fn texts(t: &support::TestStore, sql: &str) -> Vec<String> {
    let db = t.owner.connection();
    let statement = sea_orm::Statement::from_string(t.owner.backend(), sql);
    let rows = db.query_all_raw(statement).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let mut texts: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect();
    texts.sort();
    texts
}

/// Two dispatchers at once neither wait for each other's totals nor lose any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_dispatchers_side_by_side_keep_the_totals() {
    let t = support::TestStore::postgres().await;
    for n in 0..600 {
        write(&t, &format!("n{n}x"), &format!("lake number {n} and its boats")).await;
    }
    let drains = (0..4).map(|_| {
        let store = t.store.clone();
        tokio::spawn(async move { store.drain().await })
    });
    for drain in drains.collect::<Vec<_>>() {
        drain.await.expect("no panic").expect("a drain");
    }
    t.store.drain().await.expect("what is left");
    assert_eq!(t.count("SELECT count(*) FROM index_records").await, 600);
    assert_eq!(t.count("SELECT sum(records)::bigint FROM index_totals").await, 600);
    assert_eq!(
        t.count("SELECT (SELECT sum(words) FROM index_totals)::bigint - (SELECT sum(length) FROM index_records)").await,
        0
    );
    assert!(t.count("SELECT count(*) FROM index_totals").await <= 8, "rows of totals are taken together");
}

/// An index that takes so many batches and is down then.
struct Stopped {
    index: EmbeddedIndex,
    batches: AtomicUsize,
}

#[async_trait::async_trait]
impl IndexSink for Stopped {
    async fn delete(&self, gone: &[Gone]) -> Result<Vec<Refused>, Unavailable> {
        self.index.delete(gone).await
    }

    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable> {
        self.index.upsert(records).await
    }

    async fn apply(&self, changes: &[NodeRecords]) -> Result<Vec<Refused>, Unavailable> {
        let left = self.batches.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| Unavailable("stopped".into()))?;
        self.index.apply(changes).await
    }
}

/// A database of the release before: its records have no words yet, and the migration leaves an event for every node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_a_database_of_before_is_indexed_anew_by_the_outbox() {
    for t in [support::TestStore::sqlite().await, support::TestStore::postgres().await] {
        for n in 0..30 {
            write(&t, &format!("n{n}x"), &format!("lake number {n}")).await;
        }
        write(&t, "gone", "an archived lake").await;
        t.store
            .archive(&admin(), &uri("ctx://acme/resources/gone"), DeleteOptions::recursive())
            .await
            .expect("an archive");
        t.store.drain().await.expect("a drain");
        let runner = context_migration::Runner::new(t.owner.connection().clone());
        // The words themselves, what writes only those that differ, and the vectors, bytes first.
        runner.down(4).await.expect("down");
        assert_eq!(t.count("SELECT count(*) FROM index_records").await, 30);
        runner.up().await.expect("up");
        if t.owner.backend() == sea_orm::DbBackend::Postgres {
            t.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON index_terms, index_spaces, index_totals TO PUBLIC").await;
            t.sql("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO PUBLIC").await;
        }
        let due = "SELECT count(*) FROM outbox_events WHERE finished_at IS NULL";
        assert_eq!((t.count(due).await, found(&t, "lake").await.len()), (30, 0));
        // A dispatcher that is stopped half-way leaves the rest to the next one.
        let stopped = Stopped { index: EmbeddedIndex::new(t.store.db()), batches: AtomicUsize::new(1) };
        t.store.dispatcher(Arc::new(stopped)).batch(10).drain().await.expect_err("the index is down");
        assert_eq!((t.count(due).await, found(&t, "lake").await.len()), (20, 10));
        t.sql("UPDATE outbox_events SET available_at = created_at WHERE finished_at IS NULL").await;
        t.store.drain().await.expect("a drain");
        assert_eq!((t.count(due).await, found(&t, "lake").await.len()), (0, 30));
        assert_eq!(t.count("SELECT count(*) FROM index_records WHERE words_version = 0").await, 0);
        let totals = "SELECT count(*) FROM (SELECT sum(records) AS records FROM index_totals) t WHERE t.records = 30";
        assert_eq!(t.count(totals).await, 1);
        let diagnosis = t.store.doctor(&admin().with_role(Role::Root), false).await.expect("a diagnosis");
        assert!(diagnosis.findings.is_empty(), "{:?}", diagnosis.findings);
        t.sql("UPDATE index_records SET words_version = 0 WHERE title = 'n3x'").await;
        let diagnosis = t.store.doctor(&admin().with_role(Role::Root), true).await.expect("a diagnosis");
        assert!(
            matches!(&diagnosis.findings[..], [one] if one.what.contains("another release")),
            "{:?}",
            diagnosis.findings
        );
        t.store.drain().await.expect("a drain");
        assert_eq!(t.count("SELECT count(*) FROM index_records WHERE words_version = 0").await, 0);
    }
}
