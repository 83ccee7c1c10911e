//! Edges (V9) and history (V10), on both backends.

use context_store::{DeleteOptions, Direction, Link, LinkTo, Paging, StoreError, Traverse, Write};

use crate::{
    on_each_backend,
    support::{self, admin, uri},
};

fn node(name: &str) -> context_store::Uri {
    uri(&format!("ctx://acme/resources/{name}"))
}

async fn nodes(t: &support::TestStore, names: &[&str]) {
    let writes: Vec<_> = names.iter().map(|name| (node(name), Write::of(*name))).collect();
    t.store.write_many(&admin(), &writes).await.unwrap_or_else(|e| panic!("{e}"));
}

async fn link(t: &support::TestStore, from: &str, to: &str, weight: f64) {
    t.store
        .link(&admin(), &node(from), &node(to), &Link::of("next").weighing(weight))
        .await
        .unwrap_or_else(|e| panic!("{e}"));
}

on_each_backend! {
    async fn v9_link_upserts_on_from_to_and_type(t: TestStore) {
        nodes(&t, &["a", "b"]).await;
        let first = t.store.link(&admin(), &node("a"), &node("b"), &Link::of("likes").weighing(0.2)).await.expect("a link");
        let again = t.store.link(&admin(), &node("a"), &node("b"), &Link::of("likes").weighing(0.9).because("more")).await.expect("a link");
        assert_eq!(first.id, again.id);
        t.store.link(&admin(), &node("a"), &node("b"), &Link::of("knows")).await.expect("another type");
        let edges = t.store.edges(&admin(), &node("a"), Direction::Outgoing, &Paging::default()).await.expect("edges");
        let seen: Vec<_> = edges.items.iter().map(|e| (e.edge_type.as_str(), e.weight, e.reason.as_str())).collect();
        assert_eq!(seen, [("knows", 1.0, ""), ("likes", 0.9, "more")], "strongest first");
        assert_eq!(t.store.edges(&admin(), &node("b"), Direction::Incoming, &Paging::default()).await.map(|p| p.items.len()).ok(), Some(2));
        assert_eq!(t.store.edges(&admin(), &node("b"), Direction::Outgoing, &Paging::default()).await.map(|p| p.items.len()).ok(), Some(0));
        for weight in [-0.1, 1.1, f64::NAN] {
            let refused = t.store.link(&admin(), &node("a"), &node("b"), &Link::of("x").weighing(weight)).await;
            assert!(matches!(refused, Err(StoreError::InvalidArgument(_))), "{refused:?}");
        }
        assert!(matches!(t.store.link(&admin(), &node("a"), &node("none"), &Link::of("x")).await, Err(StoreError::NotFound { .. })));
        assert_eq!(t.store.unlink(&admin(), &node("a"), &node("b"), Some("likes")).await.ok(), Some(1));
        assert_eq!(t.store.unlink(&admin(), &node("a"), &node("b"), None).await.ok(), Some(1));
        assert!(matches!(t.store.unlink(&admin(), &node("a"), &node("b"), None).await, Err(StoreError::NoSuchEdge { .. })));
    }

    async fn v3_relations_change_only_when_given(t: TestStore) {
        nodes(&t, &["a", "b", "c"]).await;
        link(&t, "a", "b", 1.0).await;
        t.store.write(&admin(), &node("a"), &Write::of("text")).await.expect("a write");
        assert_eq!(t.count("SELECT count(*) FROM edges").await, 1);
        let links = [LinkTo { to: node("c"), link: Link::of("next") }];
        t.store.write(&admin(), &node("a"), &Write::new().with_links(links)).await.expect("a write");
        let edges = t.store.edges(&admin(), &node("a"), Direction::Outgoing, &Paging::default()).await.expect("edges");
        assert_eq!(edges.items.iter().map(|e| e.to.clone()).collect::<Vec<_>>(), [node("c")]);
        t.store.write(&admin(), &node("a"), &Write::new().with_links([])).await.expect("a write");
        assert_eq!(t.count("SELECT count(*) FROM edges").await, 0);
    }

    async fn v9_traverse_by_depth_and_weight_through_cycles(t: TestStore) {
        nodes(&t, &["a", "b", "c", "d", "e"]).await;
        for (from, to, weight) in [("a", "b", 0.5), ("b", "c", 0.5), ("c", "a", 1.0), ("a", "d", 0.9), ("d", "c", 0.9), ("c", "e", 0.1), ("a", "a", 1.0)] {
            link(&t, from, to, weight).await;
        }
        let walk = async |options: Traverse| -> Vec<(String, u32, f64)> {
            let page = t.store.traverse(&admin(), &node("a"), &options).await.expect("a walk");
            page.items.into_iter().map(|n| (n.uri.name().into_owned(), n.depth, (n.score * 1000.0).round() / 1000.0)).collect()
        };
        let named = |found: &[(&str, u32, f64)]| found.iter().map(|(n, d, s)| ((*n).to_owned(), *d, *s)).collect::<Vec<_>>();
        assert_eq!(walk(Traverse { depth: 1, ..Default::default() }).await, named(&[("d", 1, 0.9), ("b", 1, 0.5)]));
        assert_eq!(walk(Traverse { depth: 9, ..Default::default() }).await, named(&[("d", 1, 0.9), ("b", 1, 0.5), ("c", 2, 0.81), ("e", 3, 0.081)]));
        assert_eq!(walk(Traverse { depth: 9, min_weight: 0.6, ..Default::default() }).await, named(&[("d", 1, 0.9), ("c", 2, 0.81)]));
        assert_eq!(walk(Traverse { depth: 1, direction: Direction::Incoming, ..Default::default() }).await, named(&[("c", 1, 1.0)]));
        assert_eq!(walk(Traverse { edge_types: vec!["other".into()], ..Default::default() }).await, []);
        let mut seen = Vec::new();
        let mut options = Traverse { depth: 9, paging: Paging::first(1), ..Default::default() };
        loop {
            let page = t.store.traverse(&admin(), &node("a"), &options).await.expect("a page");
            seen.extend(page.items.iter().map(|n| n.uri.name().into_owned()));
            let Some(next) = page.next else { break };
            options.paging = Paging::first(1).after(next);
        }
        assert_eq!(seen, ["d", "b", "c", "e"]);
        t.store.archive(&admin(), &node("d"), DeleteOptions::default()).await.expect("an archiving");
        assert_eq!(walk(Traverse { depth: 1, ..Default::default() }).await, named(&[("b", 1, 0.5)]), "an archived node is not there");
    }

    async fn v10_what_was_overwritten_can_be_read_and_set_again(t: TestStore) {
        let at = node("a");
        for text in ["one", "two", "three"] {
            t.store.write(&admin(), &at, &Write::of(text).with_abstract(text.to_uppercase())).await.expect("a write");
        }
        t.store.move_node(&admin(), &at, &node("b")).await.expect("a move");
        let at = node("b");
        let history = t.store.history(&admin(), &at, &Paging::default()).await.expect("a history");
        let seen: Vec<_> = history.items.iter().map(|h| (h.version, h.uri.name().into_owned(), h.replaced_by.map(|c| format!("{c:?}")))).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(seen, [(4, "b".into(), None), (3, "a".into(), some("Move")), (2, "a".into(), some("Write")), (1, "a".into(), some("Write"))]);
        let old = t.store.read_version(&admin(), &at, 1).await.expect("an old version");
        assert_eq!((old.content.as_str(), old.r#abstract.as_str(), old.uri), ("one", "ONE", node("a")));
        assert_eq!(t.store.read_version(&admin(), &at, 4).await.map(|v| v.content).ok().as_deref(), Some("three"));
        assert!(matches!(t.store.read_version(&admin(), &at, 9).await, Err(StoreError::NoSuchVersion { version: 9, .. })));
        assert_eq!(t.store.revert(&admin(), &at, 2).await.map(|w| w.version).ok(), Some(5));
        let now = t.store.read(&admin(), &at).await.expect("a read");
        assert_eq!((now.content.as_str(), now.r#abstract.as_str(), now.version), ("two", "TWO", 5));
        t.store.delete(&admin(), &at, DeleteOptions::default()).await.expect("a delete");
        assert_eq!(t.store.read_version(&admin(), &at, 5).await.map(|v| v.content).ok().as_deref(), Some("two"), "also of a deleted node");
        let mut paged = Vec::new();
        let mut paging = Paging::first(1);
        loop {
            let page = t.store.history(&admin(), &at, &paging).await.expect("a page");
            paged.extend(page.items.iter().map(|h| h.version));
            let Some(next) = page.next else { break };
            paging = Paging::first(1).after(next);
        }
        assert_eq!(paged, [5, 4]);
    }
}
