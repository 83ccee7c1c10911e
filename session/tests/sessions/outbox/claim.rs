//! Claims in batches, and acknowledgements that are matched on a fencing token (Q3).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_session::{
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
};

use super::support::{Running, Runs, arrived, event, ledger, on_all, write};

#[test]
fn q3_a_worker_whose_lease_ran_out_changes_nothing() {
    /// A paused process: it blocks its thread until it is told to go on, so nothing extends its leases.
    struct Paused(Mutex<std::sync::mpsc::Receiver<()>>);
    #[async_trait::async_trait]
    impl Handler for Paused {
        async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            tokio::task::block_in_place(|| self.0.lock().recv()).unwrap();
            Ok(events.iter().map(|_| Delivery::Done).collect())
        }
    }
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made")]).await;
        let (go_on, paused) = std::sync::mpsc::channel();
        let paused = Dispatcher::new(&outbox, Paused(Mutex::new(paused))).lease(Duration::from_millis(50));
        let stale = tokio::spawn(async move { paused.drain().await });
        while outbox.metrics().await.unwrap().processing == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
        let (_, handler) = ledger(|_| Delivery::Done);
        let other = Dispatcher::new(&outbox, handler);
        assert_eq!(other.drain().await.unwrap().delivered, 1, "the event was reclaimed and delivered");
        go_on.send(()).unwrap();
        assert_eq!(stale.await.unwrap().unwrap().stale, 1, "the paused worker's acknowledgement was refused");
        assert_eq!(outbox.metrics().await.unwrap().done, 1);
    });
}

#[test]
fn q3_a_claim_takes_the_run_of_a_busy_key_and_the_handler_still_sees_one_event_of_it_at_a_time() {
    on_all(async |db: Db, outbox: Outbox| {
        let events = |from: i64| (from..from + 60).map(|n| event("busy", n, "made")).chain([event("b", from, "made")]);
        write(&db, events(1).collect()).await;
        // The ledger's handler asserts that no call holds two events of a key.
        let (seen, handler) = ledger(|_| Delivery::Done);
        let report = Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!((report.delivered, report.batches), (61, 1));
        let busy: Vec<i64> = seen.lock().iter().filter(|(key, ..)| key == "busy").map(|(_, n, _)| *n).collect();
        assert_eq!(busy, (1..=60).collect::<Vec<_>>());

        write(&db, events(100).collect()).await;
        let calls = Arc::default();
        let report =
            Dispatcher::new(&outbox, Runs(Arc::clone(&calls), |_: &Event| Delivery::Done)).drain().await.unwrap();
        assert_eq!((report.delivered, calls.lock().len()), (61, 1), "one call for the whole run");
    });
}

/// The acknowledgement of several waits for the next claim; none is asked for here.
#[test]
fn q3_what_was_delivered_is_acknowledged_although_nothing_more_comes() {
    on_all(async |db: Db, outbox: Outbox| {
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher = Dispatcher::new(&outbox, handler).claims(2).poll(Duration::from_secs(3600));
        let running = Running::start(dispatcher);
        tokio::time::sleep(Duration::from_millis(300)).await;
        write(&db, (1..=7).map(|n| event(&format!("key {n}"), 1, "made")).collect()).await;
        outbox.wake();
        assert_eq!(arrived(&seen, 7).await, 7);
        let acknowledged = async {
            while outbox.metrics().await.unwrap().done < 7 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), acknowledged).await.expect("an acknowledgement");
        assert_eq!(running.stop().await.delivered, 7);
    });
}
