//! One step of a graph (U1): the rows that many objects are related to, in one statement, whatever kind of relation it is. A
//! relation through other tables joins them; the answer tells which parent each row belongs to.
//!
//! The text of the statement does not depend on the number of parents.

use std::{any::TypeId, marker::PhantomData};

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{
    ColumnTrait, Identity, Iterable, JoinType, QueryFilter, QueryResult, QuerySelect, Related, RelatedSelfVia,
    RelationDef, Select, Value,
    sea_query::{Alias, Condition, ConditionType, DynIden, Expr, ExprTrait, IntoIden},
};

use super::positions;
use crate::{
    connection::text::cut_by_bytes,
    error::Error,
    load::{
        among::among,
        by_key::keys_a_statement,
        query::{LoadExt, Loader},
    },
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
        key_in,
        loaded::{Group, JoinedOn, LoadedAt, RelationId},
    },
    table::{
        columns::ColumnMeta,
        sql::quoted_table,
        value::{as_column, is_null},
    },
    unit::{core::Core, session::Session},
};

/// How rows of `R` are reached from rows of `E`: the definitions on the way, in this direction.
pub(crate) struct Hop<E, R> {
    way: Vec<RelationDef>,
    /// The columns of `E` that the way starts from.
    own: Vec<usize>,
    entities: PhantomData<fn(E) -> R>,
}

/// What a load of a graph makes of relations that are loaded already, and of those that it loads.
#[derive(Clone, Copy, Debug)]
pub enum Follow {
    /// They are asked for, overwriting what is in the map if wished, and kept under the number of this load.
    Load {
        /// The load's number.
        load: u64,
        /// Whether objects in the map are overwritten.
        refresh: bool,
        /// Whether the objects at the end are wanted, and not only to be known.
        wanted: bool,
    },
    /// Only those are asked for that are not loaded.
    Missing,
    /// They are asked for.
    Ask,
}

impl<E: TrackedEntity, R: TrackedEntity> Hop<E, R> {
    pub(crate) fn new(way: Vec<RelationDef>) -> Result<Self, Error> {
        let (entity, other) = (table_of::<E>(), table_of::<R>());
        let ends = way.first().zip(way.last());
        let leads = |(first, last): (&RelationDef, &RelationDef)| {
            quoted_table(&first.from_tbl) == entity.table && quoted_table(&last.to_tbl) == other.table
        };
        if !ends.is_some_and(leads) {
            let (entity, other) = (entity.entity, other.entity);
            return Err(Error::usage(format!("this relation does not lead from {entity} to {other}")));
        }
        Ok(Self { own: positions(table_of::<E>(), &way[0].from_col)?, way, entities: PhantomData })
    }

    pub(crate) fn related() -> Result<Self, Error>
    where
        E: Related<R>,
    {
        Self::new(<E as Related<R>>::via().into_iter().chain([<E as Related<R>>::to()]).collect())
    }

    fn conditional(&self) -> bool {
        self.way.iter().any(|def| def.on_condition.is_some())
    }

    /// What the relation is known by once it is loaded.
    pub(crate) fn joined_on(&self, condition: &str) -> JoinedOn {
        let names = |identity: &Identity| identity.iter().map(|name| name.inner().into_owned()).collect::<Vec<_>>();
        let tables: Vec<String> = self.way.iter().map(|def| quoted_table(&def.to_tbl)).collect();
        let steps = self.way.iter().zip(&tables).map(|(def, table)| {
            let condition = if def.on_condition.is_some() { condition } else { "" };
            format!("{:?} {table} {:?} {condition}", names(&def.from_col), names(&def.to_col))
        });
        let way = steps.collect::<Vec<_>>().join(", ");
        let id = RelationId { from: TypeId::of::<E>(), to: TypeId::of::<R>(), way };
        JoinedOn { id, tables, conditional: self.conditional() }
    }

    /// What an object holds in the columns that the relation starts from; nothing if one is NULL or not known.
    pub(crate) fn own(&self, object: &Object<E>) -> Option<Vec<Value>> {
        self.own.iter().map(|column| object.any().column_value(*column).filter(|value| !is_null(value))).collect()
    }

