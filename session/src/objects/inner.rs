//! What an object holds: its values by column, which of them differ from the database's, and what they were before a block.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ActiveValue, DbErr, IntoActiveModel, Iterable, ModelTrait, PrimaryKeyToColumn, TryIntoModel,
    Value,
};

use thin_vec::ThinVec;

use super::{
    AnyObject, Data, Inner, Link, Outgoing, Phase,
    entity::{TrackedEntity, table_of},
    identity::Key,
    row::WrittenValue,
    shared::Shared,
    undo::{Before, Undo},
};
use crate::table::{columns::ColumnSet, meta::TableMeta, value::as_column, value_ref::ValueRef};

pub(super) fn position<E: TrackedEntity>(column: E::Column) -> Option<usize> {
    use sea_orm::IdenStatic;
    table_of::<E>().column(column.as_str())
}

pub(super) fn column_at<E: TrackedEntity>(position: usize) -> Option<E::Column> {
    E::Column::iter().nth(position)
}

/// The columns that the model has a field for.
pub(super) fn held_columns<E: TrackedEntity>() -> impl Iterator<Item = E::Column> {
    let table = table_of::<E>();
    let columns = E::Column::iter().enumerate().filter(|(at, _)| table.whole || table.columns[*at].held);
    columns.map(|(_, column)| column)
}

pub(crate) fn keys_of<E: TrackedEntity>(model: &E::Model) -> Vec<Value> {
    E::PrimaryKey::iter().map(|k| model.get(k.into_column())).collect()
}

/// What the identity map knows a row by.
pub(crate) fn key_of<E: TrackedEntity>(table: &TableMeta, model: &E::Model) -> Key {
    key_in::<E>(model, &table.keys)
}

/// What a row holds in these columns, as a key.
pub(crate) fn key_in<E: TrackedEntity>(model: &E::Model, columns: &[usize]) -> Key {
    let alone = match columns {
        [column] => Key::from_ref(&E::value_of(model, *column)),
        _ => None,
    };
    alone.unwrap_or_else(|| {
        let values = columns.iter().filter_map(|column| Some(model.get(column_at::<E>(*column)?)));
        Key::from_values(values.collect())
    })
}

/// The model that a complete draft has become. Moves the values out; an incomplete draft keeps them.
pub(super) fn whole_model<E: TrackedEntity>(draft: &mut E::ActiveModel) -> Result<E::Model, DbErr> {
    if held_columns::<E>().any(|column| draft.is_not_set(column)) {
        return draft.clone().try_into_model();
    }
    std::mem::replace(draft, <E::ActiveModel as ActiveModelTrait>::default()).try_into_model()
}

/// A model as something to insert: every column set.
pub(super) fn all_set<E: TrackedEntity>(model: E::Model) -> E::ActiveModel {
    model.into_active_model().reset_all()
}

/// The object stands under another key than the one that the map knows it by, if it knows it.
pub(super) struct Moved {
    pub(super) from: Option<Key>,
}

/// Changes to an object that came while a flush wrote it.
pub(super) struct Late<E: TrackedEntity> {
    sent: Data<E>,
    now: Data<E>,
    links: ThinVec<Link>,
}

impl<E: TrackedEntity> Data<E> {
    /// What stands in a column, if anything does.
    pub(super) fn lent(&self, column: usize) -> Option<ValueRef<'_>> {
        match self {
            Data::Full(model) => Some(E::value_of(model, column)),
            Data::Draft(draft) => E::value_of_draft(draft, column),
        }
    }

    /// As [`Data::lent`], as a value of its own.
    pub(super) fn value(&self, column: E::Column) -> Option<Value> {
        match self {
            Data::Full(model) => Some(model.get(column)),
            Data::Draft(draft) => match draft.get(column) {
                ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(value),
                ActiveValue::NotSet => None,
            },
        }
    }

    /// Takes columns back to what they held.
    pub(super) fn put_back(&mut self, columns: Vec<(usize, Value)>) {
        for (column, value) in columns {
            // It is the column's own value, which it takes.
            _ = self.try_set_at(column, value);
        }
    }

    pub(super) fn try_set_at(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        // A key of one type may point to a key of another (i32 to i64, T to Option<T>): converted, or refused.
        let value = as_column(value, &table_of::<E>().columns[column].kind);
        let Some(column) = column_at::<E>(column) else { return Ok(()) };
        match self {
            Data::Full(model) => Arc::make_mut(model).try_set(column, value),
            Data::Draft(draft) => draft.try_set(column, value),
        }
    }
}

/// Whether the database of this unit holds the same for two values of a column (F3, D12).
pub(super) fn same<E: TrackedEntity>(
    unit: Option<&Shared>,
    column: usize,
    one: &ValueRef<'_>,
    other: &ValueRef<'_>,
) -> bool {
    one.same(other, || unit.map(|unit| table_of::<E>().columns[column].exactness(unit.dialect)).unwrap_or_default())
}

