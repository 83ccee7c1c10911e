//! Relations between objects: lazy and set-based loading through the map (I1, I8), foreign keys that follow their parent
//! (F5), and many-to-many (F10).

mod by;
mod folding;
mod hop;
pub(crate) mod path;
mod through;

use std::sync::Arc;

use rustc_hash::FxHashSet;
use sea_orm::{Identity, ModelTrait, Related, RelationDef, RelationTrait, Select, Value};

use super::{by_key::keys_a_statement, query::LoadExt};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::{Dialect, Sets},
    error::Error,
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::{
        facts::Equality,
        meta::TableMeta,
        sql::{quote, quoted_table},
    },
    unit::{core::LAZY_LOADS_REPORTED, session::Session},
};
pub(crate) use hop::Follow;
use hop::Hop;
pub(super) use hop::self_way;
use through::equal;

impl<E: TrackedEntity> Object<E> {
    /// The related objects, through the map. One statement a call: for many parents use [`Session::load_related`]. What a graph has
    /// loaded ([`crate::Loader::with`]) costs none, as long as nothing has changed that the relation joins on (U1).
    ///
    /// # Errors
    /// What the database says; [`Error::Usage`] for one that is pending in a stretch without autoflush, and has no key yet.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn related<R>(&self, s: &mut Session) -> Result<Vec<Tracked<R>>, Error>
    where
        R: TrackedEntity,
        E: Related<R>,
    {
        if let Some(known) = s.known_relation(self, "", Hop::<E, R>::related)? {
            return Ok(known.to_vec());
        }
        s.read_expired(self).await?;
        s.note_lazy_load::<E, R>();
        // One that is pending has no key to ask by before its insert.
        s.autoflush().await?;
        if self.needs_no_join::<R>() {
            let Some(select) = self.along::<R>(&<E as Related<R>>::to())? else { return Ok(vec![]) };
            return select.load(s).await;
        }
        if let Some(via) = <E as Related<R>>::via() {
            let to = <E as Related<R>>::to();
            if s.folds_through(table_of::<E>(), table_of::<R>(), &via, &to).await? {
                return Ok(s.match_through::<E, R>(&[self], &via, &to).await?.pop().unwrap_or_default());
            }
        } else if let Some(folding) = s.folding(table_of::<E>(), table_of::<R>(), &<E as Related<R>>::to()).await? {
            return s.follow_folding::<E, R>(self, &folding).await;
        }
        let select: Select<R> = self.try_with(|model| model.find_related(R::default()))?;
        select.load(s).await
    }

    /// The related object, if there is one. A parent that the map holds costs no SQL.
    ///
    /// # Errors
    /// As [`Object::related`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn related_one<R>(&self, s: &mut Session) -> Result<Option<Tracked<R>>, Error>
    where
        R: TrackedEntity,
        E: Related<R>,
    {
        if let Some(known) = s.known_relation(self, "", Hop::<E, R>::related)? {
            return Ok(known.first().cloned());
        }
        s.read_expired(self).await?;
        if let Some(parent) = self.held_parent::<R>(s) {
            return Ok(Some(parent));
        }
        s.note_lazy_load::<E, R>();
        // One that is pending has no key to ask by before its insert.
        s.autoflush().await?;
        if self.needs_no_join::<R>() {
            let Some(select) = self.along::<R>(&<E as Related<R>>::to())? else { return Ok(None) };
            return select.load_one(s).await;
        }
        if let Some(via) = <E as Related<R>>::via() {
            let to = <E as Related<R>>::to();
            if s.folds_through(table_of::<E>(), table_of::<R>(), &via, &to).await? {
                return Ok(s
                    .match_through::<E, R>(&[self], &via, &to)
                    .await?
                    .pop()
                    .unwrap_or_default()
                    .into_iter()
                    .next());
            }
        } else if let Some(folding) = s.folding(table_of::<E>(), table_of::<R>(), &<E as Related<R>>::to()).await? {
            return Ok(s.follow_folding::<E, R>(self, &folding).await?.into_iter().next());
        }
        let select: Select<R> = self.try_with(|model| model.find_related(R::default()))?;
        select.load_one(s).await
    }

    /// SeaORM joins the two tables and calls both by their bare names, which may be the same in two schemas (D9).
    fn needs_no_join<R>(&self) -> bool
    where
        R: TrackedEntity,
        E: Related<R>,
    {
        let (own, other) = (table_of::<E>(), table_of::<R>());
        own.entity == other.entity && own.table != other.table && <E as Related<R>>::via().is_none()
    }

