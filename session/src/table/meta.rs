//! The shape of an entity's table, with its foreign keys and unique columns. It is read in `objects::entity`, once. Columns are
//! positions in `E::Column::iter()`.

use sea_orm::{QueryResult, Value, sea_query::ForeignKeyAction};

use super::{
    columns::{ColumnMeta, ColumnSet},
    names::Names,
    texts::KeptTexts,
};
use crate::error::Error;

/// A foreign key to another table, or to its own.
#[derive(Clone, Debug)]
pub(crate) struct ForeignKey {
    pub(crate) columns: Vec<usize>,
    /// As [`TableMeta::table`]: the same name in two schemas is two tables (D9).
    pub(crate) to_table: String,
    pub(crate) to_columns: Vec<String>,
    pub(crate) on_update: OnUpdate,
}

/// What becomes of a row that refers to a value which changes, as the entity says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUpdate {
    /// The database changes the row as well.
    Follows,
    /// The database refuses the change.
    Refuses,
    /// The entity does not say.
    Unknown,
}

impl From<Option<ForeignKeyAction>> for OnUpdate {
    fn from(action: Option<ForeignKeyAction>) -> Self {
        match action {
            Some(ForeignKeyAction::Cascade | ForeignKeyAction::SetNull) => OnUpdate::Follows,
            Some(ForeignKeyAction::NoAction | ForeignKeyAction::Restrict) => OnUpdate::Refuses,
            _ => OnUpdate::Unknown,
        }
    }
}

/// Rows of another table that are deleted along with a row.
#[derive(Clone, Debug)]
pub(crate) struct Cascade {
    /// The columns that they refer to.
    pub(crate) columns: Vec<usize>,
    /// Their table, as [`TableMeta::table`], and its columns.
    pub(crate) table: String,
    pub(crate) to: Vec<String>,
}

/// The shape of an entity's table.
#[derive(Debug)]
pub(crate) struct TableMeta {
    pub(crate) entity: &'static str,
    pub(crate) schema: Option<String>,
    /// Quoted, with its schema.
    pub(crate) table: String,
    pub(crate) columns: Vec<ColumnMeta>,
    pub(crate) keys: Vec<usize>,
    pub(crate) version: Option<usize>,
    pub(crate) created_at: Option<usize>,
    pub(crate) updated_at: Option<usize>,
    pub(crate) tenant: Option<usize>,
    /// The column that marks deleted rows: they are not read (U5).
    pub(crate) soft_delete: Option<usize>,
    pub(crate) not_optimistic: ColumnSet,
    pub(crate) secret: ColumnSet,
    /// What serde calls the fields of secret columns.
    pub(crate) hidden: Vec<&'static str>,
    /// Columns without a setter, and those that a model from outside does not bring.
    pub(crate) read_only: Vec<usize>,
    pub(crate) not_brought: Vec<usize>,
    /// Whether SeaORM's hooks are called (H10).
    pub(crate) hooks: bool,
    /// Whether changes are told in the audit table, and of which topic they are events (U7).
    pub(crate) audit: bool,
    pub(crate) outbox: Option<&'static str>,
    pub(crate) parents: Vec<ForeignKey>,
    /// Which of the parents each relation is, in SeaORM's order; none if it is no foreign key of this table.
    pub(crate) relations: Vec<Option<usize>>,
    /// Sets of columns whose values are unique together; the primary key is not among them.
    pub(crate) unique: Vec<Vec<usize>>,
    /// Columns that are unique, or part of a key.
    pub(crate) claimed: ColumnSet,
    /// Rows that are deleted along with one of this table (U3).
    pub(crate) cascades: Vec<Cascade>,
    /// Foreign keys without which a row is deleted (U3).
    pub(crate) orphans: Vec<Vec<usize>>,
    /// Columns that relations join on: keys, unique ones, foreign keys.
    pub(crate) joining: ColumnSet,
    /// Whether the model has a field for every column.
    pub(crate) whole: bool,
    /// Whether the flush sets columns of its own: versions, times, tenants.
    pub(crate) stamped: bool,
    /// The position of each number that accessors use; nothing where they are the positions.
    pub(crate) places: Option<Box<[usize]>>,
    pub(crate) texts: KeptTexts,
    pub(crate) names: Names,
}

impl TableMeta {
    /// The key that a row of an answer has.
    pub(crate) fn key_of_row(&self, row: &QueryResult) -> Result<Vec<Value>, Error> {
        self.keys.iter().map(|key| self.columns[*key].decode(row)).collect()
    }

    /// A key for messages; a secret part of it is not shown (L1).
    pub(crate) fn show_key(&self, key: &[Value]) -> String {
        if !self.keys.iter().any(|k| self.secret.contains(*k)) {
            return crate::table::value::show_key(key);
        }
        let shown = self.keys.iter().zip(key).map(|(k, value)| match self.secret.contains(*k) {
            true => "(secret)".to_owned(),
            false => crate::table::value::show_key(std::slice::from_ref(value)),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Whether changes of its rows are wanted in any unit (U7).
    pub(crate) fn is_observed(&self) -> bool {
        self.audit || self.outbox.is_some()
    }

    /// Whether only the flush, the database or `add` says what stands in a column: no model from outside does (E3).
    pub(crate) fn is_kept(&self, column: usize) -> bool {
        self.keys.contains(&column)
            || self.read_only.contains(&column)
            || [self.version, self.tenant, self.created_at, self.updated_at, self.soft_delete].contains(&Some(column))
    }

    /// Whether `columns` (by name) are this table's primary key, in its order.
    pub(crate) fn is_key(&self, columns: &[String]) -> bool {
        columns.len() == self.keys.len() && self.keys.iter().zip(columns).all(|(k, name)| self.columns[*k].name == name)
    }

    /// The position of the column that an accessor calls by this number.
    #[inline]
    pub(crate) fn place(&self, number: usize) -> usize {
        match &self.places {
            None => number,
            Some(places) => places.get(number).copied().unwrap_or(number),
        }
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}
