//! A throw-away PostgreSQL server for tests: found, started, shared by the processes of a run, and removed.
//!
//! [`fresh_database`] is what a test asks for: a database of its own on the shared cluster. [`Cluster::start`] gives a
//! cluster that the test owns, and may crash. `TEST_POSTGRES_URL` names a server to use instead of the shared cluster.
//!
//! The cluster lives in one temporary folder and listens on a Unix socket in it, never on a port. It is started and
//! removed by a small watcher (`cluster.sh`), a process of its own that outlives the tests: whoever uses the cluster
//! holds a named pipe open, the kernel closes it however the process ends, and the watcher then stops the server and
//! deletes the folder. So success, panic, Ctrl-C and SIGKILL of the tests all leave nothing behind.
//!
//! What this module must never do: touch a server that it did not start (but for the databases and roles that it makes
//! on the one named by `TEST_POSTGRES_URL`), install anything, or let a test go on without PostgreSQL: a server that
//! cannot be had is an error that says what was looked for.

mod cluster_error;
mod database;
#[cfg(feature = "mysql")]
pub mod galera;
mod lease;
#[cfg(feature = "mysql")]
pub mod mariadb;
#[cfg(test)]
mod tests;
mod url;

use std::env;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

pub use self::cluster_error::ClusterError;
pub use self::database::{TestDatabase, TestRole};
use self::lease::{Engine, Lease};
use self::url::PgUrl;

/// Names a server to use instead of the shared cluster: a URL whose user may create databases and roles.
const GIVEN_SERVER: &str = "TEST_POSTGRES_URL";

/// Names the folder of a cluster that `./test` started for its whole run.
const GIVEN_CLUSTER: &str = "SEA_SESSION_TEST_CLUSTER";

/// What all tests of this process share. It lives until the process ends, and the kernel returns the lease.
static SHARED: OnceCell<Server> = OnceCell::const_new();

/// A server with the right to make databases on it.
struct Server {
    admin: PgUrl,
    /// Held for its end only; none for a server that was given.
    _lease: Option<Lease>,
}

/// The URL of the shared server's administrator: starts the cluster if no process of the run has done so yet.
///
/// # Errors
/// PostgreSQL is not installed or does not start; `TEST_POSTGRES_URL` is no PostgreSQL URL.
///
/// # Cancel safety
/// Dropped while the cluster starts, it leaves a cluster that nobody holds, which removes itself.
pub async fn database_url() -> Result<String, ClusterError> {
    Ok(shared().await?.admin.to_string())
}

/// The URL of a database of the shared server, as its administrator: for another process of a test that made it.
///
/// # Errors
/// Those of [`database_url`]. Whether there is such a database is not asked.
///
/// # Cancel safety
/// As [`database_url`].
pub async fn url_of(database: &str) -> Result<String, ClusterError> {
    Ok(shared().await?.admin.with_database(database).to_string())
}

/// A new, empty database on the shared server: UTF-8, collated by code point, dropped with the value.
///
/// # Errors
/// Those of [`database_url`], and what the server says to `CREATE DATABASE`.
///
/// # Cancel safety
/// Dropped midway, it may leave an unused database on the server, which goes with the cluster.
pub async fn fresh_database() -> Result<TestDatabase, ClusterError> {
    TestDatabase::create(&shared().await?.admin, None).await
}

/// A new, empty database on the shared server whose text is collated by ICU's rules for `locale` (`en-US`): what holds
/// for ordering and prefixes under code points often fails here.
///
/// # Errors
/// Those of [`fresh_database`]; a PostgreSQL built without ICU refuses.
///
/// # Cancel safety
/// As [`fresh_database`].
pub async fn fresh_database_collated(locale: &str) -> Result<TestDatabase, ClusterError> {
    TestDatabase::create(&shared().await?.admin, Some(locale)).await
}

async fn shared() -> Result<&'static Server, ClusterError> {
    SHARED.get_or_try_init(Server::find).await
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Server {
    async fn find() -> Result<Self, ClusterError> {
        if let Some(url) = variable(GIVEN_SERVER) {
            return Ok(Server { admin: url.parse()?, _lease: None });
        }
        let lease = match variable(GIVEN_CLUSTER) {
            Some(folder) => Lease::of(Engine::Postgres, Path::new(&folder)).await?,
            None => Lease::shared(Engine::Postgres, &lease::default_link(Engine::Postgres)?).await?,
        };
        Ok(Server { admin: PgUrl::on_socket(&lease.socket_folder()), _lease: Some(lease) })
    }
}

