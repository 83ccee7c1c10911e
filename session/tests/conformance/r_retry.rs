//! Retry (R): what the database said decides, whatever the caller made of it.

mod sqlite;

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbBackend};
use sea_session::{
    Error, Session,
    prelude::*,
    testing::{Backend, run_test_on},
};

use crate::support::*;

/// A retry that notes its pauses and does not wait.
fn noted(times: u32) -> (Retry, Arc<Mutex<Vec<Duration>>>) {
    let pauses: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let kept = pauses.clone();
    let retry = Retry::times(times).sleep_with(move |pause| {
        kept.lock().push(pause);
        Box::pin(async {})
    });
    (retry, pauses)
}

/// The server says what it is told to say.
async fn raise(s: &mut Session, code: &str) -> Result<(), Error> {
    let sql = match s.backend() {
        DbBackend::MySql => signal(code),
        _ => format!("DO $$ BEGIN RAISE EXCEPTION 'told so' USING ERRCODE = '{code}'; END $$"),
    };
    s.execute_unprepared(&sql).await?;
    Ok(())
}

/// MariaDB's error of the kind that PostgreSQL has under this code, or the one of this number: the number tells, the code does not.
fn signal(code: &str) -> String {
    let number = match code {
        "40001" => 1020,
        "40P01" => 1213,
        "08006" => 1152,
        "55P03" => 1205,
        other => other.parse().unwrap_or(1644),
    };
    let code = if code.len() == 5 { code } else { "45000" };
    format!("SIGNAL SQLSTATE '{code}' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'told so'")
}

/// An error that shows nothing of what caused it.
#[derive(Debug)]
enum Hidden {
    Failed,
    Own,
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Hidden {}

impl From<Error> for Hidden {
    fn from(_: Error) -> Self {
        Hidden::Failed
    }
}

/// Runs a unit that is told 40001 `losses` times, under an error type of the caller's; says how often it ran.
async fn attempts_with<E>(db: &Db, losses: u32, times: u32) -> (u32, Result<u32, E>, usize)
where
    E: From<Error> + Send + 'static,
{
    let ran = AtomicU32::new(0);
    let (retry, pauses) = noted(times);
    let outcome = db
        .session()
        .retry(retry)
        .run(async |s: &mut Session| -> Result<u32, E> {
            let attempt = ran.fetch_add(1, Ordering::Relaxed) + 1;
            s.add(draft(i64::from(attempt), "of this attempt"));
            s.flush().await?;
            if attempt <= losses {
                raise(s, "40001").await?;
            }
            Ok(attempt)
        })
        .await;
    let pauses = pauses.lock().len();
    (ran.load(Ordering::Relaxed), outcome, pauses)
}

#[test]
fn r1_n_plus_one_attempts_with_full_jitter_and_a_capped_pause() {
    on_servers(async |db: Db| {
        let (retry, pauses) = noted(12);
        let ran = AtomicU32::new(0);
        let options = db.session().retry(retry.backoff(Duration::from_millis(8), Duration::from_millis(50)));
        let kept = options.clone();
        let outcome = options
            .run(async |s: &mut Session| -> Result<(), Error> {
                ran.fetch_add(1, Ordering::Relaxed);
                raise(s, "40001").await
            })
            .await;
        assert_eq!(outcome.unwrap_err().sqlstate(), Some("40001"));
        assert_eq!(ran.load(Ordering::Relaxed), 13);
        assert_eq!(kept.stats().retries, 12);
        let pauses = pauses.lock();
        assert_eq!(pauses.len(), 12);
        for (n, pause) in pauses.iter().enumerate() {
            let ceiling = Duration::from_millis((8 << n).min(50));
            assert!(*pause <= ceiling, "pause {n} is {pause:?}, over {ceiling:?}");
        }
        assert!(pauses.iter().collect::<HashSet<_>>().len() > 1, "without jitter: {pauses:?}");
    });
}

#[test]
fn r1_by_default_the_pause_after_a_conflict_is_capped_lower_than_after_a_lost_connection() {
    on_servers(async |db: Db| {
        for (code, most) in [("40001", 100), ("08006", 1_000)] {
            let (retry, pauses) = noted(40);
            let outcome = db
                .session()
                .retry(retry)
                .run(async |s: &mut Session| -> Result<(), Error> { raise(s, code).await })
                .await;
            assert_eq!(outcome.unwrap_err().sqlstate(), Some(code));
            let longest = *pauses.lock().iter().max().unwrap();
            let (least, most) = (Duration::from_millis(most / 2), Duration::from_millis(most));
            // Thirty random parts of the cap: all below its half once in a thousand million runs.
            assert!((least..=most).contains(&longest), "{code}: {longest:?}");
        }
    });
}

#[test]
fn r1_no_attempt_starts_after_the_limit() {
    on_servers(async |db: Db| {
        let ran = AtomicU32::new(0);
        let retry = Retry::times(1_000).backoff(Duration::from_millis(20), Duration::from_millis(20));
        let started = std::time::Instant::now();
        let outcome = db
            .session()
            .retry(retry.within(Duration::from_millis(200)))
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert!(started.elapsed() < Duration::from_millis(250), "an attempt after the limit");
                ran.fetch_add(1, Ordering::Relaxed);
                raise(s, "40001").await
            })
            .await;
        assert!(outcome.is_err());
        assert!((2..1_000).contains(&ran.load(Ordering::Relaxed)), "{ran:?}");
    });
}

