//! Errors as answers: problem details of RFC 9457.

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sea_orm::DbErr;
use sea_session::Error;
use serde_json::{Map, Value};

use crate::kinds::{self, Kind};

/// What a kind is called in the member `type`: a name, which need not be a page.
const TYPE: &str = "urn:sea-session:problem:";

/// When a request that found the database busy may come again.
const SOON: Duration = Duration::from_secs(1);

/// An error as an answer: `application/problem+json` of RFC 9457, with `type`, `title`, `status` and `detail`.
///
/// Is made of an [`Error`] or a [`DbErr`] by `?` in a handler that returns `Result<_, Problem>`. The kind is the last
/// part of `type`, which is `urn:sea-session:problem:` and the kind.
///
/// | Error | Status | Kind |
/// |---|---|---|
/// | [`Error::Stale`] (with `expected` and `found` versions as members), [`Error::UnrepeatableRead`] | 409 | `stale` |
/// | a unique constraint; [`Error::Duplicate`] | 409 | `already-exists` |
/// | [`OrNotFound`]; [`DbErr::RecordNotFound`], [`DbErr::RecordNotUpdated`] | 404 | `not-found` |
/// | a foreign key | 422 | `reference` |
/// | NOT NULL | 422 | `missing-value` |
/// | CHECK | 422 | `check` |
/// | a serialization failure, deadlock, locked file or row, a changed plan (after the retries, where there are any) | 503, `Retry-After: 1` | `busy` |
/// | no connection: lost, refused, or the pool's time is up; [`Error::Unavailable`] | 503, `Retry-After: 1` | `unavailable` |
/// | [`Error::CommitUnknown`] | 500 | `commit-unknown` |
/// | [`Error::AfterCommit`] | 500 | `after-commit` |
/// | everything else | 500 | `internal` |
///
/// Causes count: a refused statement or a block that was rolled back is answered as the first error of its block
/// ([`Error::root`]).
///
/// # What a client is not told
/// The texts are fixed: no table, constraint, statement, value or server is in them. The error itself is in the
/// extensions of the response, for layers outside (`response.extensions().get::<sea_session::Error>()`), and is logged:
/// at `error` for a 5xx, at `debug` otherwise.
///
/// ```
/// use axum::{http::StatusCode, response::IntoResponse};
/// use sea_session::Error;
/// use sea_session_axum::Problem;
///
/// // An error type of the service's own decides what it knows, and leaves the rest to this.
/// enum NoteError {
///     TooLong { longest: usize },
///     Session(Error),
/// }
///
/// impl IntoResponse for NoteError {
///     fn into_response(self) -> axum::response::Response {
///         match self {
///             NoteError::TooLong { longest } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-long", "The title is too long")
///                 .member("longest", longest)
///                 .into_response(),
///             NoteError::Session(error) => Problem::from(error).into_response(),
///         }
///     }
/// }
/// # assert_eq!(NoteError::TooLong { longest: 80 }.into_response().status(), 422);
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    /// Boxed: it is the error of handlers, which must not make every `Result` large.
    answer: Box<Answer>,
}

#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    members: Map<String, Value>,
    cause: Option<Error>,
}

impl fmt::Display for Problem {
    /// For logs: the cause, where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { status, kind, title, cause, .. } = &*self.answer;
        write!(f, "{} {kind}: {title}", status.as_u16())?;
        cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// A problem of the service's own. `kind` is the last part of its `type`: a name for programs, in small letters
    /// with hyphens. `title` says for people what kind of problem it is, always in the same words.
    pub fn new(status: StatusCode, kind: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        let (kind, title) = (kind.into(), title.into());
        let answer = Answer { status, kind, title, detail: None, retry_after: None, members: Map::new(), cause: None };
        Self { answer: Box::new(answer) }
    }

    /// 404: `detail` says what is not there.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of_kind(kinds::NOT_FOUND).detail(detail)
    }

    /// 500, without a word about why.
    pub(crate) fn internal() -> Self {
        Self::of_kind(kinds::INTERNAL)
    }

    fn of_kind(kind: Kind) -> Self {
        let problem = Self::new(kind.status, kind.name, kind.title).detail(kind.detail);
        if kind.status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(SOON) } else { problem }
    }

    /// What it is this time, for people: goes to the client.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.answer.detail = Some(detail.into());
        self
    }

    /// A further member of the answer. `type`, `title`, `status` and `detail` are the problem's own, and stay.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.answer.members.insert(name.into(), value.into());
        self
    }

    /// `Retry-After`, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.answer.retry_after = Some(after);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.answer.status
    }

    /// The last part of its `type`.
    pub fn kind(&self) -> &str {
        &self.answer.kind
    }

    /// The error that it was made of.
    pub fn cause(&self) -> Option<&Error> {
        self.answer.cause.as_ref()
    }

    fn log(&self) {
        let Answer { status, kind, cause, .. } = &*self.answer;
        let (status, kind) = (status.as_u16(), &**kind);
        match cause {
            Some(cause) if status >= 500 => tracing::error!(target: "sea_session_axum", status, kind, "{cause}"),
            Some(cause) => tracing::debug!(target: "sea_session_axum", status, kind, "{cause}"),
            None => {}
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let mut problem = Self::of_kind(kinds::of(&error));
        if let Error::Stale { expected, found, .. } = error.root() {
            let versions = [("expected", *expected), ("found", *found)];
            let known = versions.into_iter().filter_map(|(name, version)| Some((name.to_owned(), version?.into())));
            problem.answer.members.extend(known);
        }
        problem.answer.cause = Some(error);
        problem
    }
}

impl From<DbErr> for Problem {
    fn from(error: DbErr) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let Answer { status, kind, title, detail, retry_after, members: mut body, cause } = *self.answer;
        body.insert("type".into(), format!("{TYPE}{kind}").into());
        body.insert("title".into(), title.into());
        body.insert("status".into(), status.as_u16().into());
        match detail {
            Some(detail) => body.insert("detail".into(), detail.into()),
            None => body.remove("detail"),
        };
        let json = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, json)], Value::from(body).to_string()).into_response();
        if let Some(after) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
        }
        if let Some(cause) = cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// What is not there is 404.
pub trait OrNotFound<T> {
    /// The value, or a [`Problem`] of status 404 whose detail is "`what` was not found".
    ///
    /// # Errors
    /// There is none.
    fn or_not_found(self, what: impl fmt::Display) -> Result<T, Problem>;
}

impl<T> OrNotFound<T> for Option<T> {
    fn or_not_found(self, what: impl fmt::Display) -> Result<T, Problem> {
        self.ok_or_else(|| Problem::not_found(format!("{what} was not found")))
    }
}