/// A cluster that belongs to one test, which may crash and restart it. It ends with the value, or with the process.
pub struct Cluster {
    lease: Lease,
}

impl Cluster {
    /// Starts a cluster of its own, whatever `TEST_POSTGRES_URL` says: no test may crash a server that it was given.
    ///
    /// # Errors
    /// PostgreSQL is not installed or does not start.
    ///
    /// # Cancel safety
    /// Dropped while the cluster starts, it leaves a cluster that nobody holds, which removes itself.
    pub async fn start() -> Result<Self, ClusterError> {
        Ok(Cluster { lease: Lease::private(Engine::Postgres).await? })
    }

    /// Starts a streaming replica of this cluster, which belongs to the test as well: it holds every database of this one, and
    /// replays what is written here. It is a base backup, so what was written before is there.
    ///
    /// # Errors
    /// `pg_basebackup` is not installed, or the replica does not start.
    ///
    /// # Cancel safety
    /// As [`Cluster::start`].
    pub async fn replica(&self) -> Result<Self, ClusterError> {
        Ok(Cluster { lease: self.lease.replica().await? })
    }

    /// The URL of a database of this name, as its administrator. A replica has those of its primary.
    pub fn url_of(&self, database: &str) -> String {
        self.admin().with_database(database).to_string()
    }

    /// The URL of the administrator.
    pub fn url(&self) -> String {
        self.admin().to_string()
    }

    /// A new, empty database on this cluster.
    ///
    /// # Errors
    /// What the server says to `CREATE DATABASE`.
    ///
    /// # Cancel safety
    /// Dropped midway, it may leave an unused database, which goes with the cluster.
    pub async fn fresh_database(&self) -> Result<TestDatabase, ClusterError> {
        TestDatabase::create(&self.admin(), None).await
    }

    /// The path of the server's Unix socket, for a proxy that stands between.
    pub fn socket(&self) -> PathBuf {
        self.lease.socket()
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.lease.socket_folder().join("log")
    }

    /// Crashes the server (`-m immediate`: no shutdown checkpoint, every connection cut) and starts it again, which
    /// recovers from the write-ahead log. What was committed is there again: only a crash of the machine would lose it.
    ///
    /// # Errors
    /// The server did not stop or did not come back.
    ///
    /// # Cancel safety
    /// Dropped midway, the restart goes on in the background.
    pub async fn restart_immediate(&self) -> Result<(), ClusterError> {
        self.lease.restart("immediate").await
    }

    /// Restarts in good order (`-m fast`: transactions are aborted, connections closed, a checkpoint is written).
    ///
    /// # Errors
    /// The server did not stop or did not come back.
    ///
    /// # Cancel safety
    /// Dropped midway, the restart goes on in the background.
    pub async fn restart(&self) -> Result<(), ClusterError> {
        self.lease.restart("fast").await
    }

    /// Crashes the server (`-m immediate`), which then is gone until [`Cluster::resume`].
    ///
    /// # Errors
    /// The server did not stop.
    ///
    /// # Cancel safety
    /// Dropped midway, it stops in the background.
    pub async fn halt(&self) -> Result<(), ClusterError> {
        self.lease.halt("immediate").await
    }

    /// Starts the server that [`Cluster::halt`] has stopped.
    ///
    /// # Errors
    /// The server did not come back.
    ///
    /// # Cancel safety
    /// Dropped midway, it starts in the background.
    pub async fn resume(&self) -> Result<(), ClusterError> {
        self.lease.resume().await
    }

    /// Stops the server and waits until its folder is gone. Dropping the value does the same without waiting.
    ///
    /// # Errors
    /// The folder is still there after half a minute.
    ///
    /// # Cancel safety
    /// Dropped midway, the cluster goes all the same.
    pub async fn stop(self) -> Result<(), ClusterError> {
        self.lease.end().await
    }

    fn admin(&self) -> PgUrl {
        PgUrl::on_socket(&self.lease.socket_folder())
    }
}
