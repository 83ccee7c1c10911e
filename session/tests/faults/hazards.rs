//! HAZARDS.md, Z1 to Z8: transactions and connections. Each test first shows plain SeaORM failing, on the versions that
//! the workspace names, and then a session holding where it failed.

use std::future::Future;
use std::time::{Duration, Instant};

use sea_orm::sqlx::Row;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, IsolationLevel,
    PaginatorTrait, RuntimeErr, TransactionError, TransactionTrait, sqlx,
};
use sea_session::Error;
use sea_session::prelude::*;

use crate::fault_proxy::Proxy;
use crate::support_proof::{Server, note, polled};

/// A server with the note table, plain SeaORM on a pool of one, and a session engine on another pool of one.
struct Rig {
    server: Server,
    plain: DatabaseConnection,
    db: Db,
    /// Plain SeaORM is behind it: no answer comes before the test's own thread has waited once, however fast the server is.
    _proxy: Proxy,
}

impl Rig {
    async fn new() -> Self {
        let server = Server::new().await;
        sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.unwrap();
        let proxy = server.proxy().await;
        let plain = crate::support_proof::sea_orm(&proxy.url(&server.user, &server.database), 1).await;
        let db = server.db(1).await;
        Self { server, plain, db, _proxy: proxy }
    }

    /// The titles that another connection sees, in the order of the alphabet.
    async fn stored(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT title FROM note ORDER BY title").fetch_all(&self.server.pool).await.unwrap()
    }

    async fn empty(&self) {
        sqlx::raw_sql("TRUNCATE note CASCADE").execute(&self.server.pool).await.unwrap();
    }
}

fn insert(title: &str) -> String {
    format!("INSERT INTO note (title) VALUES ('{title}')")
}

fn draft(title: &str) -> note::ActiveModel {
    note::ActiveModel { title: Set(title.into()), ..Default::default() }
}

/// The SQLSTATE inside SeaORM's error.
fn sqlstate(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error)) => {
            error.as_database_error()?.code().map(|code| code.into_owned())
        }
        _ => None,
    }
}

/// A plain transaction with one row, whose nested begin was dropped before its answer came.
async fn cancelled_in_nested_begin(rig: &Rig) -> DatabaseTransaction {
    let tx = rig.plain.begin().await.unwrap();
    tx.execute_unprepared(&insert("before")).await.unwrap();
    assert!(polled(1, tx.begin()).is_none(), "the answer came within the first poll");
    tx
}

#[tokio::test]
async fn z1_a_cancelled_nested_begin_does_not_roll_back_its_parent() {
    let rig = Rig::new().await;

    let tx = cancelled_in_nested_begin(&rig).await;
    tx.execute_unprepared(&insert("after")).await.unwrap();
    tx.commit().await.expect("commit says Ok");
    assert_eq!(rig.stored().await, ["after"], "plain: the parent was rolled back, and what followed ran in autocommit");

    rig.empty().await;
    let outcome = rig
        .db
        .run(async |s| -> Result<(), Error> {
            s.add(draft("before"));
            s.flush().await?;
            let nested = s.atomic(async |s| -> Result<(), Error> {
                s.execute_unprepared("SELECT pg_sleep(0.05)").await?;
                Ok(())
            });
            assert!(polled(1, nested).is_none());
            s.add(draft("after"));
            Ok(())
        })
        .await;
    outcome.unwrap();
    assert_eq!(rig.stored().await, ["after", "before"]);

    // The other way into the hazard: a nested begin in an aborted transaction.
    rig.empty().await;
    let tx = rig.plain.begin().await.unwrap();
    tx.execute_unprepared(&insert("before")).await.unwrap();
    tx.execute_unprepared("SELECT 1/0").await.unwrap_err();
    tx.begin().await.unwrap_err();
    tx.execute_unprepared(&insert("after")).await.unwrap();
    tx.commit().await.expect("commit says Ok");
    assert_eq!(rig.stored().await, ["after"], "plain: a failed nested begin ends the parent");

    rig.empty().await;
    let outcome = rig
        .db
        .run(async |s| -> Result<(), Error> {
            s.add(draft("before"));
            s.flush().await?;
            s.execute_unprepared("SELECT 1/0").await.unwrap_err();
            s.atomic(async |s| -> Result<(), Error> {
                s.execute_unprepared("SELECT 1").await.map(drop).map_err(Error::from)
            })
            .await
            .unwrap_err();
            s.execute_unprepared(&insert("after")).await.unwrap_err();
            Ok(())
        })
        .await;
    assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
    assert_eq!(rig.stored().await, [""; 0]);
}

