//! Units over several databases whose connections are cut, through the fault proxy. In two phases (M2) everything is committed, or
//! nothing is, or the error says that it is not known yet and `recover` settles it; never one of each. In one phase (E2) a lost
//! answer to COMMIT is settled as that of a unit by itself is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectOptions, sqlx};
use sea_session::prelude::*;
use sea_session::{Error, Recovered, Session, Sessions, Several};

use crate::fault_proxy::{Cut, Fault, Proxy, Rule};
use crate::support_proof::{Server, note};

/// Two databases, each behind a proxy, and the unit over both.
struct Pair {
    servers: [Server; 2],
    proxies: [Proxy; 2],
    several: Several,
    databases: Vec<Db>,
}

/// How often the hooks of each database ran: after its commit, and after its rollback.
#[derive(Clone, Default)]
struct Ends(Arc<[AtomicUsize; 2]>, Arc<[AtomicUsize; 2]>);

impl Ends {
    fn seen(&self) -> [[usize; 2]; 2] {
        [&self.0, &self.1].map(|ends| [0, 1].map(|at| ends[at].load(Ordering::SeqCst)))
    }
}

impl Pair {
    async fn new() -> Self {
        let servers = [Server::new().await, Server::new().await];
        let proxies = [servers[0].proxy().await, servers[1].proxy().await];
        let mut databases = Vec::new();
        for (server, proxy) in servers.iter().zip(&proxies) {
            sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
            let mut options = ConnectOptions::new(proxy.url(&server.user, &server.database));
            options.max_connections(1).test_before_acquire(false);
            databases.push(Db::connect(options).await.expect("sessions"));
        }
        databases[0].create_commit_tokens().await.expect("the table of tokens");
        let several = Several::new("first", &databases[0]).and("second", &databases[1]).two_phase();
        Self { servers, proxies, several, databases }
    }

    /// Both in one phase; hooks that count the ends of the units on each.
    async fn write_in_one_phase(&self, title: &str, ends: &Ends) -> Result<(), Error> {
        let draft = || note::ActiveModel { title: Set(title.to_owned()), ..Default::default() };
        let hooks = |s: &mut Session, at: usize| {
            let (committed, rolled_back) = (ends.clone(), ends.clone());
            s.on_commit(async move || _ = committed.0[at].fetch_add(1, Ordering::SeqCst));
            s.on_rollback(async move || _ = rolled_back.1[at].fetch_add(1, Ordering::SeqCst));
        };
        Several::new("first", &self.databases[0])
            .and("second", &self.databases[1])
            .run(async |s: &mut Sessions| -> Result<(), Error> {
                let (first, second) = s.pair("first", "second")?;
                hooks(first, 0);
                hooks(second, 1);
                first.add(draft());
                second.add(draft());
                Ok(())
            })
            .await
    }

    async fn write(&self, title: &str) -> Result<(), Error> {
        let draft = || note::ActiveModel { title: Set(title.to_owned()), ..Default::default() };
        self.several
            .run(async |s: &mut Sessions| -> Result<(), Error> {
                s.primary().add(draft());
                s.on("second")?.add(draft());
                Ok(())
            })
            .await
    }

    /// How often a title is stored on each of the two.
    async fn stored(&self, title: &str) -> [i64; 2] {
        let mut counts = [0; 2];
        for (server, count) in self.servers.iter().zip(&mut counts) {
            let question = sqlx::query_scalar("SELECT count(*) FROM note WHERE title = $1").bind(title.to_owned());
            *count = question.fetch_one(&server.pool).await.expect("a count");
        }
        counts
    }

    fn clear(&self) {
        self.proxies.iter().for_each(Proxy::clear);
    }

    async fn recover(&self) -> Recovered {
        for _ in 0..50 {
            match self.several.recover(Duration::ZERO).await {
                Ok(recovered) => return recovered,
                // A pooled connection may have died with its fault.
                Err(e) if e.is_connection_lost() => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(e) => panic!("{e}"),
            }
        }
        panic!("the databases do not come back");
    }
}

#[tokio::test]
async fn m2_a_decision_that_never_arrived_is_sent_again() {
    let pair = Pair::new().await;
    let struck = pair.proxies[0].inject(Rule::any(Fault::CutBefore(Cut::Reset)).text("commit prepared"));
    pair.write("asked again").await.expect("all were prepared, so all can be committed");
    assert_eq!(struck.times(), 1);
    assert_eq!(pair.stored("asked again").await, [1, 1]);
    assert_eq!(pair.recover().await, Recovered::default());
}

