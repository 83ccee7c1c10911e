//! The identity map: one object a row in a unit of work (I1). Knows keys and objects; never talks to the database and
//! never looks into an object.

use std::{
    any::{Any, TypeId},
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

use super::{
    AnyObject, Object,
    entity::{TrackedEntity, table_of},
};
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

type KeyMap<E> = HashMap<Key, Object<E>, BuildHasherDefault<KeyHasher>>;

struct EntityObjects<E: TrackedEntity>(KeyMap<E>);

/// What a map of one entity can do without knowing the entity.
trait AnyObjects: Any + Send {
    fn len(&self) -> usize;
    fn table(&self) -> &'static TableMeta;
    fn objects(&self) -> Vec<Arc<dyn AnyObject>>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<E: TrackedEntity> AnyObjects for EntityObjects<E> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn table(&self) -> &'static TableMeta {
        table_of::<E>()
    }

    fn objects(&self) -> Vec<Arc<dyn AnyObject>> {
        self.0.values().map(Object::as_any_object).collect()
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
    /// A unit has a few entities, which are found sooner by looking at each than by hashing.
    tables: SmallVec<[(TypeId, Box<dyn AnyObjects>); 4]>,
    /// Expired objects whose place was taken by another row.
    displaced: Vec<Arc<dyn AnyObject>>,
}

impl IdentityMap {
    fn rows<E: TrackedEntity>(&self) -> Option<&KeyMap<E>> {
        let at = self.place::<E>()?;
        self.tables[at].1.as_any().downcast_ref::<EntityObjects<E>>().map(|rows| &rows.0)
    }

    fn rows_mut<E: TrackedEntity>(&mut self) -> &mut KeyMap<E> {
        let at = self.place::<E>().unwrap_or_else(|| {
            self.tables.push((TypeId::of::<E>(), Box::new(EntityObjects::<E>(KeyMap::default()))));
            self.tables.len() - 1
        });
        let rows = self.tables[at].1.as_any_mut().downcast_mut::<EntityObjects<E>>();
        &mut rows.expect("what stands at an entity's place is of that entity").0
    }

    fn place<E: TrackedEntity>(&self) -> Option<usize> {
        let id = TypeId::of::<E>();
        self.tables.iter().position(|(known, _)| *known == id)
    }

    pub(crate) fn get<E: TrackedEntity>(&self, key: &Key) -> Option<&Object<E>> {
        self.rows::<E>()?.get(key)
    }

    /// The place of a key.
    pub(crate) fn entry<E: TrackedEntity>(&mut self, key: Key) -> Entry<'_, Key, Object<E>> {
        self.rows_mut::<E>().entry(key)
    }

    pub(crate) fn insert<E: TrackedEntity>(&mut self, key: Key, object: Object<E>) {
        let before = self.rows_mut::<E>().insert(key, object.clone());
        if let Some(before) = before.filter(|before| !before.same(&object)) {
            let before = before.as_any_object();
            if before.is_doubted() {
                self.displaced.push(before);
            }
        }
    }

    /// Expired objects whose place in the map was taken since by another row.
    pub(crate) fn take_displaced(&mut self) -> Vec<Arc<dyn AnyObject>> {
        std::mem::take(&mut self.displaced)
    }

    pub(crate) fn reserve<E: TrackedEntity>(&mut self, more: usize) {
        self.rows_mut::<E>().reserve(more);
    }

    /// Takes `object` out, if it is what the map holds under `key`: a row switch may have put another there.
    pub(crate) fn remove<E: TrackedEntity>(&mut self, key: &Key, object: &Object<E>) {
        let rows = self.rows_mut::<E>();
        if let Some((key, held)) = rows.remove_entry(key)
            && !held.same(object)
        {
            rows.insert(key, held);
        }
    }

    /// The objects of one entity, in no order.
    pub(crate) fn objects<E: TrackedEntity>(&self) -> impl Iterator<Item = &Object<E>> {
        self.rows::<E>().into_iter().flat_map(|rows| rows.values())
    }

    /// The tables that the map holds objects of.
    pub(crate) fn tables(&self) -> Vec<&'static TableMeta> {
        self.tables.iter().filter(|(_, rows)| rows.len() > 0).map(|(_, rows)| rows.table()).collect()
    }

    /// The objects of a table, in no order.
    pub(crate) fn objects_of(&self, table: &'static TableMeta) -> Vec<Arc<dyn AnyObject>> {
        let rows = self.tables.iter().find(|(_, rows)| std::ptr::eq(rows.table(), table));
        rows.map(|(_, rows)| rows.objects()).unwrap_or_default()
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
