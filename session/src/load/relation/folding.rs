//! Relations whose columns compare otherwise than by their bytes (D5): a key of `char(n)`, of `citext`, under a collation
//! that folds. Which rows belong together only the database can say, so it does the matching.
//!
//! Such relations take one statement more than others. Everything else goes the ways beside this file.

use rustc_hash::FxHashMap;
use sea_orm::{RelationDef, Value};

use super::positions;
use crate::{
    connection::{
        Fetch,
        text::{Text, cut_by_bytes},
    },
    error::Error,
    load::by_key::keys_a_statement,
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::{facts::Equality, meta::TableMeta, value::is_null},
    unit::session::Session,
};

/// A relation of which the database must say which rows belong together.
pub(super) struct Folding {
    /// The columns of this side, and of the other.
    own: Vec<usize>,
    theirs: Vec<usize>,
    /// How the referenced columns compare values.
    equality: Vec<Option<Equality>>,
}

impl Session {
    /// Reads an expired object again, before it is followed (D8).
    ///
    /// # Errors
    /// [`Error::Stale`] if its row is gone.
    pub(super) async fn read_expired<E: TrackedEntity>(&mut self, object: &Object<E>) -> Result<(), Error> {
        match object.any().wants_reading() {
            true => self.read_again(object).await,
            false => Ok(()),
        }
    }

    /// How the database matches a relation's rows, where that is not by their bytes.
    pub(super) async fn folding(
        &mut self,
        own_table: &'static TableMeta,
        their_table: &'static TableMeta,
        def: &RelationDef,
    ) -> Result<Option<Folding>, Error> {
        if def.on_condition.is_some() {
            return Ok(None);
        }
        let (own, theirs) = (positions(own_table, &def.from_col)?, positions(their_table, &def.to_col)?);
        // The referenced columns decide: a foreign key is checked by their equality.
        let (table, columns) = match def.is_owner {
            true => (own_table, &own),
            false => (their_table, &theirs),
        };
        if !columns.iter().any(|column| table.columns[*column].may_fold()) {
            return Ok(None);
        }
        let facts = self.core().table_facts(table).await?;
        let equality: Vec<_> = columns.iter().map(|column| facts.columns[*column].equality.clone()).collect();
        Ok(facts.folds(columns).then_some(Folding { own, theirs, equality }))
    }

    /// The objects that one object is related to.
    pub(super) async fn follow_folding<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        object: &Object<E>,
        folding: &Folding,
    ) -> Result<Vec<Tracked<R>>, Error> {
        let values = folding.own.iter().map(|column| object.any().column_value(*column)).collect::<Option<Vec<_>>>();
        let Some(values) = values.filter(|values| !values.iter().any(is_null)) else { return Ok(Vec::new()) };
        let pairs = self.matching(table_of::<R>(), &folding.theirs, &folding.equality, &[values]).await?;
        let keys = pairs.into_iter().map(|(_, key)| key);
        self.get_by_values::<R>(keys.collect()).await
    }

    /// For each of many objects those that it is related to.
    pub(super) async fn follow_many_folding<E: TrackedEntity, R: TrackedEntity>(
        &mut self,
        parents: &[Tracked<E>],
        folding: &Folding,
    ) -> Result<Vec<Vec<Tracked<R>>>, Error> {
        let mut values = Vec::with_capacity(parents.len());
        let mut of = Vec::with_capacity(parents.len());
        for (at, parent) in parents.iter().enumerate() {
            let own = folding.own.iter().map(|column| parent.any().column_value(*column)).collect::<Option<Vec<_>>>();
            if let Some(own) = own.filter(|own| !own.iter().any(is_null)) {
                values.push(own);
                of.push(at);
            }
        }
        let pairs = self.matching(table_of::<R>(), &folding.theirs, &folding.equality, &values).await?;
        let objects = self.get_by_values::<R>(pairs.iter().map(|(_, key)| key.clone()).collect()).await?;
        let by_key = |object: &Tracked<R>| Some((object.any().map_key()?, object.clone()));
        let by_key: FxHashMap<_, _> = objects.iter().filter_map(by_key).collect();
        let mut related = vec![Vec::new(); parents.len()];
        for (at, key) in pairs {
            related[of[at]].extend(by_key.get(&crate::objects::identity::Key::from_values(key)).cloned());
        }
        Ok(related)
    }

    /// Which rows of a table hold, in these columns, which of these values: as the database compares them, by number and key.
    pub(crate) async fn matching(
        &mut self,
        table: &'static TableMeta,
        columns: &[usize],
        equality: &[Option<Equality>],
        values: &[Vec<Value>],
    ) -> Result<Vec<(usize, Vec<Value>)>, Error> {
        let dialect = self.dialect();
        let facts = self.core().table_facts(table).await?;
        let names = &table.names;
        let mut found = Vec::new();
        let mut before = 0;
        let most_bytes = self.core().connection.most_bytes(table);
        let most = keys_a_statement(columns.len(), dialect).min(dialect.most_selected());
        for some in cut_by_bytes(values, most, most_bytes) {
            let mut text = Text::new(dialect, "");
            let tuples = some.iter().enumerate().map(|(at, row)| {
                let row = row.iter().map(|value| text.bind(value.clone())).collect::<Vec<_>>();
                format!("(CAST({} AS {}), {})", before + at + 1, dialect.big, row.join(", "))
            });
            let tuples: Vec<String> = tuples.collect();
            let called = std::iter::once(names.number.clone()).chain((0..columns.len()).map(|at| names.bare(at)));
            let rows = dialect.rows_of(&names.rows, &called.collect::<Vec<_>>(), &tuples);
            let same = columns.iter().zip(equality).enumerate().map(|(at, (column, equality))| {
                let meta = &table.columns[*column];
                let name = format!("{}.{}", table.table, meta.quoted());
                let value = meta.save(dialect, &names.value(at));
                let Some(equality) = equality else { return format!("{name} = {value}") };
                // Of another type than the column that it refers to, a column is compared as that one.
                let own_cast = facts.columns[*column].equality.as_ref().and_then(|own| own.cast.as_ref());
                let name = match &equality.cast {
                    Some(cast) if own_cast != Some(cast) => format!("CAST({name} AS {cast})"),
                    _ => name,
                };
                format!("{name} = {}", equality.apply(&value))
            });
            let same = same.collect::<Vec<_>>().join(" AND ");
            let keys = table.keys.iter().map(|key| table.columns[*key].select(dialect));
            text.sql = format!(
                "SELECT {}.{}, {} FROM {rows} JOIN {} ON {same}",
                names.rows,
                names.number,
                keys.collect::<Vec<_>>().join(", "),
                table.table,
            );
            let rows = self.core().statement_about(text.message(Fetch::All), !table.secret.is_empty()).await?.rows();
            for row in &rows {
                let number: i64 = row.try_get_by_index(0)?;
                let key =
                    table.keys.iter().map(|key| table.columns[*key].decode(row)).collect::<Result<Vec<_>, _>>()?;
                found.extend(usize::try_from(number - 1).ok().map(|at| (at, key)));
            }
            before += some.len();
        }
        Ok(found)
    }
}
