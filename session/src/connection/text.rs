//! The text of a statement with its values, and how many rows go into one. Sends nothing.

use sea_orm::{DbBackend, Statement, Value, sea_query::Values};

use super::{Fetch, Message};

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

/// What the values of one statement may come to: far below the gigabyte at which a message is refused (D10).
pub(crate) const MOST_BYTES: usize = 16 << 20;

/// Rows in pieces of `most`, or of fewer where their values are large (D10).
pub(crate) fn cut_by_bytes(rows: &[Vec<Value>], most: usize) -> impl Iterator<Item = &[Vec<Value>]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(most).take_while(|row| {
            let before = bytes;
            bytes += row.iter().map(size_of_value).sum::<usize>();
            before == 0 || bytes <= MOST_BYTES
        });
        let (piece, after) = rest.split_at(fitting.count());
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn size_of_value(value: &Value) -> usize {
    match value {
        Value::String(Some(text)) => text.len(),
        Value::Bytes(Some(bytes)) => bytes.len(),
        _ => 16,
    }
}
