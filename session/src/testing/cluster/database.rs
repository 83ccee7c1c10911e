//! A database of its own for each test, and roles of its own to look at it with.
//!
//! What is made here has names that nothing else has, and goes with the value; whatever could not be dropped goes with
//! the cluster. This module talks to the server as its administrator, outside any unit of work, in one function.

use std::fmt::{self, Debug, Formatter};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::{cluster_error::ClusterError, url::PgUrl};

/// How long the server may take over one administrative statement.
const PATIENCE: Duration = Duration::from_secs(60);

/// An empty database that is dropped with this value.
///
/// The drop cuts connections that are still open (`FORCE`) and waits for the server; what fails then is not reported.
/// [`TestDatabase::drop_now`] reports it.
pub struct TestDatabase {
    admin: PgUrl,
    name: String,
    /// Made for this database, and dropped after it.
    roles: Mutex<Vec<String>>,
    dropped: bool,
}

/// A role that neither is a superuser nor bypasses row-level security, and that owns nothing.
#[derive(Clone)]
pub struct TestRole {
    name: String,
    url: String,
}

impl TestDatabase {
    pub(super) async fn create(admin: &PgUrl, icu_locale: Option<&str>) -> Result<Self, ClusterError> {
        let name = unique("db");
        // template0 and an explicit locale: a server that was given may have others as its default. Its files are copied, which takes half
        // of what to write them to the log as well takes.
        let provider = match icu_locale {
            None => "LOCALE_PROVIDER libc".to_owned(),
            Some(locale) => format!("LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale)),
        };
        let sql = format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' {provider} STRATEGY file_copy"
        );
        // Whether or not the statement went through when its future is dropped, the drop of this value follows it up.
        let database = TestDatabase { admin: admin.clone(), name, roles: Mutex::default(), dropped: false };
        administer(admin, "creating a database", &[sql]).await?;
        Ok(database)
    }

    /// The URL of this database, as its owner.
    pub fn url(&self) -> String {
        self.here().to_string()
    }

    /// The URL of this database for a role that exists and needs no password, as on the shared cluster.
    pub fn url_as(&self, role: &str) -> String {
        self.here().with_user(role, None).to_string()
    }

    /// The URL of this database, as its owner, through an address where a proxy listens. The proxy finds the server at
    /// [`Cluster::socket`](super::Cluster::socket).
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        self.here().through(proxy).to_string()
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a role that may connect to this database and use its schema `public`, and nothing else: what it may do
    /// with tables is the test's to grant. It goes with the database.
    ///
    /// # Errors
    /// What the server says.
    ///
    /// # Cancel safety
    /// Dropped midway, the role may exist; it goes with the database all the same.
    pub async fn create_role(&self) -> Result<TestRole, ClusterError> {
        let name = unique("role");
        let password = Uuid::new_v4().simple().to_string();
        self.roles.lock().push(name.clone());
        let create =
            format!("CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD '{password}'");
        let connect = format!("GRANT CONNECT ON DATABASE {} TO {name}", self.name);
        let usage = format!("GRANT USAGE ON SCHEMA public TO {name}");
        administer(&self.here(), "creating a role", &[create, connect, usage]).await?;
        let url = self.here().with_user(&name, Some(&password)).to_string();
        Ok(TestRole { name, url })
    }

    /// Drops the database and its roles now, and says whether that worked.
    ///
    /// # Errors
    /// What the server says.
    ///
    /// # Cancel safety
    /// Dropped midway, it is not tried again.
    pub async fn drop_now(mut self) -> Result<(), ClusterError> {
        self.dropped = true;
        administer(&self.admin, "dropping a database", &self.drop_statements()).await
    }

    fn drop_statements(&self) -> Vec<String> {
        let database = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let roles = self.roles.lock();
        let roles = roles.iter().map(|role| format!("DROP ROLE IF EXISTS {role}"));
        std::iter::once(database).chain(roles).collect()
    }

    fn here(&self) -> PgUrl {
        self.admin.with_database(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (admin, statements) = (self.admin.clone(), self.drop_statements());
        // A drop cannot wait inside the caller's runtime; a thread with a runtime of its own can, and is waited for, so
        // that a server that was given is clean when the test ends.
        let worker = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime
                && let Err(error) = runtime.block_on(administer(&admin, "dropping a database", &statements))
            {
                tracing::debug!(%error, "a test database stays until its cluster goes");
            }
        });
        if worker.join().is_err() {
            tracing::debug!("a test database stays until its cluster goes");
        }
    }
}

impl Debug for TestDatabase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TestRole {
    /// The role's name, for GRANT and REVOKE.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the database, as this role.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Debug for TestRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRole").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A name that no other run, process or test has, and that needs no quotes.
fn unique(kind: &str) -> String {
    format!("sea_session_test_{kind}_{}", Uuid::new_v4().simple())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Sends statements one by one: CREATE and DROP DATABASE refuse to share a message with others.
async fn administer(server: &PgUrl, what: &str, statements: &[String]) -> Result<(), ClusterError> {
    let refused = |source| ClusterError::Sql { what: what.to_owned(), source };
    let work = async {
        let mut connection = PgConnection::connect(&server.to_string()).await?;
        for statement in statements {
            send(&mut connection, statement).await?;
        }
        connection.close().await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(refused),
        Err(_) => Err(refused(sqlx::Error::PoolTimedOut)),
    }
}

/// The names in a statement are made by this module, and its one foreign text is quoted as a literal.
#[expect(clippy::disallowed_methods, reason = "administers the test server, where there is no unit of work")]
async fn send(connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    use sqlx::Executor;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))).await.map(drop)
}
