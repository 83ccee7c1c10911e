//! A fault at every protocol message of a unit, in both directions, COMMIT's answer included (R3, R7, R9, C1): the session
//! runs the unit again where it may, the caller replays it where it cannot know, and the ledger has it exactly once.
//!
//! Each case is one fault at one message, with a unit, a row to change and a pool of its own, so that many run side by side.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectOptions, EntityTrait, PaginatorTrait, QueryFilter,
    sqlx::{
        self,
        postgres::{PgPool, PgPoolOptions},
    },
};
use sea_session::{Error, Session, prelude::*};
use tokio::{sync::Mutex, task::JoinSet};

use crate::fault_proxy::{Cut, Direction, Fault, Kind, Proxy, Rule, Seen, Struck};
use crate::support_proof::{
    Server,
    note::{self, remark},
};

/// How long after a fault a caller drops a unit that nobody answers.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long one message is held up.
const DELAY: Duration = Duration::from_millis(10);
/// How many cases run side by side: most of them wait.
const AT_ONCE: usize = 16;
/// The messages of a unit, on a new connection and on a used one, so that the sweep cannot go empty.
const LEAST_MESSAGES: usize = 140;

/// On which connection the unit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// One that the pool has to make first, so that the log-in and the preparing of statements are among the messages.
    New,
    /// One that has run such a unit before.
    Used,
}

/// What the caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Committed,
    /// An error that says that nothing of the unit is there.
    NotCommitted,
    Unknown,
    /// Nothing within its patience: it dropped the unit.
    Nothing,
}

/// What is stored of a unit: how often its row was raised, its entries in the ledger, and its remarks.
type Stored = (i32, i64, i64);
const NONE: Stored = (0, 0, 0);
const ONCE: Stored = (1, 1, 1);

/// A unit with all that a unit may have: a locking read, a plain one, a change, two inserts with generated keys, a nested
/// block. Said again, it finds its entry in the ledger and does nothing.
async fn unit(s: &mut Session, account: i64) -> Result<(), Error> {
    let entry = format!("unit {account}");
    let row = note::Entity::find_by_id(account).for_update().load_one(s).await?;
    let row = row.ok_or_else(|| Error::Usage("the account is not there".into()))?;
    if note::Entity::find().filter(note::Column::Title.eq(&entry)).count(s).await? > 0 {
        return Ok(());
    }
    row.set_rank(row.rank().map(|rank| rank + 1));
    s.add(note::ActiveModel { title: Set(entry.clone()), ..Default::default() });
    s.atomic(async |s: &mut Session| -> Result<(), Error> {
        s.add(remark::ActiveModel { note_id: Set(account), text: Set(entry), ..Default::default() });
        s.flush().await
    })
    .await
}

/// A pool of one through a proxy of its own.
struct Rig {
    proxy: Proxy,
    db: Db,
    account: i64,
}

impl Rig {
    async fn new(server: &Server, account: i64, on: On) -> Self {
        let proxy = server.proxy().await;
        let url = format!("{}&application_name={}", proxy.url(&server.user, &server.database), name(account));
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).test_before_acquire(false).connect_lazy(true);
        let db = Db::connect(options).await.expect("sessions");
        let rig = Self { proxy, db, account };
        if on == On::Used {
            let other = account + 1;
            rig.db.run(async |s: &mut Session| unit(s, other).await).await.expect("a unit before the one that counts");
            // The pool asks a connection that comes back whether it lives; that is not the unit's.
            while rig.db.connection().get_postgres_connection_pool().num_idle() == 0 {
                tokio::task::yield_now().await;
            }
        }
        rig
    }

    /// Runs the unit under retry until the caller gives up; what was said of it, and how often it was run again.
    async fn run(&self, given_up: impl Future<Output = ()>) -> (Told, u64, String) {
        let retry = Retry::times(3).backoff(Duration::from_micros(100), Duration::from_millis(2));
        let options = self.db.session().retry(retry);
        let numbers = options.clone();
        let account = self.account;
        let outcome = tokio::select! {
            outcome = options.run(async |s: &mut Session| unit(s, account).await) => Some(outcome),
            () = given_up => None,
        };
        let said = format!("{outcome:?}");
        let told = match outcome {
            Some(Ok(())) => Told::Committed,
            Some(Err(Error::CommitUnknown { .. })) => Told::Unknown,
            Some(Err(_)) => Told::NotCommitted,
            None => Told::Nothing,
        };
        (told, numbers.stats().retries, said)
    }
}