    fn held_parent<R>(&self, s: &mut Session) -> Option<Tracked<R>>
    where
        R: TrackedEntity,
        E: Related<R>,
    {
        let def = <E as Related<R>>::to();
        if def.is_owner || <E as Related<R>>::via().is_some() || !points_to_key::<R>(&def) {
            return None;
        }
        let values = positions(table_of::<E>(), &def.from_col)
            .ok()?
            .into_iter()
            .map(|c| self.any().column_value(c))
            .collect::<Option<Vec<Value>>>()?;
        s.peek_values::<R>(values)
    }

    /// Points a foreign key of this object at `parent`, also if the parent's key is made by a later insert (F5).
    ///
    /// # Errors
    /// The relation does not hold this object's key to that parent's table.
    pub fn set_parent<R: TrackedEntity>(&self, relation: E::Relation, parent: &Tracked<R>) -> Result<(), Error> {
        let (own, other) = (table_of::<E>(), table_of::<R>());
        if let Some(key) = own.parent::<E>(&relation).filter(|key| key.to_table == other.table)
            && let Some(to) = key.to_columns.iter().map(|name| other.column(name)).collect()
        {
            return self.any().link(key.columns.clone(), parent.any().clone(), to);
        }
        let (def, entity) = (relation.def(), own.entity);
        if def.is_owner || quoted_table(&def.to_tbl) != other.table {
            let other = other.entity;
            return Err(Error::usage(format!("relation {relation:?} of {entity} is no foreign key to {other}")));
        }
        self.any().link(
            positions(table_of::<E>(), &def.from_col)?,
            parent.any().clone(),
            positions(table_of::<R>(), &def.to_col)?,
        )
    }

    /// The junction to `R`: attach and detach without loading either side (F10).
    pub fn junction<R>(&self) -> Junction<'_, E, R>
    where
        R: TrackedEntity,
        E: Related<R>,
    {
        Junction { object: self, other: std::marker::PhantomData }
    }
}

pub(super) fn positions(table: &TableMeta, identity: &Identity) -> Result<Vec<usize>, Error> {
    identity
        .iter()
        .map(|name| {
            table
                .column(&name.inner())
                .ok_or_else(|| Error::usage(format!("{} has no column {}", table.entity, name.inner())))
        })
        .collect()
}

fn points_to_key<R: TrackedEntity>(def: &RelationDef) -> bool {
    positions(table_of::<R>(), &def.to_col).is_ok_and(|columns| columns == table_of::<R>().keys)
}

/// Many-to-many through a junction table that SeaORM's `Related::via` declares (F10).
#[derive(Debug)]
pub struct Junction<'o, E: TrackedEntity, R> {
    object: &'o Object<E>,
    other: std::marker::PhantomData<R>,
}

