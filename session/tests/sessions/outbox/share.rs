//! The keys of a stream that its dispatchers divide, and what nobody's bell rings for (Q3).

use std::time::Duration;

use sea_orm::sqlx::{self, postgres::PgPool};
use sea_session::{
    outbox::{Delivery, Dispatcher, Outbox},
    prelude::*,
    testing::{cluster, create_table},
};

use super::support::{Running, Seen, arrived, elsewhere, event, ledger, on_postgres, write};

/// So long that nothing is found by polling within a test.
const NEVER: Duration = Duration::from_secs(3600);
const KEYS: usize = 40;
/// The advisory locks of this database.
const LOCKS: &str = "FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn write_keys(db: &Db) {
    write(db, (0..KEYS).map(|n| event(&format!("key {n}"), 1, "made")).collect()).await;
}

/// Waits until so many dispatchers take part.
async fn joined(pool: &PgPool, dispatchers: i64) {
    let members = format!("SELECT count(*) {LOCKS} AND objsubid = 2");
    while sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(&*members)).fetch_one(pool).await.unwrap() < dispatchers {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // They have told each other, and looked.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// What a receiver has when nothing has come for a while.
async fn settled(seen: &Seen) -> usize {
    let mut before = usize::MAX;
    while before != seen.lock().len() {
        before = seen.lock().len();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    before
}

#[test]
fn q3_what_another_locked_and_did_not_take_is_looked_for_again() {
    on_postgres(async |db: Db, outbox: Outbox| {
        let pool = db.connection().get_postgres_connection_pool();
        let elsewhere = elsewhere(&db).await;
        let there = Outbox::new(&elsewhere, "events", "test");
        let (seen, here) = ledger(|_| Delivery::Done);
        let (seen_there, handler) = ledger(|_| Delivery::Done);
        let running = [
            Running::start(Dispatcher::new(&outbox, here).claims(2).poll(NEVER)),
            Running::start(Dispatcher::new(&there, handler).claims(2).poll(NEVER)),
        ];
        joined(pool, 2).await;
        write_keys(&db).await;
        // A claim of one that looks at everything, and takes nothing of it.
        let mut claim = pool.begin().await.unwrap();
        sqlx::query("SELECT FROM events FOR UPDATE").execute(&mut *claim).await.unwrap();
        outbox.wake();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(seen.lock().len() + seen_there.lock().len(), 0);
        claim.rollback().await.unwrap();
        for _ in 0..500 {
            if seen.lock().len() + seen_there.lock().len() == KEYS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (here, there) = (seen.lock().len(), seen_there.lock().len());
        assert!(here + there == KEYS && here > 0 && there > 0, "{here} here and {there} there");
        for one in running {
            one.stop().await;
        }
        elsewhere.close().await.unwrap();
    });
}

#[test]
fn q3_keys_that_are_divided_anew_are_looked_at_at_once() {
    on_postgres(async |db: Db, outbox: Outbox| {
        let pool = db.connection().get_postgres_connection_pool();
        let (seen, handler) = ledger(|_| Delivery::Done);
        let running = Running::start(Dispatcher::new(&outbox, handler).claims(2).poll(NEVER));
        joined(pool, 1).await;
        // A second one that takes its share and delivers nothing of it: a lock beside the first one's, and word of it.
        let mut second = pool.acquire().await.unwrap();
        let join = sqlx::AssertSqlSafe(format!("SELECT pg_advisory_lock(classid::int, 513) {LOCKS} AND objsubid = 2"));
        let tell = "NOTIFY sea_session_events_test, 'joined'";
        sqlx::query(join).execute(&mut *second).await.unwrap();
        sqlx::query(tell).execute(&mut *second).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        write_keys(&db).await;
        outbox.wake();
        let own = settled(&seen).await;
        assert!((1..KEYS).contains(&own), "{own} of {KEYS} are its own");
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *second).await.unwrap();
        sqlx::query(tell).execute(&mut *second).await.unwrap();
        assert_eq!(arrived(&seen, KEYS).await, KEYS, "no bell rings for what was the second one's");
        running.stop().await;
    });
}

/// A role that may not take an advisory lock stands for a server, or a proxy before it, that has none.
#[test]
fn q3_without_advisory_locks_everybody_has_everything_and_each_key_its_order() {
    const EACH: i64 = 10;
    let test = async {
        let database = cluster::fresh_database().await.unwrap();
        let owner = Db::connect(database.url()).await.unwrap();
        create_table(&owner, crate::support_outbox::event::Entity).await.unwrap();
        Outbox::new(&owner, "events", "test").create_indexes().await.unwrap();
        let role = database.create_role().await.unwrap();
        let pool = owner.connection().get_postgres_connection_pool();
        let deny = format!(
            "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(int, int) FROM PUBLIC; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON events TO {0}",
            role.name()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(deny)).execute(pool).await.unwrap();
        let (seen, mut running) = (Seen::default(), Vec::new());
        for _ in 0..3 {
            let db = Db::connect(role.url()).await.unwrap();
            let note = seen.clone();
            let (_, handler) = ledger(move |event| {
                note.lock().push((event.key.clone(), event.sequence, event.attempt));
                Delivery::Done
            });
            let dispatcher = Dispatcher::new(&Outbox::new(&db, "events", "test"), handler);
            running.push((Running::start(dispatcher.batch(10).claims(2)), db));
        }
        for sequence in 1..=EACH {
            write(&owner, (0..KEYS).map(|n| event(&format!("key {n}"), sequence, "made")).collect()).await;
            Outbox::new(&owner, "events", "test").wake();
        }
        let events = KEYS * EACH as usize;
        assert_eq!(arrived(&seen, events).await, events, "nothing is lost");
        let locks = sqlx::AssertSqlSafe(format!("SELECT count(*) {LOCKS}"));
        assert_eq!(sqlx::query_scalar::<_, i64>(locks).fetch_one(pool).await.unwrap(), 0, "nobody has a share");
        let mut delivered = 0;
        for (one, db) in running {
            delivered += one.stop().await.delivered;
            db.close().await.unwrap();
        }
        assert_eq!(delivered, events as u64, "nothing comes twice");
        for n in 0..KEYS {
            let key = format!("key {n}");
            let order: Vec<i64> = seen.lock().iter().filter(|(of, ..)| *of == key).map(|(_, n, _)| *n).collect();
            assert_eq!(order, (1..=EACH).collect::<Vec<_>>(), "{key}");
        }
        owner.close().await.unwrap();
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}
