//! One statement outside of any unit, on a connection of its own.

use std::sync::Arc;

use sea_orm::Statement;

use super::{Connection, Fetch, Message, Reply, db::Db};
use crate::{error::Error, stats::Counters};

/// Sends one statement outside of any unit.
pub(crate) async fn alone(db: &Db, sql: &str, fetch: Fetch) -> Result<Reply, Error> {
    let mut connection = Connection::new(db.clone(), Arc::<Counters>::default(), None, false, false);
    connection.send(Message::Statement(Statement::from_string(db.dialect().backend, sql), fetch)).await
}
