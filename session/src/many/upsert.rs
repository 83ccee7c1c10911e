//! Rows that are inserted, or else take over what is set (U4).

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{ActiveModelTrait, EntityTrait, Value};

use super::{
    columns::{UniqueColumns, places},
    get_or_add::{hidden, table_values, unique_values},
    new_rows::{Meeting, NewRows},
    statement::take_row,
};
use crate::{
    error::Error,
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
    },
    unit::session::Session,
};

impl Session {
    /// Inserts `model` at once, or has the row that holds the same in these columns take over what is set in it; the object of
    /// that row. The columns are those of the primary key or of a unique key, all of them set in the model.
    ///
    /// What is the row's own it keeps, as with [`Session::merge`]: its primary key, tenant, `created_at` and columns marked
    /// `read_only`. Its version is raised by one whether anything differs or not, so that units which loaded the row before
    /// notice, and `updated_at` is set. Columns that the database computes are never written. Nothing is compared: a version
    /// that this unit has loaded is no condition. Pending work is flushed first.
    ///
    /// One statement where the table permits (on MySQL and MariaDB one a row, and one that reads the rows), safe under concurrency as
    /// [`Session::get_or_add`] is. An object that is in the map
    /// already is brought up to date, and goes back if its block rolls back; any other leaves the map then, as one that was
    /// loaded in the block does (S5). SeaORM's hooks run as for an insert, whatever became of the row.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let upserted = s.upsert(note::ActiveModel { id: Set(1), ..draft("again") }, note::Column::Id).await?;
    ///     assert!(Tracked::ptr_eq(&note, &upserted));
    ///     assert_eq!((&*note.title(), note.version()), ("again", 2));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::get_or_add`]; [`Error::Tenant`] if the row is another tenant's. A version that has reached its type's end
    /// violates its column's NOT NULL.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn upsert<A>(
        &mut self,
        model: A,
        columns: impl UniqueColumns<<A::Entity as EntityTrait>::Column>,
    ) -> Result<Tracked<A::Entity>, Error>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let mut one = self.upsert_many([model], columns).await?;
        one.pop().ok_or_else(|| Error::usage("a row that was to be upserted is missing"))
    }

    /// As [`Session::upsert`] of many models, in their order; in one statement for each set of columns that models have set,
    /// where the table permits.
    ///
    /// # Errors
    /// As [`Session::upsert`]; [`Error::Usage`] if two models hold the same in these columns.
    ///
    /// # Cancel safety
    /// As [`Session::upsert`].
    pub async fn upsert_many<A>(
        &mut self,
        models: impl IntoIterator<Item = A>,
        columns: impl UniqueColumns<<A::Entity as EntityTrait>::Column>,
    ) -> Result<Vec<Tracked<A::Entity>>, Error>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let (unique, models) = (places::<A::Entity>(columns)?, models.into_iter().collect());
        let rows = self.new_rows::<A::Entity>(models, unique, Meeting::Takes).await?;
        self.upsert_rows(&rows).await
    }

    async fn upsert_rows<E: TrackedEntity>(&mut self, rows: &NewRows<E>) -> Result<Vec<Tracked<E>>, Error> {
        let table = table_of::<E>();
        let all: Vec<usize> = (0..rows.drafts.len()).collect();
        unique_values(rows)?;
        self.before_new(rows, &all).await?;
        let values = unique_values(rows)?;
        let mut seen: FxHashSet<&Vec<Value>> = FxHashSet::default();
        if let Some(twice) = values.iter().find(|values| !seen.insert(values)) {
            return Err(Error::usage(format!(
                "{} {}: two models of one upsert hold the same in the columns that tell rows apart: which of them counts?",
                table.entity,
                table_values(rows, twice)
            )));
        }
        let answers = self.insert(rows, &all, &values).await?;
        let mut found: FxHashMap<usize, Tracked<E>> = FxHashMap::default();
        for (draft, row) in &answers.rows {
            found.insert(*draft, take_row::<E>(self.core(), row)?);
        }
        let rest: Vec<usize> = all.iter().copied().filter(|draft| !found.contains_key(draft)).collect();
        let asked: Vec<Vec<Value>> = rest.iter().map(|draft| values[*draft].clone()).collect();
        let mut held = self.rows_with::<E>(&rows.unique, &asked).await?;
        self.rows_behind::<E>(&rows.unique, &asked, &mut held).await?;
        for (of, row) in held {
            found.insert(rest[of], take_row::<E>(self.core(), &row)?);
        }
        let written = all.iter().filter_map(|draft| found.get(draft));
        self.after_new(written.map(|object| object.any().clone()).collect()).await?;
        let missing = |draft: usize| hidden(table.entity, &table_values(rows, &values[draft]));
        all.into_iter().map(|draft| found.remove(&draft).ok_or_else(|| missing(draft))).collect()
    }
}
