//! Which answer an error of a unit is: the one table of statuses and kinds.
//!
//! An answer says what the client can do about it, and nothing of tables, constraints, statements or servers.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sea_session::{Class, Error};

/// A kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: StatusCode,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the client may do about it.
    pub(crate) detail: &'static str,
}

const fn kind(status: StatusCode, name: &'static str, title: &'static str, detail: &'static str) -> Kind {
    Kind { status, name, title, detail }
}

pub(crate) const NOT_FOUND: Kind =
    kind(StatusCode::NOT_FOUND, "not-found", "Not found", "What was asked for is not there.");
pub(crate) const STALE: Kind = kind(
    StatusCode::CONFLICT,
    "stale",
    "Changed by somebody else",
    "It was changed or deleted since it was read: read it again, and repeat the change.",
);
pub(crate) const TAKEN: Kind =
    kind(StatusCode::CONFLICT, "already-exists", "Already there", "A value that must be unique is taken.");
pub(crate) const REFERENCE: Kind = kind(
    StatusCode::UNPROCESSABLE_ENTITY,
    "reference",
    "A reference does not hold",
    "Something refers to what is not there, or is referred to and cannot go.",
);
pub(crate) const MISSING_VALUE: Kind = kind(
    StatusCode::UNPROCESSABLE_ENTITY,
    "missing-value",
    "A value is missing",
    "A value that must be given is missing.",
);
pub(crate) const CHECK: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "check", "A value is not permitted", "A value does not meet its condition.");
pub(crate) const BUSY: Kind = kind(
    StatusCode::SERVICE_UNAVAILABLE,
    "busy",
    "Others were faster",
    "Nothing was changed, because others change the same. Repeat the request.",
);
pub(crate) const UNAVAILABLE: Kind = kind(
    StatusCode::SERVICE_UNAVAILABLE,
    "unavailable",
    "Not available",
    "Nothing was changed, because the service cannot do its work now. Repeat the request later.",
);
pub(crate) const COMMIT_UNKNOWN: Kind = kind(
    StatusCode::INTERNAL_SERVER_ERROR,
    "commit-unknown",
    "Changed or not is not known",
    "The change may have been made. Look before the request is repeated.",
);
pub(crate) const AFTER_COMMIT: Kind = kind(
    StatusCode::INTERNAL_SERVER_ERROR,
    "after-commit",
    "Changed, and a later step failed",
    "The change was made. Do not repeat the request.",
);
pub(crate) const INTERNAL: Kind = kind(
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal",
    "Internal error",
    "The request could not be carried out because of a fault of the service.",
);

/// The answer that an error is.
pub(crate) fn of(error: &Error) -> Kind {
    match error.root() {
        Error::Stale { .. } | Error::UnrepeatableRead { .. } => STALE,
        Error::Duplicate { .. } => TAKEN,
        Error::Database(said) if names_no_row(error) && said.class() == Class::Decode => NOT_FOUND,
        Error::Database(said) => of_class(said.class()),
        Error::Unavailable(_) => UNAVAILABLE,
        Error::CommitUnknown { .. } => COMMIT_UNKNOWN,
        Error::AfterCommit { .. } => AFTER_COMMIT,
        _ => INTERNAL,
    }
}

fn of_class(class: Class) -> Kind {
    match class {
        Class::Unique => TAKEN,
        Class::ForeignKey => REFERENCE,
        Class::NotNull => MISSING_VALUE,
        Class::Check => CHECK,
        Class::Serialization | Class::Deadlock | Class::Busy | Class::LockNotAvailable | Class::PlanChanged => BUSY,
        Class::ConnectionLost => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// Whether it is SeaORM's own error of a row that is not there.
fn names_no_row(error: &Error) -> bool {
    matches!(DbErr::from(error.root().clone()), DbErr::RecordNotFound(_) | DbErr::RecordNotUpdated)
}
