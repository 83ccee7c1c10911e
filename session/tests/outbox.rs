//! The outbox (Q), with an event type that an application would declare, on both backends.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{DbBackend, PaginatorTrait, Set, entity::prelude::*};
use sea_session::{
    Error, Recorder,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable, first_time},
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

mod event {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_id: String,
        pub topic: String,
        pub event_key: String,
        pub sequence: i64,
        pub event_type: String,
        #[sea_orm(column_type = "JsonBinary")]
        pub payload: Json,
        pub state: String,
        pub attempts: i32,
        pub fence: i64,
        pub available_at: DateTimeUtc,
        #[tracked(created_at)]
        pub created_at: DateTimeUtc,
        pub claimed_by: Option<String>,
        pub lease_until: Option<DateTimeUtc>,
        pub last_error: Option<String>,
        pub finished_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod inbox {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "received")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub consumer: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: String,
        pub account_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

fn event(key: &str, sequence: i64, kind: &str) -> event::ActiveModel {
    event::ActiveModel {
        account_id: Set("acme".into()),
        topic: Set("test".into()),
        event_key: Set(key.into()),
        sequence: Set(sequence),
        event_type: Set(kind.into()),
        payload: Set(serde_json::json!({ "key": key, "n": sequence })),
        state: Set("pending".into()),
        attempts: Set(0),
        fence: Set(0),
        available_at: Set(chrono::Utc::now()),
        claimed_by: Set(None),
        lease_until: Set(None),
        last_error: Set(None),
        finished_at: Set(None),
        ..Default::default()
    }
}

fn on_both(test: impl AsyncFn(Db, Outbox)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let tables = async |db: &Db| -> Result<(), Error> {
            create_table(db, event::Entity).await?;
            create_table(db, inbox::Entity).await
        };
        run_test_on(backend, tables, async |db: Db| {
            let outbox = Outbox::new(&db, "events", "test");
            test(db, outbox).await;
        });
    }
}

async fn write(db: &Db, events: Vec<event::ActiveModel>) {
    let outcome: Result<(), Error> = db
        .run(async |s: &mut Session| {
            events.iter().for_each(|event| drop(s.add(event.clone())));
            Ok(())
        })
        .await;
    outcome.unwrap();
}

/// Keeps what it was given, and answers as `answer` says.
struct Ledger<F> {
    seen: Arc<Mutex<Vec<(String, i64, i32)>>>,
    answer: F,
}

type Seen = Arc<Mutex<Vec<(String, i64, i32)>>>;

fn ledger<F: Fn(&Event) -> Delivery + Send + Sync>(answer: F) -> (Seen, Ledger<F>) {
    let seen = Seen::default();
    (seen.clone(), Ledger { seen, answer })
}

#[async_trait::async_trait]
impl<F: Fn(&Event) -> Delivery + Send + Sync> Handler for Ledger<F> {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        let mut keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "at most one event of a key in a batch");
        self.seen.lock().extend(events.iter().map(|e| (e.key.clone(), e.sequence, e.attempt)));
        Ok(events.iter().map(&self.answer).collect())
    }
}

/// Makes everything that waits for its time available now.
async fn no_more_waiting(db: &Db) {
    event::Entity::update_many()
        .col_expr(event::Column::AvailableAt, Expr::value(chrono::Utc::now() - Duration::from_secs(1)))
        .exec(db.connection())
        .await
        .unwrap();
}

#[test]
fn q1_event_and_change_commit_together_or_not_at_all() {
    on_both(async |db: Db, outbox: Outbox| {
        let failed: Result<(), Error> = db
            .run(async |s: &mut Session| {
                s.add(event("a", 1, "made"));
                s.flush().await?;
                Err(Error::Usage("changed my mind".into()))
            })
            .await;
        assert!(failed.is_err());
        assert!(outbox.metrics().await.unwrap().is_drained());
        write(&db, vec![event("a", 1, "made")]).await;
        assert_eq!(outbox.metrics().await.unwrap().pending, 1);
    });
}

