//! Runs that fail, are killed, cut off or dropped (G3).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sea_orm::{ConnectionTrait, TransactionTrait};
use sea_session_migration::{Error, Event, Finding, Options, State};

use crate::{
    common::{Fresh, connect},
    support::{child, child_runs, scripted, scripted::Script, until, until_child_starts},
};

async fn clean_catalogue(fresh: &Fresh, script: Script) -> Vec<String> {
    let other = if fresh.is_postgres() { Fresh::postgres().await } else { Fresh::sqlite().await };
    scripted::run(script, other.db.clone(), Options::default()).await.unwrap();
    let catalogue = other.catalogue().await;
    other.close().await;
    catalogue
}

#[tokio::test]
async fn g3_a_migration_that_fails_half_way_leaves_nothing_and_runs_again() {
    for fresh in Fresh::each().await {
        scripted::run(Script::Base, fresh.db.clone(), Options::default()).await.unwrap();
        let before = fresh.catalogue().await;
        fresh.sql("INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'a')").await;
        let error = scripted::run(Script::Halfway, fresh.db.clone(), Options::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("m2_halfway") && text.contains("rolled back"), "{text}");
        let Error::Failed { statement: Some(statement), .. } = &error else { panic!("no statement: {text}") };
        assert!(statement.contains("CREATE UNIQUE INDEX"), "{text}");
        assert_eq!(fresh.catalogue().await, before);
        fresh.sql("DELETE FROM things WHERE id = 2").await;
        scripted::run(Script::Halfway, fresh.db.clone(), Options::default()).await.unwrap();
        assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::Halfway).await);
        fresh.close().await;
    }
}

#[tokio::test]
async fn g3_a_runner_that_is_killed_leaves_nothing_and_the_next_one_waits_for_what_is_left_of_it() {
    if child_runs().await {
        return;
    }
    for fresh in Fresh::each().await {
        let mut killed = child(Script::Slow, &fresh.url);
        until_child_starts(&mut killed, "m2_slow");
        tokio::time::sleep(Duration::from_millis(200)).await;
        killed.kill().unwrap();
        killed.wait().unwrap();
        let report = scripted::run(Script::Slow, fresh.db.clone(), Options::default()).await.unwrap();
        assert_eq!(report.steps.len(), 1, "the one before stands, nothing of the one that was killed");
        assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::Slow).await);
        fresh.close().await;
    }
}

#[tokio::test]
async fn g3_a_runner_that_is_cut_off_from_the_server_reports_it_and_the_next_one_finishes() {
    let fresh = Fresh::postgres().await;
    let db = connect(&fresh.url).await;
    let running = tokio::spawn(scripted::run(Script::Slow, db, Options::default()));
    until("the slow migration", Duration::from_secs(20), async || {
        fresh.count("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()").await > 0
    })
    .await;
    fresh.count("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'migrate %' AND datname = current_database()").await;
    let error = running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("m2_slow"), "{error}");
    assert_eq!(scripted::run(Script::Slow, fresh.db.clone(), Options::default()).await.unwrap().steps.len(), 1);
    assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::Slow).await);
    fresh.close().await;
}

#[tokio::test]
async fn g3_a_runner_that_lost_its_lock_commits_nothing() {
    let fresh = Fresh::postgres().await;
    let db = connect(&fresh.url).await;
    let running = tokio::spawn(scripted::run(Script::Slow, db, Options::default()));
    until("the slow migration", Duration::from_secs(20), async || {
        fresh.count("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()").await > 0
    })
    .await;
    // Only the connection that holds the lock: the one at work goes on.
    fresh.count("SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a WHERE application_name LIKE 'migrate %' AND datname = current_database() AND query NOT LIKE '%pg_sleep%'").await;
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::LockLost { migration } if migration == "m2_slow"), "{error}");
    assert_eq!(fresh.count("SELECT count(*) FROM seaql_migrations WHERE version = 'm2_slow'").await, 0);
    fresh.close().await;
}

