//! Databases for the tests of this crate: one of its own for each test, on each backend.

#![allow(dead_code, reason = "each test file uses a part")]

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};

/// An empty database that goes away with the value.
pub struct Fresh {
    pub url: String,
    pub db: DatabaseConnection,
    home: Home,
}

enum Home {
    Sqlite { _directory: tempfile::TempDir },
    Postgres { admin: String, name: String },
}

impl Fresh {
    /// A SQLite file in a directory of its own.
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("test.db").display());
        let db = connect(&url).await;
        Self { url, db, home: Home::Sqlite { _directory: directory } }
    }

    /// A PostgreSQL database on the test server. A missing server is a failure.
    pub async fn postgres() -> Self {
        let admin = std::env::var("TEST_POSTGRES_URL")
            .expect("TEST_POSTGRES_URL must name a PostgreSQL server whose user may create databases");
        let name = format!("mig_{}", uuid::Uuid::new_v4().simple());
        run_on(&admin, &format!("CREATE DATABASE {name}")).await;
        let url = with_database(&admin, &name);
        let db = connect(&url).await;
        Self { url, db, home: Home::Postgres { admin, name } }
    }

    /// Both.
    pub async fn each() -> [Self; 2] {
        [Self::sqlite().await, Self::postgres().await]
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.home, Home::Postgres { .. })
    }

    pub async fn sql(&self, sql: &str) {
        self.db.execute_unprepared(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The first column of every row, as text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        let rows = self.db.query_all_raw(statement).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        self.db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    /// Ends it. A test that panics leaves its PostgreSQL database to the cluster's own end.
    pub async fn close(self) {
        let _ = self.db.clone().close().await;
        if let Home::Postgres { admin, name } = &self.home {
            run_on(admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
}

pub async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(8).sqlx_logging(false);
    Database::connect(options).await.unwrap_or_else(|e| panic!("{url}: {e}"))
}

async fn run_on(url: &str, sql: &str) {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    db.execute_unprepared(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    db.close().await.unwrap();
}

/// `url` with another database in its path.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}