#[test]
fn q1_ten_thousand_events_are_a_set() {
    on_both(async |db: Db, _outbox: Outbox| {
        let recorder = Recorder::new();
        let outcome: Result<(), Error> = db
            .session()
            .record(&recorder)
            .run(async |s: &mut Session| {
                (0..10_000).for_each(|i| drop(s.add(event(&format!("k{}", i % 100), i, "made"))));
                Ok(())
            })
            .await;
        outcome.unwrap();
        assert!(recorder.take().len() <= 15, "statements grow with sets, not with events");
        assert_eq!(event::Entity::find().count(db.connection()).await.unwrap(), 10_000);
    });
}

#[test]
fn q2_per_key_in_order_under_several_dispatchers_and_other_keys_are_not_held_up() {
    on_both(async |db: Db, outbox: Outbox| {
        let events = (1..=20).flat_map(|n| (0..10).map(move |k| event(&format!("k{k}"), n, "made"))).collect();
        write(&db, events).await;
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher = Dispatcher::new(&outbox, handler).batch(7);
        let clones: Vec<_> = (0..3).map(|_| dispatcher.clone()).collect();
        let tasks: Vec<_> = clones.into_iter().map(|d| tokio::spawn(async move { d.drain().await })).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        // A dispatcher may find nothing while another holds every key; the last one to stop leaves nothing.
        dispatcher.drain().await.unwrap();
        let mut by_key: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        seen.lock().iter().for_each(|(key, n, _)| by_key.entry(key.clone()).or_default().push(*n));
        assert_eq!(by_key.len(), 10);
        for (key, order) in by_key {
            assert_eq!(order, (1..=20).collect::<Vec<_>>(), "{key}");
        }
        assert_eq!(outbox.metrics().await.unwrap().done, 200);
        assert_eq!(dispatcher.report().delivered, 200);
    });
}