#[tokio::test]
async fn g3_what_cannot_run_in_a_transaction_is_resumed_after_its_last_statement() {
    let fresh = Fresh::postgres().await;
    scripted::run(Script::Base, fresh.db.clone(), Options::default()).await.unwrap();
    fresh.sql("INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'a')").await;
    let error = scripted::run(Script::Concurrent, fresh.db.clone(), Options::default()).await.unwrap_err();
    let Error::Failed { statement: Some(statement), left: Some(1), .. } = &error else { panic!("{error:?}") };
    assert!(statement.contains("CONCURRENTLY"), "{error}");
    assert!(error.to_string().contains("takes it up"), "{error}");
    assert_eq!(fresh.count("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, 0, "an invalid index is left");
    let status = scripted::status(Script::Concurrent, fresh.db.clone()).await;
    assert_eq!(status[1].state, State::Applying);
    assert!(status[1].findings.contains(&Finding::Interrupted { done: 1 }), "{status:?}");
    fresh.sql("DELETE FROM things WHERE id = 2").await;
    let events = Arc::new(Mutex::new(Vec::new()));
    let listener = events.clone();
    scripted::run_with(Script::Concurrent, fresh.db.clone(), Options::default(), move |event| {
        listener.lock().unwrap().push(event.clone());
    })
    .await
    .unwrap();
    assert!(events.lock().unwrap().iter().any(|event| matches!(event, Event::Resumed { done: 1, .. })));
    assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::Concurrent).await);
    fresh.close().await;
}

#[tokio::test]
async fn g3_a_concurrent_index_whose_runner_is_killed_is_built_by_the_next() {
    let fresh = Fresh::postgres().await;
    scripted::run(Script::Base, fresh.db.clone(), Options::default()).await.unwrap();
    // The index waits for this transaction, in its second phase, with an invalid index in the catalogue.
    let holder = fresh.db.begin().await.unwrap();
    holder.execute_unprepared("INSERT INTO things (id, name) VALUES (1, 'a')").await.unwrap();
    let mut killed = child(Script::Index, &fresh.url);
    until("the invalid index", Duration::from_secs(20), async || {
        fresh.count("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await > 0
    })
    .await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    holder.commit().await.unwrap();
    scripted::run(Script::Index, fresh.db.clone(), Options::default()).await.unwrap();
    assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::Index).await);
    fresh.close().await;
}

#[tokio::test]
async fn g3_what_was_corrected_after_it_stopped_goes_on_from_there_or_back() {
    let fresh = Fresh::postgres().await;
    scripted::run(Script::Base, fresh.db.clone(), Options::default()).await.unwrap();
    let before = fresh.catalogue().await;
    fresh.sql("INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'a')").await;
    scripted::run(Script::Concurrent, fresh.db.clone(), Options::default()).await.unwrap_err();
    // Its second statement is another one now; the first, which stands, is the same.
    scripted::run(Script::ConcurrentCorrected, fresh.db.clone(), Options::default()).await.unwrap();
    assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::ConcurrentCorrected).await);
    assert!(scripted::status(Script::ConcurrentCorrected, fresh.db.clone()).await[1].findings.is_empty());
    scripted::down(Script::ConcurrentCorrected, fresh.db.clone(), 1).await.unwrap();
    assert_eq!(fresh.catalogue().await, before);
    // And from half-way up, down.
    scripted::run(Script::Concurrent, fresh.db.clone(), Options::default()).await.unwrap_err();
    scripted::down(Script::Concurrent, fresh.db.clone(), 1).await.unwrap();
    assert_eq!(fresh.catalogue().await, before);
    fresh.close().await;
}

#[tokio::test]
async fn g3_a_run_that_is_dropped_is_rolled_back_and_holds_up_nobody() {
    for fresh in Fresh::each().await {
        let run = scripted::run(Script::Slow, fresh.db.clone(), Options::default());
        let dropped = tokio::time::timeout(Duration::from_millis(500), run).await;
        assert!(dropped.is_err(), "it was meant to be slower");
        scripted::run(Script::Slow, fresh.db.clone(), Options::default()).await.unwrap();
        assert_eq!(fresh.catalogue().await, clean_catalogue(&fresh, Script::Slow).await);
        fresh.close().await;
    }
}
