//! Rows read one at a time, without the identity map, so that memory stays flat however many there are (I6). What is read here
//! is never tracked, and nothing here writes.

use std::fmt;

use futures_util::Stream;
use sea_orm::{QueryTrait, Select};

use super::row_reader::RowReader;
use crate::{
    error::Error,
    objects::entity::{TrackedEntity, table_of},
    unit::{core::row_source::RowSource, session::Session},
};

/// Rows of a query, read as they are asked for; made by [`crate::LoadExt::rows`].
#[must_use = "rows are read by `next`"]
pub struct Rows<'s, E: TrackedEntity> {
    source: RowSource<'s>,
    reader: RowReader<E>,
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
        let source = RowSource::open(s.core(), statement, secret).await?;
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
        let Some(row) = self.source.next().await? else { return Ok(None) };
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
