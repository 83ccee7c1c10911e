//! Who may ask: by token, by a cookie for pages, without either on this machine only; and tenants are held apart.

use axum::{
    body::Body,
    http::{Request, header},
};
use context_store::{
    Caller,
    serve::{Callers, Limits},
};
use serde_json::json;

use crate::{
    asking::{ALICE, App, BOB, OPERATOR, RIVAL, at, request},
    support::TestStore,
};

const TEA: &str = "ctx://acme/users/alice/memories/likes/tea";

#[tokio::test]
async fn without_a_token_that_is_known_nothing_is_answered() {
    let app = App::sqlite().await;
    for token in ["", "nobody-0123456789", "alice-012345678", OPERATOR] {
        for (method, path) in
            [("GET", at("/api/v1/nodes", TEA)), ("PUT", at("/api/v1/nodes", TEA)), ("POST", "/mcp".to_owned())]
        {
            let answer = app.ask(token, method, &path, Some(json!({}))).await.is(401);
            assert_eq!((answer.kind().as_str(), answer.header(header::WWW_AUTHENTICATE)), ("unknown-caller", "Bearer"));
        }
    }
    app.get("", "/health").await.is(200);
    app.get("", "/openapi.json").await.is(200);
}

#[tokio::test]
async fn tenants_and_owners_are_held_apart() {
    let app = App::sqlite().await;
    app.put(TEA, json!({ "content": "Green tea" })).await;
    app.put("ctx://acme/resources/handbook", json!({ "content": "tea for everybody" })).await;
    app.test.store.drain().await.unwrap();

    // Another of the account: its own space and the resources.
    assert_eq!(app.get(BOB, &at("/api/v1/nodes", TEA)).await.is(403).kind(), "denied");
    assert_eq!(
        app.ask(BOB, "PUT", &at("/api/v1/nodes", TEA), Some(json!({ "content": "x" }))).await.is(403).kind(),
        "denied"
    );
    app.get(BOB, &at("/api/v1/nodes", "ctx://acme/resources/handbook")).await.is(200);
    let resources = at("/api/v1/nodes", "ctx://acme/resources/handbook");
    app.ask(BOB, "PUT", &resources, Some(json!({ "content": "x" }))).await.is(403);
    let found = app.get(BOB, "/api/v1/search?q=tea").await.is(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);

    // Another tenant, who is ROOT there: nothing.
    for path in [at("/api/v1/nodes", TEA), at("/api/v1/children", "ctx://acme/resources"), at("/browse", TEA)] {
        app.get(RIVAL, &path).await.is(403);
    }
    assert_eq!(app.get(RIVAL, "/api/v1/search?q=tea").await.is(200).json()["items"], json!([]));
    let status = app.get(RIVAL, "/api/v1/status").await.is(200).json();
    assert!(status.as_object().unwrap().values().all(|number| *number == 0), "{status}");
    assert_eq!(app.get(ALICE, "/api/v1/search?q=tea").await.json()["items"].as_array().unwrap().len(), 2);
}

fn with_cookie(method: &str, path: &str, cookie: &str) -> Request<Body> {
    let mut request = request("", method, path, None);
    request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    request
}

fn sign_in(token: &str) -> Request<Body> {
    let mut request = request("", "POST", "/sign-in", None);
    request.headers_mut().insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
    *request.body_mut() = Body::from(format!("token={token}"));
    request
}

#[tokio::test]
async fn pages_are_read_with_a_cookie_and_the_interface_is_not() {
    let app = App::sqlite().await;
    app.put(TEA, json!({ "content": "Green" })).await;
    let asked = app.get("", &at("/browse", TEA)).await.is(401);
    assert!(asked.text.contains("<form") && asked.text.contains("name=\"token\""), "{asked:?}");
    assert!(app.send(sign_in("wrong-0123456789")).await.is(401).headers.get(header::SET_COOKIE).is_none());

    let signed_in = app.send(sign_in(ALICE)).await.is(303);
    let cookie = signed_in.header(header::SET_COOKIE).to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let page = app.send(with_cookie("GET", &at("/browse", TEA), cookie)).await.is(200);
    assert!(page.text.contains("Green") && page.text.contains("Sign out"), "{page:?}");

    // What changes something is not taken from a browser that has been somewhere else.
    app.send(with_cookie("GET", &at("/api/v1/nodes", TEA), cookie)).await.is(401);
    app.send(with_cookie("DELETE", &at("/api/v1/nodes", TEA), cookie)).await.is(401);
    app.send(with_cookie("POST", "/mcp", cookie)).await.is(401);
    let out = app.send(with_cookie("POST", "/sign-out", cookie)).await.is(303);
    assert!(
        out.header(header::SET_COOKIE).starts_with("ctx_token=; ")
            && out.header(header::SET_COOKIE).contains("Max-Age=0")
    );
    app.send(with_cookie("GET", "/browse", "ctx_token=")).await.is(401);
}

#[tokio::test]
async fn without_tokens_only_names_of_this_machine_are_answered() {
    let everybody = Callers::everybody(Caller::user("acme", "alice"));
    let app = App::with(TestStore::sqlite().await, everybody, Limits::default());
    app.ask("", "PUT", &at("/api/v1/nodes", TEA), Some(json!({ "content": "Green" }))).await.is(201);
    for (host, status) in
        [("127.0.0.1:7700", 200), ("[::1]:7700", 200), ("LOCALHOST", 200), ("evil.example:7700", 421), ("", 421)]
    {
        let mut request = request("", "GET", &at("/api/v1/nodes", TEA), None);
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        app.send(request).await.is(status);
    }
    let mut nameless = request("", "GET", &at("/api/v1/nodes", TEA), None);
    nameless.headers_mut().remove(header::HOST);
    assert_eq!(app.send(nameless).await.is(421).kind(), "wrong-host");
}

#[tokio::test]
async fn a_change_is_not_taken_from_a_page_of_another_origin() {
    let everybody = Callers::everybody(Caller::user("acme", "alice"));
    let app = App::with(TestStore::sqlite().await, everybody, Limits::default());
    for (origin, status) in
        [("http://evil.example", 403), ("null", 403), ("http://localhost:1234", 403), ("http://localhost:7700", 201)]
    {
        let mut request = request("", "PUT", &at("/api/v1/nodes", TEA), Some(json!({ "content": "Green" })));
        request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        app.send(request).await.is(status);
    }
}
