//! Statements that the entities' query builder cannot say: text and values side by side, for both backends.
//!
//! Values are always bound, never written into the text. What the backends spell differently is a method here, so that a
//! statement of the store reads once.

use sea_orm::{DbBackend, Statement, Value};

/// The character that stands for `/` in `nodes.tree_key`.
pub(crate) const SEPARATOR: char = '\u{1}';

/// A statement under construction.
pub(crate) struct Sql {
    backend: DbBackend,
    text: String,
    values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(backend: DbBackend) -> Self {
        Self { backend, text: String::new(), values: Vec::new() }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }

    /// Adds text. Never a value that came from outside.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds the text of the backend.
    pub(crate) fn either(&mut self, postgres: &str, sqlite: &str) -> &mut Self {
        let text = if self.is_postgres() { postgres } else { sqlite };
        self.push(text)
    }

    /// Adds a placeholder and its value.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        match self.backend {
            DbBackend::Postgres => {
                let n = self.values.len();
                self.text.push_str(&format!("${n}"));
            }
            _ => self.text.push('?'),
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
        Statement::from_sql_and_values(self.backend, self.text, self.values)
    }
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
