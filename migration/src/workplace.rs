//! Connections of the runner's own.
//!
//! What it is for: migrations run on connections that nobody else uses, with the timeouts of the runner (G7), and that are
//! closed afterwards, so that no setting of a migration reaches the application. What it must never do: change the
//! application's pool.
//!
//! Timeouts travel as start-up options and the lock is a session's, so a connection pooler that hands a session's
//! statements to different servers must be passed by: give the runner the server's own address.

use std::{path::Path, time::Duration};

use sea_orm::{
    DatabaseConnection, DatabaseConnectionType, DbErr, SqlxPostgresConnector, SqlxSqliteConnector,
    sqlx::{
        postgres::{PgConnectOptions, PgPoolOptions},
        sqlite::SqlitePoolOptions,
    },
};

use crate::{Error, Options, sql};

/// Where migrations run.
pub(crate) struct Workplace {
    /// The connections that migrations use.
    pub connection: DatabaseConnection,
    /// False for a database in memory, which exists in the given pool alone.
    pub own: bool,
}

impl Workplace {
    /// Opens connections like those of `db`. `guard` is sent on each of them before anything else.
    pub async fn open(db: &DatabaseConnection, options: &Options, name: &str, guard: String) -> Result<Self, Error> {
        match &db.inner {
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                let settings = inherited(db).await?;
                let connect = postgres_options(db, options, name);
                let set_up = format!("{settings}{guard}");
                let pool = PgPoolOptions::new()
                    // One works; a migration without a transaction may hold one of its own beside it.
                    .max_connections(4)
                    .min_connections(0)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .after_connect(move |connection, _| {
                        let set_up = set_up.clone();
                        Box::pin(async move { raw(connection, set_up).await })
                    })
                    .connect_lazy_with(connect);
                Ok(Self { connection: SqlxPostgresConnector::from_sqlx_postgres_pool(pool), own: true })
            }
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                let given = db.get_sqlite_connection_pool().connect_options();
                if is_in_memory(given.get_filename()) {
                    return Ok(Self { connection: db.clone(), own: false });
                }
                let connect = given.as_ref().clone().busy_timeout(options.lock_timeout);
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .connect_lazy_with(connect);
                Ok(Self { connection: SqlxSqliteConnector::from_sqlx_sqlite_pool(pool), own: true })
            }
            _ => Err(Error::Unsupported("migrations run on PostgreSQL and SQLite".to_owned())),
        }
    }

    /// Closes what was opened.
    pub async fn close(self) -> Result<(), DbErr> {
        if self.own { self.connection.close().await } else { Ok(()) }
    }
}

/// One connection for the lock alone, with neither timeouts nor a transaction.
pub(crate) async fn lock_connection(db: &DatabaseConnection, name: &str) -> Result<DatabaseConnection, DbErr> {
    let settings = inherited(db).await?;
    let connect =
        postgres_options(db, &Options::default(), name).options([("lock_timeout", "0"), ("statement_timeout", "0")]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move { raw(connection, settings).await })
        })
        .connect_lazy_with(connect);
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

fn postgres_options(db: &DatabaseConnection, options: &Options, name: &str) -> PgConnectOptions {
    let given = db.get_postgres_connection_pool().connect_options();
    given.as_ref().clone().application_name(name).options([
        ("lock_timeout", millis(options.lock_timeout)),
        ("statement_timeout", options.statement_timeout.map_or_else(|| "0".to_owned(), millis)),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
    ])
}

fn millis(duration: Duration) -> String {
    // Zero would mean "no limit".
    duration.as_millis().clamp(1, i32::MAX as u128).to_string()
}

/// What the application set on its connections after connecting (search path, role), as SQL for ours; and the wish
/// to be told of a dead client while a long statement runs, which not every server can grant.
async fn inherited(db: &DatabaseConnection) -> Result<String, DbErr> {
    let sql = "SELECT format('SELECT set_config(''search_path'', %L, false); ', current_setting('search_path')) \
        || CASE WHEN current_setting('role') <> 'none' THEN format('SET ROLE %I; ', current_setting('role')) ELSE '' END \
        || CASE WHEN current_setting('client_connection_check_interval', true) IS NULL THEN '' \
           ELSE 'SET client_connection_check_interval = 500; ' END";
    sql::one(db, sql, []).await?.try_get_by_index(0)
}

async fn raw(connection: &mut sea_orm::sqlx::PgConnection, sql: String) -> Result<(), sea_orm::sqlx::Error> {
    use sea_orm::sqlx::{AssertSqlSafe, Executor};
    connection.execute(AssertSqlSafe(sql)).await.map(|_| ())
}

/// Knocks at a PostgreSQL server once. A pool would try a refused connection again until its patience (30 seconds) ends,
/// and then say only that it ended.
///
/// # Errors
/// Why it cannot be reached.
pub async fn knock(url: &str, patience: Duration) -> Result<(), String> {
    use sea_orm::sqlx::{Connection, PgConnection};
    if !url.starts_with("postgres") {
        return Ok(());
    }
    match tokio::time::timeout(patience, PgConnection::connect(url)).await {
        Ok(Ok(connection)) => connection.close().await.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the server did not answer within {patience:?}")),
    }
}

pub(crate) fn is_in_memory(file: &Path) -> bool {
    let name = file.to_string_lossy();
    name.is_empty()
        || name.contains(":memory:")
        || name.starts_with("file:sqlx-in-memory")
        || name.contains("mode=memory")
}

/// Whether this is SQLite in memory: no other process can reach it.
pub(crate) fn lives_in_memory(db: &DatabaseConnection) -> bool {
    match &db.inner {
        DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
            is_in_memory(db.get_sqlite_connection_pool().connect_options().get_filename())
        }
        _ => false,
    }
}
