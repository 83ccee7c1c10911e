//! Migrations that stop half-way, and how they go on (G3, Y2).

use sea_orm::ConnectionTrait;
use sea_session_migration::{Error, Event, Finding, Report, State};

use super::{Fresh, scripts::*};

fn resumed_after(events: &[Event]) -> Option<u64> {
    events.iter().find_map(|event| match event {
        Event::Resumed { done, .. } => Some(*done),
        _ => None,
    })
}

fn found_done(events: &[Event]) -> Option<String> {
    events.iter().find_map(|event| match event {
        Event::FoundDone { statement, .. } => Some(statement.clone()),
        _ => None,
    })
}

fn reason(outcome: Result<Report, Error>) -> String {
    match outcome {
        Err(error @ Error::Unsettled { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn g3_a_step_that_fails_is_told_and_the_next_run_goes_on_with_it() {
    let fresh = Fresh::with_things().await;
    fresh.sql("INSERT INTO things VALUES (1, 'a'), (2, 'a')").await;
    for _ in 0..2 {
        let error = fresh.up::<Halfway>().await.unwrap_err();
        let Error::Failed { statement: Some(statement), left: Some(3), .. } = &error else { panic!("{error:?}") };
        assert!(statement.starts_with("CREATE UNIQUE INDEX"), "{error}");
        assert!(error.to_string().contains("takes it up where it stopped"), "{error}");
        let status = &fresh.status::<Halfway>().await[1];
        assert_eq!(status.state, State::Applying);
        assert!(status.findings.contains(&Finding::Interrupted { done: 3 }), "{status:?}");
    }
    fresh.sql("DELETE FROM things WHERE id = 2").await;
    let (outcome, events) = fresh.told::<Halfway>().await;
    assert_eq!(outcome.unwrap().steps.len(), 1);
    assert_eq!((resumed_after(&events), found_done(&events)), (Some(3), None));
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Halfway>().await);
    assert_eq!(fresh.count("SELECT count(*) FROM more").await, 1, "a row was written twice");
    assert!(fresh.status::<Halfway>().await.iter().all(|status| status.findings.is_empty()));
}

#[tokio::test]
async fn g3_what_was_corrected_after_it_stopped_goes_on_from_there_or_back() {
    let fresh = Fresh::with_things().await;
    let before = fresh.catalogue().await;
    fresh.sql("INSERT INTO things VALUES (1, 'a'), (2, 'a')").await;
    fresh.up::<Halfway>().await.unwrap_err();
    let why = reason(fresh.up::<HalfwayRewritten>().await);
    assert!(why.contains("first 3 statements are no longer those"), "{why}");
    fresh.up::<HalfwayCorrected>().await.unwrap();
    assert_eq!(fresh.catalogue().await, Fresh::clean::<HalfwayCorrected>().await);
    fresh.runner::<HalfwayCorrected>().down(1).await.unwrap();
    assert_eq!(fresh.catalogue().await, before);
    // And from half-way up, down: some of what it takes back is not there.
    fresh.up::<Halfway>().await.unwrap_err();
    fresh.sql("ALTER TABLE things ADD KEY things_name_key (name)").await;
    fresh.runner::<Halfway>().down(1).await.unwrap();
    assert_eq!((fresh.catalogue().await, fresh.state::<Halfway>(1).await), (before, State::Pending));
}

#[tokio::test]
async fn g3_a_step_that_was_carried_out_after_its_runner_had_gone_is_found_and_not_repeated() {
    let fresh = Fresh::with_things().await;
    let held_up = fresh.held_up::<Column>().await;
    let reader = held_up.dropped().await;
    let (outcome, events) = {
        let next = tokio::spawn({
            let (runner, events) = super::telling::<Column>(&fresh.db);
            async move { (runner.up().await, events) }
        });
        reader.rollback().await.unwrap();
        let (outcome, events) = next.await.unwrap();
        (outcome, events.lock().unwrap().clone())
    };
    assert_eq!(outcome.unwrap().steps.len(), 1);
    assert_eq!(found_done(&events).as_deref(), Some("ALTER TABLE things ADD COLUMN extra int"), "{events:?}");
    assert_eq!(resumed_after(&events), Some(2));
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
}

#[tokio::test]
async fn g3_a_step_that_was_not_carried_out_is_sent_by_the_next_run() {
    let fresh = Fresh::with_things().await;
    let held_up = fresh.held_up::<Column>().await;
    let waiting = "SELECT CAST(ID AS signed) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() \
        AND STATE LIKE 'Waiting for table metadata lock%'";
    let number = fresh.count(waiting).await;
    fresh.sql(&format!("KILL {number}")).await;
    let error = held_up.run.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("m2_column"), "{error}");
    held_up.reader.rollback().await.unwrap();
    let (outcome, events) = fresh.told::<Column>().await;
    outcome.unwrap();
    assert_eq!((resumed_after(&events), found_done(&events)), (Some(1), None));
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
}

#[tokio::test]
async fn g3_a_step_whose_place_was_taken_by_another_is_not_counted_as_that_one() {
    let fresh = Fresh::with_things().await;
    let reader = fresh.held_up::<Column>().await.dropped().await;
    reader.rollback().await.unwrap();
    let why = reason(fresh.up::<OtherColumn>().await);
    assert!(why.contains("no longer has it there") && why.contains("ADD COLUMN extra"), "{why}");
    fresh.up::<Column>().await.unwrap();
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
}

#[tokio::test]
async fn g3_what_nobody_can_see_is_never_repeated_and_waits_for_an_operator() {
    for state in [State::Applied, State::Pending] {
        let fresh = Fresh::with_things().await;
        fresh.sql("INSERT INTO things VALUES (1, 'a')").await;
        let reader = fresh.held_up::<Truncated>().await.dropped().await;
        reader.rollback().await.unwrap();
        for _ in 0..2 {
            let why = reason(fresh.up::<Truncated>().await);
            assert!(why.contains("TRUNCATE TABLE things") && why.contains("migrate settle m2_truncated"), "{why}");
        }
        fresh.sql("INSERT INTO things VALUES (2, 'kept')").await;
        let runner = fresh.runner::<Truncated>();
        let error = runner.settle("m1_base", state).await.unwrap_err();
        assert!(matches!(error, Error::NotInterrupted { .. }), "{error}");
        let error = runner.settle("m3_other", state).await.unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
        let error = runner.settle("m2_truncated", State::Applying).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        runner.settle("m2_truncated", state).await.unwrap();
        assert_eq!(fresh.state::<Truncated>(1).await, state);
        fresh.up::<Truncated>().await.unwrap();
        let kept = i64::from(state == State::Applied);
        assert_eq!(fresh.count("SELECT count(*) FROM things WHERE id = 2").await, kept);
        assert_eq!(fresh.count("SELECT count(*) FROM seaql_migrations").await, 2);
    }
}

#[tokio::test]
async fn g3_what_changes_rows_only_is_one_transaction() {
    let fresh = Fresh::with_things().await;
    let error = fresh.up::<RowsThatFail>().await.unwrap_err();
    let Error::Failed { statement: Some(statement), left: None, .. } = &error else { panic!("{error:?}") };
    assert!(statement.contains("NULL") && error.to_string().contains("rolled back"), "{error}");
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, 0);
    assert_eq!(fresh.state::<RowsThatFail>(1).await, State::Pending);
    fresh.up::<Rows>().await.unwrap();
    assert_eq!(fresh.count("SELECT count(*) FROM things WHERE name = 'b'").await, 2);
    fresh.runner::<Rows>().down(1).await.unwrap();
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, 0);
}

