//! What PostgreSQL does for a claim: its plan, and the statements an event costs when several dispatchers share a stream (Q3).
//! A server of the test's own counts and explains.

use std::{path::PathBuf, time::Duration};

use sea_orm::sqlx::{self, postgres::PgPool};
use sea_session::{
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
    testing::{
        cluster::{Cluster, TestDatabase},
        create_table,
    },
};
use serde_json::Value;

use super::support::{Running, event};

const BATCH: usize = 100;
const EVENTS: i64 = 10_000;
const KEYS: i64 = 1_000;

/// A server that counts statements and writes the plan of each into its log.
struct Watched {
    cluster: Cluster,
    database: TestDatabase,
    pool: PgPool,
}

impl Watched {
    async fn start() -> Self {
        let cluster = Cluster::start().await.expect("a cluster of the test's own");
        let administer = PgPool::connect(&cluster.url()).await.unwrap();
        let preload = "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', 'auto_explain'";
        sqlx::raw_sql(preload).execute(&administer).await.unwrap();
        administer.close().await;
        cluster.restart().await.expect("the server starts again");
        let database = cluster.fresh_database().await.expect("a database");
        let pool = PgPool::connect(&database.url()).await.unwrap();
        sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&pool).await.unwrap();
        let db = Db::connect(database.url()).await.unwrap();
        create_table(&db, event::Entity).await.unwrap();
        Outbox::new(&db, "events", "test").create_indexes().await.unwrap();
        db.close().await.unwrap();
        Self { cluster, database, pool }
    }

    /// 10,000 events of 1,000 keys.
    async fn fill(&self) {
        let fill = "INSERT INTO events (account_id, topic, event_key, sequence, event_type, payload, state, attempts, fence, available_at, created_at) \
             SELECT 'acme', 'test', 'key ' || i % $2, i, 'made', '{}', 'pending', 0, 0, now(), now() FROM generate_series(1, $1) AS i";
        sqlx::query(fill).bind(EVENTS).bind(KEYS).execute(&self.pool).await.unwrap();
        sqlx::raw_sql("SELECT pg_stat_statements_reset()").execute(&self.pool).await.unwrap();
    }

    /// A setting of each new connection.
    async fn set(&self, setting: &str) {
        let set = format!("ALTER DATABASE {} SET {setting}", self.database.name());
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&self.pool).await.unwrap();
    }

    /// From now on, writes the plan of each statement of a new connection into the log.
    async fn explain(&self) {
        for setting in ["log_min_duration = 0", "log_analyze = on", "log_format = 'json'"] {
            self.set(&format!("auto_explain.{setting}")).await;
        }
    }

    /// Delivers everything but the `held`, by so many dispatchers with pools and listeners of their own.
    async fn deliver(&self, dispatchers: usize, held: i64) {
        let mut running = Vec::new();
        for _ in 0..dispatchers {
            let db = Db::connect(self.database.url()).await.unwrap();
            let dispatcher = Dispatcher::new(&Outbox::new(&db, "events", "test"), Nothing);
            let dispatcher = dispatcher.batch(BATCH).claims(2).retention(None);
            running.push((db, Running::start(dispatcher)));
        }
        let left = "SELECT count(*) FROM events";
        for _ in 0..600 {
            let left: i64 = sqlx::query_scalar(left).fetch_one(&self.pool).await.unwrap();
            if left == held {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut delivered = 0;
        for (db, running) in running {
            delivered += running.stop().await.delivered;
            db.close().await.unwrap();
        }
        assert_eq!(delivered, (EVENTS - held) as u64);
    }

    /// Statements, and pages of the buffer that they looked at.
    async fn cost(&self) -> (i64, i64) {
        let cost = "SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint FROM pg_stat_statements \
             WHERE query LIKE '%\"events\"%' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
        sqlx::query_as(cost).fetch_one(&self.pool).await.unwrap()
    }

    async fn stop(self) {
        self.pool.close().await;
        drop(self.database);
        self.cluster.stop().await.unwrap();
    }
}

/// Takes everything.
struct Nothing;

#[async_trait::async_trait]
impl Handler for Nothing {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        Ok(vec![Delivery::Done; events.len()])
    }
}

