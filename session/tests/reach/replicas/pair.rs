//! A primary that the tests of this program share, each with a database of its own on it, and streaming replicas that are one test's.

use std::{fmt::Debug, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};
use sea_session::{
    Replicas,
    prelude::*,
    testing::cluster::{Cluster, TestDatabase},
};
use tokio::sync::OnceCell;

use crate::support::tables;

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(100);

/// It ends with the process.
static PRIMARY: OnceCell<Cluster> = OnceCell::const_new();

/// A database on the primary, with the tables of the tests, and its replicas.
pub struct Pair {
    pub replicas: Vec<Cluster>,
    pub database: TestDatabase,
    /// Past every session.
    pub primary: DatabaseConnection,
}

impl Pair {
    pub async fn new(replicas: usize) -> Self {
        let cluster = PRIMARY.get_or_try_init(Cluster::start).await.expect("a primary");
        let database = cluster.fresh_database().await.expect("a database");
        tables(&Db::connect(database.url()).await.expect("the primary")).await.expect("tables");
        let primary = Database::connect(database.url()).await.expect("the primary");
        let mut pair = Self { replicas: Vec::new(), database, primary };
        for _ in 0..replicas {
            pair.replicas.push(cluster.replica().await.expect("a replica"));
        }
        pair
    }

    /// The options of a pool of replica `at`.
    pub fn options(&self, at: usize) -> ConnectOptions {
        ConnectOptions::new(self.replicas[at].url_of(self.database.name()))
    }

    /// Pools of the replicas, with as much time to answer as a busy machine takes.
    pub async fn pools(&self) -> Replicas {
        let mut pools = Vec::new();
        for at in 0..self.replicas.len() {
            pools.push(Db::connect(self.options(at)).await.expect("a replica"));
        }
        Replicas::from(pools).reach_within(LONG).retry_after(LONG)
    }

    /// A pool of the primary with all its replicas, which units wait for as long as they take.
    pub async fn db(&self) -> Db {
        self.db_with(|replicas| replicas.wait(LONG)).await
    }

    pub async fn db_with(&self, change: impl FnOnce(Replicas) -> Replicas) -> Db {
        let db = Db::connect(self.database.url()).await.expect("the primary");
        db.replicas(change(self.pools().await)).expect("replicas")
    }

    /// A connection to replica `at`, past every session.
    pub async fn on_replica(&self, at: usize) -> DatabaseConnection {
        Database::connect(self.options(at)).await.expect("a replica")
    }

    /// The same, in a database of the server's own.
    async fn server(&self, at: usize) -> DatabaseConnection {
        Database::connect(self.replicas[at].url()).await.expect("a replica")
    }

    pub async fn pause(&self, at: usize) {
        let server = self.server(at).await;
        server.execute_unprepared("SELECT pg_wal_replay_pause()").await.expect("a pause");
        let paused = async || ask::<String>(&server, "SELECT pg_get_wal_replay_pause_state()").await;
        eventually("the replay is paused", async || paused().await == "paused").await;
    }

    pub async fn resume(&self, at: usize) {
        self.server(at).await.execute_unprepared("SELECT pg_wal_replay_resume()").await.expect("a resumption");
    }

    /// Waits until replica `at` has replayed all that this pool knows of: tests beside this one write to the same log.
    pub async fn caught_up(&self, at: usize, db: &Db) {
        let written = db.written().await.expect("a position");
        let replica = self.server(at).await;
        let question = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        eventually("the replica has caught up", async || ask(&replica, &question).await).await;
    }
}

/// The first column of the first row.
pub async fn ask<T: sea_orm::TryGetable + Debug>(db: &DatabaseConnection, sql: &str) -> T {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.expect(sql).expect("a row");
    row.try_get_by_index(0).expect(sql)
}

/// Waits until something holds.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "not within a minute: {what}");
}