#[tokio::test]
async fn z2_a_parent_cannot_be_committed_while_its_child_lives() {
    let rig = Rig::new().await;

    let parent = rig.plain.begin().await.unwrap();
    parent.execute_unprepared(&insert("parent")).await.unwrap();
    let child = parent.begin().await.unwrap();
    parent.commit().await.expect("commit says Ok");
    drop(child);
    rig.plain.ping().await.unwrap();
    assert_eq!(rig.stored().await, [""; 0], "plain: acknowledged rows are lost");

    // Here it does not compile: a child block holds `&mut` on its session.
    crate::ui::refused("tests/ui/hazards", module_path!(), "z2_a_parent_cannot_be_committed_while_its_child_lives");
}

#[tokio::test]
async fn z3_a_cancelled_begin_leaves_no_open_transaction_in_the_pool() {
    let rig = Rig::new().await;

    let mut lost = 0;
    for polls in 1..8 {
        rig.empty().await;
        let plain = rig.server.sea_orm(1).await;
        drop(polled(polls, plain.begin()));
        tokio::time::sleep(Duration::from_millis(10)).await;
        plain.execute_unprepared(&insert("acknowledged")).await.expect("the later borrower's INSERT says Ok");
        lost += usize::from(rig.stored().await.is_empty());
        plain.close().await.unwrap();
    }
    assert!(lost > 0, "plain: an acknowledged row of a later borrower is never committed");

    for polls in 1..30 {
        rig.empty().await;
        let unit = rig.db.run(async |s| -> Result<(), Error> {
            s.execute_unprepared("SELECT 1").await?;
            Ok(())
        });
        drop(polled(polls, unit));
        rig.db.connection().execute_unprepared(&insert("acknowledged")).await.unwrap();
        assert_eq!(rig.stored().await, ["acknowledged"], "after a unit that was dropped at poll {polls}");
    }
}

#[tokio::test]
async fn z4_a_dropped_statement_does_not_keep_its_locks() {
    let rig = Rig::new().await;
    sqlx::raw_sql(&*insert("locked").leak()).execute(&rig.server.pool).await.unwrap();
    const HOLD: &str = "UPDATE note SET rank = 1; SELECT pg_sleep(3)";

    let plain = async {
        let tx = rig.plain.begin().await?;
        tx.execute_unprepared(HOLD).await
    };
    assert!(tokio::time::timeout(Duration::from_millis(100), plain).await.is_err());
    let waited = time_to_lock(&rig).await;
    assert!(waited > Duration::from_secs(2), "plain: the row stays locked behind pg_sleep, here {waited:?}");

    let unit = rig.db.run(async |s| -> Result<(), Error> {
        s.execute_unprepared(HOLD).await?;
        Ok(())
    });
    assert!(tokio::time::timeout(Duration::from_millis(100), unit).await.is_err());
    let waited = time_to_lock(&rig).await;
    // How soon exactly (C3) is measured where the best of several counts.
    assert!(waited < Duration::from_secs(2), "the row is locked no longer than until the drop: {waited:?}");
    rig.db
        .run(async |s| -> Result<(), Error> { s.execute_unprepared("SELECT 1").await.map(drop).map_err(Error::from) })
        .await
        .unwrap();
}

async fn time_to_lock(rig: &Rig) -> Duration {
    let start = Instant::now();
    sqlx::raw_sql("UPDATE note SET rank = 2").execute(&rig.server.pool).await.unwrap();
    start.elapsed()
}

#[tokio::test]
async fn z5_the_commit_of_an_aborted_transaction_is_an_error() {
    let rig = Rig::new().await;

    let tx = rig.plain.begin().await.unwrap();
    tx.execute_unprepared(&insert("written")).await.unwrap();
    tx.execute_unprepared("SELECT 1/0").await.unwrap_err();
    tx.commit().await.expect("commit says Ok");
    assert_eq!(rig.stored().await, [""; 0], "plain: the server answered ROLLBACK, and nobody read the tag");

    let outcome = rig
        .db
        .run(async |s| -> Result<(), Error> {
            s.add(draft("written"));
            s.flush().await?;
            s.execute_unprepared("SELECT 1/0").await.unwrap_err();
            Ok(())
        })
        .await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(error.sqlstate(), Some("22012"), "the first cause is named");
    assert_eq!(rig.stored().await, [""; 0]);
}

