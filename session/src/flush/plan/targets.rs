//! Which row a foreign key points to.

use std::borrow::Cow;

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::Value;

use super::{Known, planner::Planner};
use crate::table::{
    meta::{ForeignKey, TableMeta},
    value::as_column,
};

/// Rows by what foreign keys may point to: their primary keys, or other columns. Of values that the database holds equal one
/// stands for all.
pub(super) struct Targets<'a> {
    tables: FxHashMap<&'a str, (usize, &'a TableMeta)>,
    known: &'a Known,
    keys: FxHashMap<(&'a str, Cow<'a, [Value]>), usize>,
    others: FxHashMap<(&'a str, &'a [String], Vec<&'a Value>), usize>,
}

impl<'a> Targets<'a> {
    pub(super) fn of(planner: &Planner<'a>, rows: &[usize]) -> Self {
        let (tables, known) = (planner.tables, planner.known);
        let by_name = tables.iter().enumerate().map(|(at, table)| (&*table.table, (at, *table))).collect();
        let mut targets = Self { tables: by_name, known, keys: FxHashMap::default(), others: FxHashMap::default() };
        let parents = tables.iter().flat_map(|table| &table.parents);
        let others: FxHashSet<(&str, &[String])> = parents
            .filter(|fk| targets.tables.get(&*fk.to_table).is_some_and(|(_, table)| !table.is_key(&fk.to_columns)))
            .map(|fk| (fk.to_table.as_str(), &fk.to_columns[..]))
            .collect();
        for &op in rows {
            let change = &planner.ops[op];
            let table = tables[change.table];
            if !change.key.is_empty() {
                let key = known.all_same(change.table, &table.keys, &change.key);
                targets.keys.insert((&table.table, key), op);
            }
            for (_, columns) in others.iter().filter(|(name, _)| *name == table.table) {
                let value = |name: &String| {
                    let column = table.column(name)?;
                    Some(known.same(change.table, column, change.held(table, column)?))
                };
                if let Some(values) = columns.iter().map(value).collect() {
                    targets.others.insert((&table.table, columns, values), op);
                }
            }
        }
        targets
    }

    /// The row that a foreign key with these (known) values points to.
    pub(super) fn find(&self, fk: &ForeignKey, values: Vec<&Value>) -> Option<usize> {
        let (at, table) = *self.tables.get(fk.to_table.as_str())?;
        let values = values.into_iter().zip(&fk.to_columns);
        let as_target = |(value, name): (&Value, &String)| {
            let column = table.column(name)?;
            let value = as_column(value.clone(), &table.columns[column].kind);
            Some(self.known.same(at, column, &value).clone())
        };
        let values: Vec<Value> = values.map(as_target).collect::<Option<_>>()?;
        if table.is_key(&fk.to_columns) {
            return self.keys.get(&(&*table.table, Cow::Owned(values))).copied();
        }
        self.others.get(&(&*table.table, &fk.to_columns[..], values.iter().collect())).copied()
    }
}
