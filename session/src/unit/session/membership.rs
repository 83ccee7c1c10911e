//! Objects of a unit: how they come in, leave, and are sent. What is read through the map is in [`crate::load::query`].

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sea_orm::{ActiveModelTrait, EntityTrait, sea_query::IntoValueTuple};

use super::Session;
use crate::{
    error::Error,
    objects::{
        AnyObject, Object, Phase, Tracked,
        entity::{TrackedEntity, table_of},
        states::State,
    },
    unit::core::Core,
};

impl Session {
    /// Adds a new object; the next flush inserts it. The object may be used at once, except for values that the database
    /// makes.
    ///
    /// If an object with the same key is in this unit already, the next flush says so ([`Error::Duplicate`], I2);
    /// [`Session::try_add`] says it at once.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.add(draft("second"));
    ///     assert_eq!(s.state(&note), State::Pending);
    ///     s.flush().await?;
    ///     assert_eq!(s.state(&note), State::Persistent);
    ///     assert_eq!((note.id(), note.version()), (2, 1));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add<A>(&mut self, active_model: A) -> Tracked<A::Entity>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let object = Object::pending(active_model, &self.core().shared);
        if let Err(e) = self.core().take_in(object.any()) {
            self.core().refused_add.get_or_insert(e);
        }
        object.into()
    }

    /// Adds a new object, or says that its key is taken in this unit (I2).
    ///
    /// # Errors
    /// [`Error::Duplicate`].
    pub fn try_add<A>(&mut self, active_model: A) -> Result<Tracked<A::Entity>, Error>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let object = Object::pending(active_model, &self.core().shared);
        self.core().take_in(object.any())?;
        Ok(object.into())
    }

    /// Adds an object again whose adding was rolled back (S3).
    ///
    /// # Errors
    /// The object is not transient, or its key is taken in this unit.
    pub fn add_again<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        let shared = self.core().shared.clone();
        object.any().revive(&shared)?;
        self.core().take_in(object.any())
    }

    /// Deletes an object; the next flush sends it. One that was added and never flushed is simply forgotten (F6).
    ///
    /// The row of an entity with `#[tracked(soft_delete = "…")]` is not deleted but marked, by an UPDATE like that of a setter: the
    /// object stays a persistent one, and no read gives it any more (U5). See [`Session::restore`] and [`Session::hard_delete`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     s.delete(&note);
    ///     assert_eq!(s.state(&note), State::Deleted);
    ///     assert!(s.get::<note::Entity>(1).await?.is_none());  // though nothing was sent yet
    ///     Ok(())
    /// }).await?;
    /// assert_eq!(note::Entity::find().count(db.connection()).await?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        match table_of::<E>().soft_delete {
            Some(column) if object.any().phase() == Phase::Persistent => {
                if self.may_delete(object)
                    && let Err(e) = object.any().soft_delete(column)
                {
                    self.core().refused_add.get_or_insert(e);
                }
            }
            _ => self.hard_delete(object),
        }
    }

    /// Deletes an object's row, also where [`Session::delete`] would only mark it (U5).
    pub fn hard_delete<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        if self.may_delete(object) {
            object.any().mark_deleted(&mut self.core().map);
        }
    }

    /// Takes the mark of [`Session::delete`] off a soft-deleted object; the next flush sends it (U5). Such an object is one that was
    /// deleted in this unit, or read by [`Session::unfiltered`].
    ///
    /// # Errors
    /// [`Error::Usage`]: the entity has no soft delete, or the object is no row of this unit.
    pub fn restore<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        let (table, state) = (table_of::<E>(), object.object().state());
        let Some(column) = table.soft_delete else {
            return Err(Error::usage(format!(
                "{} has no soft delete: say which column marks deleted rows with `#[tracked(soft_delete = \"…\")]`",
                table.entity
            )));
        };
        if state != State::Persistent || !object.any().belongs_to(&self.core().shared) {
            return Err(Error::usage(format!(
                "this {} is {state:?}, and only a row of this unit can be restored: load it with `.unfiltered()`",
                table.entity
            )));
        }
        object.any().restore(column)
    }

    fn may_delete<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> bool {
        let own = object.any().belongs_to(&self.core().shared);
        if !own {
            tracing::warn!(?object, "an object of another unit of work was to be deleted; nothing is sent");
        }
        own
    }

    /// The object with this key if it is in the map already; asks nobody (I4). An expired object is not given: only the
    /// database can tell what it is now (D8). Nor is one that a filter hides, or may hide (U5).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     assert!(s.peek::<note::Entity>(1).is_none());        // not loaded yet
    ///     s.get::<note::Entity>(1).await?;
    ///     assert!(s.peek::<note::Entity>(1).is_some());
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn peek<E: TrackedEntity>(&mut self, key: impl IntoValueTuple) -> Option<Tracked<E>> {
        let key = crate::objects::identity::Key::of(key);
        let core = self.core();
        let object = core.map.get(table_of::<E>(), &key)?;
        let phase = object.phase_unless_expired()?;
        let there = phase == Phase::Persistent || phase == Phase::Pending;
        (there && core.filters.shows(object) == Some(true)).then(|| Tracked::of(object.clone()))
    }

    /// Whether the map holds this object.
    pub fn contains<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> bool {
        let (object, map) = (object.any(), &self.core().map);
        object.map_key().and_then(|key| map.get(object.table(), &key)).is_some_and(|held| Arc::ptr_eq(held, object))
    }

    /// Where the object stands.
    pub fn state<E: TrackedEntity>(&self, object: &Tracked<E>) -> State {
        object.object().state()
    }

    /// Takes an object out of the unit: it keeps its values, nothing about it is sent, and a rollback leaves it out (S7).
    pub fn expunge<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        object.any().expunge(&mut self.core().map);
    }

    /// Has the object read again by the next [`Session::get`], by a query that returns it, or before a relation of it is
    /// followed. Until then its getters give what it held last; what is set is sent, whatever the old value was (D8).
    pub fn expire<E: TrackedEntity>(&mut self, object: &Tracked<E>) {
        object.any().expire();
    }

    /// Expires every clean object of an entity: for after a set-based statement of your own.
    pub fn expire_all<E: TrackedEntity>(&mut self) {
        let core = self.core();
        let table = table_of::<E>();
        core.map.objects_of(table).for_each(|object| object.expire());
        core.shared.joins.changed(&table.table);
    }

    /// How many objects the map holds; while a statement is under way on the shared session, how many it held before.
    pub fn tracked(&self) -> usize {
        self.standing().tracked
    }

    /// Whether anything waits to be flushed.
    pub fn is_dirty(&self) -> bool {
        self.shared.has_dirty()
    }

    /// Sends what changed: set-based, in the order that the foreign keys ask for (F).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.add(draft("second"));
    ///     assert!(note.try_id().is_err());                     // the database makes the key
    ///     s.flush().await?;
    ///     assert_eq!(note.id(), 2);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says, with entity, key and constraint. Memory and database are then back at the nearest boundary,
    /// and the block refuses everything until it ends (S8).
    ///
    /// # Cancel safety
    /// A dropped flush leaves its block flagged: it must roll back (C1).
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.core().flush().await
    }

    /// A stretch in which queries do not flush first (F7); ends when the guard is dropped.
    pub fn no_autoflush(&mut self) -> NoAutoflush<'_> {
        let before = std::mem::replace(&mut self.core().autoflush, false);
        NoAutoflush { session: self, before }
    }
}

