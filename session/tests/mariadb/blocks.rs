//! Transactions, and what ends them (A, C, D11, R, Y2).

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, EntityTrait, IsolationLevel, Statement};
use sea_session::{Class, Error, Recorder, Retry, Session, prelude::*};
use tokio::sync::Barrier;

use crate::tables::*;

async fn two_items(db: &Db) {
    behind(db, "INSERT INTO item (id, name, amount, version) VALUES (1, 'a', 100, 1), (2, 'b', 100, 1)").await;
}

async fn amounts(db: &Db) -> Vec<i32> {
    use sea_orm::QueryOrder;
    let rows = item::Entity::find().order_by_asc(item::Column::Id).all(db.connection()).await.unwrap();
    rows.into_iter().map(|row| row.amount).collect()
}

#[test]
fn a6_a_block_that_fails_leaves_the_database_and_the_objects_as_they_were() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let one = s.get::<item::Entity>(1).await?.unwrap();
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    one.set_amount(1);
                    s.flush().await?;
                    s.atomic(async |s: &mut Session| -> Result<(), Error> {
                        one.set_amount(2);
                        s.flush().await
                    })
                    .await?;
                    Err(Error::Usage("no".into()))
                })
                .await;
            assert!(outcome.is_err());
            assert_eq!(one.amount(), 100);
            one.set_name("changed");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(amounts(&db).await, [100, 100]);
    });
}

#[test]
fn a7_an_error_that_is_caught_in_a_block_leaves_the_unit_alive() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let error = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.execute_unprepared("INSERT INTO item (id, name, version) VALUES (1, 'secret', 1)").await?;
                    Ok(())
                })
                .await
                .unwrap_err();
            assert!(error.is_unique_violation(), "{error:?}");
            assert_eq!(error.constraint(), Some("PRIMARY"));
            assert!(!error.to_string().contains("'1'"), "{error}");
            s.get::<item::Entity>(2).await?.unwrap().set_amount(5);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(amounts(&db).await, [100, 5]);
    });
}

#[test]
fn y2_a_deadlock_has_ended_the_unit_savepoints_too_and_the_unit_is_repeated() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let both = Arc::new(Barrier::new(2));
        let change = async |first: i64, second: i64| {
            let (both, mut attempts) = (both.clone(), std::sync::atomic::AtomicU32::new(0));
            let outcome = db
                .session()
                .retry(Retry::times(3))
                .run(async |s: &mut Session| -> Result<(), Error> {
                    let first_time = attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
                    let update = |id: i64| format!("UPDATE item SET amount = amount + 1 WHERE id = {id}");
                    s.execute_unprepared(&update(first)).await?;
                    if first_time {
                        both.wait().await;
                    }
                    // The error is swallowed by whoever catches it here: it has ended all of it nevertheless.
                    let inner = s
                        .atomic(async |s: &mut Session| -> Result<(), Error> {
                            s.execute_unprepared(&update(second)).await?;
                            Ok(())
                        })
                        .await;
                    if let Err(error) = &inner {
                        assert_eq!(error.class(), Some(Class::Deadlock), "{error:?}");
                        assert!(s.execute_unprepared("UPDATE item SET amount = 0").await.is_err());
                    }
                    Ok(())
                })
                .await;
            outcome.unwrap();
            *attempts.get_mut()
        };
        let (one, other) = tokio::join!(change(1, 2), change(2, 1));
        assert_eq!((one.min(other), one.max(other)), (1, 2));
        assert_eq!(amounts(&db).await, [102, 102]);
    });
}

#[test]
fn y2_a_lock_wait_timeout_ends_its_statement_only() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let mut holder = db.begin().await.unwrap();
        holder.execute_unprepared("UPDATE item SET amount = 1 WHERE id = 1").await.unwrap();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.execute_unprepared("SET SESSION innodb_lock_wait_timeout = 1").await?;
            s.execute_unprepared("UPDATE item SET amount = 7 WHERE id = 2").await?;
            let error = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.execute_unprepared("UPDATE item SET amount = 7 WHERE id = 1").await?;
                    Ok(())
                })
                .await
                .unwrap_err();
            assert_eq!(error.class(), Some(Class::LockNotAvailable));
            Ok(())
        })
        .await
        .unwrap();
        holder.rollback().await.unwrap();
        assert_eq!(amounts(&db).await, [100, 7]);
    });
}

