//! The rows of one statement, as values, and how an error names them. Knows no SQL.

use sea_orm::Value;

use super::{
    Behind,
    plan::{Op, Part, Plan, PlannedValue, Step},
};
use crate::{
    error::Error,
    table::{meta::TableMeta, value},
};

/// The rows of one step, column by column in the step's order.
#[derive(Clone)]
pub(super) struct StepRows {
    pub(crate) ops: Vec<usize>,
    pub(crate) keys: Vec<Vec<Value>>,
    pub(crate) versions: Vec<Value>,
    pub(crate) values: Vec<Vec<Value>>,
    pub(crate) checks: Vec<Vec<Value>>,
}

impl StepRows {
    pub(super) fn take(
        table: &TableMeta,
        step: &Step,
        plan: &Plan,
        ops: &mut [Op],
        members: &[Behind],
    ) -> Result<Self, Error> {
        let mut rows = StepRows {
            ops: step.ops.clone(),
            keys: Vec::with_capacity(step.ops.len()),
            versions: Vec::new(),
            values: Vec::with_capacity(step.ops.len()),
            checks: Vec::new(),
        };
        let any_postponed = !plan.postponed.is_empty();
        for &op in &step.ops {
            let mut values = Vec::with_capacity(step.columns.len());
            for &column in &step.columns {
                let null = || table.columns[column].kind_null();
                let postponed = any_postponed && plan.postponed.contains(&(op, column));
                values.push(match step.part {
                    Part::Open => null(),
                    Part::Whole if postponed => null(),
                    _ => resolve(&mut ops[op], column, table, members)?,
                });
            }
            rows.values.push(values);
            rows.keys.push(match step.part {
                // The row's own step has taken its key, or the database has made it there.
                Part::Close if ops[op].key.is_empty() => current_key(table, op, members)?,
                Part::Whole => std::mem::take(&mut ops[op].key),
                Part::Open | Part::Close => ops[op].key.clone(),
            });
            if step.part == Part::Whole {
                rows.versions.extend(ops[op].version.take());
            }
            let checked = |c: &usize| ops[op].checks.iter().find(|(at, _)| at == c).map(|(_, value)| value.clone());
            rows.checks.push(step.checks.iter().filter_map(checked).collect());
        }
        Ok(rows)
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }
}

/// Which rows a message is about, for the error that it may end in.
pub(super) trait NamedRows: Sync {
    /// How many rows there are.
    fn count(&self) -> usize;
    /// The keys of the first so many rows that have one already.
    fn keys(&self, table: &TableMeta, most: usize) -> Vec<String>;

    /// `note 7`, or `note 7, 8, 9 and 997 more`.
    fn place(&self, table: &TableMeta) -> String {
        let known = self.keys(table, 3);
        let more = self.count() - known.len();
        match (known.is_empty(), more) {
            (true, 1) => format!("{} (new)", table.entity),
            (true, n) => format!("{} ({n} new)", table.entity),
            (false, 0) => format!("{} {}", table.entity, known.join(", ")),
            (false, n) => format!("{} {} and {n} more", table.entity, known.join(", ")),
        }
    }
}

fn resolve(op: &mut Op, column: usize, table: &TableMeta, members: &[Behind]) -> Result<Value, Error> {
    let cell = op.cells.iter_mut().find(|(c, _)| *c == column).map(|(_, cell)| cell);
    match cell {
        Some(PlannedValue::Value(value)) => {
            let value = std::mem::replace(value, Value::Bool(None));
            Ok(table.columns[column].sent(value))
        }
        Some(PlannedValue::KeyOf { op: parent, column: of }) => {
            let value = members[*parent].iter().rev().find_map(|(object, _)| object.column_value(*of));
            value.map(|value| value::as_column(value, &table.columns[column].kind)).ok_or_else(|| Error::Cycle {
                cycle: format!("{}.{} needs a key that is generated later", table.entity, table.columns[column].name)
                    .into(),
            })
        }
        None => Ok(table.columns[column].kind_null()),
    }
}

fn current_key(table: &TableMeta, op: usize, members: &[Behind]) -> Result<Vec<Value>, Error> {
    let object = members[op].last().map(|(object, _)| object);
    let key = table.keys.iter().map(|k| object.and_then(|object| object.column_value(*k))).collect::<Option<Vec<_>>>();
    key.ok_or_else(|| Error::usage(format!("{} has no key", table.entity)))
}
