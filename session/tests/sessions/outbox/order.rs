//! Events of a key come in their order, and hold up no other key (Q2).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sea_orm::{QueryOrder, Set, entity::prelude::*};
use sea_session::{
    Error,
    outbox::{Delivery, Dispatcher, Event, Outbox},
    prelude::*,
    testing::create_table,
};

use super::support::{
    Running, Runs, Stuck, arrived, elsewhere, event, ledger, no_more_waiting, on_all, on_postgres, write,
};

#[test]
fn q2_per_key_in_order_under_several_dispatchers_and_other_keys_are_not_held_up() {
    on_all(async |db: Db, outbox: Outbox| {
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
    on_all(async |db: Db, outbox: Outbox| {
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
fn q2_a_failure_in_a_run_holds_back_the_rest_of_the_run_uncounted() {
    on_all(async |db: Db, outbox: Outbox| {
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
fn q2_keys_that_a_stuck_dispatcher_would_take_first_are_delivered_by_the_others() {
    on_postgres(async |db: Db, outbox: Outbox| {
        const KEYS: usize = 60;
        let elsewhere = elsewhere(&db).await;
        let there = Outbox::new(&elsewhere, "events", "test");
        let stuck = Running::start(Dispatcher::new(&there, Stuck).batch(1).deadline(Duration::ZERO));
        let (seen, handler) = ledger(|_| Delivery::Done);
        let running = Running::start(Dispatcher::new(&outbox, handler).batch(10).poll(Duration::from_millis(100)));
        // Both take part by now, so each has about half of the keys.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let events = |n: i64| (0..KEYS).map(|key| event(&format!("k{key}"), n, "made")).collect::<Vec<_>>();
        write(&db, events(1)).await;
        there.wake();
        assert_eq!(arrived(&seen, KEYS - 1).await, KEYS - 1, "all but the one that the stuck dispatcher holds");
        assert_eq!(stuck.stop().await.delivered, 0);
        assert_eq!(arrived(&seen, KEYS).await, KEYS, "and what it held, as soon as it gave it back");
        running.stop().await;
        elsewhere.close().await.unwrap();
    });
}

#[test]
fn q2_writers_whose_numbers_and_commits_are_in_another_order_lose_and_reorder_nothing() {
    const KEYS: i64 = 5;
    const WRITERS: usize = 8;
    const UNITS: usize = 25;
    on_all(async |db: Db, outbox: Outbox| {
        create_table(&db, counter::Entity).await.unwrap();
        let counters: Vec<_> = (0..KEYS).map(|id| counter::ActiveModel { id: Set(id), value: Set(0) }).collect();
        counter::Entity::insert_many(counters).exec(db.connection()).await.unwrap();
        let (seen, handler) = ledger(|_| Delivery::Done);
        let dispatcher = Dispatcher::new(&outbox, handler).batch(10).claims(2).poll(Duration::from_millis(20));
        let running: Vec<_> = (0..2).map(|_| Running::start(dispatcher.clone())).collect();
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
        for running in running {
            running.stop().await;
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
