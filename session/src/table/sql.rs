//! Names and literals as SQL text.

use sea_orm::sea_query::{SchemaName, TableName, TableRef};

/// A quoted identifier, the same on both backends.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name as SQL, with its schema: what tells it from every other table.
pub(crate) fn quoted_table(table: &TableRef) -> String {
    let name = quote(&table.sea_orm_table().inner());
    match table {
        TableRef::Table(TableName(Some(SchemaName(_, schema)), _), _) => format!("{}.{name}", quote(&schema.inner())),
        _ => name,
    }
}

/// A string as PostgreSQL's `E''` literal, whose meaning no server setting changes.
pub(crate) fn literal(value: &str) -> String {
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}
