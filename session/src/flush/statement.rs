//! The text of a statement with its values, and how many rows go into one. Sends nothing.

use std::sync::Arc;

use sea_orm::{DbBackend, Statement, Value, sea_query::Values, sqlx::postgres::PgArguments};

use super::rows::Rows;
use crate::connection::{Fetch, Message};

/// A write without RETURNING, as values or as arrays.
pub(super) enum Write {
    Values(Text),
    Arrays { sql: Arc<str>, arguments: Box<PgArguments> },
}

impl Write {
    pub(super) fn sql(&self) -> &str {
        match self {
            Write::Values(text) => &text.sql,
            Write::Arrays { sql, .. } => sql,
        }
    }

    pub(super) fn with_sql(self, sql: String) -> Self {
        match self {
            Write::Values(text) => Write::Values(Text { sql, ..text }),
            Write::Arrays { arguments, .. } => Write::Arrays { sql: sql.into(), arguments },
        }
    }

    pub(super) fn message<'a>(self, fetch: Fetch) -> Message<'a> {
        match self {
            Write::Values(text) => text.message(fetch),
            Write::Arrays { sql, arguments } => Message::Arrays { sql, arguments, fetch },
        }
    }
}

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

/// The sizes of chunks of `most` rows, of which the last may be smaller.
pub(crate) fn even_sizes(rows: usize, most: usize) -> Vec<usize> {
    (0..rows.div_ceil(most)).map(|chunk| most.min(rows - chunk * most)).collect()
}

/// Splits into chunks of powers of two, largest first.
pub(crate) fn sqlite_chunks(rows: Rows, width: usize) -> Vec<Rows> {
    let sizes = sqlite_sizes(rows.len(), width);
    rows.split(sizes)
}

/// The sizes of such chunks.
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
