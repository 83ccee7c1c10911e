//! Who waits for whom, what was changed, who is held up (G2, G4, G7), and the migrations of other projects (G1).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use sea_session_migration::{Error, Event, Finding, Options, Runner};

use crate::{
    common::{Fresh, connect},
    support::{foreign_bakery, foreign_forum, scripted, scripted::Script, until},
};

#[tokio::test]
async fn g1_the_migrations_of_other_projects_run_unchanged() {
    for fresh in Fresh::each().await {
        let runner = Runner::<foreign_bakery::Migrator>::new(fresh.db.clone());
        assert_eq!(runner.up().await.unwrap().steps.len(), 3);
        let ours = fresh.catalogue().await;
        assert_eq!(runner.refresh().await.unwrap().steps.len(), 6);
        assert_eq!(fresh.catalogue().await, ours);
        let reference = if fresh.is_postgres() { Fresh::postgres().await } else { Fresh::sqlite().await };
        foreign_bakery::Migrator::up(&reference.db, None).await.unwrap();
        assert_eq!(reference.catalogue().await, ours, "SeaORM's own tool makes the same");
        // A table of its own name, beside the first.
        let forum = Runner::<foreign_forum::Migrator>::new(fresh.db.clone());
        assert_eq!(forum.up().await.unwrap().steps.len(), 3);
        assert_eq!(fresh.count("SELECT count(*) FROM forum_migrations").await, 3);
        assert!(forum.verify().await.unwrap().iter().all(|(_, finding)| !finding.is_error()));
        assert_eq!(forum.reset().await.unwrap().steps.len(), 3);
        assert_eq!(
            fresh
                .catalogue()
                .await
                .iter()
                .filter(|line| !line.contains("forum_migrations"))
                .cloned()
                .collect::<Vec<_>>(),
            ours
        );
        reference.close().await;
        fresh.close().await;
    }
}

#[tokio::test]
async fn g2_a_runner_that_waits_too_long_says_who_holds_the_lock() {
    for fresh in Fresh::each().await {
        let started = Arc::new(AtomicBool::new(false));
        let seen = started.clone();
        let slow = tokio::spawn(scripted::run_with(Script::Slow, fresh.db.clone(), Options::default(), move |event| {
            if matches!(event, Event::Started { name, .. } if name == "m2_slow") {
                seen.store(true, Ordering::Relaxed);
            }
        }));
        let other = connect(&fresh.url).await;
        until("the slow migration", Duration::from_secs(20), async || started.load(Ordering::Relaxed)).await;
        let mut options = Options::default();
        options.wait = Duration::from_millis(100);
        let since = Instant::now();
        let error = scripted::run(Script::Slow, other.clone(), options).await.unwrap_err();
        assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
        let Error::Locked { holder: Some(holder), .. } = &error else { panic!("{error}") };
        assert!(holder.who.contains(&format!(":{}", std::process::id())), "{error}");
        slow.await.unwrap().unwrap();
        // The one who waited long enough finds nothing to do.
        assert!(scripted::run(Script::Slow, other, Options::default()).await.unwrap().steps.is_empty());
        fresh.close().await;
    }
}

#[tokio::test]
async fn g4_changed_missing_and_out_of_order_migrations_are_reported_and_refused() {
    for fresh in Fresh::each().await {
        let db = || fresh.db.clone();
        scripted::run(Script::Halfway, db(), Options::default()).await.unwrap();
        let error = scripted::run(Script::HalfwayEdited, db(), Options::default()).await.unwrap_err();
        assert!(matches!(&error, Error::Changed { names } if names == &["m2_halfway"]), "{error}");
        let status = scripted::status(Script::HalfwayEdited, db()).await;
        assert!(matches!(status[1].findings.as_slice(), [Finding::Changed { .. }]), "{status:?}");
        let mut options = Options::default();
        options.allow_changed = true;
        scripted::run(Script::HalfwayEdited, db(), options).await.unwrap();
        scripted::accept(Script::HalfwayEdited, db(), "m2_halfway").await.unwrap();
        scripted::run(Script::HalfwayEdited, db(), Options::default()).await.unwrap();

        let error = scripted::run(Script::Base, db(), Options::default()).await.unwrap_err();
        assert!(matches!(&error, Error::Missing { names } if names == &["m2_halfway"]), "{error}");
        assert_eq!(scripted::status(Script::Base, db()).await[1].findings, [Finding::Missing]);

        let status = scripted::status(Script::Inserted, db()).await;
        assert_eq!(status[1].findings, [Finding::OutOfOrder { after: "m2_halfway".into() }], "{status:?}");
        fresh.close().await;
    }
}

#[tokio::test]
async fn g7_eight_writers_go_on_while_a_column_and_an_index_are_added() {
    let fresh = Fresh::postgres().await;
    scripted::run(Script::Base, fresh.db.clone(), Options::default()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8_i32)
        .map(|writer| {
            let (stop, url) = (stop.clone(), fresh.url.clone());
            tokio::spawn(async move {
                let db = connect(&url).await;
                let (mut writes, mut longest, mut next) = (0_u32, Duration::ZERO, writer * 1_000_000);
                while !stop.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    let transaction = db.begin().await.unwrap();
                    next += 1;
                    transaction
                        .execute_unprepared(&format!("INSERT INTO things (id, name) VALUES ({next}, 'w{next}')"))
                        .await
                        .unwrap();
                    // Holds its lock for a while, so that the migration has somebody to wait for.
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    transaction.commit().await.unwrap();
                    writes += 1;
                    longest = longest.max(since.elapsed());
                }
                (writes, longest)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // One reader that never ends: the first attempts cannot have their lock, and must let the writers by.
    let reader = fresh.db.begin().await.unwrap();
    reader.execute_unprepared("SELECT count(*) FROM things").await.unwrap();
    let mut options = Options::default();
    options.lock_timeout = Duration::from_millis(250);
    options.lock_attempts = 40;
    let retries = Arc::new(Mutex::new(0));
    let counter = retries.clone();
    let migration = tokio::spawn(scripted::run_with(Script::Load, fresh.db.clone(), options.clone(), move |event| {
        if matches!(event, Event::Retrying { .. }) {
            *counter.lock().unwrap() += 1;
        }
    }));
    until("two attempts", Duration::from_secs(20), async || *retries.lock().unwrap() >= 2).await;
    reader.rollback().await.unwrap();
    migration.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut total, mut longest) = (0, Duration::ZERO);
    for writer in writers {
        let (writes, pause) = writer.await.unwrap();
        assert!(writes > 20, "a writer was starved: {writes}");
        total += writes;
        longest = longest.max(pause);
    }
    println!(
        "{total} writes by 8 writers; the longest took {longest:?}, with a lock timeout of {:?}",
        options.lock_timeout
    );
    assert!(longest < options.lock_timeout + Duration::from_millis(500), "{longest:?}");
    assert_eq!(fresh.count("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, 0);
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, i64::from(total));
    fresh.close().await;
}
