//! Hand-written sqlx on PostgreSQL, as fast as one would write it: arrays through UNNEST, one statement a set.

use std::time::{Duration, Instant};

use sea_orm::sqlx::postgres::{PgPool, PgRow};
use sea_orm::sqlx::{self, PgConnection, Row};

use super::{SELECT, item_of};
use crate::entities::item;

/// How many rows go into one INSERT.
const CHUNK: usize = 1_000;

const INSERT: &str = "INSERT INTO item (id, uri, title, content, meta, score, active, revision, updated_at) \
    SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::float8[], $7::bool[], $8::int[], $9::timestamptz[])";
const INSERT_ONE: &str = "INSERT INTO item (id, uri, title, content, meta, score, active, revision, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const INSERT_PARENTS: &str = "INSERT INTO parent (uri, title, content, meta, score, active, revision, updated_at) \
    SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::float8[], $6::bool[], $7::int[], $8::timestamptz[]) RETURNING id";
const INSERT_CHILDREN: &str = "INSERT INTO child (parent_id, title, content, meta, score, active, revision, updated_at) \
    SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::jsonb[], $5::float8[], $6::bool[], $7::int[], $8::timestamptz[]) RETURNING id";
const UPDATE: &str =
    "UPDATE item SET title = v.title FROM UNNEST($1::bigint[], $2::text[]) AS v (id, title) WHERE item.id = v.id";

fn column<'a, T>(rows: &'a [item::Model], pick: impl Fn(&'a item::Model) -> T) -> Vec<T> {
    rows.iter().map(pick).collect()
}

