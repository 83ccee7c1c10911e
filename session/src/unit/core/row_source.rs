//! Rows of a query as they are asked for, so that memory stays flat however many there are (I6).
//!
//! PostgreSQL gives them from a cursor in batches: one that is left early costs the server nothing more, where a plain query
//! would have to be read to its end before the connection could be used again. SQLite has no cursors and needs none: its
//! statement is stepped as rows are asked for. Nothing here writes.

use std::vec;

use futures_util::{StreamExt, stream::BoxStream};
use sea_orm::{QueryResult, Statement};

use super::Core;
use crate::{
    connection::{Fetch, Message},
    error::Error,
};

/// How many rows a cursor is asked for at once: so many are in memory.
const ROWS_A_BATCH: usize = 1_000;

/// Where the rows of a query come from.
pub(crate) enum RowSource<'c> {
    Cursor(Cursor<'c>),
    Stepped(BoxStream<'c, Result<QueryResult, Error>>),
    Ended,
}

impl<'c> RowSource<'c> {
    /// Sends a query that only reads; pending changes were flushed before. `secret` keeps its values out of the log.
    pub(crate) async fn open(core: &'c mut Core, statement: Statement, secret: bool) -> Result<Self, Error> {
        if core.dialect().cursors {
            return Ok(Self::Cursor(Cursor::declare(statement, secret, core).await?));
        }
        core.ready().await?;
        if secret {
            core.connection.hide_values();
        }
        Ok(Self::Stepped(core.connection.stream(statement)))
    }

    /// The next row; `None` after the last, and after an error.
    pub(crate) async fn next(&mut self) -> Result<Option<QueryResult>, Error> {
        let row = match self {
            Self::Cursor(cursor) => cursor.next().await,
            Self::Stepped(rows) => rows.next().await.transpose(),
            Self::Ended => Ok(None),
        };
        if !matches!(row, Ok(Some(_))) {
            *self = Self::Ended;
        }
        row
    }
}

/// A cursor of PostgreSQL and the rows of its last batch that were not given out yet.
pub(crate) struct Cursor<'c> {
    core: &'c mut Core,
    name: String,
    batch: vec::IntoIter<QueryResult>,
    /// The last batch was short: the cursor was closed.
    closed: bool,
}

impl<'c> Cursor<'c> {
    async fn declare(mut statement: Statement, secret: bool, core: &'c mut Core) -> Result<Self, Error> {
        let name = format!("sea_session_rows_{}", core.cursors_left);
        statement.sql = format!("DECLARE {name} NO SCROLL CURSOR FOR {}", statement.sql);
        // Until it is closed the name is taken, whatever becomes of this future.
        core.cursors_left += 1;
        core.unflushed(Message::Statement(statement, Fetch::Nothing), secret).await?;
        Ok(Self { core, name, batch: Vec::new().into_iter(), closed: false })
    }

    async fn next(&mut self) -> Result<Option<QueryResult>, Error> {
        if self.batch.len() == 0 && !self.closed {
            self.fetch().await?;
        }
        Ok(self.batch.next())
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        let sql = format!("FETCH {ROWS_A_BATCH} FROM {}", self.name);
        let statement = Statement::from_string(self.core.dialect().backend, sql);
        let rows = self.core.unflushed(Message::Statement(statement, Fetch::All), false).await?.rows();
        if rows.len() < ROWS_A_BATCH {
            self.core.unflushed(Message::Control(&format!("CLOSE {}", self.name)), false).await?;
            self.core.cursors_left -= 1;
            self.closed = true;
        }
        self.batch = rows.into_iter();
        Ok(())
    }
}
