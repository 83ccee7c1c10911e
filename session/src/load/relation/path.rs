//! Paths through a graph of objects, as `.with(…)` takes them (U1): a related entity, a named relation, a link of SeaORM's, a
//! self-reference through a junction; and any of them after any other.

use std::{fmt, marker::PhantomData};

use futures_util::future::BoxFuture;
use rustc_hash::FxHashSet;
use sea_orm::{EntityTrait, Linked, Related, RelatedSelfVia, RelationDef, RelationTrait};

use super::hop::{Follow, Hop, self_way};
use crate::{
    error::Error,
    objects::{Object, Tracked, entity::TrackedEntity},
    unit::session::Session,
};

/// What a path loads: the objects at its end.
pub type Loading<'a, R> = BoxFuture<'a, Result<Vec<Tracked<R>>, Error>>;

/// A way from objects of `E` to others (U1): an entity that `E` is [`Related`] to, [`ThenExt::by`], [`linked`], [`self_via`], or
/// one of these after another ([`ThenExt::then`]).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no path from `{E}`",
    note = "a path is an entity that this one is `Related` to, or `entity.by(Relation::…)`, `linked(…)`, `self_via(…)`"
)]
pub trait Path<E: TrackedEntity>: Clone + fmt::Debug + Send + Sync + 'static {
    /// The entity at its end.
    type End: TrackedEntity;

    /// Loads the objects along the path, one statement a step; each object at its end once.
    #[doc(hidden)]
    fn load<'a>(&'a self, s: &'a mut Session, from: Vec<Tracked<E>>, follow: Follow) -> Loading<'a, Self::End>;
}

/// Paths of more than one step, and steps along a named relation.
pub trait ThenExt: Sized {
    /// This path, and from its end the next: `note::Entity.then(tag::Entity)`. For two paths that part after the first step, give
    /// both: `.with(a.then(b)).with(a.then(c))`; `a` is loaded once.
    fn then<P>(self, next: P) -> Then<Self, P> {
        Then(self, next)
    }

    /// The step to this entity along one named relation: `note::Entity.by(author::Relation::Drafts)`.
    fn by<T: RelationTrait>(self, relation: T) -> By<Self, T>
    where
        Self: TrackedEntity,
    {
        By { def: relation.def(), name: relation.name(), ends: PhantomData }
    }
}

impl<R: TrackedEntity> ThenExt for R {}
impl<R, T> ThenExt for By<R, T> {}
impl<L: Linked> ThenExt for Link<L> {}
impl<J> ThenExt for SelfVia<J> {}
impl<P, Q> ThenExt for Then<P, Q> {}

/// One path after another; see [`ThenExt::then`].
#[derive(Clone, Copy, Debug)]
pub struct Then<P, Q>(P, Q);

/// The step along one named relation; see [`ThenExt::by`].
#[derive(Debug)]
pub struct By<R, T> {
    def: RelationDef,
    name: String,
    ends: PhantomData<fn(T) -> R>,
}

impl<R, T> Clone for By<R, T> {
    fn clone(&self) -> Self {
        Self { def: self.def.clone(), name: self.name.clone(), ends: PhantomData }
    }
}

/// The steps of a [`Linked`] in one statement; see [`linked`].
pub struct Link<L: Linked> {
    way: Vec<RelationDef>,
    link: PhantomData<fn(L)>,
}

/// The path of a [`Linked`] of SeaORM's: `.with(linked(CakeToFilling))`, in one statement however many tables lie between.
pub fn linked<L: Linked>(link: L) -> Link<L> {
    Link { way: link.link(), link: PhantomData }
}

impl<L: Linked> Clone for Link<L> {
    fn clone(&self) -> Self {
        Self { way: self.way.clone(), link: PhantomData }
    }
}

impl<L: Linked> fmt::Debug for Link<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("way", &self.way).finish()
    }
}

/// The path of an entity to itself through a junction; see [`self_via`].
#[derive(Clone, Copy, Debug)]
pub struct SelfVia<J> {
    reverse: bool,
    junction: PhantomData<fn() -> J>,
}

/// The path of an entity to itself through a junction that [`RelatedSelfVia`] declares: `.with(self_via(follows::Entity))`.
pub fn self_via<J: EntityTrait>(_: J) -> SelfVia<J> {
    SelfVia { reverse: false, junction: PhantomData }
}

