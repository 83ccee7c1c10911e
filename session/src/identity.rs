//! The identity map: one object a row in a unit of work (I1). Knows keys and objects; never talks to the database and
//! never looks into an object.

use std::any::{Any, TypeId};

use rustc_hash::FxHashMap;
use sea_orm::{
    Value,
    sea_query::{IntoValueTuple, ValueTuple},
};

use crate::{meta::TrackedEntity, tracked::Object, value_ref::ValueRef};

/// A primary key as the map keeps it. Integers of every width are one kind, so that an `i32` key asked for as `i64` is the
/// same row (I7, Z13); each entity has a map of its own, so kinds of different entities never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Int(i64),
    Uuid(u128),
    Text(Box<str>),
    Other(Box<Value>),
    Many(Box<[Key]>),
}

impl Key {
    pub(crate) fn of(key: impl IntoValueTuple) -> Self {
        Self::from_tuple(key.into_value_tuple())
    }

    pub(crate) fn from_values(values: Vec<Value>) -> Self {
        let mut parts: Vec<Key> = values.into_iter().map(Self::from_value).collect();
        match parts.len() {
            1 => parts.remove(0),
            _ => Key::Many(parts.into()),
        }
    }

    /// The key of a borrowed tuple; integers and UUIDs cost nothing.
    pub(crate) fn borrowed(tuple: &ValueTuple) -> Self {
        match tuple {
            ValueTuple::One(Value::BigInt(Some(i))) => Key::Int(*i),
            ValueTuple::One(Value::Int(Some(i))) => Key::Int((*i).into()),
            ValueTuple::One(Value::Uuid(Some(u))) => Key::Uuid(u.as_u128()),
            ValueTuple::One(Value::String(Some(s))) => Key::Text(s.as_str().into()),
            other => Self::from_tuple(other.clone()),
        }
    }

    /// One shape for every arity, however the caller's tuple was built.
    pub(crate) fn from_tuple(tuple: ValueTuple) -> Self {
        match tuple {
            ValueTuple::One(value) => Self::from_value(value),
            many => Self::from_values(many.into_iter().collect()),
        }
    }

    /// The key in a column that stands alone; `None` where only the value itself can tell.
    pub(crate) fn from_ref(value: &ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::Small(i) => Key::Int((*i).into()),
            ValueRef::Int(i) => Key::Int((*i).into()),
            ValueRef::Big(i) => Key::Int(*i),
            ValueRef::Uuid(u) => Key::Uuid(u.as_u128()),
            ValueRef::Text(s) => Key::Text((*s).into()),
            _ => return None,
        })
    }

    fn from_value(value: Value) -> Self {
        match value {
            Value::TinyInt(Some(i)) => Key::Int(i.into()),
            Value::SmallInt(Some(i)) => Key::Int(i.into()),
            Value::Int(Some(i)) => Key::Int(i.into()),
            Value::BigInt(Some(i)) => Key::Int(i),
            Value::TinyUnsigned(Some(i)) => Key::Int(i.into()),
            Value::SmallUnsigned(Some(i)) => Key::Int(i.into()),
            Value::Unsigned(Some(i)) => Key::Int(i.into()),
            Value::BigUnsigned(Some(i)) if i64::try_from(i).is_ok() => Key::Int(i.cast_signed()),
            Value::Uuid(Some(u)) => Key::Uuid(u.as_u128()),
            Value::String(Some(s)) => Key::Text(s.into()),
            other => Key::Other(Box::new(other)),
        }
    }
}

struct Rows<E: TrackedEntity>(FxHashMap<Key, Object<E>>);

/// What a map of one entity can do without knowing the entity.
trait AnyRows: Any + Send {
    fn len(&self) -> usize;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<E: TrackedEntity> AnyRows for Rows<E> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The objects of a unit of work by entity and key. Holds them strongly (I6).
#[derive(Default)]
pub(crate) struct IdentityMap {
    tables: FxHashMap<TypeId, Box<dyn AnyRows>>,
}

impl IdentityMap {
    fn rows<E: TrackedEntity>(&self) -> Option<&FxHashMap<Key, Object<E>>> {
        let rows = self.tables.get(&TypeId::of::<E>())?;
        rows.as_any().downcast_ref::<Rows<E>>().map(|rows| &rows.0)
    }

    fn rows_mut<E: TrackedEntity>(&mut self) -> Option<&mut FxHashMap<Key, Object<E>>> {
        let rows = self.tables.entry(TypeId::of::<E>()).or_insert_with(|| Box::new(Rows::<E>(FxHashMap::default())));
        rows.as_any_mut().downcast_mut::<Rows<E>>().map(|rows| &mut rows.0)
    }

    pub(crate) fn get<E: TrackedEntity>(&self, key: &Key) -> Option<&Object<E>> {
        self.rows::<E>()?.get(key)
    }

    pub(crate) fn insert<E: TrackedEntity>(&mut self, key: Key, object: Object<E>) {
        if let Some(rows) = self.rows_mut::<E>() {
            rows.insert(key, object);
        }
    }

    pub(crate) fn reserve<E: TrackedEntity>(&mut self, more: usize) {
        if let Some(rows) = self.rows_mut::<E>() {
            rows.reserve(more);
        }
    }

    /// Takes `object` out, if it is what the map holds under `key`: a row switch may have put another there.
    pub(crate) fn remove<E: TrackedEntity>(&mut self, key: &Key, object: &Object<E>) {
        if let Some(rows) = self.rows_mut::<E>()
            && rows.get(key).is_some_and(|held| held.same(object))
        {
            rows.remove(key);
        }
    }

    /// The objects of one entity, in no order.
    pub(crate) fn objects<E: TrackedEntity>(&self) -> impl Iterator<Item = &Object<E>> {
        self.rows::<E>().into_iter().flat_map(|rows| rows.values())
    }

    /// How many objects the map holds.
    pub(crate) fn len(&self) -> usize {
        self.tables.values().map(|rows| rows.len()).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.tables.clear();
    }
}