/// A caller who waits longer than anything takes here.
fn in_the_end() -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_secs(20))
}

/// A caller who drops its unit when it has heard nothing for long enough since the fault.
async fn impatient(struck: &Struck) {
    struck.once().await;
    tokio::time::sleep(PATIENCE).await;
}

/// What the connections of a case call themselves.
fn name(account: i64) -> String {
    format!("case{account}")
}

/// Ends the connections of a case whose network is silent, as the server's keepalive would in the end: until then they
/// hold their locks, and nobody can tell.
async fn end_silent(pool: &PgPool, account: i64) {
    let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1";
    sqlx::query(sql).bind(name(account)).execute(pool).await.unwrap();
}

/// What is stored of the unit, once no transaction holds its row: what a broken connection had sent last may still be on
/// its way.
async fn stored(pool: &PgPool, account: i64) -> Stored {
    sqlx::query("SELECT FROM note WHERE id = $1 FOR UPDATE").bind(account).execute(pool).await.unwrap();
    let sql = "SELECT rank, (SELECT count(*) FROM note WHERE title = 'unit ' || $1), \
               (SELECT count(*) FROM remark WHERE note_id = $1) FROM note WHERE id = $1";
    sqlx::query_as(sql).bind(account).fetch_one(pool).await.unwrap()
}

/// How many messages one unit is that nothing happens to.
async fn messages_of(server: &Server, account: i64, on: On) -> usize {
    let rig = Rig::new(server, account, on).await;
    rig.proxy.record();
    assert_eq!(rig.run(in_the_end()).await.0, Told::Committed);
    // The startup has no type, and a rule for any message leaves it out.
    let seen: Vec<Seen> = rig.proxy.recorded().into_iter().filter(|one| matches!(one.kind, Kind::Typed(_))).collect();
    let commit = seen.iter().position(|one| one.direction == Direction::ToServer && one.text == "COMMIT");
    let commit = commit.expect("COMMIT is a message of its own");
    let ready = seen[commit..].iter().position(|one| one.kind == Kind::Typed(b'Z')).expect("ready for the next unit");
    commit + ready + 1
}

/// What was found, over all cases.
#[derive(Debug, Default)]
struct Ledger {
    cases: usize,
    retried: u64,
    told: [usize; 4],
    replayed: usize,
    lost: usize,
    doubled: usize,
    torn: usize,
    untrue: Vec<String>,
}

/// One fault at one message of one unit.
struct Case {
    on: On,
    /// Counted from 0.
    message: usize,
    fault: Fault,
    account: i64,
}

/// What came of it.
struct Outcome {
    told: Told,
    retries: u64,
    /// After the unit, and after the caller's replay.
    stored: [Stored; 2],
    /// What is not as it was told, or should not have been needed.
    untrue: Vec<String>,
}

impl Case {
    /// Whether a unit that meets this fault can go on by itself: the session sees the connection break, or sees nothing.
    fn heals(&self) -> bool {
        !matches!(self.fault, Fault::Swallow | Fault::Stall)
    }

    /// Runs the unit into the fault, looks at what is stored, and has the caller replay what was not acknowledged.
    async fn run(&self, server: &Server, pool: &PgPool) -> Outcome {
        let rig = Rig::new(server, self.account, self.on).await;
        let struck = rig.proxy.inject(Rule::any(self.fault.clone()).nth(self.message + 1));
        let commit = rig.proxy.inject(Rule::client(b'Q', Fault::Pass).text("commit"));
        let (told, retries, said) = match self.heals() {
            true => rig.run(in_the_end()).await,
            false => rig.run(impatient(&struck)).await,
        };
        let mut untrue = Vec::new();
        if struck.times() != 1 {
            untrue.push("the fault did not strike".to_owned());
        }
        if matches!(self.fault, Fault::Stall) {
            end_silent(pool, self.account).await;
        }
        let first = stored(pool, self.account).await;
        rig.proxy.clear();
        let expected: &[Stored] = match told {
            Told::Committed => &[ONCE],
            Told::NotCommitted => &[NONE],
            // COMMIT was not forwarded: nobody can have carried it out.
            Told::Nothing if commit.times() == 0 => &[NONE],
            Told::Nothing | Told::Unknown => &[NONE, ONCE],
        };
        if !expected.contains(&first) {
            untrue.push(format!("stored is {first:?}, told was: {said}"));
        }
        if self.heals() && told != Told::Committed {
            untrue.push(format!("the session could have found out: {said}"));
        }
        if matches!(self.fault, Fault::Delay(_)) && retries > 0 {
            untrue.push(format!("run again although nothing was lost: {retries} times"));
        }
        let again = match told {
            Told::Committed => Told::Committed,
            _ => rig.run(in_the_end()).await.0,
        };
        if again != Told::Committed {
            untrue.push("the replay failed: the pool has not recovered".to_owned());
        }
        Outcome { told, retries, stored: [first, stored(pool, self.account).await], untrue }
    }
}

