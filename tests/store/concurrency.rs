//! Concurrent writers and movers end in a serial order; both forms of the API can be spawned and put behind a trait.

use async_trait::async_trait;
use context_store::{Caller, DeleteOptions, Store, StoreError, Uri, Write};
use sea_session::{Recorder, Session};

use crate::{
    on_each_backend,
    support::{self, admin, uri},
};

on_each_backend! {
    async fn v7_a_move_or_delete_takes_the_same_statements_whatever_the_size(t: TestStore) {
        let mut counts = Vec::new();
        for size in [1, 10, 300] {
            let root = uri(&format!("ctx://acme/resources/of{size}"));
            let writes: Vec<(Uri, Write)> = (0..size).map(|n| (root.child(&format!("d{}", n % 7)).and_then(|d| d.child(&format!("n{n}"))).expect("a name"), Write::of("x"))).collect();
            t.store.write_many(&admin(), &writes).await.expect("writes");
            let to = uri(&format!("ctx://acme/resources/to{size}"));
            let unit = t.store.unit(&admin());
            let asked = unit.clone();
            let moved = unit.run(async |s: &mut Session| t.store.within(s, &admin()).move_node(&root, &to).await).await.expect("a move");
            assert_eq!(moved.nodes, size);
            let unit = t.store.unit(&admin());
            let removal = unit.clone();
            let removed = unit.run(async |s: &mut Session| t.store.within(s, &admin()).delete(&to, DeleteOptions::recursive()).await).await.expect("a delete");
            assert_eq!(removed.nodes, size);
            counts.push((asked.stats().statements, removal.stats().statements));
        }
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        assert!(counts[0].0 <= 5 && counts[0].1 <= 5, "{counts:?}");
    }

    async fn v3_a_batch_takes_the_same_statements_whatever_the_size(t: TestStore) {
        let mut counts = Vec::new();
        for size in [10, 100, 200] {
            let recorder = Recorder::new();
            let writes: Vec<(Uri, Write)> = (0..size).map(|n| (uri(&format!("ctx://acme/resources/b{size}/n{n}")), Write::of("x"))).collect();
            t.store.unit(&admin()).record(&recorder).run(async |s: &mut Session| t.store.within(s, &admin()).write_many(&writes).await).await.expect("writes");
            counts.push(recorder.take().len());
        }
        assert!(counts[2] <= counts[0] + 6, "{counts:?}");
    }

    async fn v3_appends_of_many_at_once_all_arrive(t: TestStore) {
        let at = uri("ctx://acme/resources/log");
        let mut tasks = Vec::new();
        for n in 0..12 {
            let (store, at) = (t.store.clone(), at.clone());
            tasks.push(tokio::spawn(async move { store.append(&admin(), &at, &format!("{n}\n")).await }));
        }
        for task in tasks {
            task.await.expect("a task").unwrap_or_else(|e| panic!("{e}"));
        }
        let node = t.store.read(&admin(), &at).await.expect("a read");
        let mut lines: Vec<u32> = node.content.lines().map(|line| line.parse().expect("a number")).collect();
        lines.sort_unstable();
        assert_eq!(lines, (0..12).collect::<Vec<_>>());
        assert_eq!(node.version, 12);
        assert_eq!(t.count("SELECT count(*) FROM outbox_events").await, 12);
        assert_eq!(t.count("SELECT count(*) FROM node_versions").await, 11);
    }

    async fn v7_concurrent_writers_and_movers_end_in_a_serial_order(t: TestStore) {
        let (a, b) = (uri("ctx://acme/resources/a"), uri("ctx://acme/resources/b"));
        for n in 0..6 {
            t.store.write(&admin(), &a.child(&format!("n{n}")).expect("a name"), &Write::of("old")).await.expect("a write");
        }
        let mut tasks = Vec::new();
        for worker in 0..4 {
            let (store, a, b) = (t.store.clone(), a.clone(), b.clone());
            tasks.push(tokio::spawn(async move {
                for round in 0..6 {
                    let (from, to) = if (worker + round) % 2 == 0 { (&a, &b) } else { (&b, &a) };
                    if worker < 2 {
                        match store.move_node(&admin(), from, to).await {
                            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::AlreadyExists { .. }) => {}
                            Err(e) => panic!("{e}"),
                        }
                    } else {
                        let at = from.child(&format!("n{round}")).expect("a name");
                        store.write(&admin(), &at, &Write::of(format!("{worker}-{round}"))).await.unwrap_or_else(|e| panic!("{e}"));
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("a task");
        }
        // No version number was given twice, to a node or at a URI.
        let fallen = "SELECT count(*) FROM nodes n JOIN node_versions v ON v.account_id = n.account_id AND (v.node_id = n.id OR v.uri = n.uri) WHERE v.version >= n.version";
        assert_eq!(t.count(fallen).await, 0);
        let twice = "SELECT count(*) FROM (SELECT 1 FROM node_versions GROUP BY uri, version HAVING count(*) > 1) AS twice";
        assert_eq!(t.count(twice).await, 0);
        // Each node was created once, each change replaced one state, and each of these was announced once.
        let announced = "SELECT (SELECT count(*) FROM outbox_events) - (SELECT count(*) FROM nodes) - (SELECT count(*) FROM node_versions)";
        assert_eq!(t.count(announced).await, 0);
        t.store.drain().await.expect("a drain");
        assert_eq!(t.count("SELECT (SELECT count(*) FROM index_records) - (SELECT count(*) FROM nodes)").await, 0);
        let stale = "SELECT count(*) FROM index_records r WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = r.node_id AND n.version = r.version AND r.uri = n.uri || '/content.md')";
        assert_eq!(t.count(stale).await, 0);
    }
}

/// The API behind a trait object, as services have it.
#[async_trait]
trait Memory: Send + Sync {
    async fn remember(&self, caller: &Caller, uri: &Uri, text: &str) -> Result<i64, StoreError>;
}

#[async_trait]
impl Memory for Store {
    async fn remember(&self, caller: &Caller, uri: &Uri, text: &str) -> Result<i64, StoreError> {
        let write = Write::of(text);
        let both = self.unit(caller).run(async |s: &mut Session| -> Result<i64, StoreError> {
            self.within(s, caller).write(uri, &write).await?;
            Ok(self.within(s, caller).append(uri, "!").await?.version)
        });
        both.await
    }
}

#[tokio::test]
async fn the_api_compiles_in_spawn_and_behind_async_trait() {
    let t = support::TestStore::sqlite().await;
    let memory: std::sync::Arc<dyn Memory> = std::sync::Arc::new(t.store.clone());
    let task = tokio::spawn(async move { memory.remember(&admin(), &uri("ctx://acme/resources/a"), "x").await });
    assert_eq!(task.await.expect("a task").ok(), Some(2));
}

/// A sink that keeps what it was told.
#[derive(Default)]
struct Kept(std::sync::Mutex<Vec<String>>);

#[async_trait::async_trait]
impl context_store::index::IndexSink for Kept {
    async fn delete(
        &self,
        _: &[context_store::index::Gone],
    ) -> Result<Vec<context_store::index::Refused>, context_store::index::Unavailable> {
        Ok(Vec::new())
    }

    async fn upsert(
        &self,
        records: &[context_store::record::Record],
    ) -> Result<Vec<context_store::index::Refused>, context_store::index::Unavailable> {
        self.0.lock().expect("a lock").extend(records.iter().map(|record| record.uri.clone()));
        Ok(Vec::new())
    }
}

impl Kept {
    fn has(&self, names: &[&str]) -> bool {
        let mut held = self.0.lock().expect("a lock").clone();
        held.sort_unstable();
        held.dedup();
        held == names.iter().map(|name| format!("ctx://acme/resources/{name}/content.md")).collect::<Vec<_>>()
    }
}

on_each_backend! {
    async fn e4_a_stream_for_an_index_elsewhere_misses_nothing_of_what_others_drain(t: TestStore) {
        use std::sync::Arc;
        let write = async |name: &str| t.store.write(&admin(), &uri(&format!("ctx://acme/resources/{name}")), &Write::of("text")).await.map(drop).expect("a write");
        write("before").await;
        t.store.drain().await.expect("a drain");
        write("pending").await;
        let stream = t.store.sink_stream("https://ann:hunter2@index.example/ctx").await.expect("a stream");
        assert_eq!(t.store.sink_stream("https://ann:other@index.example/ctx").await.expect("a stream").name(), stream.name());
        let other = t.store.sink_stream("file:other").await.expect("a stream");
        let streams = t.store.sink_streams().await.expect("streams");
        assert!(streams.len() == 2 && streams.iter().any(|(info, _)| info.sink == "https://ann@index.example/ctx"), "{streams:?}");
        // Many drain at once while somebody writes.
        let writing = async {
            for n in 0..20 {
                write(&format!("n{n:02}")).await;
            }
        };
        let draining = async {
            for _ in 0..20 {
                t.store.drain().await.expect("a drain");
            }
        };
        tokio::join!(writing, draining, async { t.store.drain().await.expect("a drain") });
        t.store.drain().await.expect("a drain");
        let mut names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
        names.insert(0, "before".into());
        names.push("pending".into());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for stream in [&stream, &other] {
            let kept = Arc::new(Kept::default());
            stream.dispatcher(kept.clone()).drain().await.expect("a drain");
            assert!(kept.has(&names), "{:?}", kept.0);
        }
        assert!(t.store.forget_sink_stream(other.name()).await.expect("an end"));
        assert!(!t.store.forget_sink_stream(other.name()).await.expect("an end"));
        write("after").await;
        t.store.drain().await.expect("a drain");
        assert_eq!(stream.outbox().metrics().await.expect("numbers").pending, 1);
        assert_eq!(other.outbox().metrics().await.expect("numbers").pending, 0);
        assert!(t.store.search(&admin(), "text", &Default::default()).await.expect("a search").items.len() > 1, "and the embedded index has it all");
    }

    async fn e4_every_change_rings_the_bell(t: TestStore) {
        use std::{sync::Arc, time::Duration};
        let kept = Arc::new(Kept::default());
        // It polls once an hour: what it delivers, it was woken for.
        let dispatcher = t.store.dispatcher(kept.clone()).poll(Duration::from_secs(3600)).linger(Duration::from_millis(1));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn({
            let dispatcher = dispatcher.clone();
            async move { dispatcher.run(async { drop(stopped.await) }).await }
        });
        let (a, b) = (uri("ctx://acme/resources/a"), uri("ctx://acme/resources/b"));
        let drained = async |n: u64| {
            for _ in 0..600 {
                if t.store.outbox().metrics().await.expect("numbers").done == n {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("nobody rang: {:?}, {n} expected", t.store.outbox().metrics().await);
        };
        t.store.write(&admin(), &a, &Write::of("one")).await.expect("a write");
        drained(1).await;
        t.store.append(&admin(), &a, " two").await.expect("an append");
        drained(2).await;
        t.store.move_node(&admin(), &a, &b).await.expect("a move");
        drained(3).await;
        t.store.archive(&admin(), &b, Default::default()).await.expect("archiving");
        drained(4).await;
        t.store.restore(&admin(), &b, Default::default()).await.expect("restoring");
        drained(5).await;
        t.store.revert(&admin(), &b, 1).await.expect("a revert");
        drained(6).await;
        t.store.delete(&admin(), &b, Default::default()).await.expect("a delete");
        drained(7).await;
        stop.send(()).expect("it runs");
        running.await.expect("its end");
    }

    async fn w7_counts_tell_a_member_nothing_of_others(t: TestStore) {
        let eve = context_store::Caller::user("acme", "eve");
        let before = t.store.status(&eve).await.expect("numbers");
        let (mine, theirs) = (uri("ctx://acme/users/eve/memories/m/n"), uri("ctx://acme/users/alice/memories/m/n"));
        for n in 0..3 {
            t.store.write(&admin(), &theirs, &Write::of(format!("{n}"))).await.expect("a write");
        }
        t.store.link(&admin(), &theirs, &theirs, &context_store::Link::of("self")).await.expect("a link");
        t.sql("UPDATE outbox_events SET state = 'dead', finished_at = created_at, last_error = 'no'").await;
        t.store.write(&admin(), &theirs, &Write::of("more")).await.expect("a write");
        assert_eq!(t.store.status(&eve).await.expect("numbers"), before);
        t.store.write(&eve, &mine, &Write::of("mine")).await.expect("a write");
        let own = t.store.status(&eve).await.expect("numbers");
        assert_eq!((own.active, own.edges, own.pending, own.dead), (1, 0, 1, 0), "{own:?}");
        let all = t.store.status(&admin().with_role(context_store::Role::Root)).await.expect("numbers");
        assert_eq!((all.active, all.edges, all.pending, all.dead), (2, 1, 2, 3), "{all:?}");
    }
}

on_each_backend! {
    async fn v3_within_a_unit_the_operations_have_the_same_names_and_are_all_or_nothing(t: TestStore) {
        let (a, b) = (uri("ctx://acme/resources/a"), uri("ctx://acme/resources/b"));
        let done = t.store.unit(&admin()).run(async |s: &mut Session| -> Result<(), StoreError> {
            let caller = admin();
            let mut here = t.store.within(s, &caller);
            here.write_many(&[(a.clone(), Write::of("one")), (b.clone(), Write::of("two"))]).await?;
            here.expect(&a, 1).await?;
            here.append(&a, " more").await?;
            assert_eq!(here.read(&a).await?.content, "one more");
            here.expect(&a, 1).await
        }).await;
        assert!(matches!(done, Err(StoreError::VersionConflict { expected: 1, actual: 2, .. })), "{done:?}");
        assert_eq!(t.count("SELECT count(*) FROM nodes").await, 0);
        let created = t.store.write(&admin(), &a, &Write::of("one").creating()).await.expect("a write");
        assert!(created.created);
        let again = t.store.write(&admin(), &a, &Write::of("two").creating()).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
        t.store.archive(&admin(), &a, Default::default()).await.expect("archiving");
        let again = t.store.write(&admin(), &a, &Write::of("two").creating()).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    }
}
