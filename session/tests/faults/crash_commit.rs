//! Random cuts around COMMIT, through a proxy (R7, R9): every unit is applied exactly once, or its error says that it was not, or
//! that it cannot be known. The ledger is printed.
//!
//! 500 cuts by default; `COMMIT_CUTS=10000` asks for more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectOptions, ConnectionTrait, sqlx};
use sea_session::prelude::*;
use sea_session::testing::cluster::mariadb::{self, MariaDbDatabase};
use sea_session::{Error, UnitOptions};

use crate::fault_proxy::{Cut, Fault, Proxy, Rule, Struck};
use crate::mysql_cuts::{self, At, CuttingProxy};
use crate::support_load::Ledger;
use crate::support_proof::{Server, note};

/// A database behind a proxy that cuts.
trait Behind {
    /// Has the next unit meet a fault at a random place, half of them at COMMIT.
    fn inject(&mut self, random: &mut fastrand::Rng);

    /// Takes the fault back, if it has not struck. How often it has.
    fn rest(&mut self) -> usize;

    fn db(&self) -> &Db;

    fn unit(&self) -> UnitOptions {
        self.db().session()
    }

    /// How often each title is stored, once what a cut connection had sent last is over.
    async fn stored(&self) -> HashMap<String, i64>;
}

struct OnPostgres {
    server: Server,
    proxy: Proxy,
    db: Db,
    struck: Option<Arc<Struck>>,
}

impl OnPostgres {
    async fn new() -> Self {
        let server = Server::new().await;
        sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
        let proxy = server.proxy().await;
        let db = Db::connect(one(&proxy.url(&server.user, &server.database))).await.expect("sessions");
        Self { server, proxy, db, struck: None }
    }
}

impl Behind for OnPostgres {
    fn inject(&mut self, random: &mut fastrand::Rng) {
        let cut = if random.bool() { Cut::Reset } else { Cut::Finish };
        let fault = if random.bool() { Fault::CutBefore(cut) } else { Fault::CutAfter(cut) };
        let rule = match random.u8(0..8) {
            0 | 1 => Rule::client(b'Q', fault).text("commit"),
            2 => Rule::server(b'C', fault).text("commit"),
            3 => Rule::server(b'Z', fault).text("I").nth(random.usize(1..3)),
            _ => Rule::any(fault).nth(random.usize(1..60)),
        };
        self.struck = Some(self.proxy.inject(rule));
    }

    fn rest(&mut self) -> usize {
        self.proxy.clear();
        self.struck.take().map_or(0, |struck| struck.times())
    }

    fn db(&self) -> &Db {
        &self.db
    }

    async fn stored(&self) -> HashMap<String, i64> {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
        for _ in 0..100 {
            if sqlx::query_scalar::<_, i64>(busy).fetch_one(&self.server.pool).await.expect("activity") == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rows: Vec<(String, i64)> =
            sqlx::query_as(TITLES).fetch_all(&self.server.pool).await.expect("the stored rows");
        rows.into_iter().collect()
    }
}

/// What became of a COMMIT is known by its token there.
struct OnMariaDb {
    database: MariaDbDatabase,
    proxy: CuttingProxy,
    db: Db,
}

impl OnMariaDb {
    async fn new() -> Self {
        let database = mariadb::fresh_database().await.expect("a database");
        let proxy = CuttingProxy::new(database.socket().expect("a server of the tests' own").clone()).await;
        let db = Db::connect(one(&database.url_through(proxy.address()))).await.expect("sessions");
        db.connection().execute_unprepared(note::MARIADB).await.expect("tables");
        db.create_commit_tokens().await.expect("the table of tokens");
        Self { database, proxy, db }
    }
}

impl Behind for OnMariaDb {
    fn inject(&mut self, random: &mut fastrand::Rng) {
        let at = [At::Before, At::Sent, At::Answered][random.usize(0..3)];
        let cut = match random.bool() {
            true => mysql_cuts::Cut { at, after: 0, text: "COMMIT" },
            false => mysql_cuts::Cut { at, after: random.usize(0..12), text: "" },
        };
        self.proxy.plan(cut);
    }

    fn rest(&mut self) -> usize {
        self.proxy.rest()
    }

    fn db(&self) -> &Db {
        &self.db
    }

    fn unit(&self) -> UnitOptions {
        self.db.session().settle_by_token()
    }