    /// Whether every change of a row that joins it to others is noted; otherwise what was loaded may have changed unseen.
    fn is_noted(&self) -> bool {
        let table = table_of::<R>();
        let last = self.way.last().and_then(|def| positions(table_of::<R>(), &def.to_col).ok());
        last.is_some_and(|columns| columns.iter().all(|column| table.joining.contains(*column)))
    }

    fn metas(&self) -> Vec<&'static ColumnMeta> {
        self.own.iter().map(|column| &table_of::<E>().columns[*column]).collect()
    }

    fn own_columns(&self) -> Vec<E::Column> {
        self.own.iter().filter_map(|at| E::Column::iter().nth(*at)).collect()
    }

    /// The rows that belong to one of these values, with the values that each belongs to.
    fn select(&self, s: &Session, values: &[Vec<Value>]) -> Result<Asked<R>, Error> {
        let only = &self.way[0];
        if self.way.len() == 1 && only.on_condition.is_none() {
            let places = positions(table_of::<R>(), &only.to_col)?;
            let table = table_of::<R>();
            let columns: Vec<R::Column> = places.iter().filter_map(|at| R::Column::iter().nth(*at)).collect();
            let fitting = |row: &Vec<Value>| -> Vec<Value> {
                let values = row.iter().zip(&places);
                values.map(|(value, at)| as_column(value.clone(), &table.columns[*at].kind)).collect()
            };
            let metas: Vec<&ColumnMeta> = places.iter().map(|at| &table.columns[*at]).collect();
            let names = columns.iter().map(|column| Expr::col(column.as_column_ref())).collect();
            let rows = values.iter().map(fitting).collect();
            let select = R::find().filter(among(names, &columns, &metas, rows, s.dialect()));
            return Ok(Asked { select, whose: Whose::Row(places) });
        }
        Ok(self.joined(s, values))
    }

    /// The tables on the way joined, from `R` backwards. A table that is there already gets a name of ours.
    fn joined(&self, s: &Session, values: &[Vec<Value>]) -> Asked<R> {
        let names = &table_of::<R>().names;
        let mut select = R::find();
        let mut right: DynIden = R::default().table_name().into_iden();
        let mut there: FxHashSet<String> = FxHashSet::from_iter([right.inner().into_owned()]);
        let metas = self.metas();
        // The parent's own table is needed where a condition looks at it, and where only the database can compare its columns.
        let with_parent = self.way[0].on_condition.is_some() || metas.iter().any(|meta| meta.may_fold());
        let joined = if with_parent { &self.way[..] } else { &self.way[1..] };
        for (at, def) in joined.iter().enumerate().rev() {
            let bare = def.from_tbl.sea_orm_table().inner().into_owned();
            let mut name = bare.clone();
            while !there.insert(name.clone()) {
                name = format!("sea_session_{at}_{name}");
            }
            let left = Alias::new(&name).into_iden();
            let on = on(def, &left, &right);
            let query = QuerySelect::query(&mut select);
            match name == bare {
                true => query.join(JoinType::InnerJoin, def.from_tbl.clone(), on),
                false => query.join_as(JoinType::InnerJoin, def.from_tbl.clone(), left.clone(), on),
            };
            right = left;
        }
        let held_in = if with_parent { &self.way[0].from_col } else { &self.way[0].to_col };
        let places: Vec<Expr> = held_in.iter().map(|name| Expr::col((right.clone(), name.clone()))).collect();
        let columns = self.own_columns();
        for (at, (column, place)) in columns.iter().zip(&places).enumerate() {
            QuerySelect::query(&mut select).expr_as(column.select_as(place.clone()), Alias::new(names.bare(at)));
        }
        let select = select.filter(among(places, &columns, &metas, values.to_vec(), s.dialect()));
        let metas = metas.into_iter().enumerate().map(|(at, meta)| (meta, names.bare(at)));
        Asked { select, whose: Whose::Answer(metas.collect()) }
    }
}

/// The condition that two rows are joined by, under the names that their tables have here.
fn on(def: &RelationDef, left: &DynIden, right: &DynIden) -> Condition {
    let mut on = match def.condition_type {
        ConditionType::All => Condition::all(),
        ConditionType::Any => Condition::any(),
    };
    let column = |table: &DynIden, name: &DynIden| Expr::col((table.clone(), name.clone()));
    let pairs = def.from_col.iter().zip(def.to_col.iter());
    let equal = pairs.fold(Condition::all(), |all, (from, to)| all.add(column(left, from).eq(column(right, to))));
    on = on.add(equal);
    match &def.on_condition {
        Some(condition) => on.add(condition(left.clone(), right.clone())),
        None => on,
    }
}

