//! What is to be written of an object, as the planner wants to know it.

use sea_orm::{ActiveModelTrait, ActiveValue, Iterable, ModelTrait, Value};

use super::{
    Data, Inner, ObjectCell,
    entity::TrackedEntity,
    inner::{column_at, keys_of},
    row::{RowChange, WrittenValue},
};
use crate::table::{kinds::ColumnKind, value::is_null};

impl<E: TrackedEntity> ObjectCell<E> {
    fn unique_values(&self, model: &E::Model, set: &[usize]) -> Option<Vec<Value>> {
        set.iter().map(|c| column_at::<E>(*c).map(|column| model.get(column)).filter(|v| !is_null(v))).collect()
    }

    pub(super) fn insert_change(&self, inner: &Inner<E>) -> Option<RowChange> {
        let Data::Draft(draft) = inner.written_data() else { return None };
        let mut cells = Vec::with_capacity(self.table.columns.len());
        for (position, column) in E::Column::iter().enumerate() {
            if let Some(link) = inner.link_of(position) {
                cells.push((position, link));
            } else if let ActiveValue::Set(value) | ActiveValue::Unchanged(value) = draft.get(column) {
                cells.push((position, WrittenValue::Value(value)));
            }
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

    pub(super) fn update_change(&self, inner: &Inner<E>) -> Option<RowChange> {
        let Data::Full(data) = inner.written_data() else { return None };
        let base = inner.base.as_ref().unwrap_or(data);
        let changed = inner.changed_columns();
        let mut cells: Vec<(usize, WrittenValue)> = Vec::with_capacity(changed.len());
        for position in 0..self.table.columns.len() {
            if let Some(link) = inner.link_of(position) {
                cells.push((position, link));
            } else if changed.contains(&position) {
                cells.push((position, WrittenValue::Value(data.get(column_at::<E>(position)?))));
            }
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
            None => column_at::<E>(*c).map(|column| data.get(column)),
        };
        for set in &self.table.unique {
            let touched = set.iter().any(|c| written(c).is_some());
            frees.push(if touched { self.unique_values(base, set) } else { None });
            let values = || set.iter().map(|c| taken(c).filter(|value| !is_null(value))).collect();
            takes.push(if touched { values() } else { None });
        }
        let foreign = self.table.parents.iter().flat_map(|fk| &fk.columns);
        let left = foreign.filter(|c| cells.iter().any(|(at, _)| at == *c));
        let leaves = left.filter_map(|c| Some((*c, base.get(column_at::<E>(*c)?)))).collect();
        Some(RowChange {
            key: keys_of::<E>(base),
            version: self.table.version.and_then(column_at::<E>).map(|c| base.get(c)),
            cells,
            checks: self.optimistic_checks(inner, base),
            leaves,
            frees,
            takes,
        })
    }

    pub(super) fn delete_change(&self, inner: &Inner<E>) -> Option<RowChange> {
        let Data::Full(data) = inner.written_data() else { return None };
        let base = inner.base.as_ref().unwrap_or(data);
        let foreign = self.table.parents.iter().flat_map(|fk| fk.columns.iter().copied());
        let cells = foreign.filter_map(|c| Some((c, WrittenValue::Value(base.get(column_at::<E>(c)?))))).collect();
        Some(RowChange {
            key: keys_of::<E>(base),
            version: self.table.version.and_then(column_at::<E>).map(|c| base.get(c)),
            cells,
            checks: self.optimistic_checks(inner, base),
            leaves: vec![],
            frees: self.table.unique.iter().map(|set| self.unique_values(base, set)).collect(),
            takes: vec![None; self.table.unique.len()],
        })
    }

    /// Columns that were read before they were written, with the value that was loaded (P1, P3).
    pub(super) fn optimistic_checks(&self, inner: &Inner<E>, base: &E::Model) -> Vec<(usize, Value)> {
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
            .filter_map(|c| Some((c, base.get(column_at::<E>(c)?))))
            .collect()
    }
}
