//! What an object holds: its values by column, which of them differ from the database's, and what they were before a block.

use std::sync::Arc;

use sea_orm::{DbErr, Value};
use thin_vec::ThinVec;

use super::{
    AnyObject, Phase,
    any_object::{Inner, Link, Outgoing},
    identity::Key,
    row::WrittenValue,
    shared::Shared,
    undo::{Before, Undo},
    values::{AnyModel, Data, own, put_shared},
};
use crate::table::{columns::ColumnSet, meta::TableMeta, value::as_column, value_ref::ValueRef};

/// What a row holds in these columns.
pub(super) fn values_in(model: &dyn AnyModel, columns: &[usize]) -> Vec<Value> {
    columns.iter().map(|column| model.value(*column)).collect()
}

/// What the identity map knows a row by.
pub(crate) fn key_of(table: &TableMeta, model: &dyn AnyModel) -> Key {
    key_in(model, &table.keys)
}

/// What a row holds in these columns, as a key.
pub(crate) fn key_in(model: &dyn AnyModel, columns: &[usize]) -> Key {
    let alone = match columns {
        [column] => Key::from_ref(&model.lent(*column)),
        _ => None,
    };
    alone.unwrap_or_else(|| Key::from_values(values_in(model, columns)))
}

/// The object stands under another key than the one that the map knows it by, if it knows it.
pub(super) struct Moved {
    pub(super) from: Option<Key>,
}

/// Changes to an object that came while a flush wrote it.
pub(super) struct Late {
    sent: Data,
    now: Data,
    links: ThinVec<Link>,
}

/// Whether the database of this unit holds the same for two values of a column (F3, D12).
pub(super) fn same(
    table: &TableMeta,
    unit: Option<&Shared>,
    column: usize,
    one: &ValueRef<'_>,
    other: &ValueRef<'_>,
) -> bool {
    one.same(other, || unit.map(|unit| table.columns[column].exactness(unit.dialect)).unwrap_or_default())
}

