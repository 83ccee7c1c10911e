//! The store against a model: random operations on a handful of names, compared with a map in memory after every step,
//! and the doctor at the end.

use std::collections::{BTreeMap, BTreeSet};

use context_store::{
    Ailment, Caller, DeleteOptions, Direction, Link, Paging, Role, SearchOptions, Store, StoreError, TreeOptions, Uri,
    Write,
};

use crate::{
    on_each_backend,
    support::{admin, life, uri},
};

/// What the model knows of a node.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    /// Stays with the node through moves.
    id: usize,
    text: String,
    archived: bool,
}

/// A map of URIs that obeys the rules, and the edges between its nodes.
#[derive(Default)]
struct Model(BTreeMap<String, Row>, BTreeSet<(usize, usize)>);

/// The kind of an error, which both must agree on.
type Outcome = Result<u64, &'static str>;

fn outcome(result: Result<u64, StoreError>) -> Outcome {
    result.map_err(|e| match e {
        StoreError::NotFound { .. } => "not_found",
        StoreError::Archived { .. } => "archived",
        StoreError::AlreadyExists { .. } => "already_exists",
        StoreError::InvalidMove { .. } => "invalid_move",
        StoreError::NotEmpty { .. } => "not_empty",
        StoreError::NoSuchEdge { .. } => "no_such_edge",
        other => panic!("{other}"),
    })
}

