//! The text of a statement with its values, and how many rows go into one. Sends nothing.

use sea_orm::{DbBackend, Statement, Value, sea_query::Values};

use crate::connection::{Fetch, Message};

/// Builds a statement of numbered parameters, and keeps their values.
pub(crate) struct Text {
    backend: DbBackend,
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Text {
    pub(crate) fn new(backend: DbBackend, sql: &str) -> Self {
        Self { backend, sql: sql.to_owned(), values: Vec::new() }
    }

    /// A place for `value`; places may stand in the text in any order.
    pub(crate) fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        let sign = if self.backend == DbBackend::Sqlite { '?' } else { '$' };
        format!("{sign}{}", self.values.len())
    }

    pub(crate) fn message<'a>(self, fetch: Fetch) -> Message<'a> {
        Message::Statement(
            Statement { sql: self.sql, values: Some(Values(self.values)), db_backend: self.backend },
            fetch,
        )
    }
}

/// How many rows of `width` values one SQLite statement takes: a power of two, so that few texts exist, and under the
/// limit of 32,766 parameters.
pub(crate) fn sqlite_chunk(rows: usize, width: usize) -> usize {
    const MOST_PARAMETERS: usize = 32_766;
    const MOST_ROWS: usize = 1_024;
    let most = (MOST_PARAMETERS / width.max(1)).clamp(1, MOST_ROWS).min(rows.max(1));
    1 << most.ilog2()
}

/// Splits so many rows into chunks of powers of two, largest first.
pub(crate) fn sqlite_sizes(rows: usize, width: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut left = rows;
    while left > 0 {
        let size = sqlite_chunk(left, width);
        sizes.push(size);
        left -= size;
    }
    sizes
}