impl Inner {
    /// Not kept twice in each object.
    fn table(&self) -> &'static TableMeta {
        self.data.table()
    }

    /// A column is set. Of an expired object it is not known what the row holds, so the value is sent in any case (D8).
    pub(super) fn touch(&mut self, column: usize) {
        if self.watched().is_some() && self.table().joining.contains(column) {
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
        if let Some(unit) = self.watched() {
            unit.joins.changed(&self.table().table);
        }
    }

    /// The unit, if it keeps what relations join on.
    fn watched(&self) -> Option<&Arc<Shared>> {
        self.unit.as_ref().filter(|unit| unit.joins.is_watched())
    }

    /// As [`Inner::joins_anew`], if what the row was found to hold says so.
    pub(super) fn compare_joins(&self, found: &dyn AnyModel) {
        let Some(unit) = self.watched() else { return };
        let (table, held) = (self.table(), self.held());
        let mut joining = table.joining.columns(table.columns.len());
        if !held.is_some_and(|held| joining.all(|c| same(table, Some(unit), c, &held.lent(c), &found.lent(c)))) {
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

    /// The values that a flush under way writes; else those that the next one would.
    pub(super) fn written_data(&self) -> &Data {
        self.outgoing.as_ref().map_or(&self.data, |outgoing| &outgoing.data)
    }

    pub(super) fn written_data_mut(&mut self) -> &mut Data {
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
        let (table, unit) = (self.table(), self.unit.as_deref());
        let touched = (0..table.columns.len()).filter(|column| self.touched.contains(*column));
        both.into_iter().flat_map(move |(base, data)| {
            touched.clone().filter(move |column| {
                self.forced.contains(*column) || !same(table, unit, *column, &base.lent(*column), &data.lent(*column))
            })
        })
    }

    /// Whether a row is to be changed.
    pub(super) fn is_due(&self) -> bool {
        !self.links.is_empty() || !self.expressions.is_empty() || self.differing().next().is_some()
    }

    /// The row holds this now; changes that were not sent yet stay changes of it.
    pub(super) fn now_holds(&mut self, model: Arc<dyn AnyModel>) -> Result<(), DbErr> {
        self.compare_joins(&*model);
        let (Data::Full(now), true) = (&self.data, self.base.is_some()) else {
            self.data = Data::Full(model);
            return Ok(());
        };
        let mut kept = model.clone();
        for column in self.touched.columns(self.table().columns.len()) {
            own(&mut kept).put(column, now.value(column))?;
        }
        self.base = Some(model);
        self.data = Data::Full(kept);
        Ok(())
    }

    /// The database has set a column: a change of it that was not sent stays a change.
    pub(super) fn database_holds(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        let (table, changed) = (self.table(), self.differing().any(|changed| changed == column));
        if let Some(base) = &mut self.base {
            put_shared(base, table, column, value.clone())?;
        }
        match changed {
            true => Ok(()),
            false => self.data.put(table, column, value),
        }
    }

    /// What the database holds, as far as the object knows; none of a new object.
    pub(super) fn held(&self) -> Option<&Arc<dyn AnyModel>> {
        self.base.as_ref().or(self.data.model())
    }

    /// As [`Inner::held`], while a flush may be under way.
    pub(super) fn held_when_sent(&self) -> Option<&Arc<dyn AnyModel>> {
        self.base.as_ref().or(self.written_data().model())
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
        let columns = &self.table().columns;
        let followed = |(column, parent, of): (usize, &Arc<AnyObject>, usize)| {
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
    pub(super) fn take_late(&mut self) -> Option<Late> {
        self.sending = false;
        let Outgoing { data: sent, links: sent_links } = *self.outgoing.take()?;
        let now = std::mem::replace(&mut self.data, sent.clone());
        let mut links = std::mem::replace(&mut self.links, sent_links);
        links.retain(|link| !self.links.iter().any(|sent| sent.is(link)));
        Some(Late { sent, now, links })
    }

    /// Makes the changes again that came while the object was written: it differs by them from what the database holds.
    pub(super) fn apply_late(&mut self, late: Late) -> Result<(), DbErr> {
        let table = self.table();
        let Data::Full(model) = &mut self.data else { return Ok(()) };
        self.base = Some(model.clone());
        let unit = self.unit.as_deref();
        for column in 0..table.columns.len() {
            let Some(now) = late.now.lent(column) else { continue };
            if late.sent.lent(column).is_some_and(|sent| same(table, unit, column, &sent, &now)) {
                continue;
            }
            if let Some(value) = late.now.value(column) {
                own(model).put(column, value)?;
                self.touched.insert(column);
            }
        }
        self.links.extend(late.links);
        Ok(())
    }

    /// Keeps what the object was before `frame` changed it, once a frame; where single columns of it are kept, the rest is now.
    /// True if the frame must be told.
    pub(super) fn remember(&mut self, frame: u64, phase: Phase, data: Option<Data>, key: Option<Key>) -> bool {
        let held = data.map_or(Before::Nothing, Before::Whole);
        if let Some(undo) = self.undo.last_mut().filter(|undo| undo.frame == frame) {
            undo.held.cover(self.data.table(), held);
            return false;
        }
        self.push_undo(frame, phase, held, key);
        true
    }

    fn push_undo(&mut self, frame: u64, phase: Phase, held: Before, key: Option<Key>) {
        let expired = self.expired.then_some(self.expired_in);
        self.undo.push(Undo { frame, phase, held, key, locked: self.locked, expired });
    }

    /// As [`Inner::remember`], of a row in which the database sets these columns and of which nothing else is changed.
    pub(super) fn remember_columns(&mut self, frame: u64, columns: impl Iterator<Item = usize>) -> bool {
        let held = columns.filter_map(|column| Some((column, self.data.value(column)?)));
        let held = Before::Columns(held.collect());
        if let Some(undo) = self.undo.last_mut().filter(|undo| undo.frame == frame) {
            undo.held.cover(self.data.table(), held);
            return false;
        }
        self.push_undo(frame, self.phase, held, self.key.clone());
        true
    }

    /// More of the row is to be changed than the columns that are remembered: now all of it is.
    pub(super) fn remember_all(&mut self) {
        let Some(undo) = self.undo.last_mut() else { return };
        if matches!(undo.held, Before::Columns(_)) {
            undo.held.cover(self.data.table(), Before::Whole(self.data.clone()));
        }
    }

    /// The key of a parent that this column follows and that is not known yet.
    pub(super) fn link_of(&self, column: usize) -> Option<WrittenValue> {
        self.written_links().iter().find_map(|link| {
            let at = link.columns.iter().position(|c| *c == column)?;
            match link.parent.column_value(link.parent_columns[at]) {
                Some(value) => Some(WrittenValue::Value(as_column(value, &self.table().columns[column].kind))),
                None => Some(WrittenValue::KeyOf(link.parent.clone(), link.parent_columns[at])),
            }
        })
    }
}
