//! What a handler may ask for: the request's unit of work, or the options of units of its own.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use sea_session::{Error, Session, UnitOptions};

use crate::{
    problem::Problem,
    request_unit::{Loan, RequestUnit},
};

/// The request's unit of work. Is used as the [`Session`] that it is; [`UnitLayer`](crate::UnitLayer) ends it.
///
/// The unit is opened when it is first asked for, and this sends nothing: BEGIN goes with the first statement, so a
/// request whose body takes long to arrive holds no connection meanwhile. Several extractors of a request may use it
/// one after the other, and it is the same unit with the same objects; two at once is a rejection.
///
/// # It does not leave the request
/// Write the type as `Unit<'_>` (or `Unit` alone). The handler is then compiled for a unit that lives for an unknown
/// time, and what would keep it longer is refused by the compiler: a task that is spawned with it, a body that is
/// streamed from it.
///
/// ```compile_fail,E0521
/// # use sea_session_axum::Unit;
/// async fn keep(unit: Unit<'_>) {
///     tokio::spawn(async move { unit.stats() });           // "borrowed data escapes outside of function"
/// }
/// ```
///
/// ```compile_fail,E0521
/// # use axum::body::Body;
/// # use sea_session_axum::Unit;
/// # use futures_util::stream;
/// async fn stream_from(unit: Unit<'_>) -> Body {
///     Body::from_stream(stream::once(async move { Ok::<_, std::io::Error>(format!("{:?}", unit.stats())) }))
/// }
/// ```
///
/// What looks and lets go compiles:
///
/// ```
/// # use axum::{Router, routing::get};
/// # use sea_session_axum::Unit;
/// async fn look(unit: Unit<'_>) -> String {
///     format!("{:?}", unit.stats())
/// }
/// # let _: Router = Router::new().route("/", get(look));
/// ```
///
/// axum makes its arguments for `'static`, so a handler that *writes* `Unit<'static>` can hand it to a task. What is
/// not back when the answer is there is found by the layer: nothing of it is committed, now or later, and the answer is
/// 500.
///
/// # Retry
/// A handler with extractors is called once: its arguments were made from a request that is then gone. Use
/// [`retrying`](crate::retrying) where a unit is to be repeated.
pub struct Unit<'r> {
    session: Loan,
    /// Invariant: neither a shorter nor a longer time is as good.
    lifetime: PhantomData<fn(&'r ()) -> &'r ()>,
}

impl fmt::Debug for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unit").field(&*self.session).finish()
    }
}

impl Deref for Unit<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Unit<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl<S: Sync> FromRequestParts<S> for Unit<'static> {
    type Rejection = UnitRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, UnitRejection> {
        let session = RequestUnit::of(parts)?.lend(parts)?;
        Ok(Self { session, lifetime: PhantomData })
    }
}

/// `None` where there is no unit of the request: no layer, or a route that has opted out.
impl<S: Sync> OptionalFromRequestParts<S> for Unit<'static> {
    type Rejection = UnitRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, UnitRejection> {
        match <Self as FromRequestParts<S>>::from_request_parts(parts, state).await {
            Ok(unit) => Ok(Some(unit)),
            Err(UnitRejection::NoLayer | UnitRejection::OptedOut) => Ok(None),
            Err(rejection) => Err(rejection),
        }
    }
}

/// The options that a unit of this request has, its tenant among them, for a handler that opens units of its own.
///
/// For a route with [`NonAtomic`](crate::NonAtomic): there the handler says itself where its units begin, which of them
/// is retried, and what is done between them. On other routes such a unit stands beside the request's: with a
/// connection of its own, committed whatever becomes of the request. On a pool of one connection, and for writers on
/// SQLite, the second then waits for the first.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use axum::{Router, handler::Handler, routing::post};
/// use sea_session_axum::{NonAtomic, Problem, RequestOptions, UnitLayer};
///
/// async fn import(RequestOptions(unit): RequestOptions) -> Result<String, Problem> {
///     let mut batches = unit.batches((0..100).map(|n| format!("note {n}")), 20, std::time::Duration::ZERO);
///     let done = batches
///         .run(async |s: &mut Session, titles: &[String]| -> Result<(), Error> {
///             titles.iter().for_each(|title| _ = s.add(draft(title)));
///             Ok(())
///         })
///         .await
///         .map_err(|failed| failed.cause)?;
///     Ok(format!("{done} notes in five units"))
/// }
///
/// let app: Router = Router::new().route("/import", post(import.layer(NonAtomic))).layer(UnitLayer::new(db));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RequestOptions(
    /// The options, as the layer's closure has made them.
    pub UnitOptions,
);

impl<S: Sync> FromRequestParts<S> for RequestOptions {
    type Rejection = UnitRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, UnitRejection> {
        RequestUnit::of(parts)?.options(parts).map(Self)
    }
}

/// Why a request's unit is not to be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnitRejection {
    /// There is no [`UnitLayer`](crate::UnitLayer) around the route. A mistake of the program's: 500.
    NoLayer,
    /// Another extractor or argument of this request has it: two at once would be two `&mut Session`. A mistake of the
    /// program's: 500.
    InUse,
    /// The route has opted out ([`NonAtomic`](crate::NonAtomic), [`retrying`](crate::retrying)). A mistake of the
    /// program's: 500.
    OptedOut,
    /// The request was answered already. A mistake of the program's: 500.
    Over,
    /// The layer's closure has refused the request, and this is its answer.
    Refused(Box<Response>),
    /// The options cannot be had: the backend has no such thing, or they ask for a retry. Answered as any error, by
    /// [`Problem`].
    Options(Box<Error>),
}

impl fmt::Display for UnitRejection {
    /// Ends with the name of its page in the book.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLayer => f.write_str(
                "there is no unit of work for this request: add `.layer(UnitLayer::new(db))` to the router, after its routes",
            ),
            Self::InUse => f.write_str(
                "the request's unit of work is in use: an extractor that takes it must drop it before the next one asks",
            ),
            Self::OptedOut => f.write_str(
                "this route opens its own units of work: take `RequestOptions`, or `Option<Unit>` where both kinds of route are served",
            ),
            Self::Over => f.write_str("the request was answered, and its unit of work is over"),
            Self::Refused(response) => write!(f, "the request was refused with {}", response.status()),
            Self::Options(error) => write!(f, "the unit of work could not be opened: {}", error.text()),
        }?;
        f.write_str(" (see errors/request-unit)")
    }
}

impl std::error::Error for UnitRejection {}

impl IntoResponse for UnitRejection {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(response) => *response,
            Self::Options(error) => Problem::from(*error).into_response(),
            mistake => {
                tracing::error!(target: "sea_session_axum", "{mistake}");
                Problem::internal().into_response()
            }
        }
    }
}
