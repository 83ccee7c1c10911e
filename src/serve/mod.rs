//! The store as a web service (feature `serve`): a JSON interface, MCP for agents, and pages for people.
//!
//! What it is for: to put the store's operations behind HTTP, in the name of the caller that a request proves to be. What it
//! must never do: decide rights (they are [`crate::access`]'s), or show a caller anything that the store does not give it.
//!
//! | Place | What |
//! |---|---|
//! | `/api/v1/…` | the operations as JSON; `/openapi.json` describes them |
//! | `/mcp` | the tools `read`, `write`, `search` and `tree` for agents: MCP over streamable HTTP, without sessions |
//! | `/`, `/browse`, `/history`, `/diff`, `/search`, `/live` | pages to look at the store; they change nothing |
//! | `/health` | whether database and dispatcher get on |
//! | `/metrics` | numbers in Prometheus' text, for operators |
//!
//! The dispatcher that keeps the embedded index in step runs inside [`Service::serve`].
//!
//! ```no_run
//! use context_store::{Caller, Role, Store, StoreError, serve::{Callers, Service}};
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open("sqlite://memory.db?mode=rwc").await?;
//! let service = Service::new(store, Callers::everybody(Caller::user("acme", "alice").with_role(Role::Admin)));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7700").await?;
//! service.serve(listener, async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(())
//! # }
//! ```

mod address;
mod api;
mod callers;
mod guard;
mod limits;
mod listing;
mod live;
mod mcp;
mod metrics;
mod openapi;
mod pages;
mod problem;
mod whole;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use sea_session::outbox::{Dispatcher, Report};
use sea_session_axum::Problem;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{error::StoreError, index::EmbeddedIndex, store::Store};

pub use callers::Callers;
pub use limits::Limits;

/// How long a shutdown waits for the requests that are under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The web service over one store.
#[derive(Clone)]
pub struct Service {
    shared: Here,
}

/// What every handler has.
pub(crate) struct Shared {
    store: Store,
    callers: Callers,
    limits: Limits,
    pace: limits::Pace,
    streams: Arc<tokio::sync::Semaphore>,
    metrics: metrics::Metrics,
    dispatcher: Dispatcher,
    /// Becomes true when the service is to end: streams that would go on for ever then end.
    stop: watch::Sender<bool>,
}

pub(crate) type Here = Arc<Shared>;

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { store, callers, limits, .. } = &*self.shared;
        f.debug_struct("Service").field("store", store).field("callers", callers).field("limits", limits).finish()
    }
}

impl Service {
    /// A service over a store, for these callers.
    pub fn new(store: Store, callers: Callers) -> Self {
        Self::with_limits(store, callers, Limits::default())
    }

    /// The same with limits of one's own.
    pub fn with_limits(store: Store, callers: Callers, limits: Limits) -> Self {
        let dispatcher = store.dispatcher(Arc::new(EmbeddedIndex::new(store.db()))).deadline(PATIENCE);
        let shared = Shared {
            pace: limits::Pace::new(&limits),
            streams: Arc::new(tokio::sync::Semaphore::new(limits.streams)),
            metrics: metrics::Metrics::new(),
            stop: watch::Sender::new(false),
            store,
            callers,
            limits,
            dispatcher,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The routes, for a server or a larger router of one's own. Nothing is delivered to the index here: that is done by
    /// [`Service::serve`], or by a dispatcher elsewhere.
    pub fn router(&self) -> Router {
        let here = &self.shared;
        let interface = api::routes()
            .merge(listing::routes())
            .route_service("/mcp", mcp::service(here))
            .route_layer(from_fn_with_state(here.clone(), limits::pace))
            .route_layer(from_fn_with_state(here.clone(), guard::by_token));
        let pages = pages::routes(here)
            .merge(live::routes())
            .route_layer(from_fn_with_state(here.clone(), limits::pace))
            .route_layer(from_fn_with_state(here.clone(), guard::by_token_or_cookie));
        let open = Router::new()
            .route("/health", get(health))
            .route("/openapi.json", get(async || Json(openapi::document())))
            .route("/metrics", get(metrics::show))
            .merge(pages::open_routes());
        open.merge(interface)
            .merge(pages)
            .fallback(problem::nothing_here)
            .method_not_allowed_fallback(problem::wrong_method)
            .layer(DefaultBodyLimit::max(here.limits.body))
            .layer(from_fn_with_state(here.clone(), metrics::count))
            .layer(from_fn_with_state(here.clone(), guard::host_and_origin))
            .layer(from_fn(problem::explained))
            .layer(map_response(with_headers))
            .with_state(here.clone())
    }

    /// Answers requests and keeps the index in step, until `shutdown` is ready. Then it takes no more connections, waits ten
    /// seconds at most for the requests that are under way, and ends the dispatcher. What the index has not been told by
    /// then waits in the outbox.
    ///
    /// # Errors
    /// What the database says when the model's stream is looked up; [`StoreError::Io`] where the listener fails.
    ///
    /// # Cancel safety
    /// Dropped, it leaves what is under way to be rolled back, and what was claimed to be delivered again.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Report, StoreError> {
        let Shared { store, dispatcher, stop, .. } = &*self.shared;
        let (dispatching, dispatched) = watch::channel(false);
        let mut beside = JoinSet::new();
        if let Some(vectors) = store.vector_dispatcher().await? {
            let stop = told(dispatched.clone());
            beside.spawn(async move { vectors.run(stop).await });
        }
        let (own, end) = (dispatcher.clone(), told(dispatched));
        beside.spawn(async move { own.run(end).await });
        // An answer is one small message: it is not to wait for a second one.
        let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(told(stop.subscribe()));
        let server = server.into_future();
        tokio::pin!(server);
        let ended = tokio::select! {
            ended = &mut server => Some(ended),
            () = shutdown => None,
        };
        stop.send_replace(true);
        let ended = match ended {
            Some(ended) => ended,
            // A client that does not read its answer is not waited for.
            None => tokio::time::timeout(PATIENCE, &mut server).await.unwrap_or(Ok(())),
        };
        dispatching.send_replace(true);
        beside.join_all().await;
        ended.map_err(|e| StoreError::Io { path: "the listener".to_owned(), message: e.to_string() })?;
        Ok(dispatcher.report())
    }
}

/// Until the sender says true, or is gone.
async fn told(mut stop: watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Whether the database answers and the dispatcher gets on. Says no more: anybody may ask.
async fn health(State(here): State<Here>) -> Response {
    let database = here.store.db().connection().ping().await.is_ok();
    if database && here.dispatcher.health().is_healthy() {
        return Json(serde_json::json!({ "status": "ok" })).into_response();
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available")
        .detail(if database { "The index is not kept in step." } else { "The database does not answer." })
        .retry_after(Duration::from_secs(5))
        .into_response()
}

/// What a browser is told of every answer: no script but ours, no frame around it, no guessing of types.
async fn with_headers(mut response: Response) -> Response {
    const HEADERS: [(header::HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that a browser sends the forms of these pages as if they were of no origin.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
