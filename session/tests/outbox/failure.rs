//! What fails, alone or altogether, and dead letters (Q4, Q5).

use sea_session::{
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
};

use crate::support::{event, ledger, no_more_waiting, on_both, write};

#[test]
fn q4_a_failing_head_holds_its_key_back_until_it_is_dead_and_dead_letters_can_be_replayed() {
    on_both(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "bad"), event("a", 2, "good"), event("b", 1, "good")]).await;
        let (seen, handler) =
            ledger(
                |e| if e.event_type == "bad" && e.attempt <= 3 { Delivery::Retry("no".into()) } else { Delivery::Done },
            );
        let dispatcher = Dispatcher::new(&outbox, handler).most_attempts(3);
        for attempt in 1..=3 {
            dispatcher.drain().await.unwrap();
            let a: Vec<_> = seen.lock().iter().filter(|(k, n, _)| k == "a" && *n == 1).map(|(_, _, at)| *at).collect();
            assert_eq!(a, (1..=attempt).collect::<Vec<_>>());
            let held = !seen.lock().iter().any(|(k, n, _)| k == "a" && *n == 2);
            assert!(held || attempt == 3, "the head is not passed while it may still succeed");
            no_more_waiting(&db).await;
        }
        assert!(seen.lock().iter().any(|(k, n, _)| k == "b" && *n == 1), "other keys are not held up");
        let dead = outbox.dead(0, 10).await.unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].attempts, dead[0].last_error.as_deref()), (3, Some("no")));
        assert_eq!(outbox.dead_letter(dead[0].id).await.unwrap().as_ref(), Some(&dead[0]));
        assert_eq!(outbox.metrics().await.unwrap().dead, 1);

        assert_eq!(outbox.replay(Some(&[dead[0].id])).await.unwrap(), 1);
        let (_, all_good) = ledger(|_| Delivery::Done);
        assert_eq!(Dispatcher::new(&outbox, all_good).drain().await.unwrap().delivered, 1);
        assert!(outbox.dead(0, 10).await.unwrap().is_empty());
    });
}

#[test]
fn q5_one_bad_record_fails_alone_also_if_the_handler_panics() {
    on_both(async |db: Db, outbox: Outbox| {
        let mut events: Vec<_> = (0..9).map(|k| event(&format!("k{k}"), 1, "good")).collect();
        events.push(event("poison", 1, "panic"));
        events.push(event("strange", 1, "unknown"));
        write(&db, events).await;
        let (_, handler) = ledger(|e| match e.event_type.as_str() {
            "panic" => panic!("poison"),
            "good" => Delivery::Done,
            other => Delivery::Dead(format!("unknown event type {other}")),
        });
        let report = Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!((report.delivered, report.retried, report.dead), (9, 1, 1));
        assert_eq!(outbox.dead(0, 10).await.unwrap()[0].last_error.as_deref(), Some("unknown event type unknown"));
    });
}

#[test]
fn q5_a_receiver_that_is_down_holds_events_back_and_kills_none() {
    struct Down;
    #[async_trait::async_trait]
    impl Handler for Down {
        async fn deliver(&self, _: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            Err(Unavailable("connection refused".into()))
        }
    }
    on_both(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made")]).await;
        let dispatcher = Dispatcher::new(&outbox, Down).most_attempts(2);
        for _ in 0..5 {
            let held = dispatcher.drain().await.unwrap_err();
            assert!(held.to_string().contains("connection refused"), "{held}");
            no_more_waiting(&db).await;
        }
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!((metrics.pending, metrics.dead, metrics.most_attempts), (1, 0, 0), "no attempt was counted");
    });
}
