//! `cargo bench --bench outbox [-- [--json] [--check] [--samples N] [NAME]]`
//!
//! The outbox beside raw SQL on the same server and the same table, and beside itself under load: in one run, the samples in
//! turns. PostgreSQL only, a throw-away server on a Unix socket. `docs/performance.md` holds the results.
//!
//! | Workload | Ours | Beside |
//! |---|---|---|
//! | `throughput` | one process, no-op receiver | claim-and-delete in batches of 100, by hand |
//! | `processes` | four processes | one |
//! | `snapshot` | one process while a snapshot is held open | without it |
//! | `enqueue` | 10,000 events in one unit | one UNNEST by hand |
//! | `latency` | commit to handler in another process, idle | a bound |
//! | `writers_8`, `writers_32` | units that change a row and enqueue, a dispatcher in another process | no dispatcher |
//!
//! A reference here is as fast as we could write it. It must never be slowed down to make a ratio look better.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

#[path = "../unit_of_work/harness.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod harness;
mod process;
mod stream;
#[path = "../../tests/support_outbox/mod.rs"]
mod support_outbox;

use std::time::{Duration, Instant};

use harness::{Options, Report, bounded, side};
use process::Crew;
use sea_orm::ConnectOptions;
use sea_orm::sqlx::postgres::{PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, Row};
use sea_session::prelude::*;
use sea_session::testing::{cluster, create_table};
use stream::{event, note, outbox};

const EVENTS: usize = 20_000;
/// So many that the start of four dispatchers, and the end, where one has more left than the others, count for little.
const LONG: usize = 100_000;
const KEYS: usize = 1_000;
const BATCH: usize = 100;
/// A dispatcher of a stream that is written to all the time: what a claim costs whatever is in it is shared by more events.
const STEADY_BATCH: usize = 500;

fn main() {
    if process::is_child() {
        return process::child();
    }
    let Some(options) = Options::of_bench("outbox") else { return };
    let mut report = Report::new(options);
    let runtime = |threads: usize| {
        let mut builder = match threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.worker_threads(threads.max(1)).enable_all().build().expect("a runtime")
    };
    runtime(1).block_on(streams(&mut report));
    runtime(2).block_on(loads(&mut report));
    if report.finish() {
        std::process::exit(1);
    }
}

/// A database with the tables.
struct Bench {
    _database: cluster::TestDatabase,
    url: String,
    db: Db,
    pool: PgPool,
}

impl Bench {
    async fn new(connections: u32) -> Self {
        let database = cluster::fresh_database().await.expect("a database");
        let url = database.url();
        let mut options = ConnectOptions::new(&url);
        options.max_connections(connections).min_connections(connections.min(4)).test_before_acquire(false);
        let db = Db::connect(options).await.expect("sessions");
        create_table(&db, event::Entity).await.expect("a table");
        create_table(&db, note::Entity).await.expect("a table");
        outbox(&db).create_indexes().await.expect("indexes");
        let pool =
            PgPoolOptions::new().max_connections(2).test_before_acquire(false).connect(&url).await.expect("a pool");
        Self { _database: database, url, db, pool }
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.expect("a statement");
    }

    /// So many events of 1,000 keys, and nothing else.
    async fn fill(&self, events: usize) {
        self.sql("TRUNCATE events").await;
        let fill = "INSERT INTO events (account_id, topic, event_key, sequence, event_type, payload, state, attempts, fence, available_at, created_at) \
             SELECT 'acme', 'bench', 'key ' || i % $2, i, 'changed', jsonb_build_object('uri', 'ctx://acme/resources/n' || i, 'version', i), \
             'pending', 0, 0, now(), now() FROM generate_series(1, $1) AS i";
        let (events, keys) = (i64::try_from(events).unwrap(), i64::try_from(KEYS).unwrap());
        sqlx::query(fill).bind(events).bind(keys).execute(&self.pool).await.expect("events");
    }
}

async fn streams(report: &mut Report) {
    let bench = Bench::new(4).await;
    report.backend("postgres");
    if report.options().wants("throughput") {
        throughput(report, &bench).await;
    }
    if report.options().wants("snapshot") {
        snapshot(report, &bench).await;
    }
    if report.options().wants("enqueue") {
        enqueue(report, &bench).await;
    }
    bench.db.close().await.expect("close");
}

async fn loads(report: &mut Report) {
    let wanted = ["processes", "latency", "writers_8", "writers_32"];
    if wanted.iter().all(|name| !report.options().wants(name)) {
        return;
    }
    let bench = Bench::new(32).await;
    if report.options().wants("processes") {
        processes(report, &bench).await;
    }
    if report.options().wants("latency") {
        latency(report, &bench).await;
    }
    for clients in [8, 32] {
        let name = format!("writers_{clients}");
        if report.options().wants(&name) {
            writers(report, &bench, &name, clients).await;
        }
    }
    bench.db.close().await.expect("close");
}

async fn throughput(report: &mut Report, bench: &Bench) {
    let ours = side(async || {
        bench.fill(EVENTS).await;
        stream::deliver(&bench.db, EVENTS).await
    });
    let raw = bounded("claim-and-delete of 100, by hand", 1.0 / 0.45, async || {
        bench.fill(EVENTS).await;
        claim_and_delete(&bench.pool).await
    });
    report.compare("throughput", EVENTS, ours, vec![raw]).await;
}

