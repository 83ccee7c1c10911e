//! Two operations at once, stopped at every statement boundary: whatever the order of their statements, the end is that of
//! one after the other (V7), and the store is healthy.
//!
//! A future makes no step that nobody polls. So each operation is polled until it has sent so many statements and no
//! further, which stops it there; then the other goes as far; then both go on to their ends. All pairs of stops are tried, on PostgreSQL, whose sessions meet only at locks. (On SQLite a writing unit has the only write lock.)

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use context_store::{Caller, DeleteOptions, Direction, Link, Paging, Role, Store, StoreError, TreeOptions, Uri, Write};
use sea_session::{About, Session, UnitOptions};

use crate::support::{TestStore, uri};

fn root() -> Caller {
    Caller::user("acme", "alice").with_role(Role::Root)
}

/// An operation below a folder of its own, so that every try has fresh nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Write(&'static str),
    Append(&'static str),
    Move(&'static str, &'static str),
    Delete(&'static str),
    DeleteOne(&'static str),
    Archive(&'static str),
    Link(&'static str, &'static str),
}

fn at(folder: &Uri, path: &str) -> Uri {
    uri(&format!("{folder}/{path}"))
}

/// In a unit whose statements are counted elsewhere as well.
async fn carry_out(store: &Store, unit: UnitOptions<About<StoreError>>, folder: &Uri, op: Op) -> String {
    let (caller, deep) = (root(), DeleteOptions::recursive());
    let run = async |s: &mut Session| -> Result<(), StoreError> {
        match op {
            Op::Write(path) => store.within(s, &caller).write(&at(folder, path), &Write::of("written")).await.map(drop),
            Op::Append(path) => store.within(s, &caller).append(&at(folder, path), "+").await.map(drop),
            Op::Move(from, to) => {
                store.within(s, &caller).move_node(&at(folder, from), &at(folder, to)).await.map(drop)
            }
            Op::Delete(path) => store.within(s, &caller).delete(&at(folder, path), deep).await.map(drop),
            Op::DeleteOne(path) => {
                store.within(s, &caller).delete(&at(folder, path), DeleteOptions::default()).await.map(drop)
            }
            Op::Archive(path) => store.within(s, &caller).archive(&at(folder, path), deep).await.map(drop),
            Op::Link(from, to) => {
                let link = Link::of("to");
                store.within(s, &caller).link(&at(folder, from), &at(folder, to), &link).await.map(drop)
            }
        }
    };
    match unit.run(run).await {
        Ok(()) => "ok".to_owned(),
        Err(e @ StoreError::Session(_)) => panic!("{op:?}: {e}"),
        Err(e) => e.code().to_owned(),
    }
}

/// What is in the folder: texts, edges and versions by relative address.
async fn state(t: &TestStore, folder: &Uri) -> BTreeMap<String, String> {
    let options = TreeOptions { paging: Paging::first(100), ..TreeOptions::default() };
    let tree = t.store.tree(&root(), folder, &options).await.expect("a tree");
    let mut state = BTreeMap::new();
    for entry in tree.items.iter().filter(|entry| entry.node.is_some()) {
        let node = t.store.read(&root(), &entry.uri).await.expect("a node");
        let edges = t.store.edges(&root(), &entry.uri, Direction::Outgoing, &Paging::default()).await.expect("edges");
        let ends: Vec<String> = edges.items.iter().map(|edge| edge.to.as_str().replace(folder.as_str(), "")).collect();
        let path = entry.uri.as_str().replace(folder.as_str(), "");
        state.insert(path, format!("{} v{} -> {ends:?}", node.content, node.version));
    }
    let dangling = "SELECT count(*) FROM edges e WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = e.from_id) OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = e.to_id)";
    assert_eq!(t.count(dangling).await, 0);
    state
}

/// Folders, numbered.
struct Folders(u32);

impl Folders {
    /// The next one, with two nodes in a folder and one beside it.
    async fn next(&mut self, t: &TestStore) -> Uri {
        self.0 += 1;
        let folder = uri(&format!("ctx://acme/resources/try{}", self.0));
        let writes: Vec<(Uri, Write)> =
            ["a/x", "a/y", "c"].iter().map(|path| (at(&folder, path), Write::of(*path))).collect();
        t.store.write_many(&root(), &writes).await.expect("nodes");
        folder
    }
}

type End = (String, String, BTreeMap<String, String>);

/// Where an operation was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// It has ended.
    Ended(String),
    /// After so many statements and answers.
    At(u64),
    /// It waits for a lock of the other's.
    Blocked,
}

/// Polls a future until its unit has sent so many statements, each time that it was woken.
/// One that gets no further within `patience` is taken to wait for a lock.
async fn advance<F: Future<Output = String>>(
    mut future: Pin<&mut F>,
    unit: &UnitOptions<About<StoreError>>,
    statements: u64,
    patience: Duration,
) -> Stop {
    let steps = poll_fn(|cx| match unit.stats().round_trips() {
        sent if sent >= statements => Poll::Ready(Stop::At(sent)),
        _ => future.as_mut().poll(cx).map(Stop::Ended),
    });
    tokio::time::timeout(patience, steps).await.unwrap_or(Stop::Blocked)
}

/// One schedule: the first goes so far, then the second, then both to their ends.
async fn interleaved(t: &TestStore, folder: &Uri, ops: (Op, Op), stops: (u64, u64)) -> (End, Stop, Stop) {
    let units = (t.store.unit(&root()), t.store.unit(&root()));
    let first = carry_out(&t.store, units.0.clone(), folder, ops.0);
    let second = carry_out(&t.store, units.1.clone(), folder, ops.1);
    let (mut first, mut second) = (pin!(first), pin!(second));
    // Nobody holds a lock yet, so the first is slow at most.
    let one = advance(first.as_mut(), &units.0, stops.0, Duration::from_secs(20)).await;
    let two = advance(second.as_mut(), &units.1, stops.1, Duration::from_millis(60)).await;
    let (a, b) = match (one.clone(), two.clone()) {
        (Stop::Ended(a), Stop::Ended(b)) => (a, b),
        (Stop::Ended(a), _) => (a, second.await),
        (_, Stop::Ended(b)) => (first.await, b),
        _ => tokio::join!(first, second),
    };
    ((a, b, state(t, folder).await), one, two)
}

/// One after the other; how many statements each takes.
async fn serial(
    t: &TestStore,
    folders: &mut Folders,
    ops: (Op, Op),
) -> (String, String, BTreeMap<String, String>, [u64; 2]) {
    let folder = folders.next(t).await;
    let units = (t.store.unit(&root()), t.store.unit(&root()));
    let one = carry_out(&t.store, units.0.clone(), &folder, ops.0).await;
    let two = carry_out(&t.store, units.1.clone(), &folder, ops.1).await;
    (one, two, state(t, &folder).await, [units.0.stats().round_trips(), units.1.stats().round_trips()])
}

/// Every pair of statements at which the two can be stopped; how many schedules that were.
async fn every_schedule(t: &TestStore, folders: &mut Folders, ops: (Op, Op)) -> usize {
    let (a, b, state, [statements, _]) = serial(t, folders, ops).await;
    let (d, c, other, [second_alone, _]) = serial(t, folders, (ops.1, ops.0)).await;
    let ends: [End; 2] = [(a, b, state), (c, d, other)];
    let mut schedules = 0;
    let mut reached = BTreeSet::new();
    for first in 1..statements {
        for second in 1..=second_alone {
            // An answer may come so fast that two statements go in one step: then the stop was missed, and is tried again.
            for _ in 0..20 {
                let folder = folders.next(t).await;
                let (end, one, two) = interleaved(t, &folder, ops, (first, second)).await;
                assert!(
                    ends.contains(&end),
                    "{ops:?} stopped at {one:?} and {two:?}: {end:#?}, one after the other: {ends:#?}"
                );
                schedules += 1;
                if one == Stop::At(first) {
                    reached.insert(first);
                }
                let second_stopped = match two {
                    Stop::At(sent) => sent == second,
                    Stop::Blocked | Stop::Ended(_) => true,
                };
                if one == Stop::At(first) && second_stopped {
                    break;
                }
            }
        }
    }
    assert_eq!(
        reached.into_iter().collect::<Vec<_>>(),
        (1..statements).collect::<Vec<_>>(),
        "{ops:?}: every boundary was a stop"
    );
    schedules
}

async fn all(pairs: &[(Op, Op)]) {
    let t = TestStore::postgres().await;
    let (mut folders, mut schedules) = (Folders(0), 0);
    for ops in pairs {
        for ops in [(ops.0, ops.1), (ops.1, ops.0)] {
            schedules += every_schedule(&t, &mut folders, ops).await;
        }
    }
    assert!(schedules >= 4 * 9, "{schedules} schedules");
    t.store.drain().await.expect("a drain");
    let diagnosis = t.store.doctor(&root(), false).await.expect("a diagnosis");
    assert!(diagnosis.is_clean(), "{diagnosis:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v7_a_write_and_a_move_interleaved_on_postgres() {
    all(&[(Op::Write("a/x"), Op::Move("a", "b")), (Op::Append("a/x"), Op::Move("a/x", "d"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v7_two_moves_interleaved_on_postgres() {
    all(&[(Op::Move("a", "b"), Op::Move("a", "d")), (Op::Move("a", "b"), Op::Move("c", "b"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v8_a_delete_and_a_move_interleaved_on_postgres() {
    all(&[(Op::Delete("a"), Op::Move("a", "b")), (Op::Archive("a"), Op::Move("a/x", "d"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v9_a_link_and_a_delete_interleaved_on_postgres() {
    all(&[(Op::Link("c", "a/x"), Op::Delete("a")), (Op::Link("c", "a/x"), Op::Move("a", "b"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v8_a_write_and_a_delete_interleaved_on_postgres() {
    all(&[(Op::Write("a/x"), Op::Delete("a")), (Op::Write("c/new"), Op::DeleteOne("c"))]).await;
}
