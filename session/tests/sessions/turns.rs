//! Units that write to one SQLite file take turns, in their order, and wait without a connection (R7).

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use futures_util::{future::join_all, poll};
use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use sea_session::{Class, Error, prelude::*};
use tempfile::TempDir;

type Done = Result<(), Error>;

/// A pool of two connections to a file with an empty table. A writer that meets another there is refused at once.
async fn file() -> (TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", folder.path().join("line.db").display()));
    options.max_connections(2).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite.busy_timeout(Duration::ZERO).journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
    });
    let db = Db::from(Database::connect(options).await.unwrap());
    db.connection().execute_unprepared("CREATE TABLE line (number integer NOT NULL)").await.unwrap();
    (folder, db)
}

async fn write(db: &Db, number: usize) -> Done {
    let unit = db.session().retry(Retry::none());
    unit.run(async |s: &mut Session| -> Done {
        s.execute_unprepared(&format!("INSERT INTO line VALUES ({number})")).await?;
        Ok(())
    })
    .await
}

async fn numbers(db: &Db) -> Vec<i64> {
    let rows = db.session().read_only().run(async |s: &mut Session| -> Result<_, Error> {
        let question = sea_orm::Statement::from_string(s.backend(), "SELECT number FROM line ORDER BY rowid");
        Ok(s.query_all_raw(question).await?)
    });
    rows.await.unwrap().iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

async fn is_waiting(unit: &mut Pin<&mut impl Future<Output = Done>>) -> bool {
    poll!(unit.as_mut()).is_pending()
}

#[tokio::test]
async fn r7_units_that_write_to_a_file_take_turns_in_their_order() {
    let (_folder, db) = file().await;
    for outcome in join_all((0..20).map(|number| write(&db, number))).await {
        outcome.unwrap();
    }
    assert_eq!(numbers(&db).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn r7_a_unit_waits_for_its_turn_without_a_connection_and_one_that_is_dropped_leaves_the_line() {
    let (_folder, db) = file().await;
    let mut first = db.begin().await.unwrap();
    first.execute_unprepared("INSERT INTO line VALUES (1)").await.unwrap();
    let mut third = pin!(write(&db, 3));
    {
        let mut second = pin!(write(&db, 2));
        assert!(is_waiting(&mut second).await && is_waiting(&mut third).await);
        // The other connection is free.
        assert_eq!(numbers(&db).await, [] as [i64; 0]);
    }
    assert!(is_waiting(&mut third).await);
    first.commit().await.unwrap();
    third.await.unwrap();
    // One that is given up in the middle leaves its turn as well.
    let mut fourth = db.begin().await.unwrap();
    fourth.execute_unprepared("INSERT INTO line VALUES (4)").await.unwrap();
    let mut fifth = pin!(write(&db, 5));
    assert!(is_waiting(&mut fifth).await);
    fourth.rollback().await.unwrap();
    fifth.await.unwrap();
    assert_eq!(numbers(&db).await, [1, 3, 5]);
}

#[tokio::test]
async fn r7_a_unit_that_is_waited_for_by_the_one_before_it_is_told_that_the_file_is_busy() {
    let (_folder, db) = file().await;
    let outer = db.run(async |s: &mut Session| -> Done {
        s.execute_unprepared("INSERT INTO line VALUES (1)").await?;
        let refused = write(&db, 2).await.unwrap_err();
        assert_eq!(refused.class(), Some(Class::Busy), "{refused}");
        Ok(())
    });
    outer.await.unwrap();
    assert_eq!(numbers(&db).await, [1]);
}
