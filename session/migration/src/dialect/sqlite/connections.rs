//! Connections to a file of SQLite.

use std::path::Path;

use sea_orm::{DatabaseConnection, SqlxSqliteConnector, sqlx::sqlite::SqlitePoolOptions};

use crate::options::Options;

/// A connection to the same file; `None` for a database in memory, of which there is none.
pub(super) fn worker(db: &DatabaseConnection, options: &Options) -> Option<DatabaseConnection> {
    if lives_in_memory(db) {
        return None;
    }
    let given = db.get_sqlite_connection_pool().connect_options();
    let connect = given.as_ref().clone().busy_timeout(options.lock_timeout);
    let pool =
        SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(connect);
    Some(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// Whether this is SQLite in memory: no other process can reach it.
pub(super) fn lives_in_memory(db: &DatabaseConnection) -> bool {
    is_in_memory(db.get_sqlite_connection_pool().connect_options().get_filename())
}

fn is_in_memory(file: &Path) -> bool {
    let name = file.to_string_lossy();
    name.is_empty()
        || name.contains(":memory:")
        || name.starts_with("file:sqlx-in-memory")
        || name.contains("mode=memory")
}