#[test]
fn r2_each_attempt_has_a_fresh_session_an_empty_map_and_no_hooks() {
    on_servers(async |db: Db| {
        let (fired, ran) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
        let (retry, _) = noted(3);
        db.session()
            .retry(retry)
            .run(async |s: &mut Session| -> Result<(), Error> {
                let attempt = ran.fetch_add(1, Ordering::Relaxed);
                assert_eq!((s.tracked(), s.depth(), s.is_dirty()), (0, 0, false));
                assert!(s.get::<note::Entity>(1).await?.is_none(), "the attempt before was rolled back");
                let fired = fired.clone();
                s.on_commit(async move || {
                    fired.fetch_add(1, Ordering::Relaxed);
                });
                s.add(draft(1, "x"));
                s.flush().await?;
                if attempt < 3 { raise(s, "40P01").await } else { Ok(()) }
            })
            .await
            .unwrap();
        assert_eq!(fired.load(Ordering::Relaxed), 1, "h9: the hooks of lost attempts are gone");
        assert_eq!(notes_in_database(&db).await.len(), 1);
    });
}

/// A trigger that raises `code` when `note` number `id` is inserted: at the statement, or at COMMIT (PostgreSQL).
async fn trap(db: &Db, id: i64, code: &str, at_commit: bool) {
    if db.backend() == DbBackend::MySql {
        let raised = signal(code);
        behind_the_back(db, "CREATE SEQUENCE losses").await;
        let trap = format!(
            "CREATE TRIGGER trap AFTER INSERT ON note FOR EACH ROW \
             BEGIN IF NEW.id = {id} AND NEXTVAL(losses) <= 2 THEN {raised}; END IF; END"
        );
        return behind_the_back(db, &trap).await;
    }
    let (constraint, deferred) = if at_commit { ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED") } else { ("", "") };
    let sql = format!(
        "CREATE SEQUENCE IF NOT EXISTS losses; \
         CREATE OR REPLACE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN \
           IF NEW.id = {id} AND nextval('losses') <= 2 THEN RAISE EXCEPTION 'told so' USING ERRCODE = '{code}'; END IF; \
           RETURN NEW; END $f$; \
         CREATE {constraint} TRIGGER trap AFTER INSERT ON note {deferred} FOR EACH ROW EXECUTE FUNCTION trap()"
    );
    behind_the_back(db, &sql).await;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Statement,
    Flush,
    Commit,
}

/// Whether the unit ran again after `code` at `place`, and how it ended.
async fn ran_again(db: &Db, code: &str, place: Place, retry: Retry) -> (bool, Result<(), Error>) {
    let ran = AtomicU32::new(0);
    let outcome = db
        .session()
        .retry(retry)
        .run(async |s: &mut Session| -> Result<(), Error> {
            let attempt = ran.fetch_add(1, Ordering::Relaxed) + 1;
            if place == Place::Statement {
                return if attempt < 3 { raise(s, code).await } else { Ok(()) };
            }
            s.add(draft(1, "x"));
            if place == Place::Flush { s.flush().await } else { Ok(()) }
        })
        .await;
    let ran = ran.load(Ordering::Relaxed);
    assert!(ran == 1 || ran == 3, "{code} at {place:?}: {ran} attempts");
    (ran == 3, outcome)
}

#[test]
fn r3_r7_the_matrix_at_statement_flush_and_commit() {
    // At COMMIT a lost connection is settled by the transaction's id, and known to be aborted here.
    let retried = ["40001", "40P01", "08000", "08003", "08006", "57P01", "57P02", "57P03", "53300"];
    let not = ["55P03", "57014", "25P02", "23505", "23514", "22012", "42P01", "53100", "XX000", "P0001"];
    for place in [Place::Statement, Place::Flush, Place::Commit] {
        for code in retried.into_iter().chain(not) {
            run_test_on(Backend::Postgres, tables, async |db: Db| {
                if place != Place::Statement {
                    trap(&db, 1, code, place == Place::Commit).await;
                }
                let (again, outcome) = ran_again(&db, code, place, noted(5).0).await;
                assert_eq!(again, retried.contains(&code), "{code} at {place:?}: {outcome:?}");
                match outcome {
                    Ok(()) => assert!(again),
                    Err(e) => assert_eq!(e.sqlstate(), Some(code), "as it is (R6): {e:?}"),
                }
                let expected = usize::from(again && place != Place::Statement);
                assert_eq!(notes_in_database(&db).await.len(), expected, "{code} at {place:?}");
            });
        }
    }
}

/// A conflict, a deadlock, a table that was changed, a server that goes or has no room; then what no other attempt would mend.
#[test]
fn r3_r7_the_matrix_of_mariadb_at_statement_and_flush() {
    let retried =
        ["1020", "1213", "1614", "1412", "1615", "1040", "1047", "1053", "1152", "1158", "1203", "1927", "4031"];
    let not = ["1205", "3572", "1317", "1969", "3024", "1062", "1048", "1264", "1406", "1451", "1452", "4025", "1644"];
    for place in [Place::Statement, Place::Flush] {
        for number in retried.into_iter().chain(not) {
            run_test_on(Backend::MariaDb, tables, async |db: Db| {
                if place == Place::Flush {
                    trap(&db, 1, number, false).await;
                }
                let (again, outcome) = ran_again(&db, number, place, noted(5).0).await;
                assert_eq!(again, retried.contains(&number), "{number} at {place:?}: {outcome:?}");
                assert_eq!(outcome.is_ok(), again, "{number} at {place:?}: {outcome:?}");
                let expected = usize::from(again && place == Place::Flush);
                assert_eq!(notes_in_database(&db).await.len(), expected, "{number} at {place:?}");
            });
        }
    }
}

#[test]
fn r7_40003_is_never_retried() {
    on_servers(async |db: Db| {
        let (again, outcome) = ran_again(&db, "40003", Place::Statement, noted(5).0).await;
        assert!(!again);
        assert_eq!(outcome.unwrap_err().sqlstate(), Some("40003"));
    });
}

#[test]
fn r7_a_lock_that_was_not_to_be_had_is_opt_in() {
    on_servers(async |db: Db| {
        let (again, outcome) = ran_again(&db, "55P03", Place::Statement, noted(5).0.on_lock_not_available()).await;
        assert!(again);
        outcome.unwrap();
        let classify = |e: &Error| (e.sqlstate() == Some("P0001")).then_some(true);
        let (again, _) = ran_again(&db, "P0001", Place::Statement, noted(5).0.classify(classify)).await;
        assert!(again, "the caller's own word counts first");
        let (again, _) = ran_again(&db, "40001", Place::Statement, noted(5).0.classify(|_| Some(false))).await;
        assert!(!again);
    });
}

#[test]
fn r4_only_the_outermost_unit_retries() {
    on_servers(async |db: Db| {
        let (outer, inner) = (AtomicU32::new(0), AtomicU32::new(0));
        let (retry, _) = noted(2);
        let outcome = db
            .session()
            .retry(retry)
            .run(async |s: &mut Session| -> Result<(), Error> {
                outer.fetch_add(1, Ordering::Relaxed);
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    inner.fetch_add(1, Ordering::Relaxed);
                    raise(s, "40001").await
                })
                .await
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((outer.load(Ordering::Relaxed), inner.load(Ordering::Relaxed)), (3, 3));
    });
    on_all(async |db: Db| {
        let refused = db.session().retry(3).begin().await.unwrap_err();
        assert!(refused.to_string().contains("never retried"), "{refused}");
        let refused = db.session().retry_on(|_: &Error| true).begin().await.unwrap_err();
        assert!(refused.to_string().contains("run"), "{refused}");
    });
}

#[test]
fn r5_the_callers_error_type_need_not_expose_the_database() {
    on_servers(async |db: Db| {
        let (ran, outcome, pauses) = attempts_with::<anyhow::Error>(&db, 2, 5).await;
        assert_eq!((ran, outcome.unwrap(), pauses), (3, 3, 2));
        behind_the_back(&db, "DELETE FROM note").await;
        let (ran, outcome, pauses) = attempts_with::<Box<dyn std::error::Error + Send + Sync>>(&db, 2, 5).await;
        assert_eq!((ran, outcome.unwrap(), pauses), (3, 3, 2));
        behind_the_back(&db, "DELETE FROM note").await;
        let (ran, outcome, pauses) = attempts_with::<Hidden>(&db, 2, 5).await;
        assert_eq!((ran, outcome.unwrap(), pauses), (3, 3, 2));
    });
}

#[test]
fn r5_retry_on_adds_the_callers_own_errors() {
    on_all(async |db: Db| {
        let ran = AtomicU32::new(0);
        let (retry, pauses) = noted(5);
        let outcome = db
            .session()
            .retry(retry)
            .retry_on(|e: &Hidden| matches!(e, Hidden::Own))
            .run(async |_: &mut Session| -> Result<(), Hidden> {
                match ran.fetch_add(1, Ordering::Relaxed) {
                    0 | 1 => Err(Hidden::Own),
                    _ => Err(Hidden::Failed),
                }
            })
            .await;
        assert!(matches!(outcome, Err(Hidden::Failed)));
        assert_eq!((ran.load(Ordering::Relaxed), pauses.lock().len()), (3, 2));
    });
}

#[test]
fn r6_exhausted_is_the_last_error_with_the_attempts() {
    on_servers(async |db: Db| {
        let (ran, outcome, _) = attempts_with::<Error>(&db, 100, 2).await;
        assert_eq!(ran, 3);
        match outcome.unwrap_err() {
            e @ Error::Exhausted { attempts: 3, .. } => assert_eq!(e.sqlstate(), Some("40001")),
            other => panic!("{other:?}"),
        }
        let (ran, outcome, _) = attempts_with::<Error>(&db, 100, 0).await;
        assert_eq!(ran, 1);
        assert!(matches!(outcome, Err(Error::Database(_))), "never asked to retry: as it is");
    });
}

#[test]
fn r6_an_error_that_was_dealt_with_does_not_retry_what_follows() {
    on_servers(async |db: Db| {
        let ran = AtomicU32::new(0);
        let (retry, _) = noted(5);
        let outcome = db
            .session()
            .retry(retry.on_lock_not_available())
            .run(async |s: &mut Session| -> Result<(), Hidden> {
                ran.fetch_add(1, Ordering::Relaxed);
                let probe = s.atomic(async |s: &mut Session| -> Result<(), Error> { raise(s, "55P03").await }).await;
                assert!(probe.is_err());
                s.execute_unprepared("SELECT 1").await.map_err(|_| Hidden::Failed)?;
                Err(Hidden::Own)
            })
            .await;
        assert!(matches!(outcome, Err(Hidden::Own)));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn r8_a_swallowed_40001_dooms_the_unit_and_it_is_retried() {
    on_servers(async |db: Db| {
        let ran = AtomicU32::new(0);
        let (retry, _) = noted(5);
        let value = db
            .session()
            .retry(retry)
            .run(async |s: &mut Session| -> Result<u32, Error> {
                let attempt = ran.fetch_add(1, Ordering::Relaxed) + 1;
                s.add(draft(1, "kept"));
                let inner = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        if attempt < 3 { raise(s, "40001").await } else { Ok(()) }
                    })
                    .await;
                if inner.is_err() {
                    let refused = s.execute_unprepared("SELECT 1").await;
                    assert!(refused.is_err(), "the unit is doomed: nothing more is sent");
                }
                Ok(attempt)
            })
            .await
            .unwrap();
        assert_eq!(value, 3);
        assert_eq!(notes_in_database(&db).await, vec![(1, "kept".to_owned())]);
        // Without a retry it does not end in Ok either.
        let swallowed = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                drop(s.atomic(async |s: &mut Session| raise(s, "40001").await).await);
                Ok(())
            })
            .await;
        assert!(matches!(swallowed, Err(Error::RolledBack { .. })), "{swallowed:?}");
    });
}

