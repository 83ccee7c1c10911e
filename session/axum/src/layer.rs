//! The layer: a unit of work for each request, ended when the answer is there and before its body is sent.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    http::{Request, request::Parts},
    response::{IntoResponse, Response},
};
use sea_session::{Db, Error, UnitOptions};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    end::end,
    problem::Problem,
    request_unit::{ErrorResponse, Options, RequestUnit, Setup},
};

/// Gives each request a unit of work, which [`Unit`](crate::Unit), [`in_unit`](crate::in_unit) and
/// [`retrying`](crate::retrying) take.
///
/// A tower layer, for `Router::layer` and wherever axum takes one. What is inside of it (routes, and layers that were
/// added before) can use the unit; what is outside (layers added later) sees the final answer.
///
/// | The answer | The unit |
/// |---|---|
/// | 2xx, 3xx | is committed; if that fails the answer is another, see [`Problem`] |
/// | any other status | is rolled back |
/// | has an [`Outcome`](crate::Outcome) | as that says |
/// | there is none: the handler panicked, or the client is gone | is rolled back |
///
/// # Cancel safety
/// A server drops a request's future when its client is gone. The unit is then rolled back, as any unit that is
/// dropped; a COMMIT that is under way is carried out or not, as the server decides (C1).
#[derive(Clone)]
pub struct UnitLayer {
    setup: Arc<Setup>,
}

impl fmt::Debug for UnitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitLayer").field("db", &self.setup.db).finish_non_exhaustive()
    }
}

impl UnitLayer {
    /// Units of this database, with the default options, and errors as [`Problem`]s.
    pub fn new(db: Db) -> Self {
        Self::with(db, Box::new(|_, unit| Ok(unit)), Box::new(|error| Problem::from(error.clone()).into_response()))
    }

    fn with(db: Db, options: Options, error_response: ErrorResponse) -> Self {
        Self { setup: Arc::new(Setup { db, options, error_response }) }
    }

    /// Options from the request: its tenant, reads only, a time limit. `options` is called once a request, when the
    /// unit is first asked for, with the request as it is then: what layers inside have added to its extensions is
    /// there. A `Result` refuses the request with the error as its answer.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// use axum::http::{StatusCode, request::Parts};
    /// use sea_session_axum::{Problem, UnitLayer};
    ///
    /// let layer = UnitLayer::new(db).options(|parts: &Parts, unit: UnitOptions| -> Result<UnitOptions, Problem> {
    ///     let tenant = parts.headers.get("x-account").and_then(|account| account.to_str().ok());
    ///     let tenant = tenant.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "no-account", "No account"))?;
    ///     let unit = unit.tenant("app.account_id", tenant);
    ///     Ok(if parts.method.is_safe() { unit.read_only() } else { unit })
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A retry cannot be one of the options: see [`retrying`](crate::retrying).
    #[must_use]
    pub fn options<F, O>(self, options: F) -> Self
    where
        F: Fn(&Parts, UnitOptions) -> O + Send + Sync + 'static,
        O: IntoUnitOptions,
    {
        let (db, before) = (self.setup.db.clone(), self.setup);
        Self::with(
            db,
            Box::new(move |parts, unit| options(parts, unit).into_unit_options()),
            Box::new(move |error| (before.error_response)(error)),
        )
    }

    /// The answer where the commit failed, instead of that of [`Problem`]. What a handler returns is its own business.
    #[must_use]
    pub fn error_response<F, R>(self, error_response: F) -> Self
    where
        F: Fn(&Error) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        let (db, before) = (self.setup.db.clone(), self.setup);
        Self::with(
            db,
            Box::new(move |parts, unit| (before.options)(parts, unit)),
            Box::new(move |error| error_response(error).into_response()),
        )
    }
}

/// What the closure of [`UnitLayer::options`] may return: options, or a `Result` whose error is the answer.
pub trait IntoUnitOptions {
    /// The options, or the answer that refuses the request.
    ///
    /// # Errors
    /// The request is refused.
    fn into_unit_options(self) -> Result<UnitOptions, Box<Response>>;
}

impl IntoUnitOptions for UnitOptions {
    fn into_unit_options(self) -> Result<UnitOptions, Box<Response>> {
        Ok(self)
    }
}

impl<E: IntoResponse> IntoUnitOptions for Result<UnitOptions, E> {
    fn into_unit_options(self) -> Result<UnitOptions, Box<Response>> {
        self.map_err(|refusal| Box::new(refusal.into_response()))
    }
}

impl<S> Layer<S> for UnitLayer {
    type Service = UnitService<S>;

    fn layer(&self, inner: S) -> UnitService<S> {
        UnitService { inner, setup: self.setup.clone() }
    }
}

/// A service inside of [`UnitLayer`].
#[derive(Clone)]
pub struct UnitService<S> {
    inner: S,
    setup: Arc<Setup>,
}

impl<S: fmt::Debug> fmt::Debug for UnitService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for UnitService<S>
where
    S: Service<Request<B>, Response: IntoResponse, Future: Send + 'static>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let unit = InHand(RequestUnit::new(self.setup.clone()));
        request.extensions_mut().insert(unit.0.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await.map(IntoResponse::into_response)?;
            Ok(end(&unit.0, response).await)
        })
    }
}

/// The request's unit is over when nobody waits for the answer any more, whoever else still knows of it.
struct InHand(RequestUnit);

impl Drop for InHand {
    fn drop(&mut self) {
        drop(self.0.over());
    }
}