#[test]
fn d11_statements_that_commit_are_refused_before_they_are_sent() {
    on_mariadb(async |db: Db| {
        let recorder = Recorder::new();
        let outcome = db
            .session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("CREATE TABLE other (id int)").await?;
                Ok(())
            })
            .await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("CREATE") && error.contains("Db::connection()"), "{error}");
        assert!(recorder.take().iter().all(|sql| !sql.contains("other")));
    });
}

#[test]
fn d11_a_procedure_that_commits_is_noticed_at_its_own_answer() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let recorder = Recorder::new();
        let outcome = db
            .session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("UPDATE item SET amount = 1 WHERE id = 1").await?;
                let ended = s.execute_unprepared("CALL ends()").await;
                assert!(ended.is_err());
                assert!(s.execute_unprepared("UPDATE item SET amount = 1 WHERE id = 2").await.is_err());
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::TransactionEnded { .. } | Error::RolledBack { .. })), "{outcome:?}");
        assert_eq!(amounts(&db).await, [1, 100]);
    });
}

#[test]
fn d11_an_implicit_commit_that_was_hidden_is_noticed_at_commit() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.get::<item::Entity>(1).await?.unwrap().set_amount(5);
                s.flush().await?;
                sea_session::testing::send_unchecked(s, "CREATE TABLE other (id int)").await
            })
            .await;
        assert!(matches!(outcome, Err(Error::TransactionEnded { .. })), "{outcome:?}");
        // The next unit on the connection is whole.
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.get::<item::Entity>(1).await?.unwrap().set_amount(6);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(amounts(&db).await, [6, 100]);
    });
}

#[test]
fn b3_a_unit_has_the_isolation_that_it_asks_for_and_the_next_one_has_the_servers() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let look = async |s: &mut Session| -> Result<i32, Error> {
            Ok(item::Entity::find_by_id(1).one(s).await?.unwrap().amount)
        };
        for (level, seen) in [(IsolationLevel::ReadCommitted, 1), (IsolationLevel::RepeatableRead, 2)] {
            behind(&db, "UPDATE item SET amount = 2 WHERE id = 1").await;
            let after = db
                .session()
                .isolation(level)
                .run(async |s: &mut Session| -> Result<i32, Error> {
                    look(s).await?;
                    behind(&db, "UPDATE item SET amount = 1 WHERE id = 1").await;
                    look(s).await
                })
                .await
                .unwrap();
            assert_eq!(after, seen, "{level}");
        }
        behind(&db, "UPDATE item SET amount = 2 WHERE id = 1").await;
        let after = db
            .run(async |s: &mut Session| -> Result<i32, Error> {
                look(s).await?;
                behind(&db, "UPDATE item SET amount = 1 WHERE id = 1").await;
                look(s).await
            })
            .await
            .unwrap();
        assert_eq!(after, 2);
    });
}

#[test]
fn b4_a_read_only_unit_is_refused_its_writes_by_the_server() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let outcome = db
            .session()
            .read_only()
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("UPDATE item SET amount = 1").await?;
                Ok(())
            })
            .await;
        assert!(outcome.is_err());
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.execute_unprepared("UPDATE item SET amount = 1").await?;
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn r7_a_statement_timeout_cancels_the_statement_and_holds_for_its_unit_only() {
    on_mariadb(async |db: Db| {
        let slow = || Statement::from_string(db.backend(), "SELECT SLEEP(20)");
        let outcome = db
            .session()
            .statement_timeout(Duration::from_millis(100))
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.query_all_raw(slow()).await?;
                Ok(())
            })
            .await;
        // SLEEP answers that it was cut short, or the statement fails.
        if let Err(error) = outcome {
            assert_eq!(error.class(), Some(Class::QueryCanceled), "{error:?}");
        }
        let left: String = db
            .run(async |s: &mut Session| -> Result<String, Error> {
                let asked =
                    Statement::from_string(s.get_database_backend(), "SELECT CAST(@@max_statement_time AS char)");
                Ok(s.query_one_raw(asked).await?.unwrap().try_get_by_index(0)?)
            })
            .await
            .unwrap();
        assert_eq!(left, "0.000000");
    });
}