impl<E: TrackedEntity> Inner<E> {
    /// A column is set. Of an expired object it is not known what the row holds, so the value is sent in any case (D8).
    pub(super) fn touch(&mut self, column: usize) {
        if table_of::<E>().joining.contains(column) {
            self.joins_anew();
        }
        self.touched.insert(column);
        if self.expired {
            self.forced.insert(column);
        }
    }

    /// What the row holds is not known any more.
    pub(super) fn expire(&mut self, address: usize) {
        let newest = self.unit.as_ref().map_or(0, |unit| unit.newest_block());
        if !self.expired {
            (self.expired, self.expired_in) = (true, newest);
        }
        if let Some(unit) = &self.unit {
            unit.joins.expired(address);
        }
    }

    /// The row comes, goes, or joins others than before: relations to its table that were loaded are not known any more (U1).
    pub(super) fn joins_anew(&self) {
        if let Some(unit) = &self.unit {
            unit.joins.changed(&table_of::<E>().table);
        }
    }

    /// As [`Inner::joins_anew`], if what the row was found to hold says so.
    pub(super) fn compare_joins(&self, found: &E::Model) {
        let Some(unit) = self.unit.as_ref().filter(|unit| unit.joins.is_watched()) else { return };
        let held = self.base.as_ref().or(match &self.data {
            Data::Full(held) => Some(held),
            Data::Draft(_) => None,
        });
        let table = table_of::<E>();
        let joining = table.joining.columns(table.columns.len());
        let same = |held: &E::Model| {
            joining.into_iter().all(|c| same::<E>(Some(unit), c, &E::value_of(held, c), &E::value_of(found, c)))
        };
        if !held.is_some_and(|held| same(held)) {
            self.joins_anew();
        }
    }

