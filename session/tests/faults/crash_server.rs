//! A PostgreSQL server that is crashed under load, and sessions that are terminated one by one (C, R): no acknowledged
//! unit is lost, none is applied twice, and the pool recovers by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sea_orm::ActiveValue::Set;
use sea_orm::sqlx::{self, postgres::PgPool};
use sea_session::Error;
use sea_session::prelude::*;
use sea_session::testing::cluster::Cluster;
use tokio::sync::Mutex;

use crate::support_proof::{Server, note};

const WORKERS: usize = 4;

/// What the workers were told of each unit.
#[derive(Default)]
struct Ledger {
    committed: Vec<String>,
    not_committed: Vec<String>,
    unknown: Vec<String>,
    retries: u64,
}

/// Workers that write units of two rows until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    ledger: Arc<Mutex<Ledger>>,
    workers: tokio::task::JoinSet<()>,
}

impl Load {
    fn start(db: &Db) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            ledger: Arc::default(),
            workers: tokio::task::JoinSet::new(),
        };
        for worker in 0..WORKERS {
            let (db, stop, done, ledger) = (db.clone(), load.stop.clone(), load.done.clone(), load.ledger.clone());
            load.workers.spawn(async move {
                for unit in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    write(&db, format!("{worker}.{unit}"), &ledger).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        load
    }

    /// Waits for so many more units, or for half a minute.
    async fn progress(&self, units: usize) {
        let (start, until) = (self.done.load(Ordering::SeqCst), Instant::now() + Duration::from_secs(30));
        while self.done.load(Ordering::SeqCst) < start + units {
            assert!(Instant::now() < until, "the load makes no progress: the pool has not recovered");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn stop(mut self) -> Ledger {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(worker) = self.workers.join_next().await {
            worker.expect("a worker");
        }
        std::mem::take(&mut *self.ledger.lock().await)
    }
}

async fn write(db: &Db, title: String, ledger: &Mutex<Ledger>) {
    let unit = db.session().retry(Retry::times(8).backoff(Duration::from_millis(5), Duration::from_millis(500)));
    let numbers = unit.clone();
    let outcome = unit
        .run(async |s| -> Result<(), Error> {
            for part in ["a", "b"] {
                s.add(note::ActiveModel { title: Set(format!("{title} {part}")), ..Default::default() });
                s.flush().await?;
            }
            Ok(())
        })
        .await;
    let mut ledger = ledger.lock().await;
    ledger.retries += numbers.stats().retries;
    match outcome {
        Ok(()) => ledger.committed.push(title),
        Err(Error::CommitUnknown { .. }) => ledger.unknown.push(title),
        Err(_) => ledger.not_committed.push(title),
    }
}

async fn settle(what: &str, pool: &PgPool, ledger: &Ledger) {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT title, count(*) FROM note GROUP BY title")
        .fetch_all(pool)
        .await
        .expect("the stored rows");
    let stored: HashMap<String, i64> = rows.into_iter().collect();
    let parts = |title: &String| ["a", "b"].map(|part| stored.get(&format!("{title} {part}")).copied().unwrap_or(0));
    let lost = ledger.committed.iter().filter(|title| parts(title).contains(&0)).count();
    let doubled = stored.values().filter(|count| **count > 1).count();
    let phantom = ledger.not_committed.iter().filter(|title| parts(title) != [0, 0]).count();
    let torn = ledger.unknown.iter().filter(|title| parts(title)[0] != parts(title)[1]).count();
    println!(
        "{what}: {} committed, {} not committed, {} unknown, {} retries; {lost} lost, {doubled} doubled, {torn} torn, {phantom} committed though told not",
        ledger.committed.len(),
        ledger.not_committed.len(),
        ledger.unknown.len(),
        ledger.retries,
    );
    assert_eq!((lost, doubled, phantom, torn), (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_server_that_crashes_under_load_loses_no_acknowledged_unit() {
    let cluster = Cluster::start().await.expect("a cluster of the test's own");
    let server = Server::on(&cluster).await;
    // Test clusters acknowledge a COMMIT before it is written, which a crash of the server would show.
    let durable = sqlx::AssertSqlSafe(format!("ALTER DATABASE {} SET synchronous_commit = on", server.database));
    sqlx::raw_sql(durable).execute(&server.pool).await.expect("a durable database");
    server.pool.acquire().await.expect("a connection").close().await.expect("closed");
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    let db = server.db(WORKERS as u32).await;
    let load = Load::start(&db);
    for _ in 0..3 {
        load.progress(100).await;
        cluster.restart_immediate().await.expect("the server comes back");
    }
    load.progress(100).await;
    let ledger = load.stop().await;
    settle("immediate restarts", &server.pool, &ledger).await;
    assert!(ledger.retries > 0, "the crashes struck");
    db.close().await.expect("the pool closes");
    server.pool.close().await;
    drop(server);
    cluster.stop().await.expect("the cluster is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_hundred_terminated_sessions_lose_no_acknowledged_unit() {
    let server = Server::new().await;
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    let db = server.db(WORKERS as u32).await;
    let load = Load::start(&db);
    load.progress(50).await;
    let mut terminated = 0;
    let mut killer = server.pool.acquire().await.expect("a connection");
    while terminated < 100 {
        let kill = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
            ORDER BY random() LIMIT 1) AS victim";
        let killed: i64 = sqlx::query_scalar(kill).fetch_one(&mut *killer).await.expect("a kill");
        terminated += killed;
        load.progress(5).await;
    }
    drop(killer);
    let ledger = load.stop().await;
    settle("terminated sessions", &server.pool, &ledger).await;
    assert!(ledger.retries > 0, "the kills struck");
    let pool = db.connection().get_postgres_connection_pool();
    let mut held = Vec::new();
    for _ in 0..WORKERS {
        held.push(pool.acquire().await.expect("the pool is whole"));
    }
}
