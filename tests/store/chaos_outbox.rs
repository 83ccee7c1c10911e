//! The outbox under everything that happens at night (Q2, Q3, Q5, Q7): dispatchers in processes of their own, killed, stopped
//! beyond their lease and woken again, their connections cut, the server crashed; a receiver that fails one call in
//! twenty, and a record that it never takes. A ledger says what became of every event, and is printed.
//!
//! 2,000 events by default; `CHAOS_EVENTS=20000` asks for more. `CHAOS_SEED` repeats a run's decisions.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use context_entities::outbox_event;
use context_migration::Runner;
use sea_orm::{ActiveValue::Set, ConnectOptions, Database, sqlx};
use sea_session::outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable};
use sea_session::prelude::*;
use sea_session::testing::cluster::Cluster;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Tells this test program, started again, that it is a dispatcher: of which database, with which ledger and seed.
const CHILD: &str = "CHAOS_CHILD";
const TOPIC: &str = "chaos";
const DISPATCHERS: usize = 4;
const KEYS: usize = 200;
const BATCH: usize = 20;
const LEASE: Duration = Duration::from_millis(800);
/// Events are written in so many steps, so that there is work as long as there is trouble.
const STEPS: usize = 40;

fn outbox(db: &Db) -> Outbox {
    Outbox::new(db, "outbox_events", TOPIC).set_local("app.dispatcher", "on")
}

async fn connect(url: &str, connections: u32) -> Db {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections);
    Db::connect(options).await.expect("the test's own server answers")
}

// ---- the other processes -----------------------------------------------------------------------------------------------

/// Writes a line for each event that it takes, in one write for a call: the file's order is the order of the effects.
struct Receiver {
    ledger: File,
    random: Mutex<fastrand::Rng>,
}

#[async_trait::async_trait]
impl Handler for Receiver {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        let (pause, chances): (u64, Vec<bool>) = {
            let mut random = self.random.lock().unwrap();
            (random.u64(1..25), events.iter().map(|_| random.u8(0..20) == 0).collect())
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut lines = String::new();
        let mut deliveries = Vec::new();
        for (event, fails) in events.iter().zip(chances) {
            deliveries.push(match event.event_type.as_str() {
                "poison" => Delivery::Retry("the receiver never takes this".into()),
                _ if fails => Delivery::Retry("by chance".into()),
                _ => {
                    lines += &format!("{} {}\n", event.key, event.sequence);
                    Delivery::Done
                }
            });
        }
        (&self.ledger).write_all(lines.as_bytes()).map_err(|e| Unavailable(e.to_string()))?;
        Ok(deliveries)
    }
}