#[tokio::test]
async fn g3_settings_of_the_connection_hold_for_what_is_resumed() {
    let fresh = Fresh::with_things().await;
    fresh.sql("INSERT INTO things VALUES (1, 'a'), (2, 'a')").await;
    let error = fresh.up::<Setting>().await.unwrap_err();
    assert!(matches!(error, Error::Failed { left: Some(2), .. }), "{error}");
    fresh.sql("DELETE FROM things WHERE id = 2").await;
    fresh.up::<Setting>().await.unwrap();
    assert_eq!(fresh.count("SELECT count(*) FROM child").await, 1);
}

#[tokio::test]
async fn g3_code_that_fails_before_anything_is_committed_leaves_nothing_and_runs_again() {
    let fresh = Fresh::with_things().await;
    fresh.sql("CREATE TABLE by_code (id int)").await;
    for _ in 0..2 {
        fresh.sql("INSERT INTO things VALUES (1, 'in the way')").await;
        let error = fresh.up::<Code>().await.unwrap_err();
        assert!(matches!(&error, Error::Failed { left: None, .. }), "{error:?}");
        assert_eq!(fresh.state::<Code>(1).await, State::Pending);
        fresh.sql("DELETE FROM things").await;
    }
    fresh.sql("DROP TABLE by_code").await;
    fresh.up::<Code>().await.unwrap();
    assert_eq!(fresh.count("SELECT count(*) FROM things, by_code").await, 1);
    fresh.runner::<Code>().down(1).await.unwrap();
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Base>().await);
}

