//! `cargo bench --bench unit_of_work [-- [--json] [--check] [--backend postgres|sqlite|mariadb] [--samples N] [NAME]]`
//!
//! `-- --repeat get:1000` (or `set`, `flush`) does one thing only, under an instruction counter; `-- --large 22` writes so many
//! rows of 50 MiB in one set, changes them in another, and says what the process held meanwhile.
//!
//! The unit of work beside the same work written by hand with sqlx, and beside plain SeaORM: in one process, in one run,
//! the samples in turns. `docs/performance.md` holds the results and says how they came about.
//!
//! A reference here is as fast as we could write it. It must never be slowed down to make a ratio look better.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod entities;
mod floor;
mod harness;
mod large;
mod ours;
mod reach;
mod reference;

use std::alloc::System;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use entities::{item, items};
use floor::Floor;
use harness::{Options, Report, bounded, shown, side};
use reference::{postgres, sea_orm as plain};
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use sea_orm::sqlx::postgres::{PgConnection, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{AssertSqlSafe, Connection};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, EntityTrait, sqlx};
use sea_session::prelude::*;
use sea_session::testing::cluster::{self, mariadb};
use stats_alloc::{Region, StatsAlloc};

/// Counts allocations of both sides alike.
#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

const MANY: usize = 10_000;
const WORKERS: usize = 8;
const UNITS_A_WORKER: usize = 250;
const ACCOUNTS: i64 = 10;

fn main() {
    let Some(options) = Options::of_bench("unit_of_work") else { return };
    let backend = options.backend.clone();
    let wants = |name: &str| backend.as_ref().is_none_or(|wanted| wanted == name);
    let mut report = Report::new(options);
    // One thread for one stream of work: nothing is measured but the work. The transfers need more, see below.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some((operation, times)) = report.options().repeat.clone() {
        return runtime.block_on(repeat(&operation, times));
    }
    if let Some(rows) = report.options().large {
        return runtime.block_on(large::run(rows, &wants));
    }
    if wants("postgres") {
        runtime.block_on(on_postgres(&mut report));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(transfers(&mut report));
    }
    if wants("sqlite") {
        runtime.block_on(on_sqlite(&mut report));
    }
    if wants("mariadb") {
        runtime.block_on(on_mariadb(&mut report));
    }
    if report.finish() {
        std::process::exit(1);
    }
}

/// One operation so often, on a database in memory.
async fn repeat(operation: &str, times: usize) {
    let db = Db::connect("sqlite::memory:").await.expect("sessions");
    sqlx::raw_sql(entities::SQLITE).execute(db.connection().get_sqlite_connection_pool()).await.expect("tables");
    ours::insert(&db, items(100)).await;
    let mut s = db.begin().await.expect("begin");
    let row = load_all(&mut s).await.swap_remove(0);
    for at in 1..=times {
        match operation {
            "get" => drop(black_box(s.get::<item::Entity>(7_i64).await.expect("get"))),
            "set" => {
                black_box(row.set_revision(at as i32));
            }
            "flush" => {
                row.set_revision(at as i32 + 1);
                s.flush().await.expect("flush");
            }
            _ => panic!("--repeat knows get, set and flush"),
        }
    }
}

/// The three ways to one database.
struct Sides {
    db: Db,
    orm: DatabaseConnection,
    floor: Floor,
}

async fn on_postgres(report: &mut Report) {
    let database = cluster::fresh_database().await.expect("a database");
    let url = database.url();
    no_new_segments(&database).await;
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false).connect(&url).await.expect("a pool");
    sqlx::raw_sql(entities::POSTGRES).execute(&pool).await.expect("tables");
    sqlx::raw_sql("ALTER TABLE item SET (autovacuum_enabled = off)").execute(&pool).await.expect("a quiet table");
    let sides = Sides { db: connect(&url).await, orm: plain_sea_orm(&url).await, floor: Floor::Postgres(pool) };
    report.backend("postgres");
    workloads(report, &sides).await;
}

