//! Rows read one at a time, without the identity map, so that memory stays flat however many there are (I6).
//!
//! PostgreSQL gives them from a cursor in batches: one that is left early costs the server nothing more, where a plain query
//! would have to be read to its end before the connection could be used again. SQLite has no cursors and needs none: its
//! statement is stepped as rows are asked for. What is read here is never tracked, and nothing here writes.

use std::{fmt, vec};

use futures_util::{Stream, StreamExt, stream::BoxStream};
use sea_orm::{QueryResult, QueryTrait, Select, Statement};

use super::row_reader::RowReader;
use crate::{
    connection::{Fetch, Message},
    error::Error,
    objects::entity::{TrackedEntity, table_of},
    unit::session::Session,
};

/// How many rows a cursor is asked for at once: so many are in memory.
const ROWS_A_BATCH: usize = 1_000;

/// Rows of a query, read as they are asked for; made by [`crate::LoadExt::rows`].
#[must_use = "rows are read by `next`"]
pub struct Rows<'s, E: TrackedEntity> {
    source: StreamSource<'s>,
    reader: RowReader<E>,
}

enum StreamSource<'s> {
    Cursor(Cursor<'s>),
    Stepped(BoxStream<'s, Result<QueryResult, Error>>),
    Ended,
}

impl<E: TrackedEntity> fmt::Debug for Rows<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("entity", &table_of::<E>().entity).finish_non_exhaustive()
    }
}

impl<'s, E: TrackedEntity> Rows<'s, E> {
    pub(crate) async fn open(select: Select<E>, s: &'s mut Session) -> Result<Self, Error> {
        let statement = select.build(s.backend());
        let secret = !table_of::<E>().secret.is_empty();
        s.autoflush().await?;
        let source = if s.dialect().cursors {
            StreamSource::Cursor(Cursor::declare(statement, secret, s).await?)
        } else {
            let core = s.core();
            core.ready().await?;
            if secret {
                core.connection.hide_values();
            }
            StreamSource::Stepped(core.connection.stream(statement))
        };
        Ok(Self { source, reader: RowReader::new() })
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// What the database says; the block must roll back then, and the stream has ended.
    ///
    /// # Cancel safety
    /// No row is lost on SQLite. On PostgreSQL it is a statement like any other: dropped half-way it flags its block (C1).
    /// The stream itself may be dropped at any time; a cursor that was not read to its end goes with the transaction.
    pub async fn next(&mut self) -> Result<Option<E::Model>, Error> {
        let row = match &mut self.source {
            StreamSource::Cursor(cursor) => cursor.next().await,
            StreamSource::Stepped(rows) => rows.next().await.transpose(),
            StreamSource::Ended => Ok(None),
        };
        if !matches!(row, Ok(Some(_))) {
            self.source = StreamSource::Ended;
        }
        let Some(row) = row? else { return Ok(None) };
        Ok(Some(self.reader.read(&row)?))
    }

    /// The rows as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<E::Model, Error>> + Send + 's
    where
        E::Model: Send,
    {
        futures_util::stream::try_unfold(self, async |mut rows: Self| Ok(rows.next().await?.map(|row| (row, rows))))
    }
}

/// A cursor of PostgreSQL and the rows of its last batch that were not given out yet.
struct Cursor<'s> {
    session: &'s mut Session,
    name: String,
    batch: vec::IntoIter<QueryResult>,
    /// The last batch was short: the cursor was closed.
    closed: bool,
}

impl<'s> Cursor<'s> {
    async fn declare(mut statement: Statement, secret: bool, session: &'s mut Session) -> Result<Self, Error> {
        let name = format!("sea_session_rows_{}", session.core().cursors_left);
        statement.sql = format!("DECLARE {name} NO SCROLL CURSOR FOR {}", statement.sql);
        // Until it is closed the name is taken, whatever becomes of this future.
        session.core().cursors_left += 1;
        let message = Message::Statement(statement, Fetch::Nothing);
        session.no_autoflush().core().statement_about(message, secret).await?;
        Ok(Self { session, name, batch: Vec::new().into_iter(), closed: false })
    }

    async fn next(&mut self) -> Result<Option<QueryResult>, Error> {
        if self.batch.len() == 0 && !self.closed {
            self.fetch().await?;
        }
        Ok(self.batch.next())
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        let sql = format!("FETCH {ROWS_A_BATCH} FROM {}", self.name);
        let statement = Statement::from_string(self.session.backend(), sql);
        let mut session = self.session.no_autoflush();
        let rows = session.query_all(statement).await?;
        if rows.len() < ROWS_A_BATCH {
            session.core().statement(Message::Control(&format!("CLOSE {}", self.name))).await?;
            session.core().cursors_left -= 1;
            self.closed = true;
        }
        self.batch = rows.into_iter();
        Ok(())
    }
}