    async fn stored(&self) -> HashMap<String, i64> {
        let pool = sqlx::MySqlPool::connect(&self.database.url()).await.expect("a connection");
        let others =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
        for _ in 0..100 {
            if sqlx::query_scalar::<_, i64>(others).fetch_one(&pool).await.expect("activity") == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rows: Vec<(String, i64)> = sqlx::query_as(TITLES).fetch_all(&pool).await.expect("the stored rows");
        pool.close().await;
        rows.into_iter().collect()
    }
}

const TITLES: &str = "SELECT title, count(*) FROM note GROUP BY title";

fn one(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).test_before_acquire(false);
    options
}

/// Units one after the other, until so many cuts have struck.
async fn cut_around_commit(behind: &mut impl Behind, retry: Retry, cuts: usize) -> Ledger {
    let mut random = fastrand::Rng::new();
    let (mut ledger, mut struck, mut unit) = (Ledger::default(), 0, 0);
    while struck < cuts {
        unit += 1;
        assert!(unit < 40 * cuts, "the faults no longer strike");
        let title = format!("unit {unit}");
        behind.inject(&mut random);
        let options = behind.unit().retry(retry.clone());
        let numbers = options.clone();
        let outcome = options
            .run(async |s| -> Result<(), Error> {
                for part in ["a", "b"] {
                    s.add(note::ActiveModel { title: Set(format!("{title} {part}")), ..Default::default() });
                }
                s.flush().await
            })
            .await;
        struck += behind.rest();
        ledger.retries += numbers.stats().retries;
        ledger.note(title, outcome);
    }
    behind.db().close().await.expect("the pool closes");
    ledger.settle(&format!("{struck} cuts around COMMIT"), &behind.stored().await);
    assert!(ledger.unknown.is_empty(), "the server can be asked, so nothing stays unknown: {:?}", ledger.unknown);
    ledger
}

fn cuts() -> usize {
    match std::env::var("COMMIT_CUTS") {
        Ok(cuts) => cuts.parse().expect("COMMIT_CUTS is a number"),
        Err(_) => 500,
    }
}

async fn with_retries(behind: &mut impl Behind) {
    let retry = Retry::times(5).backoff(Duration::from_micros(100), Duration::from_millis(2));
    let ledger = cut_around_commit(behind, retry, cuts()).await;
    assert!(ledger.retries > 0, "some cuts come before COMMIT");
    let not_committed = ledger.not_committed;
    assert!(not_committed.is_empty(), "a unit that is known not to be committed is retried: {not_committed:?}");
}

async fn without_retries(behind: &mut impl Behind) {
    let ledger = cut_around_commit(behind, Retry::none(), cuts() / 2).await;
    assert_eq!(ledger.retries, 0);
    assert!(!ledger.not_committed.is_empty(), "some cuts come before COMMIT");
}

#[tokio::test]
async fn r9_cuts_around_commit_with_retries_apply_every_unit_exactly_once() {
    with_retries(&mut OnPostgres::new().await).await;
}

#[tokio::test]
async fn r9_cuts_around_commit_with_retries_apply_every_unit_exactly_once_on_mariadb() {
    with_retries(&mut OnMariaDb::new().await).await;
}

#[tokio::test]
async fn r9_cuts_around_commit_without_retries_are_reported_as_they_are() {
    without_retries(&mut OnPostgres::new().await).await;
}

#[tokio::test]
async fn r9_cuts_around_commit_without_retries_are_reported_as_they_are_on_mariadb() {
    without_retries(&mut OnMariaDb::new().await).await;
}

/// What the session must not be taken for granted to do: plain SeaORM, cut in the same ways, cannot tell.
#[tokio::test]
async fn r9_plain_sea_orm_reports_committed_units_as_failed() {
    use sea_orm::{EntityTrait, TransactionTrait};
    let server = Server::new().await;
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    let proxy = server.proxy().await;
    let plain = crate::support_proof::sea_orm(&proxy.url(&server.user, &server.database), 1).await;
    let tx = plain.begin().await.expect("begin");
    let row = note::ActiveModel { title: Set("told failed".into()), ..Default::default() };
    note::Entity::insert(row).exec(&tx).await.expect("insert");
    proxy.inject(Rule::server(b'C', Fault::CutBefore(Cut::Reset)).text("commit"));
    tx.commit().await.expect_err("the answer is lost");
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(&server.pool).await.expect("a count");
    assert_eq!(stored, 1, "plain: an error, and the row is there; a blind retry would double it");
}