impl Core {
    /// Takes a new object into the unit (I2); one that is refused is in none.
    pub(crate) fn take_in(&mut self, object: &Arc<AnyObject>) -> Result<(), Error> {
        self.place(object).inspect_err(|_| object.refused())
    }

    fn place(&mut self, object: &Arc<AnyObject>) -> Result<(), Error> {
        self.usable()?;
        if let Some(key) = object.known_key() {
            // Whether an expired row is still there only the database can tell: it refuses a second one.
            self.vanished(object.table(), &key);
            if let Some(held) = self.map.get(object.table(), &key)
                && !matches!(held.phase(), Phase::Deleting | Phase::Deleted)
            {
                return Err(Error::Duplicate { entity: object.table().entity, key: object.key_text().into() });
            }
            object.set_map_key(key.clone());
            self.map.insert(key, object.clone());
        }
        let holder = self.holder();
        let id = self.frames[holder].id;
        if object.added(id) {
            self.frames[holder].undo.touch(object.clone());
        }
        object.enlist_new();
        Ok(())
    }
}

/// A session whose queries do not flush first (F7).
#[derive(Debug)]
pub struct NoAutoflush<'s> {
    session: &'s mut Session,
    before: bool,
}

impl Deref for NoAutoflush<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for NoAutoflush<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl Drop for NoAutoflush<'_> {
    fn drop(&mut self) {
        self.session.core().autoflush = self.before;
    }
}