/// Two serializable transactions of which the second to commit must fail, at COMMIT.
#[tokio::test]
async fn z6_a_serialization_failure_at_commit_is_told_and_retried() {
    let rig = Rig::new().await;
    let other = rig.server.sea_orm(1).await;
    sqlx::raw_sql("INSERT INTO note (id, title, rank) VALUES (1, 'on call', 1), (2, 'on call', 1)")
        .execute(&rig.server.pool)
        .await
        .unwrap();
    let count = "SELECT count(*) FROM note WHERE rank = 1";

    let serializable = Some(IsolationLevel::Serializable);
    let (one, two) = (
        rig.plain.begin_with_config(serializable, None).await.unwrap(),
        other.begin_with_config(serializable, None).await.unwrap(),
    );
    for (tx, id) in [(&one, 1), (&two, 2)] {
        tx.execute_unprepared(count).await.unwrap();
        tx.execute_unprepared(&format!("UPDATE note SET rank = 0 WHERE id = {id}")).await.unwrap();
    }
    one.commit().await.unwrap();
    let error = two.commit().await.unwrap_err();
    assert_eq!(sqlstate(&error).as_deref(), Some("40001"));
    assert!(error.sql_err().is_none(), "plain: `sql_err()` does not know it");

    sqlx::raw_sql("UPDATE note SET rank = 1").execute(&rig.server.pool).await.unwrap();
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let unit = rig.db.session().isolation(IsolationLevel::Serializable).retry(Retry::times(2));
    let left: i64 = unit
        .run(async |s| -> Result<i64, Error> {
            let rows = s.query_all_raw(statement(count)).await?;
            let left: i64 = rows[0].try_get_by_index(0)?;
            if left > 1 {
                s.execute_unprepared("UPDATE note SET rank = 0 WHERE id = 1").await?;
            }
            if attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                let rival = other.begin_with_config(serializable, None).await?;
                rival.execute_unprepared(count).await?;
                rival.execute_unprepared("UPDATE note SET rank = 0 WHERE id = 2").await?;
                rival.commit().await?;
            }
            Ok(left)
        })
        .await
        .unwrap();
    assert_eq!((left, attempts.into_inner()), (1, 2), "the second attempt saw what the rival had committed");
    let on_call: i64 = sqlx::query(count).fetch_one(&rig.server.pool).await.unwrap().get(0);
    assert_eq!(on_call, 1);
}

fn statement(sql: &str) -> sea_orm::Statement {
    sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql)
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the caller's own reason")]
    Own,
    #[error(transparent)]
    Session(#[from] Error),
}

#[tokio::test]
async fn z7_a_failing_rollback_does_not_replace_the_callers_error() {
    let rig = Rig::new().await;
    const SUICIDE: &str = "SELECT pg_terminate_backend(pg_backend_pid())";

    let outcome = rig
        .plain
        .transaction_async::<_, (), Refusal>(async |tx: &sea_orm::DatabaseTransaction| {
            tx.execute_unprepared(SUICIDE).await.unwrap_err();
            Err(Refusal::Own)
        })
        .await;
    assert!(matches!(outcome, Err(TransactionError::Connection(_))), "plain: the caller's error is gone: {outcome:?}");

    let outcome = rig
        .db
        .run(async |s| -> Result<(), Refusal> {
            s.execute_unprepared(SUICIDE).await.unwrap_err();
            Err(Refusal::Own)
        })
        .await;
    assert!(matches!(outcome, Err(Refusal::Own)), "{outcome:?}");
    rig.db
        .run(async |s| -> Result<(), Error> { s.execute_unprepared("SELECT 1").await.map(drop).map_err(Error::from) })
        .await
        .unwrap();
}

#[tokio::test]
async fn z8_dropping_a_unit_while_a_childs_statement_runs_does_not_panic() {
    let rig = Rig::new().await;

    let parent = rig.plain.begin().await.unwrap();
    let child = parent.begin().await.unwrap();
    let mut query = Box::pin(child.execute_unprepared("SELECT pg_sleep(0.2)"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(query.as_mut().poll(&mut context).is_pending());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(parent))).is_err();
    assert!(panicked, "plain: Drop panics while the child's statement holds the connection");
    drop(query);
    drop(child);

    rig.empty().await;
    for polls in 1..12 {
        let unit = rig.db.run(async |s| -> Result<(), Error> {
            s.add(draft("never"));
            s.atomic(async |s| -> Result<(), Error> {
                s.execute_unprepared("SELECT pg_sleep(5)").await?;
                Ok(())
            })
            .await
        });
        assert!(polled(polls, unit).is_none());
        assert_eq!(note::Entity::find().count(rig.db.connection()).await.unwrap(), 0);
    }
}
