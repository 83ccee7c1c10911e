//! The engine: a pool of connections, and the door to units of work.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::RwLock;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use super::{
    nodes::{NodeSet, Nodes},
    replicas::ReplicaSet,
    turn::Line,
};
pub use crate::dialect::Queues;
use crate::{
    dialect::{Dialect, SeaBackend},
    error::Error,
    table::facts::FactsCache,
};

/// A pooled connection that was idle for longer is asked whether it lives before a unit gets it.
const ASKED_WHEN_IDLE_FOR: Duration = Duration::from_secs(5);

/// A handle to a database. Cheap to clone, shared by all tasks.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// let again = db.clone();                                  // the same pool
/// let n = again.run(async |s: &mut Session| -> Result<u64, Error> {
///     Ok(note::Entity::find().count(s).await?)
/// }).await?;
/// assert_eq!(n, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Db(Arc<dyn AnyPool>);

/// A [`Pool`] as a type without parts. Whatever holds a `Db` across an await is asked whether it can be sent to another thread: this
/// answers by itself, and the compiler does not look through a thousand types of three drivers' pools for it.
trait AnyPool: Send + Sync {
    fn pool(&self) -> &Pool;
}

impl AnyPool for Pool {
    fn pool(&self) -> &Pool {
        self
    }
}

/// A pool, and what is known of its tables.
struct Pool {
    connection: DatabaseConnection,
    dialect: &'static Dialect,
    facts: Arc<FactsCache>,
    /// What a room below keeps for the pool: this one only knows that it is there.
    kept: RwLock<Option<Kept>>,
    /// Where units that write wait for each other, if only one can at a time.
    line: Line,
    /// Where units that only read may go (U9).
    replicas: OnceLock<Arc<ReplicaSet>>,
    /// The other nodes of its cluster (Y3).
    nodes: Nodes,
    /// Whether the server is a node of one, once it was asked.
    clustered: OnceLock<bool>,
}

type Kept = Arc<dyn Any + Send + Sync>;

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.backend()).finish()
    }
}

impl From<DatabaseConnection> for Db {
    /// Takes a pool as it is: what [`Db::connect`] sets (WAL, foreign keys, busy timeout on SQLite; the check for a
    /// client that went away on PostgreSQL) is then the caller's to set.
    fn from(connection: DatabaseConnection) -> Self {
        let dialect = Dialect::of(&connection);
        Db(Arc::new(Pool {
            connection,
            dialect,
            facts: Arc::default(),
            kept: RwLock::default(),
            line: Line::default(),
            replicas: OnceLock::new(),
            nodes: OnceLock::new(),
            clustered: OnceLock::new(),
        }))
    }
}

impl Db {
    fn pool(&self) -> &Pool {
        self.0.pool()
    }

    /// Connects to a URL (`sqlite::memory:`, `sqlite://file.db?mode=rwc`, `postgres://…`, `mysql://…`) or by SeaORM's options.
    ///
    /// SQLite gets WAL, foreign keys, a busy timeout of five seconds, and for a database in memory one connection that is
    /// never closed; units that write wait for each other in a line, without a connection. PostgreSQL connections notice a client
    /// that went away within 100 ms, so that a dropped unit frees its locks (C3). MySQL's and MariaDB's speak utf8mb4 and UTC, and
    /// each unit's BEGIN sets their `sql_mode`: names are quoted as in the standard, and a value that does not fit is an error.
    ///
    /// SeaORM has one place for a function that maps the driver's options (`map_sqlx_sqlite_opts`) or the pool's
    /// (`map_sqlx_postgres_pool_opts`), and this takes it: for hooks or pragmas of your own, connect with SeaORM and use
    /// [`Db::from`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let db = Db::connect("sqlite::memory:").await?;          // also `sqlite://file.db?mode=rwc`, `postgres://…`
    ///
    /// let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
    /// options.acquire_timeout(std::time::Duration::from_secs(3));
    /// let other = Db::connect(options).await?;
    /// assert_ne!(db.identity(), other.identity());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The server cannot be reached, or the URL is not of a kind that was built in.
    ///
    /// # Cancel safety
    /// Safe: nothing is left behind.
    pub async fn connect(options: impl Into<ConnectOptions>) -> Result<Self, Error> {
        let mut options = options.into();
        options.sqlx_logging(false);
        // A connection that was just used is not asked first whether it lives: that would be one more round trip a unit.
        if options.get_test_before_acquire_if_idle_for().is_none() {
            options.test_before_acquire_if_idle_for(ASKED_WHEN_IDLE_FOR);
        }
        let url = options.get_url().to_owned();
        (Dialect::of_url(&url)?.prepare)(&mut options, &url);
        Ok(Database::connect(options).await?.into())
    }

