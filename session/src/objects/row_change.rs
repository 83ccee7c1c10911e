//! What is to be written of an object, as the planner wants to know it.

use sea_orm::Value;

use super::{
    AnyObject,
    any_object::Inner,
    inner::values_in,
    row::{RowChange, WrittenValue},
    values::{AnyModel, Data},
};
use crate::table::{kinds::ColumnKind, value::is_null};

impl AnyObject {
    fn unique_values(&self, model: &dyn AnyModel, set: &[usize]) -> Option<Vec<Value>> {
        set.iter().map(|column| Some(model.value(*column)).filter(|value| !is_null(value))).collect()
    }

    pub(super) fn insert_change(&self, inner: &Inner) -> Option<RowChange> {
        let Data::Draft(draft) = inner.written_data() else { return None };
        let mut cells = Vec::with_capacity(self.table.columns.len());
        for column in 0..self.table.columns.len() {
            let value = inner.link_of(column).or_else(|| draft.value(column).map(WrittenValue::Value));
            cells.extend(value.map(|value| (column, value)));
        }
        let find = |c: usize| {
            cells.iter().find(|(at, _)| *at == c).and_then(|(_, source)| match source {
                WrittenValue::Value(value) if !is_null(value) => Some(value.clone()),
                _ => None,
            })
        };
        let key: Option<Vec<Value>> = self.table.keys.iter().map(|k| find(*k)).collect();
        let takes = self.table.unique.iter().map(|set| set.iter().map(|c| find(*c)).collect()).collect();
        Some(RowChange {
            key: key.unwrap_or_default(),
            version: None,
            cells,
            checks: vec![],
            leaves: vec![],
            frees: vec![None; self.table.unique.len()],
            takes,
        })
    }

    pub(super) fn update_change(&self, inner: &Inner) -> Option<RowChange> {
        let Data::Full(data) = inner.written_data() else { return None };
        let base = &**inner.base.as_ref().unwrap_or(data);
        let changed = inner.changed_columns();
        let mut cells: Vec<(usize, WrittenValue)> = Vec::with_capacity(changed.len());
        for column in 0..self.table.columns.len() {
            let set = || changed.contains(&column).then(|| WrittenValue::Value(data.value(column)));
            cells.extend(inner.link_of(column).or_else(set).map(|value| (column, value)));
        }
        if cells.is_empty() {
            return None;
        }
        let (mut frees, mut takes) = (Vec::new(), Vec::new());
        // A column that follows a key which is still to be made gives its value up too, and takes none that is known.
        let written = |c: &usize| cells.iter().find(|(at, _)| at == c).map(|(_, source)| source);
        let taken = |c: &usize| match written(c) {
            Some(WrittenValue::Value(value)) => Some(value.clone()),
            Some(WrittenValue::KeyOf(..)) => None,
            None => Some(data.value(*c)),
        };
        for set in &self.table.unique {
            let touched = set.iter().any(|c| written(c).is_some());
            frees.push(if touched { self.unique_values(base, set) } else { None });
            let values = || set.iter().map(|c| taken(c).filter(|value| !is_null(value))).collect();
            takes.push(if touched { values() } else { None });
        }
        let foreign = self.table.parents.iter().flat_map(|fk| &fk.columns);
        let left = foreign.filter(|c| cells.iter().any(|(at, _)| at == *c));
        let leaves = left.map(|c| (*c, base.value(*c))).collect();
        Some(RowChange {
            key: values_in(base, &self.table.keys),
            version: self.table.version.map(|version| base.value(version)),
            cells,
            checks: self.optimistic_checks(inner, base),
            leaves,
            frees,
            takes,
        })
    }

    pub(super) fn delete_change(&self, inner: &Inner) -> Option<RowChange> {
        let Data::Full(data) = inner.written_data() else { return None };
        let base = &**inner.base.as_ref().unwrap_or(data);
        let foreign = self.table.parents.iter().flat_map(|fk| fk.columns.iter().copied());
        let cells = foreign.map(|c| (c, WrittenValue::Value(base.value(c)))).collect();
        Some(RowChange {
            key: values_in(base, &self.table.keys),
            version: self.table.version.map(|version| base.value(version)),
            cells,
            checks: self.optimistic_checks(inner, base),
            leaves: vec![],
            frees: self.table.unique.iter().map(|set| self.unique_values(base, set)).collect(),
            takes: vec![None; self.table.unique.len()],
        })
    }

    /// Columns that were read before they were written, with the value that was loaded (P1, P3).
    pub(super) fn optimistic_checks(&self, inner: &Inner, base: &dyn AnyModel) -> Vec<(usize, Value)> {
        if inner.locked || !inner.unit.as_ref().is_some_and(|unit| unit.optimistic) {
            return Vec::new();
        }
        let object = |c: &usize| {
            let kind = ColumnKind::of(&self.table.columns[*c].kind);
            !kind.is_approximate()
                && !kind.is_document()
                && !self.table.not_optimistic.contains(*c)
                && !self.table.keys.contains(c)
                && self.table.version != Some(*c)
        };
        (0..self.table.columns.len())
            .filter(|c| inner.read.contains(*c))
            .filter(object)
            .map(|c| (c, base.value(c)))
            .collect()
    }
}
