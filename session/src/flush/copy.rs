//! Binary COPY for large inserts (section 5 of the design), where the table permits it and nothing has to come back.
//!
//! COPY takes a column's own binary form and no casts, it is refused under row-level security, and it answers with a count: so
//! only where the table's facts permit it (D2). Anything unknown goes the way of other sets.

use super::{
    Flush,
    plan::Kind,
    rows::NamedRows,
    set::{Places, RowSet},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::{CopyColumn, Copying, Dialect},
    error::Error,
    stats::Path,
    table::value::number_array,
};

/// From this many rows on COPY pays for the question that precedes it (measured: `docs/performance.md`).
const FEWEST_ROWS: usize = 500;
/// What is sent at a time: the server takes it in while the next is encoded.
const PIECE: usize = 1 << 20;

/// A table that takes rows by COPY.
pub(super) struct CopyForm<'a> {
    copying: Copying,
    /// The names of the columns, and how they are copied.
    names: String,
    columns: Vec<CopyColumn<'a>>,
}

impl<'a> CopyForm<'a> {
    /// How the rows of a set go by COPY; `None` if the table does not take them, or they are too few.
    pub(super) fn of(set: &'a RowSet<'_>, dialect: &Dialect) -> Option<Self> {
        let (table, facts) = (set.table, &set.facts);
        let copying = dialect.copying.filter(|_| facts.copy && set.kind == Kind::Insert && set.len() >= FEWEST_ROWS)?;
        // COPY takes what an INSERT would refuse.
        if set.columns.iter().any(|c| facts.columns[*c].always) {
            return None;
        }
        let column = |c: usize| (copying.column)(&table.columns[c], facts.columns[c].type_oid);
        let columns = set.written().map(column).collect::<Option<_>>()?;
        let names = set.written().map(|c| table.columns[c].quoted()).collect::<Vec<_>>().join(", ");
        Some(CopyForm { copying, names, columns })
    }
}

impl Flush<'_> {
    /// Whether the table still takes rows as its facts say; the same question tells the transaction's id, which COPY cannot
    /// (R9).
    pub(super) async fn may_copy(&mut self, form: &CopyForm<'_>, set: &RowSet<'_>) -> Result<bool, Error> {
        let dialect = self.connection.dialect();
        let mut text = Text::new(dialect, "");
        let tables = text.bind(number_array(set.facts.tree.iter().copied()));
        text.sql = format!("SELECT {} WHERE {}", dialect.xid(), (form.copying.still)(&tables));
        let answer = self.send(set.table, &set.window(0, set.len()), text.message(Fetch::One)).await?.rows();
        self.learn_xid(&answer, true);
        Ok(!answer.is_empty())
    }

    /// Copies the rows of a set in.
    pub(super) async fn copy_in(&mut self, form: &CopyForm<'_>, set: &RowSet<'_>) -> Result<(), Error> {
        let CopyForm { copying, names, columns } = form;
        let (table, count, window) = (set.table, set.len(), set.window(0, set.len()));
        let places: Places = set.new_values().collect();
        let sql = (copying.statement)(&table.table, names);
        let (mut next, mut failed) = (0, None);
        let mut piece = |data: &mut Vec<u8>| {
            data.clear();
            if next == 0 {
                data.extend_from_slice(copying.header);
            }
            let mut rows = (copying.rows)(data, columns);
            while next < count && rows.bytes() < PIECE {
                set.put(next, &places, rows.sink()).map_err(|e| {
                    let why = e.to_string();
                    failed = Some(e);
                    why
                })?;
                next += 1;
            }
            drop(rows);
            if next == count {
                data.extend_from_slice(copying.trailer);
            }
            Ok(next < count)
        };
        let copied = self.send(table, &window, Message::Copy { sql: &sql, piece: &mut piece }).await;
        if let Some(e) = failed {
            return Err(e);
        }
        let copied = copied?.affected();
        self.connection.counters().path(Path::Copied, count);
        if copied != count as u64 {
            let what = format!("{count} rows were copied, {copied} arrived");
            return Err(Error::diverted(window.place(table), what));
        }
        Ok(())
    }
}
