//! The rules V of the store, on SQLite and on PostgreSQL.

use context_store::{
    Caller, DeleteOptions, Direction, Level, Link, Page, Paging, SearchOptions, StoreError, TreeOptions, Uri, Write,
    index::{Gone, IndexSink, Refused, Unavailable},
    record::Record,
};
use sea_session::{Recorder, Session};

use crate::{
    on_each_backend,
    support::{self, admin, uri},
};

const DEEP: DeleteOptions = DeleteOptions { recursive: true };

/// The names of a page of entries; a folder without a node of its own ends with a slash.
fn names(page: &Page<context_store::Entry>) -> Vec<String> {
    let name = |entry: &context_store::Entry| format!("{}{}", entry.name, if entry.node.is_none() { "/" } else { "" });
    page.items.iter().map(name).collect()
}

async fn write(t: &support::TestStore, at: &str, content: &str) -> context_store::Written {
    t.store.write(&admin(), &uri(at), &Write::of(content)).await.unwrap_or_else(|e| panic!("{e}"))
}

async fn hits(t: &support::TestStore, caller: &Caller, word: &str) -> Vec<String> {
    let page = t.store.search(caller, word, &SearchOptions::default()).await.unwrap_or_else(|e| panic!("{e}"));
    let mut found: Vec<String> = page.items.iter().map(|hit| hit.uri.to_string()).collect();
    found.sort();
    found
}

