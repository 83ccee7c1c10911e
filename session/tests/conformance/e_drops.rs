//! Units that are dropped outside of a runtime, with one that ends, and in a panic (E6): no second panic, no transaction left
//! open, no row too many.

use std::{
    panic::AssertUnwindSafe,
    sync::mpsc,
    time::{Duration, Instant},
};

use sea_orm::{ActiveValue::Set, ConnectOptions, ConnectionTrait, entity::prelude::*};
use sea_session::{Error, Session, prelude::*, testing::cluster};
use tokio::runtime::{Builder, Runtime};

use crate::support::create_table;

mod part {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "part")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

fn part(name: &str) -> part::ActiveModel {
    part::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

/// Where the tests write: a server's database, a file, and a database in memory of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Postgres,
    MariaDb,
    File,
    Memory,
}

/// A runtime that may go before the things that were made in it.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a test on each place, with and without connections that the pool keeps; the test makes runtimes of its own, and is given the
/// database by a URL. Afterwards nothing is left: no open transaction, no lock, no row.
fn everywhere(test: impl Fn(&Db, Runtime) + Send + Sync) {
    for at in [At::Postgres, At::MariaDb, At::File, At::Memory] {
        for kept in [0, 1, 2] {
            // The test server and the files live in a runtime of their own, which outlives the test's.
            let outer = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let server = (at == At::Postgres).then(|| outer.block_on(cluster::fresh_database()).unwrap());
            let mariadb = (at == At::MariaDb).then(|| outer.block_on(cluster::mariadb::fresh_database()).unwrap());
            let url = match (&server, at) {
                (Some(server), _) => server.url(),
                (None, At::MariaDb) => mariadb.as_ref().map(|server| server.url()).unwrap_or_default(),
                (None, At::Memory) => "sqlite::memory:".to_owned(),
                _ => format!("sqlite://{}?mode=rwc", folder.path().join("drops.db").display()),
            };
            let inner = runtime();
            let connect = async |kept: u32| {
                let mut options = ConnectOptions::new(&url);
                options.max_connections(2).min_connections(kept);
                Db::connect(options).await.unwrap()
            };
            // A database in memory lives in its pool, which therefore belongs to the outer runtime.
            let db = if at == At::Memory { outer.block_on(connect(kept)) } else { inner.block_on(connect(kept)) };
            let again = if at == At::Memory { db.clone() } else { outer.block_on(connect(0)) };
            outer.block_on(create_table(&again, part::Entity)).unwrap();
            std::thread::scope(|scope| {
                let outcome = scope.spawn(|| test(&db, inner)).join();
                assert!(
                    outcome.is_ok(),
                    "{at:?}, {kept} kept: {:?}",
                    outcome.err().and_then(|e| e.downcast::<String>().ok())
                );
            });
            outer.block_on(async {
                nothing_is_open(&again, at).await;
                let left = part::Entity::find().count(again.connection()).await.unwrap();
                assert_eq!(left, 0, "{at:?}, {kept} kept");
                // The next unit finds a connection, and the table unlocked.
                again
                    .run(async |s: &mut Session| -> Result<(), Error> {
                        s.add(part("next"));
                        Ok(())
                    })
                    .await
                    .unwrap();
            });
        }
    }
}

