//! The cancellation sweep (C1 to C5): every public async operation, dropped at its first poll, its second, … until it
//! completes, on a pool of one connection and on each backend.
//!
//! After each drop the pool must be clean, no acknowledged write may be missing, and none may be there that was not asked
//! for, or twice. The sweep counts its drop points, and fails when there are too few of them: it cannot go empty.

mod delivery;
mod dropping;
mod operations;
mod relay;
mod sweep;

use std::time::Duration;

use dropping::{Timing, dropped};
use operations::titled;
use relay::Relay;
use sea_orm::{ConnectOptions, ConnectionTrait, EntityTrait, PaginatorTrait, sqlx};
use sea_session::{Error, prelude::*, testing::cluster::mariadb};
use sweep::{Findings, Sweep};

use crate::support_proof::Server;
use crate::support_proof::note;

/// Fewer drop points than this on one backend mean that the sweep no longer reaches into the operations.
const FLOOR: usize = 200;

fn report(backend: &str, findings: Findings) {
    let Findings { operations, drop_points, leaks, lost, doubled } = findings;
    println!(
        "{backend}: cancellation sweep: {operations} operations, {drop_points} drop points, {} leaks, {} lost, {} doubled",
        leaks.len(),
        lost.len(),
        doubled.len()
    );
    for (what, found) in [("leak", &leaks), ("lost", &lost), ("doubled", &doubled)] {
        for one in found {
            println!("{what}: {one}");
        }
    }
    assert!(leaks.is_empty() && lost.is_empty() && doubled.is_empty());
    assert!(drop_points >= FLOOR, "only {drop_points} drop points, the floor is {FLOOR}");
}

#[tokio::test]
async fn c1_the_sweep_on_postgres() {
    let server = Server::new().await;
    // Through the proxy every message of the server arrives by itself, so that there are more polls to drop at.
    let proxy = server.proxy().await;
    let url = proxy.url(&server.user, &server.database);
    let findings = Sweep::new(&url, note::POSTGRES).await.run().await;
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let idle: i64 = sea_orm::sqlx::query_scalar(idle).fetch_one(&server.pool).await.expect("activity");
    assert_eq!(idle, 0, "C1: no transaction is left open on the server");
    report("postgres", findings);
}

#[tokio::test]
async fn c1_the_sweep_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("sweep.db").display());
    report("sqlite", Sweep::new(&url, note::SQLITE).await.run().await);
}

#[tokio::test]
async fn c1_the_sweep_on_mariadb() {
    let database = mariadb::fresh_database().await.expect("a database");
    let relay = Relay::new(database.socket().expect("a server of the tests' own").clone()).await;
    let findings = Sweep::new(&database.url_through(relay.address()), note::MARIADB).await.run().await;
    let looks = sea_orm::Database::connect(database.url()).await.expect("a connection");
    // What was told to end may still be on its way.
    let mut open = 1;
    for _ in 0..1_000 {
        let question = "SELECT COUNT(*) AS open FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
                        ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE()";
        let question = sea_orm::Statement::from_string(sea_orm::DbBackend::MySql, question);
        let row = looks.query_one_raw(question).await.expect("an answer").expect("a row");
        open = row.try_get::<i64>("", "open").expect("a number");
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(open, 0, "C1: no transaction is left open on the server");
    report("mariadb", findings);
}

#[tokio::test]
async fn c5_a_thousand_drops_leave_the_pool_as_it_was() {
    let server = Server::new().await;
    sea_orm::sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    let db = server.db(4).await;
    a_thousand_drops(&db, db.connection().get_postgres_connection_pool(), "SELECT pg_sleep(0.01)", 18).await;
}

#[tokio::test]
async fn c5_a_thousand_drops_leave_the_pool_as_it_was_on_mariadb() {
    let database = mariadb::fresh_database().await.expect("a database");
    let relay = Relay::new(database.socket().expect("a server of the tests' own").clone()).await;
    let mut options = ConnectOptions::new(database.url_through(relay.address()));
    options.max_connections(4);
    let db = Db::connect(options).await.expect("sessions");
    db.connection().execute_unprepared(note::MARIADB).await.expect("tables");
    // How many polls a unit takes there hangs on how its answers are cut up.
    let mut polls = 1;
    while dropped(two_rows(&db, "SELECT SLEEP(0.01)"), polls, Timing::AtOnce).await.is_none() {
        polls += 1;
    }
    note::Entity::delete_many().exec(db.connection()).await.expect("room");
    let most = polls + polls / 4;
    a_thousand_drops(&db, db.connection().get_mysql_connection_pool(), "SELECT SLEEP(0.01)", most).await;
}

/// A unit that writes two rows, and pauses between them.
async fn two_rows(db: &Db, pause: &str) -> Result<(), Error> {
    db.run(async |s| -> Result<(), Error> {
        s.add(titled("dropped", "one"));
        s.flush().await?;
        s.execute_unprepared(pause).await?;
        s.add(titled("dropped", "two"));
        Ok(())
    })
    .await
}

/// Drops units of two rows at each of so many polls in turn, and looks at the pool of four.
async fn a_thousand_drops<D: sqlx::Database>(db: &Db, pool: &sqlx::Pool<D>, pause: &str, most: usize) {
    let mut acknowledged = 0;
    for at in 0..1_000 {
        let outcome = dropped(two_rows(db, pause), at % most + 1, Timing::AtOnce).await;
        acknowledged += outcome.map_or(0, |outcome| outcome.map(|()| 1).expect("the unit"));
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.expect("a connection"));
    }
    assert_eq!(pool.size(), 4);
    drop(held);
    assert!((100..900).contains(&acknowledged), "{acknowledged} of 1,000 came through");
    let stored = note::Entity::find().count(db.connection()).await.expect("a count");
    // A unit that was dropped while its COMMIT was under way may be there or not, but whole.
    assert!(stored >= 2 * acknowledged && stored % 2 == 0, "{stored} rows, {acknowledged} units of two acknowledged");
}

#[tokio::test]
async fn c3_a_unit_dropped_in_mid_statement_frees_its_locks() {
    let server = Server::new().await;
    sea_orm::sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    sea_orm::sqlx::raw_sql("INSERT INTO note (title) VALUES ('locked')").execute(&server.pool).await.expect("a row");
    let db = server.db(2).await;
    // The soonest of five: what a busy machine adds is not the session's.
    let mut soonest = Duration::MAX;
    for _ in 0..5 {
        let unit = db.run(async |s| -> Result<(), Error> {
            let note = s.get::<note::Entity>(1).await?.expect("a note");
            note.set_rank(Some(1));
            s.flush().await?;
            s.execute_unprepared("SELECT pg_sleep(3)").await?;
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(60), unit).await.is_err());
        let start = std::time::Instant::now();
        sea_orm::sqlx::raw_sql("UPDATE note SET rank = 2").execute(&server.pool).await.expect("the lock");
        assert!(start.elapsed() < Duration::from_secs(2), "not when the statement ends: {:?}", start.elapsed());
        soonest = soonest.min(start.elapsed());
    }
    assert!(soonest < Duration::from_millis(250), "{soonest:?}");
}
