//! The OpenAPI document describes the routes that there are, all of them and no others, and holds together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use context_store::{Uri, UriReason};
use regex::Regex;
use serde_json::Value;

use crate::asking::{ALICE, App};

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

async fn document(app: &App) -> Value {
    app.get("", "/openapi.json").await.is(200).json()
}

fn operations(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| {
        item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())).cloned().collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The routes as the sources add them.
fn routes() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for file in ["api.rs", "listing.rs"] {
        let text = fs::read_to_string(format!("{}/src/serve/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for route in text.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').unwrap();
            let line = rest.lines().next().unwrap();
            let methods = METHODS
                .iter()
                .filter(|method| line.contains(&format!(" {method}(")) || line.contains(&format!(").{method}(")));
            found.insert(path.to_owned(), methods.map(|method| (*method).to_owned()).collect::<BTreeSet<_>>());
        }
    }
    found
}

#[tokio::test]
async fn every_route_of_the_interface_is_described_and_no_other() {
    let app = App::sqlite().await;
    let described = operations(&document(&app).await);
    assert_eq!(described, routes());
    assert!(described.len() >= 15, "{described:?}");
    // The router answers just these methods.
    for (path, methods) in &described {
        for method in METHODS {
            let status = app.ask(ALICE, &method.to_uppercase(), path, None).await.status.as_u16();
            assert_eq!(status != 405, methods.contains(method), "{method} {path}: {status}");
        }
    }
}

fn references<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_holds_together() {
    let app = App::sqlite().await;
    let document = document(&app).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > 50, "{}", all.len());
    for reference in all {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "two operations are called {name}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            for status in ["400", "401", "403", "404", "429", "500", "503"] {
                let content = &responses[status]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(content, "#/components/schemas/Problem", "{method} {path} {status}");
            }
            for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
                assert!(
                    parameter["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{method} {path} {parameter}"
                );
            }
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}

/// What is answered has the members that are described, and no others.
#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let app = App::sqlite().await;
    let document = document(&app).await;
    let uri = "ctx://acme/resources/a";
    app.put(uri, serde_json::json!({ "content": "x" })).await;
    app.put("ctx://acme/resources/b", serde_json::json!({ "links": [{ "to": uri, "edge_type": "about" }] })).await;
    app.test.store.drain().await.unwrap();
    let at = |path: &str| crate::asking::at(path, uri);
    for (path, asked) in [
        ("/api/v1/nodes", at("/api/v1/nodes")),
        ("/api/v1/nodes/stat", at("/api/v1/nodes/stat")),
        ("/api/v1/nodes/history", at("/api/v1/nodes/history")),
        ("/api/v1/nodes/version", format!("{}&version=1", at("/api/v1/nodes/version"))),
        ("/api/v1/edges", at("/api/v1/edges")),
        ("/api/v1/edges/traverse", format!("{}&direction=in", at("/api/v1/edges/traverse"))),
        ("/api/v1/tree", crate::asking::at("/api/v1/tree", "ctx://acme")),
        ("/api/v1/search", "/api/v1/search?q=x".to_owned()),
        ("/api/v1/status", "/api/v1/status".to_owned()),
    ] {
        let answer = app.get(ALICE, &asked).await.is(200).json();
        let schema = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        matches(&document, schema, &answer, path);
    }
}

fn matches(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return matches(document, document.pointer(reference.strip_prefix('#').unwrap()).unwrap(), value, place);
    }
    if let Some(several) = schema["oneOf"].as_array() {
        let of_value = several.iter().find(|one| (one["type"] == "null") == value.is_null());
        return matches(
            document,
            of_value.unwrap_or_else(|| panic!("{place}: {value} is not described")),
            value,
            place,
        );
    }
    if let (Some(items), Some(described)) = (value.as_array(), schema.get("items")) {
        assert!(!items.is_empty(), "{place}: nothing to compare");
        items.iter().for_each(|item| matches(document, described, item, place));
    }
    let Some(described) = schema["properties"].as_object() else { return };
    let members = value.as_object().unwrap_or_else(|| panic!("{place}: {value} is no object"));
    let (names, given): (BTreeSet<_>, BTreeSet<_>) = (described.keys().collect(), members.keys().collect());
    assert_eq!(names, given, "{place}");
    for (name, schema) in described {
        matches(document, schema, &members[name], &format!("{place}.{name}"));
    }
}

/// Each combination of a few names, to the depth of the scheme, and what both the pattern and the store say of it. Where the
/// pattern alone takes one, it is for a reason that the pattern leaves to the store.
#[tokio::test]
async fn the_described_addresses_are_those_that_are_taken() {
    const NAMES: [&str; 17] = [
        "users",
        "agents",
        "sessions",
        "resources",
        "memories",
        "skills",
        "history",
        "state",
        "state.json",
        "profile",
        "a",
        "\u{fc} x",
        "%c3%bc",
        "",
        "..",
        "a\u{85}",
        "a?b",
    ];
    const ODD: [&str; 6] = ["%4", "%ff", "%2F", "a\n", "#", "\u{2028}"];
    let app = App::sqlite().await;
    let document = document(&app).await;
    let pattern = document["components"]["schemas"]["Uri"]["pattern"].as_str().unwrap();
    let pattern = Regex::new(pattern).unwrap();
    let mut addresses = vec![String::new(), "ctx:/a".to_owned(), "http://a".to_owned()];
    let mut longest = vec!["ctx:/".to_owned()];
    for _ in 0..6 {
        let longer = |address: &String| {
            let names = NAMES.iter().chain(&ODD);
            names.map(|name| format!("{address}/{name}")).collect::<Vec<_>>()
        };
        let next: Vec<String> = longest.iter().flat_map(longer).collect();
        addresses.extend(next.iter().cloned());
        addresses.extend(next.iter().map(|address| address.replacen("ctx", "CtX", 1) + "/"));
        // What is refused stays so, whatever follows; one account is enough.
        let goes_on = |address: &String| Uri::parse(address).is_ok() && format!("{address}/").starts_with("ctx://a/");
        longest = next.into_iter().filter(goes_on).collect();
    }
    let (mut taken, mut refused, mut left) = (0, 0, 0);
    for address in &addresses {
        match (Uri::parse(address), pattern.is_match(address)) {
            (Ok(_), true) => taken += 1,
            (Err(_), false) => refused += 1,
            (Err(error), true) => {
                let is_left = match error.reason {
                    UriReason::DotSegment | UriReason::NotUtf8 | UriReason::EncodedSlash => true,
                    UriReason::Form(_) => address.contains("/memories/profile/"),
                    _ => false,
                };
                assert!(is_left, "{address:?} is described, and refused: {error}");
                left += 1;
            }
            (Ok(_), false) => panic!("{address:?} is taken, and not described"),
        }
    }
    assert!(
        taken > 1_000 && refused > 10_000 && left > 100,
        "{taken} taken, {refused} refused, {left} left to the store"
    );
}
