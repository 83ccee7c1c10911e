//! A set: rows of one table that are written in the same way, wherever their values stand. Either objects, whose values are
//! lent to the wire, or rows that the planner has taken apart. Knows no SQL, and sends nothing.

use std::sync::Arc;

use chrono::Timelike as _;
use sea_orm::Value;
use smallvec::SmallVec;

use super::{
    Behind,
    plan::{Kind, Part, Step},
    rows::{NamedRows, StepRows},
};
use crate::{
    error::Error,
    objects::{
        AnyObject,
        row::{Put, RowKind, WrittenValue},
    },
    table::{
        facts::{Stored, TableFacts},
        meta::TableMeta,
        row_sink::RowSink,
        value_ref::ValueRef,
    },
};

/// From this many changed rows on the server's own count is worth the two short messages around it.
pub(super) const MANY_ROWS: usize = 1_000;

/// The values of a row, in the order in which they are sent.
pub(super) type Places = SmallVec<[Put; 8]>;

/// Rows that go the same way.
pub(super) struct RowSet<'a> {
    pub(super) table: &'static TableMeta,
    pub(super) facts: Arc<TableFacts>,
    pub(super) kind: Kind,
    pub(super) part: Part,
    /// The columns written; none for deletes.
    pub(super) columns: SmallVec<[usize; 8]>,
    /// The columns that must still hold what was loaded (P1).
    pub(super) checks: Vec<usize>,
    pub(super) rows: RowSource<'a>,
    /// Columns whose values the database has made beforehand, and their values, row by row.
    pub(super) drawn: Option<Drawn>,
}

/// Where the rows of a set stand.
pub(super) enum RowSource<'a> {
    Objects(Vec<&'a Arc<AnyObject>>),
    Planned {
        rows: StepRows,
        members: &'a [Behind],
    },
    /// New rows that no object stands for, their values in the order of the set's columns.
    Appended(Vec<Vec<Value>>),
}

/// Values that the database has made before their rows.
pub(super) struct Drawn {
    columns: SmallVec<[usize; 1]>,
    /// Row by row.
    values: Vec<Value>,
}

impl Drawn {
    /// The values of these columns, row by row.
    pub(super) fn new(columns: impl IntoIterator<Item = usize>, values: Vec<Value>) -> Self {
        Self { columns: columns.into_iter().collect(), values }
    }

    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The values of one row, in the order of the columns.
    pub(super) fn row(&self, row: usize) -> &[Value] {
        let width = self.columns.len();
        &self.values[row * width..(row + 1) * width]
    }
}

/// A row taken apart: what it is found by, and what must still hold.
pub(super) struct Found {
    pub(super) key: Vec<Value>,
    pub(super) version: Option<Value>,
    pub(super) checks: Vec<Value>,
}

impl<'a> RowSet<'a> {
    pub(super) fn planned(
        table: &'static TableMeta,
        facts: Arc<TableFacts>,
        step: &Step,
        rows: StepRows,
        members: &'a [Behind],
    ) -> Self {
        RowSet {
            table,
            facts,
            kind: step.kind,
            part: step.part,
            columns: step.columns.iter().copied().collect(),
            checks: step.checks.clone(),
            rows: RowSource::Planned { rows, members },
            drawn: None,
        }
    }

    /// New rows of which nothing is to come back.
    pub(super) fn appended(
        table: &'static TableMeta,
        facts: Arc<TableFacts>,
        columns: SmallVec<[usize; 8]>,
        rows: Vec<Vec<Value>>,
    ) -> Self {
        let (kind, part, rows) = (Kind::Insert, Part::Whole, RowSource::Appended(rows));
        RowSet { table, facts, kind, part, columns, checks: Vec::new(), rows, drawn: None }
    }

    /// Whether no object stands for the rows.
    pub(super) fn is_appended(&self) -> bool {
        matches!(self.rows, RowSource::Appended(_))
    }

    pub(super) fn len(&self) -> usize {
        match &self.rows {
            RowSource::Objects(objects) => objects.len(),
            RowSource::Planned { rows, .. } => rows.len(),
            RowSource::Appended(rows) => rows.len(),
        }
    }

    /// Whether a write of the set may be asked for more than it has to tell: not where a rule stands in its place, nor where
    /// the row may be one that policies hide.
    pub(super) fn may_answer(&self) -> bool {
        let event = match self.kind {
            Kind::Insert | Kind::Switch => self.facts.insert,
            Kind::Update => self.facts.update,
            Kind::Delete => self.facts.delete,
        };
        !event.instead && !self.facts.row_security
    }

