//! Random cuts around COMMIT, through the fault proxy (R7, R9): every unit is applied exactly once, or its error says that
//! it was not, or that it cannot be known. The ledger is printed.
//!
//! 500 cuts by default; `COMMIT_CUTS=10000` asks for more.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectOptions, sqlx};
use sea_session::Error;
use sea_session::prelude::*;

use crate::fault_proxy::{Cut, Fault, Rule};
use crate::support_proof::{Server, note};

/// What the client was told of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Told {
    Committed,
    NotCommitted,
    Unknown,
}

/// One fault at a random place: half of them at COMMIT and its answer, half at any message of a unit.
fn random_rule(random: &mut fastrand::Rng) -> Rule {
    let cut = if random.bool() { Cut::Reset } else { Cut::Finish };
    let fault = if random.bool() { Fault::CutBefore(cut) } else { Fault::CutAfter(cut) };
    match random.u8(0..8) {
        0 | 1 => Rule::client(b'Q', fault).text("commit"),
        2 => Rule::server(b'C', fault).text("commit"),
        3 => Rule::server(b'Z', fault).text("I").nth(random.usize(1..3)),
        _ => Rule::any(fault).nth(random.usize(1..60)),
    }
}

struct Ledger {
    told: HashMap<String, Told>,
    struck: usize,
    retries: u64,
}

async fn cut_around_commit(retry: Retry, cuts: usize, seed: u64) -> (Server, Ledger) {
    let server = Server::new().await;
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    let proxy = server.proxy().await;
    let mut options = ConnectOptions::new(proxy.url(&server.user, &server.database));
    options.max_connections(1).test_before_acquire(false);
    let db = Db::connect(options).await.expect("sessions");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ledger = Ledger { told: HashMap::new(), struck: 0, retries: 0 };
    let mut unit = 0;
    while ledger.struck < cuts {
        unit += 1;
        assert!(unit < 40 * cuts, "the faults no longer strike");
        let title = format!("unit {unit}");
        let struck = proxy.inject(random_rule(&mut random));
        let options = db.session().retry(retry.clone());
        let numbers = options.clone();
        let outcome = options
            .run(async |s| -> Result<(), Error> {
                for part in ["a", "b"] {
                    s.add(note::ActiveModel { title: Set(format!("{title} {part}")), ..Default::default() });
                }
                s.flush().await
            })
            .await;
        ledger.struck += struck.times();
        ledger.retries += numbers.stats().retries;
        proxy.clear();
        let told = match outcome {
            Ok(()) => Told::Committed,
            Err(Error::CommitUnknown { .. }) => Told::Unknown,
            Err(_) => Told::NotCommitted,
        };
        ledger.told.insert(title, told);
    }
    db.close().await.expect("the pool closes");
    (server, ledger)
}

/// Compares what was told with what is stored; the number of units told each way.
async fn settle(server: &Server, ledger: &Ledger) -> HashMap<Told, usize> {
    // What a cut connection had sent last may still be on its way.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    for _ in 0..100 {
        if sqlx::query_scalar::<_, i64>(busy).fetch_one(&server.pool).await.expect("activity") == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT title, count(*) FROM note GROUP BY title")
        .fetch_all(&server.pool)
        .await
        .expect("the stored rows");
    let stored: HashMap<String, i64> = rows.into_iter().collect();
    let mut counted: HashMap<Told, usize> = HashMap::new();
    let (mut lost, mut doubled, mut false_alarms, mut torn) = (0, 0, 0, 0);
    for (title, told) in &ledger.told {
        *counted.entry(*told).or_default() += 1;
        let parts = ["a", "b"].map(|part| stored.get(&format!("{title} {part}")).copied().unwrap_or_default());
        torn += usize::from(parts[0] != parts[1]);
        doubled += usize::from(parts[0] > 1);
        lost += usize::from(*told == Told::Committed && parts[0] == 0);
        false_alarms += usize::from(*told == Told::NotCommitted && parts[0] > 0);
    }
    println!(
        "commit cuts: {} cuts in {} units, {} retries; told committed {}, told not committed {}, told unknown {}; \
         {lost} lost, {doubled} doubled, {torn} torn, {false_alarms} committed though told not",
        ledger.struck,
        ledger.told.len(),
        ledger.retries,
        counted.get(&Told::Committed).unwrap_or(&0),
        counted.get(&Told::NotCommitted).unwrap_or(&0),
        counted.get(&Told::Unknown).unwrap_or(&0),
    );
    assert_eq!((lost, doubled, torn, false_alarms), (0, 0, 0, 0));
    counted
}

fn cuts() -> usize {
    match std::env::var("COMMIT_CUTS") {
        Ok(cuts) => cuts.parse().expect("COMMIT_CUTS is a number"),
        Err(_) => 500,
    }
}

#[tokio::test]
async fn r9_cuts_around_commit_with_retries_apply_every_unit_exactly_once() {
    let retry = Retry::times(5).backoff(Duration::from_micros(100), Duration::from_millis(2));
    let (server, ledger) = cut_around_commit(retry, cuts(), fastrand::u64(..)).await;
    let counted = settle(&server, &ledger).await;
    assert!(ledger.retries > 0, "some cuts come before COMMIT");
    assert_eq!(counted.get(&Told::NotCommitted), None, "a unit that is known not to be committed is retried");
    assert_eq!(counted.get(&Told::Unknown), None, "the server can be asked, so nothing stays unknown");
}

#[tokio::test]
async fn r9_cuts_around_commit_without_retries_are_reported_as_they_are() {
    let (server, ledger) = cut_around_commit(Retry::none(), cuts() / 2, fastrand::u64(..)).await;
    let counted = settle(&server, &ledger).await;
    assert_eq!(ledger.retries, 0);
    assert!(counted.get(&Told::NotCommitted).is_some_and(|units| *units > 0));
    assert_eq!(counted.get(&Told::Unknown), None, "the server can be asked, so nothing stays unknown");
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
