//! Units on all nodes that change the same rows meet at COMMIT: one of them wins, the other is told, and runs again.
//!
//! How many a second there are, beside loops by hand: `cargo test -p sea-session --test galera -- transfers:: --nocapture`.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use sea_orm::{
    DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, QuerySelect, RuntimeErr, Set, TransactionTrait,
    sqlx::{self, Executor},
};
use sea_session::{Error, prelude::*};

use crate::tables::*;

const ACCOUNTS: i64 = 10;
const TRANSFERS: usize = 2_000;
const WRITERS: usize = 8;
const EACH: i64 = 1_000;
/// The first accounts of the loops by hand, each of which has its own: what they lose is theirs.
const OF_SQLX: i64 = 100;
const OF_SEA_ORM: i64 = 200;
const OF_BLIND: i64 = 300;

/// Two accounts that differ, of those from `first` on.
fn pair(first: i64) -> (i64, i64) {
    let from = fastrand::i64(0..ACCOUNTS);
    (first + from, first + (from + fastrand::i64(1..ACCOUNTS)) % ACCOUNTS)
}

/// What the session has of it: the rows are locked, changed as objects, flushed as one statement, and run again after a conflict.
async fn by_units(db: &Db) -> Result<u64, Error> {
    let unit = db.session().retry(Retry::times(100));
    let numbers = unit.clone();
    let (from, to) = pair(0);
    unit.run(async |s: &mut Session| -> Result<(), Error> {
        let accounts = account::Entity::find().filter_by([from, to]).load(s).await?;
        for account in accounts {
            let change = if account.id() == from { -1 } else { 1 };
            account.set_balance(account.balance() + change);
        }
        Ok(())
    })
    .await?;
    Ok(numbers.stats().retries)
}

trait FilterBy: Sized {
    fn filter_by(self, ids: [i64; 2]) -> Self;
}

impl FilterBy for sea_orm::Select<account::Entity> {
    /// The lock is the node's own: it keeps units of one node apart, and those of others are told of at COMMIT.
    fn filter_by(self, ids: [i64; 2]) -> Self {
        use sea_orm::{ColumnTrait, QueryFilter, QueryOrder};
        self.filter(account::Column::Id.is_in(ids)).order_by_asc(account::Column::Id).lock_exclusive()
    }
}

/// The same by SeaORM's own statements: the loop that somebody writes who has no unit of work.
async fn by_hand(db: &DatabaseConnection) -> Result<u64, DbErr> {
    let (from, to) = pair(OF_SEA_ORM);
    for attempt in 0.. {
        let outcome = async {
            let tx = db.begin().await?;
            let accounts = account::Entity::find().filter_by([from, to]).all(&tx).await?;
            for row in accounts {
                let change = if row.id == from { -1 } else { 1 };
                let balance = row.balance + change;
                let mut row = row.into_active_model();
                row.balance = Set(balance);
                account::Entity::update(row).exec(&tx).await?;
            }
            tx.commit().await
        };
        match outcome.await {
            Ok(()) => return Ok(attempt),
            Err(e) if is_conflict(&e) => tokio::time::sleep(Duration::from_millis(fastrand::u64(0..5))).await,
            Err(e) => return Err(e),
        }
    }
    unreachable!("an attempt follows each other")
}

/// The least that a driver can do: rows are locked as a unit locks them, changed by one statement, and tried again as a unit is.
/// Where a node has ended a transaction and said nothing, the rest of this commits by itself.
async fn by_sqlx(pool: &sqlx::MySqlPool) -> Result<u64, sqlx::Error> {
    let (from, to) = pair(OF_BLIND);
    for attempt in 0.. {
        let outcome = async {
            let mut tx = pool.begin().await?;
            transfer(&mut tx, from, to).await?;
            tx.commit().await
        };
        match outcome.await {
            Ok(()) => return Ok(attempt),
            Err(e) if has_lost(&e) => pause(attempt).await,
            Err(e) => return Err(e),
        }
    }
    unreachable!("an attempt follows each other")
}

/// The same without a loss, in as few messages: nothing commits by itself, and COMMIT fails where the savepoint went with its
/// transaction.
async fn by_sqlx_that_can_tell(pool: &sqlx::MySqlPool) -> Result<u64, sqlx::Error> {
    let (from, to) = pair(OF_SQLX);
    for attempt in 0.. {
        let mut connection = pool.acquire().await?;
        let outcome = async {
            connection.execute("SET autocommit = 0; START TRANSACTION; SAVEPOINT whole").await?;
            transfer(&mut connection, from, to).await?;
            connection.execute("RELEASE SAVEPOINT whole; COMMIT; SET autocommit = 1").await
        };
        match outcome.await {
            Ok(_) => return Ok(attempt),
            Err(e) if has_lost(&e) => {
                // A node that ends the transaction meanwhile says so here.
                while let Err(e) = connection.execute("ROLLBACK; SET autocommit = 1").await {
                    if !is_deadlock(&e) {
                        return Err(e);
                    }
                }
                drop(connection);
                pause(attempt).await;
            }
            Err(e) => return Err(e),
        }
    }
    unreachable!("an attempt follows each other")
}

