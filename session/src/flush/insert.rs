//! INSERT in sets (F2), with generated keys and defaults brought back to the right objects (F5).
//!
//! The order in which RETURNING answers is never relied on: rows are matched by their key, and where the database makes
//! the key, by a number that travels with the row (PostgreSQL) or by the rising order in which SQLite counts (F5).

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sea_orm::{DbBackend, QueryResult, Value, sqlx::postgres::PgArguments};

use super::{
    Behind, Flush, Place, Rows, Text, Write,
    plan::{Kind, Step},
    sqlite_chunks, telling_xid,
    value::integer,
    wire::{ArrayRows, RowSink},
};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    meta::{ChangeForm, ChangeText, ColumnSet, TableMeta, quote},
    tracked::Returned,
    value_ref::ValueRef,
};

/// Rows of one PostgreSQL statement: the arrays stay small enough to be built and parsed in cache.
pub(super) const POSTGRES_ROWS: usize = 2_000;

/// From this many rows on a round trip that draws their keys pays for itself.
pub(super) const DRAWN_ROWS: usize = 500;

/// How a step's rows go to the database and come back.
pub(super) struct Shape<'a> {
    pub(super) table: &'a TableMeta,
    pub(super) columns: &'a [usize],
    /// Columns that the database fills in.
    pub(super) wanted: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) backend: DbBackend,
}

impl Shape<'_> {
    fn key_is_wanted(&self) -> bool {
        self.table.keys.iter().any(|k| self.wanted.contains(k))
    }

    /// Whether rows can travel together: the key is known, or counted up by the database.
    pub(super) fn is_set_based(&self) -> bool {
        let known = !self.key_is_wanted() || (self.table.auto_key.is_some() && self.kind == Kind::Insert);
        known
            && !self.columns.is_empty()
            && self.columns.iter().chain(&self.wanted).all(|c| self.table.columns[*c].is_simple())
    }

    fn names(&self, columns: &[usize]) -> String {
        columns.iter().map(|c| self.table.columns[*c].quoted()).collect::<Vec<_>>().join(", ")
    }

    fn selects(&self, columns: impl Iterator<Item = usize>) -> String {
        columns.map(|c| self.table.columns[c].select(self.backend)).collect::<Vec<_>>().join(", ")
    }

    /// `RETURNING` of what is wanted, with the key to match it by; nothing where nothing is wanted.
    fn returning(&self) -> String {
        if self.wanted.is_empty() {
            return String::new();
        }
        format!(" RETURNING {}", self.selects(self.returned()))
    }

    fn returned(&self) -> impl Iterator<Item = usize> {
        self.table.keys.iter().copied().filter(|k| !self.wanted.contains(k)).chain(self.wanted.iter().copied())
    }

    /// A row switch keeps the row and replaces every other column, defaults included (`excluded` holds them).
    fn on_conflict(&self) -> String {
        if self.kind != Kind::Switch {
            return String::new();
        }
        let others: Vec<String> = (0..self.table.columns.len())
            .filter(|c| !self.table.keys.contains(c))
            .map(|c| format!("{0} = excluded.{0}", self.table.columns[c].quoted()))
            .collect();
        if others.is_empty() {
            return format!(" ON CONFLICT ({}) DO NOTHING", self.names(&self.table.keys));
        }
        format!(" ON CONFLICT ({}) DO UPDATE SET {}", self.names(&self.table.keys), others.join(", "))
    }

    /// One row, without what is to come back.
    fn insert_one(&self) -> String {
        let table = self.table;
        if self.columns.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES{}", table.table, self.on_conflict());
        }
        let sign = if self.backend == DbBackend::Sqlite { '?' } else { '$' };
        let place = |(at, c): (usize, &usize)| table.columns[*c].save(self.backend, &format!("{sign}{}", at + 1));
        let places = self.columns.iter().enumerate().map(place).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {} ({}) VALUES ({places}){}", table.table, self.names(self.columns), self.on_conflict())
    }

    /// One row of which nothing is to come back, but the transaction's id if that is wanted; the text is built once.
    pub(super) fn insert_alone(&self, xid: bool) -> Arc<str> {
        let sqlite = self.backend == DbBackend::Sqlite;
        let build = || telling_xid(if sqlite { self.insert_values(1) } else { self.insert_one() }, xid);
        if self.kind != Kind::Insert || !ColumnSet::tells_apart(self.table.columns.len()) {
            return build().into();
        }
        let written = self.columns.iter().copied().collect();
        let what = ChangeText { sqlite, form: ChangeForm::New, written, versioned: false, xid };
        self.table.texts.change(what, build)
    }

    /// So many rows in one text (SQLite).
    pub(super) fn insert_values(&self, rows: usize) -> String {
        let table = self.table;
        let saves: Vec<String> = self.columns.iter().map(|c| table.columns[*c].save(self.backend, "?")).collect();
        let tuple = format!("({})", saves.join(", "));
        let mut sql = format!("INSERT INTO {} ({}) VALUES {tuple}", table.table, self.names(self.columns));
        for _ in 1..rows {
            sql += ", ";
            sql += &tuple;
        }
        sql += &self.on_conflict();
        sql += &self.returning();
        sql
    }

    /// Many rows as arrays (PostgreSQL), without what is to come back. The text does not depend on the number of rows.
    pub(super) fn insert_arrays(&self, drawn: bool) -> String {
        let width = self.columns.len();
        format!(
            "INSERT INTO {} ({}){} SELECT {} FROM UNNEST({}) AS u({}){}",
            self.table.table,
            self.names(self.columns),
            if drawn { " OVERRIDING SYSTEM VALUE" } else { "" },
            saved(self),
            places(width),
            aliases(width),
            self.on_conflict()
        )
    }
}

