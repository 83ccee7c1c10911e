//! A shutdown finishes what is at hand, or gives it back (Q7).

use std::time::Duration;

use sea_session::{
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
};

use super::support::{Stuck, event, on_all, write};

#[test]
fn q7_a_shutdown_gives_back_what_is_not_done_within_the_deadline() {
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made")]).await;
        let dispatcher = Dispatcher::new(&outbox, Stuck).deadline(Duration::from_millis(50));
        let report = dispatcher.run(tokio::time::sleep(Duration::from_millis(150))).await;
        assert_eq!(report.delivered, 0);
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!((metrics.pending, metrics.processing, metrics.most_attempts), (1, 0, 0), "given back untouched");
    });
}

#[test]
fn q7_a_shutdown_waits_for_the_batch_at_hand() {
    struct Slow;
    #[async_trait::async_trait]
    impl Handler for Slow {
        async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(vec![Delivery::Done; events.len()])
        }
    }
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made"), event("b", 1, "made")]).await;
        let dispatcher = Dispatcher::new(&outbox, Slow).batch(1);
        let report = dispatcher.run(tokio::time::sleep(Duration::from_millis(150))).await;
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!(
            (report.delivered, metrics.done, metrics.pending),
            (1, 1, 1),
            "finished what it had, and claimed no more"
        );
    });
}
