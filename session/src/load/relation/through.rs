//! Loading many-to-many for many parents: the junction's pairs, then the objects that they lead to. Where a column holds
//! texts, which may be equal without being the same, the database matches the pairs on both sides (D5).
//!
//! It must never ask for more values in one statement than a database takes, whatever the junction holds.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{
    ColumnTrait, Identity, Iterable, QueryFilter, QueryResult, Related, RelationDef, StatementBuilder, Value,
    sea_query::{Alias, Expr, Query, SelectStatement},
};

use super::positions;
use crate::{
    connection::{
        Fetch,
        text::{Text, cut_by_bytes},
    },
    dialect::Dialect,
    error::Error,
    load::{
        by_key::{keys_a_statement, one_of},
        query::LoadExt,
    },
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    table::{
        columns::ColumnMeta,
        facts::Equality,
        sql::{quote, quoted_table},
        value::is_null,
    },
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
        if own.metas.iter().chain(&theirs.metas).any(|meta| meta.may_fold()) {
            let parents: Vec<&Object<E>> = parents.iter().map(Tracked::object).collect();
            return self.match_through(&parents, via).await;
        }
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

impl Session {
    /// Whether a column on either side of the junction compares otherwise than by its bytes.
    pub(super) async fn folds_through<E, R>(&mut self, via: &RelationDef) -> Result<bool, Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        let to = <E as Related<R>>::to();
        let own = self.equality_of::<E>(&positions::<E>(&via.from_col)?).await?;
        let theirs = self.equality_of::<R>(&positions::<R>(&to.to_col)?).await?;
        Ok(own.iter().chain(&theirs).any(Option::is_some))
    }

    /// How the database compares values of these columns, where that is not by their bytes.
    pub(super) async fn equality_of<E: TrackedEntity>(
        &mut self,
        columns: &[usize],
    ) -> Result<Vec<Option<Equality>>, Error> {
        let table = table_of::<E>();
        match columns.iter().any(|column| table.columns[*column].may_fold()) {
            true => Ok(self.core().table_facts(table).await?.equality_of(columns)),
            false => Ok(vec![None; columns.len()]),
        }
    }

    /// For each parent the objects that the junction `via` relates it to, both sides matched by the database (D5).
    pub(super) async fn match_through<E, R>(
        &mut self,
        parents: &[&Object<E>],
        via: &RelationDef,
    ) -> Result<Vec<Vec<Tracked<R>>>, Error>
    where
        E: TrackedEntity + Related<R>,
        R: TrackedEntity,
    {
        let to = <E as Related<R>>::to();
        let (own, theirs) = (positions::<E>(&via.from_col)?, positions::<R>(&to.to_col)?);
        let (mut of, mut values) = (Vec::with_capacity(parents.len()), Vec::with_capacity(parents.len()));
        for (at, parent) in parents.iter().enumerate() {
            let held = own.iter().map(|column| parent.any_column(*column)).collect::<Option<Side>>();
            if let Some(held) = held.filter(|held| !held.iter().any(is_null)) {
                of.push(at);
                values.push(held);
            }
        }
        let pairs = Matching::<E, R> {
            via,
            to: &to,
            own_equality: self.equality_of::<E>(&own).await?,
            their_equality: self.equality_of::<R>(&theirs).await?,
            own,
            theirs,
            entities: std::marker::PhantomData,
        };
        let (dialect, table) = (self.dialect(), table_of::<R>());
        let (mut before, mut found) = (0, Vec::new());
        for some in cut_by_bytes(&values, keys_a_statement(pairs.own.len())) {
            let message = pairs.text(dialect, some).message(Fetch::All);
            for row in self.core().statement_about(message, !table.secret.is_empty()).await?.rows() {
                let number: i64 = row.try_get_by_index(0)?;
                let keys = table.keys.iter().map(|key| table.columns[*key].decode(&row));
                let keys = keys.collect::<Result<Side, Error>>()?;
                found.extend(usize::try_from(number).ok().map(|number| (before + number, keys)));
            }
            before += some.len();
        }
        let objects = self.get_by_values::<R>(distinct(found.iter().map(|(_, key)| key))).await?;
        let by_key = |object: &Tracked<R>| Some((object.object().map_key()?, object.clone()));
        let by_key: FxHashMap<Key, Tracked<R>> = objects.iter().filter_map(by_key).collect();
        let mut related = vec![Vec::new(); parents.len()];
        for (number, key) in found {
            related[of[number]].extend(by_key.get(&Key::from_values(key)).cloned());
        }
        Ok(related)
    }
}