async fn transfer(connection: &mut sqlx::MySqlConnection, from: i64, to: i64) -> Result<(), sqlx::Error> {
    let locked = "SELECT id, balance FROM account WHERE id IN (?, ?) ORDER BY id FOR UPDATE";
    let rows: Vec<(i64, i64)> = sqlx::query_as(locked).bind(from).bind(to).fetch_all(&mut *connection).await?;
    // A SELECT that meets the end of its transaction may find nothing, and say nothing.
    if rows.len() < 2 {
        return Err(sqlx::Error::RowNotFound);
    }
    let changed = "UPDATE account SET balance = CASE id WHEN ? THEN ? ELSE ? END WHERE id IN (?, ?)";
    let mut update = sqlx::query(changed).bind(rows[0].0);
    for (id, balance) in &rows {
        update = update.bind(balance + if *id == from { -1 } else { 1 });
    }
    update.bind(from).bind(to).execute(connection).await.map(drop)
}

/// A unit's pauses: a random part of 5 ms, doubled each time, up to 100 ms.
async fn pause(attempt: u64) {
    let longest = Duration::from_millis(5 << attempt.min(5)).min(Duration::from_millis(100));
    tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
}

fn is_conflict(e: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(e))
    | DbErr::Query(RuntimeErr::SqlxError(e))
    | DbErr::Conn(RuntimeErr::SqlxError(e))) = e
    else {
        return false;
    };
    is_deadlock(e)
}

/// At a statement or at COMMIT.
fn is_deadlock(e: &sqlx::Error) -> bool {
    number_of(e) == Some(1213)
}

/// Whether the transaction has ended for another's sake: it says so, or its savepoint or its rows are gone.
fn has_lost(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::RowNotFound) || matches!(number_of(e), Some(1213 | 1305))
}

fn number_of(e: &sqlx::Error) -> Option<u16> {
    Some(e.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?.number())
}

/// What was carried out, how long it took, and how many attempts were in vain.
#[derive(Default)]
struct Measured {
    transfers: usize,
    took: Duration,
    retries: u64,
}

impl Measured {
    fn a_second(&self) -> f64 {
        self.transfers as f64 / self.took.as_secs_f64()
    }
}

impl AddAssign for Measured {
    fn add_assign(&mut self, more: Self) {
        self.transfers += more.transfers;
        self.took += more.took;
        self.retries += more.retries;
    }
}

/// Carries out half of the transfers by writers that are spread over the nodes.
async fn carry_out<F: Future<Output = u64>>(transfer: impl Fn(usize) -> F) -> Measured {
    let transfers = TRANSFERS / 2;
    let (left, started) = (AtomicUsize::new(transfers), Instant::now());
    let writer = |number: usize| {
        let (left, transfer) = (&left, &transfer);
        async move {
            let mut retries = 0;
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                retries += transfer(number % NODES).await;
            }
            retries
        }
    };
    let retries = futures_util::future::join_all((0..WRITERS).map(writer)).await.into_iter().sum();
    Measured { transfers, took: started.elapsed(), retries }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_transfers_on_three_nodes_keep_the_sum_and_those_that_lose_at_commit_run_again() {
    let scene = Scene::new("transfers").await;
    let mut dbs = Vec::new();
    for node in 0..NODES {
        dbs.push(scene.db(node).await);
    }
    let rows = [0, OF_SQLX, OF_SEA_ORM, OF_BLIND]
        .into_iter()
        .flat_map(|first| first..first + ACCOUNTS)
        .map(|id| account::ActiveModel { id: Set(id), balance: Set(EACH) });
    account::Entity::insert_many(rows).exec(dbs[0].connection()).await.unwrap();

    // Each in turn, twice: the machine's other work meets all of them.
    let pools: Vec<_> = dbs.iter().map(|db| db.connection().get_mysql_connection_pool()).collect();
    let (mut units, mut seaorm) = (Measured::default(), Measured::default());
    let (mut driver, mut blind) = (Measured::default(), Measured::default());
    for _ in 0..2 {
        blind += carry_out(async |node| by_sqlx(pools[node]).await.unwrap()).await;
        driver += carry_out(async |node| by_sqlx_that_can_tell(pools[node]).await.unwrap()).await;
        units += carry_out(async |node| by_units(&dbs[node]).await.unwrap()).await;
        seaorm += carry_out(async |node| by_hand(dbs[node].connection()).await.unwrap()).await;
    }
    for db in &dbs {
        let sum = number(db, "SELECT SUM(balance) FROM account WHERE id < 100").await;
        assert_eq!(sum, ACCOUNTS * EACH);
        assert_eq!(number(db, "SELECT COUNT(*) FROM account WHERE id < 100").await, ACCOUNTS);
    }
    println!("{TRANSFERS} transfers by {WRITERS} writers on {NODES} nodes, between {ACCOUNTS} accounts:");
    let all = [
        ("units", 0, &units),
        ("sqlx by hand", OF_SQLX, &driver),
        ("SeaORM by hand", OF_SEA_ORM, &seaorm),
        ("sqlx by hand that cannot tell", OF_BLIND, &blind),
    ];
    for (name, first, measured) in all {
        let held = format!("SELECT SUM(balance) FROM account WHERE id BETWEEN {first} AND {first} + {ACCOUNTS}");
        println!(
            "  {name}: {:.0} a second, {} retries; {:.2} times as many as sqlx by hand; the sum is off by {}",
            measured.a_second(),
            measured.retries,
            measured.a_second() / driver.a_second(),
            number(&dbs[0], &held).await - ACCOUNTS * EACH,
        );
    }
    assert!(units.retries > 0, "units of different nodes have met at COMMIT");
    scene.end().await;
}
