//! What is MariaDB's own: statements that change the schema commit by themselves, and the lock is the server's (G, Y2).

mod resumed;
mod rules;
mod scripts;
mod waits;

use std::sync::{Arc, Mutex};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use sea_session::testing::cluster::mariadb::{MariaDbDatabase, fresh_database};
use sea_session_migration::{Error, Event, Options, Report, Runner, State, Status};
use tokio::task::JoinHandle;

use crate::common::connect;

/// An empty database that goes away with the value.
struct Fresh {
    db: DatabaseConnection,
    url: String,
    _database: MariaDbDatabase,
}

type Events = Arc<Mutex<Vec<Event>>>;

impl Fresh {
    async fn new() -> Self {
        let database = fresh_database().await.unwrap_or_else(|error| panic!("{error}"));
        let url = database.url();
        Self { db: connect(&url).await, url, _database: database }
    }

    /// With a table `things` that was made by its migration.
    async fn with_things() -> Self {
        let fresh = Self::new().await;
        fresh.up::<scripts::Base>().await.unwrap();
        fresh
    }

    async fn sql(&self, sql: &str) {
        self.db.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn count(&self, sql: &str) -> i64 {
        let row = self.db.query_one_raw(Statement::from_string(DbBackend::MySql, sql)).await;
        let row = row.unwrap_or_else(|error| panic!("{sql}: {error}")).unwrap();
        row.try_get_by_index::<Option<i64>>(0).unwrap().unwrap_or(0)
    }

    async fn catalogue(&self) -> Vec<String> {
        sea_session_migration::catalogue::catalogue(&self.db, "seaql_migrations").await.unwrap()
    }

    fn runner<M: MigratorTrait>(&self) -> Runner<M> {
        Runner::new(self.db.clone()).on_event(|_| ())
    }

    async fn up<M: MigratorTrait>(&self) -> Result<Report, Error> {
        self.runner::<M>().up().await
    }

    /// Runs, and keeps what it tells.
    async fn told<M: MigratorTrait>(&self) -> (Result<Report, Error>, Vec<Event>) {
        let (runner, events) = telling::<M>(&self.db);
        let outcome = runner.up().await;
        let events = events.lock().unwrap().clone();
        (outcome, events)
    }

    async fn status<M: MigratorTrait>(&self) -> Vec<Status> {
        self.runner::<M>().status().await.unwrap()
    }

    async fn state<M: MigratorTrait>(&self, at: usize) -> State {
        self.status::<M>().await[at].state
    }

    /// The schema that these migrations make of an empty database.
    async fn clean<M: MigratorTrait>() -> Vec<String> {
        let fresh = Self::new().await;
        fresh.up::<M>().await.unwrap();
        fresh.catalogue().await
    }

    /// Begins to run while somebody reads `things`, and waits until a statement of the runner's waits for that table.
    async fn held_up<M: MigratorTrait + 'static>(&self) -> HeldUp {
        let reader = self.db.begin().await.unwrap();
        reader.execute_unprepared("SELECT count(*) FROM things").await.unwrap();
        let runner = Runner::<M>::new(connect(&self.url).await).with(patient()).on_event(|_| ());
        let run = tokio::spawn(async move { runner.up().await });
        self.until(WAITING, 1).await;
        HeldUp { reader, run }
    }

    /// Waits until a question is answered so.
    async fn until(&self, question: &str, answer: i64) {
        crate::support::until(question, std::time::Duration::from_secs(30), async || {
            self.count(question).await == answer
        })
        .await;
    }
}

/// How many statements wait for a table here.
const WAITING: &str = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() \
    AND STATE LIKE 'Waiting for table metadata lock%'";

/// The number of the connection that the runner's lock is on, of migrations in SeaORM's own table.
const LOCK_HOLDER: &str = "SELECT CAST(IS_USED_LOCK(concat('sea_session_migrate_', \
    substr(sha2(concat(DATABASE(), '.seaql_migrations'), 256), 1, 32))) AS signed)";

/// A run that waits for a table, and who has that.
struct HeldUp {
    reader: sea_orm::DatabaseTransaction,
    run: JoinHandle<Result<Report, Error>>,
}

impl HeldUp {
    /// Drops the run. The server goes on with its statement.
    async fn dropped(self) -> sea_orm::DatabaseTransaction {
        self.run.abort();
        assert!(self.run.await.unwrap_err().is_cancelled());
        self.reader
    }
}

/// A lock timeout that no test lives to see.
fn patient() -> Options {
    let mut options = Options::default();
    options.lock_timeout = std::time::Duration::from_secs(300);
    options
}

fn telling<M: MigratorTrait>(db: &DatabaseConnection) -> (Runner<M>, Events) {
    let events = Events::default();
    let listener = events.clone();
    let runner = Runner::<M>::new(db.clone()).with(patient());
    (runner.on_event(move |event| listener.lock().unwrap().push(event.clone())), events)
}
