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
