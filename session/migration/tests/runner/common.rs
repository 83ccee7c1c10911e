//! Databases for the tests of migrations: one of its own for each test, on each backend. The tests of `context-migration` take
//! this file, too.

#![allow(dead_code, reason = "each test file uses a part")]

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};
use sea_session::testing::cluster::{TestDatabase, fresh_database, mariadb};

/// An empty database that goes away with the value.
pub struct Fresh {
    pub url: String,
    pub db: DatabaseConnection,
    home: Home,
}

enum Home {
    Sqlite { _directory: tempfile::TempDir },
    Postgres { _database: TestDatabase },
    MariaDb { _database: Box<mariadb::MariaDbDatabase> },
}

impl Fresh {
    /// A SQLite file in a directory of its own.
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("test.db").display());
        let db = connect(&url).await;
        Self { url, db, home: Home::Sqlite { _directory: directory } }
    }

    /// A database on the shared test cluster. A missing server is a failure.
    pub async fn postgres() -> Self {
        let database = fresh_database().await.unwrap_or_else(|e| panic!("{e}"));
        let url = database.url();
        let db = connect(&url).await;
        Self { url, db, home: Home::Postgres { _database: database } }
    }

    /// A database on the shared MariaDB server. A missing server is a failure.
    pub async fn mariadb() -> Self {
        let database = mariadb::fresh_database().await.unwrap_or_else(|e| panic!("{e}"));
        let url = database.url();
        let db = connect(&url).await;
        Self { url, db, home: Home::MariaDb { _database: Box::new(database) } }
    }

    /// One on every backend.
    pub async fn all() -> Vec<Self> {
        vec![Self::sqlite().await, Self::postgres().await, Self::mariadb().await]
    }

    /// SQLite and PostgreSQL.
    pub async fn each() -> [Self; 2] {
        [Self::sqlite().await, Self::postgres().await]
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.home, Home::Postgres { .. })
    }

    pub fn is_mariadb(&self) -> bool {
        matches!(self.home, Home::MariaDb { .. })
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
        let row = self.db.query_one_raw(statement).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        row.unwrap().try_get_by_index(0).unwrap()
    }

    /// The schema, as lines.
    pub async fn catalogue(&self) -> Vec<String> {
        sea_session_migration::catalogue::catalogue(&self.db, "seaql_migrations").await.unwrap()
    }

    /// Ends it.
    pub async fn close(self) {
        self.db.clone().close().await.unwrap();
    }
}

pub async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(8).sqlx_logging(false);
    Database::connect(options).await.unwrap_or_else(|e| panic!("{url}: {e}"))
}
