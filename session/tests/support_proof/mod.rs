//! A database of a test's own on the test server.

#![allow(dead_code)] // each test binary uses its own part of it

pub mod note;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_session::prelude::Db;
use sea_session::testing::cluster::{self, Cluster, TestDatabase};

/// A fresh database on a test server.
pub struct Server {
    /// Dropped with the value.
    pub test: TestDatabase,
    /// Its superuser.
    pub user: String,
    /// Its name.
    pub database: String,
    /// A pool that leads straight to it.
    pub pool: PgPool,
}

impl Server {
    /// A database on the cluster that all tests share.
    pub async fn new() -> Self {
        Self::of(cluster::fresh_database().await.expect("the test server gives a database"))
    }

    /// A database on a cluster that the test may crash.
    pub async fn on(cluster: &Cluster) -> Self {
        Self::of(cluster.fresh_database().await.expect("the test's own server gives a database"))
    }

    fn of(test: TestDatabase) -> Self {
        let options: PgConnectOptions = test.url().parse().expect("the cluster's own URL");
        let (user, database) = (options.get_username().to_owned(), test.name().to_owned());
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
        Self { test, user, database, pool }
    }

    /// A URL that leads straight to the database.
    pub fn url(&self) -> String {
        self.test.url()
    }

    /// Sessions on a pool of this many connections.
    pub async fn db(&self, connections: u32) -> Db {
        db(&self.url(), connections).await
    }

    /// Plain SeaORM on a pool of this many connections.
    pub async fn sea_orm(&self, connections: u32) -> DatabaseConnection {
        sea_orm(&self.url(), connections).await
    }
}

/// Sessions on a pool of this many connections.
pub async fn db(url: &str, connections: u32) -> Db {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections);
    Db::connect(options).await.expect("the test server answers")
}

/// Plain SeaORM on a pool of this many connections, none of them recycled behind the test's back.
pub async fn sea_orm(url: &str, connections: u32) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).min_connections(connections).sqlx_logging(false).test_before_acquire(false);
    Database::connect(options).await.expect("the test server answers")
}

/// Polls a future so often and drops it; what it has come to by then, if anything.
pub fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..times {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}
