//! Filters of entities (U5): conditions that every read of objects obeys, so that none of them can be forgotten. The tenant's
//! always holds; that of soft-deleted rows and those that the caller adds hold unless the read says otherwise.
//!
//! A filter is part of the statement, on every backend. Of what the identity map holds, this module says whether a read may be
//! answered from it: of a condition of the caller's only the database knows what it means.

use std::ops::{Deref, DerefMut};

use sea_orm::{
    ColumnTrait, Condition, Iterable, QueryFilter, Select, Value,
    sea_query::{IntoCondition, SimpleExpr},
};

use super::{core::Core, session::Session};
use crate::{
    error::Error,
    objects::{
        AnyObject,
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    table::{meta::TableMeta, value::tenant_value},
};

/// The filters of one unit. The tenant's and that of soft-deleted rows are read from the entity.
#[derive(Default)]
pub(crate) struct Filters {
    /// Reads ask for soft-deleted rows too, and no filter of the caller's holds.
    off: bool,
    /// The number of the last filter that was added; the first is 1.
    added: u32,
    named: Vec<AddedFilter>,
}

struct AddedFilter {
    number: u32,
    /// The block that it was added in; it goes with its rollback.
    frame: u64,
    table: &'static TableMeta,
    condition: Condition,
}

impl Filters {
    pub(crate) fn new(off: bool) -> Self {
        Self { off, ..Self::default() }
    }

    /// Whether a read gives this object of the map. `None`: only the database can tell.
    pub(crate) fn shows(&self, object: &AnyObject) -> Option<bool> {
        if self.off {
            return Some(true);
        }
        if object.table().soft_delete.is_some_and(|column| object.holds_value(column)) {
            return Some(false);
        }
        let last = self.last(object.table());
        (last == 0 || object.passed() >= last).then_some(true)
    }

    /// The number of the last filter that holds for `E`; 0 if the caller added none. A row that was read under it passed all that
    /// have this number or a lower one: each of them was there then.
    pub(crate) fn last(&self, table: &'static TableMeta) -> u32 {
        if self.off || self.named.is_empty() {
            return 0;
        }
        self.of(table).last().map_or(0, |filter| filter.number)
    }

    /// Whether reads of `E` ask for nothing but its key, its tenant and rows that are not soft-deleted.
    /// The caller's filters of an entity, in their order.
    fn of(&self, table: &'static TableMeta) -> impl DoubleEndedIterator<Item = &AddedFilter> {
        self.named.iter().filter(move |filter| std::ptr::eq(filter.table, table))
    }

    fn are_usual(&self, table: &'static TableMeta) -> bool {
        match self.off {
            true => table.soft_delete.is_none(),
            false => self.last(table) == 0,
        }
    }

    /// Whether a row that a read does not find may be there all the same.
    pub(crate) fn may_hide(&self, table: &'static TableMeta) -> bool {
        !self.off && (table.soft_delete.is_some() || self.last(table) > 0)
    }

    fn add(&mut self, table: &'static TableMeta, frame: u64, condition: Condition) -> u32 {
        self.added += 1;
        self.named.push(AddedFilter { number: self.added, frame, table, condition });
        self.added
    }

    fn remove(&mut self, number: u32) {
        self.named.retain(|filter| filter.number != number);
    }

    /// A block was released: its filters are its parent's now.
    pub(super) fn release(&mut self, frame: u64, parent: u64) {
        self.named.iter_mut().filter(|filter| filter.frame == frame).for_each(|filter| filter.frame = parent);
    }

    /// A block was rolled back: its filters are gone.
    pub(super) fn rolled_back(&mut self, frame: u64) {
        self.named.retain(|filter| filter.frame != frame);
    }
}

impl Core {
    /// The tenant of this unit as the table's column holds it; none if its rows have no tenant.
    ///
    /// # Errors
    /// A tenant's entity is not read without a tenant (T2).
    pub(crate) fn tenant_of(&self, table: &TableMeta) -> Result<Option<Value>, Error> {
        let Some(column) = table.tenant else { return Ok(None) };
        let Some((_, tenant)) = &self.settings.tenant else {
            return Err(Error::Tenant {
                entity: table.entity, reason: "open the unit with `.tenant(key, …)`".into()
            });
        };
        tenant_value(&table.columns[column].kind, tenant).map(Some)
    }

    /// What reads of `E` ask besides: its tenant, that it is not soft-deleted, and what the caller added. None if that is nothing.
    ///
    /// # Errors
    /// As [`Core::tenant_of`].
    pub(crate) fn conditions<E: TrackedEntity>(&self) -> Result<Option<Condition>, Error> {
        let table = table_of::<E>();
        let column = |at: usize| E::Column::iter().nth(at);
        let mut all: Vec<SimpleExpr> = Vec::new();
        if let (Some(tenant), Some(column)) = (self.tenant_of(table)?, table.tenant.and_then(column)) {
            all.push(column.eq(tenant));
        }
        if let Some(column) = table.soft_delete.filter(|_| !self.filters.off).and_then(column) {
            all.push(column.is_null());
        }
        let mut conditions = all.into_iter().fold(Condition::all(), Condition::add);
        if !self.filters.off {
            conditions = self.filters.of(table).fold(conditions, |all, filter| all.add(filter.condition.clone()));
        }
        Ok((!conditions.is_empty()).then_some(conditions))
    }

    /// A query with what every read of `E` asks besides.
    ///
    /// # Errors
    /// As [`Core::tenant_of`].
    pub(crate) fn filtered<E: TrackedEntity>(&self, select: Select<E>) -> Result<Select<E>, Error> {
        Ok(match self.conditions::<E>()? {
            Some(conditions) => select.filter(conditions),
            None => select,
        })
    }

    /// Whether the text of a read by key is the same for every unit.
    pub(crate) fn reads_as_usual(&self, table: &'static TableMeta) -> bool {
        self.filters.are_usual(table)
    }

    /// A read has not found the row with this key. Where no filter may have hidden it, it is gone (D7).
    pub(crate) fn not_found(&mut self, table: &'static TableMeta, key: &Key) {
        if !self.filters.may_hide(table) {
            self.vanished(table, key);
        }
    }
}

impl Session {
    /// Adds a condition that every read of `E`'s objects obeys from now on (U5): `get`, `load`, relations, streams, `refresh`. It
    /// holds until the unit ends, or the block that it was added in is rolled back. The condition may speak of `E`'s columns.
    ///
    /// Writes are not filtered: what was loaded can be changed so that no read finds it again.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     s.filter::<note::Entity>(note::Column::Stars.gte(3));
    ///     assert!(s.get::<note::Entity>(1).await?.is_none());            // it has no star
    ///     assert!(s.unfiltered().get::<note::Entity>(1).await?.is_some());
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter<E: TrackedEntity>(&mut self, condition: impl IntoCondition) {
        self.add_filter(table_of::<E>(), condition.into_condition());
    }

    /// As [`Session::filter`], until the guard is dropped.
    pub fn with_filter<E: TrackedEntity>(&mut self, condition: impl IntoCondition) -> Filtering<'_> {
        let number = self.add_filter(table_of::<E>(), condition.into_condition());
        Filtering { session: self, before: Before::Without(number) }
    }

    /// A stretch in which reads give soft-deleted rows too, and no filter of the caller's holds (U5); ends when the guard is
    /// dropped. The tenant's filter holds all the same: no unit reads another tenant's objects.
    pub fn unfiltered(&mut self) -> Filtering<'_> {
        let core = self.core();
        let before = std::mem::replace(&mut core.filters.off, true);
        // Other reads give other rows: what relations gave is not known any more.
        core.loaded.clear();
        Filtering { session: self, before: Before::Off(before) }
    }

    fn add_filter(&mut self, table: &'static TableMeta, condition: Condition) -> u32 {
        let core = self.core();
        let holder = core.holder();
        let frame = core.frames[holder].id;
        core.filters.add(table, frame, condition)
    }
}

/// A session that reads otherwise than before, until it is dropped (U5).
#[derive(Debug)]
pub struct Filtering<'s> {
    session: &'s mut Session,
    before: Before,
}

/// How it was before.
#[derive(Debug)]
enum Before {
    /// Without the filter of this number.
    Without(u32),
    /// With the filters off, or not.
    Off(bool),
}

impl Deref for Filtering<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for Filtering<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl Drop for Filtering<'_> {
    fn drop(&mut self) {
        let core = self.session.core();
        core.loaded.clear();
        let filters = &mut core.filters;
        match self.before {
            Before::Without(number) => filters.remove(number),
            Before::Off(off) => filters.off = off,
        }
    }
}
