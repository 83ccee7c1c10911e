//! MCP by its messages: what an agent's client sends, and what it gets.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use crate::asking::{ALICE, App, BOB, RIVAL, request};

const TEA: &str = "ctx://acme/users/alice/memories/likes/tea";

pub fn message(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

pub fn posted(token: &str, message: Value) -> Request<Body> {
    let mut request = request(token, "POST", "/mcp", Some(message));
    request.headers_mut().insert(header::ACCEPT, "application/json, text/event-stream".parse().unwrap());
    request
}

async fn answer(app: &App, token: &str, method: &str, params: Value) -> Value {
    let answer = app.send(posted(token, message(method, params))).await.is(200);
    assert!(answer.header(header::CONTENT_TYPE).starts_with("application/json"), "{answer:?}");
    answer.json()
}

async fn call(app: &App, token: &str, name: &str, arguments: Value) -> Value {
    answer(app, token, "tools/call", json!({ "name": name, "arguments": arguments })).await
}

#[tokio::test]
async fn a_client_begins_as_the_protocol_says() {
    let app = App::sqlite().await;
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    let answer = answer(&app, ALICE, "initialize", hello).await;
    let result = &answer["result"];
    assert_eq!(
        (&result["protocolVersion"], &result["serverInfo"]["name"]),
        (&"2025-06-18".into(), &"context-store".into())
    );
    assert!(result["capabilities"]["tools"].is_object() && result["instructions"].as_str().unwrap().contains("ctx://"));
    let begun = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    app.send(posted(ALICE, begun)).await.is(202);
    // There is no session, and so no stream to open.
    app.get(ALICE, "/mcp").await.is(405);
}

#[tokio::test]
async fn the_tools_say_what_they_take() {
    let app = App::sqlite().await;
    let listed = answer(&app, ALICE, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["read", "write", "search", "tree"]);
    for tool in tools {
        let schema = &tool["inputSchema"];
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&"object".into(), &false.into()), "{tool}");
        assert!(!tool["description"].as_str().unwrap().is_empty(), "{tool}");
        let properties = schema["properties"].as_object().unwrap();
        assert!(properties.values().all(|property| property["description"].is_string()), "{tool}");
        assert_eq!(tool["annotations"]["readOnlyHint"], tool["name"] != "write", "{tool}");
    }
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["uri"]));
}

#[tokio::test]
async fn an_agent_writes_reads_lists_and_finds() {
    let app = App::sqlite().await;
    let written = call(&app, ALICE, "write", json!({ "uri": TEA, "content": "Green tea", "abstract": "drinks" })).await;
    assert_eq!(written["result"]["structuredContent"]["version"], 1, "{written}");
    let read = call(&app, ALICE, "read", json!({ "uri": TEA })).await;
    assert_eq!(read["result"]["structuredContent"]["content"], "Green tea");
    let text = read["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        read["result"]["structuredContent"],
        "for clients that read text"
    );
    let tree = call(&app, ALICE, "tree", json!({ "uri": "ctx://acme/users/alice/memories", "depth": 2 })).await;
    let items = tree["result"]["structuredContent"]["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|item| item["name"].as_str().unwrap()).collect::<Vec<_>>(), ["likes", "tea"]);
    app.test.store.drain().await.unwrap();
    let found = call(&app, ALICE, "search", json!({ "query": "what tea?", "within": "ctx://acme/users/alice" })).await;
    assert_eq!(found["result"]["structuredContent"]["items"][0]["uri"], TEA, "{found}");
}

#[tokio::test]
async fn what_the_store_refuses_an_agent_reads() {
    let app = App::sqlite().await;
    let missing = call(&app, ALICE, "read", json!({ "uri": TEA })).await;
    assert_eq!(missing["result"]["isError"], true);
    assert_eq!(missing["result"]["content"][0]["text"], format!("not_found: {TEA} does not exist"));
    call(&app, ALICE, "write", json!({ "uri": TEA, "content": "Green" })).await;
    let stale = call(&app, ALICE, "write", json!({ "uri": TEA, "content": "x", "expected_version": 5 })).await;
    assert!(stale["result"]["content"][0]["text"].as_str().unwrap().starts_with("version_conflict: "), "{stale}");
    for token in [BOB, RIVAL] {
        let denied = call(&app, token, "read", json!({ "uri": TEA })).await;
        assert!(denied["result"]["content"][0]["text"].as_str().unwrap().starts_with("denied: "), "{denied}");
    }
}

#[tokio::test]
async fn what_is_no_call_of_a_tool_is_an_error_of_the_protocol() {
    let app = App::sqlite().await;
    for (name, arguments) in [
        ("destroy", json!({})),
        ("read", json!({})),
        ("read", json!({ "uri": "http://acme" })),
        ("read", json!({ "uri": TEA, "more": 1 })),
        ("tree", json!({ "uri": TEA, "depth": -1 })),
    ] {
        let params = json!({ "name": name, "arguments": arguments });
        let refused = app.send(posted(ALICE, message("tools/call", params))).await.json();
        assert_eq!(refused["error"]["code"], -32602, "{name}: {refused}");
    }
    let unknown = app.send(posted(ALICE, message("no/such", json!({})))).await.json();
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
}