impl Ledger {
    fn enter(&mut self, case: &Case, outcome: Outcome) {
        let Outcome { told, retries, stored, untrue } = outcome;
        self.cases += 1;
        self.retried += retries;
        self.told[told as usize] += 1;
        self.replayed += usize::from(told != Told::Committed);
        self.torn += usize::from(stored.iter().any(|one| ![NONE, ONCE].contains(one)));
        self.lost += usize::from(stored[1] == NONE);
        self.doubled += usize::from(stored[1].0 > 1 || stored[1].1 > 1 || stored[1].2 > 1);
        let place = format!("{:?} connection, message {}, {:?}", case.on, case.message, case.fault);
        self.untrue.extend(untrue.into_iter().map(|what| format!("{place}: {what}")));
    }
}

fn faults() -> [Fault; 5] {
    [Fault::CutBefore(Cut::Reset), Fault::CutAfter(Cut::Finish), Fault::Delay(DELAY), Fault::Swallow, Fault::Stall]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_fault_at_any_message_of_a_unit_leaves_it_exactly_once() {
    let server = Arc::new(Server::new().await);
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.unwrap();
    let accounts = "INSERT INTO note (id, title, rank) OVERRIDING SYSTEM VALUE SELECT id, 'account', 0 FROM generate_series(1, 10000) id;
        SELECT setval(pg_get_serial_sequence('note', 'id'), 10001)";
    sqlx::raw_sql(accounts).execute(&server.pool).await.unwrap();
    // Each case has one account to run its unit on, and one before it.
    let mut accounts = (1_i64..).step_by(2);
    let (mut messages, mut cases) = (0, Vec::new());
    for on in [On::New, On::Used] {
        let of_one = messages_of(&server, accounts.next().unwrap(), on).await;
        messages += of_one;
        for (message, fault) in (0..of_one).flat_map(|message| faults().map(|fault| (message, fault))) {
            cases.push(Case { on, message, fault, account: accounts.next().unwrap() });
        }
    }
    let pool = PgPoolOptions::new().max_connections(AT_ONCE as u32).connect(&server.url()).await.unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let cases = Arc::new(Mutex::new(cases));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (server, pool, ledger, cases) = (server.clone(), pool.clone(), ledger.clone(), cases.clone());
        workers.spawn(async move {
            while let Some(case) = { cases.lock().await.pop() } {
                let outcome = case.run(&server, &pool).await;
                ledger.lock().await.enter(&case, outcome);
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("a worker");
    }
    let ledger = ledger.lock().await;
    let [committed, not_committed, unknown, nothing] = ledger.told;
    println!(
        "fault replay: {messages} messages x {} faults, {} units; {} retries; told committed {committed}, told not \
         committed {not_committed}, told unknown {unknown}, told nothing {nothing}; {} replayed by their caller; \
         {} doubled, {} lost, {} torn, {} told wrongly",
        faults().len(),
        ledger.cases,
        ledger.retried,
        ledger.replayed,
        ledger.doubled,
        ledger.lost,
        ledger.torn,
        ledger.untrue.len(),
    );
    assert!(ledger.untrue.is_empty(), "{}", ledger.untrue.join("\n"));
    assert_eq!((ledger.doubled, ledger.lost, ledger.torn), (0, 0, 0));
    assert!(messages >= LEAST_MESSAGES, "only {messages} messages");
    assert_eq!(ledger.cases, messages * faults().len());
    assert!(ledger.retried > 0 && ledger.replayed > 0, "the faults strike");
}
