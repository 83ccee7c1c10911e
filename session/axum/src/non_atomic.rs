//! Routes without a unit of their own, as Django's `non_atomic_requests`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    http::Request,
    response::{IntoResponse, Response},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::request_unit::RequestUnit;

/// The route has no unit of the request: its handler opens units of its own, by
/// [`RequestOptions`](crate::RequestOptions).
///
/// A handler that never asks for [`Unit`](crate::Unit) has no unit anyway. This layer is for the others around it: a
/// custom extractor, a layer inside that would open the request's unit on this route, too. They are refused here, or
/// get `None` for `Option<Unit>`.
///
/// To be added to a handler or a route, inside of [`UnitLayer`](crate::UnitLayer):
///
/// ```
/// # use axum::{Router, handler::Handler, routing::{get, post}};
/// # use sea_session_axum::{NonAtomic, RequestOptions, UnitLayer};
/// # async fn list() {}
/// # async fn import(_: RequestOptions) {}
/// # async fn watch(_: RequestOptions) {}
/// # fn app(db: sea_session::Db) -> Router {
/// Router::new()
///     .route("/notes", get(list).post(import.layer(NonAtomic)))     // one handler
///     .route("/watch", get(watch).layer(NonAtomic))                 // all methods of a path
///     .layer(UnitLayer::new(db))
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NonAtomic;

impl<S> Layer<S> for NonAtomic {
    type Service = NonAtomicService<S>;

    fn layer(&self, inner: S) -> NonAtomicService<S> {
        NonAtomicService { inner }
    }
}

/// A service inside of [`NonAtomic`].
#[derive(Clone, Debug)]
pub struct NonAtomicService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for NonAtomicService<S>
where
    S: Service<Request<B>, Response: IntoResponse, Error: Send + 'static, Future: Send + 'static>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let opted_out = request.extensions().get::<RequestUnit>().map_or(Ok(()), RequestUnit::opt_out);
        match opted_out {
            Ok(()) => {
                let answer = self.inner.call(request);
                Box::pin(async move { Ok(answer.await?.into_response()) })
            }
            // A layer outside has opened it, so it is too late to have none.
            Err(rejection) => {
                let response = rejection.into_response();
                Box::pin(async move { Ok(response) })
            }
        }
    }
}
