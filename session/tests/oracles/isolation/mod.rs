//! Isolation through the session API: the Hermitage histories on PostgreSQL, random list-append histories on both backends
//! under a cycle checker, and money moved between accounts.

mod checker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use checker::{Anomaly, Op, Transaction, check};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, ConnectOptions, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, sqlx};
use sea_session::Error;
use sea_session::prelude::*;
use sea_session::testing::cluster::mariadb;
use tokio::sync::Mutex;

use IsolationLevel::{ReadCommitted, RepeatableRead, Serializable};

use crate::support_proof::{Server, note};

const LEVELS: [IsolationLevel; 3] = [ReadCommitted, RepeatableRead, Serializable];

/// Two rows, worth 10 and 20, and as many sessions as a history needs.
struct Hermitage {
    server: Server,
    db: Db,
    level: IsolationLevel,
}

/// One transaction of a history.
struct T(Session);

impl Hermitage {
    async fn new(level: IsolationLevel) -> Self {
        let server = Server::new().await;
        sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
        let rows = "INSERT INTO note (title, rank) VALUES ('one', 10), ('two', 20)";
        sqlx::raw_sql(rows).execute(&server.pool).await.expect("rows");
        let db = server.db(4).await;
        Self { server, db, level }
    }

    async fn begin(&self) -> T {
        T(self.db.session().isolation(self.level).begin().await.expect("begin"))
    }

    async fn stored(&self) -> Vec<i32> {
        let ranks = sqlx::query_scalar("SELECT rank FROM note ORDER BY id").fetch_all(&self.server.pool).await;
        ranks.expect("the stored values")
    }
}

impl T {
    /// Reads past the identity map, which would answer a second read by itself.
    async fn read(&mut self, id: i64) -> i32 {
        let note = note::Entity::find_by_id(id).one(&self.0).await.expect("a read").expect("a row");
        note.rank.expect("a value")
    }

    async fn write(&mut self, id: i64, value: i32) -> Result<(), Error> {
        self.0.execute_unprepared(&format!("UPDATE note SET rank = {value} WHERE id = {id}")).await?;
        Ok(())
    }

    async fn add(&mut self, value: i32) -> Result<(), Error> {
        self.0.add(note::ActiveModel { title: Set("new".into()), rank: Set(Some(value)), ..Default::default() });
        self.0.flush().await
    }

    async fn count_by(&mut self, value: i32) -> u64 {
        note::Entity::find().filter(note::Column::Rank.eq(value)).count(&self.0).await.expect("a count")
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.0.commit().await
    }
}

/// Whether it failed because it could not be serialized; any other failure is not expected.
fn refused<V: std::fmt::Debug>(outcome: Result<V, Error>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.root().sqlstate(), Some("40001"), "{error}");
            true
        }
    }
}

/// Runs what will wait for a lock beside what releases it a little later.
async fn behind<A, B>(waits: impl Future<Output = A>, releases: impl Future<Output = B>) -> (A, B) {
    tokio::join!(waits, async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        releases.await
    })
}

#[tokio::test]
async fn hermitage_g0_writes_are_not_interleaved() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        t1.write(1, 11).await.expect("a write");
        t2.read(2).await;
        let (waited, ()) = behind(t2.write(1, 12), async {
            t1.write(2, 21).await.expect("a write");
            t1.commit().await.expect("a commit");
        })
        .await;
        let failed = refused(waited);
        assert_eq!(failed, level != ReadCommitted, "{level}");
        if !failed {
            t2.write(2, 22).await.expect("a write");
            t2.commit().await.expect("a commit");
        }
        assert_eq!(h.stored().await, if failed { [11, 21] } else { [12, 22] }, "{level}");
    }
}

#[tokio::test]
async fn hermitage_g1a_what_is_rolled_back_is_never_read() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        t1.write(1, 101).await.expect("a write");
        assert_eq!(t2.read(1).await, 10, "{level}");
        t1.0.rollback().await.expect("a rollback");
        assert_eq!(t2.read(1).await, 10, "{level}");
        t2.commit().await.expect("a commit");
    }
}

