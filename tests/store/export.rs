//! Export and its way back (V12).

mod forged;

use std::fs;

use context_store::{
    DeleteOptions, ImportOptions, Link, Message, Paging, SearchOptions, StoreError, TreeOptions, Uri, Write,
};
use sea_orm::DbBackend;

use crate::{
    on_each_backend,
    support::{
        TestStore, admin,
        life::{assert_same, live, root, rows},
        uri,
    },
};

/// An empty store on the same backend.
async fn another(t: &TestStore) -> TestStore {
    match t.owner.backend() {
        DbBackend::Postgres => TestStore::postgres().await,
        DbBackend::MySql => TestStore::mariadb().await,
        _ => TestStore::sqlite().await,
    }
}

/// Everything that an archive has to bring back: texts, metadata, edges, by relative address.
async fn contents(t: &TestStore, folder: &Uri) -> (Vec<(String, context_store::Node)>, Vec<String>) {
    let tree = t
        .store
        .tree(&admin(), folder, &TreeOptions { paging: context_store::Paging::first(1000), ..Default::default() })
        .await
        .expect("a tree");
    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
    for entry in tree.items.into_iter().filter(|entry| entry.node.is_some()) {
        let node = t.store.read(&admin(), &entry.uri).await.expect("a read");
        let out = t
            .store
            .edges(&admin(), &entry.uri, context_store::Direction::Outgoing, &Default::default())
            .await
            .expect("edges");
        let short = |uri: &Uri| uri.as_str().trim_start_matches(folder.as_str()).to_owned();
        edges.extend(
            out.items
                .iter()
                .map(|e| format!("{} {} {} {} {}", short(&e.from), short(&e.to), e.edge_type, e.weight, e.reason)),
        );
        nodes.push((short(&entry.uri), node));
    }
    edges.sort();
    (nodes, edges)
}

