//! `cargo bench --bench store [-- [--json] [--check] [--backend postgres|sqlite] [--samples N] [NAME]]`
//!
//! The store with 100,000 nodes beside the same work written by hand in SQL: in one process, in one run, the samples in
//! turns. `docs/performance.md` holds the results and says how they came about.
//!
//! A reference here is as fast as we could write it. It must never be slowed down to make a ratio look better.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "the references look past the session, and a failure is a panic"
)]

mod by_hand;
#[path = "../../session/benches/unit_of_work/harness.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod harness;
mod schema;
mod search;

use std::time::{Duration, Instant};

use by_hand::Floor;
use context_store::{Caller, Paging, Role, SearchOptions, Store, StoreError, TreeOptions, Uri, Write, record::analyze};
use harness::{Options, Report, bounded, shown, side};
use sea_orm::ConnectOptions;
use sea_session::{Db, Session, testing::cluster};

/// Nodes below ten folders of a hundred folders of a hundred.
const NODES: usize = 100_000;
/// Nodes that a move takes along.
const SUBTREE: usize = 10_000;
const READS: usize = 200;
const SEARCHES: usize = 40;

fn main() {
    let Some(options) = Options::of_bench("store") else { return };
    let backend = options.backend.clone();
    let wants = |name: &str| backend.as_ref().is_none_or(|wanted| wanted == name);
    let mut report = Report::new(options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if wants("postgres") {
        runtime.block_on(on_postgres(&mut report));
    }
    if wants("sqlite") {
        runtime.block_on(on_sqlite(&mut report));
    }
    if report.finish() {
        std::process::exit(1);
    }
}

/// As a role that row-level security binds, on both sides.
async fn on_postgres(report: &mut Report) {
    let database = cluster::fresh_database().await.expect("a database");
    let owner = Store::open(&database.url()).await.expect("a migrated database");
    let role = database.create_role().await.expect("a role");
    let floor = Floor::postgres(&database.url(), role.name(), role.url()).await;
    report.backend("postgres");
    workloads(report, &store(role.url()).await, &floor).await;
    drop(owner);
    if report.options().wants("index_update") {
        floor.forget_history().await;
        let before = cluster::fresh_database().await.expect("a database");
        words_of_before(&before.url()).await;
        let role_before = before.create_role().await.expect("a role");
        Floor::postgres(&before.url(), role_before.name(), role_before.url()).await;
        index_update(report, &store(role.url()).await, &store(role_before.url()).await).await;
    }
}

/// A database whose triggers write all words of a changed record, as they did before the last migration.
async fn words_of_before(url: &str) {
    let store = Store::open(url).await.expect("a migrated database");
    context_migration::Runner::new(store.db().connection().clone()).down(1).await.expect("the triggers of before");
}

async fn on_sqlite(report: &mut Report) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("bench.db").display());
    Store::open(&url).await.expect("a migrated database").db().clone().close().await.expect("closed");
    let floor = Floor::sqlite(&url).await;
    report.backend("sqlite");
    workloads(report, &store(&url).await, &floor).await;
    if report.options().wants("index_update") {
        floor.forget_history().await;
        let before = format!("sqlite://{}?mode=rwc", folder.path().join("before.db").display());
        words_of_before(&before).await;
        index_update(report, &store(&url).await, &store(&before).await).await;
    }
}

/// One connection, the pool's liveness ping off as on the other side.
async fn store(url: &str) -> Store {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).test_before_acquire(false);
    Store::new(Db::connect(options).await.expect("sessions"))
}

fn caller() -> Caller {
    Caller::user("bench", "alice").with_role(Role::Admin)
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).expect("a URI")
}

async fn workloads(report: &mut Report, store: &Store, floor: &Floor) {
    if report.options().filter.as_deref() == Some("index_update") {
        return;
    }
    floor.fill(NODES).await;
    if report.options().wants("read") {
        read(report, store, floor).await;
    }
    if report.options().wants("list_children") {
        list_children(report, store, floor).await;
    }
    if report.options().wants("tree_paged") {
        tree(report, store, floor).await;
    }
    if report.options().wants("search_p95") {
        search(report, store, floor).await;
    }
    if report.options().wants("move_subtree") {
        move_subtree(report, store, floor).await;
    }
}