impl Flush<'_> {
    pub(super) async fn insert(
        &mut self,
        table: &TableMeta,
        step: &Step,
        rows: Rows,
        members: &[Behind],
    ) -> Result<(), Error> {
        if step.kind == Kind::Switch {
            self.confirm(table, step, &rows).await?;
        }
        let wanted = (0..table.columns.len()).filter(|c| !step.columns.contains(c)).collect();
        let backend = self.connection.backend();
        let shape = Shape { table, columns: &step.columns, wanted, kind: step.kind, backend };
        if !shape.is_set_based() {
            for row in rows.chunks(1) {
                self.insert_one(&shape, row, members).await?;
            }
            return Ok(());
        }
        if backend == DbBackend::Sqlite {
            for chunk in sqlite_chunks(rows, step.columns.len()) {
                self.insert_values(&shape, chunk, members).await?;
            }
            return Ok(());
        }
        let (mut shape, mut rows, mut columns) = (shape, rows, step.columns.clone());
        if let Some(key) = self.draw_keys(&shape, &mut rows).await? {
            columns.push(key);
            shape = Shape { table, columns: &columns, wanted: Vec::new(), kind: step.kind, backend };
        }
        let rows = if shape.wanted.is_empty() {
            self.copy(table, step.kind, shape.columns, rows, members).await?
        } else {
            Some(rows)
        };
        let Some(rows) = rows else { return Ok(()) };
        for chunk in rows.chunks(POSTGRES_ROWS) {
            match (chunk.len(), shape.key_is_wanted()) {
                (1, _) => self.insert_one(&shape, chunk, members).await?,
                (_, true) => self.insert_counted(&shape, chunk, members).await?,
                (_, false) => self.insert_arrays(&shape, chunk, members).await?,
            }
        }
        Ok(())
    }

    /// For many rows that want a number of a sequence and nothing else: draws the numbers first, in a round trip of their
    /// own, so that the wide rows go in like rows whose keys were known. The key column, unless it has no such sequence.
    async fn draw_keys(&mut self, shape: &Shape<'_>, rows: &mut Rows) -> Result<Option<usize>, Error> {
        let table = shape.table;
        let Some(key) = table.auto_key.filter(|key| shape.wanted == [*key] && table.keys == [*key]) else {
            return Ok(None);
        };
        if shape.kind != Kind::Insert || rows.len() < DRAWN_ROWS {
            return Ok(None);
        }
        let Some(drawn) = self.drawn(table, key, rows, rows.len()).await? else { return Ok(None) };
        for ((number, values), held) in drawn.into_iter().zip(&mut rows.values).zip(&mut rows.keys) {
            values.push(number.clone());
            *held = vec![number];
        }
        rows.drawn = Some(key);
        Ok(Some(key))
    }

    /// Draws so many numbers of the sequence behind `key`; `None` if it has no such sequence.
    pub(super) async fn drawn(
        &mut self,
        table: &TableMeta,
        key: usize,
        place: &dyn Place,
        count: usize,
    ) -> Result<Option<Vec<Value>>, Error> {
        let sequence = sequence(table, key);
        let mut text = Text::new(
            DbBackend::Postgres,
            &format!(
                "SELECT array_agg(nextval({sequence})) AS drawn FROM generate_series(1, $1::int8) WHERE {sequence} IS NOT NULL"
            ),
        );
        text.bind(Value::BigInt(i64::try_from(count).ok()));
        let answer = self.send(table, place, text.message(Fetch::One)).await?.rows();
        let drawn: Option<Vec<i64>> = answer.first().map(|row| row.try_get("", "drawn")).transpose()?.flatten();
        let numbers = drawn.filter(|drawn| drawn.len() == count);
        Ok(numbers.map(|numbers| numbers.into_iter().map(|n| integer(&table.columns[key].kind, n)).collect()))
    }

    /// One row. Whatever the database fills in comes back with it.
    async fn insert_one(&mut self, shape: &Shape<'_>, mut row: Rows, members: &[Behind]) -> Result<(), Error> {
        let table = shape.table;
        let mut text = Text::new(shape.backend, &shape.insert_one());
        text.values = std::mem::take(&mut row.values[0]);
        // A type that cannot be read by itself comes back with the whole row.
        let whole = !shape.wanted.iter().all(|c| table.columns[*c].is_simple());
        text.sql += &match (shape.wanted.is_empty(), whole) {
            (true, _) => String::new(),
            (false, true) => format!(" RETURNING {}{}", shape.selects(0..table.columns.len()), self.returning_xid()),
            (false, false) => format!("{}{}", shape.returning(), self.returning_xid()),
        };
        if shape.wanted.is_empty() {
            let inserted = self.send_counted(table, &row, Write::Values(text)).await?;
            expect_rows(table, &row, 1, inserted)?;
            return self.done(row.ops[0], members, None);
        }
        let answer = self.send(table, &row, text.message(Fetch::One)).await?.rows();
        self.learn_xid(&answer);
        let Some(answer) = answer.first() else { return Err(no_answer(table, &row)) };
        if whole {
            return self.done(row.ops[0], members, Some(&Returned::Row(answer)));
        }
        let values = read(shape, answer)?;
        self.done(row.ops[0], members, Some(&Returned::Values(&values)))
    }

    /// Many rows in one text of VALUES (SQLite).
    async fn insert_values(&mut self, shape: &Shape<'_>, mut rows: Rows, members: &[Behind]) -> Result<(), Error> {
        let table = shape.table;
        let mut text = Text::new(shape.backend, &shape.insert_values(rows.len()));
        text.values.reserve(rows.len() * shape.columns.len());
        for values in &mut rows.values {
            text.values.append(values);
        }
        if shape.wanted.is_empty() {
            let reply = self.send(table, &rows, text.message(Fetch::Nothing)).await?;
            expect_rows(table, &rows, rows.len() as u64, reply.affected())?;
            return self.all_done(&rows, members);
        }
        let answer = self.send(table, &rows, text.message(Fetch::All)).await?.rows();
        expect_rows(table, &rows, rows.len() as u64, answer.len() as u64)?;
        match table.auto_key.filter(|key| shape.wanted.contains(key)) {
            Some(key) => {
                // SQLite counts up as it goes through VALUES; sorting by the key undoes whatever RETURNING did to the order.
                let mut returned = answer.iter().map(|row| read(shape, row)).collect::<Result<Vec<_>, Error>>()?;
                returned.sort_by_key(|values| {
                    values.iter().find(|(c, _)| *c == key).and_then(|(_, v)| super::value::as_integer(v))
                });
                for (op, values) in rows.ops.iter().zip(&returned) {
                    self.done(*op, members, Some(&Returned::Values(values)))?;
                }
                Ok(())
            }
            None => self.match_by_key(shape, &rows, &answer, members),
        }
    }

    /// Many rows as arrays, their keys known (PostgreSQL). The text does not depend on the number of rows.
    async fn insert_arrays(&mut self, shape: &Shape<'_>, rows: Rows, members: &[Behind]) -> Result<(), Error> {
        let table = shape.table;
        let arguments = arrays(shape, &rows)?;
        let insert = shape.insert_arrays(rows.drawn.is_some());
        if shape.wanted.is_empty() {
            let inserted = self.send_counted(table, &rows, Write::Arrays { sql: insert.into(), arguments }).await?;
            expect_rows(table, &rows, rows.len() as u64, inserted)?;
            return self.all_done(&rows, members);
        }
        let sql = format!("{insert}{}{}", shape.returning(), self.returning_xid());
        let answer =
            self.send(table, &rows, Message::Arrays { sql: sql.into(), arguments, fetch: Fetch::All }).await?.rows();
        expect_rows(table, &rows, rows.len() as u64, answer.len() as u64)?;
        self.learn_xid(&answer);
        self.match_by_key(shape, &rows, &answer, members)
    }

    /// Many rows whose key comes from a sequence (PostgreSQL): each row draws its number before it is inserted, so that the
    /// answer says which row got which.
    async fn insert_counted(&mut self, shape: &Shape<'_>, rows: Rows, members: &[Behind]) -> Result<(), Error> {
        let table = shape.table;
        let Some(key) = table.auto_key else { return Err(no_answer(table, &rows)) };
        let (arguments, from) = unnest_numbered(shape, &rows)?;
        let key_name = table.columns[key].quoted();
        let sequence = sequence(table, key);
        let saved = saved(shape).replace("u.", "input.");
        let wanted = shape.selects(shape.wanted.iter().copied());
        let xid = self.returning_xid();
        let sql = format!(
            "WITH input AS MATERIALIZED (SELECT nextval({sequence}) AS k, u.* FROM {from} WHERE {sequence} IS NOT NULL), \
             written AS (INSERT INTO {} ({key_name}, {}) OVERRIDING SYSTEM VALUE SELECT input.k, {saved} FROM input ORDER BY input.ord \
             RETURNING {wanted}{xid}) SELECT input.ord AS sea_session_ord, written.* FROM written JOIN input ON written.{key_name} = input.k",
            table.table,
            shape.names(shape.columns),
        );
        let answer =
            self.send(table, &rows, Message::Arrays { sql: sql.into(), arguments, fetch: Fetch::All }).await?.rows();
        if answer.is_empty() {
            // The key has a default that is no sequence of its own: only the row itself can tell what it got.
            for row in rows.chunks(1) {
                self.insert_one(shape, row, members).await?;
            }
            return Ok(());
        }
        expect_rows(table, &rows, rows.len() as u64, answer.len() as u64)?;
        self.learn_xid(&answer);
        for row in &answer {
            let ord: i64 = row.try_get("", "sea_session_ord")?;
            let at = usize::try_from(ord - 1).map_err(|_| no_answer(table, &rows))?;
            let values = read_columns(shape, row, shape.wanted.iter().copied())?;
            self.done(rows.ops[at], members, Some(&Returned::Values(&values)))?;
        }
        Ok(())
    }

    fn match_by_key(
        &mut self,
        shape: &Shape<'_>,
        rows: &Rows,
        answer: &[QueryResult],
        members: &[Behind],
    ) -> Result<(), Error> {
        let table = shape.table;
        let by_key: FxHashMap<&[Value], usize> =
            rows.keys.iter().map(Vec::as_slice).zip(rows.ops.iter().copied()).collect();
        for row in answer {
            let key = table.keys.iter().map(|k| table.columns[*k].decode(row));
            let key = key.collect::<Result<Vec<_>, Error>>()?;
            let op = by_key.get(&key[..]).ok_or_else(|| no_answer(table, rows))?;
            let values = read(shape, row)?;
            self.done(*op, members, Some(&Returned::Values(&values)))?;
        }
        Ok(())
    }

    pub(super) fn all_done(&mut self, rows: &Rows, members: &[Behind]) -> Result<(), Error> {
        let Some(column) = rows.drawn else { return rows.ops.iter().try_for_each(|op| self.done(*op, members, None)) };
        rows.ops.iter().zip(&rows.keys).try_for_each(|(op, key)| {
            let drawn = [(column, key[0].clone())];
            self.done(*op, members, Some(&Returned::Values(&drawn)))
        })
    }
}

