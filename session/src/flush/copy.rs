//! Binary COPY for large inserts (section 5 of the design), where the table permits it and nothing has to come back.
//!
//! COPY takes a column's own binary form and no casts, PostgreSQL refuses it under row-level security, and it answers with a
//! count: so only where the table's facts permit it (D2). Anything unknown goes the way of the arrays.

use sea_orm::sea_query::ArrayType;

use super::{
    Flush,
    plan::Kind,
    rows::Place,
    set::{Places, RowSet},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::{CopyRows, Dialect, JSONB, copy_types, undisturbed, xid::XID},
    error::Error,
    stats::Path,
    table::{
        columns::ColumnMeta,
        kinds::{ColumnKind, Form},
        meta::TableMeta,
        value::number_array,
    },
};

/// From this many rows on COPY pays for the question that precedes it (measured: `docs/performance.md`).
const FEWEST_ROWS: usize = 500;
/// What is sent at a time: the server takes it in while the next is encoded.
const PIECE: usize = 1 << 20;
/// What a COPY begins with.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A table that takes rows by COPY.
pub(super) struct CopyForm<'a> {
    table: &'a TableMeta,
    columns: Vec<usize>,
    /// Whether each column is `jsonb`, whose binary form begins with its version.
    json_binary: Vec<bool>,
}

impl<'a> CopyForm<'a> {
    /// How the rows of a set go by COPY; `None` if the table does not take them, or they are too few.
    pub(super) fn of(set: &'a RowSet<'_>, dialect: &Dialect) -> Option<Self> {
        let (table, facts) = (set.table, &set.facts);
        let columns: Vec<usize> = set.written().collect();
        let fits = |c: &usize| {
            let (meta, form) = (&table.columns[*c], facts.columns[*c].type_oid);
            is_plain(meta, dialect) && copy_types(&meta.kind).contains(&form)
        };
        // COPY takes what an INSERT would refuse.
        let refused = set.columns.iter().any(|c| facts.columns[*c].always);
        if refused || set.kind != Kind::Insert || set.len() < FEWEST_ROWS || !facts.copy || !columns.iter().all(fits) {
            return None;
        }
        let json_binary = columns.iter().map(|c| facts.columns[*c].type_oid == JSONB).collect();
        Some(CopyForm { table, columns, json_binary })
    }
}

impl Flush<'_> {
    /// Whether the table still takes rows as its facts say; the same question tells the transaction's id, which COPY cannot
    /// (R9).
    pub(super) async fn may_copy(&mut self, set: &RowSet<'_>) -> Result<bool, Error> {
        let mut text = Text::new(self.connection.dialect(), "");
        let tables = text.bind(number_array(set.facts.tree.iter().copied()));
        text.sql = format!(
            "SELECT {XID} WHERE {} AND NOT pg_catalog.row_security_active(({tables})[1]::oid)",
            undisturbed(&tables)
        );
        let answer = self.send(set.table, &set.window(0, set.len()), text.message(Fetch::One)).await?.rows();
        self.learn_xid(&answer, true);
        Ok(!answer.is_empty())
    }

    /// Copies the rows of a set in.
    pub(super) async fn copy_in(&mut self, form: &CopyForm<'_>, set: &RowSet<'_>) -> Result<(), Error> {
        let CopyForm { table, columns, json_binary } = form;
        let (count, window) = (set.len(), set.window(0, set.len()));
        let places: Places = set.new_values().collect();
        let names = columns.iter().map(|c| table.columns[*c].quoted()).collect::<Vec<_>>().join(", ");
        let sql = format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", table.table);
        let kinds = columns.iter().map(|c| &table.columns[*c].kind);
        // A foreign kind has no form, and no place in a COPY.
        let forms: Vec<(Form, &ArrayType)> =
            kinds.filter_map(|kind| Some((ColumnKind::of(kind).form()?, kind))).collect();
        let (mut next, mut failed) = (0, None);
        let mut piece = |data: &mut Vec<u8>| {
            data.clear();
            if next == 0 {
                data.extend_from_slice(HEADER);
            }
            let mut sink = CopyRows { data, columns: &forms, json_binary };
            while next < count && sink.data.len() < PIECE {
                set.put(next, &places, &mut sink).map_err(|e| {
                    let why = e.to_string();
                    failed = Some(e);
                    why
                })?;
                next += 1;
            }
            if next == count {
                data.extend_from_slice(&(-1_i16).to_be_bytes());
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
            return Err(Error::usage(format!("{}: {count} rows were copied, {copied} arrived", window.place(table))));
        }
        Ok(())
    }
}

/// COPY has no place for a cast.
fn is_plain(column: &ColumnMeta, dialect: &Dialect) -> bool {
    column.save(dialect, "v") == "v"
}
