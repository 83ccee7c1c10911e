//! What blocks, units and batches make of a connection that breaks while they end, through the fault proxy (A4, A5, A6, B2,
//! B6). PostgreSQL only: SQLite's database is in the process.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set,
    ConnectOptions, ConnectionTrait, EntityTrait, PaginatorTrait,
    sqlx::{self, Row},
};
use sea_session::{Error, Fate, Session, UnitState, prelude::*};

use crate::fault_proxy::{Cut, Fault, Proxy, Rule};
use crate::support_proof::{Server, note};

/// One connection that leads through a proxy.
struct Rig {
    server: Server,
    proxy: Proxy,
    db: Db,
}

impl Rig {
    async fn new() -> Self {
        let server = Server::new().await;
        sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
        let proxy = server.proxy().await;
        let mut options = ConnectOptions::new(proxy.url(&server.user, &server.database));
        options.max_connections(1).test_before_acquire(false);
        let db = Db::connect(options).await.expect("sessions");
        Self { server, proxy, db }
    }

    /// What the server holds, asked past the proxy.
    async fn ids(&self) -> Vec<i64> {
        let rows = sqlx::query("SELECT id FROM note ORDER BY id").fetch_all(&self.server.pool).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The next unit works, on a connection of its own.
    async fn goes_on(&self, connections: usize) {
        let seen = self.db.run(async |s: &mut Session| count(s).await).await.unwrap();
        assert_eq!(seen, self.ids().await.len() as u64);
        assert_eq!(self.proxy.accepted(), connections, "the broken connection was replaced");
    }
}

async fn count(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

fn titled(id: i64) -> note::ActiveModel {
    note::ActiveModel { id: Set(id), title: Set(format!("note {id}")), ..Default::default() }
}

fn changed_my_mind() -> Error {
    Error::Usage("changed my mind".into())
}

#[tokio::test]
async fn a5_a_rollback_that_fails_after_a_failed_commit_discards_the_connection() {
    let rig = Rig::new().await;
    let tables = "CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (p int REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
    sqlx::raw_sql(tables).execute(&rig.server.pool).await.unwrap();
    let struck = rig.proxy.inject(Rule::client(b'Q', Fault::CutBefore(Cut::Reset)).text("rollback"));
    let outcome = rig
        .db
        .run(async |s: &mut Session| -> Result<(), Error> {
            s.add(titled(1));
            s.execute_unprepared("INSERT INTO c VALUES (7)").await?;
            Ok(())
        })
        .await;
    assert_eq!(struck.times(), 1, "COMMIT failed, and ROLLBACK was sent");
    assert!(outcome.as_ref().is_err_and(Error::is_foreign_key_violation), "COMMIT's own error: {outcome:?}");
    assert_eq!(rig.ids().await, Vec::<i64>::new());
    rig.goes_on(2).await;
}

#[tokio::test]
async fn a6_a_rollback_that_fails_discards_the_connection_and_the_bodys_error_wins() {
    let rig = Rig::new().await;
    rig.proxy.inject(Rule::client(b'Q', Fault::CutBefore(Cut::Finish)).text("rollback"));
    let outcome = rig
        .db
        .run(async |s: &mut Session| -> Result<(), Error> {
            s.add(titled(1));
            s.flush().await?;
            Err(changed_my_mind())
        })
        .await;
    assert!(matches!(&outcome, Err(Error::Usage(text)) if text == "changed my mind"), "{outcome:?}");
    assert_eq!(rig.ids().await, Vec::<i64>::new());
    rig.goes_on(2).await;
}

#[tokio::test]
async fn a6_a_rollback_to_that_loses_the_connection_leaves_the_bodys_error_and_ends_the_unit() {
    let rig = Rig::new().await;
    rig.proxy.inject(Rule::client(b'Q', Fault::CutAfter(Cut::Reset)).text("rollback to"));
    let outcome = rig
        .db
        .run(async |s: &mut Session| -> Result<(), Error> {
            let kept = s.add(titled(1));
            s.flush().await?;
            let inner = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    kept.set_title("changed");
                    s.flush().await?;
                    Err(changed_my_mind())
                })
                .await;
            assert!(matches!(&inner, Err(Error::Usage(text)) if text == "changed my mind"), "{inner:?}");
            assert_eq!(kept.title(), "note 1", "memory goes back all the same");
            Ok(())
        })
        .await;
    assert!(outcome.unwrap_err().is_connection_lost());
    assert_eq!(rig.ids().await, Vec::<i64>::new());
    rig.goes_on(2).await;
}