#[tokio::test]
async fn hermitage_g1b_intermediate_values_are_never_read() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        t1.write(1, 101).await.expect("a write");
        assert_eq!(t2.read(1).await, 10, "{level}");
        t1.write(1, 11).await.expect("a write");
        t1.commit().await.expect("a commit");
        assert_eq!(t2.read(1).await, if level == ReadCommitted { 11 } else { 10 }, "{level}");
        t2.commit().await.expect("a commit");
    }
}

#[tokio::test]
async fn hermitage_g1c_information_does_not_flow_in_a_circle() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        t1.write(1, 11).await.expect("a write");
        t2.write(2, 22).await.expect("a write");
        assert_eq!((t1.read(2).await, t2.read(1).await), (20, 10), "{level}");
        t1.commit().await.expect("a commit");
        assert_eq!(refused(t2.commit().await), level == Serializable, "{level}");
    }
}

#[tokio::test]
async fn hermitage_otv_an_observed_transaction_does_not_vanish() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2, mut t3) = (h.begin().await, h.begin().await, h.begin().await);
        t1.write(1, 11).await.expect("a write");
        t1.write(2, 19).await.expect("a write");
        t2.read(1).await;
        let (waited, ()) = behind(t2.write(1, 12), async { t1.commit().await.expect("a commit") }).await;
        let failed = refused(waited);
        assert_eq!(t3.read(1).await, 11, "{level}");
        if !failed {
            t2.write(2, 18).await.expect("a write");
        }
        assert_eq!(t3.read(2).await, 19, "{level}");
        if !failed {
            t2.commit().await.expect("a commit");
        }
        let again = (t3.read(2).await, t3.read(1).await);
        assert_eq!(again, if level == ReadCommitted { (18, 12) } else { (19, 11) }, "{level}");
        t3.commit().await.expect("a commit");
    }
}

#[tokio::test]
async fn hermitage_pmp_a_predicate_sees_no_later_rows() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        assert_eq!(t1.count_by(30).await, 0);
        t2.add(30).await.expect("an insert");
        t2.commit().await.expect("a commit");
        assert_eq!(t1.count_by(30).await, u64::from(level == ReadCommitted), "{level}");
        t1.commit().await.expect("a commit");
    }
}

#[tokio::test]
async fn hermitage_p4_no_update_is_lost() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        assert_eq!((t1.read(1).await, t2.read(1).await), (10, 10));
        t1.write(1, 11).await.expect("a write");
        let (waited, ()) = behind(t2.write(1, 12), async { t1.commit().await.expect("a commit") }).await;
        // At READ COMMITTED it is lost, in SQL; units that check what they read refuse it, see below.
        assert_eq!(refused(waited), level != ReadCommitted, "{level}");
    }
    let h = Hermitage::new(ReadCommitted).await;
    let unit = || h.db.session().optimistic();
    let (mut one, mut two) = (unit().begin().await.expect("begin"), unit().begin().await.expect("begin"));
    for s in [&mut one, &mut two] {
        let note = s.get::<note::Entity>(1).await.expect("a read").expect("a row");
        note.set_rank(note.rank().map(|rank| rank + 1));
    }
    one.commit().await.expect("a commit");
    let stale = two.commit().await.expect_err("the value that was read is no longer there");
    assert!(matches!(stale.root(), Error::Stale { .. } | Error::UnrepeatableRead { .. }), "{stale:?}");
    assert_eq!(h.stored().await[0], 11);
}

#[tokio::test]
async fn hermitage_g_single_a_read_is_not_skewed() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        assert_eq!(t1.read(1).await, 10);
        t2.write(1, 12).await.expect("a write");
        t2.write(2, 18).await.expect("a write");
        t2.commit().await.expect("a commit");
        assert_eq!(t1.read(2).await, if level == ReadCommitted { 18 } else { 20 }, "{level}");
        t1.commit().await.expect("a commit");
    }
}