/// Whatever ends a unit that has timeouts of its own, the connection goes back with those that the pool has given it.
#[test]
fn r7_the_pools_own_timeouts_are_there_again_after_a_unit_that_had_others() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let own = one_connection(&db).await;
        behind(&own, "SET SESSION innodb_lock_wait_timeout = 7, lock_wait_timeout = 8, max_statement_time = 90").await;
        let asked = "SELECT CONCAT_WS(' ', @@innodb_lock_wait_timeout, @@lock_wait_timeout, @@max_statement_time)";
        let held = async |s: &mut Session| -> Result<String, Error> {
            let asked = Statement::from_string(s.get_database_backend(), asked);
            Ok(s.query_one_raw(asked).await?.expect("a row").try_get_by_index(0)?)
        };
        let hurried = || own.session().lock_timeout(Duration::from_secs(2)).statement_timeout(Duration::from_secs(3));
        for ends in ["by its body", "by an error", "by its database"] {
            let unit = hurried().run(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(held(s).await?, "2 2 3.000000");
                match ends {
                    "by its body" => Ok(()),
                    "by an error" => Err(Error::Usage("no".into())),
                    _ => s.execute_unprepared("SELECT nothing FROM nowhere").await.map(drop).map_err(Error::from),
                }
            });
            assert_eq!(unit.await.is_ok(), ends == "by its body");
            assert_eq!(own.run(held).await.unwrap(), "7 8 90.000000", "{ends}");
        }
        own.close().await.unwrap();
    });
}

#[test]
fn r9_a_commit_is_settled_by_its_token() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        db.create_commit_tokens().await.unwrap();
        db.session()
            .settle_by_token()
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.get::<item::Entity>(1).await?.unwrap().set_amount(9);
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(amounts(&db).await, [9, 100]);
        assert_eq!(db.purge_commit_tokens(Duration::ZERO).await.unwrap(), 1);
    });
}

#[test]
fn y2_what_cannot_be_had_is_refused_by_name() {
    on_mariadb(async |db: Db| {
        let refused = |error: Error| {
            assert!(matches!(error, Error::Unsupported { backend: "MySQL", .. }), "{error:?}");
        };
        let nothing = async |_: &mut Session| -> Result<(), Error> { Ok(()) };
        refused(db.session().set_local("a", "b").run(nothing).await.unwrap_err());
        refused(db.session().immediate().run(nothing).await.unwrap_err());
        let deferrable = db.session().isolation(IsolationLevel::Serializable).read_only().deferrable();
        refused(deferrable.run(nothing).await.unwrap_err());
    });
}

/// A message that is dropped half-way, while its text is being prepared too, never shifts the answers of the next ones.
#[test]
fn c2_a_block_that_is_dropped_at_any_poll_leaves_the_answers_of_the_next_in_their_places() {
    on_mariadb(async |db: Db| {
        two_items(&db).await;
        let ended = std::sync::atomic::AtomicBool::new(false);
        let order = std::sync::atomic::Ordering::SeqCst;
        for polls in 1..200_u32 {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("UPDATE item SET amount = amount + 1 WHERE id = 2").await?;
                let backend = db.backend();
                {
                    let block = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                        for part in 0..3 {
                            // A text of its own, so that it is prepared.
                            let sql = format!("SELECT {polls}, {part}, id, name FROM item WHERE id < ?");
                            s.query_all_raw(Statement::from_sql_and_values(backend, sql, [9.into()])).await?;
                        }
                        s.execute_unprepared("UPDATE item SET amount = 0").await?;
                        Ok(())
                    });
                    let mut block = std::pin::pin!(block);
                    for _ in 0..polls {
                        if futures_util::poll!(block.as_mut()).is_ready() {
                            ended.store(true, order);
                            break;
                        }
                        tokio::time::sleep(Duration::from_micros(50)).await;
                    }
                }
                for id in [1, 2_i64] {
                    let sql = format!("SELECT {polls}, id FROM item WHERE id = ?");
                    let row =
                        s.query_one_raw(Statement::from_sql_and_values(backend, sql, [id.into()])).await?.unwrap();
                    assert_eq!(row.try_get_by_index::<i64>(1)?, id);
                }
                s.set_rollback(true)
            })
            .await
            .unwrap();
            if ended.load(order) {
                break;
            }
        }
        assert!(ended.load(order), "the block came to its end at last");
        assert_eq!(amounts(&db).await, [100, 100]);
    });
}
