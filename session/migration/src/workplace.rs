//! Connections of the runner's own.
//!
//! What it is for: migrations run on connections that nobody else uses, with the timeouts of the runner (G7), and that are
//! closed afterwards, so that no setting of a migration reaches the application. What it must never do: change the
//! application's pool.

use sea_orm::{DatabaseConnection, DbErr};

use crate::{dialect::Dialect, error::Error, options::Options};

/// How many connections a migration's own code may use: one works, and it may hold a transaction of its own beside it.
pub(crate) const MOST: u32 = 4;

/// Where migrations run.
pub(crate) struct Workplace {
    /// The connections that migrations use.
    pub connection: DatabaseConnection,
    /// False for a database in memory, which exists in the given pool alone.
    pub own: bool,
}

impl Workplace {
    /// Opens at most so many connections like those of `db`. `guard` is sent on each of them before anything else.
    pub async fn open(
        dialect: &dyn Dialect,
        db: &DatabaseConnection,
        options: &Options,
        guard: String,
        most: u32,
    ) -> Result<Self, Error> {
        Ok(match dialect.connections(db, options, guard, most).await? {
            Some(connection) => Self { connection, own: true },
            None => Self { connection: db.clone(), own: false },
        })
    }

    /// Closes what was opened.
    pub async fn close(self) -> Result<(), DbErr> {
        if self.own { self.connection.close().await } else { Ok(()) }
    }
}
