//! Values as MySQL's arguments, row by row.

use sea_orm::{
    Value,
    sea_query::ArrayType,
    sqlx::{Arguments as _, error::BoxDynError, mysql::MySqlArguments},
};

use crate::{
    dialect::{BoxedArguments, RowArguments, message::Arguments},
    error::Error,
    table::{row_sink::RowSink, value::document, value_ref::ValueRef},
};

/// The arguments of a statement with a parameter for each value.
struct FlatRows {
    arguments: MySqlArguments,
    /// How many bytes its texts, documents and bytes come to.
    bytes: usize,
}

impl FlatRows {
    fn with_capacity(values: usize) -> Self {
        let mut arguments = MySqlArguments::default();
        arguments.reserve(values, values * 9);
        Self { arguments, bytes: 0 }
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
            _ => 8,
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
            ValueRef::Utc(v) => arguments.add(*v),
            ValueRef::Offset(v) => arguments.add(v.naive_utc()),
            ValueRef::Uuid(v) => arguments.add(*v),
            ValueRef::Owned(value) => match (&**value, ValueRef::from(&**value)) {
                (Value::Array(ArrayType::Json, list), _) => match list {
                    Some(list) => self.document(&document((**list).clone())),
                    None => arguments.add(None::<i64>),
                },
                (Value::BigUnsigned(Some(v)), ValueRef::Owned(_)) => arguments.add(*v),
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