/// The sequence behind a key, or NULL. A subquery of its own, so that it is looked up once: that takes ten times as long as
/// to draw from it.
fn sequence(table: &TableMeta, key: usize) -> String {
    use crate::options::literal;
    format!(
        "(SELECT pg_get_serial_sequence({}, {})::regclass)",
        literal(&table.table),
        literal(table.columns[key].name)
    )
}

fn read(shape: &Shape<'_>, row: &QueryResult) -> Result<Vec<(usize, Value)>, Error> {
    read_columns(shape, row, shape.wanted.iter().copied())
}

fn read_columns(
    shape: &Shape<'_>,
    row: &QueryResult,
    columns: impl Iterator<Item = usize>,
) -> Result<Vec<(usize, Value)>, Error> {
    columns.map(|c| Ok((c, shape.table.columns[c].decode(row)?))).collect()
}

fn saved(shape: &Shape<'_>) -> String {
    let save = |(i, c): (usize, &usize)| shape.table.columns[*c].save(shape.backend, &format!("u.c{i}"));
    shape.columns.iter().enumerate().map(save).collect::<Vec<_>>().join(", ")
}

fn unnest_numbered(shape: &Shape<'_>, rows: &Rows) -> Result<(Box<PgArguments>, String), Error> {
    let arguments = arrays(shape, rows)?;
    let width = shape.columns.len();
    Ok((arguments, format!("UNNEST({}) WITH ORDINALITY AS u({}, ord)", places(width), aliases(width))))
}

fn arrays(shape: &Shape<'_>, rows: &Rows) -> Result<Box<PgArguments>, Error> {
    let mut sink = ArrayRows::new(rows.len(), shape.columns.iter().map(|c| &shape.table.columns[*c].kind))?;
    for row in &rows.values {
        row.iter().enumerate().try_for_each(|(at, value)| sink.put(at, &ValueRef::from(value)))?;
    }
    sink.arguments()
}

pub(super) fn places(width: usize) -> String {
    (1..=width).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ")
}

fn aliases(width: usize) -> String {
    (0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn expect_rows(table: &TableMeta, rows: &dyn Place, expected: u64, found: u64) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    let place = rows.place(table);
    Err(Error::usage(format!(
        "{place}: {expected} rows were to be inserted, {found} were; a rule or trigger of the table drops rows"
    )))
}

fn no_answer(table: &TableMeta, rows: &Rows) -> Error {
    Error::usage(format!(
        "{}: the database did not say what it filled in for {}",
        rows.place(table),
        quote(table.entity)
    ))
}
