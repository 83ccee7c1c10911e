//! Atomic blocks (A).

mod exits;

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, Statement};
use sea_session::{Error, Session, prelude::*, testing::send_unchecked};
use tokio::sync::Notify;

use super::s_objects::Logged;
use crate::support::*;

async fn count(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

async fn broken(s: &mut Session) -> Error {
    s.execute_unprepared("SELECT no_such_column FROM note").await.unwrap_err().into()
}

fn changed_my_mind() -> Error {
    Error::Usage("changed my mind".into())
}

#[test]
fn a1_begin_waits_for_the_first_statement_and_is_no_savepoint() {
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        unit.clone().run(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await.unwrap();
        assert_eq!(recorder.take(), Vec::<String>::new(), "a unit that sends nothing costs nothing");
        unit.run(async |s: &mut Session| -> Result<(), Error> {
            assert!(!s.in_transaction());
            count(s).await?;
            assert!(s.in_transaction());
            Ok(())
        })
        .await
        .unwrap();
        let sent = recorder.take();
        assert_eq!(sent.len(), 3, "BEGIN, SELECT, COMMIT: {sent:#?}");
        assert!(begins(&sent[0]) && commits(&sent[2]), "{sent:#?}");
    });
}

#[test]
fn a2_a_savepoint_has_a_name_of_its_own_and_an_empty_block_sends_nothing() {
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        unit.run(async |s: &mut Session| -> Result<(), Error> {
            count(s).await?;
            s.atomic(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await?;
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> { count(s).await.map(drop) }).await
            })
            .await
        })
        .await
        .unwrap();
        let sent = recorder.take();
        let names = sent.iter().flat_map(|sql| sql.split("; ")).filter_map(|part| part.strip_prefix("SAVEPOINT "));
        // One is the transaction's own (MariaDB).
        let names: Vec<&str> = names.filter(|name| *name != "sea_session_unit").collect();
        assert_eq!(names.len(), 2, "the empty block sent none: {sent:#?}");
        assert_ne!(names[0], names[1]);
        assert_eq!(sent.len(), 5, "BEGIN, SELECT, both SAVEPOINTs in one message, SELECT, COMMIT: {sent:#?}");
    });
}

#[test]
fn a3_a_merged_block_sends_no_sql_and_its_error_flags_the_parent() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        // Whatever the surroundings still owe is sent now.
        count(s).await?;
        let before = s.stats().savepoints;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                let inner = s
                    .block()
                    .merged()
                    .run(async |s: &mut Session| -> Result<(), Error> {
                        s.add(draft(1, "lost"));
                        s.flush().await?;
                        Err(changed_my_mind())
                    })
                    .await;
                assert!(matches!(inner, Err(Error::Usage(_))), "the body's error: {inner:?}");
                assert!(s.needs_rollback());
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
        assert_eq!(s.stats().savepoints - before, 1, "the outer block's only");
        assert_eq!(count(s).await?, 0);
        Ok(())
    });
}

#[test]
fn a4_a_block_with_one_statement_costs_two_round_trips() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        count(s).await?;
        let before = s.stats();
        for _ in 0..10 {
            s.atomic(async |s: &mut Session| count(s).await).await?;
        }
        let after = s.stats();
        assert_eq!(
            after.round_trips() - before.round_trips(),
            20,
            "SAVEPOINT with the last RELEASE, and the statement"
        );
        assert_eq!((after.statements - before.statements, after.savepoints - before.savepoints), (10, 10));
        Ok(())
    });
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        unit.run(async |s: &mut Session| s.atomic(async |s: &mut Session| count(s).await).await).await.unwrap();
        let sent = recorder.take();
        assert_eq!(sent.len(), 3, "BEGIN and SAVEPOINT are one message, COMMIT needs no RELEASE: {sent:#?}");
    });
}

