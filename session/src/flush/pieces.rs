//! The rows of a set as pieces of the size that one statement takes: in rows, and in bytes (D10). Knows no SQL.

use futures_util::future::join;

use super::set::{Places, RowSet, Window};
use crate::{
    connection::text::MOST_BYTES,
    dialect::{ArrayRows, Dialect, message::Arguments},
    error::Error,
    objects::row::Put,
};

/// The rows of a set in chunks, each encoded while SQLite's own thread works on the one before.
pub(super) struct Chunks<'s, 'a> {
    set: &'s RowSet<'a>,
    dialect: &'static Dialect,
    at: usize,
    sizes: std::vec::IntoIter<usize>,
    places: Places,
    next: Option<Result<(usize, Arguments), Error>>,
}

impl<'s, 'a> Chunks<'s, 'a> {
    pub(super) fn new(
        set: &'s RowSet<'a>,
        dialect: &'static Dialect,
        from: usize,
        sizes: Vec<usize>,
        places: Places,
    ) -> Self {
        Self { set, dialect, at: from, sizes: sizes.into_iter(), places, next: None }
    }

    /// The next rows, and the arguments that they make.
    pub(super) fn take(&mut self) -> Result<Option<(Window<'s, 'a>, Arguments)>, Error> {
        self.encode();
        let Some(next) = self.next.take() else { return Ok(None) };
        let (size, arguments) = next?;
        let window = self.set.window(self.at, self.at + size);
        self.at += size;
        Ok(Some((window, arguments)))
    }

    /// Encodes the chunk after the one that was taken, while that is on its way.
    pub(super) async fn encode_while<T>(&mut self, sent: impl Future<Output = T>) -> T {
        join(sent, async { self.encode() }).await.0
    }

    fn encode(&mut self) {
        if self.next.is_none()
            && let Some(size) = self.sizes.next()
        {
            self.next = Some(self.encode_rows(size));
        }
    }

    /// So many rows, or half as many and so on where they are too large for one statement (D10).
    fn encode_rows(&mut self, size: usize) -> Result<(usize, Arguments), Error> {
        let mut arguments = (self.dialect.rows)(size * self.places.len());
        for row in 0..size {
            self.set.put(self.at + row, &self.places, arguments.sink())?;
            if arguments.bytes() > MOST_BYTES && row + 1 < size {
                let less = size / 2;
                let mut sizes = vec![less];
                sizes.extend(self.sizes.by_ref());
                self.sizes = sizes.into_iter();
                return self.encode_rows(less);
            }
        }
        Ok((size, arguments.finish()))
    }
}

/// The values of rows from `from` on, as arrays: of as many rows as one statement takes, and where they end.
pub(super) fn arrays(set: &RowSet<'_>, from: usize, most: usize, places: &[Put]) -> Result<(usize, Arguments), Error> {
    let to = set.len().min(from + most);
    let mut sink = ArrayRows::new(to - from, places.iter().map(|put| &set.table.columns[put.column()].kind))?;
    for row in from..to {
        set.put(row, places, &mut sink)?;
        if sink.bytes() > MOST_BYTES {
            return Ok((row + 1, sink.arguments()?));
        }
    }
    Ok((to, sink.arguments()?))
}
