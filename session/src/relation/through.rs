//! Loading many-to-many for many parents: the junction's pairs, then the objects that they lead to.
//!
//! It must never ask for more values in one statement than a database takes, whatever the junction holds.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{
    ColumnTrait, Identity, Iterable, QueryFilter, Related, RelationDef, StatementBuilder, Value,
    sea_query::{Alias, Expr, Query},
};

use super::positions;
use crate::{
    Session, Tracked,
    error::Error,
    flush::value::decode,
    meta::{self, ColumnMeta, TrackedEntity},
    query::{LoadExt, keys_a_statement, one_of},
};

/// The values of one side of a pair.
type Side = Vec<Value>;

/// Columns of an entity, and the junction's columns that hold their values.
struct Ends<C> {
    columns: Vec<C>,
    metas: Vec<&'static ColumnMeta>,
    names: Vec<Alias>,
}

impl<C: ColumnTrait + Iterable> Ends<C> {
    fn of<E: TrackedEntity<Column = C>>(own: &Identity, in_junction: &Identity) -> Result<Self, Error> {
        let at = positions::<E>(own)?;
        Ok(Self {
            columns: at.iter().filter_map(|at| C::iter().nth(*at)).collect(),
            metas: at.iter().map(|at| &meta::table::<E>().columns[*at]).collect(),
            names: in_junction.iter().map(|name| Alias::new(name.inner())).collect(),
        })
    }

    fn values_of<E: TrackedEntity<Column = C>>(&self, object: &Tracked<E>) -> Option<Side> {
        let at = |meta: &&ColumnMeta| object.object().any_column(meta::table::<E>().column(meta.name)?);
        self.metas.iter().map(at).collect()
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
    async fn pairs<A: ColumnTrait, B: ColumnTrait>(
        &mut self,
        via: &RelationDef,
        own: &Ends<A>,
        theirs: &Ends<B>,
        parents: Vec<Side>,
    ) -> Result<Vec<(Side, Side)>, Error> {
        let mut pairs = Vec::new();
        for some in parents.chunks(keys_a_statement(own.names.len())) {
            let mut select = Query::select();
            for (at, (column, name)) in own.columns.iter().zip(&own.names).enumerate() {
                select.expr_as(column.select_as(Expr::col(name.clone())), Alias::new(format!("own{at}")));
            }
            for (at, (column, name)) in theirs.columns.iter().zip(&theirs.names).enumerate() {
                select.expr_as(column.select_as(Expr::col(name.clone())), Alias::new(format!("their{at}")));
            }
            let names = own.names.iter().map(|name| Expr::col(name.clone())).collect();
            select.from(via.to_tbl.clone()).and_where(one_of(names, &own.columns, some.to_vec(), self.backend()));
            let statement = StatementBuilder::build(&select, &self.backend());
            for row in self.query_all(statement).await? {
                let side = |prefix: &str, metas: &[&ColumnMeta]| -> Result<Side, Error> {
                    let values = metas.iter().enumerate();
                    values.map(|(at, meta)| decode(&row, &format!("{prefix}{at}"), &meta.kind)).collect()
                };
                pairs.push((side("own", &own.metas)?, side("their", &theirs.metas)?));
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
            let wanted = one_of(names, &ends.columns, some.to_vec(), self.backend());
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
