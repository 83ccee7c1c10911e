//! Units of two rows while a server or its connections are killed: what was told of each, beside what is stored; and workers that
//! write them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::ActiveValue::Set;
use sea_session::{Error, UnitOptions, prelude::*};
use tokio::{sync::Mutex, task::JoinSet};

/// A row of a unit; the table may have more columns.
pub mod row {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// What was told of each unit.
#[derive(Default)]
pub struct Ledger {
    pub committed: Vec<String>,
    pub not_committed: Vec<(String, Error)>,
    pub unknown: Vec<String>,
    pub retries: u64,
}

/// Workers that write units of two rows until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    ledger: Arc<Mutex<Ledger>>,
    workers: JoinSet<()>,
}

impl Load {
    /// Workers take turns with these units.
    pub fn start(workers: usize, units: &[UnitOptions]) -> Self {
        let mut load =
            Self { stop: Arc::default(), done: Arc::default(), ledger: Arc::default(), workers: JoinSet::new() };
        for worker in 0..workers {
            let (unit, stop) = (units[worker % units.len()].clone(), load.stop.clone());
            let (done, ledger) = (load.done.clone(), load.ledger.clone());
            load.workers.spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    write(unit.clone(), format!("{worker}.{number}"), &ledger).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
                ledger.lock().await.retries += unit.stats().retries;
            });
        }
        load
    }

    /// Waits for so many more units.
    pub async fn progress(&self, units: usize) {
        let (start, until) = (self.done.load(Ordering::SeqCst), Instant::now() + Duration::from_secs(60));
        while self.done.load(Ordering::SeqCst) < start + units {
            assert!(Instant::now() < until, "the load makes no progress: the pool has not recovered");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn stop(mut self) -> Ledger {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(worker) = self.workers.join_next().await {
            worker.expect("a worker");
        }
        std::mem::take(&mut *self.ledger.lock().await)
    }
}

async fn write(unit: UnitOptions, title: String, ledger: &Mutex<Ledger>) {
    let outcome = unit
        .run(async |s: &mut Session| -> Result<(), Error> {
            for part in ["a", "b"] {
                s.add(row::ActiveModel { title: Set(format!("{title} {part}")), ..Default::default() });
                s.flush().await?;
            }
            Ok(())
        })
        .await;
    ledger.lock().await.note(title, outcome);
}

impl Ledger {
    /// What was told of a unit, which writes the rows `{title} a` and `{title} b`.
    pub fn note(&mut self, title: String, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.committed.push(title),
            Err(Error::CommitUnknown { .. }) => self.unknown.push(title),
            Err(e) => self.not_committed.push((title, e)),
        }
    }

    /// Compares what was told with what is stored: how often each title is.
    pub fn settle(&self, what: &str, stored: &HashMap<String, i64>) {
        let parts = |title: &str| ["a", "b"].map(|part| stored.get(&format!("{title} {part}")).copied().unwrap_or(0));
        let lost = self.committed.iter().filter(|title| parts(title).contains(&0)).count();
        let doubled = stored.values().filter(|times| **times > 1).count();
        let phantom = self.not_committed.iter().filter(|(title, _)| parts(title) != [0, 0]).count();
        let torn = self.unknown.iter().filter(|title| parts(title)[0] != parts(title)[1]).count();
        println!(
            "{what}: {} committed, {} not committed, {} unknown, {} retries; {lost} lost, {doubled} doubled, {torn} torn, \
             {phantom} committed though told not",
            self.committed.len(),
            self.not_committed.len(),
            self.unknown.len(),
            self.retries,
        );
        assert_eq!((lost, doubled, phantom, torn), (0, 0, 0, 0));
    }
}