#[tokio::test]
async fn m2_a_decision_whose_answer_was_lost_is_found_out() {
    let pair = Pair::new().await;
    let struck = pair.proxies[0].inject(Rule::server(b'C', Fault::CutBefore(Cut::Finish)).text("commit prepared"));
    pair.write("found out").await.expect("the primary has committed, and so do the others");
    assert_eq!(struck.times(), 1);
    assert_eq!(pair.stored("found out").await, [1, 1]);
    assert_eq!(pair.recover().await, Recovered::default());
}

#[tokio::test]
async fn m2_no_other_database_commits_before_the_primary_has_decided() {
    let pair = Pair::new().await;
    // The primary is gone for good, as far as the unit can see.
    pair.proxies[0].inject(Rule::any(Fault::CutBefore(Cut::Reset)).text("commit prepared").times(usize::MAX));
    let outcome = pair.write("undecided").await;
    assert!(matches!(outcome, Err(Error::CommitUnknown { .. })), "{outcome:?}");
    assert_eq!(pair.stored("undecided").await, [0, 0]);
    pair.clear();
    let recovered = pair.recover().await;
    assert_eq!((recovered.committed.len(), recovered.rolled_back.len()), (0, 2), "{recovered:?}");
    assert_eq!(pair.stored("undecided").await, [0, 0]);
}

#[tokio::test]
async fn m2_a_decision_that_recovery_took_away_rolls_the_others_back() {
    let pair = Pair::new().await;
    let stalled = pair.proxies[0].inject(Rule::any(Fault::Delay(Duration::from_millis(300))).text("commit prepared"));
    let (outcome, recovered) = tokio::join!(pair.write("taken away"), async {
        stalled.once().await;
        // Somebody else's recovery, without patience: it reaches the servers by another way.
        let [first, second] = [pair.servers[0].db(1).await, pair.servers[1].db(1).await];
        Several::new("first", &first).and("second", &second).two_phase().recover(Duration::ZERO).await
    });
    assert_eq!(recovered.expect("recovery").rolled_back.len(), 2);
    assert!(outcome.is_err(), "nothing is committed, and the unit says so");
    assert_eq!(pair.stored("taken away").await, [0, 0]);
    assert_eq!(pair.recover().await, Recovered::default());
}

#[tokio::test]
async fn m2_random_cuts_leave_all_or_nothing() {
    let pair = Pair::new().await;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut struck, mut unknown, mut refused) = (0, 0, 0);
    for unit in 0..60 {
        let title = format!("unit {unit}");
        let cut = if random.bool() { Cut::Reset } else { Cut::Finish };
        let fault = if random.bool() { Fault::CutBefore(cut) } else { Fault::CutAfter(cut) };
        let rule = match random.u8(0..4) {
            0 => Rule::any(fault).text("prepare transaction"),
            1 => Rule::any(fault).text("commit prepared").nth(random.usize(1..3)),
            _ => Rule::any(fault).nth(random.usize(1..50)),
        };
        let rule = pair.proxies[random.usize(0..2)].inject(rule);
        let outcome = pair.write(&title).await;
        struck += rule.times();
        pair.clear();
        pair.recover().await;
        let stored = pair.stored(&title).await;
        assert_eq!(stored[0], stored[1], "seed {seed}, {title}: {outcome:?}");
        match outcome {
            Ok(()) => assert_eq!(stored, [1, 1], "seed {seed}, {title}: acknowledged"),
            Err(Error::CommitUnknown { .. } | Error::PartialCommit { .. }) => unknown += 1,
            Err(e) => {
                refused += 1;
                assert_eq!(stored, [0, 0], "seed {seed}, {title}: {e}");
            }
        }
    }
    println!("two-phase cuts: {struck} of 60 units cut, {refused} refused, {unknown} left to recovery; 0 torn");
    assert!(struck > 20, "only {struck} cuts struck");
}

/// The answer to COMMIT, which the server has carried out, never comes.
fn lost_answer() -> Rule {
    Rule::server(b'C', Fault::CutBefore(Cut::Finish)).text("commit")
}

/// COMMIT never reaches the server.
fn lost_commit() -> Rule {
    Rule::any(Fault::CutBefore(Cut::Reset)).text("commit")
}