/// A bound that holds on both backends: the harness allows SQLite 1.3 times as much.
fn same(floor: &Floor, bound: f64) -> f64 {
    if floor.is_postgres() { bound } else { bound / 1.3 }
}

/// The nodes that both sides read, in one order.
fn some_nodes(n: usize) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..n).map(|_| schema::node(random.usize(..NODES))).collect()
}

async fn read(report: &mut Report, store: &Store, floor: &Floor) {
    let (caller, places) = (caller(), some_nodes(READS));
    let uris: Vec<Uri> = places.iter().map(|place| uri(place)).collect();
    let ours = side(async || {
        let start = Instant::now();
        for uri in &uris {
            store.read(&caller, uri).await.expect("a read");
        }
        start.elapsed()
    });
    let references = vec![
        bounded("one SELECT by hand", same(floor, 1.3), async || floor.reads(&places, false).await),
        shown("BEGIN, SELECT, COMMIT by hand", async || floor.reads(&places, true).await),
    ];
    report.compare("read", READS, ours, references).await;
}

async fn list_children(report: &mut Report, store: &Store, floor: &Floor) {
    let caller = caller();
    for (workload, folder) in [("list_children", schema::FOLDER), ("list_children, implied folders", schema::IMPLIED)] {
        let place = uri(folder);
        let ours = side(async || {
            let start = Instant::now();
            for _ in 0..20 {
                let page = store.list_children(&caller, &place, &Paging::first(100)).await.expect("a listing");
                assert_eq!(page.items.len(), 100);
            }
            start.elapsed()
        });
        let by_hand = async || floor.children(folder, 20).await;
        let by_hand = bounded("range of children or skip scan by hand", same(floor, 1.5), by_hand);
        report.compare(workload, 100, ours, vec![by_hand]).await;
    }
}

async fn tree(report: &mut Report, store: &Store, floor: &Floor) {
    let (caller, folder) = (caller(), uri(schema::IMPLIED));
    let ours = side(async || {
        let start = Instant::now();
        let (mut seen, mut paging) = (0, Paging::first(1_000));
        loop {
            let page = store.tree(&caller, &folder, &TreeOptions { depth: None, paging }).await.expect("a page");
            seen += page.items.iter().filter(|entry| entry.node.is_some()).count();
            let Some(next) = page.next else { break };
            paging = Paging::first(1_000).after(next);
        }
        assert_eq!(seen, SUBTREE);
        start.elapsed()
    });
    let by_hand = async || floor.tree(schema::IMPLIED, SUBTREE).await;
    let by_hand = bounded("keyset SELECT by hand", same(floor, 1.5), by_hand);
    report.compare("tree_paged", SUBTREE, ours, vec![by_hand]).await;
}

/// The 95th percentile of searches among twelve thousand notes, and for words that a hundredth of 100,000 nodes have.
async fn search(report: &mut Report, store: &Store, floor: &Floor) {
    let writer = Caller::user("notes", "alice").with_role(Role::Admin);
    for some in (0..schema::NOTES).collect::<Vec<_>>().chunks(500) {
        let written = store.unit(&writer).run(async |s: &mut Session| -> Result<(), StoreError> {
            for n in some {
                let place = uri(&format!("ctx://notes/resources/n{n}x"));
                store.within(s, &writer).write(&place, &Write::of(schema::note(*n))).await?;
            }
            Ok(())
        });
        written.await.expect("notes");
    }
    store.drain().await.expect("an index");
    floor.statistics().await;
    let asked: Vec<String> = (0..SEARCHES).map(schema::question).collect();
    searches(report, store, floor, "search_p95, 12,000 records", schema::NOTES, "notes", &asked).await;
    let asked: Vec<String> = (0..SEARCHES).map(schema::word).collect();
    searches(report, store, floor, "search_p95, 100,000 records", NODES, "bench", &asked).await;
}