/// Takes everything there is, and reads it.
async fn claim_and_delete(pool: &PgPool) -> Duration {
    let sql = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE topic = 'bench' AND finished_at IS NULL AND state = 'pending' \
         AND available_at <= now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) \
         RETURNING id, account_id, event_key, sequence, event_type, payload, attempts, created_at";
    let mut connection = pool.acquire().await.expect("a connection");
    // A table that was filled a moment ago has no statistics, and the plan without them sorts everything for each batch. The
    // reference gets what the outbox gets.
    let settings = "SET enable_seqscan = off; SET enable_sort = off; SET jit = off";
    sqlx::raw_sql(settings).execute(&mut *connection).await.expect("settings");
    let start = Instant::now();
    let mut taken = 0;
    loop {
        let rows = sqlx::query(sql).bind(BATCH as i64).fetch_all(&mut *connection).await.expect("a batch");
        if rows.is_empty() {
            break;
        }
        taken += rows.len();
        for row in &rows {
            std::hint::black_box((
                row.get::<i64, _>(0),
                row.get::<String, _>(1),
                row.get::<String, _>(2),
                row.get::<i64, _>(3),
                row.get::<String, _>(4),
                row.get::<serde_json::Value, _>(5),
                row.get::<i32, _>(6),
                row.get::<chrono::DateTime<chrono::Utc>, _>(7),
            ));
        }
    }
    assert_eq!(taken, EVENTS);
    start.elapsed()
}

async fn snapshot(report: &mut Report, bench: &Bench) {
    let ours = side(async || {
        bench.fill(EVENTS).await;
        let mut holder = bench.pool.acquire().await.expect("a connection");
        let hold = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM note";
        sqlx::raw_sql(hold).execute(&mut *holder).await.expect("a snapshot");
        let time = stream::deliver(&bench.db, EVENTS).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut *holder).await.expect("the end of the snapshot");
        time
    });
    let without = bounded("the same without the snapshot", 2.0, async || {
        bench.fill(EVENTS).await;
        stream::deliver(&bench.db, EVENTS).await
    });
    report.compare("snapshot", EVENTS, ours, vec![without]).await;
}

async fn enqueue(report: &mut Report, bench: &Bench) {
    let n = 10_000;
    let ours = side(async || {
        bench.sql("TRUNCATE events").await;
        stream::enqueue(&bench.db, n).await
    });
    let by_hand = bounded("one UNNEST, by hand", 1.5, async || {
        bench.sql("TRUNCATE events").await;
        stream::enqueue_by_hand(&bench.pool, n).await
    });
    report.compare("enqueue", n, ours, vec![by_hand]).await;
}

async fn processes(report: &mut Report, bench: &Bench) {
    let crew = tokio::sync::Mutex::new(Crew::start(&bench.url, 4, BATCH).await);
    let four = side(async || {
        bench.fill(LONG).await;
        crew.lock().await.deliver(4, LONG).await
    });
    let one = bounded("one process", 1.0, async || {
        bench.fill(LONG).await;
        crew.lock().await.deliver(1, LONG).await
    });
    report.compare("processes", LONG, four, vec![one]).await;
    crew.into_inner().end().await;
}

/// One event at a time; the time from the return of the commit to the arrival in the other process' handler, and the pipe by
/// which it says so.
async fn latency(report: &mut Report, bench: &Bench) {
    const EVENTS: usize = 300;
    bench.sql("TRUNCATE events").await;
    let mut crew = Crew::start(&bench.url, 1, BATCH).await;
    crew.run(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut taken = Vec::with_capacity(EVENTS);
    for n in 0..EVENTS + 20 {
        stream::write_one(&bench.db, n).await;
        let start = Instant::now();
        crew.arrived(1).await;
        // The first ones warm plans and caches up.
        if n >= 20 {
            taken.push(start.elapsed().as_secs_f64() * 1e3);
        }
        tokio::time::sleep(Duration::from_millis(random.u64(1..20))).await;
    }
    crew.stop().await;
    crew.end().await;
    taken.sort_by(f64::total_cmp);
    report.counted("latency: median", EVENTS, taken[EVENTS / 2], "ms from commit to handler", 1.2);
    report.counted("latency: p99", EVENTS, taken[EVENTS * 99 / 100], "ms from commit to handler", 3.0);
}

/// Units that change a row and enqueue an event, from so many clients.
async fn writers(report: &mut Report, bench: &Bench, name: &str, clients: usize) {
    let units = 4_000;
    let crew = tokio::sync::Mutex::new(Crew::start(&bench.url, 1, STEADY_BATCH).await);
    stream::notes(&bench.db, clients).await;
    let with = side(async || {
        bench.sql("TRUNCATE events").await;
        let mut crew = crew.lock().await;
        crew.run(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let time = stream::write(&bench.db, clients, units).await;
        crew.arrived(units).await;
        crew.stop().await;
        time
    });
    let without = bounded("no dispatcher", 1.1, async || {
        bench.sql("TRUNCATE events").await;
        stream::write(&bench.db, clients, units).await
    });
    report.compare(name, units, with, vec![without]).await;
    crew.into_inner().end().await;
}
