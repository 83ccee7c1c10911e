//! How a dialect writes and reads a column.

use super::Dialect;
use crate::table::{
    columns::{ColumnMeta, HOLE},
    value_ref::Exactness,
};

impl ColumnMeta {
    /// Whether SeaORM writes this column through a cast (an enum, `save_as`).
    pub(crate) fn is_cast(&self, dialect: &Dialect) -> bool {
        self.sql[dialect.number()].save.is_some()
    }

    /// The SQL that writes `value` into this column.
    pub(crate) fn save(&self, dialect: &Dialect, value: &str) -> String {
        let template = &self.sql[dialect.number()].save;
        template.as_ref().map_or_else(|| value.to_owned(), |t| t.replace(HOLE, value))
    }

    /// What makes two values of this column the same.
    pub(crate) fn exactness(&self, dialect: &Dialect) -> Exactness {
        self.sql[dialect.number()].exactness
    }

    /// The condition that this column (which the statement calls `column`) still holds `loaded`, which is SQL (P1).
    pub(crate) fn unchanged(&self, dialect: &Dialect, column: &str, loaded: &str) -> String {
        (dialect.unchanged)(self, column, loaded)
    }

    /// The SQL that reads this column back, named as the column.
    pub(crate) fn select(&self, dialect: &Dialect) -> &str {
        &self.sql[dialect.number()].select
    }
}
