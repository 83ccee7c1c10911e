//! What is refused is a problem of RFC 9457, with the status and the kind that a program can go by.

use axum::{
    body::Body,
    http::{Request, header},
};
use context_store::serve::{Callers, Limits};
use serde_json::{Value, json};

use crate::{
    asking::{ALICE, App, TABLE, at, encoded, request},
    support::TestStore,
};

const TEA: &str = "ctx://acme/users/alice/memories/likes/tea";

#[tokio::test]
async fn each_refusal_of_the_store_has_its_status_and_kind() {
    let app = App::sqlite().await;
    app.put(TEA, json!({ "content": "Green" })).await;
    app.put("ctx://acme/resources/old", json!({ "content": "x" })).await;
    app.put("ctx://acme/resources/f/a", json!({ "content": "x" })).await;
    let old = json!({ "uri": "ctx://acme/resources/old" });
    app.ask(ALICE, "POST", "/api/v1/nodes/archive", Some(old)).await.is(200);
    let nodes = "/api/v1/nodes";
    let write = |body: Value| Some(body);
    let cases: [(&str, String, Option<Value>, u16, &str); 17] = [
        ("GET", at(nodes, "http://acme"), None, 400, "invalid-uri"),
        ("GET", format!("{nodes}?url=x"), None, 400, "invalid-query"),
        ("GET", nodes.to_owned(), None, 400, "invalid-query"),
        ("GET", at(nodes, "ctx://acme/users"), None, 400, "not-a-node"),
        ("GET", at(nodes, "ctx://acme/resources/none"), None, 404, "not-found"),
        ("GET", at(nodes, "ctx://rival/resources/none"), None, 403, "denied"),
        ("GET", format!("{}&version=9", at("/api/v1/nodes/version", TEA)), None, 404, "no-such-version"),
        ("GET", format!("{}&limit=0", at("/api/v1/children", "ctx://acme")), None, 400, "invalid-argument"),
        ("GET", format!("{}&after=x", at("/api/v1/nodes/history", TEA)), None, 400, "invalid-cursor"),
        ("PUT", at(nodes, TEA), write(json!({ "content": "x", "expected_version": 7 })), 409, "version-conflict"),
        ("PUT", at(nodes, TEA), write(json!({ "content": "x", "create_only": true })), 409, "already-exists"),
        ("PUT", at(nodes, "ctx://acme/resources/old"), write(json!({ "content": "x" })), 409, "archived"),
        ("DELETE", at(nodes, "ctx://acme/resources/f"), None, 409, "not-empty"),
        ("PUT", at(nodes, TEA), write(json!({ "contents": "x" })), 400, "invalid-body"),
        ("PUT", at(nodes, TEA), write(json!([])), 400, "invalid-body"),
        (
            "POST",
            "/api/v1/nodes/move".to_owned(),
            write(json!({ "from": "ctx://acme/resources/f", "to": "ctx://acme/resources/f/a/b" })),
            409,
            "invalid-move",
        ),
        ("GET", "/api/v1/glob?pattern=x".to_owned(), None, 400, "invalid-argument"),
    ];
    for (method, path, body, status, kind) in cases {
        let answer = app.ask(ALICE, method, &path, body).await;
        assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (status, kind), "{method} {path}: {answer:?}");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:?}");
    }
    let stale =
        app.ask(ALICE, "PUT", &at(nodes, TEA), Some(json!({ "content": "x", "expected_version": 7 }))).await.json();
    assert_eq!((&stale["expected"], &stale["found"]), (&7.into(), &1.into()));
}

/// Wherever it stands in a request, with the reason and without what a parser of JSON says around it.
#[tokio::test]
async fn an_address_that_is_none_is_refused_as_such() {
    let app = App::sqlite().await;
    let (good, bad) = ("ctx://acme/resources/a", "ctx://acme/resources/..");
    let nodes = "/api/v1/nodes";
    let link = |from: &str, to: &str| Some(json!({ "from": from, "to": to, "edge_type": "about" }));
    let moves = |from: &str, to: &str| Some(json!({ "from": from, "to": to }));
    let place = || Some(json!({ "uri": bad }));
    let edge = |from: &str, to: &str| format!("/api/v1/edges?from={}&to={}", encoded(from), encoded(to));
    let cases = [
        ("GET", at(nodes, bad), None),
        ("GET", at("/api/v1/nodes/stat", bad), None),
        ("GET", at("/api/v1/nodes/history", bad), None),
        ("GET", format!("{}&version=1", at("/api/v1/nodes/version", bad)), None),
        ("GET", at("/api/v1/children", bad), None),
        ("GET", at("/api/v1/tree", bad), None),
        ("GET", at("/api/v1/edges", bad), None),
        ("GET", at("/api/v1/edges/traverse", bad), None),
        ("GET", format!("/api/v1/search?q=tea&in={}", encoded(bad)), None),
        ("DELETE", at(nodes, bad), None),
        ("DELETE", edge(bad, good), None),
        ("DELETE", edge(good, bad), None),
        ("PUT", at(nodes, bad), Some(json!({ "content": "x" }))),
        ("PUT", at(nodes, good), Some(json!({ "links": [{ "to": bad, "edge_type": "about" }] }))),
        ("PUT", "/api/v1/edges".to_owned(), link(bad, good)),
        ("PUT", "/api/v1/edges".to_owned(), link(good, bad)),
        ("POST", at("/api/v1/nodes/append", bad), Some(json!({ "text": "x" }))),
        ("POST", "/api/v1/nodes/move".to_owned(), moves(bad, good)),
        ("POST", "/api/v1/nodes/move".to_owned(), moves(good, bad)),
        ("POST", "/api/v1/nodes/archive".to_owned(), place()),
        ("POST", "/api/v1/nodes/restore".to_owned(), place()),
        ("POST", "/api/v1/nodes/revert".to_owned(), Some(json!({ "uri": bad, "version": 1 }))),
    ];
    for (method, path, body) in cases {
        let answer = app.ask(ALICE, method, &path, body).await.is(400);
        assert_eq!(answer.kind(), "invalid-uri", "{method} {path}: {answer:?}");
        let expected = format!("{bad:?} is not a context URI: `.` and `..` are not allowed as segments");
        assert_eq!(answer.json()["detail"], expected, "{method} {path}");
    }
}