    /// The version that rows are found by, where they are.
    pub(super) fn version(&self) -> Option<usize> {
        let matched = matches!(self.kind, Kind::Update | Kind::Delete | Kind::Switch) && self.part == Part::Whole;
        self.table.version.filter(|_| matched)
    }

    pub(super) fn row_kind(&self) -> RowKind {
        match self.kind {
            Kind::Insert | Kind::Switch => RowKind::Insert,
            Kind::Update => RowKind::Update,
            Kind::Delete => RowKind::Delete,
        }
    }

    /// What tells a row from all others.
    pub(super) fn keys(&self) -> impl Iterator<Item = Put> {
        self.table.keys.iter().copied().map(Put::Held)
    }

    /// What a row is found by: key, version, checks.
    pub(super) fn found_by(&self) -> impl Iterator<Item = Put> {
        let held = self.keys().chain(self.version().map(Put::Held));
        held.chain(self.checks.iter().copied().map(Put::Checked))
    }

    /// What is written, columns that were drawn last.
    pub(super) fn new_values(&self) -> impl Iterator<Item = Put> {
        self.written().map(Put::New)
    }

    /// The columns written, those that were drawn last.
    pub(super) fn written(&self) -> impl Iterator<Item = usize> {
        let drawn = self.drawn.iter().flat_map(|drawn| drawn.columns.iter().copied());
        self.columns.iter().copied().chain(drawn)
    }

    /// Puts the values of one row.
    pub(super) fn put(&self, row: usize, places: &[Put], sink: &mut dyn RowSink) -> Result<(), Error> {
        sink.begin_row();
        let drawn = self.drawn.as_ref().map_or(0, |drawn| drawn.columns.len());
        match &self.rows {
            RowSource::Objects(objects) => objects[row].put_row(&places[..places.len() - drawn], sink)?,
            RowSource::Planned { .. } | RowSource::Appended(_) => {
                for (at, put) in places[..places.len() - drawn].iter().enumerate() {
                    sink.put(at, &ValueRef::from(self.kept_value(row, *put)?))?;
                }
            }
        }
        if let Some(made) = &self.drawn {
            for (at, value) in (places.len() - drawn..).zip(made.row(row)) {
                sink.put(at, &ValueRef::from(value))?;
            }
        }
        Ok(())
    }

    /// A value of a row that stands apart from any object.
    fn kept_value(&self, row: usize, put: Put) -> Result<&Value, Error> {
        let at = |columns: &[usize], column: usize| columns.iter().position(|known| *known == column);
        let value = match (&self.rows, put) {
            (RowSource::Planned { rows, .. }, Put::New(column)) => {
                at(&self.columns, column).and_then(|at| rows.values[row].get(at))
            }
            (RowSource::Planned { rows, .. }, Put::Checked(column)) => {
                at(&self.checks, column).and_then(|at| rows.checks[row].get(at))
            }
            (RowSource::Planned { rows, .. }, Put::Held(column)) => match at(&self.table.keys, column) {
                Some(at) => rows.keys[row].get(at),
                None => rows.versions.get(row),
            },
            (RowSource::Appended(rows), Put::New(column)) => at(&self.columns, column).and_then(|at| rows[row].get(at)),
            (RowSource::Appended(_), _) | (RowSource::Objects(_), _) => None,
        };
        value.ok_or_else(|| Error::usage(format!("{}: a value of the row was lost on its way", self.table.entity)))
    }

    /// The values of one row as SeaORM binds them.
    pub(super) fn values(&self, row: usize, places: &[Put]) -> Result<Vec<Value>, Error> {
        let drawn = self.drawn.as_ref().map_or(0, |drawn| drawn.columns.len());
        let own = &places[..places.len() - drawn];
        let mut values = match &self.rows {
            RowSource::Planned { .. } | RowSource::Appended(_) => {
                own.iter().map(|put| self.kept_value(row, *put).cloned()).collect::<Result<Vec<_>, Error>>()?
            }
            RowSource::Objects(objects) => {
                let mut change = self.change_of(objects[row])?;
                let mut value = |put: &Put| match *put {
                    Put::New(column) => self.take_cell(&mut change.cells, column),
                    Put::Held(column) | Put::Checked(column) => {
                        let key = self.table.keys.iter().position(|key| *key == column);
                        let held = key.map_or(change.version.clone(), |at| change.key.get(at).cloned());
                        held.ok_or_else(|| self.gone(objects[row]))
                    }
                };
                own.iter().map(&mut value).collect::<Result<Vec<_>, Error>>()?
            }
        };
        values.extend(self.drawn.iter().flat_map(|made| made.row(row).iter().cloned()));
        Ok(values)
    }

