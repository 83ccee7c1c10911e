//! Loading many-to-many where a column compares otherwise than by its bytes: the database matches the junction's pairs on both
//! sides (D5), then the objects are loaded that they lead to.
//!
//! It must never ask for more values in one statement than a database takes, whatever the junction holds.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{RelationDef, Value};

use super::positions;
use crate::{
    connection::{
        Fetch,
        text::{Text, cut_by_bytes},
    },
    dialect::Dialect,
    error::Error,
    load::by_key::keys_a_statement,
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    table::{
        facts::Equality,
        meta::TableMeta,
        sql::{quote, quoted_table},
        value::is_null,
    },
    unit::session::Session,
};

/// The values of one side of a pair.
type Side = Vec<Value>;

impl Session {
    /// Whether a column on either side of the junction compares otherwise than by its bytes.
    pub(super) async fn folds_through(
        &mut self,
        own: &'static TableMeta,
        theirs: &'static TableMeta,
        via: &RelationDef,
        to: &RelationDef,
    ) -> Result<bool, Error> {
        let own = self.equality_of(own, &positions(own, &via.from_col)?).await?;
        let theirs = self.equality_of(theirs, &positions(theirs, &to.to_col)?).await?;
        Ok(own.iter().chain(&theirs).flatten().any(|equality| !equality.of_bytes))
    }

    /// How the database compares values of these columns, where that is not by their bytes.
    pub(super) async fn equality_of(
        &mut self,
        table: &'static TableMeta,
        columns: &[usize],
    ) -> Result<Vec<Option<Equality>>, Error> {
        match columns.iter().any(|column| table.columns[*column].may_fold()) {
            true => Ok(self.core().table_facts(table).await?.equality_of(columns)),
            false => Ok(vec![None; columns.len()]),
        }
    }

    /// For each parent the objects that the junction `via` relates it to, both sides matched by the database (D5).
    pub(super) async fn match_through<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        parents: &[&Object<E>],
        via: &RelationDef,
        to: &RelationDef,
    ) -> Result<Vec<Vec<Tracked<R>>>, Error> {
        let (own, theirs) = (positions(table_of::<E>(), &via.from_col)?, positions(table_of::<R>(), &to.to_col)?);
        let (mut of, mut values) = (Vec::with_capacity(parents.len()), Vec::with_capacity(parents.len()));
        for (at, parent) in parents.iter().enumerate() {
            let held = own.iter().map(|column| parent.any().column_value(*column)).collect::<Option<Side>>();
            if let Some(held) = held.filter(|held| !held.iter().any(is_null)) {
                of.push(at);
                values.push(held);
            }
        }
        let pairs = Matching::<E, R> {
            via,
            to,
            own_equality: self.equality_of(table_of::<E>(), &own).await?,
            their_equality: self.equality_of(table_of::<R>(), &theirs).await?,
            own,
            theirs,
            entities: std::marker::PhantomData,
        };
        let (dialect, table) = (self.dialect(), table_of::<R>());
        let (mut before, mut found) = (0, Vec::new());
        let most_bytes = self.core().connection.most_bytes(table);
        let most = keys_a_statement(pairs.own.len(), dialect).min(dialect.most_selected());
        for some in cut_by_bytes(&values, most, most_bytes) {
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
        let by_key = |object: &Tracked<R>| Some((object.any().map_key()?, object.clone()));
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
            equal(dialect, equality, &place(at), &own_table.columns[*column].save(dialect, &names.value(at)))
        });
        let theirs = self.theirs.iter().zip(&self.their_equality).enumerate().map(|(at, (column, equality))| {
            let column = format!("{}.{}", table.table, table.columns[*column].quoted());
            equal(dialect, equality, &column, &place(width + at))
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

/// The condition that a column and a value are equal to the database.
pub(super) fn equal(dialect: &Dialect, equality: &Option<Equality>, one: &str, other: &str) -> String {
    match equality {
        Some(equality) if dialect.one_side_collates && equality.cast.is_none() => {
            format!("{one} = {}", equality.apply(other))
        }
        Some(equality) => format!("{} = {}", equality.apply(one), equality.apply(other)),
        None => format!("{one} = {other}"),
    }
}

/// Each once, in the order of their first.
fn distinct<'v>(sides: impl Iterator<Item = &'v Side>) -> Vec<Side> {
    let mut seen: FxHashSet<&Side> = FxHashSet::default();
    sides.filter(|side| seen.insert(side)).cloned().collect()
}
