//! Values as SQLite's arguments, row by row.

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{
    Value,
    sea_query::ArrayType,
    sqlx::{Arguments as _, error::BoxDynError, sqlite::SqliteArguments},
};

use crate::{
    dialect::{BoxedArguments, RowArguments, message::Arguments},
    error::Error,
    table::{
        row_sink::RowSink,
        value::{document, too_large},
        value_ref::ValueRef,
    },
};

/// The arguments of a multi-row statement, row by row (SQLite).
struct FlatRows {
    arguments: SqliteArguments,
    /// How many bytes its texts, documents and bytes come to.
    bytes: usize,
    /// The last moment, and its text: a flush stamps all of its rows with one.
    moment: Option<(DateTime<Utc>, String)>,
}

impl FlatRows {
    fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self { arguments, bytes: 0, moment: None }
    }

    /// A moment as the driver would write it.
    fn moment(&mut self, moment: DateTime<Utc>) -> Result<(), BoxDynError> {
        let text = match self.moment.take().filter(|(last, _)| *last == moment) {
            Some((_, text)) => text,
            None => moment.to_rfc3339_opts(SecondsFormat::AutoSi, false),
        };
        let added = self.arguments.add(text.as_str());
        self.moment = Some((moment, text));
        added
    }

    /// A document as the driver would write it, once, so that its length is known.
    fn document(&mut self, value: &serde_json::Value) -> Result<(), BoxDynError> {
        let text = serde_json::to_string(value)?;
        self.bytes += text.len();
        self.arguments.add(text)
    }
}

impl RowSink for FlatRows {
    fn begin_row(&mut self) {}

    fn put(&mut self, _: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        self.bytes += match value {
            ValueRef::Text(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let arguments = &mut self.arguments;
        let added = match value {
            ValueRef::Null => arguments.add(None::<i64>),
            ValueRef::Bool(v) => arguments.add(*v),
            ValueRef::Small(v) => arguments.add(*v),
            ValueRef::Int(v) => arguments.add(*v),
            ValueRef::Big(v) => arguments.add(*v),
            ValueRef::Float(v) => arguments.add(*v),
            ValueRef::Double(v) => arguments.add(*v),
            ValueRef::Text(v) => arguments.add(*v),
            ValueRef::Char(v) => arguments.add(v.to_string()),
            ValueRef::Bytes(v) => arguments.add(*v),
            ValueRef::Json(v) => self.document(v),
            ValueRef::Date(v) => arguments.add(*v),
            ValueRef::Time(v) => arguments.add(*v),
            ValueRef::Naive(v) => arguments.add(*v),
            ValueRef::Utc(v) => self.moment(*v),
            ValueRef::Offset(v) => arguments.add(*v),
            ValueRef::Uuid(v) => arguments.add(*v),
            ValueRef::Owned(value) => match (&**value, ValueRef::from(&**value)) {
                // SQLite has no arrays: this is a list of documents in a column that takes one.
                (Value::Array(ArrayType::Json, list), _) => match list {
                    Some(list) => self.document(&document((**list).clone())),
                    None => arguments.add(None::<i64>),
                },
                (Value::BigUnsigned(_), ValueRef::Owned(_)) => return Err(too_large((**value).clone())),
                (_, ValueRef::Owned(_)) => return Err(Error::usage("a value of this type cannot be sent in a set")),
                (_, lent) => return self.put(0, &lent),
            },
        };
        added.map_err(|e| Error::usage(format!("a value could not be encoded: {e}")))
    }
}

/// Takes the values of one row.
pub(super) fn row<'k>(kinds: &[&'k ArrayType]) -> BoxedArguments<'k> {
    Box::new(FlatRows::with_capacity(kinds.len()))
}

/// Takes the values of so many rows.
pub(super) fn rows<'k>(rows: usize, kinds: &[&'k ArrayType]) -> Result<BoxedArguments<'k>, Error> {
    Ok(Box::new(FlatRows::with_capacity(rows * kinds.len())))
}

impl RowArguments for FlatRows {
    fn sink(&mut self) -> &mut dyn RowSink {
        self
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn finish(self: Box<Self>) -> Result<Arguments, Error> {
        Ok(Box::new(self.arguments))
    }
}