/// As the document says it, `integer`: a number without a fraction, however it is written.
#[tokio::test]
async fn a_version_is_any_whole_number_of_json() {
    let app = App::sqlite().await;
    let nodes = at("/api/v1/nodes", TEA);
    let write = |version: &str| {
        let mut request = request(ALICE, "PUT", &nodes, Some(json!({})));
        *request.body_mut() = Body::from(format!(r#"{{"content":"x","expected_version":{version}}}"#));
        request
    };
    app.put(TEA, json!({ "content": "Green" })).await;
    assert_eq!(app.send(write("1.0")).await.is(200).json()["version"], 2);
    assert_eq!(app.send(write("0.2e1")).await.is(200).json()["version"], 3);
    assert_eq!(app.send(write("null")).await.is(200).json()["version"], 4);
    for none in ["1.5", "9223372036854775808", "9223372036854775808.0", "1e300", "\"4\"", "true"] {
        assert_eq!(app.send(write(none)).await.is(400).kind(), "invalid-body", "{none}");
    }
    let revert = json!({ "uri": TEA, "version": 1.0 });
    let reverted = app.ask(ALICE, "POST", "/api/v1/nodes/revert", Some(revert)).await.is(200).json();
    assert_eq!(reverted["version"], 5);
    let append = json!({ "text": "y", "expected_version": 5.0 });
    app.ask(ALICE, "POST", &at("/api/v1/nodes/append", TEA), Some(append)).await.is(200);
    let moved = json!({ "from": TEA, "to": "ctx://acme/users/alice/memories/likes/chai", "expected_version": 6.0 });
    app.ask(ALICE, "POST", "/api/v1/nodes/move", Some(moved)).await.is(200);
}

#[tokio::test]
async fn what_is_no_request_of_the_interface_is_a_problem_too() {
    let app = App::sqlite().await;
    assert_eq!(app.get(ALICE, "/api/v1/nothing").await.is(404).kind(), "no-such-place");
    let wrong = app.ask(ALICE, "DELETE", "/api/v1/status", None).await.is(405);
    assert_eq!((wrong.kind().as_str(), wrong.header(header::ALLOW)), ("wrong-method", "GET,HEAD"));
    let plain = |body: &'static str, kind: &str| {
        let mut request: Request<Body> = request(ALICE, "PUT", &at("/api/v1/nodes", TEA), None);
        request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        *request.body_mut() = Body::from(body);
        request
    };
    assert_eq!(app.send(plain("{}", "text/plain")).await.is(415).kind(), "not-json");
    assert_eq!(app.send(plain("{", "application/json")).await.is(400).kind(), "invalid-body");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let limits = Limits::default().body(1000);
    let app = App::with(TestStore::sqlite().await, Callers::parse(TABLE).unwrap(), limits);
    let long = json!({ "content": "x".repeat(1000) });
    assert_eq!(app.ask(ALICE, "PUT", &at("/api/v1/nodes", TEA), Some(long.clone())).await.is(413).kind(), "too-large");
    let mut to_agents = request(ALICE, "POST", "/mcp", Some(long));
    to_agents.headers_mut().insert(header::ACCEPT, "application/json, text/event-stream".parse().unwrap());
    app.send(to_agents).await.is(413).kind();
    app.ask(ALICE, "PUT", &at("/api/v1/nodes", TEA), Some(json!({ "content": "x".repeat(900) }))).await.is(201);
}

#[tokio::test]
async fn nothing_of_a_fault_is_told_to_the_caller() {
    let app = App::sqlite().await;
    app.put(TEA, json!({ "content": "Green" })).await;
    app.test.sql("ALTER TABLE nodes RENAME TO secret_nodes").await;
    let answer = app.get(ALICE, &at("/api/v1/nodes", TEA)).await.is(500);
    assert_eq!(answer.kind(), "internal");
    assert!(!answer.text.contains("nodes") && !answer.text.contains("SELECT"), "{answer:?}");
    let page = app.get(ALICE, &at("/browse", TEA)).await.is(500);
    assert!(page.text.contains("Internal Server Error") && !page.text.contains("no such table"), "{page:?}");
    let call = crate::agents::message("tools/call", json!({ "name": "read", "arguments": { "uri": TEA } }));
    let told = app.send(crate::agents::posted(ALICE, call)).await.is(200);
    assert!(told.text.contains("the store cannot do this now") && !told.text.contains("no such table"), "{told:?}");
}
