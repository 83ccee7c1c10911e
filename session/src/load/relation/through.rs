//! Loading many-to-many for many parents: the junction's pairs, then the objects that they lead to.
//!
//! It must never ask for more values in one statement than a database takes, whatever the junction holds.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{
    ColumnTrait, Identity, Iterable, QueryFilter, QueryResult, Related, RelationDef, StatementBuilder, Value,
    sea_query::{Alias, Expr, Query, SelectStatement},
};

use super::positions;
use crate::{
    error::Error,
    load::{
        by_key::{keys_a_statement, one_of},
        query::LoadExt,
    },
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::columns::ColumnMeta,
    unit::session::Session,
};

/// The values of one side of a pair.
type Side = Vec<Value>;

/// Columns of an entity, and the junction's columns that hold their values.
struct Ends<C> {
    at: Vec<usize>,
    columns: Vec<C>,
    metas: Vec<&'static ColumnMeta>,
    names: Vec<Alias>,
}

impl<C: ColumnTrait + Iterable> Ends<C> {
    fn of<E: TrackedEntity<Column = C>>(own: &Identity, in_junction: &Identity) -> Result<Self, Error> {
        let at = positions::<E>(own)?;
        Ok(Self {
            columns: at.iter().filter_map(|at| C::iter().nth(*at)).collect(),
            metas: at.iter().map(|at| &table_of::<E>().columns[*at]).collect(),
            names: in_junction.iter().map(|name| Alias::new(name.inner())).collect(),
            at,
        })
    }

    fn values_of<E: TrackedEntity<Column = C>>(&self, object: &Tracked<E>) -> Option<Side> {
        self.at.iter().map(|at| object.object().any_column(*at)).collect()
    }

    /// Has the junction's columns read, by their number after `prefix`.
    fn select(&self, select: &mut SelectStatement, prefix: &str) {
        for (at, (column, name)) in self.columns.iter().zip(&self.names).enumerate() {
            select.expr_as(column.select_as(Expr::col(name.clone())), Alias::new(format!("{prefix}{at}")));
        }
    }

    fn read(&self, row: &QueryResult, prefix: &str) -> Result<Side, Error> {
        let metas = self.metas.iter().enumerate();
        metas.map(|(at, meta)| meta.decode_as(row, &format!("{prefix}{at}"))).collect()
    }
}

impl Session {
    /// For each parent the objects that the junction `via` relates it to, in two statements or as few as the values allow.
    pub(super) async fn load_through<E, R>(
        &mut self,
        parents: &[Tracked<E>],
        via: &RelationDef,
    ) -> Result<Vec<Vec<Tracked<R>>>, Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        let to = <E as Related<R>>::to();
        let own = Ends::of::<E>(&via.from_col, &via.to_col)?;
        let theirs = Ends::of::<R>(&to.to_col, &to.from_col)?;
        let of_parents: Vec<Option<Side>> = parents.iter().map(|parent| own.values_of(parent)).collect();
        let pairs = self.pairs(via, &own, &theirs, distinct(of_parents.iter().flatten())).await?;
        let found = self.by_values(&theirs, distinct(pairs.iter().map(|(_, theirs)| theirs))).await?;

        let mut related: FxHashMap<Side, Vec<Tracked<R>>> = FxHashMap::default();
        for (own, theirs) in pairs {
            related.entry(own).or_default().extend(found.get(&theirs).cloned());
        }
        // Two handles of one object are two parents.
        let of = |side: Option<Side>| side.and_then(|side| related.get(&side).cloned()).unwrap_or_default();
        Ok(of_parents.into_iter().map(of).collect())
    }

    /// The junction's pairs of these parents.
    async fn pairs<A: ColumnTrait + Iterable, B: ColumnTrait + Iterable>(
        &mut self,
        via: &RelationDef,
        own: &Ends<A>,
        theirs: &Ends<B>,
        parents: Vec<Side>,
    ) -> Result<Vec<(Side, Side)>, Error> {
        let mut pairs = Vec::new();
        for some in parents.chunks(keys_a_statement(own.names.len())) {
            let mut select = Query::select();
            own.select(&mut select, "own");
            theirs.select(&mut select, "their");
            let names = own.names.iter().map(|name| Expr::col(name.clone())).collect();
            select.from(via.to_tbl.clone()).and_where(one_of(names, &own.columns, some.to_vec(), self.dialect()));
            for row in self.query_all(StatementBuilder::build(&select, &self.backend())).await? {
                pairs.push((own.read(&row, "own")?, theirs.read(&row, "their")?));
            }
        }
        Ok(pairs)
    }

    /// The objects whose columns hold one of these values.
    async fn by_values<R: TrackedEntity>(
        &mut self,
        ends: &Ends<R::Column>,
        values: Vec<Side>,
    ) -> Result<FxHashMap<Side, Tracked<R>>, Error> {
        let mut found = FxHashMap::default();
        for some in values.chunks(keys_a_statement(ends.names.len())) {
            let names = ends.columns.iter().map(|column| Expr::col(column.as_column_ref())).collect();
            let wanted = one_of(names, &ends.columns, some.to_vec(), self.dialect());
            for object in R::find().filter(wanted).load(self).await? {
                found.extend(ends.values_of(&object).map(|values| (values, object)));
            }
        }
        Ok(found)
    }
}

/// Each once, in the order of their first.
fn distinct<'v>(sides: impl Iterator<Item = &'v Side>) -> Vec<Side> {
    let mut seen: FxHashSet<&Side> = FxHashSet::default();
    sides.filter(|side| seen.insert(side)).cloned().collect()
}
