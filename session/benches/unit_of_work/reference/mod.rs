//! What the unit of work is measured against: the same work written by hand with sqlx, and with plain SeaORM.

pub mod mariadb;
pub mod postgres;
pub mod sea_orm;
pub mod sqlite;

/// `(?, ?), (?, ?)` for so many rows of so many columns.
fn tuples(rows: usize, columns: usize) -> String {
    let tuple = format!("({})", vec!["?"; columns].join(", "));
    vec![tuple; rows].join(", ")
}

/// Every row with every column.
const SELECT: &str = "SELECT id, uri, title, content, meta, score, active, revision, updated_at FROM item";

/// A row of [`SELECT`]. (A function for every driver would be longer by its bounds.)
macro_rules! item_of {
    ($row:expr) => {{
        let row = $row;
        item::Model {
            id: row.get(0),
            uri: row.get(1),
            title: row.get(2),
            content: row.get(3),
            meta: row.get(4),
            score: row.get(5),
            active: row.get(6),
            revision: row.get(7),
            updated_at: row.get(8),
        }
    }};
}
use item_of;

/// Inserts so many rows.
fn insert_text(rows: usize) -> String {
    let tuples = tuples(rows, 9);
    format!("INSERT INTO item (id, uri, title, content, meta, score, active, revision, updated_at) VALUES {tuples}")
}

/// Inserts so many rows into a table that makes their keys, and answers with those; the other columns begin with `first`.
fn insert_keyless_text(table: &str, first: &str, rows: usize) -> String {
    let tuples = tuples(rows, 8);
    format!(
        "INSERT INTO {table} ({first}, title, content, meta, score, active, revision, updated_at) VALUES {tuples} RETURNING id"
    )
}
