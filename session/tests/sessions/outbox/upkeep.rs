//! What is done does not pile up, and what is not can be read as numbers (Q9, Q10).

use std::time::Duration;

use sea_orm::{PaginatorTrait, Set, entity::prelude::*};
use sea_session::{
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
};

use super::support::{event, ledger, no_more_waiting, on_all, write};

#[test]
fn q9_done_events_go_with_their_acknowledgement_or_after_their_time() {
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, (0..5).map(|k| event(&format!("k{k}"), 1, "made")).collect()).await;
        let (_, handler) = ledger(|_| Delivery::Done);
        Dispatcher::new(&outbox, handler).retention(None).drain().await.unwrap();
        assert_eq!(event::Entity::find().count(db.connection()).await.unwrap(), 0);

        write(&db, (0..5).map(|k| event(&format!("k{k}"), 2, "made")).collect()).await;
        let (_, handler) = ledger(|_| Delivery::Done);
        Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!(outbox.purge_done(Duration::from_secs(60), 100).await.unwrap(), 0, "too young");
        assert_eq!(outbox.purge_done(Duration::ZERO, 3).await.unwrap(), 3, "bounded");
        assert_eq!(outbox.purge_done(Duration::ZERO, 3).await.unwrap(), 2);
    });
}

#[test]
fn q10_depth_age_and_attempts_are_numbers() {
    on_all(async |db: Db, outbox: Outbox| {
        let mut old = event("a", 1, "made");
        old.created_at = Set(chrono::Utc::now() - Duration::from_secs(90));
        write(&db, vec![old, event("b", 1, "snooze")]).await;
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!(metrics.pending, 2);
        assert!(metrics.oldest.unwrap() >= Duration::from_secs(90));
        let (_, handler) =
            ledger(|e| if e.key == "a" { Delivery::Done } else { Delivery::Snooze(Duration::from_secs(60)) });
        let report = Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!(report.delivered, 1);
        assert!(report.mean_latency >= Duration::from_secs(90));
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!((metrics.pending, metrics.done, metrics.most_attempts), (1, 1, 0), "a snooze is no attempt");
    });
}

#[test]
fn q10_health_names_what_is_down_and_forgets_it_when_it_is_back() {
    struct Flaky(std::sync::atomic::AtomicU32);
    #[async_trait::async_trait]
    impl Handler for Flaky {
        async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            if self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
                return Err(Unavailable("connection refused".into()));
            }
            Ok(vec![Delivery::Done; events.len()])
        }
    }
    on_all(async |db: Db, outbox: Outbox| {
        let dispatcher = Dispatcher::new(&outbox, Flaky(Default::default()));
        assert_eq!(dispatcher.health().last_claim, None, "it has not run yet");
        write(&db, vec![event("a", 1, "made")]).await;
        for failures in 1..=2 {
            dispatcher.drain().await.unwrap_err();
            let health = dispatcher.health();
            assert!(!health.is_healthy() && health.receiver.unwrap().contains("connection refused"));
            assert_eq!(health.failures, failures);
            no_more_waiting(&db).await;
        }
        dispatcher.drain().await.unwrap();
        let health = dispatcher.health();
        assert!(health.is_healthy() && health.failures == 0 && health.last_claim.is_some());
        event::Entity::delete_many().exec(db.connection()).await.unwrap();
        sea_orm::ConnectionTrait::execute_unprepared(db.connection(), "DROP TABLE events").await.unwrap();
        dispatcher.drain().await.unwrap_err();
        assert!(dispatcher.health().database.unwrap().contains("events"));
    });
}

#[test]
fn q9_its_indexes_are_made_once_and_may_be_made_again() {
    on_all(async |db: Db, outbox: Outbox| {
        outbox.create_indexes().await.unwrap();
        outbox.create_indexes().await.unwrap();
        write(&db, (1..=3).map(|n| event("a", n, "made")).collect()).await;
        let (_, handler) = ledger(|_| Delivery::Dead("no".into()));
        Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!(outbox.dead(0, 10).await.unwrap().len(), 3);
    });
}
