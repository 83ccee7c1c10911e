//! How a request's unit ends: which answers commit, and what becomes of an answer whose commit failed.

use std::convert::Infallible;

use axum::{
    http::StatusCode,
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};

use crate::{
    problem::Problem,
    request_unit::{Found, RequestUnit},
};

/// How the request's unit is to end, whatever the status of the answer: a part of the answer, which stays on the
/// server.
///
/// Without it an answer of status 2xx or 3xx commits, and every other rolls back (1xx as well: say `Commit` before a
/// connection is upgraded). Where an answer has it twice the later one counts.
///
/// ```
/// use axum::http::StatusCode;
/// use sea_session_axum::{Outcome, Unit};
///
/// // The failed attempt is counted, although the answer is 401.
/// async fn log_in(unit: Unit<'_>) -> (StatusCode, Outcome, &'static str) {
///     (StatusCode::UNAUTHORIZED, Outcome::Commit, "wrong password")
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::post(log_in));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Flush and COMMIT.
    Commit,
    /// ROLLBACK.
    RollBack,
}

impl Outcome {
    /// What an answer says of the unit: by its extension, or else by its status.
    pub(crate) fn of(response: &Response) -> Self {
        let by_status = |status: StatusCode| status.is_success() || status.is_redirection();
        match response.extensions().get::<Self>() {
            Some(said) => *said,
            None if by_status(response.status()) => Self::Commit,
            None => Self::RollBack,
        }
    }
}

impl IntoResponseParts for Outcome {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.extensions_mut().insert(self);
        Ok(response)
    }
}

impl IntoResponse for Outcome {
    /// An answer without a body.
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// Ends the unit as the answer says, before anything of the answer is sent. The answer is another if the commit failed.
///
/// # Cancel safety
/// As `HeldUnit::commit`.
pub(crate) async fn end(request: &RequestUnit, response: Response) -> Response {
    let unit = match request.over() {
        Found::Nothing => return response,
        Found::Unit(unit) => unit,
        Found::Kept => {
            tracing::error!(
                target: "sea_session_axum",
                "the answer is there, and somebody still has the request's unit of work, which is not committed: take it as `Unit<'_>`, \
                 never as `Unit<'static>`"
            );
            return Problem::internal().into_response();
        }
    };
    match Outcome::of(&response) {
        Outcome::RollBack => {
            unit.rollback().await;
            response
        }
        Outcome::Commit => match unit.commit().await {
            Ok(()) => response,
            Err(error) => request.error_response(&error),
        },
    }
}
