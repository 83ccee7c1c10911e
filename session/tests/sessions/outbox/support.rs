//! How a test of the outbox is run, and the receivers that note what they are given.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbBackend, Statement, entity::prelude::*};
use sea_session::{
    Error,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Report, Unavailable},
    prelude::*,
    testing::{Backend, cluster, create_table, run_test_on},
};
use tokio::{sync::oneshot, task::JoinHandle};

pub use crate::support_outbox::event;
use crate::support_outbox::{create_events, new_event, received};

pub fn event(key: &str, sequence: i64, kind: &str) -> event::ActiveModel {
    new_event("test", key, sequence, kind)
}

/// Runs a test on every backend.
pub fn on_all(test: impl AsyncFn(Db, Outbox)) {
    for backend in Backend::ALL {
        run(*backend, &test);
    }
}

/// Runs a test of what PostgreSQL alone has.
pub fn on_postgres(test: impl AsyncFn(Db, Outbox)) {
    run(Backend::Postgres, &test);
}

fn run(backend: Backend, test: &impl AsyncFn(Db, Outbox)) {
    let tables = async |db: &Db| -> Result<(), Error> {
        create_events(db).await?;
        create_table(db, received::Entity).await
    };
    run_test_on(backend, tables, async |db: Db| {
        let outbox = Outbox::new(&db, "events", "test");
        test(db, outbox).await;
    });
}

/// Where another process finds the same database.
pub async fn url(db: &Db) -> String {
    let one = async |sql: &str| -> String {
        let row = db.connection().query_one_raw(Statement::from_string(db.backend(), sql)).await.unwrap().unwrap();
        row.try_get("", "name").unwrap()
    };
    match db.backend() {
        DbBackend::Sqlite => {
            format!("sqlite://{}", one("SELECT file AS name FROM pragma_database_list WHERE name = 'main'").await)
        }
        DbBackend::MySql => cluster::mariadb::url_of(&one("SELECT DATABASE() AS name").await).await.unwrap(),
        _ => cluster::url_of(&one("SELECT current_database()::text AS name").await).await.unwrap(),
    }
}

/// A pool of its own on the same database stands for another process: it shares no bell with this one.
pub async fn elsewhere(db: &Db) -> Db {
    Db::connect(url(db).await).await.unwrap()
}

pub async fn write(db: &Db, events: Vec<event::ActiveModel>) {
    let outcome: Result<(), Error> = db
        .run(async |s: &mut Session| {
            events.iter().for_each(|event| drop(s.add(event.clone())));
            Ok(())
        })
        .await;
    outcome.unwrap();
}

/// Writes an event in a unit that wakes dispatchers afterwards.
pub async fn write_and_wake(db: &Db, outbox: &Outbox, event: event::ActiveModel) {
    let outcome: Result<(), Error> = db
        .run(async |s: &mut Session| {
            s.add(event.clone());
            outbox.wake_after_commit(s);
            Ok(())
        })
        .await;
    outcome.unwrap();
}

/// Key, sequence and attempt of what a receiver was given.
pub type Seen = Arc<Mutex<Vec<(String, i64, i32)>>>;

/// Keeps what it was given, and answers as `answer` says.
pub struct Ledger<F> {
    seen: Seen,
    answer: F,
}

pub fn ledger<F: Fn(&Event) -> Delivery + Send + Sync>(answer: F) -> (Seen, Ledger<F>) {
    let seen = Seen::default();
    (seen.clone(), Ledger { seen, answer })
}

#[async_trait::async_trait]
impl<F: Fn(&Event) -> Delivery + Send + Sync> Handler for Ledger<F> {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        let mut keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "at most one event of a key in a batch");
        self.seen.lock().extend(events.iter().map(|e| (e.key.clone(), e.sequence, e.attempt)));
        Ok(events.iter().map(&self.answer).collect())
    }
}

/// Waits until a receiver was given so many events; what it has after five seconds otherwise.
pub async fn arrived(seen: &Seen, events: usize) -> usize {
    for _ in 0..500 {
        if seen.lock().len() >= events {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen.lock().len()
}

/// Takes whole runs, and notes the calls.
pub struct Runs<F>(pub Calls, pub F);

/// The keys and sequences of each call.
pub type Calls = Arc<Mutex<Vec<Vec<(String, i64)>>>>;

#[async_trait::async_trait]
impl<F: Fn(&Event) -> Delivery + Send + Sync> Handler for Runs<F> {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        self.0.lock().push(events.iter().map(|e| (e.key.clone(), e.sequence)).collect());
        Ok(events.iter().map(&self.1).collect())
    }

    fn takes_runs(&self) -> bool {
        true
    }
}

/// Never done with what it took, and alive: its leases are extended.
pub struct Stuck;

#[async_trait::async_trait]
impl Handler for Stuck {
    async fn deliver(&self, _: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        std::future::pending().await
    }
}

/// A dispatcher that runs until it is told to stop.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Report>,
}

impl Running {
    pub fn start(dispatcher: Dispatcher) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { dispatcher.run(async move { drop(stopped.await) }).await });
        Self { stop, task }
    }

    pub async fn stop(self) -> Report {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

/// Makes everything that waits for its time available now.
pub async fn no_more_waiting(db: &Db) {
    event::Entity::update_many()
        .col_expr(event::Column::AvailableAt, Expr::value(chrono::Utc::now() - Duration::from_secs(1)))
        .exec(db.connection())
        .await
        .unwrap();
}
