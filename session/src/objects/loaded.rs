//! Relations that a graph has loaded (U1): which objects each parent is related to, as long as nothing has changed that they
//! join on. Sends nothing. What cannot be known for certain counts as not loaded.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use sea_orm::Value;

use super::{AnyObject, Object, Phase, Tracked, entity::TrackedEntity, shared::Shared};

/// A relation: between which entities, and by which columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RelationId {
    pub(crate) from: TypeId,
    pub(crate) to: TypeId,
    /// Tables and columns from the one to the other.
    pub(crate) way: String,
}

/// What a relation joins on.
#[derive(Clone, Debug)]
pub(crate) struct JoinedOn {
    pub(crate) id: RelationId,
    /// The tables on the way, the last included, quoted.
    pub(crate) tables: Vec<String>,
    /// Whether a condition of its own looks at other columns too, whichever they are.
    pub(crate) conditional: bool,
}

/// The objects that a parent is related to: handed on, not copied.
pub(crate) type Group<R> = Arc<Vec<Tracked<R>>>;

struct Loaded {
    /// Holds the parent, so that no other object comes to stand at its address.
    _parent: Arc<AnyObject>,
    /// What the parent held in the columns that the relation starts from.
    own: Option<Vec<Value>>,
    /// A [`Group`] of the relation's entity.
    related: Arc<dyn Any + Send + Sync>,
    moment: u64,
    /// The block that it was loaded in.
    frame: u64,
    load: u64,
}

/// When a relation is loaded: by which load, in which block, and at which moment of the unit's changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadedAt {
    pub(crate) load: u64,
    pub(crate) frame: u64,
    pub(crate) moment: u64,
}

/// The loaded relations of a unit.
#[derive(Default)]
pub(crate) struct LoadedRelations {
    relations: FxHashMap<RelationId, FxHashMap<usize, Loaded>>,
    loads: u64,
}

impl LoadedRelations {
    pub(crate) fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    /// Whether the relation is loaded for any parent.
    pub(crate) fn has(&self, on: &JoinedOn) -> bool {
        self.relations.contains_key(&on.id)
    }

    /// The number of a new load of a graph.
    pub(crate) fn next_load(&mut self) -> u64 {
        self.loads += 1;
        self.loads
    }

    /// Keeps for each parent, which held this in the columns that the relation starts from, what it is related to.
    pub(crate) fn keep<'p, E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        on: &JoinedOn,
        at: LoadedAt,
        parents: impl Iterator<Item = (&'p Object<E>, Option<Vec<Value>>, Group<R>)>,
    ) {
        let LoadedAt { load, frame, moment } = at;
        let relation = self.relations.entry(on.id.clone()).or_default();
        relation.extend(parents.map(|(parent, own, related)| {
            (parent.any().address(), Loaded { _parent: parent.any().clone(), own, related, moment, frame, load })
        }));
    }

    /// What `parent` is related to, if that was loaded (by this very load, if one is named) and is still so.
    pub(crate) fn get<E: TrackedEntity, R: TrackedEntity>(
        &self,
        on: &JoinedOn,
        parent: &Object<E>,
        own: &Option<Vec<Value>>,
        load: Option<u64>,
        shared: &Shared,
    ) -> Option<Group<R>> {
        let loaded = self.relations.get(&on.id)?.get(&parent.any().address())?;
        let pending = on.conditional && shared.has_dirty();
        let valid = !pending
            && parent.any().phase_unless_expired() == Some(Phase::Persistent)
            && load.is_none_or(|load| loaded.load == load)
            && loaded.own == *own
            && shared.joins.unchanged(loaded.moment, parent.any().address(), &on.tables, on.conditional);
        if !valid {
            return None;
        }
        let related = loaded.related.clone().downcast::<Vec<Tracked<R>>>().ok()?;
        // Only the database can tell what became of one that expired (D8).
        let known = related.iter().all(|object| object.object().any().phase_unless_expired().is_some());
        known.then_some(related)
    }

    /// The block `frame` is rolled back: what was loaded in it, or in blocks inside it, is not known any more (S5).
    pub(crate) fn forget_since(&mut self, frame: u64) {
        for relation in self.relations.values_mut() {
            relation.retain(|_, loaded| loaded.frame < frame);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.relations.clear();
    }
}
