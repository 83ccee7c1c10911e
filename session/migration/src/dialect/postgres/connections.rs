//! Connections to PostgreSQL.
//!
//! Timeouts travel as start-up options and the lock is a session's, so a connection pooler that hands a session's
//! statements to different servers must be passed by: give the runner the server's own address.

use std::time::Duration;

use sea_orm::{
    DatabaseConnection, DbErr, SqlxPostgresConnector,
    sqlx::{
        self, AssertSqlSafe, Executor, PgConnection,
        postgres::{PgConnectOptions, PgPoolOptions},
    },
};

use crate::{options::Options, sql};

pub(super) async fn workers(
    db: &DatabaseConnection,
    options: &Options,
    guard: String,
    most: u32,
) -> Result<DatabaseConnection, DbErr> {
    let set_up = format!("{}{guard}", inherited(db).await?);
    let pool = PgPoolOptions::new()
        .max_connections(most)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let set_up = set_up.clone();
            Box::pin(async move { raw(connection, set_up).await })
        })
        .connect_lazy_with(connect_options(db, options, &options.runner_name()));
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// One connection for the lock alone, with neither timeouts nor a transaction.
pub(super) async fn lock_connection(db: &DatabaseConnection, name: &str) -> Result<DatabaseConnection, DbErr> {
    let settings = inherited(db).await?;
    let connect =
        connect_options(db, &Options::default(), name).options([("lock_timeout", "0"), ("statement_timeout", "0")]);
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

fn connect_options(db: &DatabaseConnection, options: &Options, name: &str) -> PgConnectOptions {
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

async fn raw(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(sql)).await.map(|_| ())
}
