//! Locks by number (B5), which are the connection's there and must end with the transaction, however that ends; and what a unit
//! that is dropped in the middle of a statement leaves behind (C3).

use sea_orm::{ConnectionTrait, Statement};
use sea_session::{Class, Error, Session, prelude::*};

use crate::tables::*;

type Done = Result<(), Error>;

const LOCK: i64 = 7;

async fn is_free(other: &Db) -> bool {
    other.run(async |s: &mut Session| -> Result<bool, Error> { s.try_advisory_lock(LOCK).await }).await.unwrap()
}

/// How many connections of this database are busy with this.
async fn busy_with(db: &Db, text: &str) -> i64 {
    let asked = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE '{text}%'"
    );
    let row = db.connection().query_one_raw(Statement::from_string(db.backend(), asked)).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// How many other connections of this database have a transaction open.
async fn open_transactions(db: &Db) -> i64 {
    let asked = "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
                 ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()";
    let row = db.connection().query_one_raw(Statement::from_string(db.backend(), asked)).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

#[test]
fn b5_a_lock_goes_with_the_transaction_whatever_ends_it_and_not_with_a_block() {
    on_mariadb(async |db: Db| {
        let other = one_connection(&db).await;
        let takes = async |s: &mut Session| -> Done {
            s.advisory_lock(LOCK).await?;
            // Twice is once.
            s.advisory_lock(LOCK).await?;
            assert!(!is_free(&other).await);
            Ok(())
        };
        // The connection goes back to its pool each time, where it stays open.
        db.run(takes).await.unwrap();
        assert!(is_free(&other).await, "after a commit");
        let failed = db.run(async |s: &mut Session| -> Done {
            takes(s).await?;
            Err(Error::Usage("no".into()))
        });
        failed.await.unwrap_err();
        assert!(is_free(&other).await, "after a rollback");
        let failed = db.run(async |s: &mut Session| -> Done {
            takes(s).await?;
            s.execute_unprepared("SELECT nothing FROM nowhere").await?;
            Ok(())
        });
        failed.await.unwrap_err();
        assert!(is_free(&other).await, "after an error of the database");
        db.run(async |s: &mut Session| -> Done {
            let block = s.atomic(async |s: &mut Session| -> Done {
                takes(s).await?;
                Err(Error::Usage("no".into()))
            });
            block.await.unwrap_err();
            s.execute_unprepared("DO 1").await?;
            assert!(!is_free(&other).await, "it is the transaction's");
            Ok(())
        })
        .await
        .unwrap();
        assert!(is_free(&other).await, "after a block that rolled back");
        let mut by_hand = db.begin().await.unwrap();
        takes(&mut by_hand).await.unwrap();
        drop(by_hand);
        while !is_free(&other).await {}
        other.close().await.unwrap();
    });
}

#[test]
fn b5_a_unit_that_is_dropped_while_it_waits_for_a_lock_never_gets_it() {
    on_mariadb(async |db: Db| {
        let other = one_connection(&db).await;
        let mut holder = db.begin().await.unwrap();
        holder.advisory_lock(LOCK).await.unwrap();
        {
            let waits = db.run(async |s: &mut Session| -> Done { s.advisory_lock(LOCK).await });
            let asked = async { while busy_with(&db, "SELECT GET_LOCK").await == 0 {} };
            tokio::select! {
                outcome = waits => panic!("{outcome:?}"),
                () = asked => {}
            }
        }
        while busy_with(&db, "SELECT GET_LOCK").await > 0 {}
        assert!(!is_free(&other).await, "the holder has it still");
        holder.commit().await.unwrap();
        assert!(is_free(&other).await);
        other.close().await.unwrap();
    });
}

/// A deadlock of named locks is an error like that of rows, but ends no transaction: it is not taken for one that has ended.
#[test]
fn b5_a_deadlock_of_locks_has_one_unit_repeated() {
    on_mariadb(async |db: Db| {
        let both = tokio::sync::Barrier::new(2);
        let take = async |first: i64, second: i64| {
            let attempts = std::sync::atomic::AtomicU32::new(0);
            let unit = db.session().retry(Retry::times(5)).run(async |s: &mut Session| -> Done {
                let first_time = attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
                s.advisory_lock(first).await?;
                if first_time {
                    both.wait().await;
                }
                let outcome = s.advisory_lock(second).await;
                if let Err(error) = &outcome {
                    assert_eq!(error.class(), Some(Class::Deadlock), "{error:?}");
                }
                outcome
            });
            unit.await.unwrap();
            attempts.into_inner()
        };
        let (one, two) = tokio::join!(take(1, 2), take(2, 1));
        assert_eq!((one.min(two), one.max(two)), (1, 2));
        while open_transactions(&db).await > 0 {}
    });
}

#[test]
fn c3_a_unit_that_is_dropped_in_mid_statement_gives_its_locks_up() {
    on_mariadb(async |db: Db| {
        behind(&db, "INSERT INTO item (id, name, amount, version) VALUES (1, 'a', 100, 1)").await;
        {
            let unit = db.run(async |s: &mut Session| -> Done {
                s.execute_unprepared("UPDATE item SET amount = 1 WHERE id = 1").await?;
                // Longer than any test.
                s.execute_unprepared("DO SLEEP(3600)").await?;
                Ok(())
            });
            let sleeps = async { while busy_with(&db, "DO SLEEP").await == 0 {} };
            tokio::select! {
                outcome = unit => panic!("{outcome:?}"),
                () = sleeps => {}
            }
        }
        while busy_with(&db, "DO SLEEP").await > 0 || open_transactions(&db).await > 0 {}
        db.run(async |s: &mut Session| -> Done {
            // It waits for nobody.
            s.execute_unprepared("SELECT id FROM item WHERE id = 1 FOR UPDATE NOWAIT").await?;
            s.execute_unprepared("UPDATE item SET amount = 3 WHERE id = 1").await?;
            Ok(())
        })
        .await
        .unwrap();
    });
}