/// Connections from now on do not fill a new WAL segment with zeros: 16 MB, which takes as long as a sample and meets the same
/// side again and again, since one turn of all sides writes about three segments.
async fn no_new_segments(database: &cluster::TestDatabase) {
    let mut admin = PgConnection::connect(&database.url()).await.expect("a connection");
    let setting = format!("ALTER DATABASE {} SET wal_init_zero = off", database.name());
    sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut admin).await.expect("the setting");
    admin.close().await.expect("closed");
}

async fn on_sqlite(report: &mut Report) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("bench.db").display());
    let options: SqliteConnectOptions = url.parse().expect("a URL");
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await;
    let pool = pool.expect("a pool");
    sqlx::raw_sql(entities::SQLITE).execute(&pool).await.expect("tables");
    let db = connect(&url).await;
    // Plain SeaORM on the session's own pool settings, so that the journal is the same for all.
    let sides = Sides { orm: connect(&url).await.connection().clone(), db, floor: Floor::Sqlite(pool) };
    report.backend("sqlite");
    workloads(report, &sides).await;
}

async fn on_mariadb(report: &mut Report) {
    let server = mariadb::Server::start().await.expect("a server");
    let database = server.database().await.expect("a database");
    let url = database.url();
    let pool =
        MySqlPoolOptions::new().max_connections(1).test_before_acquire(false).connect(&url).await.expect("a pool");
    sqlx::raw_sql(entities::MARIADB).execute(&pool).await.expect("tables");
    let sides = Sides { db: connect(&url).await, orm: plain_sea_orm(&url).await, floor: Floor::MariaDb(pool) };
    report.backend("mariadb");
    workloads(report, &sides).await;
}

/// Sessions, the pool's liveness ping off as on the other sides.
async fn connect(url: &str) -> Db {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).test_before_acquire(false);
    Db::connect(options).await.expect("sessions")
}

async fn plain_sea_orm(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false).test_before_acquire(false);
    Database::connect(options).await.expect("SeaORM")
}

async fn workloads(report: &mut Report, sides: &Sides) {
    let wants = |name: &str, report: &Report| report.options().wants(name);
    if wants("insert_known_keys", report) {
        insert_known_keys(report, sides).await;
    }
    if wants("insert_large", report) {
        insert_large(report, sides).await;
    }
    if wants("insert_family", report) {
        insert_family(report, sides).await;
    }
    if wants("load_change_all", report) {
        load_and_change(report, sides, "load_change_all", MANY, 1.25).await;
    }
    if wants("load_change_hooked", report) {
        load_and_change_hooked(report, sides).await;
    }
    if wants("load_change_100", report) {
        load_and_change(report, sides, "load_change_100", 100, 1.2).await;
    }
    if wants("load", report) {
        load(report, sides).await;
    }
    if wants("delete_loaded", report) {
        delete_loaded(report, sides).await;
    }
    if wants("gets_tracked", report) {
        gets_tracked(report, sides).await;
    }
    if wants("nested_blocks", report) {
        nested_blocks(report, sides).await;
    }
    if wants("small_units", report) {
        small_units(report, sides).await;
    }
    if wants("flush_one_of_many", report) {
        flush_one_of_many(report, sides).await;
    }
    if wants("graph_load", report) {
        reach::graph_load(report, sides).await;
    }
    if wants("update_many", report) {
        reach::update_many(report, sides).await;
    }
    if wants("audit", report) {
        reach::audit_trail(report, sides).await;
    }
    if wants("memory_clean_objects", report) {
        memory_clean_objects(report, sides).await;
    }
}

async fn insert_known_keys(report: &mut Report, Sides { db, orm, floor }: &Sides) {
    let ours = side(async || {
        floor.empty().await;
        ours::insert(db, items(MANY)).await
    });
    let mut references = vec![
        bounded(floor.name("sqlx UNNEST of 1,000", "sqlx VALUES of 1,000"), 1.1, async || {
            floor.empty().await;
            floor.insert_sets(items(MANY)).await
        }),
        bounded("SeaORM save in a loop", 0.1, async || {
            floor.empty().await;
            plain::insert_loop(orm, items(MANY)).await
        }),
        shown("SeaORM insert_many of 1,000", async || {
            floor.empty().await;
            plain::insert_many(orm, items(MANY)).await
        }),
        shown("sqlx row by row", async || {
            floor.empty().await;
            floor.insert_rows(items(MANY)).await
        }),
    ];
    references.extend(copy_reference(floor, MANY));
    report.compare("insert_known_keys", MANY, ours, references).await;
    assert_eq!(floor.count().await, MANY);
}

