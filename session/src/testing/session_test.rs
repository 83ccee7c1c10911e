//! What `#[session_test]` expands to: a runtime, an empty database, its set-up, the test, and the end of both.
//!
//! Every test has a database of its own, so tests run in parallel and see nothing of each other; it goes with the test,
//! also when the test panics. Nothing is skipped here: a backend that cannot be had fails the test.

use std::{fmt::Debug, pin::Pin};

use sea_orm::{ConnectionTrait, EntityTrait, Schema};

#[cfg(feature = "mysql")]
use super::cluster::mariadb::MariaDbDatabase;
#[cfg(feature = "postgres")]
use super::cluster::{self, TestDatabase};
use crate::{connection::db::Db, error::Error, unit::session::Session};

/// Where a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A new SQLite database.
    #[cfg(feature = "sqlite")]
    Sqlite,
    /// A new database on the test cluster, see `testing::cluster::fresh_database`.
    #[cfg(feature = "postgres")]
    Postgres,
    /// A new database on the MariaDB test server, see [`cluster::mariadb::fresh_database`].
    #[cfg(feature = "mysql")]
    MariaDb,
}

impl Backend {
    /// Every backend that is built in.
    pub const ALL: &[Backend] = &[
        #[cfg(feature = "sqlite")]
        Backend::Sqlite,
        #[cfg(feature = "postgres")]
        Backend::Postgres,
        #[cfg(feature = "mysql")]
        Backend::MariaDb,
    ];
}

/// What a test may return: nothing, or a `Result` whose error fails it.
pub trait TestOutcome {
    /// The reason why the test failed.
    fn failure(self) -> Option<String>;
}

impl TestOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<T, E: Debug> TestOutcome for Result<T, E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// Runs a test in one unit of work that is rolled back at its end (L4).
///
/// # Panics
/// If the database cannot be had, its set-up fails, or the test fails.
pub fn run_test<S, R>(
    backend: Backend,
    setup: impl AsyncFnOnce(&Db) -> Result<(), S>,
    test: impl AsyncFnOnce(&mut Session) -> R,
) where
    S: Debug,
    R: TestOutcome,
{
    run_test_on(backend, setup, async |db: Db| {
        let mut session = db.begin().await.map_err(|e| format!("the test's unit of work could not begin: {e}"))?;
        let failure = test(&mut session).await.failure();
        // A test may have ended its unit itself; there is nothing to roll back then.
        if session.in_transaction() {
            session.rollback().await.map_err(|e| format!("the test's unit of work could not be rolled back: {e}"))?;
        }
        failure.map_or(Ok(()), Err)
    });
}

/// Runs a test on a database of its own (L4).
///
/// # Panics
/// If the database cannot be had, its set-up fails, or the test fails.
pub fn run_test_on<S, R>(
    backend: Backend,
    setup: impl AsyncFnOnce(&Db) -> Result<(), S>,
    test: impl AsyncFnOnce(Db) -> R,
) where
    S: Debug,
    R: TestOutcome,
{
    let stage = Stage::new(backend);
    let db = &stage.db;
    let set_up = stage.finish(Box::pin(async { setup(db).await.err().map(|error| format!("{error:?}")) }));
    if let Some(error) = set_up {
        panic!("the set-up of the {backend:?} database failed: {error}");
    }
    let failure = stage.finish(Box::pin(async { test(db.clone()).await.failure() }));
    stage.close();
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

/// Where a test runs. Takes futures boxed: what drives them is compiled once, and not once a test.
struct Stage {
    db: Db,
    place: OpenedDatabase,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new(backend: Backend) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("the test's runtime could not be built: {e}"));
        let (place, db) = runtime.block_on(OpenedDatabase::with_pool(backend));
        Self { db, place, runtime }
    }

    /// Drives a future to its end; it says what went wrong.
    fn finish(&self, future: Pin<Box<dyn Future<Output = Option<String>> + '_>>) -> Option<String> {
        self.runtime.block_on(future)
    }

    /// The connections are closed before the database goes; one that the test leaked is cut by the drop.
    fn close(self) {
        drop(self.runtime.block_on(self.db.close()));
        drop(self.place);
    }
}

/// An empty database that goes with this value.
enum OpenedDatabase {
    #[cfg(feature = "sqlite")]
    Sqlite(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Postgres(Box<TestDatabase>),
    #[cfg(feature = "mysql")]
    MariaDb(Box<MariaDbDatabase>),
}

impl OpenedDatabase {
    /// An empty database and a pool of connections to it.
    async fn with_pool(backend: Backend) -> (Self, Db) {
        let place = Self::open(backend).await.unwrap_or_else(|e| panic!("there is no {backend:?} database: {e}"));
        let db = place.connect().await.unwrap_or_else(|e| panic!("the {backend:?} database does not answer: {e}"));
        (place, db)
    }

    async fn open(backend: Backend) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(match backend {
            // A file and not memory: a test may want more than one connection.
            #[cfg(feature = "sqlite")]
            Backend::Sqlite => Self::Sqlite(tempfile::tempdir()?),
            #[cfg(feature = "postgres")]
            Backend::Postgres => Self::Postgres(Box::new(cluster::fresh_database().await?)),
            #[cfg(feature = "mysql")]
            Backend::MariaDb => Self::MariaDb(Box::new(cluster::mariadb::fresh_database().await?)),
        })
    }

    async fn connect(&self) -> Result<Db, Error> {
        let url = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(folder) => format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display()),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.url(),
            #[cfg(feature = "mysql")]
            Self::MariaDb(database) => database.url(),
        };
        Db::connect(url).await
    }
}

/// Creates the table of an entity, with its enum types on PostgreSQL, as SeaORM derives it from the columns.
///
/// # Errors
/// What the database says.
///
/// # Cancel safety
/// Dropped midway, the table may exist or not.
pub async fn create_table<E: EntityTrait>(db: &Db, entity: E) -> Result<(), Error> {
    let schema = Schema::new(db.backend());
    if db.dialect().enum_types {
        for statement in schema.create_enum_from_entity(entity) {
            db.connection().execute(&statement).await?;
        }
    }
    db.connection().execute(&schema.create_table_from_entity(entity)).await?;
    db.tables_altered();
    Ok(())
}