async fn searches(
    report: &mut Report,
    store: &Store,
    floor: &Floor,
    workload: &str,
    records: usize,
    account: &str,
    asked: &[String],
) {
    let caller = Caller::user(account, "alice").with_role(Role::Admin);
    let options = SearchOptions { paging: Paging::first(10), ..SearchOptions::default() };
    let words: Vec<Vec<String>> = asked.iter().map(|asked| search::words_of(&analyze("", asked))).collect();
    let ours = side(async || {
        let mut times = Vec::with_capacity(SEARCHES);
        for asked in asked {
            let start = Instant::now();
            let page = store.search(&caller, asked, &options).await.expect("a search");
            times.push(start.elapsed());
            assert_eq!(page.items.len(), 10);
        }
        p95(times)
    });
    let by_hand = bounded("the same statements by hand", same(floor, 1.2), async || {
        let mut times = Vec::with_capacity(SEARCHES);
        for words in &words {
            let start = Instant::now();
            assert_eq!(floor.search(account, words).await, 10);
            times.push(start.elapsed());
        }
        p95(times)
    });
    report.compare(workload, records, ours, vec![by_hand]).await;
}

fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 95 / 100]
}

/// Brings the index up to date after one word in each of 200 texts of 400 words has become another.
async fn index_update(report: &mut Report, store: &Store, before: &Store) {
    const TEXTS: usize = 200;
    let caller = Caller::user("words", "alice").with_role(Role::Admin);
    let text = |n: usize, round: usize| {
        let word = |at: usize| {
            if at == round % 400 { format!("changed{round} ") } else { format!("word{} ", (n * 7 + at) % 900) }
        };
        (0..400).map(word).collect::<String>()
    };
    let change = async |store: &Store, round: usize| {
        let place = |n: usize| uri(&format!("ctx://words/resources/w{n}x"));
        let writes: Vec<(Uri, Write)> = (0..TEXTS).map(|n| (place(n), Write::of(text(n, round)))).collect();
        store.write_many(&caller, &writes).await.expect("writes");
        let start = Instant::now();
        let report = store.drain().await.expect("an index");
        assert_eq!(report.delivered as usize, TEXTS);
        start.elapsed()
    };
    let round = std::cell::Cell::new(0);
    let ours = side(async || {
        round.set(round.get() + 1);
        change(store, round.get()).await
    });
    let all = shown("all words of each record, by the triggers before", async || change(before, round.get()).await);
    report.compare("index_update, one word of 400", TEXTS, ours, vec![all]).await;
}

/// There and back, so that each sample finds what the one before has left.
async fn move_subtree(report: &mut Report, store: &Store, floor: &Floor) {
    let caller = caller();
    let bound = same(floor, 1.3);
    let at = std::cell::Cell::new((schema::IMPLIED, schema::AWAY));
    let turn = || {
        let (from, to) = at.get();
        at.set((to, from));
        (from, to)
    };
    let ours = side(async || {
        floor.forget_history().await;
        let (from, to) = turn();
        let (from, to) = (uri(from), uri(to));
        let start = Instant::now();
        let moved = store.move_node(&caller, &from, &to).await.expect("a move");
        let time = start.elapsed();
        assert_eq!(moved.nodes as usize, SUBTREE);
        floor.check_move(SUBTREE).await;
        time
    });
    let by_hand = bounded("the same rows, versions and events by hand", bound, async || {
        floor.forget_history().await;
        let (from, to) = turn();
        let time = floor.move_subtree(from, to, SUBTREE).await;
        floor.check_move(SUBTREE).await;
        time
    });
    let bare = shown("UPDATE by hand: no versions, no events", async || {
        let (from, to) = turn();
        floor.bare_move(from, to, SUBTREE).await
    });
    report.compare("move_subtree", SUBTREE, ours, vec![by_hand, bare]).await;
}
