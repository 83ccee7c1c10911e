//! What an object holds: its values by column, which of them differ from the database's, and what they were before a block.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ActiveValue, DbErr, IntoActiveModel, Iterable, ModelTrait, PrimaryKeyToColumn, TryIntoModel,
    Value,
};

use super::{Data, Inner, Phase};
use crate::{
    flush::Source,
    identity::Key,
    meta::{self, ColumnSet, TrackedEntity},
    undo::Undo,
};

pub(super) fn position<E: TrackedEntity>(column: E::Column) -> Option<usize> {
    use sea_orm::IdenStatic;
    meta::table::<E>().column(column.as_str())
}

pub(super) fn column_at<E: TrackedEntity>(position: usize) -> Option<E::Column> {
    E::Column::iter().nth(position)
}

pub(super) fn keys_of<E: TrackedEntity>(model: &E::Model) -> Vec<Value> {
    E::PrimaryKey::iter().map(|k| model.get(k.into_column())).collect()
}

/// The model that a complete draft has become. Moves the values out; an incomplete draft keeps them.
pub(super) fn whole_model<E: TrackedEntity>(draft: &mut E::ActiveModel) -> Result<E::Model, DbErr> {
    if E::Column::iter().any(|column| draft.is_not_set(column)) {
        return draft.clone().try_into_model();
    }
    std::mem::replace(draft, <E::ActiveModel as ActiveModelTrait>::default()).try_into_model()
}

/// A model as something to insert: every column set.
pub(super) fn all_set<E: TrackedEntity>(model: E::Model) -> E::ActiveModel {
    model.into_active_model().reset_all()
}

impl<E: TrackedEntity> Data<E> {
    pub(super) fn try_set_at(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        let Some(column) = column_at::<E>(column) else { return Ok(()) };
        match self {
            // A key of one type may point to a key of another (i32 to i64, T to Option<T>): SeaORM converts or says no.
            Data::Full(model) => Arc::make_mut(model).try_set(column, value),
            Data::Draft(draft) => draft.try_set(column, value),
        }
    }
}

impl<E: TrackedEntity> Inner<E> {
    pub(super) fn note_read(&mut self, column: usize) {
        if self.unit.as_ref().is_some_and(|unit| unit.optimistic) && !self.touched.contains(column) {
            self.read.insert(column);
        }
    }

    pub(super) fn note_read_all(&mut self) {
        if self.unit.as_ref().is_some_and(|unit| unit.optimistic) {
            self.read = ColumnSet::all();
        }
    }

    pub(super) fn value(&self, column: E::Column) -> Option<Value> {
        match &self.data {
            Data::Full(model) => Some(model.get(column)),
            Data::Draft(draft) => match draft.get(column) {
                ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(value),
                ActiveValue::NotSet => None,
            },
        }
    }

    /// Touched columns whose value really differs (F3).
    pub(super) fn changed_columns(&self) -> Vec<usize> {
        let (Some(base), Data::Full(data)) = (&self.base, &self.data) else { return Vec::new() };
        if self.touched.is_empty() {
            return Vec::new();
        }
        E::Column::iter()
            .enumerate()
            .filter(|(position, column)| self.touched.contains(*position) && base.get(*column) != data.get(*column))
            .map(|(position, _)| position)
            .collect()
    }

    /// A foreign key that is set by hand no longer follows the parent it was pointed at before.
    pub(super) fn unlink(&mut self, column: usize) {
        self.links.retain(|link| !link.columns.contains(&column));
    }

    /// Foreign keys whose parents have got their keys by now.
    pub(super) fn resolved_links(&self) -> Vec<(usize, Value)> {
        let pairs = self
            .links
            .iter()
            .flat_map(|link| link.columns.iter().zip(&link.parent_columns).map(move |(c, p)| (*c, &link.parent, *p)));
        pairs.filter_map(|(column, parent, of)| Some((column, parent.column_value(of)?))).collect()
    }

    /// Keeps what the object was before `frame` changed it, once a frame. True if the frame must be told.
    pub(super) fn remember(&mut self, frame: u64, phase: Phase, data: Option<Data<E>>, key: Option<Key>) -> bool {
        if self.undo.last().is_some_and(|undo| undo.frame == frame) {
            return false;
        }
        self.undo.push(Undo { frame, phase, data, key, locked: self.locked });
        true
    }
}

impl<E: TrackedEntity> Inner<E> {
    /// The key of a parent that this column follows and that is not known yet.
    pub(super) fn link_of(&self, column: usize) -> Option<Source> {
        self.links.iter().find_map(|link| {
            let at = link.columns.iter().position(|c| *c == column)?;
            match link.parent.column_value(link.parent_columns[at]) {
                Some(value) => Some(Source::Value(value)),
                None => Some(Source::KeyOf(link.parent.clone(), link.parent_columns[at])),
            }
        })
    }
}