/// What the question about a junction's pairs is made of.
struct Matching<'a, E, R> {
    via: &'a RelationDef,
    to: &'a RelationDef,
    /// The columns of both sides, and how they compare values: the referenced columns decide, as for a foreign key.
    own: Vec<usize>,
    theirs: Vec<usize>,
    own_equality: Vec<Option<Equality>>,
    their_equality: Vec<Option<Equality>>,
    entities: std::marker::PhantomData<fn(E) -> R>,
}

impl<E: TrackedEntity, R: TrackedEntity> Matching<'_, E, R> {
    /// The numbers of parents with these values, from 0, each with the key of a row that the junction leads it to. Names of
    /// ours stand where no table or column of the user's is in sight (D9).
    fn text(&self, dialect: &'static Dialect, parents: &[Side]) -> Text {
        let (own_table, table) = (table_of::<E>(), table_of::<R>());
        let (names, width) = (&table.names, self.own.len());
        let mut text = Text::new(dialect, "");
        let tuples = parents.iter().enumerate().map(|(at, row)| {
            let row = row.iter().map(|value| text.bind(value.clone())).collect::<Vec<_>>();
            format!("(CAST({at} AS {}), {})", dialect.big, row.join(", "))
        });
        let tuples: Vec<String> = tuples.collect();
        let called = std::iter::once(names.number.clone()).chain((0..width).map(|at| names.bare(at)));
        let rows = dialect.rows_of(&names.rows, &called.collect::<Vec<_>>(), &tuples);
        let in_junction = self.via.to_col.iter().chain(self.to.from_col.iter()).enumerate();
        let in_junction =
            in_junction.map(|(at, name)| format!("{} AS {}", quote(&name.inner()), names.bare(width + at)));
        let in_junction = in_junction.collect::<Vec<_>>().join(", ");
        let place = |at: usize| format!("{}.{}", names.out, names.bare(width + at));
        let own = self.own.iter().zip(&self.own_equality).enumerate().map(|(at, (column, equality))| {
            equal(equality, &place(at), &own_table.columns[*column].save(dialect, &names.value(at)))
        });
        let theirs = self.theirs.iter().zip(&self.their_equality).enumerate().map(|(at, (column, equality))| {
            let column = format!("{}.{}", table.table, table.columns[*column].quoted());
            equal(equality, &column, &place(width + at))
        });
        let keys = table.keys.iter().map(|key| table.columns[*key].select(dialect));
        text.sql = format!(
            "SELECT {u}.{n}, {keys} FROM {rows} \
             JOIN (SELECT {in_junction} FROM {junction}) AS {out} ON {own} JOIN {theirs_table} ON {theirs}",
            u = names.rows,
            n = names.number,
            out = names.out,
            keys = keys.collect::<Vec<_>>().join(", "),
            junction = quoted_table(&self.via.to_tbl),
            own = own.collect::<Vec<_>>().join(" AND "),
            theirs_table = table.table,
            theirs = theirs.collect::<Vec<_>>().join(" AND "),
        );
        text
    }
}

/// The condition that two values are equal to the database.
pub(super) fn equal(equality: &Option<Equality>, one: &str, other: &str) -> String {
    match equality {
        Some(equality) => format!("{} = {}", equality.apply(one), equality.apply(other)),
        None => format!("{one} = {other}"),
    }
}

/// Each once, in the order of their first.
fn distinct<'v>(sides: impl Iterator<Item = &'v Side>) -> Vec<Side> {
    let mut seen: FxHashSet<&Side> = FxHashSet::default();
    sides.filter(|side| seen.insert(side)).cloned().collect()
}
