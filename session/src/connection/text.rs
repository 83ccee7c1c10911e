//! The text of a statement with its values, and how many rows go into one. Sends nothing.

use sea_orm::{Statement, Value, sea_query::Values};

use super::{Fetch, Message, db::Db};
use crate::dialect::Dialect;

/// Stands around the number of a place until the text is whole; in no text of SQL.
const PLACE: char = '\u{1}';

/// Builds a statement of numbered parameters, and keeps their values: `$1` or `?1`, as the database has them.
#[derive(Clone, Debug)]
pub struct Text {
    dialect: &'static Dialect,
    /// The statement.
    pub sql: String,
    /// The values of its parameters.
    pub values: Vec<Value>,
}

impl Db {
    /// An empty text for a statement of this database.
    pub fn text(&self) -> Text {
        Text::new(self.dialect(), "")
    }
}

impl Text {
    /// The statement, for SeaORM's functions.
    pub fn statement(&self) -> Statement {
        let mut text = self.clone();
        text.in_order();
        Statement { sql: text.sql, values: Some(Values(text.values)), db_backend: self.dialect.backend }
    }

    pub(crate) fn new(dialect: &'static Dialect, sql: &str) -> Self {
        Self { dialect, sql: sql.to_owned(), values: Vec::new() }
    }

    /// A place for `value`; places may stand in the text in any order.
    pub fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        match self.dialect.numbered_parameters {
            true => self.dialect.parameter(self.values.len()),
            false => format!("{PLACE}{}{PLACE}", self.values.len()),
        }
    }

    /// Puts the values into the order in which their places stand in the text, where parameters have no numbers.
    fn in_order(&mut self) {
        if !self.sql.contains(PLACE) {
            return;
        }
        let (mut sql, mut values) = (String::with_capacity(self.sql.len()), Vec::with_capacity(self.values.len()));
        for (at, part) in self.sql.split(PLACE).enumerate() {
            match part.parse::<usize>().ok().filter(|_| at % 2 == 1).and_then(|number| self.values.get(number - 1)) {
                Some(value) => {
                    sql += self.dialect.hole;
                    values.push(value.clone());
                }
                None => sql += part,
            }
        }
        (self.sql, self.values) = (sql, values);
    }

    pub(crate) fn message<'a>(mut self, fetch: Fetch) -> Message<'a> {
        self.in_order();
        Message::Statement(
            Statement { sql: self.sql, values: Some(Values(self.values)), db_backend: self.dialect.backend },
            fetch,
        )
    }
}

/// Rows in pieces of `most`, or of fewer where their values come to more than `most_bytes` (D10).
pub(crate) fn cut_by_bytes(rows: &[Vec<Value>], most: usize, most_bytes: usize) -> impl Iterator<Item = &[Vec<Value>]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(most).take_while(|row| {
            let before = bytes;
            bytes += row.iter().map(size_of_value).sum::<usize>();
            before == 0 || bytes <= most_bytes
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
