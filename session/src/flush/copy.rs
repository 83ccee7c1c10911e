//! Binary COPY for large inserts (section 5 of the design), where the table permits it and nothing has to come back.
//!
//! COPY takes a column's own binary form and no casts, and PostgreSQL refuses it under row-level security; so the table is
//! asked first, in the transaction that copies, because who is asking decides. Anything unknown goes the way of the arrays.

use sea_orm::{DbBackend, Value, sea_query::ArrayType};

use super::{
    Behind, Flush, Place, Rows, Text, XID,
    plan::Kind,
    wire::{CopyRows, RowSink},
};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    meta::{ColumnMeta, TableMeta},
    value_ref::ValueRef,
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
    columns: &'a [usize],
    /// Whether each column is `jsonb`, whose binary form begins with its version.
    json_binary: Vec<bool>,
}

impl Flush<'_> {
    /// Copies the rows in, or gives them back if this table, or this many, should go another way.
    pub(super) async fn copy(
        &mut self,
        table: &TableMeta,
        kind: Kind,
        columns: &[usize],
        rows: Rows,
        members: &[Behind],
    ) -> Result<Option<Rows>, Error> {
        if kind != Kind::Insert {
            return Ok(Some(rows));
        }
        let Some(form) = self.copy_form(table, columns, &rows).await? else { return Ok(Some(rows)) };
        self.copy_in(&form, rows.len(), &rows, |row, sink| {
            rows.values[row].iter().enumerate().try_for_each(|(at, value)| sink.put(at, &ValueRef::from(value)))
        })
        .await?;
        self.all_done(&rows, members)?;
        Ok(None)
    }

    /// Sends `count` rows, which `put` writes one by one.
    pub(super) async fn copy_in(
        &mut self,
        form: &CopyForm<'_>,
        count: usize,
        place: &dyn Place,
        put: impl Fn(usize, &mut dyn RowSink) -> Result<(), Error> + Send + Sync,
    ) -> Result<(), Error> {
        let CopyForm { table, columns, json_binary } = form;
        let names = columns.iter().map(|c| table.columns[*c].quoted()).collect::<Vec<_>>().join(", ");
        let sql = format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", table.table);
        let kinds: Vec<&ArrayType> = columns.iter().map(|c| &table.columns[*c].kind).collect();
        let (mut next, mut failed) = (0, None);
        let mut piece = |data: &mut Vec<u8>| {
            data.clear();
            if next == 0 {
                data.extend_from_slice(HEADER);
            }
            let mut sink = CopyRows { data, kinds: &kinds, json_binary };
            while next < count && sink.data.len() < PIECE {
                sink.begin_row();
                put(next, &mut sink).map_err(|e| {
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
        let copied = self.send(table, place, Message::Copy { sql: &sql, piece: &mut piece }).await;
        if let Some(e) = failed {
            return Err(e);
        }
        let copied = copied?.affected();
        if copied != count as u64 {
            return Err(Error::usage(format!("{}: {count} rows were copied, {copied} arrived", place.place(table))));
        }
        Ok(())
    }

    /// How the table takes so many rows with these columns; `None` if it does not take them, or they are too few to ask.
    pub(super) async fn copy_form<'a>(
        &mut self,
        table: &'a TableMeta,
        columns: &'a [usize],
        place: &dyn Place,
    ) -> Result<Option<CopyForm<'a>>, Error> {
        let known =
            columns.iter().all(|c| forms(&table.columns[*c].kind).is_some_and(|_| is_plain(&table.columns[*c])));
        if place.count() < FEWEST_ROWS || !known {
            return Ok(None);
        }
        let sql = format!(
            "SELECT a.attname::text AS name, a.atttypid::int8 AS form, \
             c.relkind::text IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid) AS open, {XID} \
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.oid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped"
        );
        let mut text = Text::new(DbBackend::Postgres, &sql);
        text.bind(Value::String(Some(table.table.clone())));
        let answer = self.send(table, place, text.message(Fetch::All)).await?.rows();
        self.learn_xid(&answer);
        let mut held: Vec<(String, i64)> = Vec::with_capacity(answer.len());
        for row in &answer {
            if !row.try_get::<bool>("", "open")? {
                return Ok(None);
            }
            held.push((row.try_get("", "name")?, row.try_get("", "form")?));
        }
        let mut json_binary = Vec::with_capacity(columns.len());
        for c in columns {
            let meta = &table.columns[*c];
            let Some((_, form)) = held.iter().find(|(name, _)| name == meta.name) else { return Ok(None) };
            if !forms(&meta.kind).is_some_and(|forms| forms.contains(form)) {
                return Ok(None);
            }
            json_binary.push(*form == JSONB);
        }
        Ok(Some(CopyForm { table, columns, json_binary }))
    }
}

const JSONB: i64 = 3802;

/// The types (by PostgreSQL's fixed numbers) whose binary form is the one that this kind of value is encoded in.
fn forms(kind: &ArrayType) -> Option<&'static [i64]> {
    Some(match kind {
        ArrayType::Bool => &[16],
        ArrayType::SmallInt => &[21],
        ArrayType::Int => &[23],
        ArrayType::BigInt => &[20],
        ArrayType::Float => &[700],
        ArrayType::Double => &[701],
        ArrayType::String => &[25, 1043],
        ArrayType::Bytes => &[17],
        ArrayType::Json => &[114, JSONB],
        ArrayType::ChronoDate => &[1082],
        ArrayType::ChronoTime => &[1083],
        ArrayType::ChronoDateTime => &[1114],
        ArrayType::ChronoDateTimeUtc | ArrayType::ChronoDateTimeLocal | ArrayType::ChronoDateTimeWithTimeZone => {
            &[1184]
        }
        ArrayType::Uuid => &[2950],
        _ => return None,
    })
}

/// COPY has no place for a cast.
fn is_plain(column: &ColumnMeta) -> bool {
    column.save(DbBackend::Postgres, "v") == "v"
}
