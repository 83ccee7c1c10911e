//! What the database says of the flush's tables that their entities do not: which values it holds equal, and what its foreign
//! keys do. As data, so that the planner asks nobody (INV5).

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use sea_orm::Value;

use crate::table::meta::OnUpdate;

/// What the database says of the tables of a flush, which are called by their places in its list.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By table and column: values that the database holds equal to another one of the flush, and that one.
    spellings: FxHashMap<(usize, usize), FxHashMap<Value, Value>>,
    /// By referring table, the number of its foreign key, and the table referred to.
    acts: FxHashMap<(usize, usize, usize), Acts>,
}

/// What a foreign key does to a row that refers to one which changes, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acts {
    pub(crate) on_update: OnUpdate,
    pub(crate) on_delete: OnDelete,
}

/// What becomes of a row that refers to one which is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDelete {
    /// The row stays, and refers to nothing, or to its column's default.
    Stays,
    /// The row goes as well, or the database refuses.
    Goes,
    /// The catalogue does not know the foreign key.
    Unknown,
}

impl Known {
    /// The database holds these values equal in a column: one for all of them is `kept`.
    pub(crate) fn note_equal(&mut self, table: usize, column: usize, value: Value, kept: Value) {
        self.spellings.entry((table, column)).or_default().insert(value, kept);
    }

    /// The database's catalogue knows this foreign key.
    pub(crate) fn note_acts(&mut self, child: usize, fk: usize, parent: usize, acts: Acts) {
        self.acts.insert((child, fk, parent), acts);
    }

    /// One value for all that the database holds equal in a column (D5).
    pub(crate) fn same<'v>(&'v self, table: usize, column: usize, value: &'v Value) -> &'v Value {
        self.spellings.get(&(table, column)).and_then(|kept| kept.get(value)).unwrap_or(value)
    }

    /// As [`Known::same`], of some columns at once.
    pub(crate) fn all_same<'v>(&self, table: usize, columns: &[usize], values: &'v [Value]) -> Cow<'v, [Value]> {
        if columns.iter().all(|column| !self.spellings.contains_key(&(table, *column))) {
            return Cow::Borrowed(values);
        }
        let pairs = columns.iter().zip(values);
        Cow::Owned(pairs.map(|(column, value)| self.same(table, *column, value).clone()).collect())
    }

    /// What the catalogue says that a foreign key does; else what the entity says.
    pub(super) fn acts(&self, child: usize, fk: usize, parent: usize, declared: OnUpdate) -> Acts {
        let told = self.acts.get(&(child, fk, parent)).copied();
        told.unwrap_or(Acts { on_update: declared, on_delete: OnDelete::Unknown })
    }
}