    fn change_of(&self, object: &Arc<AnyObject>) -> Result<crate::objects::row::RowChange, Error> {
        object.change(self.row_kind())?.ok_or_else(|| self.gone(object))
    }

    fn gone(&self, object: &Arc<AnyObject>) -> Error {
        Error::usage(format!("{} {} changed while it was flushed", self.table.entity, object.key_text()))
    }

    fn take_cell(&self, cells: &mut Vec<(usize, WrittenValue)>, column: usize) -> Result<Value, Error> {
        match cells.iter().position(|(at, _)| *at == column).map(|at| cells.swap_remove(at).1) {
            Some(WrittenValue::Value(value)) => Ok(self.table.columns[column].sent(value)),
            Some(WrittenValue::KeyOf(parent, _)) => {
                Err(crate::objects::row::not_in_unit(self.table, column, parent.table()))
            }
            None => Ok(self.table.columns[column].kind_null()),
        }
    }

    /// What a row is found by, taken apart.
    pub(super) fn found(&self, row: usize) -> Result<Found, Error> {
        Ok(match &self.rows {
            RowSource::Planned { rows, .. } => Found {
                key: rows.keys[row].clone(),
                version: rows.versions.get(row).cloned(),
                checks: rows.checks.get(row).cloned().unwrap_or_default(),
            },
            RowSource::Objects(objects) => {
                let change = self.change_of(objects[row])?;
                Found { key: change.key, version: change.version, checks: Vec::new() }
            }
            RowSource::Appended(_) => Found { key: Vec::new(), version: None, checks: Vec::new() },
        })
    }

    /// The key that a row has once it is written.
    pub(super) fn new_key(&self, row: usize) -> Result<Vec<Value>, Error> {
        let drawn = self.drawn.as_ref();
        let made = |key: &usize| {
            let at = drawn?.columns.iter().position(|column| column == key)?;
            Some(drawn?.row(row)[at].clone())
        };
        let written: Places = self.columns.iter().map(|column| Put::New(*column)).collect();
        let held: Option<Vec<Value>> = match &self.rows {
            RowSource::Planned { rows, .. } => Some(rows.keys[row].clone()),
            RowSource::Objects(objects) => objects[row].held_key(),
            RowSource::Appended(_) => None,
        };
        let mut key = Vec::with_capacity(self.table.keys.len());
        for (at, column) in self.table.keys.iter().enumerate() {
            key.push(match made(column) {
                Some(value) => value,
                None if written.contains(&Put::New(*column)) => self.own_value(row, *column)?,
                None => held
                    .as_ref()
                    .and_then(|held| held.get(at).cloned())
                    .ok_or_else(|| Error::usage(format!("{}: the key of a row is not known", self.table.entity)))?,
            });
        }
        Ok(key)
    }

    /// The key of a row that was just written; `counted` is the number that the server gave it, if it gave one.
    pub(super) fn key_after(&self, row: usize, counted: u64) -> Result<Vec<Value>, Error> {
        let [key] = self.table.keys[..] else { return self.new_key(row) };
        if self.columns.contains(&key) || self.drawn.is_some() {
            return self.new_key(row);
        }
        let kind = &self.table.columns[key].kind;
        let number = i64::try_from(counted).ok().filter(|number| *number > 0 && self.facts.columns[key].counted);
        match number {
            Some(number) => Ok(vec![crate::table::value::integer(kind, number)]),
            None => Err(Error::usage(format!(
                "{}: the key is made by the database, which does not tell it (no AUTO_INCREMENT, and no RETURNING): set it before `add`",
                self.table.entity
            ))),
        }
    }

    /// What is sent of a row in these columns.
    pub(super) fn sent(&self, row: usize, columns: &[usize]) -> Result<Vec<Value>, Error> {
        let places: Places = columns.iter().map(|column| Put::New(*column)).collect();
        match &self.rows {
            RowSource::Planned { .. } | RowSource::Appended(_) => {
                places.iter().map(|put| self.kept_value(row, *put).cloned()).collect()
            }
            RowSource::Objects(objects) => {
                let mut change = self.change_of(objects[row])?;
                columns.iter().map(|column| self.take_cell(&mut change.cells, *column)).collect()
            }
        }
    }

    /// One value that is written.
    fn own_value(&self, row: usize, column: usize) -> Result<Value, Error> {
        match &self.rows {
            RowSource::Planned { .. } | RowSource::Appended(_) => self.kept_value(row, Put::New(column)).cloned(),
            RowSource::Objects(objects) => {
                let mut change = self.change_of(objects[row])?;
                self.take_cell(&mut change.cells, column)
            }
        }
    }