on_each_backend! {
    async fn v12_an_archive_makes_the_same_store_again(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let account = uri("ctx://acme");
        let mut random = fastrand::Rng::with_seed(12);
        for round in 0..3 {
            live(&t.store, 150, &mut random).await;
            let file = folder.path().join(format!("{round}.jsonl"));
            let out = t.store.export_archive(&root(), &account, &file).await.expect("an export");
            assert!(out.nodes > 20 && out.versions > 20 && out.edges > 0 && out.logs > 0, "{out:?}");
            assert_eq!(t.count("SELECT count(*) FROM node_versions").await as u64, out.versions, "also of nodes that are gone");
            let other = another(&t).await;
            let mut seen = Vec::new();
            let back = other.store.import_archive(&root(), &file, &account, &mut |state| seen.push(state.done)).await.expect("an import");
            assert_eq!(back, out);
            assert!(seen.is_sorted() && seen.last() == Some(&(out.nodes + out.versions + out.edges + out.logs)), "{seen:?}");
            let same = rows(&t.owner).await;
            assert_same(&same, &rows(&other.owner).await);
            // Once more changes nothing, and an export of the copy is the archive.
            let again = other.store.import_archive(&root(), &file, &account, &mut |_| {}).await.expect("an import");
            assert_eq!(again.unchanged, out.nodes + out.versions + out.edges + out.logs);
            assert_same(&same, &rows(&other.owner).await);
            let second = folder.path().join("again.jsonl");
            other.store.export_archive(&root(), &account, &second).await.expect("an export");
            assert_eq!(fs::read_to_string(&file).ok(), fs::read_to_string(&second).ok());
            other.store.drain().await.expect("a drain");
            let diagnosis = other.store.doctor(&root(), false).await.expect("a diagnosis");
            assert!(diagnosis.is_clean(), "{diagnosis:#?}");
        }
    }

    async fn v12_numbers_in_metadata_come_back_exactly(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (uri("ctx://acme/resources/from"), uri("ctx://acme/resources/to"));
        let mut random = fastrand::Rng::with_seed(53);
        // Of any size; no negative zero, which PostgreSQL's numbers do not have.
        let numbers: Vec<f64> = std::iter::repeat_with(|| f64::from_bits(random.u64(..))).filter(|n| n.is_finite() && *n != 0.0).take(2_000).collect();
        let metadata = serde_json::json!({ "numbers": numbers, "fractions": (0..2_000).map(|_| random.f64()).collect::<Vec<_>>() });
        t.store.write(&admin(), &from, &Write::of("x").with_metadata(metadata.as_object().cloned().unwrap_or_default())).await.expect("a write");
        let read = t.store.read(&admin(), &from).await.expect("a read");
        let again: Vec<f64> = serde_json::from_value(read.metadata["numbers"].clone()).expect("numbers");
        assert!(again == numbers && read.metadata["fractions"] == metadata["fractions"]);
        let file = folder.path().join("numbers.jsonl");
        t.store.export_archive(&admin(), &from, &file).await.expect("an export");
        t.store.import_archive(&admin(), &file, &to, &mut |_| {}).await.expect("an import");
        assert!(t.store.read(&admin(), &to).await.expect("a read").metadata == read.metadata);
    }

    async fn v12_what_was_deleted_comes_back_above_every_version_it_had(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, at) = (folder.path().join("kept.jsonl"), uri("ctx://acme/resources/a"));
        let child = at.child("b").expect("a name");
        for text in ["one", "two"] {
            t.store.write(&admin(), &child, &Write::of(text)).await.expect("a write");
        }
        t.store.export_archive(&admin(), &at, &file).await.expect("an export");
        let before = t.store.read(&admin(), &child).await.expect("a read");
        t.store.delete(&admin(), &at, DeleteOptions::recursive()).await.expect("a delete");
        for unchanged in [1, 2] {
            let back = t.store.import_archive(&admin(), &file, &at, &mut |_| {}).await.expect("an import");
            assert_eq!((back.unchanged, back.refused.len()), (unchanged, 0), "{back:?}");
        }
        let after = t.store.read(&admin(), &child).await.expect("a read");
        assert_eq!((after.id, after.content.as_str(), after.version), (before.id, "two", 3), "no version number is given twice");
        assert_eq!(t.store.read_version(&admin(), &child, 1).await.map(|v| v.content).ok().as_deref(), Some("one"));
        t.store.write(&admin(), &child, &Write::of("three")).await.expect("a write");
        let refused = t.store.import_archive(&admin(), &file, &at, &mut |_| {}).await.expect("an import");
        assert!(refused.refused.iter().any(|r| r.path == "/b" && r.reason.contains("another state")), "{refused:?}");
        assert_eq!(t.store.read(&admin(), &child).await.map(|n| n.content).ok().as_deref(), Some("three"), "nothing is written over");
        let member = context_store::Caller::user("acme", "bob");
        let denied = t.store.import_archive(&member, &file, &at, &mut |_| {}).await;
        assert!(matches!(denied, Err(StoreError::Denied { .. })), "{denied:?}");
        t.store.drain().await.expect("a drain");
        let diagnosis = t.store.doctor(&root(), false).await.expect("a diagnosis");
        assert!(diagnosis.is_clean(), "{diagnosis:#?}");
    }

    async fn v12_a_session_goes_with_its_owner_and_its_messages(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, session) = (folder.path().join("session.jsonl"), uri("ctx://acme/sessions/s1"));
        let (alice, log) = (context_store::Caller::user("acme", "alice"), uri("ctx://acme/sessions/s1/history/0001"));
        t.store.append_messages(&alice, &log, &[Message::new("alice", "tomatoes")]).await.expect("a log");
        t.store.write(&alice, &uri("ctx://acme/sessions/s1/state.json"), &Write::of("{}")).await.expect("a state");
        t.store.archive_session(&alice, &log, None).await.expect("closing");
        t.store.export_archive(&alice, &session, &file).await.expect("an export");
        let other = another(&t).await;
        let (bob, operator) = (context_store::Caller::user("acme", "bob"), context_store::Caller::account_only("acme").with_role(context_store::Role::Root));
        let refused = other.store.import_archive(&bob, &file, &session, &mut |_| {}).await.expect("an import");
        assert_eq!(other.count("SELECT count(*) FROM nodes").await, 0, "{refused:?}");
        assert!(refused.refused.iter().any(|r| r.reason.contains("user:alice")), "{refused:?}");
        other.store.import_archive(&operator, &file, &session, &mut |_| {}).await.expect("an import");
        assert_eq!(other.store.messages(&alice, &log).await.map(|m| m.len()).ok(), Some(1));
        assert!(matches!(other.store.messages(&bob, &log).await, Err(StoreError::NotFound { .. })));
        let history = other.store.session_history(&alice, &session, &Paging::default()).await.expect("a history");
        assert!(!history.items[0].open);
        other.store.drain().await.expect("a drain");
        assert_eq!(other.store.search(&alice, "tomatoes", &SearchOptions::default()).await.map(|p| p.items.len()).ok(), Some(1));
    }

    async fn v12_a_copy_of_a_folder_has_its_texts_edges_and_history(t: TestStore) {
        let mut random = fastrand::Rng::with_seed(7);
        let from = uri("ctx://acme/resources/from");
        let folder = tempfile::tempdir().expect("a folder");
        for round in 0..5 {
            let alphabet: Vec<char> = "abcäß水🦀%_\\'\" .-~{}[]\n\t\"\u{1}".chars().collect();
            let word = |random: &mut fastrand::Rng, n: usize| (0..n).map(|_| alphabet[random.usize(..alphabet.len())]).collect::<String>();
            let mut places: Vec<Uri> = Vec::new();
            for _ in 0..random.usize(1..250) {
                let parent = if places.is_empty() || random.bool() { from.clone() } else { places[random.usize(..places.len())].clone() };
                let name = word(&mut random, 3).replace(['\n', '\t', '\u{1}'], "x");
                if let Some(place) = parent.child(&name).ok().filter(|place| !places.contains(place)) {
 places.push(place);
 }
            }
            for place in places.iter().chain(&places[..places.len() / 3]) {
                let metadata = serde_json::json!({ "n": random.u32(..), "text": word(&mut random, 5), "deep": { "_kept": [1, null, 1.5] } });
                let write = Write::of(word(&mut random, 40)).with_abstract(word(&mut random, 5)).with_metadata(metadata.as_object().cloned().unwrap_or_default());
                t.store.write(&admin(), place, &write).await.expect("a write");
            }
            for _ in 0..places.len() / 2 {
                let (a, b) = (&places[random.usize(..places.len())], &places[random.usize(..places.len())]);
                t.store.link(&admin(), a, b, &Link::of(word(&mut random, 2) + "x").weighing(random.f64()).because(word(&mut random, 4))).await.expect("a link");
            }
            let file = folder.path().join(format!("{round}.jsonl"));
            let out = t.store.export_archive(&admin(), &from, &file).await.expect("an export");
            assert_eq!(out.nodes, places.len() as u64);
            let to = uri(&format!("ctx://acme/resources/to{round}"));
            let back = t.store.import_archive(&admin(), &file, &to, &mut |_| {}).await.expect("an import");
            assert_eq!(back, out);
            let again = t.store.import_archive(&admin(), &file, &to, &mut |_| {}).await.expect("an import");
            assert_eq!(again.unchanged, out.nodes + out.versions + out.edges);
            let ((nodes, edges), (again, edges_again)) = (contents(&t, &from).await, contents(&t, &to).await);
            assert_eq!(edges, edges_again);
            assert_eq!(nodes.len(), again.len());
            for ((path, a), (path_again, b)) in nodes.iter().zip(&again) {
                assert_eq!(path, path_again);
                assert_eq!((&a.content, &a.r#abstract, &a.metadata, &a.content_hash), (&b.content, &b.r#abstract, &b.metadata, &b.content_hash));
                assert_eq!((a.version, a.created_at, a.updated_at), (b.version, b.created_at, b.updated_at));
                assert_ne!(a.id, b.id, "a copy is another node");
                for version in 1..a.version {
                    let (old, copied) = (t.store.read_version(&admin(), &a.uri, version).await, t.store.read_version(&admin(), &b.uri, version).await);
                    assert_eq!(old.map(|v| v.content).ok(), copied.map(|v| v.content).ok(), "{path} {version}");
                }
            }
            t.store.delete(&admin(), &from, context_store::DeleteOptions::recursive()).await.expect("a delete");
        }
    }

    async fn v12_a_damaged_archive_is_refused_before_anything_is_written(t: TestStore) {
        let from = uri("ctx://acme/resources/from");
        for n in 0..3 {
            t.store.write(&admin(), &from.child(&format!("n{n}")).expect("a name"), &Write::of(format!("text {n}"))).await.expect("a write");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("whole.jsonl");
        t.store.export_archive(&admin(), &from, &file).await.expect("an export");
        let whole = fs::read_to_string(&file).expect("a text");
        let lines: Vec<&str> = whole.lines().collect();
        let damages = [
            whole.replace("text 1", "text X"),
            lines[..lines.len() - 1].join("\n"),
            whole.replacen("\"abstract\":\"\"", "\"abstract\":\"x\"", 1),
            [lines[0], lines[2], lines[3], lines[lines.len() - 1]].join("\n"),
            whole.clone() + lines[1],
            "no archive".to_owned(),
            String::new(),
        ];
        for (n, damaged) in damages.iter().enumerate() {
            let file = folder.path().join("damaged.jsonl");
            fs::write(&file, damaged).expect("a file");
            let refused = t.store.import_archive(&admin(), &file, &uri("ctx://acme/resources/to"), &mut |_| {}).await;
            assert!(matches!(&refused, Err(StoreError::Io { message, .. }) if message.starts_with("not a whole archive")), "{n}: {refused:?}");
        }
        assert_eq!(t.count("SELECT count(*) FROM nodes").await, 3);
    }

    async fn v12_a_folder_goes_in_and_comes_out_the_same(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, target) = (folder.path().join("in"), folder.path().join("out"));
        let files = ["a.txt", "deep/er/b.txt", "100%_x", "Zürich.md", "deep/empty"];
        for name in files {
            let path = source.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, if name.ends_with("empty") { String::new() } else { format!("I am {name}") }).expect("a file");
        }
        let at = uri("ctx://acme/resources/files");
        t.store.import(&admin(), &source, &at, &ImportOptions::default(), &mut |_| {}).await.expect("an import");
        let out = t.store.export_folder(&admin(), &at, &target).await.expect("an export");
        assert_eq!((out.nodes, out.refused.len()), (files.len() as u64, 0), "{out:?}");
        for name in files {
            assert_eq!(fs::read(source.join(name)).ok(), fs::read(target.join(name)).ok(), "{name}");
        }
        let again = t.store.export_folder(&admin(), &at, &target).await;
        assert!(matches!(again, Err(StoreError::Io { .. })), "a folder with something in it is left alone");
    }
}
