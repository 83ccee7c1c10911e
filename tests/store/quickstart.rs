//! The quickstart as a test: it shows what it claims, on both backends, twice on the same database.

#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../../examples/quickstart.rs"]
mod example;

use sea_session::testing::cluster::fresh_database;

async fn twice(url: &str) {
    let first = example::run(url).await.unwrap_or_else(|e| panic!("{e:?}"));
    assert!(first.import.created >= 200, "{} real files", first.import.created);
    let second = example::run(url).await.unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!((second.import.created, second.import.updated), (0, 0), "nothing is imported twice");
    assert_eq!(second.nodes, first.nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_twice_on_sqlite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    twice(&format!("sqlite://{}?mode=rwc", folder.path().join("quickstart.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_twice_on_postgres() {
    let database = fresh_database().await.unwrap_or_else(|e| panic!("{e}"));
    twice(&database.url()).await;
}
