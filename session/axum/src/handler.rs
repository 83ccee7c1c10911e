//! Handlers that are functions of a session: in the request's unit, called once, or in a unit of their own that is
//! retried.

use std::{future::Future, pin::Pin};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    handler::Handler,
    response::{IntoResponse, Response},
};
use sea_session::{Error, Retry, Session};

use crate::{end::Outcome, function::SessionFunction, request_unit::RequestUnit};

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A handler from a function of the session, which runs in the request's unit: what [`Unit`](crate::Unit) does for
/// handlers that take it as an argument. The session is lent to the function, so nothing of it can be kept at all.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use axum::{Router, extract::Path, routing::put};
/// use sea_session_axum::{OrNotFound, Problem, UnitLayer, in_unit};
///
/// /// Is called in a unit of a test, of a job, or of another function just as well.
/// async fn rename(s: &mut Session, Path(id): Path<i64>, title: String) -> Result<(), Problem> {
///     let note = s.get::<note::Entity>(id).await?.or_not_found("the note")?;
///     note.set_title(title);
///     Ok(())
/// }
///
/// let app: Router = Router::new().route("/notes/{id}", put(in_unit(rename))).layer(UnitLayer::new(db));
/// # Ok(())
/// # }
/// ```
///
/// The unit is opened before the arguments are made: arguments that use it, such as a user who is looked up, get the
/// same one.
pub fn in_unit<F>(function: F) -> InUnit<F> {
    InUnit { function }
}

/// A handler from a function of the session, in a unit of its own that is run again when the database says that it lost
/// against a concurrent one (R).
///
/// A handler that takes [`Unit`](crate::Unit) cannot be: axum calls it by value, with arguments that were made of the
/// request, which is then gone. Only the layer could repeat it, by sending the request once more through everything
/// inside, side effects of other layers included. A function of the session can: the request's body is read once and
/// kept, and for each attempt the arguments are made anew and the function is called with a fresh session. What an
/// argument does while it is made is repeated as well.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use axum::{Router, extract::Path, routing::post};
/// use sea_session_axum::{OrNotFound, Problem, UnitLayer, retrying};
///
/// async fn star(s: &mut Session, Path(id): Path<i64>) -> Result<String, Problem> {
///     let note = s.get::<note::Entity>(id).await?.or_not_found("the note")?;
///     note.set_stars(note.stars() + 1);
///     Ok(note.stars().to_string())
/// }
///
/// let app: Router = Router::new().route("/notes/{id}/stars", post(retrying(5, star))).layer(UnitLayer::new(db));
/// # Ok(())
/// # }
/// ```
///
/// The body is held in memory, up to axum's `DefaultBodyLimit`, whether an argument takes it or not. The unit has the
/// options of the layer, and commits and rolls back by the answer's status as others do; an attempt's answer is dropped
/// with it. The route has opted out of the request's unit, as by [`NonAtomic`](crate::NonAtomic), because arguments
/// that had used it would have made changes which are not repeated.
pub fn retrying<F>(retry: impl Into<Retry>, function: F) -> Retrying<F> {
    Retrying { retry: retry.into(), function }
}

/// See [`in_unit`].
#[derive(Clone, Debug)]
pub struct InUnit<F> {
    function: F,
}

/// See [`retrying`].
#[derive(Clone, Debug)]
pub struct Retrying<F> {
    retry: Retry,
    function: F,
}

impl<F, S, M, Args, R> Handler<(M, Args, R), S> for InUnit<F>
where
    F: SessionFunction<Args, R>,
    Args: FromRequest<S, M> + Send + 'static,
    R: IntoResponse + 'static,
    S: Send + Sync + 'static,
{
    type Future = Answer;

    fn call(self, request: Request, state: S) -> Answer {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let opened = RequestUnit::of(&parts).and_then(|unit| unit.lend(&parts).map(|_| unit));
            let unit = match opened {
                Ok(unit) => unit,
                Err(rejection) => return rejection.into_response(),
            };
            let args = match Args::from_request(Request::from_parts(parts, body), &state).await {
                Ok(args) => args,
                Err(rejection) => return rejection.into_response(),
            };
            match unit.lend_again() {
                Ok(mut session) => self.function.call(&mut session, args).await.into_response(),
                Err(rejection) => rejection.into_response(),
            }
        })
    }
}

/// Why an attempt has not committed.
enum Undone {
    /// The function's answer says so.
    Answered(Box<Response>),
    /// The flush or the COMMIT failed.
    Failed(Error),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<F, S, M, Args, R> Handler<(M, Args, R), S> for Retrying<F>
where
    F: SessionFunction<Args, R>,
    Args: FromRequest<S, M> + Send + 'static,
    R: IntoResponse + 'static,
    S: Send + Sync + 'static,
{
    type Future = Answer;

    fn call(self, request: Request, state: S) -> Answer {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let prepared = RequestUnit::of(&parts).and_then(|unit| {
                unit.opt_out()?;
                let options = unit.options(&parts)?;
                Ok((unit, options))
            });
            let (unit, options) = match prepared {
                Ok(prepared) => prepared,
                Err(rejection) => return rejection.into_response(),
            };
            let body = match Bytes::from_request(Request::new(body), &state).await {
                Ok(body) => body,
                Err(rejection) => return rejection.into_response(),
            };
            let (function, state) = (&self.function, &state);
            let attempt = async |s: &mut Session| -> Result<Response, Undone> {
                let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
                let args = Args::from_request(request, state).await.map_err(IntoResponse::into_response);
                let response = match args {
                    Ok(args) => function.call(s, args).await.into_response(),
                    Err(rejection) => rejection,
                };
                match Outcome::of(&response) {
                    Outcome::Commit => Ok(response),
                    Outcome::RollBack => Err(Undone::Answered(Box::new(response))),
                }
            };
            let outcome = options.retry(self.retry).run(attempt).await;
            match outcome {
                Ok(response) => response,
                Err(Undone::Answered(response)) => *response,
                Err(Undone::Failed(error)) => unit.error_response(&error),
            }
        })
    }
}
