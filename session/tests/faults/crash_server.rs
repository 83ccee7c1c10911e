//! A PostgreSQL server that is crashed under load, and sessions that are terminated one by one (C, R): no acknowledged
//! unit is lost, none is applied twice, and the pool recovers by itself.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::sqlx::{self, postgres::PgPool};
use sea_session::prelude::*;
use sea_session::testing::cluster::Cluster;

use crate::support_load::{Ledger, Load};
use crate::support_proof::{Server, note};

const WORKERS: usize = 4;

fn unit(db: &Db) -> UnitOptions {
    db.session().retry(Retry::times(8).backoff(Duration::from_millis(5), Duration::from_millis(500)))
}

async fn settle(what: &str, pool: &PgPool, ledger: &Ledger) {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT title, count(*) FROM note GROUP BY title")
        .fetch_all(pool)
        .await
        .expect("the stored rows");
    ledger.settle(what, &rows.into_iter().collect::<HashMap<_, _>>());
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
    let load = Load::start(WORKERS, &[unit(&db)]);
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
    let load = Load::start(WORKERS, &[unit(&db)]);
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