#[tokio::test]
async fn hermitage_g2_item_a_write_is_not_skewed() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        for t in [&mut t1, &mut t2] {
            assert_eq!((t.read(1).await, t.read(2).await), (10, 20));
        }
        t1.write(1, 11).await.expect("a write");
        t2.write(2, 21).await.expect("a write");
        t1.commit().await.expect("a commit");
        assert_eq!(refused(t2.commit().await), level == Serializable, "{level}");
    }
}

#[tokio::test]
async fn hermitage_g2_two_predicates_do_not_miss_each_other() {
    for level in LEVELS {
        let h = Hermitage::new(level).await;
        let (mut t1, mut t2) = (h.begin().await, h.begin().await);
        assert_eq!((t1.count_by(30).await, t2.count_by(30).await), (0, 0));
        t1.add(30).await.expect("an insert");
        t2.add(30).await.expect("an insert");
        t1.commit().await.expect("a commit");
        assert_eq!(refused(t2.commit().await), level == Serializable, "{level}");
    }
}

/// Random transactions over three lists, each attempt of a retried unit a transaction of its own in the history.
struct Lists {
    db: Db,
    level: IsolationLevel,
    history: Arc<Mutex<Vec<Transaction>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

const KEYS: u64 = 3;

fn parse(list: &str) -> Vec<u64> {
    list.split_whitespace().map(|value| value.parse().expect("a number")).collect()
}

impl Lists {
    async fn new(db: Db, level: IsolationLevel) -> Self {
        db.run(async |s| -> Result<(), Error> {
            for key in 1..=KEYS as i64 {
                s.add(note::ActiveModel { id: Set(key), title: Set(String::new()), rank: Set(None) });
            }
            Ok(())
        })
        .await
        .expect("empty lists");
        Self { db, level, history: Arc::default(), next: Arc::new(1.into()) }
    }

    /// One unit of one to four operations, retried until it commits.
    async fn unit(&self, seed: u64) {
        let started: Arc<Mutex<Vec<usize>>> = Arc::default();
        let retry = Retry::times(1_000).backoff(Duration::from_micros(200), Duration::from_millis(10));
        self.db
            .session()
            .isolation(self.level)
            .retry(retry)
            .run(async |s| -> Result<(), Error> {
                let index = {
                    let mut history = self.history.lock().await;
                    history.push(Transaction { ops: Vec::new(), committed: false });
                    history.len() - 1
                };
                started.lock().await.push(index);
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..random.usize(1..5) {
                    let key = random.u64(1..=KEYS);
                    let op = self.operation(s, key, random.bool()).await?;
                    self.history.lock().await[index].ops.push(op);
                    tokio::time::sleep(Duration::from_micros(random.u64(0..500))).await;
                }
                Ok(())
            })
            .await
            .expect("the unit");
        // Only the last attempt has committed.
        let last = started.lock().await.pop().expect("an attempt");
        self.history.lock().await[last].committed = true;
    }

    async fn operation(&self, s: &mut Session, key: u64, append: bool) -> Result<Op, Error> {
        let list = s.get::<note::Entity>(key as i64).await?.expect("a list");
        if !append {
            return Ok(Op::Read(key, parse(&list.title())));
        }
        let value = self.next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        list.set_title(format!("{} {value}", list.title()));
        s.flush().await?;
        Ok(Op::Append(key, value))
    }

