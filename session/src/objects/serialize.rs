//! An object as serde writes it: as its model, without what is secret (U10, L1).

use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::Value;

use super::{Object, Tracked, entity::TrackedEntity};

/// As the entity's model; fields that are `#[tracked(secret)]` are left out.
///
/// An object that is not complete before its insert is an error: flush first. The model of an entity with secrets is written by
/// way of a [`serde_json::Value`], so its fields may come in another order.
impl<E: TrackedEntity<Model: Serialize>> Serialize for Object<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let model = self.snapshot().map_err(S::Error::custom)?;
        let hidden = &self.0.table.hidden;
        if hidden.is_empty() {
            return model.serialize(serializer);
        }
        let mut shown = serde_json::to_value(&*model).map_err(S::Error::custom)?;
        if let Value::Object(fields) = &mut shown {
            fields.retain(|name, _| !hidden.contains(&name.as_str()));
        }
        shown.serialize(serializer)
    }
}

/// As its [`Object`].
impl<E: TrackedEntity<Model: Serialize>> Serialize for Tracked<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object().serialize(serializer)
    }
}