/// Inserts in chunks of 1,000 rows, in one transaction.
pub async fn insert_unnest(pool: &PgPool, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin().await.expect("begin");
    for rows in rows.chunks(CHUNK) {
        sqlx::query(INSERT)
            .bind(column(rows, |row| row.id))
            .bind(column(rows, |row| row.uri.as_str()))
            .bind(column(rows, |row| row.title.as_str()))
            .bind(column(rows, |row| row.content.as_str()))
            .bind(column(rows, |row| &row.meta))
            .bind(column(rows, |row| row.score))
            .bind(column(rows, |row| row.active))
            .bind(column(rows, |row| row.revision))
            .bind(column(rows, |row| row.updated_at))
            .execute(&mut *tx)
            .await
            .expect("insert");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// Inserts through binary COPY, in one transaction.
pub async fn insert_copy(pool: &PgPool, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin().await.expect("begin");
    let mut copy = tx.copy_in_raw("COPY item FROM STDIN (FORMAT binary)").await.expect("copy");
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in &rows {
        copied(&mut data, row);
        if data.len() > 1 << 20 {
            copy.send(std::mem::take(&mut data)).await.expect("copy data");
        }
    }
    data.extend_from_slice(&(-1_i16).to_be_bytes());
    copy.send(data).await.expect("copy data");
    copy.finish().await.expect("the end of copy");
    tx.commit().await.expect("commit");
    start.elapsed()
}

fn copied(data: &mut Vec<u8>, row: &item::Model) {
    /// PostgreSQL counts microseconds from the year 2000.
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
    let meta = [&[1][..], row.meta.to_string().as_bytes()].concat();
    let fields: [&[u8]; 9] = [
        &row.id.to_be_bytes(),
        row.uri.as_bytes(),
        row.title.as_bytes(),
        row.content.as_bytes(),
        &meta,
        &row.score.to_be_bytes(),
        &[u8::from(row.active)],
        &row.revision.to_be_bytes(),
        &(row.updated_at.timestamp_micros() - EPOCH_MICROS).to_be_bytes(),
    ];
    data.extend_from_slice(&9_i16.to_be_bytes());
    for bytes in fields {
        data.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        data.extend_from_slice(bytes);
    }
}

/// Inserts one row a statement, in one transaction.
pub async fn insert_rows(pool: &PgPool, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin().await.expect("begin");
    for row in &rows {
        sqlx::query(INSERT_ONE)
            .bind(row.id)
            .bind(&row.uri)
            .bind(&row.title)
            .bind(&row.content)
            .bind(&row.meta)
            .bind(row.score)
            .bind(row.active)
            .bind(row.revision)
            .bind(row.updated_at)
            .execute(&mut *tx)
            .await
            .expect("insert");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// Inserts parents and, with the keys that come back, their children; the keys of those come back too.
pub async fn insert_family(pool: &PgPool, parents: Vec<item::Model>, children: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin().await.expect("begin");
    let mut keys: Vec<i64> = Vec::with_capacity(parents.len());
    for rows in parents.chunks(CHUNK) {
        let query = sqlx::query_scalar::<_, i64>(INSERT_PARENTS).bind(column(rows, |row| row.uri.as_str()));
        let made = query
            .bind(column(rows, |row| row.title.as_str()))
            .bind(column(rows, |row| row.content.as_str()))
            .bind(column(rows, |row| &row.meta))
            .bind(column(rows, |row| row.score))
            .bind(column(rows, |row| row.active))
            .bind(column(rows, |row| row.revision))
            .bind(column(rows, |row| row.updated_at))
            .fetch_all(&mut *tx)
            .await;
        keys.extend(made.expect("parents"));
    }
    let each = children.len() / parents.len();
    let mut made: Vec<i64> = Vec::with_capacity(children.len());
    for (at, rows) in children.chunks(CHUNK).enumerate() {
        let owners: Vec<i64> = (0..rows.len()).map(|row| keys[(at * CHUNK + row) / each]).collect();
        let keys = sqlx::query_scalar::<_, i64>(INSERT_CHILDREN)
            .bind(owners)
            .bind(column(rows, |row| row.title.as_str()))
            .bind(column(rows, |row| row.content.as_str()))
            .bind(column(rows, |row| &row.meta))
            .bind(column(rows, |row| row.score))
            .bind(column(rows, |row| row.active))
            .bind(column(rows, |row| row.revision))
            .bind(column(rows, |row| row.updated_at))
            .fetch_all(&mut *tx)
            .await;
        made.extend(keys.expect("children"));
    }
    tx.commit().await.expect("commit");
    assert_eq!(made.len(), children.len());
    start.elapsed()
}

async fn select(connection: &mut PgConnection) -> Vec<item::Model> {
    sqlx::query(SELECT).fetch_all(connection).await.expect("select").iter().map(decoded).collect()
}

fn decoded(row: &PgRow) -> item::Model {
    item_of!(row)
}

/// Loads every row, changes the title of the first so many, and writes those back in one statement.
pub async fn load_and_update(pool: &PgPool, changes: usize, suffix: &str) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin().await.expect("begin");
    let mut rows = select(&mut tx).await;
    for row in &mut rows[..changes] {
        row.title = format!("title {} {suffix}", row.id);
    }
    sqlx::query(UPDATE)
        .bind(column(&rows[..changes], |row| row.id))
        .bind(column(&rows[..changes], |row| row.title.as_str()))
        .execute(&mut *tx)
        .await
        .expect("update");
    tx.commit().await.expect("commit");
    drop(rows);
    start.elapsed()
}

/// Deletes by key, in one statement.
pub async fn delete(pool: &PgPool, keys: &[i64]) -> Duration {
    let start = Instant::now();
    let mut tx = pool.begin().await.expect("begin");
    sqlx::query("DELETE FROM item WHERE id = ANY($1)").bind(keys).execute(&mut *tx).await.expect("delete");
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// One transaction a row: BEGIN, SELECT, UPDATE of one column, COMMIT.
pub async fn units(pool: &PgPool, n: usize, rows: i64, suffix: &str) -> Duration {
    let start = Instant::now();
    for at in 0..n as i64 {
        let mut tx = pool.begin().await.expect("begin");
        let query = "SELECT id, uri, title, content, meta, score, active, revision, updated_at FROM item WHERE id = $1";
        let row = sqlx::query(query).bind(at % rows + 1).fetch_one(&mut *tx).await.expect("select");
        let row = decoded(&row);
        sqlx::query("UPDATE item SET title = $2 WHERE id = $1")
            .bind(row.id)
            .bind(format!("unit {} {suffix}", row.id))
            .execute(&mut *tx)
            .await
            .expect("update");
        tx.commit().await.expect("commit");
    }
    start.elapsed()
}

/// Both balances in one statement.
pub const WRITE_BALANCES: &str = "UPDATE account SET balance = v.balance FROM UNNEST($1::bigint[], $2::bigint[]) AS v (id, balance) WHERE account.id = v.id";

/// The same; it also says which rows it has found, and in which transaction.
pub const WRITE_AND_TELL: &str = "UPDATE account SET balance = v.balance FROM UNNEST($1::bigint[], $2::bigint[]) AS v (id, balance) WHERE account.id = v.id RETURNING v.id, pg_current_xact_id()::text";

/// Moves money between two accounts at SERIALIZABLE and tries again on 40001; how often it had to.
pub async fn transfer(pool: &PgPool, write: &'static str, from: i64, to: i64, amount: i64) -> u64 {
    let mut retries = 0;
    while let Err(error) = try_transfer(pool, write, from, to, amount).await {
        let code = error.as_database_error().and_then(|error| error.code());
        assert!(matches!(code.as_deref(), Some("40001" | "40P01")), "{error}");
        // The session's own pauses after a conflict: a random part of 5 ms, doubled each time, never over 100 ms.
        let limit = (5_000_u64 << retries.min(5)).min(100_000);
        retries += 1;
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..limit))).await;
    }
    retries
}

async fn try_transfer(pool: &PgPool, write: &'static str, from: i64, to: i64, amount: i64) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
    let read = "SELECT balance FROM account WHERE id = $1";
    let source: i64 = sqlx::query_scalar(read).bind(from).fetch_one(&mut *tx).await?;
    let target: i64 = sqlx::query_scalar(read).bind(to).fetch_one(&mut *tx).await?;
    sqlx::query(write).bind(vec![from, to]).bind(vec![source - amount, target + amount]).fetch_all(&mut *tx).await?;
    tx.commit().await
}
