//! A schema as sorted lines of text, so that two can be compared.
//!
//! What it is for: the doctor compares a database with a clean one, and the tests compare what is left after a failure
//! with a clean run. What it must never do: contain what differs between equal schemas (object ids, sizes, the order in
//! which things were made, except that of columns).

use sea_orm::{ConnectionTrait, DbErr};
use sha2::{Digest, Sha256};

use crate::{dialect, shown::hexadecimal, sql, words::Words};

/// The catalogue of the current schema, sorted. `migration_table` and what the runner keeps beside it are left out.
///
/// # Errors
/// Those of the database.
///
/// # Cancel safety
/// Safe.
pub async fn catalogue<C: ConnectionTrait>(db: &C, migration_table: &str) -> Result<Vec<String>, DbErr> {
    let (sql, schema) = dialect::of(db.get_database_backend())?.catalogue();
    let schema: String = sql::one(db, schema, []).await?.try_get_by_index(0)?;
    let own = ["", "_ledger", "_lock"].map(|suffix| format!("{migration_table}{suffix}"));
    let mut lines = Vec::new();
    for row in sql::all(db, sql).await? {
        let line: String = row.try_get_by_index(0)?;
        if !own.iter().any(|own| own == table_of(&line)) {
            // Definitions name the schema they are in; two schemas are equal that differ in their name.
            lines.push(line.replace(&format!("{schema}."), ""));
        }
    }
    lines.sort();
    Ok(lines)
}

/// What the schema is like where a statement names it: it differs once the statement has changed that.
pub(crate) async fn named_in<C: ConnectionTrait>(db: &C, migration_table: &str, sql: &str) -> Result<String, DbErr> {
    let names: Vec<String> = Words::of(sql).map(|word| word.to_lowercase()).collect();
    let mut hash = Sha256::new();
    for line in catalogue(db, migration_table).await? {
        if names.contains(&table_of(&line).to_lowercase()) {
            hash.update(line.as_bytes());
            hash.update([0]);
        }
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// The table that a line is about; of what is on no table, its own name.
pub(crate) fn table_of(line: &str) -> &str {
    line.split_once(' ').map_or("", |(_, rest)| subject(rest))
}

/// The name before the first `.` or `:`.
pub(crate) fn subject(text: &str) -> &str {
    text.split(['.', ':']).next().unwrap_or_default()
}