fn names(outcome: Result<(), Error>) -> [Vec<String>; 3] {
    match outcome {
        Err(Error::PartialCommit { committed, failed, unknown, .. }) => {
            [committed, failed, unknown].map(|names| names.to_vec())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn e2_a_lost_answer_of_the_primary_is_settled() {
    let (pair, ends) = (Pair::new().await, Ends::default());
    let struck = pair.proxies[0].inject(lost_answer());
    pair.write_in_one_phase("settled", &ends).await.expect("the primary has committed, and so do the others");
    assert_eq!((struck.times(), pair.stored("settled").await), (1, [1, 1]));
    assert_eq!(ends.seen(), [[1, 1], [0, 0]]);
}

#[tokio::test]
async fn e2_a_lost_answer_of_another_is_settled() {
    let (pair, ends) = (Pair::new().await, Ends::default());
    let struck = pair.proxies[1].inject(lost_answer());
    pair.write_in_one_phase("settled", &ends).await.expect("both have committed");
    assert_eq!((struck.times(), pair.stored("settled").await), (1, [1, 1]));
    assert_eq!(ends.seen(), [[1, 1], [0, 0]]);
}

#[tokio::test]
async fn e2_both_answers_may_be_lost() {
    let (pair, ends) = (Pair::new().await, Ends::default());
    let struck = [pair.proxies[0].inject(lost_answer()), pair.proxies[1].inject(lost_answer())];
    pair.write_in_one_phase("settled", &ends).await.expect("both have committed");
    assert_eq!((struck.map(|rule| rule.times()), pair.stored("settled").await), ([1, 1], [1, 1]));
    assert_eq!(ends.seen(), [[1, 1], [0, 0]]);
}

#[tokio::test]
async fn e2_a_commit_of_the_primary_that_never_arrived_rolls_all_back() {
    let (pair, ends) = (Pair::new().await, Ends::default());
    let struck = pair.proxies[0].inject(lost_commit());
    let outcome = pair.write_in_one_phase("lost", &ends).await;
    assert!(outcome.as_ref().is_err_and(Error::is_connection_lost), "{outcome:?}");
    assert_eq!((struck.times(), pair.stored("lost").await), (1, [0, 0]));
    assert_eq!(ends.seen(), [[0, 0], [1, 1]]);
}

#[tokio::test]
async fn e2_a_commit_of_another_that_never_arrived_is_named_as_failed() {
    let (pair, ends) = (Pair::new().await, Ends::default());
    let struck = pair.proxies[1].inject(lost_commit());
    let outcome = pair.write_in_one_phase("lost", &ends).await;
    assert_eq!(names(outcome), [vec!["first".to_owned()], vec!["second".to_owned()], vec![]]);
    assert_eq!((struck.times(), pair.stored("lost").await), (1, [1, 0]));
    assert_eq!(ends.seen(), [[1, 0], [0, 1]]);
}

#[tokio::test]
async fn e2_what_cannot_be_found_out_is_named_as_unknown() {
    let (pair, ends) = (Pair::new().await, Ends::default());
    // Its answer is lost, and nobody reaches it any more.
    pair.proxies[1].inject(lost_answer());
    pair.proxies[1].inject(Rule::any(Fault::CutBefore(Cut::Reset)).text("pg_xact_status").times(usize::MAX));
    let outcome = pair.write_in_one_phase("unknown", &ends).await;
    let text = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("committed on [first], not on [], not known of [second]"), "{text}");
    assert_eq!(names(outcome), [vec!["first".to_owned()], vec![], vec!["second".to_owned()]]);
    assert_eq!(pair.stored("unknown").await, [1, 1]);
    assert_eq!(ends.seen(), [[1, 0], [0, 0]], "of an unknown end no hook runs");

    pair.clear();
    let ends = Ends::default();
    pair.proxies[0].inject(lost_answer());
    pair.proxies[0].inject(Rule::any(Fault::CutBefore(Cut::Reset)).text("pg_xact_status").times(usize::MAX));
    let outcome = pair.write_in_one_phase("undecided", &ends).await;
    assert_eq!(names(outcome), [vec![], vec!["second".to_owned()], vec!["first".to_owned()]]);
    assert_eq!(pair.stored("undecided").await, [1, 0]);
    assert_eq!(ends.seen(), [[0, 0], [0, 1]]);
}

#[tokio::test]
async fn e2_a_prepared_transaction_that_cannot_be_reached_is_named_as_unknown() {
    let pair = Pair::new().await;
    pair.proxies[1].inject(Rule::any(Fault::CutBefore(Cut::Reset)).text("commit prepared").times(usize::MAX));
    let outcome = pair.write("later").await;
    assert_eq!(names(outcome), [vec!["first".to_owned()], vec![], vec!["second".to_owned()]]);
    pair.clear();
    assert_eq!(pair.recover().await.committed.len(), 1);
    assert_eq!(pair.stored("later").await, [1, 1]);
}