/// PostgreSQL's fastest way in, for comparison.
fn copy_reference(floor: &Floor, n: usize) -> Option<harness::Reference<'_>> {
    let Floor::Postgres(pool) = floor else { return None };
    Some(shown("sqlx COPY binary", move || async move {
        floor.empty().await;
        postgres::insert_copy(pool, items(n)).await
    }))
}

async fn insert_large(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let n = 10 * MANY;
    let ours = side(async || {
        floor.empty().await;
        ours::insert(db, items(n)).await
    });
    // The others have no COPY: there the bound is that of the smaller insert.
    let bound = if matches!(floor, Floor::Postgres(_)) { 0.6 } else { 1.1 };
    let mut references = vec![bounded(floor.name("sqlx UNNEST of 1,000", "sqlx VALUES of 1,000"), bound, async || {
        floor.empty().await;
        floor.insert_sets(items(n)).await
    })];
    references.extend(copy_reference(floor, n));
    report.compare("insert_large", n, ours, references).await;
}

async fn insert_family(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let (parents, children) = (1_000, 10_000);
    let ours = side(async || {
        floor.empty().await;
        ours::insert_family(db, items(parents), items(children)).await
    });
    let by_hand = bounded("sqlx sets with RETURNING", 1.25, async || {
        floor.empty().await;
        floor.insert_family(items(parents), items(children)).await
    });
    report.compare("insert_family", parents + children, ours, vec![by_hand]).await;
}

async fn load_and_change(report: &mut Report, sides: &Sides, name: &str, changes: usize, bound: f64) {
    let Sides { db, orm, floor } = sides;
    let ours = side(async || {
        floor.fill(MANY).await;
        ours::load_and_update(db, changes, "ours").await
    });
    let by_hand = floor.name("sqlx SELECT, UPDATE FROM UNNEST", "sqlx SELECT, UPDATE FROM VALUES");
    let mut references = vec![bounded(by_hand, bound, async || {
        floor.fill(MANY).await;
        floor.load_and_update(changes, "theirs").await
    })];
    if changes == MANY {
        references.push(bounded("SeaORM save in a loop", 0.1, async || {
            floor.fill(MANY).await;
            plain::save_loop(orm, changes, "plain").await
        }));
    }
    report.compare(name, changes, ours, references).await;
}

/// An entity whose hooks SeaORM would call: they take the model by value, so each object is copied for each of them.
async fn load_and_change_hooked(report: &mut Report, Sides { db, orm, floor }: &Sides) {
    let ours = side(async || {
        floor.fill(MANY).await;
        ours::load_and_update_hooked(db, MANY, "ours").await
    });
    let save = shown("SeaORM save in a loop, with the hook", async || {
        floor.fill(MANY).await;
        plain::save_loop_hooked(orm, "plain").await
    });
    let bare = shown("the session, without hooks", async || {
        floor.fill(MANY).await;
        ours::load_and_update(db, MANY, "ours").await
    });
    report.compare("load_change_hooked", MANY, ours, vec![save, bare]).await;
}

async fn load(report: &mut Report, Sides { db, orm, floor }: &Sides) {
    floor.fill(MANY).await;
    let ours = side(async || ours::load(db, MANY).await);
    let all = bounded("SeaORM all()", 1.2, async || plain::all(orm, MANY).await);
    report.compare("load", MANY, ours, vec![all]).await;
}

async fn delete_loaded(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let keys: Vec<i64> = (1..=MANY as i64).collect();
    let ours = side(async || {
        floor.fill(MANY).await;
        ours::delete(db, MANY).await
    });
    let by_hand = bounded(floor.name("sqlx = ANY", "sqlx IN of 1,000"), 1.2, async || {
        floor.fill(MANY).await;
        floor.delete(&keys).await
    });
    report.compare("delete_loaded", MANY, ours, vec![by_hand]).await;
    assert_eq!(floor.count().await, 0);
}