impl<E, R> Junction<'_, E, R>
where
    E: TrackedEntity + Related<R>,
    R: TrackedEntity,
{
    /// Relates this object to `others`; those already related stay so. One statement.
    ///
    /// # Errors
    /// What the database says; the relation has no junction.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn attach<'t>(
        &self,
        s: &mut Session,
        others: impl IntoIterator<Item = &'t Tracked<R>>,
    ) -> Result<(), Error>
    where
        R: 't,
    {
        let others: Vec<&Tracked<R>> = others.into_iter().collect();
        self.change(s, &[], &others).await
    }

    /// Ends the relation to `others`. One statement.
    ///
    /// # Errors
    /// As [`Junction::attach`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn detach<'t>(
        &self,
        s: &mut Session,
        others: impl IntoIterator<Item = &'t Tracked<R>>,
    ) -> Result<(), Error>
    where
        R: 't,
    {
        let others: Vec<&Tracked<R>> = others.into_iter().collect();
        self.change(s, &others, &[]).await
    }

    /// Makes `others`, and nothing else, what this object is related to: the difference to what it is related to now, which
    /// is one SELECT where the unit does not know it, and at most two statements more. What a filter hides stays related.
    ///
    /// # Errors
    /// As [`Junction::attach`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn set<'t>(&self, s: &mut Session, others: impl IntoIterator<Item = &'t Tracked<R>>) -> Result<(), Error>
    where
        R: 't,
    {
        let others: Vec<&Tracked<R>> = others.into_iter().collect();
        // As `change` does, also in a stretch without autoflush.
        s.flush().await?;
        let present = self.object.related::<R>(s).await?;
        let wanted: FxHashSet<usize> = others.iter().map(|one| one.any().address()).collect();
        let related: FxHashSet<usize> = present.iter().map(|one| one.any().address()).collect();
        let gone: Vec<&Tracked<R>> = present.iter().filter(|one| !wanted.contains(&one.any().address())).collect();
        let new: Vec<&Tracked<R>> = others.into_iter().filter(|one| !related.contains(&one.any().address())).collect();
        self.change(s, &gone, &new).await
    }

    /// Detaches first, then attaches: two statements at most, so that a pair in both lists ends attached.
    ///
    /// # Errors
    /// As [`Junction::attach`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn change(&self, s: &mut Session, detach: &[&Tracked<R>], attach: &[&Tracked<R>]) -> Result<(), Error> {
        s.flush().await?;
        let mut table = JunctionTable::of::<E, R>()?;
        table.equality = s.equality_of(table_of::<E>(), &table.own).await?;
        table.equality.extend(s.equality_of(table_of::<R>(), &table.theirs).await?);
        s.core().shared.joins.changed(&table.table);
        if !detach.is_empty() {
            for pairs in table.chunks(s.dialect(), self.pairs(&table, detach)?) {
                let message = table.delete(s.dialect(), pairs);
                s.core().statement(message).await?;
            }
        }
        if !attach.is_empty() {
            for pairs in table.chunks(s.dialect(), self.pairs(&table, attach)?) {
                let message = table.insert(s.dialect(), pairs);
                s.core().statement(message).await?;
            }
        }
        Ok(())
    }

    fn pairs(&self, table: &JunctionTable, others: &[&Tracked<R>]) -> Result<Vec<Vec<Value>>, Error> {
        let missing = || Error::usage("an object without a key cannot be attached: flush it first");
        let own = table
            .own
            .iter()
            .map(|c| self.object.any().column_value(*c))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(missing)?;
        let mut pairs: Vec<Vec<Value>> = Vec::with_capacity(others.len());
        let mut seen: FxHashSet<Vec<Value>> = FxHashSet::default();
        for other in others {
            let theirs = table
                .theirs
                .iter()
                .map(|c| other.any().column_value(*c))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(missing)?;
            let pair: Vec<Value> = own.iter().cloned().chain(theirs).collect();
            if seen.insert(pair.clone()) {
                pairs.push(pair);
            }
        }
        Ok(pairs)
    }
}

/// Pairs that a statement is given, as text: rows of a query, their values, and what is so where a row of the junction `t` is the same.
struct Given {
    rows: String,
    values: String,
    same: String,
}

/// The junction's table, its columns, and the columns of both sides that they hold.
struct JunctionTable {
    table: String,
    columns: Vec<String>,
    own: Vec<usize>,
    theirs: Vec<usize>,
    /// How the columns that its own refer to compare values, where that is not by their bytes (D5).
    equality: Vec<Option<Equality>>,
}