#[tokio::test]
async fn g3_code_that_was_committed_in_part_is_never_repeated() {
    let fresh = Fresh::with_things().await;
    let why = reason(fresh.up::<CodeThatFails>().await);
    assert!(why.contains("already exists") && why.contains("some of it was committed"), "{why}");
    let why = reason(fresh.up::<CodeThatFails>().await);
    assert!(why.contains("no plain list of statements"), "{why}");
    // Down from half-way is not a repetition.
    fresh.runner::<CodeThatFails>().down(1).await.unwrap();
    assert_eq!(fresh.state::<CodeThatFails>(1).await, State::Pending);
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Base>().await);
}

#[tokio::test]
async fn g3_what_stopped_on_its_way_down_is_not_sent_up() {
    let fresh = Fresh::new().await;
    fresh.up::<Column>().await.unwrap();
    fresh.sql("CREATE TABLE kept (id int); RENAME TABLE things TO away").await;
    let error = fresh.runner::<Column>().down(1).await.unwrap_err();
    assert!(matches!(error, Error::Failed { left: Some(1), .. }), "{error}");
    assert_eq!(fresh.state::<Column>(1).await, State::Reverting);
    let why = reason(fresh.up::<Column>().await);
    assert!(why.contains("on its way down"), "{why}");
    fresh.db.execute_unprepared("RENAME TABLE away TO things").await.unwrap();
    fresh.runner::<Column>().down(1).await.unwrap();
    assert_eq!(fresh.state::<Column>(1).await, State::Pending);
    assert_eq!(fresh.count("SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'before_it'").await, 0);
}

#[tokio::test]
async fn g3_a_step_that_was_refused_and_has_changed_something_is_not_repeated() {
    let fresh = Fresh::with_things().await;
    let error = fresh.up::<DropBoth>().await.unwrap_err();
    let Error::Failed { statement: Some(statement), left: Some(1), .. } = &error else { panic!("{error:?}") };
    assert_eq!(statement, "DROP TABLE one, other");
    let why = reason(fresh.up::<DropBoth>().await);
    assert!(why.contains("has changed the schema all the same") && why.contains("DROP TABLE one, other"), "{why}");
    fresh.runner::<DropBoth>().settle("m2_drop_both", State::Applied).await.unwrap();
    assert!(fresh.up::<DropBoth>().await.unwrap().steps.is_empty());
    assert!(fresh.status::<DropBoth>().await.iter().all(|status| status.findings.is_empty()));
}

#[tokio::test]
async fn g3_a_procedure_that_failed_half_way_is_not_called_again() {
    let fresh = Fresh::with_things().await;
    let why = reason(fresh.up::<Called>().await);
    assert!(why.contains("Duplicate entry") && why.contains("CALL twice()"), "{why}");
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, 1);
    fresh.sql("DELETE FROM things").await;
    let why = reason(fresh.up::<Called>().await);
    assert!(why.contains("CALL twice()") && why.contains("failed half-way"), "{why}");
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, 0, "it was called again");
}