#[test]
fn a5_a_commit_that_fails_rolls_back_and_is_the_error() {
    on_all(async |db: Db| {
        if db.backend() == DbBackend::MySql {
            return; // every constraint is checked with its row: nothing that the database checks shows at COMMIT
        }
        behind_the_back(&db, "CREATE TABLE p (id INTEGER PRIMARY KEY)").await;
        behind_the_back(
            &db,
            "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "lost"));
                s.execute_unprepared("INSERT INTO c VALUES (1, 7)").await?;
                Ok(())
            })
            .await;
        assert!(outcome.as_ref().is_err_and(Error::is_foreign_key_violation), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await, vec![]);
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "kept"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await, vec![(1, "kept".to_owned())], "the connection is clean");
    });
}

#[test]
fn a6_an_error_goes_back_to_the_savepoint_and_is_what_the_caller_gets() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(1, "kept"));
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(2, "lost"));
                s.flush().await?;
                Err(changed_my_mind())
            })
            .await;
        assert!(matches!(&outcome, Err(Error::Usage(text)) if text == "changed my mind"), "{outcome:?}");
        assert_eq!(count(s).await?, 1);
        Ok(())
    });
}

#[test]
fn a6_a_rollback_to_that_fails_flags_the_parent_and_the_bodys_error_wins() {
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        let outcome = unit
            .run(async |s: &mut Session| -> Result<(), Error> {
                count(s).await?;
                let inner = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        count(s).await?;
                        let sent = recorder.take().join("; ");
                        let name = sent.split("SAVEPOINT ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
                        // Behind the session's back, so that its ROLLBACK TO must fail.
                        send_unchecked(s, &format!("RELEASE SAVEPOINT {name}")).await?;
                        Err(changed_my_mind())
                    })
                    .await;
                assert!(matches!(&inner, Err(Error::Usage(text)) if text == "changed my mind"), "{inner:?}");
                assert!(s.needs_rollback());
                let refused = count(s).await.unwrap_err();
                assert!(matches!(refused, Error::Refused { .. }), "{refused}");
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
        let sent = recorder.take();
        assert!(sent.last().is_some_and(|sql| rolls_back(sql)), "{sent:#?}");
    });
}

#[test]
fn a6_c2_a_rollback_to_that_is_owed_and_fails_in_another_block_flags_the_block_that_owed_it() {
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        let outcome = unit
            .run(async |s: &mut Session| -> Result<(), Error> {
                count(s).await?;
                let far = Notify::new();
                let dropped = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(draft(1, "dropped"));
                    s.flush().await?;
                    let sent = recorder.take().join("; ");
                    let name = sent.split("SAVEPOINT ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
                    // Behind the session's back, so that the ROLLBACK TO that the drop leaves owed must fail.
                    send_unchecked(s, &format!("RELEASE SAVEPOINT {name}")).await?;
                    wait_for_the_drop(&far).await
                });
                assert!(until_far(&far, dropped).await.is_none());
                // What is owed is sent with the first statement, which is in another block by now.
                let other = s.atomic(async |s: &mut Session| count(s).await).await;
                assert!(other.is_err());
                assert!(s.needs_rollback(), "the dropped block's row is still there");
                assert!(matches!(count(s).await, Err(Error::Refused { .. })));
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await, vec![]);
    });
}

#[test]
fn a7_set_rollback_returns_the_value_and_a_swallowed_error_is_never_ok() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let wished = s
            .atomic(async |s: &mut Session| -> Result<i32, Error> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                s.set_rollback(true)?;
                Ok(42)
            })
            .await;
        assert_eq!(wished?, 42);
        let swallowed = s
            .atomic(async |s: &mut Session| -> Result<i32, Error> {
                broken(s).await;
                Ok(42)
            })
            .await;
        let Err(Error::RolledBack { cause }) = &swallowed else { panic!("{swallowed:?}") };
        assert!(cause.to_string().contains("no_such_column"), "{cause}");
        assert_eq!(count(s).await?, 0);
        Ok(())
    });
}