async fn gets_tracked(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let gets = 200_000;
    floor.fill(MANY).await;
    let mut random = fastrand::Rng::with_seed(11);
    let keys: Vec<i64> = (0..gets).map(|_| random.i64(1..=MANY as i64)).collect();
    let map: HashMap<i64, Arc<item::Model>> = items(MANY).into_iter().map(|row| (row.id, Arc::new(row))).collect();
    let mut s = db.begin().await.expect("begin");
    let _held = load_all(&mut s).await;
    let before = s.stats();
    let region = Region::new(&ALLOCATOR);
    ours::gets(&mut s, &keys).await;
    let allocations = region.change().allocations;
    assert_eq!(s.stats().round_trips(), before.round_trips(), "a get of a tracked object sends nothing");
    report.counted("gets_tracked: allocations", gets, allocations as f64, "allocations", 0.0);

    let s = tokio::sync::Mutex::new(s);
    let by_map = || async {
        let start = Instant::now();
        for key in &keys {
            black_box(map.get(key).cloned());
        }
        start.elapsed()
    };
    let ours = side(async || ours::gets(&mut *s.lock().await, &keys).await);
    report.compare("gets_tracked", gets, ours, vec![bounded("HashMap to Arc", 3.0, by_map)]).await;
    let ours = side(async || ours::peeks(&mut *s.lock().await, &keys));
    report.compare("gets_tracked: peek", gets, ours, vec![shown("HashMap to Arc", by_map)]).await;
    s.into_inner().rollback().await.expect("rollback");
}

async fn nested_blocks(report: &mut Report, Sides { db, orm, floor }: &Sides) {
    let n = 2_000;
    let ours = side(async || {
        floor.empty().await;
        ours::nested(db, items(n)).await
    });
    let nested = bounded("SeaORM nested begin", 0.75, async || {
        floor.empty().await;
        plain::nested(orm, items(n)).await
    });
    report.compare("nested_blocks", n, ours, vec![nested]).await;
    assert_eq!(floor.count().await, n / 10 * 9);
}

async fn small_units(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let (n, rows) = (2_000, 1_000);
    let ours = side(async || {
        floor.fill(rows).await;
        ours::units(db, n, rows as i64, "ours").await
    });
    let by_hand = bounded("sqlx BEGIN, SELECT, UPDATE, COMMIT", 1.1, async || {
        floor.fill(rows).await;
        floor.units(n, rows as i64, "theirs").await
    });
    report.compare("small_units", n, ours, vec![by_hand]).await;
}

/// A flush looks at what is dirty: what else is tracked costs it nothing.
async fn flush_one_of_many(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let (many, few, flushes) = (10 * MANY as u64, 10, 500);
    floor.fill(10 * MANY).await;
    let ours = side(async || ours::flush_ones(db, many, flushes).await);
    let reference = bounded("ten tracked instead of 100,000", 1.3, async || ours::flush_ones(db, few, flushes).await);
    report.compare("flush_one_of_many", flushes, ours, vec![reference]).await;
}

/// What a tracked clean object costs above its model, which the allocator counts on both sides.
async fn memory_clean_objects(report: &mut Report, Sides { db, orm, floor }: &Sides) {
    let n = 10 * MANY;
    floor.fill(n).await;
    // Once each beforehand: buffers of the connections and caches of statements are nobody's objects.
    drop(item::Entity::find().all(orm).await.expect("models"));
    ours::load(db, n).await;

    let region = Region::new(&ALLOCATOR);
    let mut models = item::Entity::find().all(orm).await.expect("models");
    models.shrink_to_fit();
    let plain = held(&region);
    drop(models);

    let mut s = db.begin().await.expect("begin");
    let region = Region::new(&ALLOCATOR);
    drop(load_all(&mut s).await);
    let tracked = held(&region);
    s.rollback().await.expect("rollback");
    let each = (tracked - plain) as f64 / n as f64;
    report.counted("memory_clean_objects", n, each, "bytes an object above its model", 250.0);
}