    async fn run(self: Arc<Self>, workers: u64, units: u64) -> (Vec<Anomaly>, usize, usize) {
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..workers {
            let lists = self.clone();
            tasks.spawn(async move {
                for unit in 0..units {
                    lists.unit(worker * 10_000 + unit).await;
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("a worker");
        }
        let rows = note::Entity::find().all(self.db.connection()).await.expect("the lists");
        let finally: BTreeMap<u64, Vec<u64>> =
            rows.iter().map(|row| (u64::try_from(row.id).expect("a key"), parse(&row.title))).collect();
        let history = self.history.lock().await;
        let committed = history.iter().filter(|transaction| transaction.committed).count();
        (check(&history, &finally), committed, history.len() - committed)
    }
}

async fn postgres(connections: u32) -> (Server, Db) {
    let server = Server::new().await;
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    // Deadlocks are many here, and each costs a second until the server looks for it.
    let quick = format!("ALTER DATABASE {} SET deadlock_timeout = '10ms'", server.database);
    sqlx::raw_sql(sqlx::AssertSqlSafe(quick)).execute(&server.pool).await.expect("a setting");
    let db = server.db(connections).await;
    (server, db)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_append_at_serializable_has_no_cycle() {
    let (_server, db) = postgres(8).await;
    let (found, committed, aborted) = Arc::new(Lists::new(db, Serializable).await).run(8, 50).await;
    println!(
        "list-append, PostgreSQL, serializable: {committed} committed, {aborted} aborted, {} anomalies",
        found.len()
    );
    assert_eq!(found, []);
    assert_eq!(committed, 400);
    assert!(aborted > 20, "only {aborted} conflicts: the history proves little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_append_at_read_committed_is_caught_by_the_checker() {
    let (_server, db) = postgres(8).await;
    let (found, ..) = Arc::new(Lists::new(db, ReadCommitted).await).run(8, 50).await;
    assert!(!found.is_empty(), "the same load must show anomalies where the level permits them, or it shows nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_append_on_sqlite_has_no_cycle() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", folder.path().join("lists.db").display()));
    options.max_connections(4);
    let db = Db::connect(options).await.expect("sessions");
    db.connection().execute_unprepared(note::SQLITE).await.expect("tables");
    let (found, committed, aborted) = Arc::new(Lists::new(db, Serializable).await).run(4, 50).await;
    println!("list-append, SQLite: {committed} committed, {aborted} aborted, {} anomalies", found.len());
    assert_eq!(found, []);
    assert_eq!(committed, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_append_on_mariadb_has_no_cycle() {
    let database = mariadb::fresh_database().await.expect("a database");
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(8);
    let db = Db::connect(options).await.expect("sessions");
    db.connection().execute_unprepared(note::MARIADB).await.expect("tables");
    let (found, committed, aborted) = Arc::new(Lists::new(db, Serializable).await).run(8, 50).await;
    println!("list-append, MariaDB, serializable: {committed} committed, {aborted} aborted, {} anomalies", found.len());
    assert_eq!(found, []);
    assert_eq!(committed, 400);
    assert!(aborted > 20, "only {aborted} conflicts: the history proves little");
}

const WORKERS: u64 = 8;
const TRANSFERS: u64 = 250;
const ACCOUNTS: i64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_at_serializable_keep_the_sum() {
    let (server, db) = postgres(WORKERS as u32).await;
    let accounts = "INSERT INTO note (id, title, rank) SELECT id, 'account', 1000 FROM generate_series(1, 10) AS id";
    sqlx::raw_sql(accounts).execute(&server.pool).await.expect("accounts");
    let start = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let db = db.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(worker);
            let mut retries = 0;
            for _ in 0..TRANSFERS {
                let from = random.i64(1..=ACCOUNTS);
                let to = (from + random.i64(1..ACCOUNTS) - 1) % ACCOUNTS + 1;
                let amount = random.i32(1..50);
                let unit = db.session().isolation(Serializable).retry(Retry::times(1_000));
                let numbers = unit.clone();
                let moved = unit.run(async |s| -> Result<(), Error> {
                    let source = s.get::<note::Entity>(from).await?.expect("an account");
                    let target = s.get::<note::Entity>(to).await?.expect("an account");
                    source.set_rank(source.rank().map(|balance| balance - amount));
                    target.set_rank(target.rank().map(|balance| balance + amount));
                    Ok(())
                });
                moved.await.expect("a transfer");
                retries += numbers.stats().retries;
            }
            retries
        });
    }
    let mut retries = 0;
    while let Some(task) = tasks.join_next().await {
        retries += task.expect("a worker");
    }
    let sum: i64 = sqlx::query_scalar("SELECT sum(rank) FROM note").fetch_one(&server.pool).await.expect("a sum");
    println!(
        "transfers: {} units by {WORKERS} workers in {:.2} s, {retries} retries, sum {sum}",
        WORKERS * TRANSFERS,
        start.elapsed().as_secs_f64()
    );
    assert_eq!(sum, 10_000);
    assert!(retries > 0, "without a conflict the sum proves nothing");
}