    /// The SeaORM pool, for code that does not use sessions (yet).
    pub fn connection(&self) -> &DatabaseConnection {
        &self.pool().connection
    }

    /// Tables were created, changed or dropped past all sessions of this pool: what is known of them is asked for again, before
    /// the next write to each (D1). Statements that sessions send are noticed, and so is the first error that a changed table
    /// causes; this is for migrations of the running program's own.
    pub fn tables_altered(&self) {
        self.pool().facts.forget_all();
    }

    /// What is known of the pool's tables (D1).
    pub(crate) fn facts(&self) -> &Arc<FactsCache> {
        &self.pool().facts
    }

    /// What is kept for the pool, if anything is.
    pub(crate) fn kept<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.pool().kept.read().clone()?.downcast().ok()
    }

    /// Keeps for the pool what `change` makes of what was kept.
    pub(crate) fn change_kept<T: Default + Send + Sync + 'static>(&self, change: impl FnOnce(&T) -> T) {
        let mut kept = self.pool().kept.write();
        let before = kept.clone().and_then(|kept| kept.downcast::<T>().ok()).unwrap_or_default();
        *kept = Some(Arc::new(change(&before)));
    }

    /// Where units that write wait for each other.
    pub(super) fn line(&self) -> &Line {
        &self.pool().line
    }

    /// The replicas of the pool, if it has any (U9).
    pub(crate) fn replica_set(&self) -> Option<&Arc<ReplicaSet>> {
        self.pool().replicas.get()
    }

    /// Keeps the replicas of the pool; not if it has some already.
    pub(super) fn keep_replicas(&self, replicas: ReplicaSet) -> bool {
        self.pool().replicas.set(Arc::new(replicas)).is_ok()
    }

    /// The other nodes of the pool's cluster, if it was told of any (Y3).
    pub(crate) fn node_set(&self) -> Option<&Arc<NodeSet>> {
        self.pool().nodes.get()
    }

    /// Keeps the nodes of the pool; not if it has some already.
    pub(super) fn keep_nodes(&self, nodes: NodeSet) -> bool {
        self.pool().nodes.set(Arc::new(nodes)).is_ok()
    }

    /// Whether the server is a node of a cluster, if that is known.
    pub(super) fn clustered(&self) -> Option<bool> {
        self.pool().clustered.get().copied()
    }

    pub(super) fn note_clustered(&self, clustered: bool) -> bool {
        *self.pool().clustered.get_or_init(|| clustered)
    }

    /// A number that is the same for clones of one handle, and different for others that live.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Which database this is.
    pub fn backend(&self) -> SeaBackend {
        self.connection().get_database_backend()
    }

    /// What a queue in a table divides its work by.
    pub fn queues(&self) -> Queues {
        self.dialect().queues
    }

    /// That an outbox can be kept here.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: it cannot.
    pub fn takes_outbox(&self) -> Result<(), Error> {
        self.dialect().need(self.dialect().outbox)
    }

    /// The moment at which a statement began, as SQL, where the server knows it better than the caller.
    pub fn clock(&self) -> Option<&'static str> {
        self.dialect().now.ok()
    }

    /// What this database can do, and how.
    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.pool().dialect
    }

    /// Closes the pool and those of its replicas and nodes, and waits for their connections to end.
    ///
    /// # Errors
    /// None today; the signature is SeaORM's.
    ///
    /// # Cancel safety
    /// Dropped midway, some connections may be open still; it may be called again.
    pub async fn close(&self) -> Result<(), Error> {
        if let Some(replicas) = self.replica_set() {
            replicas.close().await?;
        }
        if let Some(nodes) = self.node_set() {
            nodes.close().await?;
        }
        Ok(self.connection().close_by_ref().await?)
    }
}