async fn nothing_is_open(db: &Db, at: At) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let open = match at {
            At::Postgres => {
                let open = "SELECT count(*) AS open FROM pg_stat_activity WHERE datname = current_database() \
                            AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
                let row = db.connection().query_one_raw(sea_orm::Statement::from_string(db.backend(), open)).await;
                row.unwrap().unwrap().try_get::<i64>("", "open").unwrap()
            }
            At::MariaDb => {
                let open = "SELECT count(*) AS open FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
                            ON p.id = t.trx_mysql_thread_id WHERE p.db = database() AND p.id <> connection_id()";
                let row = db.connection().query_one_raw(sea_orm::Statement::from_string(db.backend(), open)).await;
                row.unwrap().unwrap().try_get::<i64>("", "open").unwrap()
            }
            // Nobody else holds the write lock.
            At::File | At::Memory => {
                let writes = db.connection().execute_unprepared("BEGIN IMMEDIATE; ROLLBACK").await;
                i64::from(writes.is_err())
            }
        };
        if open == 0 {
            return;
        }
        assert!(Instant::now() < until, "{at:?}: a transaction is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The driver gives a connection back in a task of the runtime that its unit ended in.
async fn given_back(db: &Db) {
    let all_idle = || match db.backend() {
        sea_orm::DbBackend::Postgres => {
            let pool = db.connection().get_postgres_connection_pool();
            pool.size() as usize == pool.num_idle()
        }
        sea_orm::DbBackend::MySql => {
            let pool = db.connection().get_mysql_connection_pool();
            pool.size() as usize == pool.num_idle()
        }
        _ => {
            let pool = db.connection().get_sqlite_connection_pool();
            pool.size() as usize == pool.num_idle()
        }
    };
    while !all_idle() {
        tokio::task::yield_now().await;
    }
}

async fn begun(db: &Db) -> Session {
    let mut s = db.begin().await.unwrap();
    s.add(part("lost"));
    s.flush().await.unwrap();
    s
}

#[test]
fn e6_a_unit_is_dropped_outside_a_runtime() {
    everywhere(|db, runtime| {
        let s = runtime.block_on(begun(db));
        drop(s);
        drop(runtime);
    });
}

#[test]
fn e6_a_unit_is_dropped_after_its_runtime() {
    everywhere(|db, runtime| {
        let s = runtime.block_on(begun(db));
        drop(runtime);
        drop(s);
    });
}

#[test]
fn e6_a_unit_that_has_sent_nothing_or_has_ended_is_dropped_outside_a_runtime() {
    everywhere(|db, runtime| {
        let (new, ended) = runtime.block_on(async {
            let mut ended = begun(db).await;
            ended.rollback().await.unwrap();
            given_back(db).await;
            let mut new = db.begin().await.unwrap();
            new.add(part("never sent"));
            (new, ended)
        });
        drop((new, ended));
        drop(runtime);
    });
}

#[test]
fn e6_a_unit_is_dropped_by_another_thread() {
    everywhere(|db, runtime| {
        let s = runtime.block_on(begun(db));
        std::thread::scope(|scope| scope.spawn(move || drop(s)).join()).unwrap();
        drop(runtime);
    });
}

#[test]
fn e6_a_block_inside_a_unit_is_dropped_outside_a_runtime() {
    everywhere(|db, runtime| {
        // Polled until it waits inside the block, and dropped there.
        let (far, reached) = mpsc::channel();
        let mut unit = Box::pin(async {
            db.begin()
                .await
                .unwrap()
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(part("lost"));
                    s.flush().await?;
                    far.send(()).unwrap();
                    std::future::pending().await
                })
                .await
        });
        runtime.block_on(async {
            tokio::select! {
                _ = &mut unit => unreachable!("it waits for ever"),
                () = async { while reached.try_recv().is_err() { tokio::task::yield_now().await } } => {}
            }
        });
        drop(unit);
        drop(runtime);
    });
}

#[test]
fn e6_a_unit_is_dropped_with_its_statement_under_way() {
    everywhere(|db, runtime| {
        let mut unit = Box::pin(db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(part("lost"));
            s.flush().await?;
            // Longer than the test takes, on both backends; a unit that is dropped ends it.
            let busy = match s.backend() {
                sea_orm::DbBackend::Postgres => "SELECT pg_sleep(60)",
                sea_orm::DbBackend::MySql => "DO SLEEP(60)",
                _ => "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n",
            };
            loop {
                s.execute_unprepared(busy).await?;
            }
        }));
        runtime.block_on(async {
            tokio::select! {
                _ = &mut unit => unreachable!("it has no end"),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        });
        drop(unit);
        drop(runtime);
    });
}

#[test]
fn e6_rows_that_are_being_read_are_dropped_outside_a_runtime() {
    everywhere(|db, runtime| {
        let (mut s, sql) = (runtime.block_on(begun(db)), "INSERT INTO part (name) SELECT name FROM part");
        runtime.block_on(async {
            for _ in 0..12 {
                s.execute_unprepared(sql).await.unwrap();
            }
        });
        let rows = runtime.block_on(async {
            let mut rows = part::Entity::find().rows(&mut s).await.unwrap();
            assert!(rows.next().await.unwrap().is_some());
            rows
        });
        drop(rows);
        drop(s);
        drop(runtime);
    });
}

#[test]
fn e6_a_task_goes_with_its_runtime() {
    everywhere(|db, runtime| {
        let (far, reached) = mpsc::channel();
        let db = db.clone();
        runtime.spawn(async move {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                s.add(part("lost"));
                s.flush().await?;
                far.send(()).unwrap();
                std::future::pending().await
            })
            .await
        });
        runtime.block_on(async {
            while reached.try_recv().is_err() {
                tokio::task::yield_now().await
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
    });
}

#[test]
fn e6_the_rollback_of_a_drop_goes_with_its_runtime() {
    everywhere(|db, runtime| {
        // Dropped inside, where a task is started that never runs.
        runtime.block_on(async { drop(begun(db).await) });
        drop(runtime);
    });
}

#[test]
fn e6_a_unit_is_dropped_in_a_panic() {
    everywhere(|db, runtime| {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let _s = runtime.block_on(begun(db));
            panic!("outside of the runtime");
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"outside of the runtime"));
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let _s = begun(db).await;
                panic!("inside of the runtime");
            })
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"inside of the runtime"));
        drop(runtime);
    });
}

#[test]
fn e6_hooks_of_a_dropped_unit_need_no_runtime() {
    everywhere(|db, runtime| {
        let mut s = runtime.block_on(begun(db));
        s.on_rollback(async move || {});
        drop(s);
        drop(runtime);
    });
}
