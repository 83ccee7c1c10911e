//! Replicas that go, come back, or follow nobody any more; and units that are dropped on their way.

use std::{
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
    time::Duration,
};

use sea_orm::{ConnectOptions, ConnectionTrait, entity::prelude::*};
use sea_session::{Class, Error, Replicas, Session, prelude::*};

use super::{
    pair::{LONG, Pair, ask, eventually},
    read, read_with, write,
};
use crate::support::note;

#[tokio::test]
async fn u9_a_replica_that_is_gone_is_left_out_and_taken_back() {
    let pair = Pair::new(2).await;
    let db = pair.db_with(|replicas| replicas.wait(LONG).retry_after(Duration::from_millis(20))).await;
    write(&db, 1).await;
    pair.caught_up(0, &db).await;
    pair.caught_up(1, &db).await;
    assert_eq!((read(&db).await.replica, read(&db).await.replica), (Some(0), Some(1)));

    pair.replicas[0].halt().await.unwrap();
    for _ in 0..4 {
        let read = read(&db).await;
        assert_eq!((read.replica, read.notes, read.routing.passed_over), (Some(1), 1, 0));
    }
    let stats = db.replica_stats();
    assert_eq!((stats[0].losses, stats[0].left_out), (1, true));
    assert_eq!((stats[1].losses, stats[1].left_out), (0, false));

    pair.replicas[1].halt().await.unwrap();
    write(&db, 2).await;
    for _ in 0..4 {
        let read = read(&db).await;
        assert_eq!((read.replica, read.notes, read.routing.waits), (None, 2, 0), "nobody waits for what is gone");
    }

    pair.replicas[0].resume().await.unwrap();
    pair.caught_up(0, &db).await;
    eventually("the replica is taken back", async || {
        let read = read(&db).await;
        assert_eq!(read.notes, 2);
        read.replica == Some(0)
    })
    .await;
    let stats = db.replica_stats();
    assert_eq!((stats[0].losses, stats[0].left_out), (1, false));
    assert!(stats[1].left_out);
}

#[tokio::test]
async fn u9_pooled_connections_of_a_replica_that_was_started_again_are_passed_over() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    write(&db, 1).await;
    assert_eq!(read(&db).await.replica, Some(0));
    pair.replicas[0].restart_immediate().await.unwrap();
    let read = read(&db).await;
    assert_eq!((read.replica, read.notes), (Some(0), 1));
    assert_eq!(db.replica_stats()[0].losses, 0);
}

/// Reads twice, and the replica crashes in between for the first time that it runs.
async fn loses_its_replica(pair: &Pair, db: &Db, retries: u32, bodies: &AtomicU32) -> Result<Option<usize>, Error> {
    let body = async |s: &mut Session| -> Result<Option<usize>, Error> {
        note::Entity::find().count(s).await?;
        if bodies.fetch_add(1, Ordering::Relaxed) == 0 {
            assert_eq!(s.replica(), Some(0));
            pair.replicas[0].halt().await.expect("the crash");
        }
        note::Entity::find().count(s).await?;
        Ok(s.replica())
    };
    db.session().read_only().retry(retries).run(body).await
}

#[tokio::test]
async fn u9_a_replica_that_dies_in_mid_unit_is_a_lost_connection() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    let bodies = AtomicU32::new(0);
    let failed = loses_its_replica(&pair, &db, 0, &bodies).await.unwrap_err();
    assert_eq!(failed.class(), Some(Class::ConnectionLost));
    pair.replicas[0].resume().await.unwrap();
    let bodies = AtomicU32::new(0);
    assert_eq!(loses_its_replica(&pair, &db, 1, &bodies).await.unwrap(), None, "retried on the primary");
    assert_eq!(bodies.into_inner(), 2);
}

#[tokio::test]
async fn u9_a_replica_that_was_promoted_is_left_out() {
    let pair = Pair::new(1).await;
    let db = pair.db_with(|replicas| replicas.wait(LONG).retry_after(Duration::from_millis(1))).await;
    write(&db, 1).await;
    assert_eq!(read(&db).await.replica, Some(0));
    let promoted = pair.on_replica(0).await;
    assert!(ask::<bool>(&promoted, "SELECT pg_promote()").await);
    // From here on it goes its own way: a note that the primary has not.
    promoted.execute_unprepared("INSERT INTO author (name) VALUES ('of nobody')").await.unwrap();
    let copied = "INSERT INTO note (id, title, version, updated_at) SELECT 9, title, version, updated_at FROM note";
    promoted.execute_unprepared(copied).await.unwrap();
    // Also after it was tried again, which is done by the first unit that opens after the pause.
    for _ in 0..50 {
        let read = read(&db).await;
        assert_eq!((read.replica, read.notes), (None, 1));
    }
    let stats = db.replica_stats()[0];
    assert_eq!((stats.losses, stats.left_out), (1, true));
}

