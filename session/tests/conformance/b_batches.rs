//! Batches: one unit of work each, resumable (B6).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sea_session::{BatchError, Error, Fate, Progress, Session, prelude::*};
use tokio::sync::Notify;

use crate::support::*;

const NO_PAUSE: Duration = Duration::ZERO;

fn changed_my_mind() -> Error {
    Error::Usage("changed my mind".into())
}

/// The body of most tests: a note for each number.
async fn write(s: &mut Session, ids: &[i64]) -> Result<(), Error> {
    for id in ids {
        s.add(draft(*id, "written"));
    }
    Ok(())
}

async fn ids(db: &Db) -> Vec<i64> {
    notes_in_database(db).await.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn b6_one_unit_a_batch_and_progress_after_each() {
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        let (seen, reports) = (Arc::new(Mutex::new(Vec::<Progress>::new())), Arc::new(Mutex::new(Vec::new())));
        let report = reports.clone();
        let mut batches =
            unit.batches(0..10_i64, 4, NO_PAUSE).on_progress(move |progress| report.lock().push(*progress));
        let done = batches
            .run(async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
                seen.lock().extend(reports.lock().iter().copied());
                write(s, ids).await
            })
            .await
            .unwrap();
        assert_eq!((done, batches.done()), (10, 10));
        let recorded = recorder.take();
        let count = |is: fn(&str) -> bool| recorded.iter().filter(|sql| is(sql)).count();
        assert_eq!((count(begins), count(commits)), (3, 3), "{recorded:#?}");
        assert_eq!(batches.stats().statements, 3, "an INSERT each");
        assert_eq!(ids(&db).await, (0..10).collect::<Vec<_>>());
        let reports: Vec<_> = reports.lock().iter().map(|p| (p.batch, p.items, p.done)).collect();
        assert_eq!(reports, [(1, 4, 4), (2, 4, 8), (3, 2, 10)]);
        assert_eq!(seen.lock().len(), 3, "the second batch saw one report, the third two: they come in between");
        assert_eq!(batches.run(write).await.unwrap(), 10, "there is nothing more to do");
        assert_eq!(recorder.take(), Vec::<String>::new());
    });
}

#[test]
fn b6_the_pause_is_between_batches_and_by_the_clock_of_the_retries() {
    on_all(async |db: Db| {
        let pauses = Arc::new(Mutex::new(Vec::new()));
        let noted = pauses.clone();
        let retry = Retry::none().sleep_with(move |pause| {
            noted.lock().push(pause);
            Box::pin(std::future::ready(()))
        });
        let hour = Duration::from_secs(3600);
        let mut batches = db.session().retry(retry).batches(0..10_i64, 4, hour);
        batches.run(write).await.unwrap();
        assert_eq!(*pauses.lock(), [hour, hour], "not before the first, not after the last");
    });
}

#[test]
fn b6_a_batch_is_retried_as_a_whole_and_writes_once() {
    on_all(async |db: Db| {
        let calls = AtomicUsize::new(0);
        let options = db.session().retry(Retry::times(2).backoff(NO_PAUSE, NO_PAUSE));
        let mut batches = options.retry_on(|e: &Error| matches!(e, Error::Usage(_))).batches(0..6_i64, 3, NO_PAUSE);
        let done = batches
            .run(async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
                write(s, ids).await?;
                s.flush().await?;
                // The second batch loses twice.
                match calls.fetch_add(1, Ordering::SeqCst) {
                    1 | 2 => Err(changed_my_mind()),
                    _ => Ok(()),
                }
            })
            .await
            .unwrap();
        assert_eq!((done, calls.into_inner(), batches.stats().retries), (6, 4, 2));
        assert_eq!(ids(&db).await, (0..6).collect::<Vec<_>>());
    });
}

#[test]
fn b6_a_failed_batch_is_rolled_back_named_and_gone_on_with() {
    on_all(async |db: Db| {
        behind_the_back(&db, "INSERT INTO note (id, title, version, updated_at) VALUES (4, 'in the way', 1, '2026-01-01 00:00:00+00:00')").await;
        let mut batches = db.batches(0..8_i64, 3, NO_PAUSE);
        let failed: BatchError<Error> = batches.run(write).await.unwrap_err();
        assert!(failed.cause.is_unique_violation(), "{failed}");
        assert_eq!((failed.batch, failed.done, failed.fate), (2, 3, Fate::RolledBack));
        let text = failed.to_string();
        assert!(text.starts_with("batch 2 failed and was rolled back (3 items are done): note"), "{text}");
        assert_eq!(ids(&db).await, [0, 1, 2, 4], "the whole batch is gone");
        assert!(batches.run(write).await.is_err(), "it is still in the way");
        behind_the_back(&db, "DELETE FROM note WHERE id = 4").await;
        assert_eq!((batches.batch(), batches.done()), (2, 3));
        assert_eq!(batches.run(write).await.unwrap(), 8);
        assert_eq!(ids(&db).await, (0..8).collect::<Vec<_>>());
    });
}

