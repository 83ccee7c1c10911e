//! The hand-written references of one backend behind one name, and the upkeep of the tables between samples.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sea_orm::sqlx::mysql::MySqlPool;
use sea_orm::sqlx::postgres::PgPool;
use sea_orm::sqlx::sqlite::SqlitePool;
use sea_orm::sqlx::{self, AssertSqlSafe};

use crate::entities::{item, items};
use crate::reference::{mariadb, postgres, sqlite};

/// A pool for hand-written SQL.
#[derive(Clone)]
pub enum Floor {
    /// To PostgreSQL.
    Postgres(PgPool),
    /// To SQLite.
    Sqlite(SqlitePool),
    /// To MariaDB.
    MariaDb(MySqlPool),
}

impl Floor {
    /// Empties every table.
    pub async fn empty(&self) {
        let outcome = match self {
            Floor::Postgres(pool) => {
                sqlx::raw_sql("TRUNCATE item, child, parent, account").execute(pool).await.map(drop)
            }
            Floor::Sqlite(pool) => {
                let sql = "DELETE FROM item; DELETE FROM child; DELETE FROM parent; DELETE FROM account";
                sqlx::raw_sql(sql).execute(pool).await.map(drop)
            }
            Floor::MariaDb(pool) => {
                let sql = "SET FOREIGN_KEY_CHECKS = 0; TRUNCATE item; TRUNCATE child; TRUNCATE parent; TRUNCATE account; \
                    SET FOREIGN_KEY_CHECKS = 1";
                sqlx::raw_sql(sql).execute(pool).await.map(drop)
            }
        };
        outcome.expect("empty tables");
    }

    /// Fills the item table afresh, and lets the planner know.
    pub async fn fill(&self, n: usize) {
        self.empty().await;
        self.insert_sets(items(n)).await;
        self.analyze(&["item"]).await;
    }

    /// Lets the planner know what is in these tables.
    pub async fn analyze(&self, tables: &[&str]) {
        for table in tables {
            let outcome = match self {
                Floor::Postgres(pool) => {
                    sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {table}"))).execute(pool).await.map(drop)
                }
                Floor::Sqlite(pool) => {
                    sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {table}"))).execute(pool).await.map(drop)
                }
                Floor::MariaDb(pool) => {
                    sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE TABLE {table}"))).execute(pool).await.map(drop)
                }
            };
            outcome.expect("statistics");
        }
    }

    /// How many items there are.
    pub async fn count(&self) -> usize {
        let sql = "SELECT count(*) FROM item";
        let count: i64 = match self {
            Floor::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
            Floor::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
            Floor::MariaDb(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
        }
        .expect("a count");
        usize::try_from(count).expect("a count")
    }

    /// Inserts in sets of 1,000.
    pub async fn insert_sets(&self, rows: Vec<item::Model>) -> Duration {
        match self {
            Floor::Postgres(pool) => postgres::insert_unnest(pool, rows).await,
            Floor::Sqlite(pool) => sqlite::insert_sets(pool, rows).await,
            Floor::MariaDb(pool) => mariadb::insert_sets(pool, rows).await,
        }
    }

    /// Inserts row by row.
    pub async fn insert_rows(&self, rows: Vec<item::Model>) -> Duration {
        match self {
            Floor::Postgres(pool) => postgres::insert_rows(pool, rows).await,
            Floor::Sqlite(pool) => sqlite::insert_rows(pool, rows).await,
            Floor::MariaDb(pool) => mariadb::insert_rows(pool, rows).await,
        }
    }

    /// Inserts parents with their children.
    pub async fn insert_family(&self, parents: Vec<item::Model>, children: Vec<item::Model>) -> Duration {
        match self {
            Floor::Postgres(pool) => postgres::insert_family(pool, parents, children).await,
            Floor::Sqlite(pool) => sqlite::insert_family(pool, parents, children).await,
            Floor::MariaDb(pool) => mariadb::insert_family(pool, parents, children).await,
        }
    }

    /// Loads every row and updates the first so many.
    pub async fn load_and_update(&self, changes: usize, suffix: &str) -> Duration {
        match self {
            Floor::Postgres(pool) => postgres::load_and_update(pool, changes, suffix).await,
            Floor::Sqlite(pool) => sqlite::load_and_update(pool, changes, suffix).await,
            Floor::MariaDb(pool) => mariadb::load_and_update(pool, changes, suffix).await,
        }
    }

    /// Deletes by key.
    pub async fn delete(&self, keys: &[i64]) -> Duration {
        match self {
            Floor::Postgres(pool) => postgres::delete(pool, keys).await,
            Floor::Sqlite(pool) => sqlite::delete(pool, keys).await,
            Floor::MariaDb(pool) => mariadb::delete(pool, keys).await,
        }
    }

    /// One transaction a row.
    pub async fn units(&self, n: usize, rows: i64, suffix: &str) -> Duration {
        match self {
            Floor::Postgres(pool) => postgres::units(pool, n, rows, suffix).await,
            Floor::Sqlite(pool) => sqlite::units(pool, n, rows, suffix).await,
            Floor::MariaDb(pool) => mariadb::units(pool, n, rows, suffix).await,
        }
    }

    /// Raises a column of every row that a map of structs holds, and takes what came of it into the map.
    pub async fn update_many(&self, n: usize) -> Duration {
        let mut map: HashMap<i64, item::Model> = items(n).into_iter().map(|row| (row.id, row)).collect();
        let sql = "UPDATE item SET revision = revision + 1 RETURNING id, revision";
        let start = Instant::now();
        let rows: Vec<(i64, i32)> = match self {
            Floor::Postgres(pool) => {
                let mut tx = pool.begin().await.expect("begin");
                let rows = sqlx::query_as(sql).fetch_all(&mut *tx).await.expect("update");
                tx.commit().await.expect("commit");
                rows
            }
            Floor::Sqlite(pool) => {
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("begin");
                let rows = sqlx::query_as(sql).fetch_all(&mut *tx).await.expect("update");
                tx.commit().await.expect("commit");
                rows
            }
            Floor::MariaDb(pool) => mariadb::update_many(pool).await,
        };
        for (id, revision) in rows {
            map.get_mut(&id).expect("a row that was there").revision = revision;
        }
        let time = start.elapsed();
        assert!(map.len() == n && map.values().all(|row| row.revision == 2));
        time
    }

    /// One statement.
    pub async fn run(&self, sql: &'static str) {
        match self {
            Floor::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Floor::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Floor::MariaDb(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
        .expect("the statement");
    }

    /// What the hand-written sets are called in the table.
    pub fn name(&self, postgres: &'static str, others: &'static str) -> &'static str {
        match self {
            Floor::Postgres(_) => postgres,
            Floor::Sqlite(_) | Floor::MariaDb(_) => others,
        }
    }
}