impl JunctionTable {
    fn of<E, R>() -> Result<Self, Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        let (entity, other) = (table_of::<E>().entity, table_of::<R>().entity);
        let via = <E as Related<R>>::via()
            .ok_or_else(|| Error::usage(format!("{entity} and {other} have no junction table")))?;
        let to = <E as Related<R>>::to();
        let names = |identity: &Identity| identity.iter().map(|name| quote(&name.inner())).collect::<Vec<_>>();
        Ok(Self {
            table: quoted_table(&via.to_tbl),
            columns: names(&via.to_col).into_iter().chain(names(&to.from_col)).collect(),
            own: positions(table_of::<E>(), &via.from_col)?,
            theirs: positions(table_of::<R>(), &to.to_col)?,
            equality: Vec::new(),
        })
    }

    /// The pairs in as many statements as the limit on parameters asks for: one, as a rule (Z10).
    fn chunks(&self, dialect: &Dialect, pairs: Vec<Vec<Value>>) -> Vec<Vec<Vec<Value>>> {
        let size = match dialect.sets {
            Sets::Arrays | Sets::Values => dialect.most_parameters / self.columns.len().max(1),
            Sets::Documents => keys_a_statement(self.columns.len(), dialect),
        };
        pairs.chunks(size).map(<[_]>::to_vec).collect()
    }

    fn tuples(text: &mut Text, pairs: Vec<Vec<Value>>, value: impl Fn(usize, String) -> String) -> Vec<String> {
        let tuple = |pair: Vec<Value>| {
            let values = pair.into_iter().enumerate().map(|(at, bound)| value(at, text.bind(bound)));
            format!("({})", values.collect::<Vec<_>>().join(", "))
        };
        pairs.into_iter().map(tuple).collect()
    }

    /// A pair that is there already stays as it is.
    fn unless_there(&self, dialect: &Dialect) -> String {
        match (dialect.on_conflict, self.columns.first()) {
            (false, Some(first)) => format!(" ON DUPLICATE KEY UPDATE {0} = {1}.{0}", first, self.table),
            _ => " ON CONFLICT DO NOTHING".to_owned(),
        }
    }

    /// A column or value of this number as the database compares it.
    fn compared(&self, at: usize, sql: &str) -> String {
        self.equality[at].as_ref().map_or_else(|| sql.to_owned(), |equality| equality.apply(sql))
    }

    fn insert(&self, dialect: &'static Dialect, pairs: Vec<Vec<Value>>) -> Message<'static> {
        let mut text = Text::new(dialect, "");
        let tuples = Self::tuples(&mut text, pairs, |_, bound| bound);
        let (table, columns) = (&self.table, self.columns.join(", "));
        let listed = tuples.join(", ");
        text.sql = match self.equality.iter().any(Option::is_some) {
            false => format!("INSERT INTO {table} ({columns}) VALUES {listed}{}", self.unless_there(dialect)),
            // A pair that is there in another spelling is related already.
            true => {
                let Given { rows, values, same } = self.given(dialect, &tuples);
                format!(
                    "INSERT INTO {table} ({columns}) SELECT {values} FROM {rows} WHERE NOT EXISTS \
                     (SELECT 1 FROM {table} AS t WHERE {same}){}",
                    self.unless_there(dialect),
                )
            }
        };
        text.message(Fetch::Nothing)
    }

    /// Pairs as rows of a query, and how they are found in the junction `t`.
    fn given(&self, dialect: &Dialect, tuples: &[String]) -> Given {
        let called: Vec<String> = (1..=self.columns.len()).map(|at| format!("column{at}")).collect();
        let values: Vec<String> = called.iter().map(|column| format!("u.{column}")).collect();
        let same = self
            .columns
            .iter()
            .zip(&values)
            .zip(&self.equality)
            .map(|((column, value), equality)| equal(dialect, equality, &format!("t.{column}"), value));
        Given {
            same: same.collect::<Vec<_>>().join(" AND "),
            rows: dialect.rows_of("u", &called, tuples),
            values: values.join(", "),
        }
    }

    fn delete(&self, dialect: &'static Dialect, pairs: Vec<Vec<Value>>) -> Message<'static> {
        let mut text = Text::new(dialect, "");
        if dialect.sets == Sets::Documents {
            let tuples = Self::tuples(&mut text, pairs, |_, bound| bound);
            let Given { rows, same, .. } = self.given(dialect, &tuples);
            text.sql = format!("DELETE t FROM {rows} STRAIGHT_JOIN {} AS t ON {same}", self.table);
            return text.message(Fetch::Nothing);
        }
        let tuples = Self::tuples(&mut text, pairs, |at, bound| self.compared(at, &bound));
        let columns = self.columns.iter().enumerate().map(|(at, column)| self.compared(at, column));
        let columns = columns.collect::<Vec<_>>().join(", ");
        text.sql = format!("DELETE FROM {} WHERE ({columns}) IN (VALUES {})", self.table, tuples.join(", "));
        text.message(Fetch::Nothing)
    }
}

impl Session {
    /// Loads the relation of many parents in one statement (I8), through a junction too, or in as few as their parameters allow:
    /// for each parent its related objects, in the parents' order.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn load_related<E, R>(
        &mut self,
        parents: &[Tracked<E>],
        related: R,
    ) -> Result<Vec<Vec<Tracked<R>>>, Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        if parents.is_empty() {
            return Ok(Vec::new());
        }
        // A parent that waits for its key has no relation to load yet: it is flushed first.
        let _ = related;
        let related = self.hop(parents, &Hop::related()?, "", Follow::Ask).await?;
        Ok(related.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    fn note_lazy_load<E: TrackedEntity, R: TrackedEntity>(&mut self) {
        let key = std::any::type_name::<(E, R)>();
        let loads = self.core().lazy.entry(key).or_default();
        *loads += 1;
        if *loads == LAZY_LOADS_REPORTED {
            let (from, to) = (table_of::<E>().entity, table_of::<R>().entity);
            tracing::warn!(
                from,
                to,
                loads = *loads,
                "N+1: this relation is loaded one parent at a time; `load_related` loads it for all of them in one statement"
            );
        }
    }

    fn peek_values<R: TrackedEntity>(&mut self, values: Vec<Value>) -> Option<Tracked<R>> {
        let key = crate::objects::identity::Key::from_values(values);
        let core = self.core();
        let object = core.map.get(table_of::<R>(), &key)?;
        let there = object.phase_unless_expired() == Some(crate::objects::Phase::Persistent);
        (there && core.filters.shows(object) == Some(true)).then(|| Tracked::of(object.clone()))
    }
}
