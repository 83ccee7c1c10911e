//! Who waits for whom (G2, G7).

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use sea_session_migration::{Error, Event, Options, Runner};

use super::{Fresh, LOCK_HOLDER, patient, scripts::*, telling};
use crate::{common::connect, support::until};

#[tokio::test]
async fn g2_of_two_runners_one_migrates_and_the_other_waits_and_finds_nothing_to_do() {
    let fresh = Fresh::with_things().await;
    let first = fresh.held_up::<Column>().await;
    let other = connect(&fresh.url).await;
    let (runner, events) = telling::<Column>(&other);
    let second = tokio::spawn(async move { runner.up().await });
    until("the second runner waits", Duration::from_secs(30), async || {
        events.lock().unwrap().iter().any(|event| matches!(event, Event::Waiting { .. }))
    })
    .await;
    let holder = fresh.count(LOCK_HOLDER).await;
    let named = events.lock().unwrap().iter().any(|event| event.to_string().contains(&format!("connection {holder}")));
    assert!(named, "{:?}", events.lock().unwrap());
    assert!(!second.is_finished());
    first.reader.rollback().await.unwrap();
    assert_eq!(first.run.await.unwrap().unwrap().steps.len(), 1);
    assert!(second.await.unwrap().unwrap().steps.is_empty());
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
}

#[tokio::test]
async fn g2_a_runner_that_may_not_wait_says_who_holds_the_lock() {
    let fresh = Fresh::with_things().await;
    let first = fresh.held_up::<Column>().await;
    let mut options = Options::default();
    options.wait = Duration::ZERO;
    let runner = Runner::<Column>::new(connect(&fresh.url).await).with(options).on_event(|_| ());
    let error = runner.up().await.unwrap_err();
    let Error::Locked { holder: Some(holder), .. } = &error else { panic!("{error:?}") };
    assert!(holder.who.contains(&format!("connection {}", fresh.count(LOCK_HOLDER).await)), "{error}");
    first.reader.rollback().await.unwrap();
    first.run.await.unwrap().unwrap();
    fresh.until(LOCK_HOLDER, 0).await;
}

#[tokio::test]
async fn g2_a_runner_whose_locks_connection_was_killed_goes_no_further() {
    let fresh = Fresh::with_things().await;
    let held_up = fresh.held_up::<Column>().await;
    let holder = fresh.count(LOCK_HOLDER).await;
    assert!(holder > 0);
    fresh.sql(&format!("KILL {holder}")).await;
    fresh.until(LOCK_HOLDER, 0).await;
    held_up.reader.rollback().await.unwrap();
    let error = held_up.run.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("lock was lost"), "{error}");
    assert_eq!(fresh.count("SELECT count(*) FROM seaql_migrations").await, 1);
    assert_eq!(fresh.count("SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'after_it'").await, 0);
    assert_eq!(fresh.up::<Column>().await.unwrap().steps.len(), 1);
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
}

#[tokio::test]
async fn g2_a_run_that_is_dropped_gives_the_lock_back_and_the_next_waits_for_what_the_server_still_does() {
    let fresh = Fresh::with_things().await;
    let reader = fresh.held_up::<Column>().await.dropped().await;
    fresh.until(LOCK_HOLDER, 0).await;
    let (runner, events) = telling::<Column>(&fresh.db);
    let next = tokio::spawn(async move { runner.up().await });
    until("the next runner waits", Duration::from_secs(30), async || {
        events.lock().unwrap().iter().any(|event| matches!(event, Event::Waiting { .. }))
    })
    .await;
    assert!(!next.is_finished());
    reader.rollback().await.unwrap();
    assert_eq!(next.await.unwrap().unwrap().steps.len(), 1);
}

#[tokio::test]
async fn g7_a_table_that_is_in_use_is_tried_again_and_nobody_queues_behind_for_longer_than_asked() {
    let fresh = Fresh::with_things().await;
    let reader = fresh.db.begin().await.unwrap();
    reader.execute_unprepared("SELECT count(*) FROM things").await.unwrap();
    let (runner, events) = telling::<Column>(&fresh.db);
    let mut options = patient();
    options.lock_timeout = Duration::from_millis(1);
    options.lock_attempts = u32::MAX;
    let run = tokio::spawn(async move { runner.with(options).up().await });
    until("it is tried again", Duration::from_secs(30), async || {
        events.lock().unwrap().iter().any(|event| matches!(event, Event::Retrying { attempt: 2, .. }))
    })
    .await;
    reader.rollback().await.unwrap();
    assert_eq!(run.await.unwrap().unwrap().steps.len(), 1);
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
}

#[tokio::test]
async fn g7_a_statement_that_takes_too_long_is_ended() {
    let fresh = Fresh::with_things().await;
    let mut options = Options::default();
    options.statement_timeout = Some(Duration::from_millis(50));
    let error = fresh.runner::<Slow>().with(options).up().await.unwrap_err();
    assert!(matches!(&error, Error::Failed { statement: Some(_), left: None, .. }), "{error:?}");
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, 0);
}
