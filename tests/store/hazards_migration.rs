//! HAZARDS.md, Z19: SeaORM's migrator takes no lock, so replicas that start together run the same migration twice. The
//! test first shows that, and then the project's runner holding.

use std::time::Duration;

use context_migration::{Migrator, Runner};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr};
use sea_orm_migration::prelude::*;
use sea_session::testing::cluster;

/// A migration that takes as long as real ones do.
struct Slow;

impl MigrationName for Slow {
    fn name(&self) -> &str {
        "m1_slow"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Slow {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        db.execute_unprepared("SELECT pg_sleep(0.2)").await?;
        db.execute_unprepared("CREATE TABLE made_once (id int)").await?;
        Ok(())
    }
}

/// What a service has today: a list of migrations and `up`.
struct Plain;

#[async_trait::async_trait]
impl MigratorTrait for Plain {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Slow)]
    }
}

async fn replica(url: &str) -> DatabaseConnection {
    Database::connect(url).await.expect("the test server answers")
}

#[tokio::test]
async fn z19_replicas_that_start_together_migrate_once() {
    let plain = cluster::fresh_database().await.expect("a database");
    let (one, two) = (replica(&plain.url()).await, replica(&plain.url()).await);
    Plain::install(&one).await.expect("the ledger of migrations");
    let (one, two) = tokio::join!(Plain::up(&one, None), Plain::up(&two, None));
    assert!(one.is_err() || two.is_err(), "plain: both ran the migration, and one of them failed");

    let ours = cluster::fresh_database().await.expect("a database");
    let mut replicas = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = ours.url();
        replicas.spawn(async move { Runner::new(replica(&url).await).up().await.map(drop) });
    }
    while let Some(outcome) =
        tokio::time::timeout(Duration::from_secs(60), replicas.join_next()).await.expect("in time")
    {
        outcome.expect("a replica").expect("one migrates, the others wait");
    }
    let db = replica(&ours.url()).await;
    let row = db.query_one_raw(sea_orm::Statement::from_string(
        sea_orm::DbBackend::Postgres,
        "SELECT count(*), count(DISTINCT version) FROM seaql_migrations",
    ));
    let row = row.await.expect("the ledger").expect("a row");
    let counts: (i64, i64) = (row.try_get_by_index(0).expect("a count"), row.try_get_by_index(1).expect("a count"));
    let expected = Migrator::migrations().len() as i64;
    assert_eq!(counts, (expected, expected), "each migration is recorded once");
}