#[test]
fn r9_a_lost_answer_that_cannot_be_settled_is_never_retried() {
    on_postgres(async |db: Db| {
        // The writes are the caller's own, so no id was learned; the answer to COMMIT says that the connection is lost.
        trap(&db, 1, "08006", true).await;
        let ran = AtomicU32::new(0);
        let insert = "INSERT INTO note (id, title, version, updated_at) VALUES (1, 'x', 1, now())";
        let outcome = db
            .session()
            .retry(noted(5).0)
            .run(async |s: &mut Session| -> Result<(), Error> {
                ran.fetch_add(1, Ordering::Relaxed);
                s.execute_unprepared(insert).await?;
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::CommitUnknown { .. })), "{outcome:?}");
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        // With the id it is known to be aborted, and retried; also where settings answer beside it.
        let settled = db.session().settle();
        let with_settings = settled.clone().set_local("app.tenant", "acme").statement_timeout(Duration::from_secs(5));
        for unit in [settled, with_settings] {
            behind_the_back(&db, "ALTER SEQUENCE losses RESTART; TRUNCATE note CASCADE").await;
            unit.retry(noted(5).0)
                .run(async |s: &mut Session| -> Result<(), Error> {
                    s.execute_unprepared(insert).await?;
                    Ok(())
                })
                .await
                .unwrap();
            assert_eq!(notes_in_database(&db).await.len(), 1);
        }
    });
}