impl<J> SelfVia<J> {
    /// From what is pointed at to what points at it.
    pub fn reverse(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }
}

impl<E, R> Path<E> for R
where
    E: TrackedEntity + Related<R>,
    R: TrackedEntity,
{
    type End = R;

    fn load<'a>(&'a self, s: &'a mut Session, from: Vec<Tracked<E>>, follow: Follow) -> Loading<'a, R> {
        step(s, from, Hop::related(), "", follow)
    }
}

impl<E, R, T> Path<E> for By<R, T>
where
    E: TrackedEntity + EntityTrait<Relation = T>,
    R: TrackedEntity,
    T: RelationTrait,
{
    type End = R;

    fn load<'a>(&'a self, s: &'a mut Session, from: Vec<Tracked<E>>, follow: Follow) -> Loading<'a, R> {
        step(s, from, Hop::new(vec![self.def.clone()]), &self.name, follow)
    }
}

impl<E, R, L> Path<E> for Link<L>
where
    E: TrackedEntity,
    R: TrackedEntity,
    L: Linked<FromEntity = E, ToEntity = R> + 'static,
{
    type End = R;

    fn load<'a>(&'a self, s: &'a mut Session, from: Vec<Tracked<E>>, follow: Follow) -> Loading<'a, R> {
        step(s, from, Hop::new(self.way.clone()), std::any::type_name::<L>(), follow)
    }
}

impl<E, J> Path<E> for SelfVia<J>
where
    E: TrackedEntity + RelatedSelfVia<J>,
    J: EntityTrait,
{
    type End = E;

    fn load<'a>(&'a self, s: &'a mut Session, from: Vec<Tracked<E>>, follow: Follow) -> Loading<'a, E> {
        step(s, from, Hop::new(self_way::<E, J>(self.reverse)), "", follow)
    }
}

impl<E, P, Q> Path<E> for Then<P, Q>
where
    E: TrackedEntity,
    P: Path<E>,
    Q: Path<P::End>,
{
    type End = Q::End;

    fn load<'a>(&'a self, s: &'a mut Session, from: Vec<Tracked<E>>, follow: Follow) -> Loading<'a, Q::End> {
        Box::pin(async move {
            let between = match follow {
                Follow::Load { load, refresh, .. } => Follow::Load { load, refresh, wanted: true },
                other => other,
            };
            let between = self.0.load(s, from, between).await?;
            self.1.load(s, between, follow).await
        })
    }
}

/// The objects at the end of one step, each once; none if they are not wanted.
fn step<'a, E: TrackedEntity, R: TrackedEntity>(
    s: &'a mut Session,
    from: Vec<Tracked<E>>,
    hop: Result<Hop<E, R>, Error>,
    condition: &'a str,
    follow: Follow,
) -> Loading<'a, R> {
    Box::pin(async move {
        let related = s.hop(&from, &hop?, condition, follow).await?;
        if matches!(follow, Follow::Load { wanted: false, .. }) {
            return Ok(Vec::new());
        }
        let all = related.iter().flat_map(|group| group.iter());
        let mut seen = FxHashSet::default();
        Ok(all.filter(|object| seen.insert(object.any().address())).cloned().collect())
    })
}

/// A path whose end is not named.
pub(crate) trait Branch<E: TrackedEntity>: fmt::Debug + Send + Sync {
    fn load_branch<'a>(
        &'a self,
        s: &'a mut Session,
        from: Vec<Tracked<E>>,
        follow: Follow,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

impl<E: TrackedEntity, P: Path<E>> Branch<E> for P {
    fn load_branch<'a>(
        &'a self,
        s: &'a mut Session,
        from: Vec<Tracked<E>>,
        follow: Follow,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.load(s, from, follow).await.map(|_| ()) })
    }
}

impl<E: TrackedEntity> Object<E> {
    /// The objects at the end of a path, each once: `author.follow(s, note::Entity.then(tag::Entity))`. What a graph has loaded
    /// is taken from there, the rest is asked for, one statement a step (U1).
    ///
    /// # Errors
    /// What the database says; a relation that does not lead where the path says.
    ///
    /// # Cancel safety
    /// As [`Session::get`].
    pub async fn follow<P: Path<E>>(&self, s: &mut Session, path: P) -> Result<Vec<Tracked<P::End>>, Error> {
        path.load(s, vec![self.clone().into()], Follow::Missing).await
    }
}
