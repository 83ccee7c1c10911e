//! The events that the sweep writes, and who delivers them.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_session::outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable};
use sea_session::prelude::*;

pub use crate::support_outbox::event;
use crate::support_outbox::new_event;

/// Notes which events it was given. One that comes for the first time waits a moment, so that it can be dropped there.
pub struct Receiver;

pub static DELIVERED: parking_lot::Mutex<BTreeSet<(String, i64)>> = parking_lot::Mutex::new(BTreeSet::new());

#[async_trait::async_trait]
impl Handler for Receiver {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        for event in events {
            let new = DELIVERED.lock().insert((event.key.clone(), event.sequence));
            if new {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(vec![Delivery::Done; events.len()])
    }
}

pub fn outbox(db: &Db) -> Outbox {
    Outbox::new(db, "events", "sweep")
}

/// A lease so short that what a dropped dispatcher held comes again within the sweep.
pub fn dispatcher(db: &Db) -> Dispatcher {
    Dispatcher::new(&outbox(db), Receiver).lease(Duration::from_millis(100)).retention(Some(Duration::from_secs(3_600)))
}

pub fn event(token: &str, sequence: i64) -> event::ActiveModel {
    new_event("sweep", token, sequence, "written")
}
