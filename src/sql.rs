//! Statements that the entities' query builder cannot say: text and values side by side, for both backends.
//!
//! Values are always bound, never written into the text. What the backends spell differently is asked of the [`Dialect`], so
//! that a statement of the store reads once.

use sea_orm::{Statement, Value};
use sea_session::Session;

use crate::dialect::{self, Dialect};

/// The character that stands for `/` in `nodes.tree_key`.
pub(crate) const SEPARATOR: char = '\u{1}';

/// A statement under construction.
pub(crate) struct Sql {
    dialect: &'static Dialect,
    text: String,
    values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(dialect: &'static Dialect) -> Self {
        Self { dialect, text: String::new(), values: Vec::new() }
    }

    /// For a session's backend.
    pub(crate) fn of(s: &Session) -> Self {
        Self::new(dialect::of(s.get_database_backend()))
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.dialect
    }

    /// Adds text. Never a value that came from outside.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds what the backend calls it.
    pub(crate) fn say(&mut self, text: impl FnOnce(&Dialect) -> &'static str) -> &mut Self {
        let text = text(self.dialect);
        self.push(text)
    }

    /// Adds a placeholder and its value.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        match self.dialect.numbered_parameters {
            true => {
                let n = self.values.len();
                self.text.push_str(&format!("${n}"));
            }
            false => self.text.push('?'),
        }
        self
    }

    /// Adds text in which each `?` is the placeholder of the next value.
    pub(crate) fn with<const N: usize>(&mut self, text: &str, values: [Value; N]) -> &mut Self {
        let mut parts = text.split('?');
        self.push(parts.next().unwrap_or_default());
        for (part, value) in parts.zip(values) {
            self.bind(value).push(part);
        }
        self
    }

    /// Begins the `n`-th row of a table that is written out.
    pub(crate) fn begin_row(&mut self, n: usize) -> &mut Self {
        self.push(match (self.dialect.values_are_rows, n) {
            (true, 0) => "VALUES (",
            (true, _) => ", (",
            (false, 0) => "SELECT ",
            (false, _) => " UNION ALL SELECT ",
        })
    }

    /// Ends a row of such a table.
    pub(crate) fn end_row(&mut self) -> &mut Self {
        self.push(if self.dialect.values_are_rows { ")" } else { "" })
    }

    /// Adds a value as a text.
    pub(crate) fn bind_text(&mut self, value: &str) -> &mut Self {
        let [before, behind] = self.dialect.text;
        self.push(before).bind(value).push(behind)
    }

    /// Adds a value of a type, as in `CAST`.
    pub(crate) fn bind_as(
        &mut self,
        value: impl Into<Value>,
        kind: impl FnOnce(&Dialect) -> &'static str,
    ) -> &mut Self {
        self.push("CAST(").bind(value).push(" AS ").say(kind).push(")")
    }

    /// Adds `column IN (…)`; an empty list matches nothing.
    pub(crate) fn is_in<V: Into<Value>>(&mut self, column: &str, values: impl IntoIterator<Item = V>) -> &mut Self {
        self.push(column).push(" IN (");
        let before = self.values.len();
        for value in values {
            if self.values.len() > before {
                self.push(", ");
            }
            self.bind(value);
        }
        if self.values.len() == before {
            self.push("NULL");
        }
        self.push(")")
    }

    /// Adds the condition that a row's owner space is one of the caller's; nothing for ROOT.
    pub(crate) fn and_owned(&mut self, column: &str, spaces: Option<&[String]>) -> &mut Self {
        if let Some(spaces) = spaces {
            self.push(" AND ").is_in(column, spaces.iter().map(String::as_str));
        }
        self
    }

    pub(crate) fn finish(self) -> Statement {
        Statement::from_sql_and_values(self.dialect.backend, self.text, self.values)
    }
}

/// Adds that a column is one of the spaces of an account's index, all of them for none.
pub(crate) fn in_spaces(sql: &mut Sql, column: &str, account: &str, spaces: Option<&[String]>) {
    let [before, behind] = sql.dialect().one_of;
    sql.push(column).push(before).push("SELECT s.id FROM index_spaces s WHERE s.account_id = ").bind(account);
    sql.and_owned("s.owner_space", spaces).push(behind);
}

/// A text as a bound value.
pub(crate) fn text(value: impl Into<String>) -> Value {
    Value::String(Some(value.into()))
}

/// The key of a URI in the order of the tree.
pub(crate) fn tree_key(uri: &str) -> String {
    uri.replace('/', "\u{1}")
}

/// The URI of a key.
pub(crate) fn uri_of_key(key: &str) -> String {
    key.replace(SEPARATOR, "/")
}