#[tokio::test]
async fn a4_a_release_that_loses_the_connection_is_said_by_what_it_rode_with_and_nothing_is_kept() {
    for fault in [Fault::CutBefore(Cut::Reset), Fault::CutAfter(Cut::Finish), Fault::Fatal("57P01")] {
        let rig = Rig::new().await;
        let struck = rig.proxy.inject(Rule::client(b'Q', fault.clone()).text("release"));
        let outcome = rig
            .db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(titled(1));
                    s.flush().await
                })
                .await?;
                assert_eq!(struck.times(), 0, "RELEASE waits for the next SAVEPOINT");
                let next = s.atomic(async |s: &mut Session| count(s).await).await;
                assert!(next.unwrap_err().is_connection_lost());
                assert_eq!(struck.times(), 1);
                Ok(())
            })
            .await;
        assert!(outcome.unwrap_err().is_connection_lost(), "{fault:?}");
        assert_eq!(rig.ids().await, Vec::<i64>::new(), "the block that was released is not kept either");
        rig.goes_on(2).await;
    }
}

/// A unit with blocks that are kept and undone and a savepoint by hand; `stubborn`: it swallows every error that it can.
async fn many_ends(s: &mut Session, stubborn: bool) -> Result<(), Error> {
    let swallow = |outcome: Result<(), Error>| if stubborn { Ok(()) } else { outcome };
    let one = s.add(titled(1));
    swallow(s.flush().await)?;
    let kept = s
        .atomic(async |s: &mut Session| -> Result<(), Error> {
            s.add(titled(2));
            swallow(s.flush().await)?;
            one.set_title("kept");
            Ok(())
        })
        .await;
    swallow(kept)?;
    let undone = s
        .atomic(async |s: &mut Session| -> Result<(), Error> {
            one.set_title("undone");
            s.add(titled(3));
            swallow(s.flush().await)?;
            let inner = s.atomic(async |s: &mut Session| count(s).await.map(drop)).await;
            swallow(inner)?;
            Err(changed_my_mind())
        })
        .await;
    match undone {
        Err(Error::Usage(_)) => {}
        other => swallow(other)?,
    }
    if let Ok(savepoint) = s.savepoint().await {
        s.add(titled(4));
        swallow(s.flush().await)?;
        swallow(s.rollback_to(savepoint).await)?;
        s.add(titled(5));
        swallow(s.release(savepoint).await)?;
    } else if !stubborn {
        return Err(changed_my_mind());
    }
    swallow(count(s).await.map(drop))
}

/// What a unit came to when its connection broke at one message.
async fn cut_at(rig: &Rig, nth: usize, fault: Fault, stubborn: bool) -> bool {
    sqlx::raw_sql("DELETE FROM note").execute(&rig.server.pool).await.unwrap();
    // A connection that is known to live, so that every run sends the same.
    drop(rig.db.run(async |s: &mut Session| count(s).await).await);
    let what = format!("message {nth}, {fault:?}, stubborn: {stubborn}");
    let struck = rig.proxy.inject(Rule::any(fault).nth(nth));
    let outcome = rig.db.run(async |s: &mut Session| many_ends(s, stubborn).await).await;
    rig.proxy.clear();
    let struck = struck.times() > 0;
    let whole = vec![1, 2, 5];
    match &outcome {
        Ok(()) => assert_eq!(rig.ids().await, whole, "{what}: Ok means all of it"),
        Err(Error::CommitUnknown { .. }) => {
            let ids = rig.ids().await;
            assert!(ids.is_empty() || ids == whole, "{what}: {ids:?}");
        }
        Err(e) => {
            assert!(struck, "{what}: {e}");
            assert_eq!(rig.ids().await, Vec::<i64>::new(), "{what}: an error means nothing of it: {e}");
        }
    }
    let seen = rig.db.run(async |s: &mut Session| count(s).await).await;
    assert_eq!(seen.unwrap(), rig.ids().await.len() as u64, "{what}: the pool recovers");
    struck
}

