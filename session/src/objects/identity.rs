//! The identity map: one object a row in a unit of work (I1). Knows keys and objects; never talks to the database and
//! never looks into an object.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

use rustc_hash::FxHasher;
use sea_orm::{
    Value,
    sea_query::{IntoValueTuple, ValueTuple},
};
use smallvec::SmallVec;

use super::AnyObject;
use crate::table::{meta::TableMeta, value_ref::ValueRef};

/// A primary key as the map keeps it. Integers of every width are one kind, so that an `i32` key asked for as `i64` is the
/// same row (I7, Z13); each entity has a map of its own, so kinds of different entities never meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Int(i64),
    /// As bytes: a number of 128 bits would make every key half as large again.
    Uuid([u8; 16]),
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

    /// As [`Key::from_values`], of values that stay where they are.
    pub(crate) fn from_slice(values: &[Value]) -> Self {
        match values {
            [value] => Self::from_value(value.clone()),
            _ => Self::from_values(values.to_vec()),
        }
    }

    /// The key of a borrowed tuple; integers and UUIDs cost nothing.
    pub(crate) fn borrowed(tuple: &ValueTuple) -> Self {
        match tuple {
            ValueTuple::One(Value::BigInt(Some(i))) => Key::Int(*i),
            ValueTuple::One(Value::Int(Some(i))) => Key::Int((*i).into()),
            ValueTuple::One(Value::Uuid(Some(u))) => Key::Uuid(*u.as_bytes()),
            ValueTuple::One(Value::String(Some(s))) => Key::Text(s.as_str().into()),
            other => Self::from_tuple(other.clone()),
        }
    }

    /// Where a row with this key stands among those of its table. Only that it is the same in every unit is promised; numbers
    /// stand in their own order.
    pub(crate) fn rank(&self) -> i64 {
        match self {
            Key::Int(number) => *number,
            other => BuildHasherDefault::<FxHasher>::default().hash_one(other).cast_signed(),
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
            ValueRef::Uuid(u) => Key::Uuid(*u.as_bytes()),
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
            Value::Uuid(Some(u)) => Key::Uuid(*u.as_bytes()),
            Value::String(Some(s)) => Key::Text(s.into()),
            other => Key::Other(Box::new(other)),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Key::Int(number) => state.write_i64(*number),
            Key::Uuid(bytes) => state.write(bytes),
            Key::Text(text) => state.write(text.as_bytes()),
            Key::Other(value) => value.hash(state),
            Key::Many(parts) => parts.iter().for_each(|part| part.hash(state)),
        }
    }
}

/// Numbers that differ in so many of their lowest bits only stay together: an entry or two fill a line of the cache.
const NEAR_BITS: u32 = 4;

/// Spreads keys like [`FxHasher`], but leaves numbers that follow each other side by side: rows come from the database, and
/// go back, in the order of their keys, and what is met in order should stand in order.
#[derive(Default)]
struct KeyHasher {
    spread: FxHasher,
    near: u64,
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.spread.write(bytes);
    }

    fn write_i64(&mut self, number: i64) {
        self.spread.write_u64(self.near);
        self.spread.write_i64(number >> NEAR_BITS);
        self.near = number.cast_unsigned() & ((1 << NEAR_BITS) - 1);
    }

    fn finish(&self) -> u64 {
        // The lowest bits say where an entry stands, the highest seven tell the entries there apart.
        self.spread.finish() ^ self.near ^ (self.near << 57)
    }
}

type KeyMap = HashMap<Key, Arc<AnyObject>, BuildHasherDefault<KeyHasher>>;

/// The objects of a unit of work by entity and key. Holds them strongly (I6).
#[derive(Default)]
pub(crate) struct IdentityMap {
    /// By the entity's table. A unit has a few, which are found sooner by looking at each than by hashing.
    tables: SmallVec<[(&'static TableMeta, KeyMap); 4]>,
    /// Expired objects whose place was taken by another row.
    displaced: Vec<Arc<AnyObject>>,
}

impl IdentityMap {
    fn rows(&self, table: &'static TableMeta) -> Option<&KeyMap> {
        self.tables.iter().find(|(known, _)| std::ptr::eq(*known, table)).map(|(_, rows)| rows)
    }

    fn rows_mut(&mut self, table: &'static TableMeta) -> &mut KeyMap {
        let known = self.tables.iter().position(|(known, _)| std::ptr::eq(*known, table));
        let at = known.unwrap_or_else(|| {
            self.tables.push((table, KeyMap::default()));
            self.tables.len() - 1
        });
        &mut self.tables[at].1
    }

    pub(crate) fn get(&self, table: &'static TableMeta, key: &Key) -> Option<&Arc<AnyObject>> {
        self.rows(table)?.get(key)
    }

    /// The place of a key.
    pub(crate) fn entry(&mut self, table: &'static TableMeta, key: Key) -> Entry<'_, Key, Arc<AnyObject>> {
        self.rows_mut(table).entry(key)
    }

    pub(crate) fn insert(&mut self, key: Key, object: Arc<AnyObject>) {
        let before = self.rows_mut(object.table()).insert(key, object.clone());
        self.displaced.extend(before.filter(|before| !Arc::ptr_eq(before, &object) && before.is_doubted()));
    }

    /// Expired objects whose place in the map was taken since by another row.
    pub(crate) fn take_displaced(&mut self) -> Vec<Arc<AnyObject>> {
        std::mem::take(&mut self.displaced)
    }

    pub(crate) fn reserve(&mut self, table: &'static TableMeta, more: usize) {
        self.rows_mut(table).reserve(more);
    }

    /// Takes `object` out, if it is what the map holds under `key`: a row switch may have put another there.
    pub(crate) fn remove(&mut self, key: &Key, object: &Arc<AnyObject>) {
        let rows = self.rows_mut(object.table());
        if let Some((key, held)) = rows.remove_entry(key)
            && !Arc::ptr_eq(&held, object)
        {
            rows.insert(key, held);
        }
    }

    /// The tables that the map holds objects of.
    pub(crate) fn tables(&self) -> Vec<&'static TableMeta> {
        self.tables.iter().filter(|(_, rows)| !rows.is_empty()).map(|(table, _)| *table).collect()
    }

    /// The objects of a table, in no order.
    pub(crate) fn objects_of(&self, table: &'static TableMeta) -> impl Iterator<Item = &Arc<AnyObject>> {
        self.rows(table).into_iter().flat_map(HashMap::values)
    }

    /// How many objects the map holds.
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(|(_, rows)| rows.len()).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.tables.clear();
        self.displaced.clear();
    }
}