fn at_or_below(key: &str, folder: &str) -> bool {
    key.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Model {
    fn subtree(&self, folder: &str) -> Vec<String> {
        self.0.keys().filter(|key| at_or_below(key, folder)).cloned().collect()
    }

    fn write(&mut self, at: &str, text: &str, n: usize) -> Outcome {
        if self.0.get(at).is_some_and(|row| row.archived) {
            return Err("archived");
        }
        let id = self.0.get(at).map_or(n, |row| row.id);
        self.0.insert(at.to_owned(), Row { id, text: text.to_owned(), archived: false });
        Ok(1)
    }

    fn ends(&self, from: &str, to: &str) -> Option<(usize, usize)> {
        let active = |at: &str| self.0.get(at).filter(|row| !row.archived).map(|row| row.id);
        active(from).zip(active(to))
    }

    fn link(&mut self, from: &str, to: &str) -> Outcome {
        self.1.insert(self.ends(from, to).ok_or("not_found")?);
        Ok(1)
    }

    fn unlink(&mut self, from: &str, to: &str) -> Outcome {
        let ends = self.ends(from, to).ok_or("not_found")?;
        if self.1.remove(&ends) { Ok(1) } else { Err("no_such_edge") }
    }

    /// The edges that leave a node and arrive at an active one.
    fn edges(&self, at: &str) -> BTreeSet<String> {
        let arrives = |key: &&String| self.ends(at, key).is_some_and(|ends| self.1.contains(&ends));
        self.0.keys().filter(arrives).cloned().collect()
    }

    fn delete(&mut self, at: &str, recursive: bool) -> Outcome {
        let all = self.subtree(at);
        if all.is_empty() {
            return Err("not_found");
        }
        if !recursive && all.iter().any(|key| key != at) {
            return Err("not_empty");
        }
        let gone: BTreeSet<usize> = all.iter().map(|key| self.0[key].id).collect();
        self.1.retain(|(from, to)| !gone.contains(from) && !gone.contains(to));
        self.0.retain(|key, _| !at_or_below(key, at));
        Ok(all.len() as u64)
    }

    fn set_archived(&mut self, at: &str, recursive: bool, archived: bool) -> Outcome {
        let mut changed = 0;
        let below = self.subtree(at).iter().any(|key| key != at);
        let here = self.0.contains_key(at);
        for (key, row) in &mut self.0 {
            if (key == at || recursive && at_or_below(key, at)) && row.archived != archived {
                row.archived = archived;
                changed += 1;
            }
        }
        match changed {
            0 if !here && below && !recursive => Err("not_empty"),
            0 => Err("not_found"),
            n => Ok(n),
        }
    }

    fn mv(&mut self, from: &str, to: &str) -> Outcome {
        let moving = self.subtree(from);
        if !moving.iter().any(|key| !self.0[key].archived) {
            return Err("not_found");
        }
        if from == to {
            return Ok(0);
        }
        if at_or_below(to, from) {
            return Err("invalid_move");
        }
        if !self.subtree(to).is_empty() {
            return Err("already_exists");
        }
        for key in &moving {
            if let Some(row) = self.0.remove(key) {
                self.0.insert(format!("{to}{}", &key[from.len()..]), row);
            }
        }
        Ok(moving.len() as u64)
    }

    /// The active nodes in the order of the tree.
    fn active(&self) -> Vec<String> {
        let mut active: Vec<String> =
            self.0.iter().filter(|(_, row)| !row.archived).map(|(key, _)| key.clone()).collect();
        active.sort_by_key(|key| key.replace('/', "\u{1}"));
        active
    }
}

const ROOT: &str = "ctx://acme/resources";

/// Names that an unescaped pattern or an order by bytes would confuse.
const NAMES: [&str; 6] = ["a", "a_b", "aXb", "a-b", "a%25", "a.b"];

fn place(random: &mut fastrand::Rng) -> Uri {
    let depth = random.usize(1..=3);
    let path: Vec<&str> = (0..depth).map(|_| NAMES[random.usize(..NAMES.len())]).collect();
    uri(&format!("{ROOT}/{}", path.join("/")))
}

async fn step(store: &Store, model: &mut Model, random: &mut fastrand::Rng, n: usize) -> String {
    let (at, to) = (place(random), place(random));
    let recursive = random.bool();
    let options = DeleteOptions { recursive };
    let caller = admin();
    let (did, real, expected) = match random.u8(..16) {
        0..=3 => {
            let text = format!("word{n} in {at}");
            let real = store.write(&caller, &at, &Write::of(&text)).await.map(|_| 1);
            (format!("write {at}"), real, model.write(at.as_str(), &text, n))
        }
        4..=6 => (
            format!("move {at} {to}"),
            store.move_node(&caller, &at, &to).await.map(|m| m.nodes),
            model.mv(at.as_str(), to.as_str()),
        ),
        7 => (
            format!("delete {at} {recursive}"),
            store.delete(&caller, &at, options).await.map(|r| r.nodes),
            model.delete(at.as_str(), recursive),
        ),
        8 => {
            let real = store.archive(&caller, &at, options).await.map(|r| r.nodes);
            (format!("archive {at} {recursive}"), real, model.set_archived(at.as_str(), recursive, true))
        }
        9..=10 => {
            let real = store.link(&caller, &at, &to, &Link::of("next")).await.map(|_| 1);
            (format!("link {at} {to}"), real, model.link(at.as_str(), to.as_str()))
        }
        11 => {
            let real = store.unlink(&caller, &at, &to, None).await;
            (format!("unlink {at} {to}"), real, model.unlink(at.as_str(), to.as_str()))
        }
        12..=13 => revert(store, model, random, &at).await,
        _ => {
            let real = store.restore(&caller, &at, options).await.map(|r| r.nodes);
            (format!("restore {at} {recursive}"), real, model.set_archived(at.as_str(), recursive, false))
        }
    };
    assert_eq!(outcome(real), expected, "{did}");
    did
}

/// Sets a node back to one of its versions, whichever there is.
async fn revert(
    store: &Store,
    model: &mut Model,
    random: &mut fastrand::Rng,
    at: &Uri,
) -> (String, Result<u64, StoreError>, Outcome) {
    let caller = admin();
    let history = match store.history(&caller, at, &Paging::default()).await {
        Ok(history) => history.items,
        Err(e) => return (format!("history {at}"), Err(e), Err("not_found")),
    };
    let version = history[random.usize(..history.len())].version;
    let old = store.read_version(&caller, at, version).await.unwrap_or_else(|e| panic!("{e}"));
    let real = store.revert(&caller, at, version).await.map(|_| 1);
    let expected = match model.0.get_mut(at.as_str()) {
        None => Err("not_found"),
        Some(row) if row.archived => Err("archived"),
        Some(row) => {
            row.text = old.content;
            Ok(1)
        }
    };
    (format!("revert {at} to {version}"), real, expected)
}

async fn compare(store: &Store, model: &Model, log: &[String]) {
    let options = TreeOptions { paging: context_store::Paging::first(1000), ..Default::default() };
    let tree = store.tree(&admin(), &uri(ROOT), &options).await.unwrap_or_else(|e| panic!("{e}: {log:#?}"));
    let seen: Vec<String> =
        tree.items.iter().filter(|entry| entry.node.is_some()).map(|entry| entry.uri.to_string()).collect();
    assert_eq!(seen, model.active(), "{log:#?}");
}

on_each_backend! {
    async fn v_random_operations_agree_with_a_model(t: TestStore) {
        for seed in 0..4 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut model, mut log) = (Model::default(), vec![format!("seed {seed}")]);
            for n in 0..80 {
                log.push(step(&t.store, &mut model, &mut random, n).await);
                compare(&t.store, &model, &log).await;
                if random.u8(..8) == 0 {
                    t.store.drain().await.unwrap_or_else(|e| panic!("{e}: {log:#?}"));
                }
            }
            for (key, row) in model.0.iter().filter(|(_, row)| !row.archived) {
                let node = t.store.read(&admin(), &uri(key)).await.unwrap_or_else(|e| panic!("{e}: {log:#?}"));
                assert_eq!(node.content, row.text, "{key}: {log:#?}");
                let edges = t.store.edges(&admin(), &uri(key), Direction::Outgoing, &Paging::first(1000)).await.unwrap_or_else(|e| panic!("{e}"));
                let ends: BTreeSet<String> = edges.items.iter().map(|edge| edge.to.to_string()).collect();
                assert_eq!(ends, model.edges(key), "{key}: {log:#?}");
            }
            t.store.drain().await.unwrap_or_else(|e| panic!("{e}"));
            let options = SearchOptions { paging: context_store::Paging::first(1000), ..Default::default() };
            let found = t.store.search(&admin(), "in", &options).await.unwrap_or_else(|e| panic!("{e}"));
            let mut found: Vec<String> = found.items.iter().map(|hit| hit.uri.to_string()).collect();
            found.sort_by_key(|key| key.replace('/', "\u{1}"));
            assert_eq!(found, model.active(), "the index holds exactly the live nodes: {log:#?}");
            let diagnosis = t.store.doctor(&admin().with_role(Role::Root), false).await.unwrap_or_else(|e| panic!("{e}"));
            assert!(diagnosis.is_clean(), "{diagnosis:#?} {log:#?}");
            for key in model.0.keys().cloned().collect::<Vec<_>>() {
                if model.delete(&key, true).is_ok() {
                    t.store.delete(&admin(), &uri(&key), DeleteOptions::recursive()).await.unwrap_or_else(|e| panic!("{e}"));
                }
            }
        }
    }

    async fn v_concurrent_random_operations_leave_a_healthy_store(t: TestStore) {
        let mut tasks = Vec::new();
        for worker in 0..4_u64 {
            let store = t.store.clone();
            tasks.push(tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(1_000 + worker);
                for n in 0..40 {
                    let (at, to) = (place(&mut random), place(&mut random));
                    let done = match random.u8(..9) {
                        0..=3 => store.write(&admin(), &at, &Write::of(format!("{worker} {n}"))).await.map(drop),
                        4..=5 => store.move_node(&admin(), &at, &to).await.map(drop),
                        6 => store.delete(&admin(), &at, DeleteOptions::recursive()).await.map(drop),
                        7 => store.archive(&admin(), &at, DeleteOptions::recursive()).await.map(drop),
                        _ if n % 10 == 9 => store.drain().await.map(drop),
                        _ => store.restore(&admin(), &at, DeleteOptions::recursive()).await.map(drop),
                    };
                    outcome(done.map(|()| 0)).ok();
                }
            }));
        }
        for task in tasks {
            task.await.expect("a worker");
        }
        t.store.drain().await.expect("a drain");
        let diagnosis = t.store.doctor(&admin().with_role(Role::Root), false).await.expect("a diagnosis");
        assert!(diagnosis.is_clean(), "{diagnosis:#?}");
    }

    async fn v_lives_side_by_side_leave_a_healthy_store(t: TestStore) {
        for round in 0..3_u64 {
            let mut tasks = Vec::new();
            for worker in 0..4_u64 {
                let store = t.store.clone();
                tasks.push(tokio::spawn(async move { life::live(&store, 30, &mut fastrand::Rng::with_seed(round * 10 + worker)).await }));
            }
            for task in tasks {
                task.await.expect("a worker");
            }
            t.store.drain().await.expect("a drain");
            let diagnosis = t.store.doctor(&life::root(), false).await.expect("a diagnosis");
            assert!(diagnosis.is_clean() && diagnosis.nodes > 10, "{diagnosis:#?}");
            let indexed = "SELECT count(*) FROM nodes n WHERE n.status = 'active' AND n.content <> '' AND NOT EXISTS (SELECT 1 FROM index_records r WHERE r.node_id = n.id)";
            // A text of spaces alone has no record.
            assert_eq!(t.count(&format!("{indexed} AND length(trim(n.content)) > 9")).await, 0);
        }
    }

    async fn the_doctor_names_what_is_wrong_and_repairs_it(t: TestStore) {
        let root = Caller::user("acme", "alice").with_role(Role::Root);
        for name in ["a", "b", "c", "d"] {
            t.store.write(&admin(), &uri(&format!("{ROOT}/{name}")), &Write::of("apple")).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        assert!(t.store.doctor(&root, false).await.expect("a diagnosis").is_clean());
        // What only SQL behind the store's back can do.
        t.sql(&format!("UPDATE nodes SET owner_space = 'user:eve' WHERE uri = '{ROOT}/a'")).await;
        t.sql(&format!("UPDATE nodes SET content = 'pear' WHERE uri = '{ROOT}/b'")).await;
        t.sql(&format!("DELETE FROM index_records WHERE uri = '{ROOT}/c/content.md'")).await;
        t.sql(&format!("DELETE FROM nodes WHERE uri = '{ROOT}/d'")).await;
        let ill = t.store.doctor(&root, false).await.expect("a diagnosis");
        let mut seen: Vec<(Ailment, &str)> = ill.findings.iter().map(|f| (f.ailment, f.place.trim_start_matches(ROOT))).collect();
        seen.sort_by_key(|(ailment, place)| (*place, format!("{ailment:?}")));
        seen.dedup();
        let expected = [
            (Ailment::Derived, "/a"), (Ailment::Index, "/a"), (Ailment::Hash, "/b"), (Ailment::Index, "/b"), (Ailment::Index, "/c"),
            (Ailment::Index, "/d/content.md"),
        ];
        assert_eq!(seen, expected, "{ill:#?}");
        let repaired = t.store.doctor(&root, true).await.expect("a repair");
        assert!(repaired.findings.iter().all(|f| f.repaired || f.place.ends_with("/a") && f.ailment == Ailment::Index), "{repaired:#?}");
        t.store.drain().await.expect("a drain");
        let healthy = t.store.doctor(&root, false).await.expect("a diagnosis");
        assert!(healthy.is_clean(), "{healthy:#?}");
        assert_eq!(t.store.read(&admin(), &uri(&format!("{ROOT}/a"))).await.map(|n| n.owner_space).ok().as_deref(), Some("shared"));
        assert!(t.store.doctor(&admin(), false).await.is_err(), "an administrator does not see every space");
    }
}
