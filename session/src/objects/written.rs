//! What a write that worked makes of an object: it is what the database holds, under the key that it has there.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, NaiveTime, Timelike, Utc};
use sea_orm::{Value, sea_query::ArrayType};

use super::{
    AnyObject, Phase,
    any_object::Inner,
    identity::{IdentityMap, Key},
    inner::{Moved, key_of},
    row::Returned,
    values::{AnyModel, Data, own},
};
use crate::{
    error::Error,
    table::{meta::TableMeta, value_ref::ValueRef},
};

impl AnyObject {
    /// The map knows the object by another key from now on, or not at all.
    pub(super) fn rekey(self: &Arc<Self>, map: &mut IdentityMap, from: Option<Key>, to: Option<Key>) {
        if let Some(from) = from.filter(|from| Some(from) != to.as_ref()) {
            map.remove(&from, self);
        }
        if let Some(to) = to {
            map.insert(to, self.clone());
        }
    }

    /// The row is in the database. Says how the map must know it, if that has changed.
    pub(super) fn inserted(
        &self,
        inner: &mut Inner,
        returned: Option<&Returned<'_>>,
        micros: &[usize],
    ) -> Result<Option<Moved>, Error> {
        let links: Vec<(usize, Value)> = inner.resolved_links();
        // What a cycle postponed is NULL in the database until its own step, which follows.
        inner.links.retain(|link| !link.is_resolved());
        let postponed = inner.links.iter().flat_map(|link| link.columns.iter().copied());
        let postponed: Vec<(usize, Value)> =
            postponed.map(|column| (column, self.table.columns[column].kind_null())).collect();
        let Data::Draft(draft) = &mut inner.data else { return Ok(None) };
        for (column, value) in links.into_iter().chain(postponed) {
            draft.put(column, value)?;
        }
        if let Some(Returned::Values(values)) = returned {
            for (column, value) in values.iter().filter(|(column, _)| self.table.columns[*column].held) {
                draft.put(*column, value.clone())?;
            }
        }
        let mut model = match returned {
            Some(Returned::Row(row)) => draft.entity().read(row)?,
            _ => draft.complete()?,
        };
        cut_to_micros(self.table, &mut model, micros)?;
        let key = key_of(self.table, &*model);
        inner.data = Data::Full(model);
        inner.phase = Phase::Persistent;
        inner.untouch();
        Ok(inner.move_to(key))
    }

    /// What the row holds after a write, as far as the database has told it.
    pub(super) fn take_returned(&self, inner: &mut Inner, returned: Option<&Returned<'_>>) -> Result<(), Error> {
        match returned {
            Some(Returned::Row(row)) => inner.data = Data::Full(inner.data.entity().read(row)?),
            Some(Returned::Values(values)) => {
                for (column, value) in *values {
                    inner.data.put(self.table, *column, value.clone())?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// The database computes this column: what was set there is not sent (D4).
    pub(crate) fn leave_out(&self, column: usize) {
        let mut inner = self.inner.lock();
        let held = inner.base.as_ref().map(|base| base.value(column));
        match (inner.written_data_mut(), held) {
            (Data::Draft(draft), _) => draft.unset(column),
            (Data::Full(model), Some(held)) if model.value(column) != held => {
                // It was that column's own value a moment ago.
                _ = own(model).put(column, held);
            }
            (Data::Full(_), _) => {}
        }
    }

    /// The row holds what was sent, or what came back. Whether the frame must be told, and how the map must know the row, if that
    /// has changed.
    pub(super) fn updated(
        &self,
        inner: &mut Inner,
        returned: Option<&Returned<'_>>,
        micros: &[usize],
        frame: u64,
    ) -> Result<(bool, Option<Moved>), Error> {
        for (column, value) in inner.resolved_links() {
            inner.data.put(self.table, column, value)?;
        }
        inner.links.clear();
        self.take_returned(inner, returned)?;
        if let Data::Full(model) = &mut inner.data {
            cut_to_micros(self.table, model, micros)?;
        }
        let (before, old_key) = (inner.base.take().map(Data::Full), inner.key.clone());
        let touched = inner.remember(frame, Phase::Persistent, before, old_key);
        inner.untouch();
        let Data::Full(model) = &inner.data else { return Ok((touched, None)) };
        let key = key_of(self.table, &**model);
        Ok((touched, inner.move_to(key)))
    }

    /// The row is gone.
    pub(super) fn deleted(&self, inner: &mut Inner, frame: u64) -> (bool, Option<Moved>) {
        let before = inner.base.take().map(Data::Full).or_else(|| Some(inner.data.clone()));
        let key = inner.key.take();
        let touched = inner.remember(frame, Phase::Persistent, before, key.clone());
        inner.phase = Phase::Deleted;
        (touched, Some(Moved { from: key }))
    }
}

/// PostgreSQL's driver sends microseconds, in UTC: that is what the row holds.
fn cut_to_micros(table: &TableMeta, model: &mut Arc<dyn AnyModel>, micros: &[usize]) -> Result<(), Error> {
    for column in micros {
        if let Some(cut) = cut(&model.lent(*column)) {
            own(model).put(*column, moment_of(&table.columns[*column].kind, cut))?;
        }
    }
    Ok(())
}

/// A moment or time of day.
enum Moment {
    Time(NaiveTime),
    Naive(NaiveDateTime),
    Utc(DateTime<Utc>),
}

/// What the driver makes of a moment, where that is something else.
fn cut(value: &ValueRef<'_>) -> Option<Moment> {
    let whole = |nanos: u32| nanos.is_multiple_of(1_000);
    match value {
        ValueRef::Time(time) if !whole(time.nanosecond()) => {
            let nanos = time.nanosecond() - time.nanosecond() % 1_000;
            time.with_nanosecond(nanos).map(Moment::Time)
        }
        ValueRef::Naive(moment) if !whole(moment.nanosecond()) => {
            Some(Moment::Naive(sent(moment.and_utc()).naive_utc()))
        }
        ValueRef::Utc(moment) if !whole(moment.nanosecond()) => Some(Moment::Utc(sent(*moment))),
        ValueRef::Offset(moment) if !whole(moment.nanosecond()) || moment.offset().local_minus_utc() != 0 => {
            Some(Moment::Utc(sent(moment.to_utc())))
        }
        _ => None,
    }
}

/// Cut towards the year 2000, which PostgreSQL counts from.
fn sent(moment: DateTime<Utc>) -> DateTime<Utc> {
    const EPOCH: i64 = 946_684_800_000_000;
    let micros = moment.timestamp_micros();
    let micros = micros + i64::from(micros < EPOCH && !moment.nanosecond().is_multiple_of(1_000));
    DateTime::from_timestamp_micros(micros).unwrap_or(moment)
}

fn moment_of(kind: &ArrayType, moment: Moment) -> Value {
    match (kind, moment) {
        (_, Moment::Time(time)) => Value::ChronoTime(Some(time)),
        (_, Moment::Naive(moment)) => Value::ChronoDateTime(Some(moment)),
        (ArrayType::ChronoDateTimeUtc, Moment::Utc(moment)) => Value::ChronoDateTimeUtc(Some(moment)),
        (ArrayType::ChronoDateTimeLocal, Moment::Utc(moment)) => Value::ChronoDateTimeLocal(Some(moment.into())),
        (_, Moment::Utc(moment)) => Value::ChronoDateTimeWithTimeZone(Some(moment.fixed_offset())),
    }
}
