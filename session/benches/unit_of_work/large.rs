//! Sets whose values come to more than one statement may carry (D10): how long they take, and what the process holds
//! meanwhile beyond the values themselves.

use std::time::Instant;

use sea_orm::{ActiveValue::Set, sqlx};
use sea_session::prelude::*;
use sea_session::testing::cluster;

use crate::entities::{POSTGRES_BLOB, SQLITE_BLOB, blob};

const MIB: usize = 1 << 20;
const ROW: usize = 50 * MIB;

/// So many rows, on each backend that is wanted.
pub async fn run(rows: usize, wants: &dyn Fn(&str) -> bool) {
    if wants("postgres") {
        let database = cluster::fresh_database().await.expect("a database");
        let db = crate::connect(&database.url()).await;
        sqlx::raw_sql(POSTGRES_BLOB).execute(db.connection().get_postgres_connection_pool()).await.expect("a table");
        on("postgres", &db, rows).await;
    }
    if wants("sqlite") {
        let folder = tempfile::tempdir().expect("a folder");
        let db = crate::connect(&format!("sqlite://{}?mode=rwc", folder.path().join("large.db").display())).await;
        sqlx::raw_sql(SQLITE_BLOB).execute(db.connection().get_sqlite_connection_pool()).await.expect("a table");
        on("sqlite", &db, rows).await;
    }
}

async fn on(backend: &str, db: &Db, rows: usize) {
    let recorder = sea_session::Recorder::new();
    let mut s = db.session().record(&recorder).begin().await.expect("begin");
    let value = |row: usize, turn: u8| vec![turn.wrapping_add(row as u8); ROW];
    let draft = |row: usize| blob::ActiveModel { id: Set(row as i64), data: Set(value(row, 0)), ..Default::default() };
    let blobs: Vec<Tracked<blob::Entity>> = (0..rows).map(|row| s.add(draft(row))).collect();
    measured(backend, "insert", &mut s, rows).await;
    assert!(blobs.iter().all(|blob| blob.tag() == "d"), "the database's own values are in the objects");
    blobs.iter().enumerate().for_each(|(row, blob)| _ = blob.set_data(value(row, 100)));
    measured(backend, "update", &mut s, rows).await;
    s.commit().await.expect("commit");
    let sent = recorder.statements();
    let count =
        |word: &str| sent.iter().filter(|sql| sql.starts_with(word) || sql.contains(&format!(" {word} "))).count();
    println!("{backend}: {} statements that insert, {} that update", count("INSERT"), count("UPDATE"));
}

/// Flushes, and prints what it took.
async fn measured(backend: &str, what: &str, s: &mut Session, rows: usize) {
    // Linux forgets the peak so far.
    _ = std::fs::write("/proc/self/clear_refs", "5");
    let (held, start) = (memory("VmRSS"), Instant::now());
    s.flush().await.expect("flush");
    let (time, most) = (start.elapsed(), memory("VmHWM"));
    let more = held.zip(most).map_or("?".to_owned(), |(held, most)| most.saturating_sub(held).to_string());
    let held = held.map_or("?".to_owned(), |held| held.to_string());
    let mib = rows * ROW / MIB;
    println!(
        "{backend}: {what} of {rows} rows, {mib} MiB: {time:.1?}; {held} MiB held before, at most {more} MiB more"
    );
}

/// A figure of the process in MiB, where the system tells it.
fn memory(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024)
}
