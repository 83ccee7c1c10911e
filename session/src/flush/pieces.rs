//! The rows of a set as pieces of the size that one statement takes: in rows, and in bytes (D10). Knows no SQL.

use futures_util::future::join;
use sea_orm::sea_query::ArrayType;
use smallvec::SmallVec;

use super::set::{Places, RowSet, Window};
use crate::{
    dialect::{Dialect, documents::DocumentRows, message::Arguments},
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

    fn encode_rows(&mut self, size: usize) -> Result<(usize, Arguments), Error> {
        let (fitting, arguments) = flat(self.set, self.dialect, self.at, size, &self.places)?;
        if fitting < size {
            // The next may be smaller: the pieces grow again.
            let rest = std::iter::successors(Some(fitting), |piece| Some(piece * 2)).take_while(|piece| *piece < size);
            self.sizes = rest.chain(self.sizes.by_ref()).collect::<Vec<_>>().into_iter();
        }
        Ok((fitting, arguments))
    }
}

/// The values of rows from `from` on, in a row: of `size` of them, a power of two, or of as small a one as one statement takes
/// (D10).
pub(super) fn flat(
    set: &RowSet<'_>,
    dialect: &Dialect,
    from: usize,
    mut size: usize,
    places: &[Put],
) -> Result<(usize, Arguments), Error> {
    loop {
        let mut arguments = (dialect.rows)(size, &kinds(set, places))?;
        let most = most_bytes(set, dialect);
        let mut taken = 0;
        while taken < size && arguments.bytes() <= most {
            set.put(from + taken, places, arguments.sink())?;
            taken += 1;
        }
        // One row too many is none if it was the last of all, unless the server takes no more.
        let refused = taken > 1 && set.facts.most_bytes.is_some_and(|most| arguments.bytes() > most);
        if taken == size && !refused {
            return Ok((size, arguments.finish()?));
        }
        size = 1 << (taken - 1).max(1).ilog2();
    }
}

/// The values of rows from `from` on, as arrays: of as many rows as one statement takes, and where they end.
pub(super) fn arrays(
    set: &RowSet<'_>,
    dialect: &Dialect,
    from: usize,
    most: usize,
    places: &[Put],
) -> Result<(usize, Arguments), Error> {
    let to = set.len().min(from + most);
    let mut arguments = (dialect.rows)(to - from, &kinds(set, places))?;
    for row in from..to {
        set.put(row, places, arguments.sink())?;
        if arguments.bytes() > dialect.most_bytes {
            return Ok((row + 1, arguments.finish()?));
        }
    }
    Ok((to, arguments.finish()?))
}

/// How many bytes the values of one statement come to, at most.
fn most_bytes(set: &RowSet<'_>, dialect: &Dialect) -> usize {
    set.facts.most_bytes.unwrap_or(usize::MAX).min(dialect.most_bytes)
}

/// The kinds of the values at these places.
fn kinds<'a>(set: &RowSet<'a>, places: &[Put]) -> SmallVec<[&'a ArrayType; 16]> {
    places.iter().map(|put| &set.table.columns[put.column()].kind).collect()
}

/// The values of the rows from `from` on for a statement that names so many, the last standing for those that there are not: for
/// each column its values, chosen by key, then what the rows are found by. `None` if they come to more bytes than it takes.
pub(super) fn named(set: &RowSet<'_>, dialect: &Dialect, from: usize, rows: usize) -> Result<Option<Arguments>, Error> {
    let row = |at: usize| (from + at).min(set.len() - 1);
    let (keys, found_by): (Places, Places) = (set.keys().collect(), set.found_by().collect());
    let mut arguments = (dialect.rows)(rows, &kinds(set, &found_by))?;
    for written in set.new_values() {
        for at in 0..rows {
            // The last is who is none of the others.
            if at + 1 < rows {
                set.put(row(at), &keys, arguments.sink())?;
            }
            set.put(row(at), &[written], arguments.sink())?;
        }
    }
    for at in 0..rows {
        set.put(row(at), &found_by, arguments.sink())?;
    }
    match arguments.bytes() > most_bytes(set, dialect) {
        true => Ok(None),
        false => arguments.finish().map(Some),
    }
}

/// The values of rows from `from` on, as one document: of as many rows as one statement takes, and where they end.
pub(super) fn documents(
    set: &RowSet<'_>,
    dialect: &Dialect,
    from: usize,
    most: usize,
    places: &[Put],
) -> Result<(usize, String), Error> {
    let to = set.len().min(from + most);
    let refused = set.facts.most_bytes.unwrap_or(usize::MAX);
    let most = most_bytes(set, dialect);
    let mut sink = DocumentRows::new();
    for row in from..to {
        let before = sink.bytes();
        set.put(row, places, &mut sink)?;
        if sink.bytes() > refused && row > from {
            sink.truncate(before);
            return Ok((row, sink.finish()));
        }
        if sink.bytes() > most {
            return Ok((row + 1, sink.finish()));
        }
    }
    Ok((to, sink.finish()))
}