#[tokio::test]
async fn a11_a6_a_cut_at_any_message_of_nested_blocks_leaves_all_or_nothing() {
    let rig = Rig::new().await;
    let mut cuts = 0;
    for stubborn in [false, true] {
        for fault in [Fault::CutBefore(Cut::Reset), Fault::CutAfter(Cut::Finish), Fault::Fatal("57P01")] {
            for nth in 1.. {
                if !cut_at(&rig, nth, fault.clone(), stubborn).await {
                    break;
                }
                cuts += 1;
            }
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 200, "only {cuts} cuts");
}

/// Writes past the objects, so that the session does not learn the transaction's id and cannot ask what became of it.
async fn write_unseen(s: &mut Session, ids: &[i64]) -> Result<(), Error> {
    for id in ids {
        s.execute_unprepared(&format!("INSERT INTO note (id, title) VALUES ({id}, 'unseen')")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn b2_a_unit_whose_commit_has_no_answer_has_failed_and_is_not_used_again() {
    let rig = Rig::new().await;
    let mut s = rig.db.begin().await.unwrap();
    write_unseen(&mut s, &[1]).await.unwrap();
    assert_eq!(s.unit_state(), UnitState::Started);
    rig.proxy.inject(Rule::server(b'C', Fault::CutBefore(Cut::Reset)).text("commit"));
    let unknown = s.commit().await.unwrap_err();
    assert!(matches!(unknown, Error::CommitUnknown { .. }), "{unknown}");
    assert_eq!(s.unit_state(), UnitState::Failed);
    assert!(!s.in_transaction());
    for refused in [s.commit().await, s.rollback().await, s.flush().await, count(&mut s).await.map(drop)] {
        assert!(matches!(&refused, Err(Error::Usage(text)) if text.contains("has failed")), "{refused:?}");
    }
    assert_eq!(rig.ids().await, [1], "it was committed, which nobody could know");
}

#[tokio::test]
async fn b6_a_batch_of_unknown_fate_is_not_run_again_until_the_caller_has_looked() {
    for committed in [true, false] {
        let rig = Rig::new().await;
        let mut batches = rig.db.batches(0..6_i64, 2, Duration::ZERO);
        let rule = match committed {
            true => Rule::server(b'C', Fault::CutBefore(Cut::Reset)).text("commit"),
            false => Rule::client(b'Q', Fault::CutBefore(Cut::Reset)).text("commit"),
        };
        rig.proxy.inject(rule.nth(2));
        let unknown = batches.run(write_unseen).await.unwrap_err();
        assert!(matches!(unknown.cause, Error::CommitUnknown { .. }), "{unknown}");
        assert_eq!((unknown.batch, unknown.done, unknown.fate), (2, 2, Fate::Unknown));
        let again = batches.run(write_unseen).await.unwrap_err();
        assert!(matches!(&again.cause, Error::Usage(text) if text.contains("`resolve`")), "{again}");
        assert_eq!(rig.ids().await, if committed { vec![0, 1, 2, 3] } else { vec![0, 1] });
        batches.resolve(committed);
        assert_eq!(batches.run(write_unseen).await.unwrap(), 6);
        assert_eq!(rig.ids().await, [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn b6_a_batch_dropped_while_its_commit_was_under_way_is_of_unknown_fate() {
    let rig = Rig::new().await;
    let mut batches = rig.db.batches(0..4_i64, 2, Duration::ZERO);
    let struck = rig.proxy.inject(Rule::server(b'C', Fault::Stall).text("commit"));
    tokio::select! {
        outcome = batches.run(write_unseen) => panic!("there is no answer to COMMIT: {outcome:?}"),
        () = struck.once() => {}
    }
    let unknown = batches.run(write_unseen).await.unwrap_err();
    assert_eq!((unknown.batch, unknown.done, unknown.fate), (1, 0, Fate::Unknown));
    assert_eq!(rig.ids().await, [0, 1]);
    batches.resolve(true);
    assert_eq!(batches.done(), 2);
    rig.proxy.clear();
    assert_eq!(batches.run(write_unseen).await.unwrap(), 4);
    assert_eq!(rig.ids().await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn b6_a_lost_answer_that_can_be_settled_is_no_error() {
    let rig = Rig::new().await;
    let mut batches = rig.db.batches(0..6_i64, 2, Duration::ZERO);
    rig.proxy.inject(Rule::server(b'C', Fault::CutBefore(Cut::Reset)).text("commit").nth(2));
    let done = batches
        .run(async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
            ids.iter().for_each(|id| drop(s.add(titled(*id))));
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(done, 6, "the server was asked what became of the second batch (R9)");
    assert_eq!(rig.ids().await, [0, 1, 2, 3, 4, 5]);
}
