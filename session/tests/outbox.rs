//! The outbox (Q), with an event type that an application would declare, on both backends.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{DbBackend, PaginatorTrait, QueryOrder, Set, entity::prelude::*};
use sea_session::{
    Error, Recorder,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable, first_time, forget_received},
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
        #[sea_orm(default_expr = "Expr::current_timestamp()")]
        pub received_at: DateTimeUtc,
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

/// Takes whole runs, and notes the calls.
struct Runs<F>(Calls, F);

/// The keys and sequences of each call.
type Calls = Arc<Mutex<Vec<Vec<(String, i64)>>>>;

#[async_trait::async_trait]
impl<F: Fn(&Event) -> Delivery + Send + Sync> Handler for Runs<F> {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        self.0.lock().push(events.iter().map(|e| (e.key.clone(), e.sequence)).collect());
        Ok(events.iter().map(&self.1).collect())
    }

    fn takes_runs(&self) -> bool {
        true
    }
}

#[test]
fn q3_a_claim_takes_the_run_of_a_busy_key_and_the_handler_still_sees_one_event_of_it_at_a_time() {
    on_both(async |db: Db, outbox: Outbox| {
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

#[test]
fn q2_a_failure_in_a_run_holds_back_the_rest_of_the_run_uncounted() {
    on_both(async |db: Db, outbox: Outbox| {
        write(&db, (1..=6).map(|n| event("a", n, if n == 3 { "bad" } else { "good" })).collect()).await;
        let fails = |e: &Event| if e.event_type == "bad" { Delivery::Retry("no".into()) } else { Delivery::Done };
        let (seen, handler) = ledger(fails);
        let report = Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!((report.delivered, report.retried), (2, 1));
        assert_eq!(seen.lock().iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [1, 2, 3], "4 was not tried");
        no_more_waiting(&db).await;
        // A handler that takes runs answers for all of it; what it says of events behind a failure does not count.
        let calls = Arc::default();
        let report = Dispatcher::new(&outbox, Runs(Arc::clone(&calls), fails)).drain().await.unwrap();
        assert_eq!((report.delivered, report.retried), (0, 1));
        let attempts: Vec<i32> = event::Entity::find()
            .order_by_asc(event::Column::Sequence)
            .all(db.connection())
            .await
            .unwrap()
            .iter()
            .map(|event| event.attempts)
            .collect();
        assert_eq!(attempts, [1, 1, 2, 0, 0, 0]);
        no_more_waiting(&db).await;
        let (_, handler) = ledger(|e| if e.sequence == 3 { Delivery::Dead("never".into()) } else { Delivery::Done });
        let report = Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!((report.dead, report.delivered), (1, 3), "what follows a dead one goes on");
    });
}

#[test]
fn q2_writers_whose_numbers_and_commits_are_in_another_order_lose_and_reorder_nothing() {
    const KEYS: i64 = 5;
    const WRITERS: usize = 8;
    const UNITS: usize = 25;
    on_both(async |db: Db, outbox: Outbox| {
        create_table(&db, counter::Entity).await.unwrap();
        let counters: Vec<_> = (0..KEYS).map(|id| counter::ActiveModel { id: Set(id), value: Set(0) }).collect();
        counter::Entity::insert_many(counters).exec(db.connection()).await.unwrap();
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher = Dispatcher::new(&outbox, handler).batch(10).claims(2).poll(Duration::from_millis(20));
        let (stop, _) = tokio::sync::broadcast::channel::<()>(1);
        let running: Vec<_> = (0..2)
            .map(|_| {
                let (dispatcher, mut stopped) = (dispatcher.clone(), stop.subscribe());
                tokio::spawn(async move { dispatcher.run(async move { drop(stopped.recv().await) }).await })
            })
            .collect();
        let numbers = Arc::new(std::sync::atomic::AtomicI64::new(1));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (db, numbers, outbox) = (db.clone(), numbers.clone(), outbox.clone());
                tokio::spawn(async move {
                    for unit in 0..UNITS {
                        let outcome: Result<(), Error> = db
                            .session()
                            .retry(20)
                            .run(async |s: &mut Session| {
                                // The event's number is drawn before the key is held, as a flush may do: events of one
                                // key get numbers in another order than their sequence, and commit in a third.
                                let number = numbers.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                                tokio::time::sleep(Duration::from_millis((writer as u64 * 7 + unit as u64 * 5) % 11))
                                    .await;
                                let key = (writer + unit) as i64 % KEYS;
                                let held = counter::Entity::find_by_id(key).for_update().load(s).await?;
                                let next = held[0].value() + 1;
                                held[0].set_value(next);
                                let mut made = event(&format!("k{key}"), next, "made");
                                made.id = Set(number);
                                s.add(made);
                                s.flush().await?;
                                tokio::time::sleep(Duration::from_millis((writer as u64 * 3 + unit as u64) % 7)).await;
                                outbox.wake_after_commit(s);
                                Ok(())
                            })
                            .await;
                        outcome.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        for _ in 0..500 {
            if outbox.metrics().await.unwrap().is_drained() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.send(()).unwrap();
        for running in running {
            running.await.unwrap();
        }
        let mut by_key: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        seen.lock().iter().for_each(|(key, n, _)| by_key.entry(key.clone()).or_default().push(*n));
        assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), WRITERS * UNITS, "none lost, none twice");
        for (key, order) in by_key {
            assert_eq!(order, (1..=order.len() as i64).collect::<Vec<_>>(), "{key}");
        }
    });
}

mod counter {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "counter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub value: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[test]
fn q6_a_burst_of_commits_is_few_notifications() {
    on_both(async |db: Db, outbox: Outbox| {
        if db.backend() == DbBackend::Sqlite {
            return; // Nothing is notified there: dispatchers of this process are told directly.
        }
        let pool = db.connection().get_postgres_connection_pool();
        let mut listener = sea_orm::sqlx::postgres::PgListener::connect_with(pool).await.unwrap();
        listener.listen("sea_session_events_test").await.unwrap();
        const COMMITS: usize = 400;
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (db, outbox) = (db.clone(), outbox.clone());
                tokio::spawn(async move {
                    for n in 0..COMMITS / 4 {
                        let outcome: Result<(), Error> = db
                            .run(async |s: &mut Session| {
                                s.add(event(&format!("{writer}"), n as i64, "made"));
                                outbox.wake_after_commit(s);
                                Ok(())
                            })
                            .await;
                        outcome.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut heard = 0;
        while tokio::time::timeout(Duration::from_millis(300), listener.recv()).await.is_ok() {
            heard += 1;
        }
        assert!((1..=COMMITS / 2).contains(&heard), "{heard} notifications for {COMMITS} commits");
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
    on_both(async |db: Db, outbox: Outbox| {
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

#[test]
fn q8_what_was_received_long_ago_is_forgotten() {
    on_both(async |db: Db, _outbox: Outbox| {
        let receive = async |message: &str| -> Result<bool, Error> {
            db.run(async |s: &mut Session| first_time(s, "received", "acme", "mailer", message).await).await
        };
        for message in ["1", "2", "3"] {
            assert!(receive(message).await.unwrap());
        }
        let forget = async |age: u64, most: u64| -> Result<u64, Error> {
            let age = Duration::from_secs(age);
            db.run(async |s: &mut Session| forget_received(s, "received", "received_at", age, most).await).await
        };
        assert_eq!(forget(200_000, 10).await.unwrap(), 0, "too young");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(forget(0, 2).await.unwrap(), 2, "bounded");
        assert_eq!(forget(0, 2).await.unwrap(), 1);
        assert!(receive("1").await.unwrap());
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
    on_both(async |db: Db, outbox: Outbox| {
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
    on_both(async |db: Db, outbox: Outbox| {
        outbox.create_indexes().await.unwrap();
        outbox.create_indexes().await.unwrap();
        write(&db, (1..=3).map(|n| event("a", n, "made")).collect()).await;
        let (_, handler) = ledger(|_| Delivery::Dead("no".into()));
        Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!(outbox.dead(0, 10).await.unwrap().len(), 3);
    });
}
