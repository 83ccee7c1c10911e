//! Nested models of SeaORM's as objects (U3): each new row becomes a pending object, and each relation between two of them a
//! foreign key that follows its parent. Sends nothing; the flush orders the rows.

use std::marker::PhantomData;

use sea_orm::{
    ActiveModelTrait, ActiveValue, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn, Related, RelatedSelfVia,
    RelationDef,
};

use super::relation::{positions, self_way};
use crate::{
    error::Error,
    objects::{
        Object, Phase, Tracked,
        entity::{TrackedEntity, table_of},
        identity::{IdentityMap, Key},
    },
    table::value::as_column,
    unit::session::Session,
};

/// A new row with those that are related to it; `#[derive(Tracked)]` implements it for SeaORM's active models, nested ones included.
pub trait Graph: Sized {
    /// The entity of the row.
    type Of: TrackedEntity;

    /// Adds the row and its nested ones.
    #[doc(hidden)]
    fn add_to(self, adding: &mut Adding<'_>) -> Result<Node<Self::Of>, Error>;
}

/// A graph on its way into a unit. Dropped unfinished, it takes back what it has added.
#[doc(hidden)]
pub struct Adding<'s> {
    session: &'s mut Session,
    added: Vec<TakeBack>,
}

type TakeBack = Box<dyn FnOnce(&mut IdentityMap) + Send>;

/// A row of a graph: a new object, or a row that is there already, of which only its values may be known.
#[doc(hidden)]
#[derive(Debug)]
pub struct Node<E: TrackedEntity> {
    object: Option<Object<E>>,
    row: E::ActiveModel,
}

impl Session {
    /// Adds a nested model of SeaORM's: every new row in it becomes a pending object, linked to those that it is related to, and one
    /// flush inserts them all, parents first. A nested row that is there already (its key is `Unchanged`) is linked and not added.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     // An entity of the dense format also takes its relations along: `post::ActiveModel::builder().add_tag(…)`.
    ///     let note = s.add_graph(draft("second"))?;
    ///     s.flush().await?;
    ///     assert_eq!(note.id(), 2);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Duplicate`] if a key is taken in this unit; [`Error::Usage`] if a nested row that is there already is to be changed,
    /// or to get a parent without having been loaded, or if a many-to-many relation goes through an entity that is not tracked.
    /// Nothing is added then.
    pub fn add_graph<G: Graph>(&mut self, graph: G) -> Result<Tracked<G::Of>, Error> {
        let mut adding = Adding { session: self, added: Vec::new() };
        let root = graph.add_to(&mut adding)?;
        let Some(object) = root.object else {
            return Err(Error::usage(format!(
                "this {} is a row that the unit has not loaded: load it, and add what is new to it",
                table_of::<G::Of>().entity
            )));
        };
        adding.added.clear();
        Ok(object.into())
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        let map = &mut self.session.core().map;
        self.added.drain(..).for_each(|take_back| take_back(map));
    }
}

impl Adding<'_> {
    /// A row of the graph, without those nested in it.
    ///
    /// # Errors
    /// As [`Session::add_graph`].
    pub fn add<E: TrackedEntity>(&mut self, row: E::ActiveModel) -> Result<Node<E>, Error> {
        let is_there = E::PrimaryKey::iter().all(|key| matches!(row.get(key.into_column()), ActiveValue::Unchanged(_)));
        if !is_there {
            let object = self.session.try_add(row.clone())?.object().clone();
            let added = object.clone();
            self.added.push(Box::new(move |map| added.any().mark_deleted(map)));
            return Ok(Node { object: Some(object), row });
        }
        let set = |column: &E::Column| matches!(row.get(*column), ActiveValue::Set(_));
        if let Some(column) = E::Column::iter().find(set) {
            return Err(Error::usage(format!(
                "{}.{} of a row that is there already is set in a graph, which only adds: change it by its object",
                table_of::<E>().entity,
                column.as_str()
            )));
        }
        let key = row.get_primary_key_value().map(Key::from_tuple);
        let held = key.and_then(|key| self.session.core().map.get(table_of::<E>(), &key).cloned());
        let object = held.filter(|object| matches!(object.phase(), Phase::Pending | Phase::Persistent));
        Ok(Node { object: object.map(Object::of), row })
    }

    /// A field whose rows cannot be related, because SeaORM declares no relation for it.
    ///
    /// # Errors
    /// There are some.
    pub fn refuse_nested<E: TrackedEntity>(&self, field: &str, some: bool) -> Result<(), Error> {
        let entity = table_of::<E>().entity;
        let refused = || {
            Error::usage(format!(
                "{entity}.{field} names no relation that a graph could follow: add its rows by themselves"
            ))
        };
        if some { Err(refused()) } else { Ok(()) }
    }

    /// Relates two rows, as a relation without a junction says.
    ///
    /// # Errors
    /// As [`Session::add_graph`].
    pub fn relate<E, R>(&mut self, one: &Node<E>, def: &RelationDef, other: &Node<R>) -> Result<(), Error>
    where
        E: TrackedEntity,
        R: TrackedEntity,
    {
        let (from, to) = (positions(table_of::<E>(), &def.from_col)?, positions(table_of::<R>(), &def.to_col)?);
        if def.is_owner { join(other, to, one, from) } else { join(one, from, other, to) }
    }

    /// Relates two rows, as `Related` says.
    ///
    /// # Errors
    /// As [`Session::add_graph`]; the relation has a junction, whose entity is not known here.
    pub fn relate_by_entity<E, R>(&mut self, one: &Node<E>, other: &Node<R>) -> Result<(), Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        match <E as Related<R>>::via() {
            None => self.relate(one, &<E as Related<R>>::to(), other),
            Some(_) => Err(untracked::<E, R>()),
        }
    }

    fn relate_through<E, R, J>(&mut self, one: &Node<E>, way: &[RelationDef], other: &Node<R>) -> Result<(), Error>
    where
        E: TrackedEntity,
        R: TrackedEntity,
        J: TrackedEntity,
    {
        let [via, to] = way else { return Err(untracked::<E, R>()) };
        let row = self.add::<J>(<J::ActiveModel as ActiveModelTrait>::default())?;
        join(&row, positions(table_of::<J>(), &via.to_col)?, one, positions(table_of::<E>(), &via.from_col)?)?;
        join(&row, positions(table_of::<J>(), &to.from_col)?, other, positions(table_of::<R>(), &to.to_col)?)
    }
}

