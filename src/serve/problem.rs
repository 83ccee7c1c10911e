//! The store's errors as answers: problem details of RFC 9457, made by [`Problem`].
//!
//! A sentence of the store's is the detail, because it is made for the caller. What the database, a file or a model says
//! stays here: it is logged, and the caller gets [`Problem`]'s fixed text.

use axum::{
    Json,
    body::Body,
    extract::{
        FromRequest, FromRequestParts, Query, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sea_session_axum::Problem;
use serde::de::DeserializeOwned;

use crate::error::StoreError;

/// What a route of the JSON interface answers with.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// What a handler answers instead.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it is, and what there is to say of it.
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) detail: Option<String>,
    problem: Problem,
}

impl Refusal {
    /// A refusal of the service's own.
    pub(super) fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let problem = Problem::new(status, kind, title).detail(detail.clone());
        Self { status, title, detail: Some(detail), problem }
    }

    fn member(mut self, name: &str, value: i64) -> Self {
        self.problem = self.problem.member(name, value);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.problem.into_response()
    }
}

/// What kind of answer an error is: the one table of statuses, kinds and titles.
fn answer(error: &StoreError) -> Option<(StatusCode, &'static str, &'static str)> {
    Some(match error {
        StoreError::InvalidUri(_) => (StatusCode::BAD_REQUEST, "invalid-uri", "Not a context URI"),
        StoreError::NotANode { .. } => (StatusCode::BAD_REQUEST, "not-a-node", "Not a place of nodes"),
        StoreError::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "invalid-argument", "A value is out of its range"),
        StoreError::InvalidCursor => (StatusCode::BAD_REQUEST, "invalid-cursor", "Not a cursor"),
        StoreError::Denied { .. } => (StatusCode::FORBIDDEN, "denied", "Denied"),
        StoreError::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found", "Not found"),
        StoreError::NoSuchVersion { .. } => (StatusCode::NOT_FOUND, "no-such-version", "No such version"),
        StoreError::NoSuchEdge { .. } => (StatusCode::NOT_FOUND, "no-such-edge", "No such edge"),
        StoreError::Broken { .. } => (StatusCode::CONFLICT, "broken", "Damaged"),
        StoreError::Archived { .. } => (StatusCode::CONFLICT, "archived", "Archived"),
        StoreError::AlreadyExists { .. } => (StatusCode::CONFLICT, "already-exists", "Already there"),
        StoreError::VersionConflict { .. } => (StatusCode::CONFLICT, "version-conflict", "Changed by somebody else"),
        StoreError::NotEmpty { .. } => (StatusCode::CONFLICT, "not-empty", "Not empty"),
        StoreError::InvalidMove { .. } => (StatusCode::CONFLICT, "invalid-move", "Cannot be moved so"),
        StoreError::Embedding(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-model", "The model does not answer"),
        _ => return None,
    })
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let Some((status, kind, title)) = answer(&error) else {
            let problem = match error {
                StoreError::Session(error) => Problem::from(error),
                // What is left says something of this machine, and nothing that a caller can do anything about.
                other => Problem::from(sea_session::Error::Usage(other.to_string().into())),
            };
            let (status, title) = (problem.status(), problem.status().canonical_reason().unwrap_or("Error"));
            return Self { status, title, detail: None, problem };
        };
        let detail = match &error {
            StoreError::Embedding(_) => "Search by words alone, or repeat the request later.".to_owned(),
            other => other.text(),
        };
        let refusal = Self::new(status, kind, title, detail);
        match error {
            StoreError::VersionConflict { expected, actual, .. } => {
                refusal.member("expected", expected).member("found", actual)
            }
            _ => refusal,
        }
    }
}

impl From<sea_session::Error> for Refusal {
    fn from(error: sea_session::Error) -> Self {
        StoreError::Session(error).into()
    }
}

/// The values of a query, or a problem that says which is wrong.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(values)) => Ok(Self(values)),
            Err(wrong) => Err(of_query(&wrong)),
        }
    }
}

fn of_query(wrong: &QueryRejection) -> Refusal {
    let text = wrong.body_text();
    let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    Refusal::new(StatusCode::BAD_REQUEST, "invalid-query", "The query cannot be read", why)
}

/// A body in JSON, or a problem that says what is wrong with it.
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned + 'static, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(wrong) => Err(of_body(&wrong)),
        }
    }
}

fn of_body(wrong: &JsonRejection) -> Refusal {
    let (kind, title) = match wrong.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("not-json", "The body is not said to be JSON"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is too long"),
        _ => ("invalid-body", "The body cannot be read"),
    };
    let status = match wrong.status() {
        // What is wrong with a body is told by its kind, not by two statuses.
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    Refusal::new(status, kind, title, wrong.body_text())
}

/// No route has this path.
pub(super) async fn nothing_here() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no-such-place", "Nothing is here", "/openapi.json lists what there is.")
}

/// The path's routes have other methods; the answer says which.
pub(super) async fn wrong_method() -> Refusal {
    let detail = "The header `Allow` lists the methods of this path.";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "Not by this method", detail)
}

/// An error that came about outside of the handlers (a body that is too long for MCP, say) is a problem as well.
pub(super) async fn explained(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let told =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| !kind.as_bytes().starts_with(b"text/plain"));
    if !is_error || told {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    const LONGEST: usize = 1000;
    let text = axum::body::to_bytes(body, LONGEST).await.unwrap_or_default();
    let title = parts.status.canonical_reason().unwrap_or("Error");
    let problem = Problem::new(parts.status, "http", title);
    let problem = match std::str::from_utf8(&text).map(str::trim) {
        Ok(text) if !text.is_empty() => problem.detail(text.to_owned()),
        _ => problem,
    };
    let explained = problem.into_response();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, Body::new(explained.into_body()))
}