on_each_backend! {
    async fn v3_write_creates_updates_and_checks_the_version(t: TestStore) {
        let at = uri("ctx://acme/users/alice/memories/likes/tea");
        let alice = Caller::user("acme", "alice");
        let first = t.store.write(&alice, &at, &Write::of("green").with_abstract("tea")).await.expect("a create");
        assert_eq!((first.version, first.created), (1, true));
        let second = t.store.write(&alice, &at, &Write::of("black")).await.expect("an update");
        assert_eq!((second.id, second.version, second.created), (first.id, 2, false));
        let node = t.store.read(&alice, &at).await.expect("a read");
        assert_eq!((node.content.as_str(), node.r#abstract.as_str(), node.version), ("black", "tea", 2));
        assert_eq!((node.owner_space.as_str(), node.category.as_deref(), node.node_type.as_str()), ("user:alice", Some("likes"), "memory"));

        let conflict = t.store.write(&alice, &at, &Write::of("white").expecting(1)).await;
        assert!(matches!(conflict, Err(StoreError::VersionConflict { expected: 1, actual: 2, .. })), "{conflict:?}");
        let third = t.store.write(&alice, &at, &Write::of("white").expecting(2)).await.expect("the version was right");
        assert_eq!(third.version, 3);
        // The same text again is a write all the same.
        assert_eq!(t.store.write(&alice, &at, &Write::of("white")).await.map(|w| w.version).ok(), Some(4));

        let absent = t.store.write(&alice, &uri("ctx://acme/users/alice/memories/likes/milk"), &Write::of("x").expecting(1)).await;
        assert!(matches!(absent, Err(StoreError::NotFound { .. })), "{absent:?}");
    }

    async fn v4_metadata_that_is_never_stored(t: TestStore) {
        let at = uri("ctx://acme/resources/a");
        let metadata = serde_json::json!({ "_internal": 1, "expected_version": 7, "kept": { "_inner": true } });
        let write = Write::of("x").with_metadata(metadata.as_object().cloned().unwrap_or_default());
        t.store.write(&admin(), &at, &write).await.expect("a write");
        let node = t.store.read(&admin(), &at).await.expect("a read");
        assert_eq!(node.metadata, serde_json::json!({ "kept": { "_inner": true } }));
    }

    async fn v3_versions_never_start_again_at_a_uri(t: TestStore) {
        let at = "ctx://acme/resources/a";
        write(&t, at, "one").await;
        write(&t, at, "two").await;
        t.store.delete(&admin(), &uri(at), DeleteOptions::default()).await.expect("a delete");
        let again = write(&t, at, "three").await;
        assert!(again.created && again.version > 2, "{again:?}");
        // Also for a node that moves to where another one was.
        t.store.delete(&admin(), &uri(at), DeleteOptions::default()).await.expect("a delete");
        write(&t, "ctx://acme/resources/b", "other").await;
        t.store.move_node(&admin(), &uri("ctx://acme/resources/b"), &uri(at)).await.expect("a move");
        let moved = t.store.read(&admin(), &uri(at)).await.expect("a read");
        assert!(moved.version > again.version, "{} after {}", moved.version, again.version);
    }

    async fn v4_every_change_writes_its_event_in_the_same_transaction(t: TestStore) {
        write(&t, "ctx://acme/resources/a/b", "x").await;
        let (a, c) = (uri("ctx://acme/resources/a"), uri("ctx://acme/resources/c"));
        t.store.move_node(&admin(), &a, &c).await.expect("a move");
        t.store.archive(&admin(), &c, DEEP).await.expect("an archiving");
        t.store.restore(&admin(), &c, DEEP).await.expect("a restoring");
        t.store.delete(&admin(), &c, DEEP).await.expect("a delete");
        for event in ["write", "move", "archive", "restore", "delete"] {
            let n = t.count(&format!("SELECT count(*) FROM outbox_events WHERE event_type = 'node.{event}'")).await;
            assert_eq!(n, 1, "{event}");
        }
        let rolled_back = t.store.unit(&admin()).run(async |s: &mut sea_session::Session| -> Result<(), StoreError> {
            t.store.within(s, &admin()).write(&c, &Write::of("x")).await?;
            Err(StoreError::InvalidArgument("changed my mind".into()))
        }).await;
        assert!(rolled_back.is_err());
        assert_eq!(t.count("SELECT count(*) FROM outbox_events").await, 5);
        assert_eq!(t.count("SELECT count(*) FROM nodes").await, 0);
    }

    async fn v5_read_exists_and_what_is_archived(t: TestStore) {
        let at = uri("ctx://acme/resources/a");
        write(&t, at.as_str(), "x").await;
        assert_eq!(t.store.exists(&admin(), at.as_str()).await.ok(), Some(true));
        assert_eq!(t.store.exists(&admin(), "ctx://acme/resources/b").await.ok(), Some(false));
        assert_eq!(t.store.exists(&admin(), "no uri").await.ok(), Some(false));
        assert_eq!(t.store.exists(&Caller::user("rival", "r"), at.as_str()).await.ok(), Some(false));
        t.store.archive(&admin(), &at, DeleteOptions::default()).await.expect("an archiving");
        let archived = t.store.read(&admin(), &at).await;
        assert!(matches!(archived, Err(StoreError::NotFound { archived: true, .. })), "{archived:?}");
        let write = t.store.write(&admin(), &at, &Write::of("y")).await;
        assert!(matches!(write, Err(StoreError::Archived { .. })), "{write:?}");
        t.store.restore(&admin(), &at, DeleteOptions::default()).await.expect("a restoring");
        assert_eq!(t.store.read(&admin(), &at).await.map(|n| n.content).ok().as_deref(), Some("x"));
        t.sql("UPDATE nodes SET status = 'broken'").await;
        assert!(matches!(t.store.read(&admin(), &at).await, Err(StoreError::Broken { .. })));
        let level = t.store.read_level(&admin(), &at, Level::Content).await;
        assert!(matches!(level, Err(StoreError::Broken { .. })), "{level:?}");
    }

    async fn v6_children_are_direct_sorted_and_paged_implied_folders_too(t: TestStore) {
        for at in ["a", "a-b", "a/x", "a/y/z", "c-d/one", "c/two", "c.rs", "n/1/2/3", "100%_x", "100X_x/y", r"back\slash", "zebra"] {
            let file = at.split('/').try_fold(uri("ctx://acme/resources"), |folder, name| folder.child(name)).expect("a name");
            write(&t, file.as_str(), at).await;
        }
        let root = uri("ctx://acme/resources");
        let all = t.store.list_children(&admin(), &root, &Paging::default()).await.expect("a listing");
        // Names sort as they are written in the URI: `%` before letters, a folder before what its name begins.
        let expected = ["100%_x", "100X_x/", "a", "a-b", r"back\slash", "c/", "c-d/", "c.rs", "n/", "zebra"];
        assert_eq!(names(&all), expected);
        assert_eq!(all.next, None);
        assert!(all.items.iter().find(|e| e.name == "a").is_some_and(|e| e.is_folder && e.node.is_some()));
        assert!(all.items.iter().find(|e| e.name == "c.rs").is_some_and(|e| !e.is_folder));
        for limit in [1, 2, 3] {
            let mut seen = Vec::new();
            let mut paging = Paging::first(limit);
            loop {
                let page = t.store.list_children(&admin(), &root, &paging).await.expect("a page");
                assert!(page.items.len() as u64 <= limit);
                seen.extend(names(&page));
                let Some(next) = page.next else { break };
                paging = Paging::first(limit).after(next);
            }
            assert_eq!(seen, expected, "pages of {limit}");
        }
        let below = t.store.list_children(&admin(), &uri("ctx://acme/resources/a"), &Paging::default()).await.expect("a listing");
        assert_eq!(names(&below), ["x", "y/"], "the folder is not its own child, and grandchildren are not children");
        let wrong = t.store.list_children(&admin(), &root, &Paging::first(1).after("ctx://acme/users/x/memories")).await;
        assert!(matches!(wrong, Err(StoreError::InvalidCursor)), "{wrong:?}");
        let top = t.store.list_children(&admin(), &uri("ctx://acme"), &Paging::default()).await.expect("a listing");
        assert_eq!(names(&top), ["resources/"]);
    }

    /// Trees of all shapes, with names on both sides of the separator in byte order, listed as their URIs say: in one statement each.
    async fn v6_listings_are_what_the_uris_say(t: TestStore) {
        let names = ["a", "a-b", "a.b", "a b", "A", "b", "0", "~", "ü"];
        let mut random = fastrand::Rng::with_seed(6);
        for shape in 0..8 {
            let root = uri(&format!("ctx://acme/resources/s{shape}"));
            let mut stored = std::collections::BTreeSet::new();
            // The first are flat, the others as deep as it comes.
            for _ in 0..random.usize(1..14) {
                let levels = if shape < 3 { 1 } else { random.usize(1..5) };
                let place = (0..levels).try_fold(root.clone(), |at, _| at.child(names[random.usize(..names.len())])).expect("a name");
                if stored.insert(place.clone()) {
                    write(&t, place.as_str(), "text").await;
                }
            }
            // In the order of the tree: by segments.
            let below = |folder: &Uri, depth: usize| {
                let mut all = std::collections::BTreeMap::new();
                for place in stored.iter().filter(|place| place.is_below(folder)) {
                    let mut at = Some(place.clone());
                    while let Some(here) = at.filter(|here| here.is_below(folder)) {
                        let key: Vec<String> = here.as_str().split('/').map(str::to_owned).collect();
                        if here.depth() - folder.depth() <= depth {
                            let folder = stored.iter().any(|other| other.is_below(&here));
                            all.insert(key, (here.to_string(), folder, stored.contains(&here)));
                        }
                        at = here.parent();
                    }
                }
                all.into_values().collect::<Vec<_>>()
            };
            let seen = |page: &Page<context_store::Entry>| -> Vec<(String, bool, bool)> {
                page.items.iter().map(|e| (e.uri.to_string(), e.is_folder, e.node.is_some())).collect()
            };
            let folders: Vec<Uri> = stored.iter().filter_map(Uri::parent).chain([root.clone()]).collect();
            for folder in folders {
                for depth in [Some(1), Some(2), Some(3), None] {
                    let expected = below(&folder, depth.map_or(usize::MAX, |depth| depth as usize));
                    for limit in [100, 2] {
                        let mut found = Vec::new();
                        let mut options = TreeOptions { depth, paging: Paging::first(limit) };
                        loop {
                            let page = t.store.tree(&admin(), &folder, &options).await.expect("a page");
                            found.extend(seen(&page));
                            let Some(next) = page.next else { break };
                            options.paging = Paging::first(limit).after(next);
                        }
                        assert_eq!(found, expected, "{folder} to {depth:?} in pages of {limit}");
                    }
                }
                let recorder = Recorder::new();
                let unit = t.store.read_unit(&admin()).record(&recorder);
                let caller = admin();
                let listed = unit.run(async |s: &mut Session| t.store.within(s, &caller).list_children(&folder, &Paging::default()).await);
                assert_eq!(seen(&listed.await.expect("a listing")), below(&folder, 1));
                assert_eq!(recorder.take().len(), 3, "BEGIN, one statement, COMMIT");
            }
        }
    }

    async fn v6_pages_of_a_folder_of_many_implied_folders(t: TestStore) {
        let writes: Vec<(Uri, Write)> =
            (0..2_000).map(|n| (uri(&format!("ctx://acme/resources/big/f{n:04}/node")), Write::of("x"))).collect();
        for some in writes.chunks(500) {
            t.store.write_many(&admin(), some).await.expect("writes");
        }
        let folder = uri("ctx://acme/resources/big");
        let page = t.store.list_children(&admin(), &folder, &Paging::first(2)).await.expect("a page");
        assert_eq!(names(&page), ["f0000/", "f0001/"]);
        let after = Paging::first(2).after("ctx://acme/resources/big/f1000");
        let page = t.store.list_children(&admin(), &folder, &after).await.expect("a page");
        assert_eq!(names(&page), ["f1001/", "f1002/"]);
    }

    async fn v11_tree_walks_in_order_with_implied_folders_and_pages(t: TestStore) {
        for at in ["r/a", "r/a-b", "r/a/x", "r/c/two", "r/c/d/e", "r/c.rs", "r/x/y/z/deep/er/node"] {
            write(&t, &format!("ctx://acme/resources/{at}"), at).await;
        }
        let root = uri("ctx://acme/resources/r");
        let relative = |page: &Page<context_store::Entry>| -> Vec<String> {
            page.items.iter().map(|e| e.uri.as_str().trim_start_matches("ctx://acme/resources/r/").to_owned()).collect()
        };
        let all = t.store.tree(&admin(), &root, &TreeOptions::default()).await.expect("a tree");
        let expected = ["a", "a/x", "a-b", "c", "c/d", "c/d/e", "c/two", "c.rs", "x", "x/y", "x/y/z", "x/y/z/deep", "x/y/z/deep/er", "x/y/z/deep/er/node"];
        assert_eq!(relative(&all), expected);
        let two = t.store.tree(&admin(), &root, &TreeOptions { depth: Some(2), ..Default::default() }).await.expect("a tree");
        assert_eq!(relative(&two), ["a", "a/x", "a-b", "c", "c/d", "c/two", "c.rs", "x", "x/y"]);
        for depth in [None, Some(2), Some(3), Some(5)] {
            let mut seen = Vec::new();
            let mut options = TreeOptions { depth, paging: Paging::first(2) };
            loop {
                let page = t.store.tree(&admin(), &root, &options).await.expect("a page");
                assert!(page.items.len() <= 2, "implied folders count as well");
                seen.extend(relative(&page));
                let Some(next) = page.next else { break };
                options.paging = Paging::first(2).after(next);
            }
            let whole = t.store.tree(&admin(), &root, &TreeOptions { depth, ..Default::default() }).await.expect("a tree");
            assert_eq!(seen, relative(&whole));
        }
    }

    async fn v11_glob_matches_readable_names(t: TestStore) {
        for at in ["src/lib.rs", "src/a/b.rs", "src/a/b.toml", "src/Zürich.rs", "docs/x.md"] {
            let file = at.split('/').try_fold(uri("ctx://acme/resources"), |folder, name| folder.child(name)).expect("a name");
            write(&t, file.as_str(), at).await;
        }
        let find = async |pattern: &str| -> Vec<String> {
            let page = t.store.glob(&admin(), &format!("ctx://acme/resources/{pattern}"), &Paging::default()).await.expect("a glob");
            page.items.into_iter().map(|e| e.name).collect()
        };
        assert_eq!(find("**/*.rs").await, ["Zürich.rs", "b.rs", "lib.rs"]);
        assert_eq!(find("src/*.rs").await, ["Zürich.rs", "lib.rs"]);
        assert_eq!(find("src/Z?rich.*").await, ["Zürich.rs"]);
        assert_eq!(find("**/*.{md,toml}").await, ["x.md", "b.toml"]);
        assert_eq!(find("src/lib.rs").await, ["lib.rs"]);
        assert_eq!(find("nothing/*").await, Vec::<String>::new());
    }

    async fn v7_move_takes_the_subtree_and_nothing_else(t: TestStore) {
        for at in ["a_b", "a_b/x", "a_b/x/y", "aXb/x", "a_bc", "a_b-c/d", "a%25b/z"] {
            write(&t, &format!("ctx://acme/resources/{at}"), at).await;
        }
        let moved = t.store.move_node(&admin(), &uri("ctx://acme/resources/a_b"), &uri("ctx://acme/resources/new/place")).await.expect("a move");
        assert_eq!(moved.nodes, 3);
        for (at, content) in [("new/place", "a_b"), ("new/place/x/y", "a_b/x/y"), ("aXb/x", "aXb/x"), ("a_bc", "a_bc"), ("a_b-c/d", "a_b-c/d"), ("a%25b/z", "a%25b/z")] {
            let node = t.store.read(&admin(), &uri(&format!("ctx://acme/resources/{at}"))).await.expect(at);
            assert_eq!(node.content, content);
        }
        assert!(matches!(t.store.read(&admin(), &uri("ctx://acme/resources/a_b")).await, Err(StoreError::NotFound { .. })));
        assert_eq!(t.store.read(&admin(), &uri("ctx://acme/resources/new/place/x")).await.map(|n| n.version).ok(), Some(2));
        // A folder without a row of its own moves too.
        let implied = t.store.move_node(&admin(), &uri("ctx://acme/resources/a_b-c"), &uri("ctx://acme/resources/q")).await.expect("a move");
        assert_eq!(implied.nodes, 1);
    }

    async fn v7_moves_that_make_no_sense(t: TestStore) {
        write(&t, "ctx://acme/resources/a/old", "x").await;
        write(&t, "ctx://acme/resources/b", "x").await;
        let mv = async |from: &str, to: &str| t.store.move_node(&admin(), &uri(&format!("ctx://acme/{from}")), &uri(&format!("ctx://acme/{to}"))).await;
        assert!(matches!(mv("resources/a", "resources/a/old/old").await, Err(StoreError::InvalidMove { .. })));
        assert!(matches!(mv("resources/a", "resources/b").await, Err(StoreError::AlreadyExists { .. })));
        assert!(matches!(mv("resources/b", "resources/a").await, Err(StoreError::AlreadyExists { .. })), "an implied folder is there too");
        assert!(matches!(mv("resources/a/old", "resources/a").await, Err(StoreError::AlreadyExists { .. })));
        assert!(matches!(mv("resources/none", "resources/c").await, Err(StoreError::NotFound { .. })));
        assert_eq!(mv("resources/b", "resources/b").await.map(|m| m.nodes).ok(), Some(0));
        assert_eq!(t.store.read(&admin(), &uri("ctx://acme/resources/b")).await.map(|n| n.version).ok(), Some(1), "a no-op");
        assert!(matches!(mv("resources/a", "users/alice/memories/likes/tea").await, Err(StoreError::InvalidMove { .. })), "too deep");
        assert!(matches!(mv("resources", "users/alice").await, Err(StoreError::NotANode { .. })));
        assert!(matches!(mv("resources/b", "users/bob/memories/likes/tea").await, Err(StoreError::Denied { .. })));
    }

    async fn v7_owner_category_and_type_follow_the_uri(t: TestStore) {
        write(&t, "ctx://acme/resources/box", "x").await;
        write(&t, "ctx://acme/resources/box/likes", "x").await;
        write(&t, "ctx://acme/resources/box/likes/tea", "x").await;
        let to = uri("ctx://acme/users/alice/memories");
        t.store.move_node(&admin(), &uri("ctx://acme/resources/box"), &to).await.expect("a move");
        for (at, category) in [("", None), ("/likes", Some("likes")), ("/likes/tea", Some("likes"))] {
            let node = t.store.read(&admin(), &uri(&format!("{to}{at}"))).await.expect(at);
            assert_eq!((node.owner_space.as_str(), node.category.as_deref(), node.node_type.as_str()), ("user:alice", category, "memory"), "{at}");
        }
        t.store.move_node(&admin(), &uri("ctx://acme/users/alice/memories/likes"), &uri("ctx://acme/resources/back")).await.expect("a move");
        let node = t.store.read(&admin(), &uri("ctx://acme/resources/back/tea")).await.expect("a read");
        assert_eq!((node.owner_space.as_str(), node.category, node.node_type.as_str()), ("shared", None, "resource"));
    }

    async fn v7_edges_and_the_index_follow_a_move(t: TestStore) {
        write(&t, "ctx://acme/resources/a/one", "apple").await;
        write(&t, "ctx://acme/resources/a/two", "apple pear").await;
        write(&t, "ctx://acme/resources/a/three", "apple").await;
        t.store.archive(&admin(), &uri("ctx://acme/resources/a/three"), DeleteOptions::default()).await.expect("an archiving");
        let (one, two) = (uri("ctx://acme/resources/a/one"), uri("ctx://acme/resources/a/two"));
        t.store.link(&admin(), &one, &two, &Link::of("next").weighing(0.5)).await.expect("a link");
        // Not drained before the move: what is pending must come out right as well.
        t.store.move_node(&admin(), &uri("ctx://acme/resources/a"), &uri("ctx://acme/resources/b")).await.expect("a move");
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "apple").await, ["ctx://acme/resources/b/one", "ctx://acme/resources/b/two"]);
        let edges = t.store.edges(&admin(), &uri("ctx://acme/resources/b/one"), Direction::Outgoing, &Paging::default()).await.expect("edges");
        assert_eq!(edges.items.iter().map(|e| e.to.to_string()).collect::<Vec<_>>(), ["ctx://acme/resources/b/two"]);
        t.store.move_node(&admin(), &uri("ctx://acme/resources/b/two"), &uri("ctx://acme/users/alice/memories/fruit/pear")).await.expect("a move");
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "pear").await, ["ctx://acme/users/alice/memories/fruit/pear"]);
        assert_eq!(t.count("SELECT count(*) FROM index_records WHERE owner_space = 'user:alice' AND uri LIKE 'ctx://acme/users/%'").await, 1);
        assert_eq!(t.count("SELECT count(*) FROM index_records").await, 2, "no record of the archived node, none of old places");
    }

    async fn v8_delete_archive_restore(t: TestStore) {
        for at in ["a", "a/b", "a/b/c", "ab"] {
            write(&t, &format!("ctx://acme/resources/{at}"), "apple").await;
        }
        let a = uri("ctx://acme/resources/a");
        t.store.link(&admin(), &uri("ctx://acme/resources/ab"), &a, &Link::of("to")).await.expect("a link");
        t.store.drain().await.expect("a drain");
        let refused = t.store.delete(&admin(), &a, DeleteOptions::default()).await;
        assert!(matches!(refused, Err(StoreError::NotEmpty { .. })), "{refused:?}");
        assert_eq!(t.store.archive(&admin(), &a, DEEP).await.map(|r| r.nodes).ok(), Some(3));
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "apple").await, ["ctx://acme/resources/ab"]);
        assert_eq!(t.store.restore(&admin(), &a, DEEP).await.map(|r| r.nodes).ok(), Some(3));
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "apple").await.len(), 4);
        assert_eq!(t.store.delete(&admin(), &a, DEEP).await.map(|r| r.nodes).ok(), Some(3));
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "apple").await, ["ctx://acme/resources/ab"]);
        assert_eq!(t.count("SELECT count(*) FROM edges").await, 0);
        assert_eq!(t.count("SELECT count(*) FROM index_records").await, 1);
        assert!(matches!(t.store.delete(&admin(), &a, DEEP).await, Err(StoreError::NotFound { .. })));
    }

    async fn v13_emptied_text_leaves_the_index(t: TestStore) {
        let at = uri("ctx://acme/resources/a");
        t.store.write(&admin(), &at, &Write::of("banana").with_abstract("fruit")).await.expect("a write");
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "banana").await.len(), 1);
        t.store.write(&admin(), &at, &Write::of("")).await.expect("a write");
        t.store.drain().await.expect("a drain");
        assert_eq!(hits(&t, &admin(), "banana").await.len(), 0);
        assert_eq!(hits(&t, &admin(), "fruit").await.len(), 1);
    }
}

