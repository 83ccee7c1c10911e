//! One statement outside of any unit, on a connection of its own.

use std::sync::Arc;

use sea_orm::{QueryResult, Statement};

use super::{Connection, Fetch, Message, Reply, control::is_cursor_query, db::Db};
use crate::{error::Error, stats::Counters};

impl Db {
    /// Sends one statement outside of any unit of work, and gives what it answers.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, the statement may have been carried out or not.
    pub async fn send_alone(&self, sql: &str) -> Result<Vec<QueryResult>, Error> {
        Ok(alone(self, sql, Fetch::All).await?.rows())
    }
}

/// Sends one statement outside of any unit.
pub(crate) async fn alone(db: &Db, sql: &str, fetch: Fetch) -> Result<Reply, Error> {
    // Dropped once its end is known, or never will be (U9).
    let _write = if is_cursor_query(sql, db.dialect()) { None } else { db.writing() };
    let mut connection = Connection::new(db.clone(), Arc::<Counters>::default(), None, false, false);
    connection.send(Message::Statement(Statement::from_string(db.dialect().backend, sql), fetch)).await
}

/// Sends one text that is never prepared, outside of any unit.
pub(crate) async fn control_alone(db: &Db, text: &str) -> Result<Reply, Error> {
    let _write = db.writing();
    let mut connection = Connection::new(db.clone(), Arc::<Counters>::default(), None, false, false);
    connection.send(Message::Control(text)).await
}
