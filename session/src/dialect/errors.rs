//! How an error of a driver becomes one of ours, and one of ours travels through SeaORM's functions.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};

use super::DIALECTS;
use crate::error::{Class, DatabaseError, Error, class_of_sqlstate};

impl From<sqlx::Error> for Error {
    fn from(e: sqlx::Error) -> Self {
        from_sqlx(&Arc::new(e))
    }
}

/// What an error of a database names.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names<'e> {
    pub(crate) constraint: Option<&'e str>,
    pub(crate) table: Option<&'e str>,
    pub(crate) column: Option<&'e str>,
}

fn from_sqlx(e: &Arc<sqlx::Error>) -> Error {
    let (mut class, mut code, mut names) = (Class::Other, None, Names::default());
    match &**e {
        sqlx::Error::Database(db) => {
            if let Some(Travelling { error, .. }) = travelling_in(db.as_ref()) {
                return error.clone();
            }
            code = db.code().map(|c| c.as_ref().into());
            names = DIALECTS.iter().find_map(|dialect| (dialect.names_in)(db.as_ref())).unwrap_or_default();
            class = class_of(db.as_ref(), code.as_deref().unwrap_or_default());
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            class = Class::ConnectionLost
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => class = Class::ConnectionLost,
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. } => {
            class = Class::Decode;
        }
        _ => {}
    }
    let source = match &**e {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        _ => DbErr::Query(RuntimeErr::SqlxError(e.clone())),
    };
    let [constraint, table, column] = [names.constraint, names.table, names.column].map(|name| name.map(Into::into));
    Error::Database(Arc::new(DatabaseError { source, class, code, constraint, table, column, place: None }))
}

fn class_of(error: &dyn sqlx::error::DatabaseError, code: &str) -> Class {
    use sqlx::error::ErrorKind;
    match error.kind() {
        ErrorKind::UniqueViolation => return Class::Unique,
        ErrorKind::ForeignKeyViolation => return Class::ForeignKey,
        ErrorKind::NotNullViolation => return Class::NotNull,
        ErrorKind::CheckViolation => return Class::Check,
        _ => {}
    }
    let known = DIALECTS.iter().find_map(|dialect| (dialect.class)(error, code));
    known.unwrap_or_else(|| class_of_sqlstate(code))
}

/// Our own errors travel through SeaORM's functions (which know only `DbErr`) and come back whole.
///
/// One that a database started travels as an error of its driver, so that `DbErr::sql_err()` tells the first cause (U8).
struct Travelling {
    error: Error,
    /// What the driver said first.
    started: Option<Arc<sqlx::Error>>,
}

impl fmt::Debug for Travelling {
    /// Our error alone: the driver's shows the row (L1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl Travelling {
    fn driver_error(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        self.started.as_deref().and_then(sqlx::Error::as_database_error)
    }
}

impl fmt::Display for Travelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl StdError for Travelling {}

impl sqlx::error::DatabaseError for Travelling {
    fn message(&self) -> &str {
        self.driver_error().map_or("", |e| e.message())
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.driver_error()?.code()
    }

    /// What is asked for by its type is the driver's error.
    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        match self.driver_error() {
            Some(e) => e.as_error(),
            None => self,
        }
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn constraint(&self) -> Option<&str> {
        self.driver_error()?.constraint()
    }

    fn table(&self) -> Option<&str> {
        self.driver_error()?.table()
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        self.driver_error().map_or(sqlx::error::ErrorKind::Other, |e| e.kind())
    }
}

/// An error of ours that travels as one of a driver.
fn travelling_in<'e>(e: &'e (dyn sqlx::error::DatabaseError + 'static)) -> Option<&'e Travelling> {
    let e: &(dyn StdError + 'static) = e;
    e.downcast_ref()
}

impl From<Error> for DbErr {
    fn from(e: Error) -> Self {
        let started = match e.root() {
            Error::Database(cause) => Some(&cause.source),
            _ => None,
        };
        let started = match started {
            Some(source) if matches!(&e, Error::Database(e) if e.place.is_none()) => return source.clone(),
            Some(
                DbErr::Conn(RuntimeErr::SqlxError(s))
                | DbErr::Exec(RuntimeErr::SqlxError(s))
                | DbErr::Query(RuntimeErr::SqlxError(s)),
            ) if s.as_database_error().is_some() => Some(s.clone()),
            _ => None,
        };
        let travelling = Travelling { started, error: e };
        match travelling.started {
            Some(_) => DbErr::Query(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Database(Box::new(travelling))))),
            // TryIntoErr is the one variant of SeaORM that carries a source of any type.
            None => DbErr::TryIntoErr { from: "sea_session::Error", into: "DbErr", source: Arc::new(travelling) },
        }
    }
}

impl From<DbErr> for Error {
    fn from(e: DbErr) -> Self {
        if let DbErr::TryIntoErr { source, .. } = &e
            && let Some(Travelling { error, .. }) = source.downcast_ref::<Travelling>()
        {
            return error.clone();
        }
        match &e {
            DbErr::Conn(RuntimeErr::SqlxError(s))
            | DbErr::Exec(RuntimeErr::SqlxError(s))
            | DbErr::Query(RuntimeErr::SqlxError(s)) => from_sqlx(s),
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Error::Database(Arc::new(DatabaseError {
                class: Class::ConnectionLost,
                source: e,
                code: None,
                constraint: None,
                table: None,
                column: None,
                place: None,
            })),
            _ => Error::decode(e),
        }
    }
}
