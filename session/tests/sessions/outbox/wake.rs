//! Wake-ups after a commit, and polling where one is lost (Q6).

use std::time::Duration;

use sea_session::{
    Error, Recorder,
    outbox::{Delivery, Dispatcher, Outbox},
    prelude::*,
};

use super::support::{Running, arrived, elsewhere, event, ledger, on_all, on_postgres, url, write, write_and_wake};

/// So long that nothing is found by polling within a test.
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn q6_a_commit_wakes_an_idle_dispatcher_long_before_it_would_poll() {
    on_all(async |db: Db, outbox: Outbox| {
        let (seen, handler) = ledger(|_| Delivery::Done);
        let running = Running::start(Dispatcher::new(&outbox, handler).poll(NEVER));
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Set up apart, as in another part of the program.
        write_and_wake(&db, &Outbox::new(&db, "events", "test"), event("a", 1, "made")).await;
        assert_eq!(arrived(&seen, 1).await, 1);
        assert_eq!(running.stop().await.delivered, 1);
    });
}

/// On SQLite another process polls; `q6_polling_finds_what_a_lost_wake_up_missed` is its test.
#[test]
fn q6_another_process_is_woken_by_notify_outside_of_the_business_transaction() {
    on_postgres(async |db: Db, outbox: Outbox| {
        let elsewhere = elsewhere(&db).await;
        let (seen, handler) = ledger(|_| Delivery::Done);
        let there = Outbox::new(&elsewhere, "events", "test");
        let running = Running::start(Dispatcher::new(&there, handler).poll(NEVER));
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
        assert_eq!(arrived(&seen, 1).await, 1);
        assert!(recorder.take().iter().all(|sql| !sql.to_lowercase().contains("notify")));
        running.stop().await;
        elsewhere.close().await.unwrap();
    });
}

#[test]
fn q6_another_process_is_woken_although_the_outbox_that_was_written_through_is_gone() {
    on_postgres(async |db: Db, outbox: Outbox| {
        let (seen, handler) = ledger(|_| Delivery::Done);
        let running = Running::start(Dispatcher::new(&outbox, handler).poll(NEVER));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (url, seen_there) = (url(&db).await, seen.clone());
        // One thread: what tells other processes runs only once the outbox is gone, and with it what only that would hold.
        let writer = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let elsewhere = Db::connect(url).await.unwrap();
                let outbox = Outbox::new(&elsewhere, "events", "test");
                write_and_wake(&elsewhere, &outbox, event("a", 1, "made")).await;
                drop(outbox);
                let woken = arrived(&seen_there, 1).await;
                elsewhere.close().await.unwrap();
                woken
            })
        });
        assert_eq!(tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap(), 1);
        running.stop().await;
    });
}

#[test]
fn q6_polling_finds_what_a_lost_wake_up_missed() {
    on_all(async |db: Db, outbox: Outbox| {
        let (seen, handler) = ledger(|_| Delivery::Done);
        let running = Running::start(Dispatcher::new(&outbox, handler).poll(Duration::from_millis(50)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        write(&db, vec![event("a", 1, "made")]).await;
        assert_eq!(arrived(&seen, 1).await, 1);
        running.stop().await;
    });
}

/// On SQLite nothing is notified: dispatchers of this process are told directly.
#[test]
fn q6_a_burst_of_commits_is_few_notifications() {
    on_postgres(async |db: Db, outbox: Outbox| {
        const COMMITS: usize = 400;
        let pool = db.connection().get_postgres_connection_pool();
        let mut listener = sea_orm::sqlx::postgres::PgListener::connect_with(pool).await.unwrap();
        listener.listen("sea_session_events_test").await.unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (db, outbox) = (db.clone(), outbox.clone());
                tokio::spawn(async move {
                    for n in 0..COMMITS / 4 {
                        write_and_wake(&db, &outbox, event(&format!("{writer}"), n as i64, "made")).await;
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

/// What is owed for a claim is paid by the next, which waits for more events: were that longer than the lease, others would
/// deliver them again.
#[test]
fn q6_however_long_events_are_gathered_a_batch_is_acknowledged_within_its_lease() {
    const EVENTS: usize = 900;
    on_all(async |db: Db, outbox: Outbox| {
        let lease = Duration::from_millis(400);
        let (seen, handler) = ledger(|_| Delivery::Done);
        let patient = Dispatcher::new(&outbox, handler).batch(2 * EVENTS).lease(lease).linger(NEVER).poll(NEVER);
        let running = Running::start(patient);
        tokio::time::sleep(Duration::from_millis(200)).await;
        write(&db, (0..EVENTS).map(|n| event(&format!("key {n}"), 1, "made")).collect()).await;
        outbox.wake();
        assert_eq!(arrived(&seen, EVENTS).await, EVENTS);
        tokio::time::sleep(lease + Duration::from_millis(200)).await;
        let (again, handler) = ledger(|_| Delivery::Done);
        Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!(again.lock().len(), 0, "delivered once");
        assert_eq!(running.stop().await.delivered, EVENTS as u64);
    });
}