#[test]
fn b6_a_failed_batch_can_be_skipped_or_taken_elsewhere() {
    on_all(async |db: Db| {
        let refuse = async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
            write(s, ids).await?;
            if ids.contains(&3) { Err(changed_my_mind()) } else { Ok(()) }
        };
        let mut batches = db.batches(0..9_i64, 2, NO_PAUSE);
        batches.run(refuse).await.unwrap_err();
        assert_eq!(batches.skip(), [2, 3]);
        assert_eq!(batches.run(refuse).await.unwrap(), 7, "what was skipped is not done");
        assert_eq!(ids(&db).await, [0, 1, 4, 5, 6, 7, 8]);
        assert_eq!(batches.skip(), Vec::<i64>::new(), "there is nothing to skip");

        let mut batches = db.batches(10..19_i64, 2, NO_PAUSE);
        batches
            .run(async |_: &mut Session, ids: &[i64]| if ids[0] < 14 { Ok(()) } else { Err(changed_my_mind()) })
            .await
            .unwrap_err();
        assert_eq!(batches.into_rest().collect::<Vec<_>>(), [14, 15, 16, 17, 18]);
    });
}

#[test]
fn b6_dropped_in_a_pause_or_in_a_body_it_goes_on_where_it_was() {
    on_all(async |db: Db| {
        let far = Arc::new(Notify::new());
        let asleep = far.clone();
        let long = Retry::none().sleep_with(move |_| {
            asleep.notify_one();
            Box::pin(std::future::pending())
        });
        let mut batches = db.session().retry(long).batches(0..4_i64, 2, Duration::from_secs(1));
        assert!(until_far(&far, batches.run(write)).await.is_none());
        assert_eq!(ids(&db).await, [0, 1]);

        let mut batches = db.batches(10..14_i64, 2, NO_PAUSE);
        let stuck = async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
            write(s, ids).await?;
            s.flush().await?;
            if ids[0] == 12 { wait_for_the_drop(&far).await } else { Ok(()) }
        };
        assert!(until_far(&far, batches.run(stuck)).await.is_none());
        assert_eq!((batches.batch(), batches.done()), (2, 2));
        assert_eq!(batches.run(write).await.unwrap(), 4);
        assert_eq!(ids(&db).await, [0, 1, 10, 11, 12, 13]);
    });
}

#[test]
fn b6_dropped_in_a_hook_the_batch_is_known_to_be_done() {
    on_all(async |db: Db| {
        let mut batches = db.batches(0..4_i64, 2, NO_PAUSE);
        let far = Arc::new(Notify::new());
        let stuck = batches.run(async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
            let far = far.clone();
            s.on_commit(async move || wait_for_the_drop::<()>(&far).await);
            write(s, ids).await
        });
        assert!(until_far(&far, stuck).await.is_none());
        assert_eq!(batches.run(write).await.unwrap(), 4, "it is not written twice");
        assert_eq!(ids(&db).await, [0, 1, 2, 3]);
    });
}

#[test]
fn b6_a_batch_that_was_committed_counts_although_its_hook_failed() {
    on_all(async |db: Db| {
        let mut batches = db.batches(0..4_i64, 2, NO_PAUSE);
        let failed = batches
            .run(async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
                s.on_commit(async || Err::<(), _>("the mail server is down"));
                write(s, ids).await
            })
            .await
            .unwrap_err();
        assert!(matches!(failed.cause, Error::AfterCommit { .. }), "{failed}");
        assert_eq!((failed.batch, failed.done, failed.fate), (1, 2, Fate::Committed));
        batches.resolve(false);
        assert_eq!(batches.run(write).await.unwrap(), 4, "the driver knows better than `resolve`");
        assert_eq!(ids(&db).await, [0, 1, 2, 3]);
    });
}

#[test]
fn b6_a_batch_that_takes_itself_back_is_done_and_one_of_nothing_is_refused() {
    on_all(async |db: Db| {
        let dry_run = async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
            write(s, ids).await?;
            s.flush().await?;
            s.set_rollback(true)
        };
        assert_eq!(db.batches(0..4_i64, 3, NO_PAUSE).run(dry_run).await.unwrap(), 4);
        assert_eq!(ids(&db).await, Vec::<i64>::new());
        let refused = db.batches(0..4_i64, 0, NO_PAUSE).run(write).await.unwrap_err();
        assert!(matches!(&refused.cause, Error::Usage(text) if text.contains("0 items")), "{refused}");
        assert_eq!(db.batches(Vec::<i64>::new(), 3, NO_PAUSE).run(write).await.unwrap(), 0);
    });
}

#[test]
fn b6_a_step_at_a_time_for_a_loop_of_the_callers() {
    on_all(async |db: Db| {
        let mut batches = db.batches(0..100_i64, 10, NO_PAUSE);
        while let Some(progress) = batches.step(&write).await.unwrap() {
            if progress.done >= 30 {
                break;
            }
        }
        assert_eq!(ids(&db).await.len(), 30);
    });
}
