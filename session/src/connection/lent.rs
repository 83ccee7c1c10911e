//! The session's connection, lent to the hooks of SeaORM that run while a flush does. What they send goes the way of every
//! message (INV2), and no text of theirs may end the transaction (D11).

use sea_orm::{ConnectionTrait, DbErr, ExecResult, QueryResult, Statement};
use tokio::sync::Mutex;

use super::{
    Connection, Fetch, Message, Reply,
    control::{is_cursor_query, refuse_control},
};
use crate::dialect::{Dialect, SeaBackend};

/// The session's connection, lent to the hooks of `ActiveModelBehavior` while a flush runs.
pub(crate) struct FlushConnection<'a> {
    dialect: &'static Dialect,
    connection: Mutex<&'a mut Connection>,
}

impl<'a> FlushConnection<'a> {
    pub(crate) fn new(connection: &'a mut Connection) -> Self {
        Self { dialect: connection.dialect(), connection: Mutex::new(connection) }
    }

    async fn send(&self, message: Message<'_>) -> Result<Reply, DbErr> {
        let mut connection = self.connection.lock().await;
        connection.lent |= match &message {
            Message::Statement(statement, _) => !is_cursor_query(&statement.sql, self.dialect),
            _ => true,
        };
        Ok(connection.send(message).await?)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for FlushConnection<'_> {
    fn get_database_backend(&self) -> SeaBackend {
        self.dialect.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        refuse_control(&statement.sql, self.dialect)?;
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        refuse_control(sql, self.dialect)?;
        executed(self.send(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        refuse_control(&statement.sql, self.dialect)?;
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        refuse_control(&statement.sql, self.dialect)?;
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

pub(crate) fn executed(reply: Reply) -> Result<ExecResult, DbErr> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => Err(DbErr::Custom("the statement answered with rows".to_owned())),
    }
}