#[tokio::test]
async fn u9_a_primary_that_is_named_as_its_own_replica_is_not_taken_for_one() {
    let pair = Pair::new(0).await;
    let again = Db::connect(pair.database.url()).await.unwrap();
    let db = Db::connect(pair.database.url()).await.unwrap().replicas([again]).unwrap();
    write(&db, 1).await;
    let read = read(&db).await;
    assert_eq!((read.replica, read.notes), (None, 1));
    assert!(db.replica_stats()[0].left_out);
}

#[tokio::test]
async fn u9_a_replica_whose_pool_is_used_up_is_left_out() {
    let pair = Pair::new(1).await;
    let mut options = pair.options(0);
    options.max_connections(1);
    let replica = Db::connect(options).await.unwrap();
    let held = replica.connection().get_postgres_connection_pool().acquire().await.unwrap();
    let replicas =
        Replicas::from([replica]).reach_within(Duration::from_millis(20)).retry_after(Duration::from_millis(1));
    let db = Db::connect(pair.database.url()).await.unwrap().replicas(replicas.wait(LONG)).unwrap();
    assert_eq!(read(&db).await.replica, None);
    assert_eq!(db.replica_stats()[0].losses, 1);
    drop(held);
    eventually("the replica is taken back", async || read(&db).await.replica == Some(0)).await;
}

#[tokio::test]
async fn u9_a_primary_that_is_gone_stops_no_unit_that_needs_nothing_of_it() {
    let primary = sea_session::testing::cluster::Cluster::start().await.unwrap();
    let replica = primary.replica().await.unwrap();
    let mut options = ConnectOptions::new(primary.url());
    // How long a unit may look for a primary that is gone; to a busy one it must get.
    options.acquire_timeout(Duration::from_secs(5));
    let replicas = Replicas::from([Db::connect(replica.url()).await.unwrap()]).reach_within(LONG).wait(LONG);
    let db = Db::connect(options).await.unwrap().replicas(replicas).unwrap();
    let unit = async || {
        let options = db.session().read_only();
        options
            .run(async |s: &mut Session| -> Result<Option<usize>, Error> {
                s.execute_unprepared("SELECT 1").await?;
                Ok(s.replica())
            })
            .await
    };
    assert_eq!(unit().await.unwrap(), Some(0));
    primary.halt().await.unwrap();
    assert_eq!(unit().await.unwrap(), Some(0), "the position is known");
    // Once it is not, nobody can say whether the replica has what was written.
    db.note_written();
    assert_eq!(unit().await.unwrap_err().class(), Some(Class::ConnectionLost));
    primary.resume().await.unwrap();
    assert_eq!(unit().await.unwrap(), Some(0));
}

/// Polls a future so many times and drops it, unless it is done before.
async fn dropped<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        left -= 1;
        if left == 0 { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

#[tokio::test]
async fn u9_a_unit_that_is_dropped_on_its_way_leaves_nothing_checked_out() {
    let pair = Pair::new(1).await;
    let one = |mut options: ConnectOptions| {
        options.max_connections(1);
        options
    };
    let (primary, replica) = (one(ConnectOptions::new(pair.database.url())), one(pair.options(0)));
    let replica = Db::connect(replica).await.unwrap();
    let db = Db::connect(primary).await.unwrap();
    let pools = [db.connection().clone(), replica.connection().clone()];
    let replicas = Replicas::from([replica]).reach_within(LONG).retry_after(LONG).wait(Duration::from_millis(5));
    let db = db.replicas(replicas).unwrap();
    let (on_primary, on_replica) = (pair.primary.clone(), pair.on_replica(0).await);

    // How often a unit is polled depends on how soon the servers answer: it goes on until it was dropped at so many points.
    let mut drops = 0;
    for (turn, is_behind) in [false, true, false].into_iter().cycle().enumerate() {
        if turn >= 3 && drops >= 15 {
            break;
        }
        assert!(turn < 30, "only {drops} drop points");
        if is_behind {
            pair.pause(0).await;
        }
        for polls in 1.. {
            write(&db, (turn * 1_000 + polls).try_into().unwrap()).await;
            let outcome = dropped(read_with(db.session().read_only()), polls).await;
            // Each pool has one connection, which is free again, or has made room for another.
            for pool in &pools {
                let pool = pool.get_postgres_connection_pool();
                let free = tokio::time::timeout(Duration::from_secs(30), pool.acquire()).await;
                drop(free.expect("nothing is checked out").expect("a connection"));
            }
            let open =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
            for server in [&on_primary, &on_replica] {
                eventually("no transaction is left open", async || ask::<i64>(server, open).await == 0).await;
            }
            match outcome {
                Some(read) => {
                    assert_eq!(read.unwrap().notes, note::Entity::find().count(&pair.primary).await.unwrap());
                    break;
                }
                None => drops += 1,
            }
        }
        if is_behind {
            pair.resume(0).await;
        }
        pair.caught_up(0, &db).await;
    }
    assert_eq!(db.replica_stats()[0].losses, 0);
}
