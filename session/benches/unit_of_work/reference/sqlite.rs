//! Hand-written sqlx on SQLite: multi-row statements, one prepared text for each chunk size.

use std::time::{Duration, Instant};

use sea_orm::sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Row, SqliteConnection};

use super::{SELECT, insert_keyless_text, insert_text, item_of, tuples};
use crate::entities::item;

/// How many rows go into one statement; nine binds a row stay under SQLite's limit of 32,766.
const CHUNK: usize = 1_000;

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bound<'q>(query: Query<'q>, row: &'q item::Model) -> Query<'q> {
    bound_rest(query.bind(row.id).bind(row.uri.as_str()), row)
}

fn bound_rest<'q>(query: Query<'q>, row: &'q item::Model) -> Query<'q> {
    let query = query.bind(row.title.as_str()).bind(row.content.as_str()).bind(&row.meta).bind(row.score);
    query.bind(row.active).bind(row.revision).bind(row.updated_at)
}

/// Inserts so many rows a statement, in one transaction.
async fn insert_in(pool: &SqlitePool, rows: Vec<item::Model>, chunk: usize) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    let text = insert_text(chunk);
    for rows in rows.chunks(chunk) {
        let text = if rows.len() == chunk { text.clone() } else { insert_text(rows.len()) };
        let query = rows.iter().fold(sqlx::query(AssertSqlSafe(text)), bound);
        query.execute(&mut *tx).await.expect("insert");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// Inserts in chunks of 1,000 rows.
pub async fn insert_sets(pool: &SqlitePool, rows: Vec<item::Model>) -> Duration {
    insert_in(pool, rows, CHUNK).await
}

/// Inserts one row a statement.
pub async fn insert_rows(pool: &SqlitePool, rows: Vec<item::Model>) -> Duration {
    insert_in(pool, rows, 1).await
}

/// Inserts parents and, with the keys that come back, their children; the keys of those come back too.
pub async fn insert_family(pool: &SqlitePool, parents: Vec<item::Model>, children: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    let mut keys: Vec<i64> = Vec::with_capacity(parents.len());
    for rows in parents.chunks(CHUNK) {
        let text = insert_keyless_text("parent", "uri", rows.len());
        let query =
            rows.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, row| bound_rest(query.bind(&row.uri), row));
        let made = query.fetch_all(&mut *tx).await.expect("parents");
        keys.extend(made.iter().map(|row| row.get::<i64, _>(0)));
    }
    let each = children.len() / parents.len();
    let mut made: Vec<i64> = Vec::with_capacity(children.len());
    for (at, rows) in children.chunks(CHUNK).enumerate() {
        let text = insert_keyless_text("child", "parent_id", rows.len());
        let query = rows.iter().enumerate().fold(sqlx::query(AssertSqlSafe(text)), |query, (place, row)| {
            bound_rest(query.bind(keys[(at * CHUNK + place) / each]), row)
        });
        let rows = query.fetch_all(&mut *tx).await.expect("children");
        made.extend(rows.iter().map(|row| row.get::<i64, _>(0)));
    }
    tx.commit().await.expect("commit");
    assert_eq!(made.len(), children.len());
    start.elapsed()
}

async fn select(connection: &mut SqliteConnection) -> Vec<item::Model> {
    sqlx::query(SELECT).fetch_all(connection).await.expect("select").iter().map(decoded).collect()
}

fn decoded(row: &SqliteRow) -> item::Model {
    item_of!(row)
}

/// Loads every row, changes the title of the first so many, and writes those back 1,000 a statement.
pub async fn load_and_update(pool: &SqlitePool, changes: usize, suffix: &str) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    let mut rows = select(&mut tx).await;
    for row in &mut rows[..changes] {
        row.title = format!("title {} {suffix}", row.id);
    }
    for rows in rows[..changes].chunks(CHUNK) {
        let text = format!(
            "WITH v (id, title) AS (VALUES {}) UPDATE item SET title = v.title FROM v WHERE item.id = v.id",
            tuples(rows.len(), 2)
        );
        let query = sqlx::query(AssertSqlSafe(text));
        let query = rows.iter().fold(query, |query, row| query.bind(row.id).bind(row.title.as_str()));
        query.execute(&mut *tx).await.expect("update");
    }
    tx.commit().await.expect("commit");
    drop(rows);
    start.elapsed()
}

/// Deletes by key, 1,000 a statement.
pub async fn delete(pool: &SqlitePool, keys: &[i64]) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    for keys in keys.chunks(CHUNK) {
        let text = format!("DELETE FROM item WHERE id IN ({})", vec!["?"; keys.len()].join(", "));
        let query = keys.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, key| query.bind(key));
        query.execute(&mut *tx).await.expect("delete");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// One transaction a row: BEGIN, SELECT, UPDATE of one column, COMMIT.
pub async fn units(pool: &SqlitePool, n: usize, rows: i64, suffix: &str) -> Duration {
    let start = Instant::now();
    for at in 0..n as i64 {
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("begin");
        let query = "SELECT id, uri, title, content, meta, score, active, revision, updated_at FROM item WHERE id = ?";
        let row = sqlx::query(query).bind(at % rows + 1).fetch_one(&mut *tx).await.expect("select");
        let row = decoded(&row);
        sqlx::query("UPDATE item SET title = ? WHERE id = ?")
            .bind(format!("unit {} {suffix}", row.id))
            .bind(row.id)
            .execute(&mut *tx)
            .await
            .expect("update");
        tx.commit().await.expect("commit");
    }
    start.elapsed()
}
