//! One column of a table, and sets of them. Columns are positions in `E::Column::iter()`; a set of columns is a bit mask.

use sea_orm::{DbErr, QueryResult, Value, sea_query::ArrayType};

#[cfg(test)]
use super::kinds::null_of_kind;
use super::{
    kinds::ColumnKind,
    sql::quote,
    value::{decode, document},
    value_ref::Exactness,
};
use crate::error::Error;

/// A set of columns of one table. Columns from the 64th on share the last bit, so the set may say "changed" of one that
/// is not (the flush compares values anyway), and never the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ColumnSet(u64);

impl ColumnSet {
    fn bit(column: usize) -> u64 {
        1 << column.min(63)
    }

    pub(crate) fn insert(&mut self, column: usize) {
        self.0 |= Self::bit(column);
    }

    pub(crate) fn contains(self, column: usize) -> bool {
        self.0 & Self::bit(column) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn all() -> Self {
        Self(u64::MAX)
    }

    /// Whether this set can tell the columns of a table so wide apart.
    pub(crate) fn tells_apart(width: usize) -> bool {
        width < 64
    }

    /// The columns, in order, of a table so wide.
    pub(crate) fn columns(self, width: usize) -> impl Iterator<Item = usize> {
        (0..width).filter(move |column| self.contains(*column))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<usize> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = usize>>(columns: I) -> Self {
        let mut set = Self::default();
        columns.into_iter().for_each(|c| set.insert(c));
        set
    }
}

/// One column, with how SeaORM writes and reads it.
#[derive(Clone, Debug)]
pub(crate) struct ColumnMeta {
    pub(crate) name: &'static str,
    /// The type of one value; of an array, SeaORM says the type of its elements.
    pub(crate) kind: ArrayType,
    /// Whether a value is an array of `kind` (PostgreSQL).
    pub(crate) array: bool,
    /// Whether values are JSON documents, which an array of them is too.
    pub(crate) json: bool,
    pub(crate) nullable: bool,
    /// Whether the model has a field for it: the enum may have more members than that.
    pub(crate) held: bool,
    /// NULL, typed as the field.
    pub(crate) null: Value,
    pub(crate) at: usize,
    pub(crate) read: ReadColumn,
    /// What each dialect makes of it, by the dialects' numbers.
    pub(crate) sql: Box<[ColumnSql]>,
}

/// How one dialect writes, reads and compares a column.
#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnSql {
    /// What makes two values the same.
    pub(crate) exactness: Exactness,
    /// SeaORM's write-side cast (an enum, `save_as`), with [`HOLE`] where the value goes.
    pub(crate) save: Option<String>,
    /// SeaORM's read-side expression, named as the column.
    pub(crate) select: String,
}

/// Reads the column at a position, called so in this row, as the type of its field.
pub(crate) type ReadColumn = fn(&QueryResult, usize, &str) -> Option<Result<Value, DbErr>>;

/// Stands for the value in a cast's text.
pub(crate) const HOLE: &str = "__value__";

impl ColumnMeta {
    /// A column for tests that need no entity.
    #[cfg(test)]
    pub(crate) fn plain(name: &'static str, kind: ArrayType, nullable: bool) -> Self {
        let sql = ColumnSql { select: format!("{0} AS {0}", quote(name)), ..ColumnSql::default() };
        Self {
            name,
            null: null_of_kind(&kind),
            kind,
            array: false,
            json: false,
            nullable,
            held: true,
            at: 0,
            read: |_, _, _| None,
            sql: vec![sql; 8].into(),
        }
    }

    /// Whether values of this column can be bound as one array of a batch, and read back by themselves.
    pub(crate) fn is_simple(&self) -> bool {
        !self.array && ColumnKind::of(&self.kind).is_simple()
    }

    /// Whether an array of its values can be compared with it as it is.
    pub(crate) fn compares_with_array(&self, dialect: usize) -> bool {
        self.is_simple() && self.sql[dialect].save.is_none() && !self.json && !matches!(self.kind, ArrayType::Enum(_))
    }

    /// Whether the database may hold values equal that are not the same: texts, and kinds that are compared by value.
    pub(crate) fn may_fold(&self) -> bool {
        !self.is_simple() || ColumnKind::of(&self.kind).may_fold()
    }

    pub(crate) fn is_moment(&self) -> bool {
        ColumnKind::of(&self.kind).is_moment()
    }

    pub(crate) fn quoted(&self) -> String {
        quote(self.name)
    }

    /// NULL, typed as the column.
    pub(crate) fn kind_null(&self) -> Value {
        self.null.clone()
    }

    /// A value as it is sent: SeaORM stores a list of JSON documents in a JSON column as one document.
    pub(crate) fn sent(&self, value: Value) -> Value {
        match value {
            Value::Array(ArrayType::Json, list) if self.json => Value::Json(list.map(|list| Box::new(document(*list)))),
            other => other,
        }
    }

    /// What a row holds in this column, as the type of the entity's field.
    ///
    /// # Errors
    /// The row has no such column, or it holds what the field cannot.
    pub(crate) fn decode(&self, row: &QueryResult) -> Result<Value, Error> {
        self.decode_as(row, self.name)
    }

    /// As [`ColumnMeta::decode`], of a column that the answer calls so.
    pub(crate) fn decode_as(&self, row: &QueryResult, name: &str) -> Result<Value, Error> {
        match (self.read)(row, self.at, name) {
            Some(read) => Ok(read?),
            None => decode(row, name, &self.kind),
        }
    }
}