/// Bytes that are allocated now and were not when the region began.
fn held(region: &Region<'_, System>) -> i64 {
    let change = region.change();
    change.bytes_allocated as i64 - change.bytes_deallocated as i64
}

/// Every row through the identity map.
async fn load_all(s: &mut Session) -> Vec<Tracked<item::Entity>> {
    item::Entity::find().load(s).await.expect("rows")
}

/// Eight workers move money between ten accounts at SERIALIZABLE, 250 units each; the sum must hold.
async fn transfers(report: &mut Report) {
    if !report.options().wants("transfers") {
        return;
    }
    let database = cluster::fresh_database().await.expect("a database");
    let connections = WORKERS as u32;
    let pool = PgPoolOptions::new().max_connections(connections).test_before_acquire(false);
    let pool = pool.connect(&database.url()).await.expect("a pool");
    sqlx::raw_sql(entities::POSTGRES).execute(&pool).await.expect("tables");
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(connections).test_before_acquire(false);
    let db = Db::connect(options).await.expect("sessions");

    let retries = [const { AtomicU64::new(0) }; 3];
    let [ours_again, theirs_again, told_again] = &retries;
    let ours = side(async || {
        open_accounts(&pool).await;
        let db = &db;
        let time = workers(ours_again, || {
            let db = db.clone();
            move |from, to| {
                let db = db.clone();
                async move { ours::transfer(&db, from, to, 1).await }
            }
        })
        .await;
        check_accounts(&pool).await;
        time
    });
    let by_hand = async |again: &AtomicU64, write: &'static str| {
        open_accounts(&pool).await;
        let time = workers(again, || {
            let pool = pool.clone();
            move |from, to| {
                let pool = pool.clone();
                async move { postgres::transfer(&pool, write, from, to, 1).await }
            }
        })
        .await;
        check_accounts(&pool).await;
        time
    };
    let references = vec![
        bounded("sqlx retry loop", 1.0 / 0.9, async || by_hand(theirs_again, postgres::WRITE_BALANCES).await),
        // What it costs to know which rows were written, and whose COMMIT it was if its answer is lost.
        shown("sqlx retry loop that can tell", async || by_hand(told_again, postgres::WRITE_AND_TELL).await),
    ];
    let units = WORKERS * UNITS_A_WORKER;
    report.compare("transfers", units, ours, references).await;
    // A warm-up of each side comes before its samples.
    let all = (units * (report.options().samples + 1)) as f64;
    for (side, again) in ["ours", "sqlx retry loop", "sqlx retry loop that can tell"].into_iter().zip(&retries) {
        let each = again.load(Ordering::Relaxed) as f64 / all;
        report.counted(&format!("transfers: {side}"), units, each, "retries a unit", f64::INFINITY);
    }
}

/// How long the workers took; how often they had to try again is added to `again`.
async fn workers<T, Fut>(again: &AtomicU64, transfer: impl Fn() -> T) -> Duration
where
    T: Fn(i64, i64) -> Fut + Send + 'static,
    Fut: Future<Output = u64> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..WORKERS as u64)
        .map(|worker| {
            let transfer = transfer();
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(worker);
                let mut retries = 0;
                for _ in 0..UNITS_A_WORKER {
                    let from = random.i64(1..=ACCOUNTS);
                    let to = (from + random.i64(1..ACCOUNTS) - 1) % ACCOUNTS + 1;
                    retries += transfer(from, to).await;
                }
                retries
            })
        })
        .collect();
    for task in tasks {
        again.fetch_add(task.await.expect("a worker"), Ordering::Relaxed);
    }
    start.elapsed()
}

async fn open_accounts(pool: &sqlx::PgPool) {
    let sql =
        "TRUNCATE account; INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id; ANALYZE account";
    sqlx::raw_sql(sql).execute(pool).await.expect("accounts");
}

async fn check_accounts(pool: &sqlx::PgPool) {
    let sum: i64 = sqlx::query_scalar("SELECT sum(balance)::bigint FROM account").fetch_one(pool).await.expect("a sum");
    assert_eq!(sum, 1_000 * ACCOUNTS, "money was lost or made");
}
