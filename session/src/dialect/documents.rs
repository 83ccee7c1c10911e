//! The rows of a set as one document, for a statement that reads it as a table: one parameter, and a text that does not depend on
//! the number of rows ([`Sets::Documents`](super::Sets)).

use std::fmt::Write;

use sea_orm::{Value, sea_query::ArrayType};

use crate::{
    error::Error,
    table::{facts::TableFacts, names::Names, row_sink::RowSink, value::document, value_ref::ValueRef},
};

/// `[[…], […]]`, each row's values in the order in which they are put.
pub(crate) struct DocumentRows {
    text: String,
}

impl DocumentRows {
    pub(crate) fn new() -> Self {
        Self { text: "[".to_owned() }
    }

    /// How many bytes it comes to.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Takes back what came after so many bytes.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.text.truncate(bytes);
    }

    /// The document.
    pub(crate) fn finish(mut self) -> String {
        self.text += if self.text.len() > 1 { "]]" } else { "]" };
        self.text
    }

    fn write(&mut self, value: &impl std::fmt::Display) {
        // Writing to a String cannot fail.
        _ = write!(self.text, "{value}");
    }

    fn string(&mut self, value: &str) -> Result<(), Error> {
        self.text += &serde_json::to_string(value).map_err(unencodable)?;
        Ok(())
    }

    fn quoted(&mut self, value: &impl std::fmt::Display) {
        _ = write!(self.text, "\"{value}\"");
    }

    fn number(&mut self, value: f64) -> Result<(), Error> {
        match value.is_finite() {
            true => self.text += &serde_json::to_string(&value).map_err(unencodable)?,
            false => return Err(Error::usage("a number that is not finite cannot be stored here")),
        }
        Ok(())
    }

    fn hexadecimal(&mut self, bytes: &[u8]) {
        self.text.push('"');
        bytes.iter().for_each(|byte| _ = write!(self.text, "{byte:02x}"));
        self.text.push('"');
    }
}

fn unencodable(e: serde_json::Error) -> Error {
    Error::usage(format!("a value could not be encoded: {e}"))
}

impl RowSink for DocumentRows {
    fn begin_row(&mut self) {
        self.text += if self.text.len() > 1 { "],[" } else { "[" };
    }

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        if at > 0 {
            self.text.push(',');
        }
        match value {
            ValueRef::Null => self.text += "null",
            ValueRef::Bool(v) => self.write(&u8::from(*v)),
            ValueRef::Small(v) => self.write(v),
            ValueRef::Int(v) => self.write(v),
            ValueRef::Big(v) => self.write(v),
            ValueRef::Float(v) => return self.number(f64::from(*v)),
            ValueRef::Double(v) => return self.number(*v),
            ValueRef::Text(v) => return self.string(v),
            ValueRef::Char(v) => return self.string(v.encode_utf8(&mut [0; 4])),
            ValueRef::Bytes(v) => self.hexadecimal(v),
            // A document within the document is a text of its own: it is stored as it would be if it came alone.
            ValueRef::Json(v) => return self.string(&serde_json::to_string(v).map_err(unencodable)?),
            ValueRef::Date(v) => self.quoted(v),
            ValueRef::Time(v) => self.quoted(&v.format("%H:%M:%S%.6f")),
            ValueRef::Naive(v) => self.quoted(&v.format("%Y-%m-%d %H:%M:%S%.6f")),
            ValueRef::Utc(v) => self.quoted(&v.format("%Y-%m-%d %H:%M:%S%.6f")),
            ValueRef::Offset(v) => self.quoted(&v.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f")),
            ValueRef::Uuid(v) => self.hexadecimal(v.as_bytes()),
            ValueRef::Owned(value) => match (&**value, ValueRef::from(&**value)) {
                (Value::Array(ArrayType::Json, Some(list)), _) => {
                    return self.string(&serde_json::to_string(&document((**list).clone())).map_err(unencodable)?);
                }
                (Value::Array(ArrayType::Json, None), _) => self.text += "null",
                (Value::BigUnsigned(Some(v)), ValueRef::Owned(_)) => self.write(v),
                (_, ValueRef::Owned(_)) => return Err(Error::usage("a value of this type cannot be sent in a set")),
                (_, lent) => return self.put(0, &lent),
            },
        }
        Ok(())
    }
}

/// The document as a table that a statement selects from: its rows' numbers from 1, and values of these columns. `None` if one of
/// them has no form in a document.
pub(crate) fn table(names: &Names, facts: &TableFacts, columns: impl Iterator<Item = usize>) -> Option<String> {
    let mut sql = format!("JSON_TABLE(?, '$[*]' COLUMNS ({} FOR ORDINALITY", names.number);
    for (at, column) in columns.enumerate() {
        let declared = &facts.columns[column].document.as_ref()?.declared;
        _ = write!(sql, ", {} {declared} PATH '$[{at}]' NULL ON EMPTY ERROR ON ERROR", names.bare(at));
    }
    _ = write!(sql, ")) AS {}", names.rows);
    Some(sql)
}

/// The value at this place of a row, as the column takes it.
pub(crate) fn value(names: &Names, facts: &TableFacts, at: usize, column: usize) -> String {
    let value = names.value(at);
    match facts.columns[column].document.as_ref().is_some_and(|document| document.hexadecimal) {
        true => format!("UNHEX({value})"),
        false => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_rows_of_a_document_are_json_whatever_they_hold() {
        let mut rows = DocumentRows::new();
        for values in [
            vec![ValueRef::Big(-1), ValueRef::Text("a\"b\\\n"), ValueRef::Null],
            vec![ValueRef::Double(0.1), ValueRef::Bytes(&[0, 255]), ValueRef::Bool(true)],
            vec![
                ValueRef::Owned(Box::new(Value::BigUnsigned(Some(u64::MAX)))),
                ValueRef::Char('ß'),
                ValueRef::Float(0.5),
            ],
        ] {
            rows.begin_row();
            values.iter().enumerate().try_for_each(|(at, value)| rows.put(at, value)).unwrap();
        }
        let text = rows.finish();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read[0][1], "a\"b\\\n");
        assert_eq!(text.matches("18446744073709551615").count(), 1);
        assert_eq!((&read[1][1], &read[1][2], &read[2][1]), (&"00ff".into(), &1.into(), &"ß".into()));
        assert_eq!(DocumentRows::new().finish(), "[]");

        let mut rows = DocumentRows::new();
        for value in [1, 2] {
            let before = rows.bytes();
            rows.begin_row();
            rows.put(0, &ValueRef::Big(value)).unwrap();
            if value == 2 {
                rows.truncate(before);
            }
        }
        assert_eq!(rows.finish(), "[[1]]");
    }
}
