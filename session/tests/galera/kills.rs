//! Nodes that are killed under load: no acknowledged unit is lost, none is applied twice, and the others go on.

use std::{collections::HashMap, time::Duration};

use sea_orm::{ConnectionTrait, Statement};
use sea_session::prelude::*;

use crate::{support_load::Load, tables::*};

const WORKERS: usize = 6;

/// How often a node is killed.
fn kills() -> usize {
    std::env::var("GALERA_KILLS").map_or(NODES, |kills| kills.parse().expect("GALERA_KILLS is a number"))
}

async fn stored(db: &Db) -> HashMap<String, i64> {
    let question = "SET STATEMENT wsrep_sync_wait = 1 FOR SELECT title, COUNT(*) AS times FROM note GROUP BY title";
    let rows = db.connection().query_all_raw(Statement::from_string(db.backend(), question)).await.unwrap();
    rows.iter().map(|row| (row.try_get("", "title").unwrap(), row.try_get("", "times").unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_node_killed_under_load_loses_no_acknowledged_unit_and_doubles_none() {
    let scene = Scene::new("kills").await;
    let mut units = Vec::new();
    for node in 0..NODES {
        // The nodes that are left need some seconds to agree on who is left.
        let patient = Retry::times(60).backoff(Duration::from_millis(5), Duration::from_millis(500));
        units.push(scene.db_of_all(node).await.session().settle_by_token().retry(patient));
    }
    let load = Load::start(WORKERS, &units);
    // A kill between two statements of everybody's strikes nobody: then there are more of them.
    let retried = || units.iter().any(|unit| unit.stats().retries > 0);
    let mut kill = 0;
    while kill < kills() || !retried() {
        assert!(kill < kills() + 20, "{kill} kills have struck no unit");
        load.progress(fastrand::usize(30..150)).await;
        let node = (kill + 1) % NODES;
        scene.cluster().kill(node).await.expect("the kill");
        // The others go on without it, and it is not waited for.
        load.progress(50).await;
        scene.cluster().resume(node).await.expect("a node that comes back");
        kill += 1;
    }
    load.progress(100).await;
    let ledger = load.stop().await;
    for node in 0..NODES {
        let stored = stored(&scene.db(node).await).await;
        ledger.settle(&format!("{kill} kills, as node {node} has it"), &stored);
    }
    assert!(ledger.retries > 0, "the kills struck");
    assert!(ledger.not_committed.is_empty(), "a unit that lost its node runs on another: {:?}", ledger.not_committed);
    scene.end().await;
}
