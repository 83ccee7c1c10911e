//! The flush planner: from changes to an order of statements, as a pure function (INV5, F1, F2).
//!
//! It knows tables, rows and which row needs which; it must never know a connection, a dialect or a clock. The same
//! changes always give the same plan: ties are broken by the order in which tables and rows were handed in.

mod by_row;
mod cycles;
mod known;
mod levels;
mod planner;
mod queue;
mod ranks;
mod targets;
#[cfg(test)]
mod tests;
mod unique;

use std::collections::BTreeSet;

use sea_orm::Value;

use crate::table::meta::TableMeta;
pub(super) use by_row::joined_columns;
pub(crate) use known::{Acts, Known, OnDelete};
use planner::Planner;
pub(super) use ranks::{Ranks, table_ranks};

/// What a row needs done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Insert,
    /// A row switch: deleted and added again under the same key, sent as one upsert so that nothing cascades (I2).
    Switch,
    Update,
    Delete,
}

/// A value to write: known, or the key that another row of this flush will get.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PlannedValue {
    Value(Value),
    KeyOf { op: usize, column: usize },
}

/// One row's change.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Position in the list of tables.
    pub(crate) table: usize,
    pub(crate) kind: Kind,
    /// The key that the database holds (update, delete, switch); the known key of an insert, or empty.
    pub(crate) key: Vec<Value>,
    /// The version that was loaded.
    pub(crate) version: Option<Value>,
    /// What is written, by column. For a delete: its foreign keys, which are not written but order the rows.
    pub(crate) cells: Vec<(usize, PlannedValue)>,
    /// Columns that must still hold these values (P1).
    pub(crate) checks: Vec<(usize, Value)>,
    /// Foreign keys that an update or a switch changes, as the database holds them until then.
    pub(crate) leaves: Vec<(usize, Value)>,
    /// What the row holds before its change in those of [`joined_columns`].
    pub(crate) before: Vec<(usize, Value)>,
    /// For each unique set of the table: the values that this row gives up.
    pub(crate) frees: Vec<Option<Vec<Value>>>,
    /// For each unique set of the table: the values that this row claims.
    pub(crate) takes: Vec<Option<Vec<Value>>>,
}

impl Op {
    fn cell(&self, column: usize) -> Option<&PlannedValue> {
        self.cells.iter().find(|(c, _)| *c == column).map(|(_, cell)| cell)
    }

    fn columns(&self) -> Vec<usize> {
        self.cells.iter().map(|(c, _)| *c).collect()
    }

    /// What the row holds in `column`, as far as the change tells: before a delete, after an insert.
    fn held(&self, table: &TableMeta, column: usize) -> Option<&Value> {
        if let Some(at) = table.keys.iter().position(|k| *k == column)
            && let Some(value) = self.key.get(at)
        {
            return Some(value);
        }
        if let Some(PlannedValue::Value(value)) = self.cell(column) {
            return Some(value);
        }
        let sets = table.unique.iter().zip(&self.frees);
        sets.filter_map(|(set, values)| values.as_ref()?.get(set.iter().position(|c| *c == column)?)).next()
    }
}

/// Rows that go into one statement (or into chunks of it).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) table: usize,
    pub(crate) kind: Kind,
    /// The columns written; empty for a delete.
    pub(crate) columns: Vec<usize>,
    /// The columns checked (P1).
    pub(crate) checks: Vec<usize>,
    pub(crate) ops: Vec<usize>,
    /// What a cycle postponed: this step writes only these columns of rows that were written with NULL there before.
    pub(crate) part: Part,
}

/// Which half of a row that a cycle has cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Whole,
    /// Writes NULL to the columns so that the cycle opens.
    Open,
    /// Writes the postponed columns.
    Close,
}

/// The statements of a flush, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Cells that are NULL in the first statement of their row and written by a later one.
    pub(crate) postponed: BTreeSet<(usize, usize)>,
}

/// A cycle that no nullable key opens, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle(pub(crate) String);

/// Orders `ops`. See the module's documentation.
///
/// Whole tables are ordered as a rule, which takes fewest statements; rows one by one where that gives no order (E1).
pub(crate) fn plan(tables: &[&TableMeta], ops: &[Op], known: &Known) -> Result<Plan, Cycle> {
    if by_row::is_needed(tables, ops, known) {
        return by_row::plan(tables, ops, known);
    }
    by_table(tables, ops, known).or_else(|_| by_row::plan(tables, ops, known))
}

fn by_table(tables: &[&TableMeta], ops: &[Op], known: &Known) -> Result<Plan, Cycle> {
    let ranks = table_ranks(tables);
    Planner { tables, ops, known, postponed: BTreeSet::new(), opened: BTreeSet::new(), ranks }.run()
}

/// Where an update changes a primary key, keys are freed and taken like any other unique value: as one more set of the
/// table, after its declared ones. Of values that the database holds equal one is told for all.
pub(crate) fn claim_values(tables: &[&TableMeta], ops: &mut [Op], known: &Known) {
    claim_keys(tables, ops);
    for op in ops {
        let (table, sets) = (tables[op.table], op.frees.iter_mut().zip(&mut op.takes).enumerate());
        for (set, (frees, takes)) in sets {
            let columns = table.unique.get(set).unwrap_or(&table.keys);
            for values in [frees, takes].into_iter().flatten() {
                if let std::borrow::Cow::Owned(same) = known.all_same(op.table, columns, values) {
                    *values = same;
                }
            }
        }
    }
}

fn claim_keys(tables: &[&TableMeta], ops: &mut [Op]) {
    let moves = |op: &Op| op.kind == Kind::Update && tables[op.table].keys.iter().any(|k| op.cell(*k).is_some());
    let moved: BTreeSet<usize> = ops.iter().filter(|op| moves(op)).map(|op| op.table).collect();
    for op in ops.iter_mut().filter(|op| moved.contains(&op.table)) {
        let table = tables[op.table];
        op.frees.resize(table.unique.len(), None);
        op.takes.resize(table.unique.len(), None);
        let old = (!op.key.is_empty()).then(|| op.key.clone());
        let (free, take) = match op.kind {
            Kind::Insert => (None, old),
            Kind::Delete => (old, None),
            // The row keeps its key.
            Kind::Switch => (None, None),
            Kind::Update if moves(op) => (old, new_key(table, op)),
            Kind::Update => (None, None),
        };
        op.frees.push(free);
        op.takes.push(take);
    }
}

fn new_key(table: &TableMeta, op: &Op) -> Option<Vec<Value>> {
    let value = |(at, column): (usize, &usize)| match op.cell(*column) {
        Some(PlannedValue::Value(value)) => Some(value.clone()),
        Some(PlannedValue::KeyOf { .. }) => None,
        None => op.key.get(at).cloned(),
    };
    table.keys.iter().enumerate().map(value).collect()
}