fn untracked<E: TrackedEntity, R: TrackedEntity>() -> Error {
    let (one, other) = (table_of::<E>().entity, table_of::<R>().entity);
    Error::usage(format!(
        "a graph relates {one} to {other} through a junction whose entity is not tracked: derive `Tracked` for it, or attach after \
         the flush"
    ))
}

/// Points the foreign key of one row at another.
fn join<C: TrackedEntity, P: TrackedEntity>(
    child: &Node<C>,
    columns: Vec<usize>,
    parent: &Node<P>,
    parent_columns: Vec<usize>,
) -> Result<(), Error> {
    let (table, parent_table) = (table_of::<C>(), table_of::<P>());
    let Some(object) = &child.object else {
        return Err(Error::usage(format!(
            "a {} that is a row already is to get a parent, and the unit has not loaded it: load it first",
            table.entity
        )));
    };
    if let Some(parent) = &parent.object {
        return object.any().link(columns, parent.any().clone(), parent_columns);
    }
    for (at, parent_at) in columns.into_iter().zip(parent_columns) {
        let (column, of) = (C::Column::iter().nth(at), P::Column::iter().nth(parent_at));
        let value = of.and_then(|of| parent.row.get(of).into_value());
        let (Some(column), Some(value)) = (column, value) else {
            let (entity, name) = (parent_table.entity, parent_table.columns[parent_at].name);
            return Err(Error::usage(format!("a row of {entity} in a graph does not say its {name}")));
        };
        object.set(column, as_column(value, &table.columns[at].kind))?;
    }
    Ok(())
}

/// The rows of a junction, if its entity is tracked: what the derive cannot know.
#[doc(hidden)]
#[derive(Debug)]
pub struct JunctionRows<J>(PhantomData<J>);

impl<J> JunctionRows<J> {
    /// Those of this entity.
    #[allow(clippy::new_without_default, reason = "written by the derive only")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// What the derive calls; of the two implementations the one for tracked entities is nearer.
#[doc(hidden)]
pub trait Through {
    /// Relates two rows of different entities.
    fn relate<E, R>(&self, adding: &mut Adding<'_>, one: &Node<E>, other: &Node<R>) -> Result<(), Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity;
}

impl<J: TrackedEntity> Through for &JunctionRows<J> {
    fn relate<E, R>(&self, adding: &mut Adding<'_>, one: &Node<E>, other: &Node<R>) -> Result<(), Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        let way: Vec<RelationDef> = <E as Related<R>>::via().into_iter().chain([<E as Related<R>>::to()]).collect();
        adding.relate_through::<E, R, J>(one, &way, other)
    }
}

impl<J> Through for JunctionRows<J> {
    fn relate<E, R>(&self, _: &mut Adding<'_>, _: &Node<E>, _: &Node<R>) -> Result<(), Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        Err(untracked::<E, R>())
    }
}

/// As [`Through`], for rows of one entity.
#[doc(hidden)]
pub trait ThroughSelf<J> {
    /// Relates two rows of one entity; `reverse` from what is pointed at to what points at it.
    fn relate_self<E>(
        &self,
        adding: &mut Adding<'_>,
        one: &Node<E>,
        other: &Node<E>,
        reverse: bool,
    ) -> Result<(), Error>
    where
        E: TrackedEntity + RelatedSelfVia<J>,
        J: EntityTrait;
}

impl<J: TrackedEntity> ThroughSelf<J> for &JunctionRows<J> {
    fn relate_self<E>(
        &self,
        adding: &mut Adding<'_>,
        one: &Node<E>,
        other: &Node<E>,
        reverse: bool,
    ) -> Result<(), Error>
    where
        E: TrackedEntity + RelatedSelfVia<J>,
    {
        adding.relate_through::<E, E, J>(one, &self_way::<E, J>(reverse), other)
    }
}

impl<J> ThroughSelf<J> for JunctionRows<J> {
    fn relate_self<E>(&self, _: &mut Adding<'_>, _: &Node<E>, _: &Node<E>, _: bool) -> Result<(), Error>
    where
        E: TrackedEntity + RelatedSelfVia<J>,
        J: EntityTrait,
    {
        Err(untracked::<E, E>())
    }
}
