//! What a node shows of what others have taken, what it says when it has no part in its cluster, and what a cluster cannot do.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sea_orm::{ConnectOptions, ConnectionTrait, EntityTrait, PaginatorTrait, Set};
use sea_session::{Class, Error, prelude::*};

use crate::tables::*;

type Done = Result<(), Error>;

async fn add(db: &Db, title: &str) -> Done {
    db.run(async |s: &mut Session| -> Done {
        s.add(note::ActiveModel { title: Set(title.to_owned()), ..Default::default() });
        Ok(())
    })
    .await
}

async fn count(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_causal_unit_sees_what_another_node_has_committed_and_waits_for_it() {
    let scene = Scene::new("causal").await;
    let (written, read) = (scene.db(0).await, scene.db(1).await);
    for round in 1..=50 {
        add(&written, "here").await.unwrap();
        let seen = read.session().causal().run(async |s: &mut Session| count(s).await).await.unwrap();
        assert_eq!(seen, round);
    }
    // A node that applies nothing for a while shows what there was, and a causal unit waits.
    let mut holding = ConnectOptions::new(scene.cluster().url_of(1, scene.database));
    holding.max_connections(1).sqlx_logging(false);
    let holding = sea_orm::Database::connect(holding).await.unwrap();
    holding.execute_unprepared("FLUSH TABLES WITH READ LOCK").await.unwrap();
    add(&written, "there").await.unwrap();
    assert_eq!(read.run(async |s: &mut Session| count(s).await).await.unwrap(), 50, "the node is behind");
    let causal = read.clone();
    let waits =
        tokio::spawn(async move { causal.session().causal().run(async |s: &mut Session| count(s).await).await });
    while number_of_waiting(&scene).await == 0 {
        assert!(!waits.is_finished(), "it waits for what was committed: {:?}", waits.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    holding.execute_unprepared("UNLOCK TABLES").await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), 51);
    // Nothing of it is left on the connection that it had.
    let alone = connect(&scene.cluster().url_of(1, scene.database), 1).await;
    alone.session().causal().run(async |s: &mut Session| count(s).await).await.unwrap();
    let left = sea_orm::Statement::from_string(alone.backend(), "SELECT CAST(@@wsrep_sync_wait AS SIGNED)");
    let left = alone.connection().query_one_raw(left).await.unwrap().unwrap();
    assert_eq!(left.try_get_by_index::<i64>(0).unwrap(), 0);
    scene.end().await;
}

/// How many connections of node 1 are at the beginning of a unit.
async fn number_of_waiting(scene: &Scene) -> i64 {
    let db = connect(&scene.cluster().url_of(1, scene.database), 1).await;
    let question =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'START TRANSACTION%' AND db = DATABASE()";
    let row = db.connection().query_one_raw(sea_orm::Statement::from_string(db.backend(), question)).await.unwrap();
    row.unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_node_that_has_no_part_in_its_cluster_refuses_says_so_and_is_passed_over() {
    let scene = Scene::new("outside").await;
    let (alone, of_all) = (scene.db(2).await, scene.db_of_all(2).await);
    add(&alone, "before").await.unwrap();
    add(&of_all, "before").await.unwrap();
    scene.cluster().send(2, "SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'").await.unwrap();
    scene.cluster().until(2, "wsrep_cluster_status", "non-Primary").await.unwrap();

    let refused = add(&alone, "outside").await.unwrap_err();
    assert_eq!(refused.class(), Some(Class::ConnectionLost), "{refused:?}");
    assert!(refused.to_string().contains("WSREP has not yet prepared node"), "{refused}");
    let read = alone.run(async |s: &mut Session| count(s).await).await.unwrap_err();
    assert!(read.to_string().contains("WSREP has not yet prepared node"), "{read}");
    // With the others named, units run there at once.
    add(&of_all, "elsewhere").await.expect("another node takes it");

    scene.cluster().send(2, "SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'").await.unwrap();
    scene.cluster().synced(2).await.unwrap();
    add(&alone, "again").await.unwrap();
    assert_eq!(number(&alone, "SELECT COUNT(*) FROM note").await, 4);
    scene.end().await;
}

/// A node may end a unit's transaction for that of another node and say nothing; the next SELECT finds no row (seen on 10.11).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_body_that_fails_after_its_transaction_was_ended_unsaid_runs_again() {
    let scene = Scene::new("unsaid").await;
    let db = scene.db(0).await;
    let attempts = AtomicUsize::new(0);
    let body = async |s: &mut Session| -> Done {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        s.add(note::ActiveModel { title: Set(format!("attempt {attempt}")), ..Default::default() });
        s.flush().await?;
        if attempt == 0 {
            sea_session::testing::send_unchecked(s, "ROLLBACK").await?;
        }
        // As a body does that misses what it has to change.
        if count(s).await? == 0 { Err(Error::Usage("not found".into())) } else { Ok(()) }
    };
    db.session().retry(3).run(&body).await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM note WHERE title = 'attempt 1'").await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_what_a_cluster_cannot_do_is_refused_by_name() {
    let scene = Scene::new("refusals").await;
    let db = scene.db(0).await;
    let refuses = |outcome: Done, what: &str| match outcome {
        Err(Error::Unsupported { what: said, .. }) => {
            assert!(said.starts_with(what) && said.contains("cluster"), "{said}")
        }
        other => panic!("{what}: {other:?}"),
    };
    let serializable = db.session().isolation(IsolationLevel::Serializable);
    refuses(
        serializable.run(async |s: &mut Session| -> Done { count(s).await.map(drop) }).await,
        "a serializable unit",
    );
    refuses(db.run(async |s: &mut Session| -> Done { s.advisory_lock(7).await }).await, "advisory locks");
    refuses(db.run(async |s: &mut Session| -> Done { s.try_advisory_lock(7).await.map(drop) }).await, "advisory locks");
    // The refusal holds for what was asked, and for nothing else.
    add(&db, "after").await.unwrap();
    scene.end().await;
}
