//! How a row that was read becomes an object of the unit (I1, I3).

use crate::{
    error::Error,
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
        key_of,
    },
    unit::core::Core,
};

/// Brings one row into the map (I1, I3).
pub(crate) fn admit<E: TrackedEntity>(
    core: &mut Core,
    model: E::Model,
    refresh: bool,
    locked: bool,
) -> Result<Tracked<E>, Error> {
    let table = table_of::<E>();
    let passed = core.filters.last::<E>();
    let key = key_of::<E>(table, &model);
    if let Some(held) = core.map.get::<E>(&key) {
        let held = held.clone();
        if passed > 0 {
            held.note_passed(passed);
        }
        let holder = core.holder();
        if held.reread(model, refresh || locked, locked, core.frames[holder].id)? {
            core.frames[holder].undo.touch(held.as_any_object());
        }
        return Ok(held.into());
    }
    let object = Object::loaded(model, key.clone(), locked, &core.shared);
    if passed > 0 {
        object.note_passed(passed);
    }
    core.map.insert(key, object.clone());
    // Rolled back, a block forgets what it loaded first (S5); the unit's own block ends with the map itself.
    let holder = core.holder();
    if holder > 0 {
        core.frames[holder].undo.load(object.as_any_object());
    }
    Ok(object.into())
}