#[test]
fn a8_a14_what_follows_a_failure_is_refused_with_the_first_cause() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                let first = broken(s).await;
                let sent = s.stats().round_trips();
                let refused = count(s).await.unwrap_err();
                assert!(matches!(refused, Error::Refused { .. }), "{refused}");
                assert_eq!(refused.root().to_string(), first.to_string(), "not 25P02");
                assert_eq!(s.stats().round_trips(), sent, "nothing is sent");
                Err(refused)
            })
            .await;
        assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
        assert_eq!(count(s).await?, 0, "the block that ends it ends the refusal");
        Ok(())
    });
}

#[test]
fn a9_a_flag_of_the_callers_can_be_taken_back_inside_a_block_only() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.atomic(async |s: &mut Session| -> Result<(), Error> {
            s.set_rollback(true)?;
            assert!(matches!(count(s).await, Err(Error::Refused { .. })));
            s.set_rollback(false)?;
            s.add(draft(1, "kept"));
            Ok(())
        })
        .await?;
        assert_eq!(count(s).await?, 1);
        Ok(())
    });
    on_all(async |db: Db| {
        let mut s = db.begin().await.unwrap();
        assert!(matches!(s.set_rollback(true), Err(Error::Usage(_))));
        assert!(matches!(s.set_rollback(false), Err(Error::Usage(_))));
    });
}

#[test]
fn a10_the_unit_cannot_be_ended_inside_a_block() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            assert!(matches!(s.commit().await, Err(Error::Usage(_))));
            assert!(matches!(s.rollback().await, Err(Error::Usage(_))));
            s.add(draft(1, "kept"));
            Ok(())
        })
        .await
        .unwrap();
        let mut s = db.begin().await.unwrap();
        s.atomic(async |s: &mut Session| -> Result<(), Error> {
            assert!(matches!(s.commit().await, Err(Error::Usage(_))));
            assert!(matches!(s.rollback().await, Err(Error::Usage(_))));
            Ok(())
        })
        .await
        .unwrap();
        s.commit().await.unwrap();
        assert_eq!(notes_in_database(&db).await.len(), 1);
    });
}

#[test]
fn a12_a_durable_block_is_refused_when_nested_before_any_sql() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let sent = s.stats().round_trips();
        let refused = s.block().durable().run(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await;
        assert!(matches!(refused, Err(Error::Usage(_))), "{refused:?}");
        assert_eq!(s.stats().round_trips(), sent);
        Ok(())
    });
}

#[test]
fn a15_the_64th_open_savepoint_is_warned_of_once_and_the_63rd_is_not() {
    let logged = Logged::new();
    let warning = "64 savepoints are open at once";
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        // Savepoints of the surroundings count too.
        count(s).await?;
        let open = usize::try_from(s.stats().savepoints).unwrap();
        for id in open..63 {
            s.savepoint().await?;
            s.add(draft(i64::try_from(id).unwrap(), "lost"));
            s.flush().await?;
        }
        assert_eq!(logged.take(warning), 0);
        for id in 100..110 {
            s.savepoint().await?;
            s.add(draft(id, "lost"));
            s.flush().await?;
        }
        assert_eq!(logged.take(warning), 1);
        // One after the other they are never open together.
        for _ in 0..100 {
            s.atomic(async |s: &mut Session| count(s).await).await?;
        }
        assert_eq!(logged.take(warning), 0);
        Ok(())
    });
}

#[test]
fn a15_nesting_is_counted_and_has_no_limit() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let at = s.depth();
        let outermost = s.savepoint().await?;
        for id in 0..70 {
            s.savepoint().await?;
            s.add(draft(id, "lost"));
            s.flush().await?;
        }
        assert_eq!(s.depth() - at, 71);
        s.rollback_to(outermost).await?;
        assert_eq!(s.depth() - at, 1);
        assert_eq!(count(s).await?, 0);
        Ok(())
    });
}

