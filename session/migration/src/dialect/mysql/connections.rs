//! Connections to MySQL or MariaDB.

use std::time::Duration;

use sea_orm::{
    DatabaseConnection, DbErr, SqlxMySqlConnector,
    sqlx::{
        self, AssertSqlSafe, Executor, MySqlConnection,
        mysql::{MySqlConnectOptions, MySqlPoolOptions},
    },
};

use crate::{options::Options, sql};

/// At most so many connections to the database that `db` works in, each with the timeouts of the runner.
pub(super) async fn workers(
    db: &DatabaseConnection,
    options: &Options,
    guard: String,
    most: u32,
) -> Result<DatabaseConnection, DbErr> {
    let seconds = options.lock_timeout.as_millis().div_ceil(1_000).clamp(1, 1 << 20);
    let mut set_up = format!("SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}; ");
    if let Some(limit) = options.statement_timeout {
        let version: String = sql::one(db, "SELECT VERSION()", []).await?.try_get_by_index(0)?;
        set_up += &statement_timeout(limit, version.contains("MariaDB"));
    }
    open(db, most, set_up + &guard).await
}

/// One connection without the runner's timeouts.
pub(super) async fn one(db: &DatabaseConnection, options: &Options) -> Result<DatabaseConnection, DbErr> {
    workers(db, options, String::new(), 1).await
}

/// One connection for the lock alone, which the server does not end however long it has nothing to say.
pub(super) async fn lock_connection(db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
    open(db, 1, "SET SESSION wait_timeout = 31536000".to_owned()).await
}

/// MariaDB bounds every statement, in seconds; MySQL only those that read, in milliseconds.
fn statement_timeout(limit: Duration, mariadb: bool) -> String {
    let millis = limit.as_millis().clamp(1, 1 << 31);
    match mariadb {
        true => format!("SET SESSION max_statement_time = {}.{:03}; ", millis / 1_000, millis % 1_000),
        false => format!("SET SESSION max_execution_time = {millis}; "),
    }
}

async fn open(db: &DatabaseConnection, most: u32, set_up: String) -> Result<DatabaseConnection, DbErr> {
    let pool = MySqlPoolOptions::new()
        .max_connections(most)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            // What is not in a transaction commits, whatever the server is set to.
            let set_up = format!("SET SESSION autocommit = 1; {set_up}");
            Box::pin(async move { raw(connection, set_up).await })
        })
        .connect_lazy_with(connect_options(db).await?);
    Ok(SqlxMySqlConnector::from_sqlx_mysql_pool(pool))
}

/// Those of `db`, in the database that it has gone to since.
async fn connect_options(db: &DatabaseConnection) -> Result<MySqlConnectOptions, DbErr> {
    let given = db.get_mysql_connection_pool().connect_options();
    let database: Option<String> = sql::one(db, "SELECT DATABASE()", []).await?.try_get_by_index(0)?;
    let options = given.as_ref().clone();
    Ok(match database {
        Some(database) => options.database(&database),
        None => options,
    })
}

async fn raw(connection: &mut MySqlConnection, sql: String) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(sql)).await.map(|_| ())
}