    /// Nothing was set since what the database holds.
    pub(super) fn untouch(&mut self) {
        self.touched = ColumnSet::default();
        self.forced = ColumnSet::default();
        self.led = false;
    }

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
        self.data.value(column)
    }

    /// The values that a flush under way writes; else those that the next one would.
    pub(super) fn written_data(&self) -> &Data<E> {
        self.outgoing.as_ref().map_or(&self.data, |outgoing| &outgoing.data)
    }

    pub(super) fn written_data_mut(&mut self) -> &mut Data<E> {
        self.outgoing.as_mut().map_or(&mut self.data, |outgoing| &mut outgoing.data)
    }

    pub(super) fn written_links(&self) -> &[Link] {
        self.outgoing.as_ref().map_or(&self.links, |outgoing| &outgoing.links)
    }

    /// Touched columns whose value really differs (F3).
    pub(super) fn changed_columns(&self) -> Vec<usize> {
        self.differing().collect()
    }

    /// As [`Inner::changed_columns`], one by one.
    pub(super) fn differing(&self) -> impl Iterator<Item = usize> {
        let both = match (&self.base, self.written_data()) {
            (Some(base), Data::Full(data)) if !self.touched.is_empty() => Some((base, data)),
            _ => None,
        };
        let unit = self.unit.as_deref();
        let touched = (0..E::Column::iter().len()).filter(|column| self.touched.contains(*column));
        both.into_iter().flat_map(move |(base, data)| {
            touched.clone().filter(move |column| {
                self.forced.contains(*column)
                    || !same::<E>(unit, *column, &E::value_of(base, *column), &E::value_of(data, *column))
            })
        })
    }

    /// Whether a row is to be changed.
    pub(super) fn is_due(&self) -> bool {
        !self.links.is_empty() || !self.expressions.is_empty() || self.differing().next().is_some()
    }

    /// The row holds this now; changes that were not sent yet stay changes of it.
    pub(super) fn now_holds(&mut self, model: E::Model) -> Result<(), DbErr> {
        self.compare_joins(&model);
        let model = Arc::new(model);
        let Data::Full(now) = &self.data else {
            self.data = Data::Full(model);
            return Ok(());
        };
        if self.base.is_none() {
            self.data = Data::Full(model);
            return Ok(());
        }
        let mut kept = model.clone();
        for (position, column) in E::Column::iter().enumerate() {
            if self.touched.contains(position) {
                Arc::make_mut(&mut kept).try_set(column, now.get(column))?;
            }
        }
        self.base = Some(model);
        self.data = Data::Full(kept);
        Ok(())
    }

    /// A column that is set by hand follows neither the parent that it was pointed at before nor an expression.
    pub(super) fn unlink(&mut self, column: usize) {
        self.expressions.retain(|(expressed, _)| *expressed != column);
        self.links.retain(|link| !link.columns.contains(&column));
    }

    /// Foreign keys whose parents have got their keys by now.
    pub(super) fn resolved_links(&self) -> Vec<(usize, Value)> {
        let pairs = self
            .links
            .iter()
            .flat_map(|link| link.columns.iter().zip(&link.parent_columns).map(move |(c, p)| (*c, &link.parent, *p)));
        let columns = &table_of::<E>().columns;
        let followed = |(column, parent, of): (usize, &Arc<dyn AnyObject>, usize)| {
            Some((column, as_column(parent.column_value(of)?, &columns[column].kind)))
        };
        pairs.filter_map(followed).collect()
    }

    /// Where the row stands among those of its table.
    pub(super) fn rank(&self) -> i64 {
        self.key.as_ref().map_or(0, Key::rank)
    }

    /// The map must know the object by `key` from now on.
    pub(super) fn move_to(&mut self, key: Key) -> Option<Moved> {
        (self.key.as_ref() != Some(&key)).then(|| Moved { from: self.key.replace(key) })
    }

    /// A flush writes what the object is now; changes from now on are for the next one.
    pub(super) fn hold(&mut self) {
        self.sending = true;
    }

    /// The object is not being written, or no longer.
    pub(super) fn let_go(&mut self) {
        self.sending = false;
        self.outgoing = None;
    }

    /// Keeps what a flush is writing, before the first change to it.
    #[inline]
    pub(super) fn keep_outgoing(&mut self) {
        if self.sending && self.outgoing.is_none() {
            self.set_aside();
        }
    }

    #[cold]
    fn set_aside(&mut self) {
        self.outgoing = Some(Box::new(Outgoing { data: self.data.clone(), links: self.links.clone() }));
    }

    /// Puts back what was written, if the object has changed since, and returns what it has become meanwhile.
    pub(super) fn take_late(&mut self) -> Option<Late<E>> {
        self.sending = false;
        let Outgoing { data: sent, links: sent_links } = *self.outgoing.take()?;
        let now = std::mem::replace(&mut self.data, sent.clone());
        let mut links = std::mem::replace(&mut self.links, sent_links);
        links.retain(|link| !self.links.iter().any(|sent| sent.is(link)));
        Some(Late { sent, now, links })
    }

    /// Makes the changes again that came while the object was written: it differs by them from what the database holds.
    pub(super) fn apply_late(&mut self, late: Late<E>) -> Result<(), DbErr> {
        let Data::Full(model) = &mut self.data else { return Ok(()) };
        self.base = Some(model.clone());
        let unit = self.unit.as_deref();
        for (position, column) in E::Column::iter().enumerate() {
            let Some(now) = late.now.lent(position) else { continue };
            if late.sent.lent(position).is_some_and(|sent| same::<E>(unit, position, &sent, &now)) {
                continue;
            }
            if let Some(value) = late.now.value(column) {
                Arc::make_mut(model).try_set(column, value)?;
                self.touched.insert(position);
            }
        }
        self.links.extend(late.links);
        Ok(())
    }

    /// Keeps what the object was before `frame` changed it, once a frame; where single columns of it are kept, the rest is now.
    /// True if the frame must be told.
    pub(super) fn remember(&mut self, frame: u64, phase: Phase, data: Option<Data<E>>, key: Option<Key>) -> bool {
        let held = data.map_or(Before::Nothing, Before::Whole);
        if let Some(undo) = self.undo.last_mut().filter(|undo| undo.frame == frame) {
            undo.held.cover(held);
            return false;
        }
        self.push_undo(frame, phase, held, key);
        true
    }

    fn push_undo(&mut self, frame: u64, phase: Phase, held: Before<E>, key: Option<Key>) {
        let expired = self.expired.then_some(self.expired_in);
        self.undo.push(Undo { frame, phase, held, key, locked: self.locked, expired });
    }

    /// As [`Inner::remember`], of a row in which the database sets these columns and of which nothing else is changed.
    pub(super) fn remember_columns(&mut self, frame: u64, columns: impl Iterator<Item = usize>) -> bool {
        let held = columns.filter_map(|column| Some((column, self.value(column_at::<E>(column)?)?)));
        let held = Before::Columns(held.collect());
        if let Some(undo) = self.undo.last_mut().filter(|undo| undo.frame == frame) {
            undo.held.cover(held);
            return false;
        }
        self.push_undo(frame, self.phase, held, self.key.clone());
        true
    }

    /// More of the row is to be changed than the columns that are remembered: now all of it is.
    pub(super) fn remember_all(&mut self) {
        let Some(undo) = self.undo.last_mut() else { return };
        if matches!(undo.held, Before::Columns(_)) {
            undo.held.cover(Before::Whole(self.data.clone()));
        }
    }
}

impl<E: TrackedEntity> Inner<E> {
    /// The key of a parent that this column follows and that is not known yet.
    pub(super) fn link_of(&self, column: usize) -> Option<WrittenValue> {
        self.written_links().iter().find_map(|link| {
            let at = link.columns.iter().position(|c| *c == column)?;
            match link.parent.column_value(link.parent_columns[at]) {
                Some(value) => Some(WrittenValue::Value(as_column(value, &table_of::<E>().columns[column].kind))),
                None => Some(WrittenValue::KeyOf(link.parent.clone(), link.parent_columns[at])),
            }
        })
    }
}
