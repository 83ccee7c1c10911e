//! The same for MariaDB: a throw-away server, shared by the processes of a run, and a database of its own for each test.
//!
//! `TEST_MYSQL_URL` names a server to use instead: a URL whose user may create databases.

use std::{fmt, net::SocketAddr, path::PathBuf, thread, time::Duration};

use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Connection, MySqlConnection,
    mysql::{MySqlConnectOptions, MySqlSslMode},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    cluster_error::ClusterError,
    lease::{self, Engine, Lease},
    variable,
};

/// Names a server to use instead of the shared one.
const GIVEN_SERVER: &str = "TEST_MYSQL_URL";

/// How long the server may take over one administrative statement.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all tests of this process share. It lives until the process ends, and the kernel returns the lease.
static SHARED: OnceCell<Shared> = OnceCell::const_new();

struct Shared {
    admin: MySqlConnectOptions,
    lease: Option<Lease>,
}

impl Shared {
    async fn find() -> Result<Self, ClusterError> {
        if let Some(url) = variable(GIVEN_SERVER) {
            return Ok(Shared { admin: url.parse().map_err(|_| ClusterError::MySqlUrl)?, lease: None });
        }
        let lease = Lease::shared(Engine::MariaDb, &lease::default_link(Engine::MariaDb)?).await?;
        Ok(Shared { admin: administrator(&lease), lease: Some(lease) })
    }
}

/// A server that belongs to one test, which may kill and restart it. It ends with the value, or with the process.
pub struct Server {
    lease: Lease,
}

impl Server {
    /// Starts a server of its own, whatever `TEST_MYSQL_URL` says: no test may kill a server that it was given.
    ///
    /// # Errors
    /// MariaDB is not installed or does not start.
    ///
    /// # Cancel safety
    /// Dropped while it starts, it leaves a server that nobody holds, which removes itself.
    pub async fn start() -> Result<Self, ClusterError> {
        Ok(Server { lease: Lease::private(Engine::MariaDb).await? })
    }

    /// A new, empty database on this server.
    ///
    /// # Errors
    /// What the server says.
    ///
    /// # Cancel safety
    /// Dropped midway, it may leave an unused database, which goes with the server.
    pub async fn database(&self) -> Result<MariaDbDatabase, ClusterError> {
        MariaDbDatabase::create(&administrator(&self.lease), Some(self.lease.socket())).await
    }

    /// Kills the server and starts it again, which recovers from its log.
    ///
    /// # Errors
    /// It did not end or did not come back.
    ///
    /// # Cancel safety
    /// Dropped midway, the restart goes on in the background.
    pub async fn restart_immediate(&self) -> Result<(), ClusterError> {
        self.lease.restart("immediate").await
    }

    /// Ends the server and waits until its folder is gone. Dropping the value does the same without waiting.
    ///
    /// # Errors
    /// The folder is still there after half a minute.
    ///
    /// # Cancel safety
    /// Dropped midway, the server goes all the same.
    pub async fn stop(self) -> Result<(), ClusterError> {
        self.lease.end().await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// The administrator of a server that was started here.
fn administrator(lease: &Lease) -> MySqlConnectOptions {
    MySqlConnectOptions::new().username("root").socket(lease.socket()).ssl_mode(MySqlSslMode::Disabled)
}

/// A new, empty database on the shared server, dropped with the value: text is utf8mb4, compared as the server's default
/// collation does, which folds.
///
/// # Errors
/// MariaDB is not installed or does not start; `TEST_MYSQL_URL` is no such URL; what the server says.
///
/// # Cancel safety
/// Dropped midway, it may leave an unused database on the server, which goes with it.
pub async fn fresh_database() -> Result<MariaDbDatabase, ClusterError> {
    let server = SHARED.get_or_try_init(Shared::find).await?;
    MariaDbDatabase::create(&server.admin, server.lease.as_ref().map(Lease::socket)).await
}

/// The URL of a database of the shared server, by its name.
///
/// # Errors
/// As [`fresh_database`].
///
/// # Cancel safety
/// Safe: at most the server has been started.
pub async fn url_of(database: &str) -> Result<String, ClusterError> {
    let server = SHARED.get_or_try_init(Shared::find).await?;
    Ok(server.admin.clone().database(database).to_url_lossy().to_string())
}

/// An empty database that is dropped with this value, whatever connections to it are open.
pub struct MariaDbDatabase {
    admin: MySqlConnectOptions,
    socket: Option<PathBuf>,
    name: String,
}

impl MariaDbDatabase {
    async fn create(admin: &MySqlConnectOptions, socket: Option<PathBuf>) -> Result<Self, ClusterError> {
        let name = format!("sea_session_test_{}", Uuid::new_v4().simple());
        let sql = format!("SET lock_wait_timeout = 10; CREATE DATABASE {name} CHARACTER SET utf8mb4");
        let database = MariaDbDatabase { admin: admin.clone(), socket, name };
        administer(admin, "creating a database", sql).await?;
        Ok(database)
    }

    /// The URL of this database, as its owner.
    pub fn url(&self) -> String {
        self.admin.clone().database(&self.name).to_url_lossy().to_string()
    }

    /// The URL of this database, as its owner, through an address where a proxy listens that finds the server at
    /// [`MariaDbDatabase::socket`].
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        let there = MySqlConnectOptions::new().username("root").host(&proxy.ip().to_string()).port(proxy.port());
        there.database(&self.name).ssl_mode(MySqlSslMode::Disabled).to_url_lossy().to_string()
    }

    /// The server's socket; none of a server that was given.
    pub fn socket(&self) -> Option<&PathBuf> {
        self.socket.as_ref()
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for MariaDbDatabase {
    fn drop(&mut self) {
        let admin = self.admin.clone();
        let drop = format!("SET lock_wait_timeout = 1; DROP DATABASE IF EXISTS {}", self.name);
        // A transaction that a test has left open keeps its tables from being dropped. Only then: KILL of a connection that is just
        // closing may reach whoever connects next.
        let drop_by_force = format!(
            "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR 1094 BEGIN END; \
             FOR one IN (SELECT id FROM information_schema.processlist WHERE db = '{0}') DO KILL one.id; END FOR; END; \
             SET lock_wait_timeout = 10; DROP DATABASE IF EXISTS {0}",
            self.name
        );
        // A drop cannot wait inside the caller's runtime; a thread with a runtime of its own can.
        let worker = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let dropped = async {
                match administer(&admin, "dropping a database", drop).await {
                    Ok(()) => Ok(()),
                    Err(_) => administer(&admin, "dropping a database", drop_by_force).await,
                }
            };
            if let Ok(runtime) = runtime
                && let Err(error) = runtime.block_on(dropped)
            {
                tracing::debug!(%error, "a test database stays until its server goes");
            }
        });
        if worker.join().is_err() {
            tracing::debug!("a test database stays until its server goes");
        }
    }
}

impl fmt::Debug for MariaDbDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDbDatabase").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn administer(server: &MySqlConnectOptions, what: &str, statement: String) -> Result<(), ClusterError> {
    let refused = |source| ClusterError::Sql { what: what.to_owned(), source };
    let work = async {
        let mut connection = MySqlConnection::connect_with(server).await?;
        send(&mut connection, statement).await?;
        connection.close().await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(refused),
        Err(_) => Err(refused(sqlx::Error::PoolTimedOut)),
    }
}

/// The names in a statement are made by this module.
#[expect(clippy::disallowed_methods, reason = "administers the test server, where there is no unit of work")]
async fn send(connection: &mut MySqlConnection, statement: String) -> Result<(), sqlx::Error> {
    use sqlx::Executor;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.map(drop)
}
