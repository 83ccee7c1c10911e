//! A COMMIT whose answer is lost together with its node: settled by its token on another node, or said to be unknown (R9).

use sea_orm::{EntityTrait, Set};
use sea_session::{Error, prelude::*};

use crate::{
    commit_proxy::{CommitProxy, Cut},
    tables::*,
};

/// A pool of node 1, through a proxy.
async fn through(scene: &Scene, proxy: &CommitProxy) -> Db {
    connect(&scene.cluster().url_through(&proxy.socket(), scene.database), 2).await
}

async fn write(db: &Db, retry: u32) -> (Result<i64, Error>, u64) {
    let unit = db.session().settle_by_token().retry(retry);
    let numbers = unit.clone();
    let outcome = unit.run(async |s: &mut Session| -> Result<i64, Error> {
        let note = s.add(note::ActiveModel { title: Set("once".into()), ..Default::default() });
        s.flush().await?;
        Ok(note.id())
    });
    (outcome.await, numbers.stats().retries)
}

async fn stored(db: &Db) -> Vec<i64> {
    number(db, "SELECT COUNT(*) FROM note").await;
    note::Entity::find().all(db.connection()).await.unwrap().into_iter().map(|note| note.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_commit_that_was_carried_out_is_found_by_its_token_on_another_node() {
    let scene = Scene::new("carried_out").await;
    let proxy = CommitProxy::new(scene.cluster().socket(1), Cut::After);
    let db = through(&scene, &proxy).await.nodes([scene.db(2).await, scene.db(0).await]).unwrap();
    let (outcome, retries) = write(&db, 3).await;
    assert!(proxy.struck());
    let id = outcome.expect("another node knows that it was committed");
    assert_eq!(retries, 0, "it is not run again");
    assert_eq!(stored(&scene.db(0).await).await, [id]);
    // What comes next runs on the other node.
    write(&db, 0).await.0.expect("a unit on another node");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_commit_that_never_came_is_fenced_on_another_node_and_its_unit_runs_again_there() {
    let scene = Scene::new("never_came").await;
    let proxy = CommitProxy::new(scene.cluster().socket(1), Cut::Before);
    let db = through(&scene, &proxy).await.nodes([scene.db(2).await]).unwrap();
    let (outcome, retries) = write(&db, 3).await;
    assert!(proxy.struck());
    let id = outcome.expect("the unit runs again");
    assert_eq!(retries, 1);
    assert_eq!(stored(&scene.db(0).await).await, [id]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_a_lost_commit_is_unknown_where_no_other_node_can_be_asked() {
    for (cut, database, rows) in [(Cut::After, "unknown_after", 1), (Cut::Before, "unknown_before", 0)] {
        let scene = Scene::new(database).await;
        let proxy = CommitProxy::new(scene.cluster().socket(1), cut);
        let db = through(&scene, &proxy).await;
        let (outcome, retries) = write(&db, 3).await;
        assert!(proxy.struck());
        assert!(matches!(outcome, Err(Error::CommitUnknown { .. })), "{cut:?}: {outcome:?}");
        assert_eq!(retries, 0, "what may have been committed is never run again");
        assert_eq!(stored(&scene.db(0).await).await.len(), rows, "{cut:?}");
        scene.end().await;
    }
}
