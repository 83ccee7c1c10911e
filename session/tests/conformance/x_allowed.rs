//! Allowed errors (X).

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use sea_session::{Error, Session, prelude::*};

use crate::support::*;

#[derive(Debug)]
enum Refusal {
    Allowed,
    Other,
    Database(Error),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Refusal::Database(e)
    }
}

fn allowing(db: &Db) -> sea_session::UnitOptions<sea_session::About<Refusal>> {
    db.session().allow(|e: &Refusal| matches!(e, Refusal::Allowed))
}

#[test]
fn x1_an_allowed_error_flushes_commits_and_is_returned() {
    on_all(async |db: Db| {
        let outcome = allowing(&db)
            .run(async |s: &mut Session| -> Result<(), Refusal> {
                s.add(draft(1, "kept"));
                Err(Refusal::Allowed)
            })
            .await;
        assert!(matches!(outcome, Err(Refusal::Allowed)), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await, vec![(1, "kept".to_owned())]);
        let outcome = allowing(&db)
            .run(async |s: &mut Session| -> Result<(), Refusal> {
                s.add(draft(2, "lost"));
                Err(Refusal::Other)
            })
            .await;
        assert!(matches!(outcome, Err(Refusal::Other)), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await.len(), 1);
    });
}

#[test]
fn x1_a_flush_or_commit_that_fails_is_what_the_caller_gets() {
    on_all(async |db: Db| {
        behind_the_back(&db, "INSERT INTO author (name) VALUES ('ann')").await;
        let outcome = allowing(&db)
            .run(async |s: &mut Session| -> Result<(), Refusal> {
                s.add(writer("ann"));
                Err(Refusal::Allowed)
            })
            .await;
        // The allowed error would say that the rest was committed.
        assert!(matches!(&outcome, Err(Refusal::Database(e)) if e.is_unique_violation()), "{outcome:?}");
    });
}

#[test]
fn x1_an_allowed_error_does_not_commit_over_a_swallowed_one() {
    on_all(async |db: Db| {
        let outcome = allowing(&db)
            .run(async |s: &mut Session| -> Result<(), Refusal> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                drop(
                    s.block()
                        .merged()
                        .run(async |_: &mut Session| -> Result<(), Error> { Err(Error::Usage("inside".into())) })
                        .await,
                );
                Err(Refusal::Allowed)
            })
            .await;
        assert!(matches!(outcome, Err(Refusal::Database(Error::RolledBack { .. }))), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await, vec![]);
    });
}

#[test]
fn x2_a_panicking_predicate_rolls_back() {
    on_all(async |db: Db| {
        let unit = db.session().allow(|_: &Refusal| panic!("in the predicate")).run(
            async |s: &mut Session| -> Result<(), Refusal> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                Err(Refusal::Allowed)
            },
        );
        assert!(AssertUnwindSafe(unit).catch_unwind().await.is_err());
        assert_eq!(notes_in_database(&db).await, vec![]);
        // The connection is whole: the next unit works.
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(2, "next"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await.len(), 1);
    });
}

#[test]
fn x3_only_the_outermost_unit_decides() {
    on_all(async |db: Db| {
        let outcome = allowing(&db)
            .run(async |s: &mut Session| -> Result<(), Refusal> {
                s.add(draft(1, "outer"));
                let inner = s.atomic(async |s: &mut Session| -> Result<(), Refusal> {
                    s.add(draft(2, "inner"));
                    Err(Refusal::Allowed)
                });
                inner.await
            })
            .await;
        assert!(matches!(outcome, Err(Refusal::Allowed)));
        assert_eq!(notes_in_database(&db).await, vec![(1, "outer".to_owned())], "the block itself has rolled back");
    });
}

#[test]
fn x3_both_allowed_and_retried_is_refused_at_set_up() {
    on_all(async |db: Db| {
        let asked = std::sync::atomic::AtomicBool::new(false);
        let unit = db.session().retry(3).allow(|e: &Error| e.class().is_some());
        let numbers = unit.clone();
        let outcome = unit
            .run(async |_: &mut Session| -> Result<(), Error> {
                asked.store(true, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            })
            .await;
        let refusal = outcome.unwrap_err().to_string();
        assert!(refusal.contains("overlap") && refusal.contains("40001"), "{refusal}");
        assert!(!asked.into_inner(), "the body never ran");
        assert_eq!(numbers.stats().statements, 0);

        // The caller's own type is asked too: what it makes of a retried error counts.
        let outcome = db
            .session()
            .retry(3)
            .allow(|e: &Refusal| !matches!(e, Refusal::Other))
            .run(async |_: &mut Session| -> Result<(), Refusal> { Ok(()) });
        assert!(matches!(outcome.await, Err(Refusal::Database(Error::Usage(text))) if text.contains("overlap")));
        // Allowed and retried errors that are apart are fine.
        let outcome = db
            .session()
            .retry(3)
            .allow(|e: &Error| e.is_unique_violation())
            .run(async |_: &mut Session| -> Result<(), Error> { Ok(()) });
        outcome.await.unwrap();
    });
}

#[test]
fn x3_a_predicate_that_could_never_match_is_refused() {
    on_all(async |db: Db| {
        let never = db.session().retry_on(|_: &Error| true);
        let outcome = never.run(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await;
        assert!(outcome.unwrap_err().to_string().contains(".retry(5)"));
    });
}

#[test]
fn x3_an_error_that_turns_out_to_be_both_is_refused() {
    on_all(async |db: Db| {
        let outcome = allowing(&db)
            .retry(3)
            .retry_on(|e: &Refusal| matches!(e, Refusal::Allowed | Refusal::Other))
            .run(async |s: &mut Session| -> Result<(), Refusal> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                Err(Refusal::Allowed)
            })
            .await;
        assert!(
            matches!(&outcome, Err(Refusal::Database(Error::Usage(text))) if text.contains("overlap")),
            "{outcome:?}"
        );
        assert_eq!(notes_in_database(&db).await, vec![]);
        let refused = db.session().allow(|_: &Refusal| true).begin().await;
        assert!(refused.is_err(), "a unit begun by hand has no error to look at");
    });
}