#[test]
fn a4_a_release_that_fails_rolls_back_and_the_first_error_is_returned() {
    on_all(async |db: Db| {
        let (recorder, unit) = watched(&db);
        let outcome = unit
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(draft(1, "one"));
                    s.flush().await?;
                    let sent = recorder.statements().join("; ");
                    let name =
                        sent.split("SAVEPOINT ").nth(1).and_then(|rest| rest.split(';').next()).unwrap().to_owned();
                    // Behind the session's back, so that its own RELEASE, which rides with the next message, must fail.
                    send_unchecked(s, &format!("RELEASE SAVEPOINT {name}")).await?;
                    Ok(())
                })
                .await?;
                let first =
                    s.atomic(async |s: &mut Session| -> Result<u64, Error> { count(s).await }).await.unwrap_err();
                let later = count(s).await.unwrap_err();
                assert!(matches!(later, Error::Refused { .. }), "{later}");
                assert_eq!(later.root().to_string(), first.root().to_string(), "the first error stays the cause");
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await, vec![]);
    });
}

#[test]
fn a11_after_the_connection_is_lost_exits_send_nothing_and_the_unit_ends_with_the_loss() {
    // SQLite has no connection that could be lost: the database is in the process.
    on_servers(async |db: Db| {
        let (recorder, unit) = watched(&db);
        let outcome = unit
            .run(async |s: &mut Session| -> Result<(), Error> {
                let inner = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.add(draft(1, "one"));
                        s.flush().await?;
                        let lost = s.execute_unprepared(ends_itself(s.backend())).await;
                        assert!(Error::from(lost.unwrap_err()).is_connection_lost());
                        recorder.take();
                        Ok(())
                    })
                    .await;
                assert!(inner.unwrap_err().is_connection_lost());
                Ok(())
            })
            .await;
        assert!(outcome.unwrap_err().is_connection_lost());
        assert_eq!(recorder.take(), Vec::<String>::new(), "exits send nothing");
        assert_eq!(notes_in_database(&db).await, vec![]);
    });
}

#[test]
fn c2_a_dropped_block_is_rolled_back_memory_too_before_the_parents_next_statement() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let kept = s.add(draft(1, "kept"));
            s.flush().await?;
            let far = Notify::new();
            let child = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                kept.set_title("dropped");
                s.add(draft(2, "dropped"));
                s.flush().await?;
                wait_for_the_drop(&far).await
            });
            assert!(until_far(&far, child).await.is_none(), "the block was dropped");
            assert_eq!(kept.title(), "kept", "at once, without a query");
            assert_eq!(count(s).await?, 1, "and in the database before the next statement");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await, vec![(1, "kept".to_owned())]);
    });
}

#[test]
fn c2_a_dropped_block_is_undone_although_the_blocks_around_it_end_well_without_a_statement() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    let far = Notify::new();
                    let child = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.add(draft(1, "dropped"));
                        s.flush().await?;
                        wait_for_the_drop(&far).await
                    });
                    assert!(until_far(&far, child).await.is_none());
                    Ok(())
                })
                .await
            })
            .await
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await, vec![], "what is owed is sent before COMMIT");
    });
}

#[test]
fn c4_a_connection_whose_state_is_unknown_is_closed() {
    // SQLite's is never unknown for long: it finishes the message it was given and takes a rollback.
    on_servers(async |db: Db| {
        let number = async |s: &mut Session, sql: &str| -> Result<i64, Error> {
            let row = s.query_one_raw(Statement::from_string(s.backend(), sql)).await?;
            Ok(row.unwrap().try_get("", "n")?)
        };
        let (own, sleeps, alive) = match db.backend() {
            DbBackend::Postgres => (
                "SELECT pg_backend_pid()::int8 AS n",
                "SELECT pg_sleep(30)",
                "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = ",
            ),
            _ => (
                "SELECT CAST(CONNECTION_ID() AS signed) AS n",
                "SELECT SLEEP(30)",
                "SELECT count(*) AS n FROM information_schema.processlist WHERE id = ",
            ),
        };
        let held = AtomicI64::new(0);
        let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
            held.store(number(s, own).await?, Ordering::SeqCst);
            s.execute_unprepared(sleeps).await?;
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(500), unit).await.is_err());
        let alive = format!("{alive}{}", held.load(Ordering::SeqCst));
        for _ in 0..100 {
            let left: Result<i64, Error> = db.run(async |s: &mut Session| number(s, &alive).await).await;
            if left.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the connection that was at work was not closed");
    });
}
