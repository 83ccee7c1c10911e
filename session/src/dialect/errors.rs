//! How an error of a driver becomes one of ours, and one of ours travels through SeaORM's functions.

use std::{fmt, sync::Arc};

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};

use super::DIALECTS;
use crate::error::{Class, DatabaseError, Error, class_of_sqlstate};

impl From<sqlx::Error> for Error {
    fn from(e: sqlx::Error) -> Self {
        from_sqlx(&Arc::new(e))
    }
}

fn from_sqlx(e: &Arc<sqlx::Error>) -> Error {
    let (mut class, mut code, mut constraint) = (Class::Other, None, None);
    match &**e {
        sqlx::Error::Database(db) => {
            code = db.code().map(|c| c.as_ref().into());
            constraint = db
                .constraint()
                .or_else(|| DIALECTS.iter().find_map(|dialect| (dialect.constraint)(db.message())))
                .map(Into::into);
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
    Error::Database(Arc::new(DatabaseError { source, class, code, constraint, place: None }))
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
#[derive(Debug)]
struct Travelling(Error);

impl fmt::Display for Travelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Travelling {}

impl From<Error> for DbErr {
    fn from(e: Error) -> Self {
        match e {
            Error::Database(e) if e.place.is_none() => e.source.clone(),
            // TryIntoErr is the one variant of SeaORM that carries a source of any type.
            other => {
                DbErr::TryIntoErr { from: "sea_session::Error", into: "DbErr", source: Arc::new(Travelling(other)) }
            }
        }
    }
}

impl From<DbErr> for Error {
    fn from(e: DbErr) -> Self {
        if let DbErr::TryIntoErr { source, .. } = &e
            && let Some(Travelling(own)) = source.downcast_ref::<Travelling>()
        {
            return own.clone();
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
                place: None,
            })),
            _ => Error::decode(e),
        }
    }
}