/// A question about related rows, and where the answer tells whose they are.
struct Asked<R: TrackedEntity> {
    select: Select<R>,
    whose: Whose,
}

enum Whose {
    /// In columns of the row's own, at these places.
    Row(Vec<usize>),
    /// In columns of the answer, called so.
    Answer(Vec<(&'static ColumnMeta, String)>),
}

impl Whose {
    /// The values that a row of the answer belongs to.
    fn key<R: TrackedEntity>(&self, row: &QueryResult, model: &R::Model) -> Result<Key, Error> {
        match self {
            Whose::Row(places) => Ok(key_in(model, places)),
            Whose::Answer(metas) => {
                let values = metas.iter().map(|(meta, name)| meta.decode_as(row, name));
                Ok(Key::from_values(values.collect::<Result<_, Error>>()?))
            }
        }
    }
}

/// Values that parents hold, each once, and which of them each parent holds: rows that belong to the same values are a group.
struct Grouping {
    values: Vec<Vec<Value>>,
    places: FxHashMap<Key, usize>,
    of_parent: Vec<Option<usize>>,
}

impl Grouping {
    fn of(own: &[Option<Vec<Value>>]) -> Self {
        let mut grouping = Grouping { values: Vec::new(), places: FxHashMap::default(), of_parent: Vec::new() };
        for own in own {
            let place = own.as_ref().map(|own| {
                let next = grouping.values.len();
                let place = *grouping.places.entry(Key::from_slice(own)).or_insert(next);
                if place == next {
                    grouping.values.push(own.clone());
                }
                place
            });
            grouping.of_parent.push(place);
        }
        grouping
    }
}

impl Core {
    /// What is known of a relation. Under a filter of the caller's only the database knows which rows it lets through (U5).
    fn loaded_relation<E: TrackedEntity, R: TrackedEntity>(
        &self,
        on: &JoinedOn,
        parent: &Object<E>,
        own: &Option<Vec<Value>>,
        load: Option<u64>,
    ) -> Option<Group<R>> {
        let loaded = self.loaded.get(on, parent, own, load, &self.shared);
        loaded.filter(|_| self.filters.last(table_of::<R>()) == 0)
    }
}

impl Session {
    /// What is known of a relation of `object` without asking (U1).
    pub(super) fn known_relation<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        object: &Object<E>,
        condition: &str,
        hop: impl FnOnce() -> Result<Hop<E, R>, Error>,
    ) -> Result<Option<Group<R>>, Error> {
        let core = self.core();
        if core.loaded.is_empty() {
            return Ok(None);
        }
        core.usable()?;
        let hop = hop()?;
        Ok(core.loaded_relation(&hop.joined_on(condition), object, &hop.own(object), None))
    }

    /// For each parent the objects that a relation leads to.
    pub(super) async fn hop<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        parents: &[Tracked<E>],
        hop: &Hop<E, R>,
        condition: &str,
        follow: Follow,
    ) -> Result<Vec<Group<R>>, Error> {
        self.autoflush().await?;
        let on = hop.joined_on(condition);
        let core = self.core();
        let known = |parent: &Tracked<E>| {
            let load = match follow {
                Follow::Ask => return None,
                Follow::Missing => None,
                Follow::Load { load, .. } => Some(load),
            };
            core.loaded_relation::<E, R>(&on, parent.object(), &hop.own(parent.object()), load)
        };
        let mut related: Vec<Option<Group<R>>> = match core.loaded.has(&on) {
            true => parents.iter().map(known).collect(),
            false => vec![None; parents.len()],
        };
        let missing: Vec<usize> = (0..parents.len()).filter(|at| related[*at].is_none()).collect();
        for at in &missing {
            self.read_expired(parents[*at].object()).await?;
        }
        let asked: Vec<Tracked<E>> = missing.iter().map(|at| parents[*at].clone()).collect();
        let own: Vec<Option<Vec<Value>>> = asked.iter().map(|parent| hop.own(parent.object())).collect();
        let moment = self.core().shared.joins.watch_if(matches!(follow, Follow::Load { .. }));
        let refresh = matches!(follow, Follow::Load { refresh: true, .. });
        let found = self.ask_for_related(&asked, &own, hop, refresh).await?;
        // What is not flushed the database does not know: its answer may not hold for long.
        let core = self.core();
        if let Follow::Load { load, .. } = follow
            && hop.is_noted()
            && !core.shared.has_dirty()
        {
            let at = LoadedAt { load, frame: core.frames[core.holder()].id, moment };
            let parents = asked.iter().map(Tracked::object).zip(own).zip(&found);
            core.loaded.keep(&on, at, parents.map(|((parent, own), found)| (parent, own, found.clone())));
        }
        for (at, found) in missing.into_iter().zip(found) {
            related[at] = Some(found);
        }
        Ok(related.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// For each parent, which holds this in the columns that the relation starts from, what the database says.
    async fn ask_for_related<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        parents: &[Tracked<E>],
        own: &[Option<Vec<Value>>],
        hop: &Hop<E, R>,
        refresh: bool,
    ) -> Result<Vec<Group<R>>, Error> {
        if let Some(related) = self.hop_folding(parents, hop).await? {
            return Ok(related.into_iter().map(Group::new).collect());
        }
        let Grouping { values, places, of_parent } = Grouping::of(own);
        let mut groups: Vec<Vec<Tracked<R>>> = values.iter().map(|_| Vec::new()).collect();
        // Rows of one parent often follow each other.
        let mut last: Option<(Key, Option<usize>)> = None;
        let most_bytes = self.core().connection.most_bytes(table_of::<R>());
        for some in cut_by_bytes(&values, keys_a_statement(hop.own.len(), self.dialect()), most_bytes) {
            let Asked { select, whose } = hop.select(self, some)?;
            let loader = Loader { refresh, ..select.tracked() };
            let place = |row: &QueryResult, model: &R::Model| {
                let key = whose.key::<R>(row, model)?;
                match &last {
                    Some((known, place)) if *known == key => Ok(*place),
                    _ => {
                        let place = places.get(&key).copied();
                        last = Some((key, place));
                        Ok::<_, Error>(place)
                    }
                }
            };
            let rows = loader.load_with(self, place).await?;
            let each = rows.len().div_ceil(some.len().max(1));
            for (object, place) in rows {
                if let Some(place) = place {
                    let group = &mut groups[place];
                    if group.is_empty() {
                        group.reserve(each);
                    }
                    group.push(object);
                }
            }
        }
        let groups: Vec<Group<R>> = groups.into_iter().map(Group::new).collect();
        // Parents that hold the same values have the same group, two handles of one object among them.
        Ok(of_parent.into_iter().map(|place| place.map(|place| groups[place].clone()).unwrap_or_default()).collect())
    }

    /// The ways of relations whose columns only the database can compare (D5), if this is one.
    async fn hop_folding<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        parents: &[Tracked<E>],
        hop: &Hop<E, R>,
    ) -> Result<Option<Vec<Vec<Tracked<R>>>>, Error> {
        if hop.conditional() {
            return Ok(None);
        }
        if let [def] = &hop.way[..]
            && let Some(folding) = self.folding(table_of::<E>(), table_of::<R>(), def).await?
        {
            return self.follow_many_folding::<E, R>(parents, &folding).await.map(Some);
        }
        if let [via, to] = &hop.way[..]
            && self.folds_through(table_of::<E>(), table_of::<R>(), via, to).await?
        {
            let parents: Vec<&Object<E>> = parents.iter().map(Tracked::object).collect();
            return self.match_through::<E, R>(&parents, via, to).await.map(Some);
        }
        Ok(None)
    }
}

/// The way of a self-reference through a junction; `reverse` from what is pointed at to what points at it.
pub(crate) fn self_way<E, J>(reverse: bool) -> Vec<RelationDef>
where
    E: TrackedEntity + RelatedSelfVia<J>,
    J: sea_orm::EntityTrait,
{
    let (via, to) = (<E as RelatedSelfVia<J>>::via(), <E as RelatedSelfVia<J>>::to());
    if reverse { vec![to.rev(), via.rev()] } else { vec![via, to] }
}
