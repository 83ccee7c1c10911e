//! How a row that was read becomes an object of the unit (I1, I3).

use std::{collections::hash_map::Entry, sync::Arc};

use crate::{
    error::Error,
    objects::{
        AnyObject, Tracked,
        entity::{TrackedEntity, table_of},
        key_of,
        values::AnyModel,
    },
    table::meta::TableMeta,
    unit::core::Core,
};

/// Brings one row into the map (I1, I3).
pub(crate) fn admit<E: TrackedEntity>(
    core: &mut Core,
    model: Arc<E::Model>,
    refresh: bool,
    locked: bool,
) -> Result<Tracked<E>, Error> {
    admit_any(core, table_of::<E>(), model, refresh, locked).map(Tracked::of)
}

fn admit_any(
    core: &mut Core,
    table: &'static TableMeta,
    model: Arc<dyn AnyModel>,
    refresh: bool,
    locked: bool,
) -> Result<Arc<AnyObject>, Error> {
    let passed = core.filters.last(table);
    let holder = core.holder();
    let object = match core.map.entry(table, key_of(table, &*model)) {
        Entry::Occupied(held) => {
            let held = held.get().clone();
            if passed > 0 {
                held.note_passed(passed);
            }
            if held.reread(model, refresh || locked, locked, core.frames[holder].id)? {
                core.frames[holder].undo.touch(held.clone());
            }
            return Ok(held);
        }
        Entry::Vacant(place) => {
            let object = AnyObject::loaded(table, model, place.key().clone(), locked, &core.shared);
            place.insert(object).clone()
        }
    };
    if passed > 0 {
        object.note_passed(passed);
    }
    // Rolled back, a block forgets what it loaded first (S5); the unit's own block ends with the map itself.
    if holder > 0 {
        core.frames[holder].undo.load(object.clone());
    }
    Ok(object)
}
