//! The outbox as it drains: a stream of server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension, Router,
    extract::State,
    http::StatusCode,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Here, problem::Refusal};
use crate::{access::Caller, store::Backlog};

/// How often the numbers are looked up for each who watches.
const PERIOD: Duration = Duration::from_millis(250);

/// The routes of this file.
pub(super) fn routes() -> Router<Here> {
    Router::new().route("/live/events", get(events))
}

/// Who watches, and what was sent last.
struct Watcher {
    here: Here,
    caller: Caller,
    last: Option<Backlog>,
    stop: watch::Receiver<bool>,
    /// One of so many that may watch.
    _place: OwnedSemaphorePermit,
}

/// The numbers of the caller's outbox whenever they are others, until the client goes or the service ends.
async fn events(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, Refusal> {
    let place = here.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "As many live views as this service has are open already.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-views", "Too many live views", detail)
    })?;
    let stop = here.stop.subscribe();
    let watcher = Watcher { here, caller, last: None, stop, _place: place };
    let stream = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    });
    Ok(Sse::new(Box::pin(stream)).keep_alive(KeepAlive::default()))
}

impl Watcher {
    /// The next numbers that are others; none when it is over. A client that has lost the stream asks again by itself.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            let now = self.here.store.backlog(&self.caller).await.ok()?;
            if self.last.as_ref() != Some(&now) {
                let event = Event::default().event("backlog").json_data(&now).ok()?;
                self.last = Some(now);
                return Some(event);
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                changed = self.stop.changed() => changed.ok()?,
            }
        }
    }
}
