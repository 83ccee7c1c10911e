//! How often a caller may ask, and the numbers of operators.

use context_store::serve::{Callers, Limits};
use serde_json::json;

use crate::{
    asking::{ALICE, App, BOB, OPERATOR, TABLE, at},
    support::TestStore,
};

const TEA: &str = "ctx://acme/users/alice/memories/likes/tea";

#[tokio::test]
async fn who_asks_too_often_waits_and_others_do_not() {
    let limits = Limits::default().rate(1u32.try_into().unwrap(), 3u32.try_into().unwrap());
    let app = App::with(TestStore::sqlite().await, Callers::parse(TABLE).unwrap(), limits);
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(app.get(ALICE, "/api/v1/status").await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).expect("twenty are more than three");
    assert_eq!(refused.kind(), "too-many-requests");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1, "{refused:?}");
    assert!(answers[..3].iter().all(|answer| answer.status == 200), "{answers:?}");
    app.get(BOB, "/api/v1/status").await.is(200);
    // What belongs to nobody is not counted against anybody.
    for _ in 0..20 {
        app.get("", "/health").await.is(200);
    }
}

#[tokio::test]
async fn operators_see_numbers_and_callers_do_not() {
    let app = App::sqlite().await;
    app.put(TEA, json!({ "content": "Green" })).await;
    app.get(ALICE, &at("/api/v1/nodes", TEA)).await.is(200);
    app.get(ALICE, &at("/api/v1/nodes", "ctx://acme/resources/none")).await.is(404);
    app.get(ALICE, "/no/such/place").await.is(404);
    for token in [ALICE, BOB, ""] {
        app.get(token, "/metrics").await.is(401);
    }
    let numbers = app.get(OPERATOR, "/metrics").await.is(200);
    assert!(numbers.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let line = |line: &str| {
        assert!(numbers.text.lines().any(|have| have == line), "{line} in\n{}", numbers.text);
    };
    line("ctx_http_requests_total{method=\"PUT\",route=\"/api/v1/nodes\",status=\"201\"} 1");
    line("ctx_http_requests_total{method=\"GET\",route=\"/api/v1/nodes\",status=\"200\"} 1");
    line("ctx_http_requests_total{method=\"GET\",route=\"/api/v1/nodes\",status=\"404\"} 1");
    line("ctx_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1");
    line("ctx_http_request_duration_seconds_count{route=\"/api/v1/nodes\"} 3");
    line("ctx_http_requests_under_way 1");
    line("ctx_outbox_pending 1");
    line("ctx_outbox_dead 0");
    line("ctx_dispatcher_delivered_total 0");
    assert!(numbers.text.ends_with("# EOF\n"));
    assert!(!numbers.text.contains("tea") && !numbers.text.contains("acme"), "names of callers' are not in it");
    app.test.store.drain().await.unwrap();
    assert!(app.get(OPERATOR, "/metrics").await.text.contains("\nctx_outbox_pending 0\n"));
}

#[tokio::test]
async fn health_says_whether_the_database_answers_and_nothing_else() {
    let app = App::sqlite().await;
    let healthy = app.get("", "/health").await.is(200);
    assert_eq!(healthy.json(), json!({ "status": "ok" }));
    app.test.store.db().close().await.unwrap();
    let ill = app.get("", "/health").await.is(503);
    assert_eq!(
        (ill.kind().as_str(), ill.json()["detail"].as_str().unwrap()),
        ("unavailable", "The database does not answer.")
    );
}
