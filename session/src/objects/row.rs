//! The words that objects and the flush share: what is due about a row, what is written of it, and what came back.

use std::sync::Arc;

use sea_orm::{QueryResult, Value, sea_query::Expr};

use super::{AnyObject, values::AnyDraft};
use crate::{
    error::Error,
    table::{columns::ColumnSet, meta::TableMeta},
};

/// What is due about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Insert,
    Update,
    Delete,
}

/// A value to write, as an object knows it.
pub(crate) enum WrittenValue {
    Value(Value),
    KeyOf(Arc<AnyObject>, usize),
}

/// One object's change; becomes an [`Op`] when the objects it refers to have their numbers.
pub(crate) struct RowChange {
    pub(crate) key: Vec<Value>,
    pub(crate) version: Option<Value>,
    pub(crate) cells: Vec<(usize, WrittenValue)>,
    pub(crate) checks: Vec<(usize, Value)>,
    pub(crate) leaves: Vec<(usize, Value)>,
    pub(crate) frees: Vec<Option<Vec<Value>>>,
    pub(crate) takes: Vec<Option<Vec<Value>>>,
}

/// A row that expressions change.
pub(crate) struct Expressed {
    pub(crate) key: Vec<Value>,
    pub(crate) version: Option<Value>,
    pub(crate) columns: Vec<(usize, Expr)>,
    /// Columns that were read, and what they must still hold (P1).
    pub(crate) checks: Vec<(usize, Value)>,
}

/// A row that can go straight to the wire.
pub(crate) struct Straight {
    /// The columns that are to be written; none for a delete.
    pub(crate) columns: ColumnSet,
    /// As [`AnyObject::rank`].
    pub(crate) rank: i64,
}

/// One value of a row on its way to the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// As the database holds it.
    Held(usize),
    /// As it was loaded, to be compared (P1).
    Checked(usize),
    /// As it is to be written.
    New(usize),
}

impl Put {
    pub(crate) fn column(self) -> usize {
        match self {
            Put::Held(column) | Put::Checked(column) | Put::New(column) => column,
        }
    }
}

/// What a `before` hook hands to the `after` hook of the same object.
pub(crate) type Carried = Option<Box<dyn AnyDraft>>;

/// What the flush writes into every row it touches.
pub(crate) struct Stamp<'a> {
    pub(crate) now: chrono::DateTime<chrono::Utc>,
    pub(crate) tenant: Option<&'a str>,
}

/// Columns that came back with a write.
pub(crate) enum Returned<'a> {
    Row(&'a QueryResult),
    Values(&'a [(usize, Value)]),
}

/// The error of a foreign key that follows an object which no flush of this unit writes.
pub(crate) fn not_in_unit(table: &TableMeta, column: usize, parent: &TableMeta) -> Error {
    Error::usage(format!(
        "{}.{} follows the key of a {} that is not part of this unit of work: add it first",
        table.entity, table.columns[column].name, parent.entity
    ))
}
