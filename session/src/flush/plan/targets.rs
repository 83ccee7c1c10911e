//! Which row a foreign key points to.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::Value;

use super::planner::Planner;
use crate::table::{
    meta::{ForeignKey, TableMeta},
    value::as_column,
};

/// Rows by what foreign keys may point to: their primary keys, or other columns.
pub(super) struct Targets<'a> {
    tables: FxHashMap<&'a str, &'a TableMeta>,
    keys: FxHashMap<(&'a str, &'a [Value]), usize>,
    others: FxHashMap<(&'a str, &'a [String], Vec<&'a Value>), usize>,
}

impl<'a> Targets<'a> {
    pub(super) fn of(planner: &Planner<'a>, rows: &[usize]) -> Self {
        let tables = planner.tables.iter().map(|table| (&*table.table, *table)).collect();
        let mut targets = Self { tables, keys: FxHashMap::default(), others: FxHashMap::default() };
        let parents = planner.tables.iter().flat_map(|table| &table.parents);
        let others: FxHashSet<(&str, &[String])> = parents
            .filter(|fk| targets.tables.get(fk.to_table.as_str()).is_some_and(|table| !table.is_key(&fk.to_columns)))
            .map(|fk| (fk.to_table.as_str(), &fk.to_columns[..]))
            .collect();
        for &op in rows {
            let change = &planner.ops[op];
            let table = planner.tables[change.table];
            if !change.key.is_empty() {
                targets.keys.insert((&table.table, &change.key), op);
            }
            for (_, columns) in others.iter().filter(|(name, _)| *name == table.table) {
                let values = columns.iter().map(|name| change.held(table, table.column(name)?)).collect::<Option<_>>();
                if let Some(values) = values {
                    targets.others.insert((&table.table, columns, values), op);
                }
            }
        }
        targets
    }

    /// The row that a foreign key with these (known) values points to.
    pub(super) fn find(&self, fk: &ForeignKey, values: Vec<&Value>) -> Option<usize> {
        let table = *self.tables.get(fk.to_table.as_str())?;
        let values = values.into_iter().zip(&fk.to_columns);
        let values: Vec<Value> = values
            .map(|(value, name)| Some(as_column(value.clone(), &table.columns[table.column(name)?].kind)))
            .collect::<Option<_>>()?;
        if table.is_key(&fk.to_columns) {
            return self.keys.get(&(&*table.table, &values[..])).copied();
        }
        self.others.get(&(&*table.table, &fk.to_columns[..], values.iter().collect())).copied()
    }
}