#[test]
fn r10_a_retry_leaves_no_residue() {
    on_servers(async |db: Db| {
        let run = async |losses: u32| {
            behind_the_back(&db, "DELETE FROM note; DELETE FROM author").await;
            let ran = AtomicU32::new(0);
            db.session()
                .retry(noted(5).0)
                .run(async |s: &mut Session| -> Result<(), Error> {
                    let attempt = ran.fetch_add(1, Ordering::Relaxed);
                    let author = s.add(writer("ann"));
                    let note = s.add(draft(1, "one"));
                    note.set_parent(note::Relation::Author, &author)?;
                    s.flush().await?;
                    note.set_title("two");
                    s.flush().await?;
                    assert_eq!(note.version(), 2, "not bumped by lost attempts");
                    if attempt < losses { raise(s, "40001").await } else { Ok(()) }
                })
                .await
                .unwrap();
            residue(&db).await
        };
        assert_eq!(run(0).await, run(3).await);
    });
}

/// What the tables hold, without what any two runs differ in (times and sequence numbers).
async fn residue(db: &Db) -> Vec<(i64, String, i32, String)> {
    use sea_orm::EntityTrait;
    let notes = note::Entity::find().find_also_related(author::Entity).all(db.connection()).await.unwrap();
    notes.into_iter().map(|(n, a)| (n.id, n.title, n.version, a.map(|a| a.name).unwrap_or_default())).collect()
}