    /// The key that an object of the row has by now, after it was told what it became.
    pub(super) fn current_key(&self, row: usize) -> Option<Vec<Value>> {
        let object = self.object(row)?;
        self.table.keys.iter().map(|key| object.column_value(*key)).collect()
    }

    /// The object that stands for the row from now on.
    pub(super) fn object(&self, row: usize) -> Option<&Arc<AnyObject>> {
        match &self.rows {
            RowSource::Objects(objects) => objects.get(row).copied(),
            RowSource::Planned { rows, members } => members[*rows.ops.get(row)?].last().map(|(object, _)| object),
            RowSource::Appended(_) => None,
        }
    }

    /// The object that stood for the row before: the deleted one of a switch.
    pub(super) fn object_before(&self, row: usize) -> Option<&Arc<AnyObject>> {
        match &self.rows {
            RowSource::Objects(objects) => objects.get(row).copied(),
            RowSource::Planned { rows, members } => members[*rows.ops.get(row)?].first().map(|(object, _)| object),
            RowSource::Appended(_) => None,
        }
    }

    /// The rows from `from` to `to`.
    pub(super) fn window(&self, from: usize, to: usize) -> Window<'_, 'a> {
        Window { set: self, from, to }
    }

    /// Which of these columns hold, in some row, a value that is not stored as it was sent.
    pub(super) fn oddly_stored(&self) -> Result<Vec<usize>, Error> {
        let conditional = |column: &usize| {
            let stored = self.facts.columns[*column].stored;
            matches!(stored, Stored::UnlessSpaces | Stored::UnlessOddFloat | Stored::UnlessFiner)
        };
        let places: Places = self.columns.iter().filter(|column| conditional(column)).map(|c| Put::New(*c)).collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut probe = OddValues { odd: vec![false; places.len()] };
        for row in 0..self.len() {
            match &self.rows {
                RowSource::Objects(objects) => objects[row].put_row(&places, &mut probe)?,
                RowSource::Planned { .. } | RowSource::Appended(_) => {
                    for (at, put) in places.iter().enumerate() {
                        probe.put(at, &ValueRef::from(self.kept_value(row, *put)?))?;
                    }
                }
            }
        }
        Ok(places.iter().zip(probe.odd).filter(|(_, odd)| *odd).map(|(put, _)| put.column()).collect())
    }
}

/// Looks for values that a column may not store as they are.
struct OddValues {
    odd: Vec<bool>,
}

impl RowSink for OddValues {
    fn begin_row(&mut self) {}

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        self.odd[at] |= is_odd(value);
        Ok(())
    }
}

/// Whether a column may not store a value as it is.
fn is_odd(value: &ValueRef<'_>) -> bool {
    let finer = |nanos: u32| !nanos.is_multiple_of(1_000);
    let odd_number = |number: f64| number.is_nan() || (number == 0.0 && number.is_sign_negative());
    match value {
        ValueRef::Text(text) => text.ends_with(' '),
        ValueRef::Float(number) => odd_number(f64::from(*number)),
        ValueRef::Double(number) => odd_number(*number),
        ValueRef::Time(time) => finer(time.nanosecond()),
        ValueRef::Naive(moment) => finer(moment.nanosecond()),
        ValueRef::Utc(moment) => finer(moment.nanosecond()),
        ValueRef::Offset(moment) => finer(moment.nanosecond()) || moment.offset().local_minus_utc() != 0,
        ValueRef::Owned(value) => match ValueRef::from(&**value) {
            ValueRef::Owned(_) => true,
            lent => is_odd(&lent),
        },
        _ => false,
    }
}

/// Some rows of a set, which a message is about.
#[derive(Clone, Copy)]
pub(super) struct Window<'s, 'a> {
    pub(super) set: &'s RowSet<'a>,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Window<'_, '_> {
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }
}

impl NamedRows for Window<'_, '_> {
    fn count(&self) -> usize {
        self.len()
    }

    fn keys(&self, table: &TableMeta, most: usize) -> Vec<String> {
        // Nobody has seen the keys that were drawn for rows which are not there yet.
        if self.set.drawn.is_some() {
            return Vec::new();
        }
        let key = |row: usize| match &self.set.rows {
            RowSource::Objects(objects) => objects[row].held_key(),
            RowSource::Planned { rows, .. } => Some(rows.keys[row].clone()).filter(|key| !key.is_empty()),
            RowSource::Appended(_) => None,
        };
        (self.from..self.to).filter_map(key).take(most).map(|key| table.show_key(&key)).collect()
    }
}
