//! Numbers for operators in Prometheus' text (OpenMetrics): requests, and how far the index is behind.
//!
//! They are of all accounts together, so a caller's token does not show them (W7): an operator's does.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use super::{
    Here,
    guard::{bearer, unknown},
    problem::Refusal,
};

/// Upper bounds of the times of answers, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// What is counted.
pub(super) struct Metrics {
    registry: Registry,
    answers: Family<Answered, Counter>,
    times: Family<Route, Histogram, fn() -> Histogram>,
    under_way: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("ctx");
        let answers = Family::default();
        let times = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let under_way = Gauge::default();
        registry.register("http_requests", "Requests that were answered", answers.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time until the head of the answer was there",
            times.clone(),
        );
        registry.register("http_requests_under_way", "Requests that are not answered yet", under_way.clone());
        Self { registry, answers, times, under_way }
    }
}

/// One less, however the request ends.
struct UnderWay(Gauge);

impl UnderWay {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a request under its route: never under its path, of which there are as many as clients make up.
pub(super) async fn count(State(here): State<Here>, request: Request, next: Next) -> Response {
    let metrics = &here.metrics;
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    // What is no method of HTTP is whatever a client makes up.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let under_way = UnderWay::begin(&metrics.under_way);
    let begun = Instant::now();
    let response = next.run(request).await;
    drop(under_way);
    metrics.times.get_or_create(&Route { route: route.clone() }).observe(begun.elapsed().as_secs_f64());
    metrics.answers.get_or_create(&Answered { method, route, status: response.status().as_str().to_owned() }).inc();
    response
}

/// `/metrics`
pub(super) async fn show(State(here): State<Here>, request: Request) -> Result<Response, Refusal> {
    if !here.callers.operates(bearer(request.headers())) {
        return Ok(unknown());
    }
    let outbox = here.store.outbox().metrics().await?;
    let report = here.dispatcher.report();
    let mut now = Registry::with_prefix("ctx");
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    now.register("outbox_pending", "Events that wait for delivery", ConstGauge::new(count(outbox.pending)));
    now.register("outbox_processing", "Events that are claimed", ConstGauge::new(count(outbox.processing)));
    now.register("outbox_dead", "Events that were given up", ConstGauge::new(count(outbox.dead)));
    now.register(
        "outbox_oldest_seconds",
        "Age of the oldest that is not delivered",
        ConstGauge::new(seconds(outbox.oldest)),
    );
    now.register(
        "dispatcher_healthy",
        "1 if it gets on",
        ConstGauge::new(i64::from(here.dispatcher.health().is_healthy())),
    );
    now.register("dispatcher_delivered", "Events delivered", ConstCounter::new(report.delivered));
    now.register("dispatcher_retried", "Failed attempts that were repeated", ConstCounter::new(report.retried));
    now.register("dispatcher_dead", "Events given up", ConstCounter::new(report.dead));
    Ok(written(&here.metrics.registry, &now))
}

fn written(counted: &Registry, now: &Registry) -> Response {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode_registry(&mut text, counted);
    let _ = encode_registry(&mut text, now);
    let _ = encode_eof(&mut text);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