/// What each of them does, until it is killed.
async fn dispatch(task: &str) {
    let mut task = task.lines();
    let mut next = || task.next().expect("three lines").to_owned();
    let (url, ledger, seed) = (next(), next(), next().parse().expect("a number"));
    let db = connect(&url, 4).await;
    let receiver = Receiver {
        ledger: OpenOptions::new().append(true).open(ledger).expect("the ledger"),
        random: Mutex::new(fastrand::Rng::with_seed(seed)),
    };
    let dispatcher = Dispatcher::new(&outbox(&db), receiver)
        .batch(BATCH)
        .lease(LEASE)
        .poll(Duration::from_millis(100))
        .most_attempts(5);
    let watched = dispatcher.clone();
    let said = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        loop {
            let stale = watched.report().stale;
            let before = said.swap(stale, Ordering::Relaxed);
            if stale > before {
                println!("stale {}", stale - before);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    dispatcher.run(std::future::pending()).await;
}

// ---- the test ------------------------------------------------------------------------------------------------------------

/// A child and its process id.
struct Worker {
    child: Child,
    pid: u32,
}

/// What was done to the dispatchers.
#[derive(Debug, Default)]
struct Trouble {
    kills: usize,
    pauses: usize,
    terminated: usize,
    restarts: usize,
}

impl Trouble {
    /// What may have been in flight when it struck: a batch each, and every worker's for the server.
    fn in_flight(&self) -> usize {
        BATCH * (self.kills + self.pauses + self.terminated + self.restarts * DISPATCHERS)
    }
}

struct Chaos {
    cluster: Cluster,
    url: String,
    ledger: PathBuf,
    db: Db,
    workers: Vec<Worker>,
    stale: Arc<AtomicU64>,
    random: fastrand::Rng,
    trouble: Trouble,
}

fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill").success(), "{name} to {pid}");
}

impl Chaos {
    fn spawn(&mut self) -> Worker {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "chaos_outbox::q7_nothing_is_lost_stuck_or_out_of_order_whatever_dies", "--nocapture"])
            .env(CHILD, format!("{}\n{}\n{}", self.url, self.ledger.display(), self.random.u64(..)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("a child process");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let stale = self.stale.clone();
        tokio::spawn(async move {
            let mut lines = output.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(more) = line.strip_prefix("stale ").and_then(|more| more.parse().ok()) {
                    stale.fetch_add(more, Ordering::Relaxed);
                }
            }
        });
        let pid = child.id().expect("a running child");
        Worker { child, pid }
    }

    async fn number(&self, sql: &str) -> i64 {
        let pool = self.db.connection().get_postgres_connection_pool();
        for _ in 0..100 {
            match sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(pool).await {
                Ok(number) => return number,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("the server does not answer: {sql}");
    }

    /// Kills one at a random moment, and starts another in its place.
    async fn kill(&mut self) {
        let at = self.random.usize(0..self.workers.len());
        let fresh = self.spawn();
        let mut killed = std::mem::replace(&mut self.workers[at], fresh);
        signal(killed.pid, "KILL");
        killed.child.wait().await.expect("its end");
        self.trouble.kills += 1;
    }

    /// Stops one that has events in hand for longer than its lease, and wakes it again.
    async fn pause(&mut self) {
        for _ in 0..50 {
            let pid = self.workers[self.random.usize(0..self.workers.len())].pid;
            signal(pid, "STOP");
            let held =
                format!("SELECT count(*) FROM outbox_events WHERE state = 'processing' AND claimed_by LIKE '{pid}-%'");
            if self.number(&held).await > 0 {
                tokio::time::sleep(LEASE * 2).await;
                signal(pid, "CONT");
                self.trouble.pauses += 1;
                return;
            }
            signal(pid, "CONT");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Cuts some connections of the dispatchers.
    async fn terminate(&mut self) {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%outbox_events%' ORDER BY random() LIMIT 2) AS chosen";
        self.trouble.terminated += usize::try_from(self.number(sql).await).unwrap();
    }

    async fn restart(&mut self) {
        self.cluster.restart_immediate().await.expect("the server starts again");
        self.trouble.restarts += 1;
    }

    /// Writes one step of events, and makes sure that it is there.
    async fn write(&self, events: &[outbox_event::ActiveModel]) {
        let (key, sequence) = (events[0].event_key.clone().unwrap(), events[0].sequence.clone().unwrap());
        let there = format!(
            "SELECT count(*) FROM outbox_events WHERE topic = '{TOPIC}' AND event_key = '{key}' AND sequence = {sequence}"
        );
        for _ in 0..100 {
            let outbox = outbox(&self.db);
            let outcome: Result<(), SessionError> = self
                .db
                .session()
                .tenant("app.account_id", "acme")
                .retry(5)
                .run(async |s: &mut Session| {
                    events.iter().for_each(|event| drop(s.add(event.clone())));
                    outbox.wake_after_commit(s);
                    Ok(())
                })
                .await;
            if outcome.is_ok() || self.number(&there).await > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("events could not be written");
    }
}

fn event(key: usize, sequence: i64, kind: &str) -> outbox_event::ActiveModel {
    outbox_event::ActiveModel {
        account_id: Set("acme".into()),
        topic: Set(TOPIC.into()),
        event_key: Set(format!("key-{key}")),
        sequence: Set(sequence),
        event_type: Set(kind.into()),
        payload: Set(serde_json::json!({ "n": sequence })),
        ..Default::default()
    }
}

/// The events in the order of their writing: keys at random, within each key 1, 2, 3 …; one of them is poison.
fn script(events: usize, random: &mut fastrand::Rng) -> Vec<outbox_event::ActiveModel> {
    let mut last = vec![0; KEYS];
    let poison = events / 3;
    (0..events)
        .map(|n| {
            let key = random.usize(0..KEYS);
            last[key] += 1;
            event(key, last[key], if n == poison { "poison" } else { "made" })
        })
        .collect()
}

/// What the ledger says.
struct Verdict {
    lost: usize,
    out_of_order: usize,
    duplicates: usize,
}

fn read(ledger: &Path, script: &[outbox_event::ActiveModel]) -> Verdict {
    let text = std::fs::read_to_string(ledger).expect("the ledger");
    let mut seen: HashSet<(String, i64)> = HashSet::new();
    let mut order: HashMap<String, Vec<i64>> = HashMap::new();
    let mut duplicates = 0;
    for line in text.lines() {
        let (key, sequence) = line.split_once(' ').expect("a key and a number");
        let sequence: i64 = sequence.parse().expect("a number");
        if seen.insert((key.to_owned(), sequence)) {
            order.entry(key.to_owned()).or_default().push(sequence);
        } else {
            duplicates += 1;
        }
    }
    let due = |event: &&outbox_event::ActiveModel| event.event_type.as_ref() != "poison";
    let named = |event: &outbox_event::ActiveModel| (event.event_key.clone().unwrap(), event.sequence.clone().unwrap());
    let lost = script.iter().filter(due).filter(|event| !seen.contains(&named(event))).count();
    let out_of_order =
        order.values().map(|order| order.windows(2).filter(|pair| pair[0] >= pair[1]).count()).sum::<usize>();
    Verdict { lost, out_of_order, duplicates }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q7_nothing_is_lost_stuck_or_out_of_order_whatever_dies() {
    if let Ok(task) = std::env::var(CHILD) {
        return dispatch(&task).await;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let events = usize::try_from(number("CHAOS_EVENTS").unwrap_or(2_000)).unwrap().max(STEPS);
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed} (CHAOS_SEED), {events} events (CHAOS_EVENTS)");

    let cluster = Cluster::start().await.expect("a cluster of the test's own");
    let database = cluster.fresh_database().await.expect("a database");
    let url = database.url();
    let owner = Database::connect(&url).await.expect("the server answers");
    // Test clusters acknowledge a COMMIT before it is written, which a crash of the server would show.
    let name = database.name();
    sea_orm::ConnectionTrait::execute_unprepared(&owner, &format!("ALTER DATABASE {name} SET synchronous_commit = on"))
        .await
        .expect("a durable database");
    Runner::new(owner.clone()).up().await.expect("a schema");
    owner.close().await.expect("close");

    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    File::create(&ledger).expect("the ledger");
    let mut random = fastrand::Rng::with_seed(seed);
    let script = script(events, &mut random);
    let db = connect(&url, 4).await;
    let mut chaos = Chaos {
        cluster,
        url,
        ledger: ledger.clone(),
        db,
        workers: Vec::new(),
        stale: Arc::default(),
        random,
        trouble: Trouble::default(),
    };
    for _ in 0..DISPATCHERS {
        let worker = chaos.spawn();
        chaos.workers.push(worker);
    }

    let start = Instant::now();
    for (step, some) in script.chunks(events.div_ceil(STEPS)).enumerate() {
        chaos.write(some).await;
        match step % 8 {
            1 | 4 => chaos.kill().await,
            2 => chaos.pause().await,
            3 | 6 => chaos.terminate().await,
            5 if step == 21 => chaos.restart().await,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(chaos.random.u64(20..150))).await;
    }

    // The trouble is over: what is left is delivered, or it is stuck.
    let waiting = format!("SELECT count(*) FROM outbox_events WHERE topic = '{TOPIC}' AND finished_at IS NULL");
    let patience = Instant::now() + Duration::from_secs(30 + events as u64 / 200);
    while chaos.number(&waiting).await > 0 && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stuck = chaos.number(&waiting).await;
    let dead = outbox(&chaos.db).dead(0, 10).await.expect("dead letters");
    let done =
        chaos.number(&format!("SELECT count(*) FROM outbox_events WHERE topic = '{TOPIC}' AND state = 'done'")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for worker in &mut chaos.workers {
        worker.child.kill().await.expect("its end");
    }

    let Verdict { lost, out_of_order, duplicates } = read(&ledger, &script);
    let (stale, bound) = (chaos.stale.load(Ordering::Relaxed), chaos.trouble.in_flight());
    println!("{:?} in {:.1} s", chaos.trouble, start.elapsed().as_secs_f64());
    println!(
        "lost {lost}, stuck {stuck}, out of order {out_of_order}, stale acknowledgements refused {stale}, \
         duplicates {duplicates} (bounded by what was in flight: {bound})"
    );
    assert_eq!((lost, stuck, out_of_order), (0, 0, 0));
    assert_eq!(usize::try_from(done).unwrap(), events - 1, "every event but the poison is done");
    assert_eq!(dead.len(), 1, "the poison alone is dead: {dead:?}");
    assert_eq!(
        (dead[0].event_type.as_str(), dead[0].last_error.as_deref()),
        ("poison", Some("the receiver never takes this"))
    );
    assert!(stale > 0, "a worker that woke after its lease was refused");
    assert!(duplicates <= bound, "{duplicates} duplicates, and at most {bound} were in flight");
    let Trouble { kills, pauses, terminated, restarts } = chaos.trouble;
    assert!(kills >= 5 && pauses >= 2 && terminated >= 2 && restarts == 1, "there was trouble");

    chaos.db.close().await.expect("close");
    drop(database);
    chaos.cluster.stop().await.expect("stop");
}
