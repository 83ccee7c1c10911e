//! Connections of the runner's own.
//!
//! What it is for: migrations run on connections that nobody else uses, with the timeouts of the runner (G7), and that are
//! closed afterwards, so that no setting of a migration reaches the application. What it must never do: change the
//! application's pool.
//!
//! A file for each driver that is built in (Y4); nothing outside of this folder names one.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sea_orm::{DatabaseConnection, DatabaseConnectionType, DbErr};

pub use postgres::knock;
pub(crate) use postgres::lock_connection;
pub(crate) use sqlite::lives_in_memory;

use crate::{error::Error, options::Options};

/// Without the driver, what is asked of it.
#[cfg(not(feature = "postgres"))]
mod postgres {
    use std::time::Duration;

    use sea_orm::{DatabaseConnection, DbErr};

    pub(crate) async fn lock_connection(_: &DatabaseConnection, _: &str) -> Result<DatabaseConnection, DbErr> {
        Err(DbErr::Custom(super::no_driver()))
    }

    /// There is no server to knock at.
    ///
    /// # Errors
    /// None.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn knock(_: &str, _: Duration) -> Result<(), String> {
        Ok(())
    }
}

/// Without the driver, what is asked of it.
#[cfg(not(feature = "sqlite"))]
mod sqlite {
    pub(crate) fn lives_in_memory(_: &sea_orm::DatabaseConnection) -> bool {
        false
    }
}

/// Where migrations run.
pub(crate) struct Workplace {
    /// The connections that migrations use.
    pub connection: DatabaseConnection,
    /// False for a database in memory, which exists in the given pool alone.
    pub own: bool,
}

impl Workplace {
    /// Opens connections like those of `db`. `guard` is sent on each of them before anything else.
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "files have neither names nor guards"))]
    pub async fn open(db: &DatabaseConnection, options: &Options, name: &str, guard: String) -> Result<Self, Error> {
        match &db.inner {
            #[cfg(feature = "postgres")]
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                Ok(Self { connection: postgres::worker(db, options, name, guard).await?, own: true })
            }
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => Ok(match sqlite::worker(db, options) {
                Some(connection) => Self { connection, own: true },
                None => Self { connection: db.clone(), own: false },
            }),
            _ => Err(Error::Unsupported(no_driver())),
        }
    }

    /// Closes what was opened.
    pub async fn close(self) -> Result<(), DbErr> {
        if self.own { self.connection.close().await } else { Ok(()) }
    }
}

fn no_driver() -> String {
    let built_in = [("PostgreSQL", cfg!(feature = "postgres")), ("SQLite", cfg!(feature = "sqlite"))];
    let built_in: Vec<&str> = built_in.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    format!("this program migrates {} only", built_in.join(" and "))
}
