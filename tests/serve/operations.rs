//! The interface does what the store does, on each backend.

use serde_json::{Value, json};

use crate::{
    asking::{ALICE, App, at, encoded},
    on_each_backend,
};

const TEA: &str = "ctx://acme/users/alice/memories/likes/tea";
const JAZZ: &str = "ctx://acme/users/alice/memories/likes/jazz";

/// One field of each item.
fn all<'v>(page: &'v Value, field: &str) -> Vec<&'v str> {
    page["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

on_each_backend! {
    async fn a_node_is_written_read_appended_to_and_its_history_kept(store: TestStore) {
        let app = App::over(store);
        let node = at("/api/v1/nodes", TEA);
        let body = json!({ "content": "Green.", "abstract": "tea", "metadata": { "n": 0.1 } });
        let created = app.ask(ALICE, "PUT", &node, Some(body)).await.is(201).json();
        assert_eq!((&created["version"], &created["created"], &created["uri"]), (&1.into(), &true.into(), &TEA.into()));
        let updated = app.ask(ALICE, "PUT", &node, Some(json!({ "content": "Black.", "expected_version": 1 }))).await.is(200).json();
        assert_eq!((&updated["version"], &updated["created"]), (&2.into(), &false.into()));
        app.ask(ALICE, "POST", &at("/api/v1/nodes/append", TEA), Some(json!({ "text": " No sugar.", "expected_version": 2 }))).await.is(200);

        let read = app.get(ALICE, &node).await.is(200).json();
        assert_eq!((&read["content"], &read["abstract"], &read["metadata"]["n"]), (&"Black. No sugar.".into(), &"tea".into(), &0.1.into()));
        let stat = app.get(ALICE, &at("/api/v1/nodes/stat", TEA)).await.is(200).json();
        assert_eq!((&stat["version"], &stat["content_bytes"], &stat["status"]), (&3.into(), &16.into(), &"active".into()));

        let history = app.get(ALICE, &at("/api/v1/nodes/history", TEA)).await.is(200).json();
        let versions: Vec<i64> = history["items"].as_array().unwrap().iter().map(|one| one["version"].as_i64().unwrap()).collect();
        assert_eq!(versions, [3, 2, 1]);
        let first = app.get(ALICE, &format!("{}&limit=1", at("/api/v1/nodes/history", TEA))).await.json();
        let next = format!("{}&limit=1&after={}", at("/api/v1/nodes/history", TEA), first["next"].as_str().unwrap());
        assert_eq!(app.get(ALICE, &next).await.json()["items"][0]["version"], 2);
        let old = app.get(ALICE, &format!("{}&version=1", at("/api/v1/nodes/version", TEA))).await.is(200).json();
        assert_eq!(old["content"], "Green.");
        let reverted = app.ask(ALICE, "POST", "/api/v1/nodes/revert", Some(json!({ "uri": TEA, "version": 1 }))).await.is(200).json();
        assert_eq!(reverted["version"], 4);
        assert_eq!(app.get(ALICE, &node).await.json()["content"], "Green.");
    }

    async fn a_node_moves_is_archived_restored_and_deleted(store: TestStore) {
        let app = App::over(store);
        app.put("ctx://acme/resources/a/b", json!({ "content": "x" })).await;
        let moved = json!({ "from": "ctx://acme/resources/a", "to": "ctx://acme/resources/c" });
        let moved = app.ask(ALICE, "POST", "/api/v1/nodes/move", Some(moved)).await.is(200).json();
        assert_eq!((&moved["nodes"], &moved["to"]), (&1.into(), &"ctx://acme/resources/c".into()));
        let there = at("/api/v1/nodes", "ctx://acme/resources/c/b");
        app.get(ALICE, &there).await.is(200);
        let stale = json!({ "from": "ctx://acme/resources/c/b", "to": "ctx://acme/resources/d", "expected_version": 1 });
        assert_eq!(app.ask(ALICE, "POST", "/api/v1/nodes/move", Some(stale)).await.is(409).kind(), "version-conflict");
        let place = json!({ "uri": "ctx://acme/resources/c", "recursive": true });
        app.ask(ALICE, "POST", "/api/v1/nodes/archive", Some(place.clone())).await.is(200);
        app.get(ALICE, &there).await.is(404);
        assert_eq!(app.get(ALICE, &at("/api/v1/nodes/stat", "ctx://acme/resources/c/b")).await.json()["status"], "archived");
        app.ask(ALICE, "POST", "/api/v1/nodes/restore", Some(place)).await.is(200);
        app.get(ALICE, &there).await.is(200);
        let folder = at("/api/v1/nodes", "ctx://acme/resources/c");
        assert_eq!(app.ask(ALICE, "DELETE", &folder, None).await.is(409).kind(), "not-empty");
        assert_eq!(app.ask(ALICE, "DELETE", &format!("{folder}&recursive=true"), None).await.is(200).json()["nodes"], 1);
        app.get(ALICE, &there).await.is(404);
    }

    async fn edges_are_made_listed_walked_and_removed(store: TestStore) {
        let app = App::over(store);
        app.put(JAZZ, json!({ "content": "Coltrane" })).await;
        let links = json!([{ "to": JAZZ, "edge_type": "goes with", "weight": 0.5, "reason": "evenings" }]);
        app.put(TEA, json!({ "content": "Green", "links": links })).await;
        let edges = app.get(ALICE, &at("/api/v1/edges", TEA)).await.is(200).json();
        let edge = &edges["items"][0];
        assert_eq!((&edge["to"], &edge["weight"], &edge["reason"]), (&JAZZ.into(), &0.5.into(), &"evenings".into()));
        assert_eq!(app.get(ALICE, &format!("{}&direction=in", at("/api/v1/edges", TEA))).await.json()["items"], json!([]));
        let again = json!({ "from": TEA, "to": JAZZ, "edge_type": "goes with" });
        assert_eq!(app.ask(ALICE, "PUT", "/api/v1/edges", Some(again)).await.is(200).json()["weight"], 1.0);
        let walked = app.get(ALICE, &format!("{}&direction=in&depth=1", at("/api/v1/edges/traverse", JAZZ))).await.is(200).json();
        assert_eq!(all(&walked, "uri"), [TEA]);
        let gone = format!("/api/v1/edges?from={}&to={}", encoded(TEA), encoded(JAZZ));
        assert_eq!(app.ask(ALICE, "DELETE", &gone, None).await.is(200).json()["removed"], 1);
        assert_eq!(app.ask(ALICE, "DELETE", &gone, None).await.is(404).kind(), "no-such-edge");
    }

    async fn what_is_there_is_listed_and_found(store: TestStore) {
        let app = App::over(store);
        for (name, text) in [("docs/a.md", "apples"), ("docs/b.md", "pears"), ("docs/deep/c.txt", "apples and plums")] {
            app.put(&format!("ctx://acme/resources/{name}"), json!({ "content": text })).await;
        }
        let docs = "ctx://acme/resources/docs";
        let children = app.get(ALICE, &at("/api/v1/children", docs)).await.is(200).json();
        assert_eq!(all(&children, "name"), ["a.md", "b.md", "deep"]);
        let page = app.get(ALICE, &format!("{}&limit=2", at("/api/v1/children", docs))).await.json();
        let rest = format!("{}&limit=2&after={}", at("/api/v1/children", docs), encoded(page["next"].as_str().unwrap()));
        assert_eq!(all(&app.get(ALICE, &rest).await.json(), "name"), ["deep"]);
        let tree = app.get(ALICE, &at("/api/v1/tree", docs)).await.is(200).json();
        assert_eq!(all(&tree, "name"), ["a.md", "b.md", "deep", "c.txt"]);
        assert_eq!(all(&app.get(ALICE, &format!("{}&depth=1", at("/api/v1/tree", docs))).await.json(), "name").len(), 3);
        let glob = format!("/api/v1/glob?pattern={}", encoded("ctx://acme/resources/**/*.md"));
        assert_eq!(all(&app.get(ALICE, &glob).await.is(200).json(), "name"), ["a.md", "b.md"]);
        assert_eq!(app.get(ALICE, "/api/v1/search?q=apple").await.is(200).json()["items"], json!([]), "not delivered yet");
        let status = app.get(ALICE, "/api/v1/status").await.is(200).json();
        assert_eq!((&status["active"], &status["pending"]), (&3.into(), &3.into()));
        app.test.store.drain().await.unwrap();
        let found = app.get(ALICE, "/api/v1/search?q=apple").await.is(200).json();
        assert_eq!(all(&found, "uri").len(), 2);
        let below = format!("/api/v1/search?q=apple&in={}&limit=1", encoded("ctx://acme/resources/docs/deep"));
        assert_eq!(all(&app.get(ALICE, &below).await.json(), "uri"), ["ctx://acme/resources/docs/deep/c.txt"]);
        assert_eq!(app.get(ALICE, "/api/v1/search?q=apple&type=memory").await.json()["items"], json!([]));
        assert_eq!(app.get(ALICE, "/api/v1/search?q=apple&until=2020-01-01T00:00:00Z").await.json()["items"], json!([]));
    }
}

/// Two who create the same node at once: both are answered, the second has updated what the first made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_meet_are_repeated_and_none_is_lost() {
    let app = App::sqlite().await;
    let node = at("/api/v1/nodes/append", TEA);
    let ask = |n: usize| app.ask(ALICE, "POST", &node, Some(json!({ "text": format!("{n};") })));
    let answers = futures_util::future::join_all((0..8).map(ask)).await;
    assert!(answers.iter().all(|answer| answer.status.is_success()), "{answers:?}");
    let read = app.get(ALICE, &at("/api/v1/nodes", TEA)).await.is(200).json();
    let mut parts: Vec<&str> = read["content"].as_str().unwrap().split_terminator(';').collect();
    parts.sort_unstable();
    assert_eq!(parts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(read["version"], 8);
}
