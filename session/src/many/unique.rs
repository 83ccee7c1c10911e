//! Rows found by unique values (U4). Whether two values are equal the database says (D5).

use std::sync::Arc;

use rustc_hash::FxHashSet;
use sea_orm::{EntityTrait, QueryResult, Value, sea_query::IntoValueTuple};

use super::{
    columns::{UniqueColumns, places, values_for},
    source::{Source, pieces},
};
use crate::{
    connection::Fetch,
    error::Error,
    load::{admit::admit, row_reader::RowReader},
    objects::{
        Phase, Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    unit::session::Session,
};

impl Session {
    /// The object whose row holds this value in a unique column, or these values in the columns of a unique key. Asks the
    /// database, which compares as the columns do (D5); where the columns are the primary key, only for what the map does not
    /// hold.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.find_by_unique::<note::Entity>(note::Column::Title, "first").await?;
    ///     assert_eq!(note.map(|note| note.id()), Some(1));
    ///     assert!(s.find_by_unique::<note::Entity>(note::Column::Title, "none").await?.is_none());
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; [`Error::Usage`] if several rows hold the value, or not as many values as columns are given.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn find_by_unique<E: TrackedEntity>(
        &mut self,
        columns: impl UniqueColumns<<E as EntityTrait>::Column>,
        value: impl IntoValueTuple,
    ) -> Result<Option<Tracked<E>>, Error> {
        Ok(self.find_many_by_unique::<E>(columns, [value]).await?.pop().flatten())
    }

    /// As [`Session::find_by_unique`] of many values, in one statement (in a few, if there are thousands): an answer for each
    /// value, in their order; `None` where no row holds it.
    ///
    /// # Errors
    /// As [`Session::find_by_unique`].
    ///
    /// # Cancel safety
    /// As [`Session::find_by_unique`].
    pub async fn find_many_by_unique<E: TrackedEntity>(
        &mut self,
        columns: impl UniqueColumns<<E as EntityTrait>::Column>,
        values: impl IntoIterator<Item = impl IntoValueTuple>,
    ) -> Result<Vec<Option<Tracked<E>>>, Error> {
        let columns = places::<E>(columns)?;
        let values = values.into_iter().map(|value| values_for::<E>(&columns, value.into_value_tuple()));
        let values = values.collect::<Result<Vec<_>, Error>>()?;
        let (table, core) = (table_of::<E>(), self.core());
        let is_key = columns == table.keys;
        core.usable()?;
        let mut found: Vec<Option<Tracked<E>>> = vec![None; values.len()];
        let mut missing = Vec::with_capacity(values.len());
        for (at, values) in values.iter().enumerate() {
            let held = core.map.get(table, &Key::from_values(values.clone()));
            match held.filter(|object| is_key && !core.must_ask(object)) {
                Some(object) => found[at] = core.gives(object).then(|| Tracked::of(object.clone())),
                None => missing.push(at),
            }
        }
        let asked: Vec<Vec<Value>> = missing.iter().map(|at| values[*at].clone()).collect();
        let rows = self.rows_with::<E>(&columns, &asked).await?;
        for (of, object) in self.admitted::<E>(&columns, rows).await? {
            found[missing[of]] = object;
        }
        for at in missing.into_iter().filter(|at| is_key && found[*at].is_none()) {
            self.core().not_found(table, &Key::from_values(values[at].clone()));
        }
        Ok(found)
    }

    /// The rows of the unit's tenant that hold these values in these columns, whatever other filters say: the number of the
    /// values, and the row. Pending changes go first.
    ///
    /// # Errors
    /// What the database says; the unit has no tenant and the entity wants one.
    pub(super) async fn rows_with<E: TrackedEntity>(
        &mut self,
        columns: &[usize],
        values: &[Vec<Value>],
    ) -> Result<Vec<(usize, QueryResult)>, Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        let names = &table.names;
        let tenant = table.tenant.filter(|tenant| !columns.contains(tenant)).zip(self.core().tenant_of(table)?);
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let of_tenant =
            |values: &Vec<Value>| values.iter().cloned().chain(tenant.iter().map(|(_, own)| own.clone())).collect();
        let values: &[Vec<Value>] = &values.iter().map(of_tenant).collect::<Vec<_>>();
        let columns: &[usize] =
            &columns.iter().copied().chain(tenant.iter().map(|(column, _)| *column)).collect::<Vec<_>>();
        self.autoflush().await?;
        let facts = match columns.iter().any(|column| table.columns[*column].may_fold()) {
            true => Some(self.core().table_facts(table).await?),
            false => None,
        };
        let same = columns.iter().enumerate().map(|(at, column)| {
            let meta = &table.columns[*column];
            let value = meta.save(dialect, &names.value(at));
            let value = facts.as_ref().map_or(value.clone(), |facts| facts.compared(*column, &value));
            format!("{}.{} = {value}", table.table, meta.quoted())
        });
        let same = same.collect::<Vec<_>>().join(" AND ");
        let selected = table.columns.iter().map(|column| column.select(dialect)).collect::<Vec<_>>().join(", ");
        let (mut found, mut before) = (Vec::with_capacity(values.len()), 0);
        let most_bytes = self.core().connection.most_bytes(table);
        for piece in pieces(table, dialect, columns, values, most_bytes) {
            let source = Source::new(table, dialect, columns, piece)?;
            let sql = format!(
                "{}SELECT {}.{}, {selected} FROM {} JOIN {} ON {same}",
                source.with, names.rows, names.number, source.from, table.table
            );
            let message = source.message(dialect, sql, false, Fetch::All)?;
            let answer = self.core().statement_about(message, !table.secret.is_empty()).await;
            for row in answer.map_err(|e| e.at(|| table.entity.to_owned()))?.rows() {
                let number: i64 = row.try_get_by_index(0)?;
                let Some(at) = usize::try_from(number - 1).ok().filter(|at| *at < piece.len()) else { continue };
                found.push((before + at, row));
            }
            before += piece.len();
        }
        Ok(found)
    }

    /// The objects of rows that were read by the values of these columns, as this unit may see them (U5); nothing for one that it
    /// has deleted.
    ///
    /// # Errors
    /// What the database says; several rows that the unit sees hold the same.
    pub(super) async fn admitted<E: TrackedEntity>(
        &mut self,
        columns: &[usize],
        rows: Vec<(usize, QueryResult)>,
    ) -> Result<Vec<(usize, Option<Tracked<E>>)>, Error> {
        let table = table_of::<E>();
        let mut found = Vec::with_capacity(rows.len());
        if !self.core().filters.may_hide(table) {
            for (of, row) in rows {
                let model = RowReader::<E>::new().read(&row)?;
                let object = admit::<E>(self.core(), Arc::new(model), false, false)?;
                let there = matches!(object.any().phase(), Phase::Persistent | Phase::Pending);
                found.push((of, there.then_some(object)));
            }
        } else {
            // Only the database can say what a filter hides.
            let key = |row: &QueryResult| table.keys.iter().map(|key| table.columns[*key].decode(row)).collect();
            let keys = rows.iter().map(|(_, row)| key(row)).collect::<Result<Vec<Vec<Value>>, Error>>()?;
            self.get_by_values::<E>(keys.clone()).await?;
            let core = self.core();
            for ((of, _), key) in rows.iter().zip(keys) {
                let held = core.map.get(table, &Key::from_values(key)).filter(|object| core.gives(object));
                found.extend(held.map(|object| (*of, Some(Tracked::of(object.clone())))));
            }
        }
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        if !found.iter().all(|(of, _)| seen.insert(*of)) {
            let named: Vec<&str> = columns.iter().map(|column| table.columns[*column].name).collect();
            return Err(Error::usage(format!(
                "several rows of {} hold the same in {}: these columns do not tell rows apart",
                table.entity,
                named.join(", ")
            )));
        }
        Ok(found)
    }
}
