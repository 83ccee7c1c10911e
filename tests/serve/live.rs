//! The outbox as it drains, by server-sent events.

use axum::body::{Body, BodyDataStream};
use context_store::serve::{Callers, Limits};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::{
    asking::{ALICE, App, BOB, TABLE, request},
    support::TestStore,
};

/// The events of a stream, one after the other.
pub struct Events {
    body: BodyDataStream,
    read: String,
}

impl Events {
    pub fn of(body: Body) -> Self {
        Self { body: body.into_data_stream(), read: String::new() }
    }

    /// The data of the next event; none at the end. Comments keep the connection open, and are no events.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.read.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                let named = event.lines().any(|line| line == "event: backlog");
                self.read = rest.to_owned();
                if let Some(data) = data {
                    assert!(named, "{data}");
                    return Some(serde_json::from_str(&data).unwrap());
                }
            }
            self.read += std::str::from_utf8(&self.body.next().await?.unwrap()).unwrap();
        }
    }

    /// Reads until the numbers are these.
    pub async fn until(&mut self, pending: i64, records: i64) {
        while let Some(now) = self.next().await {
            if now["pending"] == pending && now["index_records"] == records {
                return;
            }
        }
        panic!("the stream has ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_follow_writes_and_deliveries_of_what_the_caller_may_see() {
    let app = App::sqlite().await;
    let opened = app.open(request(ALICE, "GET", "/live/events", None)).await;
    assert_eq!(opened.headers()["content-type"], "text/event-stream");
    let mut alice = Events::of(opened.into_body());
    let mut bob = Events::of(app.open(request(BOB, "GET", "/live/events", None)).await.into_body());
    alice.until(0, 0).await;
    bob.until(0, 0).await;
    app.put("ctx://acme/users/alice/memories/likes/tea", json!({ "content": "Green" })).await;
    alice.until(1, 0).await;
    app.test.store.drain().await.unwrap();
    alice.until(0, 1).await;
    // Of hers Bob is told nothing; of what both may see he is.
    app.put("ctx://acme/resources/handbook", json!({ "content": "x" })).await;
    let told = bob.next().await.unwrap();
    assert_eq!((&told["pending"], &told["index_records"]), (&1.into(), &0.into()), "{told}");
}

#[tokio::test]
async fn there_are_as_many_views_as_are_allowed_and_one_that_is_closed_makes_room() {
    let app = App::with(TestStore::sqlite().await, Callers::parse(TABLE).unwrap(), Limits::default().streams(1));
    let first = app.open(request(ALICE, "GET", "/live/events", None)).await;
    assert_eq!(first.status(), 200);
    assert_eq!(app.get(ALICE, "/live/events").await.is(503).kind(), "too-many-views");
    drop(first);
    let again = app.open(request(ALICE, "GET", "/live/events", None)).await;
    assert_eq!(again.status(), 200);
}
