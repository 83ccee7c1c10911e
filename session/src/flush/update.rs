//! UPDATE in sets (F2), each row matched on its key, its loaded version (O1) and what was read (P1).

use std::sync::Arc;

use sea_orm::{DbBackend, QueryResult, Value, sea_query::ArrayType, sqlx::postgres::PgArguments};

use super::{
    Behind, Changed, Flush, Member, Place, Rows, Text, Write, and_xid,
    insert::places,
    plan::{Part, Step},
    statement::{even_sizes, sqlite_sizes},
    telling_xid,
    value::{as_integer, decode},
    wire::{ArrayRows, RowSink},
};
use crate::{
    connection::Fetch,
    error::Error,
    meta::{ChangeForm, ChangeText, ColumnSet, TableMeta},
    value_ref::ValueRef,
};

/// Rows of one PostgreSQL statement.
const UPDATED_ROWS: usize = 5_000;
const DELETED_ROWS: usize = 10_000;

/// The columns that a set of rows travels with: key, version, checks, then what is written.
pub(super) struct Columns<'a> {
    pub(super) table: &'a TableMeta,
    pub(super) backend: DbBackend,
    pub(super) version: Option<usize>,
    pub(super) checks: &'a [usize],
    pub(super) written: &'a [usize],
}

impl Columns<'_> {
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.table.keys.iter().chain(&self.version).chain(self.checks).chain(self.written).copied()
    }

    pub(super) fn width(&self) -> usize {
        self.all().count()
    }

    pub(super) fn is_simple(&self) -> bool {
        self.all().all(|c| self.table.columns[c].is_simple())
    }

    /// One row's values, in the order of [`Columns::all`].
    fn row<'r>(&self, rows: &'r Rows, row: usize) -> impl Iterator<Item = &'r Value> {
        let version = self.version.map(|_| &rows.versions[row]);
        let checks = rows.checks.get(row).into_iter().flatten();
        let written = rows.values.get(row).into_iter().flatten();
        rows.keys[row].iter().chain(version).chain(checks).chain(written)
    }

    /// How many rows go into each statement.
    pub(super) fn sizes(&self, rows: usize) -> Vec<usize> {
        match (self.is_simple(), self.backend) {
            (false, _) => vec![1; rows],
            (true, DbBackend::Sqlite) => sqlite_sizes(rows, self.width()),
            (true, _) if self.written.is_empty() => even_sizes(rows, DELETED_ROWS),
            (true, _) => even_sizes(rows, UPDATED_ROWS),
        }
    }

    fn aliases(&self) -> String {
        (0..self.width()).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &ArrayType> {
        self.all().map(|c| &self.table.columns[c].kind)
    }

    /// The text of a change, built once where it depends on nothing but the columns.
    pub(super) fn text(&self, form: ChangeForm, xid: bool) -> Arc<str> {
        let build = || match form {
            ChangeForm::New | ChangeForm::One => telling_xid(self.one(), xid),
            ChangeForm::Few => self.few(xid),
            ChangeForm::Many => self.many(xid),
            ChangeForm::Bare => self.change_arrays(false),
        };
        if !self.checks.is_empty() || !ColumnSet::tells_apart(self.table.columns.len()) {
            return build().into();
        }
        let written = self.written.iter().copied().collect();
        let (sqlite, versioned) = (self.backend == DbBackend::Sqlite, self.version.is_some());
        self.table.texts.change(ChangeText { sqlite, form, written, versioned, xid }, build)
    }

    /// The change of rows in arrays (PostgreSQL), each of which must be there. If one is not, the same statement says which:
    /// afterwards a row that was written and one that somebody else wrote look alike. What looks for the missing row costs
    /// nothing where none is missing.
    fn many(&self, xid: bool) -> String {
        let keys = self.table.keys.len();
        let list = |prefix: &str| (0..keys).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(", ");
        let same = (0..keys).map(|i| format!("written.c{i} = m.c{i}")).collect::<Vec<_>>().join(" AND ");
        format!(
            "WITH written({columns}) AS ({write}) SELECT count(*) AS sea_session_rows, \
             CASE WHEN count(*) < cardinality($1) THEN (SELECT min(m.ord) FROM UNNEST({arrays}) WITH ORDINALITY AS m({columns}, ord) \
             WHERE NOT EXISTS (SELECT 1 FROM written WHERE {same})) END AS sea_session_missing{xid} FROM written",
            columns = list("c"),
            write = self.change_arrays(true),
            arrays = places(keys),
            xid = and_xid(xid),
        )
    }

    /// The change of a few rows in arrays, each of which answers with its place: to count two rows in the server takes longer
    /// than to write them.
    fn few(&self, xid: bool) -> String {
        let table = self.table;
        let rows = format!("UNNEST({}) WITH ORDINALITY AS u({}, ord)", places(self.width()), self.aliases());
        let (matching, xid) = (self.matching(), and_xid(xid));
        let write = match self.written.is_empty() {
            true => format!("DELETE FROM {} USING {rows}", table.table),
            false => format!("UPDATE {} SET {} FROM {rows}", table.table, self.assignments()),
        };
        format!("{write} WHERE {matching} RETURNING u.ord AS sea_session_row{xid}")
    }

    /// The change of rows in arrays; if wanted, it returns the keys' arrays.
    fn change_arrays(&self, returning: bool) -> String {
        let (write, keys) = if self.written.is_empty() { self.delete_arrays() } else { self.update_arrays() };
        if returning { format!("{write} RETURNING {keys}") } else { write }
    }

    /// The UPDATE of rows in arrays, and the keys that it may return.
    fn update_arrays(&self) -> (String, String) {
        let table = &self.table.table;
        let (assignments, from, matching) = (self.assignments(), self.from(), self.matching());
        (format!("UPDATE {table} SET {assignments} FROM {from} WHERE {matching}"), self.key_aliases())
    }

    /// The change of so many rows in one text (SQLite). Its places have no numbers: a numbered one is looked up by name.
    pub(super) fn values(&self, rows: usize) -> String {
        if self.written.is_empty() { self.delete_values(rows) } else { self.update_values(rows) }
    }

    fn update_values(&self, rows: usize) -> String {
        let with = self.with_text(rows);
        format!("{with}UPDATE {} SET {} FROM u WHERE {}", self.table.table, self.assignments(), self.matching())
    }

    /// `UNNEST($1, …) AS u(c0, …)`.
    pub(super) fn from(&self) -> String {
        format!("UNNEST({}) AS u({})", places(self.width()), self.aliases())
    }

    /// `WITH u(c0, …) AS (VALUES (?, …), …) `.
    pub(super) fn with_text(&self, rows: usize) -> String {
        let tuple = format!("({})", vec!["?"; self.width()].join(", "));
        format!("WITH u({}) AS (VALUES {}) ", self.aliases(), vec![&*tuple; rows].join(", "))
    }

    /// One array a column.
    fn arrays(&self, rows: &Rows) -> Result<Box<PgArguments>, Error> {
        let mut sink = ArrayRows::new(rows.len(), self.kinds())?;
        for row in 0..rows.len() {
            self.row(rows, row).enumerate().try_for_each(|(at, value)| sink.put(at, &ValueRef::from(value)))?;
        }
        sink.arguments()
    }

    /// The value of a column, which is the `i`th of [`Columns::all`].
    fn place(&self, i: usize, column: usize) -> String {
        self.table.columns[column].save(self.backend, &format!("u.c{i}"))
    }

    /// `t.key = u.c0 AND …` over key, version and checks.
    pub(super) fn matching(&self) -> String {
        let table = self.table;
        let fixed = table.keys.len() + usize::from(self.version.is_some());
        let same = if self.backend == DbBackend::Sqlite { "IS" } else { "IS NOT DISTINCT FROM" };
        self.all()
            .take(fixed + self.checks.len())
            .enumerate()
            .map(|(i, c)| {
                let equals = if i < fixed { "=" } else { same };
                format!("{}.{} {equals} {}", table.table, table.columns[c].quoted(), self.place(i, c))
            })
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// `u.c0, …` for the key.
    pub(super) fn key_aliases(&self) -> String {
        (0..self.table.keys.len()).map(|i| format!("u.c{i}")).collect::<Vec<_>>().join(", ")
    }

    fn assignments(&self) -> String {
        let first = self.width() - self.written.len();
        let assign = |(i, c): (usize, &usize)| format!("{} = {}", self.table.columns[*c].quoted(), self.place(i, *c));
        (first..).zip(self.written).map(assign).collect::<Vec<_>>().join(", ")
    }

    /// The change of a single row: what is written, then key, version and checks.
    fn one(&self) -> String {
        let table = self.table;
        let sign = if self.backend == DbBackend::Sqlite { '?' } else { '$' };
        let same = if self.backend == DbBackend::Sqlite { "IS" } else { "IS NOT DISTINCT FROM" };
        let compared = |(at, column): (usize, &usize), equals: &str| {
            let meta = &table.columns[*column];
            format!("{} {equals} {}", meta.quoted(), meta.save(self.backend, &format!("{sign}{}", at + 1)))
        };
        let assigned: Vec<String> = self.written.iter().enumerate().map(|place| compared(place, "=")).collect();
        let fixed = table.keys.iter().chain(&self.version).map(|column| (column, "="));
        let matched = fixed.chain(self.checks.iter().map(|column| (column, same)));
        let matched = (self.written.len()..).zip(matched).map(|(at, (column, equals))| compared((at, column), equals));
        let matched = matched.collect::<Vec<_>>().join(" AND ");
        match assigned.is_empty() {
            true => format!("DELETE FROM {} WHERE {matched}", table.table),
            false => format!("UPDATE {} SET {} WHERE {matched}", table.table, assigned.join(", ")),
        }
    }
}

impl Flush<'_> {
    pub(super) async fn update(
        &mut self,
        table: &TableMeta,
        step: &Step,
        rows: Rows,
        members: &[Behind],
    ) -> Result<(), Error> {
        let columns = Columns {
            table,
            backend: self.connection.backend(),
            version: table.version.filter(|_| step.part == Part::Whole),
            checks: &step.checks,
            written: &step.columns,
        };
        let sizes = columns.sizes(rows.len());
        for chunk in rows.split(sizes) {
            self.change(&columns, &chunk, Some(members)).await?;
            match step.part {
                Part::Whole => self.all_done(&chunk, members)?,
                Part::Close => {
                    for (op, values) in chunk.ops.iter().zip(&chunk.values) {
                        let values = || step.columns.iter().copied().zip(values.iter().cloned());
                        members[*op].iter().try_for_each(|(object, _)| object.closed(&mut values()))?;
                    }
                }
                Part::Open => {}
            }
        }
        Ok(())
    }

    /// Changes the rows of one statement, each of which must be there; `members` as in [`Flush::expect_all`].
    pub(super) async fn change(
        &mut self,
        columns: &Columns<'_>,
        rows: &Rows,
        members: Option<&[Behind]>,
    ) -> Result<(), Error> {
        let changed = match (rows.len(), columns.backend) {
            (1, _) => self.change_one(columns, rows).await?.into(),
            (_, DbBackend::Sqlite) => {
                let mut text = Text::new(columns.backend, &columns.values(rows.len()));
                text.values = (0..rows.len()).flat_map(|row| columns.row(rows, row)).cloned().collect();
                self.send(columns.table, rows, text.message(Fetch::Nothing)).await?.affected().into()
            }
            _ => self.send_matched(columns, rows, || columns.arrays(rows)).await?,
        };
        self.expect_all(columns, rows, changed, members).await
    }

    /// Makes sure that the rows which a switch replaces are those that were loaded (O1, P1), and locks them: the upsert
    /// itself cannot tell. What is written is what is there.
    pub(super) async fn confirm(&mut self, table: &TableMeta, step: &Step, rows: &Rows) -> Result<(), Error> {
        let Some(held) = table.version.or(step.checks.first().copied()) else { return Ok(()) };
        let backend = self.connection.backend();
        let written = [held];
        let columns = Columns { table, backend, version: table.version, checks: &step.checks, written: &written };
        let mut loaded = rows.clone();
        for (row, values) in loaded.values.iter_mut().enumerate() {
            let version = table.version.and_then(|_| rows.versions.get(row));
            *values = version.or_else(|| rows.checks[row].first()).cloned().into_iter().collect();
        }
        let sizes = columns.sizes(loaded.len());
        for chunk in loaded.split(sizes) {
            self.change(&columns, &chunk, None).await?;
        }
        Ok(())
    }

    async fn change_one(&mut self, columns: &Columns<'_>, rows: &Rows) -> Result<u64, Error> {
        let sql = columns.text(ChangeForm::One, false);
        let mut text = Text::new(columns.backend, &sql);
        // What is written comes first, as it does in the text.
        let matched = columns.width() - columns.written.len();
        let written = columns.row(rows, 0).skip(matched);
        text.values = written.chain(columns.row(rows, 0).take(matched)).cloned().collect();
        self.send_counted(columns.table, rows, Write::Values(text)).await
    }

    /// A row count that differs names the row that is to blame (F8, O1, P6).
    ///
    /// Where the statement could not say which (SQLite), rows that hold what `members` have written are not to blame. Of
    /// deleted rows those that are still there are; if there is none, one of them was gone before.
    pub(super) async fn expect_all(
        &mut self,
        columns: &Columns<'_>,
        rows: &Rows,
        changed: Changed,
        members: Option<&[Behind]>,
    ) -> Result<(), Error> {
        if changed.rows == rows.len() as u64 {
            return Ok(());
        }
        let (alone, deleted) = (changed.missing.is_some() || rows.len() == 1, columns.written.is_empty());
        for row in changed.missing.map_or(0..rows.len(), |row| row..row + 1) {
            match self.blame(columns, rows, row, members.filter(|_| !alone)).await? {
                Some(Error::Stale { found: None, .. }) if deleted && !alone => {}
                Some(error) => return Err(error),
                None => {}
            }
        }
        if deleted && !alone {
            let one_of = format!("(one of {})", rows.place(columns.table));
            return Err(Error::Stale { entity: columns.table.entity, key: one_of.into(), expected: None, found: None });
        }
        Err(Error::usage(format!(
            "{}: {} rows were to be changed, {} were; a rule or trigger of the table drops changes",
            rows.place(columns.table),
            rows.len(),
            changed.rows
        )))
    }

    async fn blame(
        &mut self,
        columns: &Columns<'_>,
        rows: &Rows,
        row: usize,
        members: Option<&[Behind]>,
    ) -> Result<Option<Error>, Error> {
        let table = columns.table;
        let mut text = Text::new(columns.backend, "");
        let keys = table.keys.iter().zip(&rows.keys[row]).map(|(c, value)| {
            let place = text.bind(value.clone());
            format!("{} = {}", table.columns[*c].quoted(), table.columns[*c].save(columns.backend, &place))
        });
        let keys = keys.collect::<Vec<_>>().join(" AND ");
        let looked = table.keys.iter().chain(&columns.version).chain(columns.checks).chain(columns.written);
        let looked = looked.map(|c| table.columns[*c].select(columns.backend)).collect::<Vec<_>>().join(", ");
        text.sql = format!("SELECT {looked} FROM {} WHERE {keys}", table.table);
        let answer = self.send(table, rows, text.message(Fetch::One)).await?.rows();

        let key = || table.show_key(&rows.keys[row]).into_boxed_str();
        let expected = rows.versions.get(row).and_then(as_integer);
        let Some(found) = answer.first() else {
            return Ok(Some(Error::Stale { entity: table.entity, key: key(), expected, found: None }));
        };
        if let Some(members) = members
            && holds_what_was_written(columns, found, &members[rows.ops[row]])?
        {
            return Ok(None);
        }
        if let Some(version) = columns.version {
            let held = decode(found, table.columns[version].name, &table.columns[version].kind)?;
            if as_integer(&held) != expected {
                return Ok(Some(Error::Stale { entity: table.entity, key: key(), expected, found: as_integer(&held) }));
            }
        }
        for (i, column) in columns.checks.iter().enumerate() {
            let meta = &table.columns[*column];
            let held = decode(found, meta.name, &meta.kind)?;
            let loaded = &rows.checks[row][i];
            if held != *loaded {
                let change = (self.show_values && !table.secret.contains(*column))
                    .then(|| Box::new((loaded.to_string(), held.to_string())));
                return Ok(Some(Error::UnrepeatableRead {
                    entity: table.entity,
                    key: key(),
                    column: meta.name,
                    change,
                }));
            }
        }
        Ok(None)
    }
}

/// Whether a row looks as if this flush had written it.
fn holds_what_was_written(columns: &Columns<'_>, row: &QueryResult, members: &[Member]) -> Result<bool, Error> {
    for column in columns.written {
        let meta = &columns.table.columns[*column];
        let written = members.iter().rev().find_map(|(object, _)| object.column_value(*column));
        if written != Some(decode(row, meta.name, &meta.kind)?) {
            return Ok(false);
        }
    }
    Ok(!columns.written.is_empty())
}
