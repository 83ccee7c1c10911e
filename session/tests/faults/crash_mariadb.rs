//! A MariaDB server that is crashed under load, and sessions that are killed one by one (C, R): no acknowledged unit is lost, none
//! is applied twice, and the pool recovers by itself. What became of a COMMIT is known by its token there (R9).

use std::{collections::HashMap, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, Statement};
use sea_session::{UnitOptions, prelude::*, testing::cluster::mariadb};

use crate::support_load::{Ledger, Load};

const WORKERS: usize = 4;
const TABLE: &str = "CREATE TABLE note (id bigint PRIMARY KEY AUTO_INCREMENT, title varchar(200) NOT NULL)";

async fn connect(url: &str) -> Db {
    let mut options = ConnectOptions::new(url);
    options.max_connections(WORKERS as u32);
    let db = Db::connect(options).await.expect("sessions");
    db.connection().execute_unprepared(TABLE).await.expect("a table");
    db.create_commit_tokens().await.expect("the table of tokens");
    db
}

fn unit(db: &Db) -> UnitOptions {
    let patient = Retry::times(20).backoff(Duration::from_millis(5), Duration::from_millis(500));
    db.session().settle_by_token().retry(patient)
}

async fn settle(what: &str, db: &Db, ledger: &Ledger) {
    let question = "SELECT title, COUNT(*) AS times FROM note GROUP BY title";
    let rows = all(db.connection(), question).await;
    let stored = rows.iter().map(|row| (row.try_get("", "title").unwrap(), row.try_get("", "times").unwrap()));
    ledger.settle(what, &stored.collect::<HashMap<_, _>>());
    assert!(ledger.unknown.is_empty(), "the token says what became of it");
    assert!(ledger.not_committed.is_empty(), "what is known not to be committed is run again");
    assert!(ledger.retries > 0, "it struck");
}

async fn all(connection: &DatabaseConnection, question: &str) -> Vec<sea_orm::QueryResult> {
    let question = Statement::from_string(sea_orm::DbBackend::MySql, question);
    connection.query_all_raw(question).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_mariadb_that_is_killed_under_load_loses_no_acknowledged_unit() {
    let server = mariadb::Server::start().await.expect("a server of the test's own");
    let database = server.database().await.expect("a database");
    let db = connect(&database.url()).await;
    let load = Load::start(WORKERS, &[unit(&db)]);
    for _ in 0..3 {
        load.progress(100).await;
        server.restart_immediate().await.expect("the server comes back");
    }
    load.progress(100).await;
    let ledger = load.stop().await;
    settle("kills of MariaDB", &db, &ledger).await;
    db.close().await.expect("the pool closes");
    drop(database);
    server.stop().await.expect("the server is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_hundred_killed_sessions_of_mariadb_lose_no_acknowledged_unit() {
    let database = mariadb::fresh_database().await.expect("a database");
    let db = connect(&database.url()).await;
    let killer = sea_orm::Database::connect(database.url()).await.expect("a connection");
    let load = Load::start(WORKERS, &[unit(&db)]);
    load.progress(50).await;
    let mut killed = 0;
    while killed < 100 {
        let victim = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() \
                      ORDER BY RAND() LIMIT 1";
        for row in all(&killer, victim).await {
            let id: u64 = row.try_get_by_index(0).map(|id: i64| id.unsigned_abs()).expect("a number");
            // It may have ended meanwhile.
            killed += usize::from(killer.execute_unprepared(&format!("KILL CONNECTION {id}")).await.is_ok());
        }
        load.progress(5).await;
    }
    let ledger = load.stop().await;
    settle("killed sessions of MariaDB", &db, &ledger).await;
    let pool = db.connection().get_mysql_connection_pool();
    let mut held = Vec::new();
    for _ in 0..WORKERS {
        held.push(pool.acquire().await.expect("the pool is whole"));
    }
}