#[test]
fn q2_events_written_out_of_order_are_delivered_in_the_order_of_their_sequence() {
    on_both(async |db: Db, outbox: Outbox| {
        write(
            &db,
            vec![
                event("a", 3, "made"),
                event("a", 1, "made"),
                event("b", 2, "made"),
                event("a", 2, "made"),
                event("b", 1, "made"),
            ],
        )
        .await;
        let (seen, handler) = ledger(|_| Delivery::Done);
        Dispatcher::new(&outbox, handler).drain().await.unwrap();
        let order = |key: &str| seen.lock().iter().filter(|(k, ..)| k == key).map(|(_, n, _)| *n).collect::<Vec<_>>();
        assert_eq!((order("a"), order("b")), (vec![1, 2, 3], vec![1, 2]));
    });
}

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
    on_both(async |db: Db, outbox: Outbox| {
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

#[test]
fn q6_a_commit_wakes_an_idle_dispatcher_long_before_it_would_poll() {
    on_both(async |db: Db, outbox: Outbox| {
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher = Dispatcher::new(&outbox, handler).poll(Duration::from_secs(3600));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(async move { dispatcher.run(async move { drop(stopped.await) }).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Set up apart, as in another part of the program.
        let writer = Outbox::new(&db, "events", "test");
        let outcome: Result<(), Error> = db
            .run(async |s: &mut Session| {
                s.add(event("a", 1, "made"));
                writer.wake_after_commit(s);
                Ok(())
            })
            .await;
        outcome.unwrap();
        for _ in 0..500 {
            if !seen.lock().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seen.lock().len(), 1);
        stop.send(()).unwrap();
        assert_eq!(running.await.unwrap().delivered, 1);
    });
}

#[test]
fn q6_another_process_is_woken_by_notify_outside_of_the_business_transaction() {
    on_both(async |db: Db, outbox: Outbox| {
        if db.backend() == DbBackend::Sqlite {
            return; // Another process on the same file polls; `q6_polling_finds_what_a_lost_wake_up_missed` is its test.
        }
        // A pool of its own stands for another process: it shares no bell with this one.
        let url = sea_session::testing::cluster::database_url().await.unwrap();
        let name: String = sea_orm::ConnectionTrait::query_one_raw(
            db.connection(),
            sea_orm::Statement::from_string(DbBackend::Postgres, "SELECT current_database()::text AS name"),
        )
        .await
        .unwrap()
        .unwrap()
        .try_get("", "name")
        .unwrap();
        let (before, after) = url.split_once("/postgres?").unwrap_or_else(|| panic!("an unexpected URL: {url}"));
        let elsewhere = Db::connect(format!("{before}/{name}?{after}")).await.unwrap();
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher =
            Dispatcher::new(&Outbox::new(&elsewhere, "events", "test"), handler).poll(Duration::from_secs(3600));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(async move { dispatcher.run(async move { drop(stopped.await) }).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let recorder = Recorder::new();
        let outcome: Result<(), Error> = db
            .session()
            .record(&recorder)
            .run(async |s: &mut Session| {
                s.add(event("a", 1, "made"));
                outbox.wake_after_commit(s);
                Ok(())
            })
            .await;
        outcome.unwrap();
        for _ in 0..500 {
            if !seen.lock().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seen.lock().len(), 1);
        assert!(recorder.take().iter().all(|sql| !sql.to_lowercase().contains("notify")));
        stop.send(()).unwrap();
        running.await.unwrap();
        elsewhere.close().await.unwrap();
    });
}

#[test]
fn q6_polling_finds_what_a_lost_wake_up_missed() {
    on_both(async |db: Db, outbox: Outbox| {
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher = Dispatcher::new(&outbox, handler).poll(Duration::from_millis(50));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(async move { dispatcher.run(async move { drop(stopped.await) }).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        write(&db, vec![event("a", 1, "made")]).await;
        for _ in 0..500 {
            if !seen.lock().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seen.lock().len(), 1);
        stop.send(()).unwrap();
        running.await.unwrap();
    });
}

#[test]
fn q7_a_shutdown_gives_back_what_is_not_done_within_the_deadline() {
    struct Stuck;
    #[async_trait::async_trait]
    impl Handler for Stuck {
        async fn deliver(&self, _: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            std::future::pending().await
        }
    }
    on_both(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made")]).await;
        let dispatcher = Dispatcher::new(&outbox, Stuck).deadline(Duration::from_millis(50));
        let report = dispatcher.run(tokio::time::sleep(Duration::from_millis(150))).await;
        assert_eq!(report.delivered, 0);
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!((metrics.pending, metrics.processing, metrics.most_attempts), (1, 0, 0), "given back untouched");
    });
}

#[test]
fn q8_an_effect_happens_once_however_often_its_message_comes() {
    on_both(async |db: Db, _outbox: Outbox| {
        let mut effects = 0;
        for _ in 0..3 {
            let first: Result<bool, Error> =
                db.run(async |s: &mut Session| first_time(s, "received", "acme", "mailer", "event-1").await).await;
            effects += usize::from(first.unwrap());
        }
        assert_eq!(effects, 1);
        let undone: Result<(), Error> = db
            .run(async |s: &mut Session| {
                assert!(first_time(s, "received", "acme", "mailer", "event-2").await?);
                Err(Error::Usage("the effect failed".into()))
            })
            .await;
        assert!(undone.is_err());
        let again: Result<bool, Error> =
            db.run(async |s: &mut Session| first_time(s, "received", "acme", "mailer", "event-2").await).await;
        assert!(again.unwrap(), "a message whose effect was rolled back was not received");
    });
}

#[test]
fn q9_done_events_go_with_their_acknowledgement_or_after_their_time() {
    on_both(async |db: Db, outbox: Outbox| {
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
    on_both(async |db: Db, outbox: Outbox| {
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