/// An index elsewhere that says how many records it has been given.
#[derive(Default)]
struct Counting(tokio::sync::watch::Sender<usize>);

#[async_trait::async_trait]
impl IndexSink for Counting {
    async fn delete(&self, _gone: &[Gone]) -> Result<Vec<Refused>, Unavailable> {
        Ok(Vec::new())
    }

    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable> {
        self.0.send_modify(|held| *held += records.len());
        Ok(Vec::new())
    }
}

on_each_backend! {
    async fn q6_a_stream_is_woken_by_what_is_copied_to_it(t: TestStore) {
        write(&t, "ctx://acme/resources/a", "one").await;
        let sink = std::sync::Arc::new(Counting::default());
        let mut held = sink.0.subscribe();
        // A process of its own, as far as wake-ups go: another pool, so on PostgreSQL it is told by NOTIFY.
        let elsewhere = match t.owner.backend() {
            sea_orm::DbBackend::Postgres => context_store::Store::connect(&t.url).await.expect("the same store"),
            _ => t.store.clone(),
        };
        let stream = elsewhere.sink_stream("file:somewhere").await.expect("a stream");
        // Nobody looks by himself before the test is long over.
        let dispatcher = stream.dispatcher(sink.clone()).poll(std::time::Duration::from_secs(3_600));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn({
            let dispatcher = dispatcher.clone();
            async move { dispatcher.run(async { drop(stopped.await) }).await }
        });
        let mut wait_for = async |records: usize| {
            let waited = tokio::time::timeout(std::time::Duration::from_secs(60), held.wait_for(|held| *held >= records)).await;
            waited.unwrap_or_else(|_| panic!("{records} record(s) did not arrive")).expect("the sink").to_owned()
        };
        // What is copied reaches it as soon as the store's own stream is delivered, each time.
        for n in 1..=5 {
            t.store.drain().await.expect("a drain");
            assert_eq!(wait_for(n).await, n);
            write(&t, &format!("ctx://acme/resources/n{n}"), "more").await;
        }
        drop(stop);
        assert_eq!(running.await.expect("a report").delivered, 5);
    }
}
