//! HAZARDS.md, Z21 and Z22: what goes wrong with outboxes on PostgreSQL. Each test first shows the usual way failing, and
//! then the session's outbox holding where it failed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sea_orm::sqlx;
use sea_session::outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable};
use sea_session::testing::{cluster::Cluster, create_table};
use sea_session::{Error, Recorder};

use crate::support_outbox::{event, new_event};
use crate::support_proof::{Server, db};

fn event(key: &str) -> event::ActiveModel {
    new_event("test", key, 1, "changed")
}

/// Notes the keys that it is given.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Handler for Seen {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        self.0.lock().unwrap().extend(events.iter().map(|event| event.key.clone()));
        Ok(vec![Delivery::Done; events.len()])
    }
}

#[tokio::test]
async fn z21_an_event_that_commits_late_is_not_passed_over() {
    let server = Server::new().await;
    let db = server.db(3).await;
    create_table(&db, event::Entity).await.unwrap();

    // A cursor over positions from a sequence, which are not in the order of the commits.
    let cursor = "SELECT coalesce(max(id), 0) FROM events WHERE id > $1";
    let mut slow = db.begin().await.unwrap();
    slow.add(event("slow"));
    slow.flush().await.unwrap();
    let quick = |key: &'static str| {
        let db = db.clone();
        async move {
            db.run(async |s| -> Result<(), Error> {
                s.add(event(key));
                Ok(())
            })
            .await
            .unwrap();
        }
    };
    quick("quick").await;
    let first: i64 = sqlx::query_scalar(cursor).bind(0_i64).fetch_one(&server.pool).await.unwrap();

    let seen = Seen::default();
    let dispatcher = Dispatcher::new(&Outbox::new(&db, "events", "test"), seen.clone());
    dispatcher.drain().await.unwrap();
    assert_eq!(seen.keys(), ["quick"]);

    slow.commit().await.unwrap();
    let second: i64 = sqlx::query_scalar(cursor).bind(first).fetch_one(&server.pool).await.unwrap();
    assert_eq!((first, second), (2, 0), "a cursor never sees the event that committed late: it is behind it");
    dispatcher.drain().await.unwrap();
    assert_eq!(seen.keys(), ["quick", "slow"], "claimed by state, nothing is passed over");
}

#[tokio::test]
async fn z22_a_wake_up_does_not_make_commits_wait_for_each_other() {
    let cluster = Cluster::start().await.expect("a cluster of the test's own");
    let server = Server::on(&cluster).await;
    let db = db(&server.url(), 2).await;
    create_table(&db, event::Entity).await.unwrap();

    // A COMMIT that hangs (for a standby that does not exist) shows what is held until a COMMIT is over.
    sqlx::raw_sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").execute(&server.pool).await.unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(&server.pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut hanging = server.pool.acquire().await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *hanging).await.unwrap();
    let write = "BEGIN; SET LOCAL synchronous_commit = on; CREATE TABLE hanging (); NOTIFY test; COMMIT";
    let hanging = tokio::spawn(async move { sqlx::raw_sql(write).execute(&mut *hanging).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(200)).await;

    let other = sqlx::raw_sql("BEGIN; NOTIFY test; COMMIT").execute(&server.pool);
    let other = tokio::time::timeout(Duration::from_millis(300), other).await;
    assert!(other.is_err(), "plain: a COMMIT with a NOTIFY waits for the other's whole COMMIT");

    let outbox = Outbox::new(&db, "events", "test");
    let recorder = Recorder::new();
    db.session()
        .record(&recorder)
        .run(async |s| -> Result<(), Error> {
            s.add(event("woken"));
            outbox.wake_after_commit(s);
            Ok(())
        })
        .await
        .unwrap();
    assert!(!hanging.is_finished(), "the unit waits for nobody");
    let sent = recorder.statements();
    assert!(sent.iter().all(|sql| !sql.to_lowercase().contains("notify")), "no NOTIFY in the transaction: {sent:?}");

    let cancel = format!("SELECT pg_cancel_backend({pid})");
    sqlx::raw_sql(sqlx::AssertSqlSafe(cancel)).execute(&server.pool).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), hanging).await.expect("the wait was cancelled").unwrap().unwrap();
    db.close().await.unwrap();
    server.pool.close().await;
    drop(server);
    cluster.stop().await.unwrap();
}
