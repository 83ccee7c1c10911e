//! When what relations join on was last changed in memory, so that a relation that was loaded is known to be as it was (U1).
//! Kept from the first loaded relation on: a unit that loads none pays nothing. Knows no relation and no object.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// The moments of a unit's changes.
#[derive(Default)]
pub(crate) struct Joins {
    watched: AtomicBool,
    moments: Mutex<Moments>,
}

#[derive(Default)]
struct Moments {
    now: u64,
    /// Rows came, went or joined others, by quoted table.
    tables: FxHashMap<String, u64>,
    /// An object expired, by its address.
    objects: FxHashMap<usize, u64>,
    /// SQL was sent of which it is not known what it changed.
    unknown: u64,
    /// Anything was flushed.
    flushed: u64,
}

impl Moments {
    fn next(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

impl Joins {
    /// The moment that a relation is loaded at; if it is to be kept, changes are noted from now on.
    pub(crate) fn watch_if(&self, kept: bool) -> u64 {
        self.watched.fetch_or(kept, Ordering::AcqRel);
        self.moments.lock().now
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    fn note(&self, change: impl FnOnce(&mut Moments)) {
        if self.is_watched() {
            change(&mut self.moments.lock());
        }
    }

    /// Rows of a table came, went, or hold another value in a column that relations join on.
    pub(crate) fn changed(&self, table: &str) {
        self.note(|moments| {
            let now = moments.next();
            match moments.tables.get_mut(table) {
                Some(moment) => *moment = now,
                None => _ = moments.tables.insert(table.to_owned(), now),
            }
        });
    }

    /// An object is to be read again.
    pub(crate) fn expired(&self, object: usize) {
        self.note(|moments| {
            let now = moments.next();
            moments.objects.insert(object, now);
        });
    }

    /// SQL of the caller's was sent that may have changed anything.
    pub(crate) fn unknown(&self) {
        self.note(|moments| moments.unknown = moments.next());
    }

    /// Something was flushed.
    pub(crate) fn flushed(&self) {
        self.note(|moments| moments.flushed = moments.next());
    }

    /// Whether nothing of this has changed since `moment`.
    pub(crate) fn unchanged(&self, moment: u64, object: usize, tables: &[String], by_flush: bool) -> bool {
        let moments = self.moments.lock();
        moments.unknown <= moment
            && !(by_flush && moments.flushed > moment)
            && moments.objects.get(&object).is_none_or(|expired| *expired <= moment)
            && tables.iter().all(|table| moments.tables.get(table).is_none_or(|changed| *changed <= moment))
    }
}
