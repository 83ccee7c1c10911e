//! A service over a store of its own, and requests to it.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use context_store::serve::{Callers, Limits, Service};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower::ServiceExt;

use crate::support::TestStore;

/// The tokens of callers, and who they are.
pub const ALICE: &str = "alice-0123456789";
pub const BOB: &str = "bob-0123456789ab";
pub const RIVAL: &str = "rival-0123456789";
pub const OPERATOR: &str = "metrics-01234567";

pub const TABLE: &str = "alice-0123456789 acme user:alice admin\nbob-0123456789ab acme user:bob\n\
     rival-0123456789 rival user:alice root\nmetrics-01234567 operator\n";

/// A service with those callers.
pub struct App {
    pub test: TestStore,
    router: Router,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// The kind of a problem.
    #[track_caller]
    pub fn kind(&self) -> String {
        assert_eq!(self.header(header::CONTENT_TYPE), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        problem["type"].as_str().unwrap().strip_prefix("urn:sea-session:problem:").unwrap().to_owned()
    }
}

impl App {
    pub async fn sqlite() -> Self {
        Self::over(TestStore::sqlite().await)
    }

    pub fn over(test: TestStore) -> Self {
        // Tests ask faster than anybody does.
        let limits = Limits::default().rate(u32::MAX.try_into().unwrap(), u32::MAX.try_into().unwrap());
        Self::with(test, Callers::parse(TABLE).unwrap(), limits)
    }

    pub fn with(test: TestStore, callers: Callers, limits: Limits) -> Self {
        let service = Service::with_limits(test.store.clone(), callers, limits);
        let router = service.router();
        Self { test, router }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request whose answer goes on.
    pub async fn open(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn ask(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send(request(token, method, path, body)).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, "GET", path, None).await
    }

    /// Writes a node as Alice.
    pub async fn put(&self, uri: &str, body: Value) -> Value {
        let answer = self.ask(ALICE, "PUT", &at("/api/v1/nodes", uri), Some(body)).await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer.json()
    }
}

pub fn request(token: &str, method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:7700");
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    match body {
        Some(body) => {
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
        }
        None => request.body(Body::empty()).unwrap(),
    }
}

/// A path with an address in its query.
pub fn at(path: &str, uri: &str) -> String {
    format!("{path}?uri={}", encoded(uri))
}

pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
