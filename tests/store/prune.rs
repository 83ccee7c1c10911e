//! Versions are kept until somebody says which to forget (V10).

use std::time::Duration;

use context_store::{Caller, DeleteOptions, Paging, Retention, Role, StoreError, Write};

use crate::{
    on_each_backend,
    support::{TestStore, admin, uri},
};

async fn versions(t: &TestStore, at: &str) -> Vec<i64> {
    let page = t.store.history(&admin(), &uri(at), &Paging::first(1_000)).await.expect("a history");
    page.items.iter().map(|entry| entry.version).collect()
}

on_each_backend! {
    async fn v10_old_versions_are_forgotten_on_request_only(t: TestStore) {
        let (a, b) = ("ctx://acme/resources/x/a", "ctx://acme/resources/y/b");
        for n in 0..6 {
            for at in [a, b] {
                t.store.write(&admin(), &uri(at), &Write::of(n.to_string())).await.expect("a write");
            }
        }
        assert_eq!(versions(&t, a).await, [6, 5, 4, 3, 2, 1]);
        let x = uri("ctx://acme/resources/x");
        let refused = t.store.prune_history(&admin(), &x, Retention::default()).await;
        assert!(matches!(refused, Err(StoreError::InvalidArgument(_))), "{refused:?}");
        let member = t.store.prune_history(&Caller::user("acme", "bob"), &x, Retention { keep: Some(0), age: None }).await;
        assert!(matches!(member, Err(StoreError::Denied { .. })), "{member:?}");
        let young = Retention { keep: Some(1), age: Some(Duration::from_secs(3_600)) };
        assert_eq!(t.store.prune_history(&admin(), &x, young).await.map(|p| p.versions).ok(), Some(0), "what is young stays");
        let pruned = t.store.prune_history(&admin(), &x, Retention { keep: Some(2), age: None }).await.expect("a pruning");
        assert_eq!((pruned.versions, versions(&t, a).await), (3, vec![6, 5, 4]));
        assert_eq!(versions(&t, b).await.len(), 6, "elsewhere nothing is forgotten");
        assert_eq!(t.store.read_version(&admin(), &uri(a), 5).await.map(|v| v.content).ok().as_deref(), Some("4"));
        let gone = t.store.read_version(&admin(), &uri(a), 2).await;
        assert!(matches!(gone, Err(StoreError::NoSuchVersion { version: 2, .. })), "{gone:?}");
    }

    async fn v3_whatever_is_forgotten_no_version_number_comes_twice(t: TestStore) {
        let at = uri("ctx://acme/resources/a");
        for text in ["one", "two", "three"] {
            t.store.write(&admin(), &at, &Write::of(text)).await.expect("a write");
        }
        t.store.move_node(&admin(), &at, &uri("ctx://acme/resources/b")).await.expect("a move");
        t.store.delete(&admin(), &uri("ctx://acme/resources/b"), DeleteOptions::default()).await.expect("a delete");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let all = Retention { keep: Some(0), age: Some(Duration::from_millis(1)) };
        let pruned = t.store.prune_history(&admin(), &uri("ctx://acme/resources"), all).await.expect("a pruning");
        assert_eq!(pruned.versions, 2, "the newest of `a` and that of `b` stay");
        for (place, above) in [("a", 3), ("b", 4)] {
            let at = uri(&format!("ctx://acme/resources/{place}"));
            let written = t.store.write(&admin(), &at, &Write::of("again")).await.expect("a write");
            assert!(written.version > above, "{written:?}");
        }
        t.store.drain().await.expect("a drain");
        let root = Caller::user("acme", "alice").with_role(Role::Root);
        let diagnosis = t.store.doctor(&root, false).await.expect("a diagnosis");
        assert!(diagnosis.is_clean(), "{diagnosis:#?}");
    }
}
