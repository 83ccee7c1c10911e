//! U9: units that only read run on a replica that has replayed what this process last wrote, or on the primary.

mod failing;
mod pair;
mod refused;
mod settings;
mod written;

use std::time::Duration;

use pair::{LONG, Pair, eventually};
use sea_orm::entity::prelude::*;
use sea_session::{Error, Routing, Session, UnitOptions, prelude::*};

use crate::support::{draft, note};

/// Where a unit ran, how many notes it saw, and what its way there took.
#[derive(Debug, PartialEq)]
struct Read {
    replica: Option<usize>,
    notes: u64,
    routing: Routing,
}

async fn read_with(options: UnitOptions) -> Result<Read, Error> {
    let body = async |s: &mut Session| -> Result<(u64, Option<usize>), Error> {
        assert_eq!(s.replica(), None, "before its first statement a unit is nowhere");
        Ok((note::Entity::find().count(s).await?, s.replica()))
    };
    let (notes, replica) = options.clone().run(body).await?;
    Ok(Read { replica, notes, routing: options.stats().routing })
}

/// A unit that only reads.
async fn read(db: &Db) -> Read {
    read_with(db.session().read_only()).await.expect("a unit that reads")
}

async fn write(db: &Db, id: i64) {
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(id, "written"));
        Ok(())
    })
    .await
    .expect("a unit that writes");
}

#[tokio::test]
async fn u9_a_unit_reads_what_the_process_wrote() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    for id in 1..=20 {
        write(&db, id).await;
        let options = db.session().read_only();
        let first = read_with(options.clone()).await.unwrap();
        assert_eq!((first.replica, first.notes), (Some(0), id.unsigned_abs()));
        // One question to the primary after a write, and no message to the replica but what a unit sends anyway.
        assert_eq!((first.routing.positions, first.routing.on_replica), (1, 1));
        let stats = options.stats();
        assert_eq!((stats.control, stats.statements), (2, 1), "BEGIN, the query, COMMIT");
        let second = read(&db).await;
        assert_eq!((second.replica, second.notes, second.routing.positions), (Some(0), id.unsigned_abs(), 0));
    }
    assert_eq!(db.replica_stats()[0].units, 40);
}

#[tokio::test]
async fn u9_a_replica_that_is_behind_is_passed_over_after_the_bound() {
    let pair = Pair::new(1).await;
    let db = pair.db_with(|replicas| replicas.wait(Duration::from_millis(500))).await;
    write(&db, 1).await;
    pair.caught_up(0, &db).await;
    assert_eq!(read(&db).await.replica, Some(0));
    pair.pause(0).await;
    // Nothing was written since: what the replica has is enough.
    assert_eq!(read(&db).await.replica, Some(0));

    write(&db, 2).await;
    let passed = read(&db).await;
    assert_eq!((passed.replica, passed.notes), (None, 2));
    assert_eq!((passed.routing.passed_over, passed.routing.waits, passed.routing.on_replica), (1, 1, 0));
    // It was waited for in vain, so the next unit does not wait.
    let next = read(&db).await;
    assert_eq!((next.replica, next.notes), (None, 2));
    assert_eq!((next.routing.passed_over, next.routing.waits), (1, 0));

    pair.resume(0).await;
    pair.caught_up(0, &db).await;
    let back = read(&db).await;
    assert_eq!((back.replica, back.notes, back.routing.passed_over), (Some(0), 2, 0));
    let stats = db.replica_stats()[0];
    assert_eq!((stats.units, stats.passed_over, stats.losses, stats.left_out), (3, 2, 0, false));
}

#[tokio::test]
async fn u9_a_unit_waits_until_the_replica_has_replayed() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    pair.pause(0).await;
    write(&db, 1).await;
    let options = db.session().read_only();
    let unit = tokio::spawn(read_with(options.clone()));
    eventually("the unit waits", async || options.stats().routing.waits == 1).await;
    pair.resume(0).await;
    let read = unit.await.unwrap().unwrap();
    assert_eq!((read.replica, read.notes), (Some(0), 1));
    assert_eq!((read.routing.waits, read.routing.passed_over, read.routing.on_replica), (1, 0, 1));
    assert_eq!(db.replica_stats()[0].waits, 1);
}

#[tokio::test]
async fn u9_another_replica_takes_the_unit_of_one_that_is_behind() {
    let pair = Pair::new(2).await;
    let db = pair.db().await;
    pair.pause(0).await;
    write(&db, 1).await;
    pair.caught_up(1, &db).await;
    for _ in 0..6 {
        let read = read(&db).await;
        assert_eq!((read.replica, read.notes, read.routing.waits), (Some(1), 1, 0));
    }
    let stats = db.replica_stats();
    assert_eq!((stats[0].units, stats[1].units), (0, 6));
    assert_eq!((stats[0].passed_over, stats[1].passed_over), (3, 0), "they take turns in being asked first");
    pair.resume(0).await;
    pair.caught_up(0, &db).await;
    for _ in 0..6 {
        read(&db).await;
    }
    let stats = db.replica_stats();
    assert_eq!((stats[0].units, stats[1].units), (3, 9), "they take turns");
}

#[tokio::test]
async fn u9_units_side_by_side_see_what_was_written_before_they_opened() {
    let pair = Pair::new(2).await;
    let db = pair.db().await;
    let tasks = (0..8).map(|task| {
        let db = db.clone();
        tokio::spawn(async move {
            for turn in 0..15 {
                let id = task * 100 + turn;
                write(&db, id).await;
                let found = db.session().read_only().run(async |s: &mut Session| -> Result<bool, Error> {
                    Ok(note::Entity::find_by_id(id).one(s).await?.is_some())
                });
                assert!(found.await.unwrap(), "note {id} was written by this task");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let units: u64 = db.replica_stats().iter().map(|stats| stats.units).sum();
    assert_eq!(units, 8 * 15);
}

#[tokio::test]
async fn u9_a_handle_of_the_pool_made_before_has_the_replicas_too() {
    let pair = Pair::new(1).await;
    let db = Db::connect(pair.database.url()).await.unwrap();
    let before = db.clone();
    assert_eq!((db.replica_stats(), read(&before).await.replica), (Vec::new(), None));
    let db = db.replicas(pair.pools().await.wait(LONG)).unwrap();
    write(&before, 1).await;
    for handle in [&before, &db] {
        let read = read(handle).await;
        assert_eq!((read.replica, read.notes), (Some(0), 1));
    }
    db.close().await.unwrap();
    assert!(read_with(before.session().read_only()).await.is_err(), "its replicas' pools are closed with it");
}
