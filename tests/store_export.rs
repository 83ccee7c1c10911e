//! Export and its way back (V12).

mod support;

use std::fs;

use context_store::{ImportOptions, Link, StoreError, TreeOptions, Uri, Write};
use support::{TestStore, admin, uri};

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
            for place in &places {
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
            let back = t.store.import_archive(&admin(), &file, &to).await.expect("an import");
            assert_eq!(back, out);
            let ((nodes, edges), (again, edges_again)) = (contents(&t, &from).await, contents(&t, &to).await);
            assert_eq!(edges, edges_again);
            assert_eq!(nodes.len(), again.len());
            for ((path, a), (path_again, b)) in nodes.iter().zip(&again) {
                assert_eq!(path, path_again);
                assert_eq!((&a.content, &a.r#abstract, &a.metadata, &a.content_hash), (&b.content, &b.r#abstract, &b.metadata, &b.content_hash));
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
            [lines[0], lines[2], lines[3], lines[4]].join("\n"),
            whole.clone() + lines[1],
            "no archive".to_owned(),
            String::new(),
        ];
        for (n, damaged) in damages.iter().enumerate() {
            let file = folder.path().join("damaged.jsonl");
            fs::write(&file, damaged).expect("a file");
            let refused = t.store.import_archive(&admin(), &file, &uri("ctx://acme/resources/to")).await;
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
