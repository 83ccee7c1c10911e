//! Binary COPY for large inserts (section 5 of the design), where the table permits it and nothing has to come back.
//!
//! COPY takes a column's own binary form and no casts, and PostgreSQL refuses it under row-level security; so the table is
//! asked first, in the transaction that copies, because who is asking decides. Anything unknown goes the way of the arrays.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use sea_orm::{DbBackend, Value, sea_query::ArrayType};

use super::{Behind, Flush, Rows, Text, plan::Kind};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    meta::{ColumnMeta, TableMeta},
};

/// From this many rows on COPY pays for the question that precedes it (measured: `docs/performance.md`).
const FEWEST_ROWS: usize = 500;
/// Rows of one COPY, so that its buffer stays bounded.
const MOST_ROWS: usize = 20_000;

/// The microseconds between 1970 and 2000, which PostgreSQL counts from.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

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
        if kind != Kind::Insert || rows.len() < FEWEST_ROWS || !self.may_copy(table, columns, &rows).await? {
            return Ok(Some(rows));
        }
        let names = columns.iter().map(|c| table.columns[*c].quoted()).collect::<Vec<_>>().join(", ");
        let sql = format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", table.table);
        for mut chunk in rows.chunks(MOST_ROWS) {
            let data = encode(&mut chunk, self.json_binary.as_slice())?;
            let copied = self.send(table, &chunk, Message::Copy { sql: &sql, data }).await?.affected();
            if copied != chunk.len() as u64 {
                return Err(Error::usage(format!(
                    "{}: {} rows were copied, {copied} arrived",
                    chunk.place(table),
                    chunk.len()
                )));
            }
            self.all_done(&chunk, members)?;
        }
        Ok(None)
    }

    /// Whether the table takes these columns in the form that we have them.
    async fn may_copy(&mut self, table: &TableMeta, columns: &[usize], rows: &Rows) -> Result<bool, Error> {
        let known =
            columns.iter().all(|c| forms(&table.columns[*c].kind).is_some_and(|_| is_plain(&table.columns[*c])));
        if !known {
            return Ok(false);
        }
        let mut text = Text::new(
            DbBackend::Postgres,
            "SELECT a.attname::text AS name, a.atttypid::int8 AS form, pg_current_xact_id()::text AS sea_session_xid, \
             c.relkind::text IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid) AS open \
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.oid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped",
        );
        text.bind(Value::String(Some(table.table.clone())));
        let answer = self.send(table, rows, text.message(Fetch::All)).await?.rows();
        let mut held: Vec<(String, i64)> = Vec::with_capacity(answer.len());
        for row in &answer {
            if !row.try_get::<bool>("", "open")? {
                return Ok(false);
            }
            *self.xid = Some(row.try_get("", "sea_session_xid")?);
            held.push((row.try_get("", "name")?, row.try_get("", "form")?));
        }
        self.json_binary.clear();
        for c in columns {
            let meta = &table.columns[*c];
            let Some((_, form)) = held.iter().find(|(name, _)| name == meta.name) else { return Ok(false) };
            if !forms(&meta.kind).is_some_and(|forms| forms.contains(form)) {
                return Ok(false);
            }
            self.json_binary.push(*form == JSONB);
        }
        Ok(true)
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

/// The rows in COPY's binary format, with header and trailer.
fn encode(rows: &mut Rows, json_binary: &[bool]) -> Result<Vec<u8>, Error> {
    let mut data = Vec::with_capacity(rows.len() * 64);
    data.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for row in &mut rows.values {
        let width = i16::try_from(row.len()).map_err(|_| Error::usage("a table of more than 32,767 columns"))?;
        data.extend_from_slice(&width.to_be_bytes());
        for (value, json_binary) in std::mem::take(row).into_iter().zip(json_binary) {
            field(&mut data, value, *json_binary)?;
        }
    }
    data.extend_from_slice(&(-1_i16).to_be_bytes());
    Ok(data)
}

fn field(data: &mut Vec<u8>, value: Value, json_binary: bool) -> Result<(), Error> {
    match value {
        Value::Bool(Some(v)) => put(data, &[u8::from(v)]),
        Value::SmallInt(Some(v)) => put(data, &v.to_be_bytes()),
        Value::Int(Some(v)) => put(data, &v.to_be_bytes()),
        Value::BigInt(Some(v)) => put(data, &v.to_be_bytes()),
        Value::Float(Some(v)) => put(data, &v.to_be_bytes()),
        Value::Double(Some(v)) => put(data, &v.to_be_bytes()),
        Value::String(Some(v)) => put(data, v.as_bytes()),
        Value::Bytes(Some(v)) => put(data, &v),
        Value::Uuid(Some(v)) => put(data, v.as_bytes()),
        Value::ChronoDate(Some(v)) => put(data, &days(v).to_be_bytes()),
        Value::ChronoTime(Some(v)) => put(data, &time_of_day(v).to_be_bytes()),
        Value::ChronoDateTime(Some(v)) => put(data, &moment_without_zone(v).to_be_bytes()),
        Value::ChronoDateTimeUtc(Some(v)) => put(data, &moment(v).to_be_bytes()),
        Value::ChronoDateTimeLocal(Some(v)) => put(data, &moment(v.to_utc()).to_be_bytes()),
        Value::ChronoDateTimeWithTimeZone(Some(v)) => put(data, &moment(v.to_utc()).to_be_bytes()),
        Value::Json(Some(v)) => {
            let mut text = if json_binary { vec![1] } else { Vec::new() };
            serde_json::to_writer(&mut text, &v)
                .map_err(|e| Error::usage(format!("a JSON value could not be encoded: {e}")))?;
            put(data, &text)
        }
        null if super::value::is_null(&null) => {
            data.extend_from_slice(&(-1_i32).to_be_bytes());
            Ok(())
        }
        other => Err(Error::usage(format!("a {:?} cannot be copied", other.array_type()))),
    }
}

fn put(data: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    let length = i32::try_from(bytes.len()).map_err(|_| Error::usage("a value of more than 2 GiB"))?;
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(bytes);
    Ok(())
}

fn days(date: NaiveDate) -> i32 {
    use chrono::Datelike;
    // Day 1 of the common era is 719,163 days before 1970.
    date.num_days_from_ce() - 719_163 - EPOCH_DAYS
}

fn time_of_day(time: NaiveTime) -> i64 {
    i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000)
}

fn moment_without_zone(moment: NaiveDateTime) -> i64 {
    moment.and_utc().timestamp_micros() - EPOCH_MICROS
}

fn moment(moment: DateTime<Utc>) -> i64 {
    moment.timestamp_micros() - EPOCH_MICROS
}
