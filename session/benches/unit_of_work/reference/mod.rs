//! What the unit of work is measured against: the same work written by hand with sqlx, and with plain SeaORM.

pub mod postgres;
pub mod sea_orm;
pub mod sqlite;