fn wait(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

#[test]
fn q3_four_dispatchers_send_and_read_hardly_more_an_event_than_one() {
    wait(async {
        let watched = Watched::start().await;
        let mut costs = Vec::new();
        for dispatchers in [1, 4] {
            watched.fill().await;
            watched.deliver(dispatchers, 0).await;
            costs.push(watched.cost().await);
        }
        let [(one, read_by_one), (four, read_by_four)] = costs[..] else { panic!("two costs") };
        println!("statements: one {one}, four {four}; pages: one {read_by_one}, four {read_by_four}");
        assert!(one >= EVENTS / BATCH as i64, "claims were counted");
        // Before they shared the keys out, four sent 2 times the claims and read 16 times the pages.
        assert!(four * 2 <= one * 3, "statements: one {one}, four {four}");
        assert!(read_by_four * 2 <= read_by_one * 3, "pages: one {read_by_one}, four {read_by_four}");
        watched.stop().await;
    });
}

/// It can take longer to plan a claim than to carry it out, and the server would go on planning if that looked cheaper.
#[test]
fn q3_a_claim_is_planned_once_and_not_each_time() {
    wait(async {
        let watched = Watched::start().await;
        watched.set("pg_stat_statements.track_planning = on").await;
        watched.fill().await;
        watched.deliver(1, 0).await;
        for begin in ["WITH seen", "DELETE FROM"] {
            let planned =
                "SELECT sum(plans)::bigint, sum(calls)::bigint FROM pg_stat_statements WHERE query LIKE $1 || '%'";
            let (plans, calls): (i64, i64) =
                sqlx::query_as(planned).bind(begin).fetch_one(&watched.pool).await.unwrap();
            assert!(calls > 50 && plans > 0, "{begin}: {plans} plans, {calls} calls");
            assert!(plans * 10 <= calls, "{begin}: {plans} plans for {calls} calls");
        }
        watched.stop().await;
    });
}

/// The plans in the server's log of statements that begin so.
fn plans(log: PathBuf, begin: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(log).unwrap();
    let plan = |after: &str| -> Value {
        let lines: Vec<&str> = after.lines().take_while(|line| line.starts_with('\t')).collect();
        serde_json::from_str(&lines.join("\n")).unwrap_or_else(|e| panic!("{e}: {lines:?}"))
    };
    // What our own pool asked between the settings stands there in another format.
    let plans = log.split("  plan:\n").skip(1).filter(|after| after.starts_with("\t{")).map(plan);
    plans.filter(|plan| plan["Query Text"].as_str().is_some_and(|sql| sql.starts_with(begin))).collect()
}

/// The nodes of a plan, from this one down.
fn nodes(node: &Value) -> Vec<&Value> {
    let below = node["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    std::iter::once(node).chain(below).collect()
}

/// A number that a node says of each of its loops, for all of them.
fn total(node: &Value, what: &str) -> f64 {
    node[what].as_f64().unwrap_or(0.0) * node["Actual Loops"].as_f64().unwrap()
}

/// How many events were read to find out what stands before others.
fn read_of_keys(plan: &Value) -> f64 {
    let live = nodes(&plan["Plan"]).into_iter().filter(|node| node["Index Name"] == "events_live_idx");
    live.map(|node| total(node, "Actual Rows") + total(node, "Rows Removed by Filter")).sum()
}

#[test]
fn q3_a_claim_reads_what_is_due_by_its_index_however_long_the_queue() {
    wait(async {
        let watched = Watched::start().await;
        watched.fill().await;
        // The primary key looks as good to the planner while nothing has been delivered.
        sqlx::raw_sql("ANALYZE events").execute(&watched.pool).await.unwrap();
        watched.explain().await;
        watched.deliver(4, 0).await;
        let plans = plans(watched.cluster.log(), "WITH seen");
        let shared = plans.iter().filter(|plan| plan["Query Text"].as_str().unwrap().contains("hashtext")).count();
        assert!(plans.len() > 50 && shared > 50, "{} claims, {shared} of them of a share", plans.len());
        for plan in &plans {
            let all = nodes(&plan["Plan"]);
            let kind = |node: &Value| node["Node Type"].as_str().unwrap().to_owned();
            let due = all.iter().any(|node| node["Index Name"] == "events_due_idx" && kind(node) == "Index Scan");
            assert!(due, "what is due is found by its index: {plan}");
            for node in all {
                assert_ne!(kind(node), "Seq Scan", "{plan}");
                let walked = node["Index Name"] == "events_pkey"
                    && !node["Index Cond"].as_str().is_some_and(|condition| condition.contains("id = ANY"));
                assert!(!walked, "delivered events are read: {plan}");
                // A window is at most 16 batches, seen once by each way of looking at it.
                let sorted = if kind(node).contains("Sort") { total(node, "Actual Rows") } else { 0.0 };
                assert!(sorted <= 16.0 * BATCH as f64, "{sorted} rows are sorted: {plan}");
            }
        }
        watched.stop().await;
    });
}

/// It only has to be known that one of them stands before what is due.
#[test]
fn q3_of_what_is_in_hand_of_a_key_a_claim_reads_one() {
    const IN_HAND: i64 = 5_000;
    const BEHIND: i64 = 50;
    wait(async {
        let watched = Watched::start().await;
        watched.fill().await;
        let busy = "UPDATE events SET event_key = 'busy', state = CASE WHEN sequence <= $1 THEN 'processing' ELSE 'pending' END, \
             lease_until = CASE WHEN sequence <= $1 THEN now() + interval '1 day' END WHERE sequence <= $1 + $2";
        sqlx::query(busy).bind(IN_HAND).bind(BEHIND).execute(&watched.pool).await.unwrap();
        sqlx::raw_sql("VACUUM ANALYZE events").execute(&watched.pool).await.unwrap();
        watched.explain().await;
        watched.deliver(1, IN_HAND + BEHIND).await;
        let plans = plans(watched.cluster.log(), "WITH seen");
        assert!(plans.len() > 40, "{} claims", plans.len());
        for plan in &plans {
            let read = read_of_keys(plan);
            // A window is at most 16 batches, and one more is read of each of its keys.
            assert!(read <= 2.0 * 16.0 * BATCH as f64, "{read} events of the window's keys are read: {plan}");
        }
        watched.stop().await;
    });
}

/// However the planner joins the window with what stands before it: each with each would be 10,000 times 1,000.
#[test]
fn q3_a_claim_looks_once_at_each_key_also_when_all_are_held_up() {
    wait(async {
        let watched = Watched::start().await;
        watched.fill().await;
        let hold =
            "UPDATE events SET state = 'processing', lease_until = now() + interval '1 day' WHERE sequence <= $1";
        sqlx::query(hold).bind(KEYS).execute(&watched.pool).await.unwrap();
        watched.explain().await;
        let db = Db::connect(watched.database.url()).await.unwrap();
        let report = Dispatcher::new(&Outbox::new(&db, "events", "test"), Nothing).batch(BATCH).drain().await.unwrap();
        db.close().await.unwrap();
        assert_eq!(report.delivered, 0);
        let plans = plans(watched.cluster.log(), "WITH seen");
        assert!(plans.len() > 3, "{} claims, each of a wider window", plans.len());
        for plan in &plans {
            let read = read_of_keys(plan);
            let compared: f64 =
                nodes(&plan["Plan"]).into_iter().map(|node| total(node, "Rows Removed by Join Filter")).sum();
            assert!(compared == 0.0 && read <= 2.0 * KEYS as f64, "{compared} compared, {read} read: {plan}");
        }
        watched.stop().await;
    });
}

/// A vacuum of an idle stream leaves pages with nothing in them, so the planner takes a full one for empty.
#[test]
fn q3_an_acknowledgement_finds_its_events_by_number_also_in_a_queue_that_the_planner_takes_for_empty() {
    wait(async {
        let watched = Watched::start().await;
        watched.fill().await;
        watched.deliver(1, 0).await;
        sqlx::raw_sql("VACUUM (TRUNCATE false, ANALYZE) events").execute(&watched.pool).await.unwrap();
        watched.fill().await;
        // The second half was tried before, every other event of it.
        let tried = "UPDATE events SET fence = sequence % 2 WHERE sequence > $1";
        sqlx::query(tried).bind(EVENTS / 2).execute(&watched.pool).await.unwrap();
        watched.explain().await;
        watched.deliver(1, 0).await;
        let plans = plans(watched.cluster.log(), "DELETE FROM");
        assert!(plans.len() > 50, "{} acknowledgements", plans.len());
        let mixed = plans.iter().filter(|plan| plan["Query Text"].as_str().unwrap().contains("UNNEST")).count();
        assert!(mixed > 20 && plans.len() - mixed > 20, "{mixed} of events with different tokens");
        for plan in &plans {
            let all = nodes(&plan["Plan"]);
            let reads = all.iter().filter(|node| node["Index Name"].is_string());
            let conditions: Vec<&str> = reads.map(|node| node["Index Cond"].as_str().unwrap_or("none")).collect();
            assert!(!conditions.is_empty() && !conditions.contains(&"none"), "the whole queue is read: {plan}");
        }
        watched.stop().await;
    });
}
