//! Rows that are found, or else added (U4). Two units that add the same row at once get the same row, without an error.

use rustc_hash::FxHashSet;
use sea_orm::{ActiveModelTrait, EntityTrait, Value};

use super::{
    columns::{UniqueColumns, places, values_in},
    new_rows::{Meeting, NewRows, take_new},
};
use crate::{
    error::Error,
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    unit::session::Session,
};

/// How often a row is looked for that was there when it was to be added, and is not when it is read: somebody deletes it each
/// time, or it is hidden from this unit.
const ATTEMPTS: usize = 8;

impl Session {
    /// The object whose row holds what `model` has in these columns, or else a new one that is inserted at once; and whether it
    /// was added. The columns are those of the primary key or of a unique key, all of them set in the model.
    ///
    /// Safe under concurrency: of units that add the same row at once one adds it, and the others wait for it and get that row
    /// (on PostgreSQL, under `repeatable read` or stricter, they fail with 40001 instead, which is repeated if the unit is to be
    /// [retried](crate::UnitOptions::retry); on MySQL and MariaDB they read it past their snapshot, as `FOR UPDATE` does). Pending
    /// work is flushed first.
    ///
    /// One statement if the row is there, two if it is added, three if another unit was faster; on MySQL and MariaDB, whose INSERT
    /// does not say which row it met, one more. A row that is there stays as it
    /// is; for one that is not there SeaORM's hooks run as in a flush, versions, times and tenants are set, and what the
    /// database computes is left to it. An added object is transient again if its block rolls back (S3).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let model = || note::ActiveModel { id: Set(7), ..draft("seventh") };
    ///     let (note, added) = s.get_or_add(model(), note::Column::Id).await?;
    ///     let (again, added_again) = s.get_or_add(model(), note::Column::Id).await?;
    ///     assert!(added && !added_again && Tracked::ptr_eq(&note, &again));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says, also if there is no unique key of just these columns; [`Error::Usage`] if one of them is not set
    /// in the model, or NULL, or if the row is there and hidden from this unit.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn get_or_add<A>(
        &mut self,
        model: A,
        columns: impl UniqueColumns<<A::Entity as EntityTrait>::Column>,
    ) -> Result<(Tracked<A::Entity>, bool), Error>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let mut one = self.get_or_add_many([model], columns).await?;
        one.pop().ok_or_else(|| Error::usage("a row that was to be got or added is missing"))
    }

    /// As [`Session::get_or_add`] of many models, in their order: in at most three statements where the models have the same
    /// columns set and the table permits (one more for each further set of columns; row by row where triggers or row-level
    /// security want it). Models that hold the same get the same object; the first of them is added.
    ///
    /// # Errors
    /// As [`Session::get_or_add`].
    ///
    /// # Cancel safety
    /// As [`Session::get_or_add`].
    pub async fn get_or_add_many<A>(
        &mut self,
        models: impl IntoIterator<Item = A>,
        columns: impl UniqueColumns<<A::Entity as EntityTrait>::Column>,
    ) -> Result<Vec<(Tracked<A::Entity>, bool)>, Error>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let (unique, models) = (places::<A::Entity>(columns)?, models.into_iter().collect());
        let rows = self.new_rows::<A::Entity>(models, unique, Meeting::Keeps).await?;
        self.get_or_add_rows(&rows).await
    }

    async fn get_or_add_rows<E: TrackedEntity>(&mut self, rows: &NewRows<E>) -> Result<Vec<(Tracked<E>, bool)>, Error> {
        let table = table_of::<E>();
        let mut found: Vec<Option<(Tracked<E>, bool)>> = vec![None; rows.drafts.len()];
        let mut values = unique_values(rows)?;
        let mut missing: Vec<usize> = (0..rows.drafts.len()).collect();
        let (mut hooked, mut added) = (false, FxHashSet::<usize>::default());
        let mut added_keys: FxHashSet<Key> = FxHashSet::default();
        let mut new = Vec::new();
        for _ in 0..=ATTEMPTS {
            let asked: Vec<Vec<Value>> = missing.iter().map(|draft| values[*draft].clone()).collect();
            let mut there = Vec::new();
            let mut held = self.rows_with::<E>(&rows.unique, &asked).await?;
            if hooked {
                self.rows_behind::<E>(&rows.unique, &asked, &mut held).await?;
            }
            for (of, row) in held {
                let (draft, core) = (missing[of], self.core());
                let is_new = added.remove(&draft) || added_keys.remove(&Key::from_values(table.key_of_row(&row)?));
                if is_new {
                    take_new(core, &rows.drafts[draft], &row)?;
                    new.push(rows.drafts[draft].any().clone());
                    found[draft] = Some((rows.drafts[draft].clone().into(), true));
                } else {
                    there.push((draft, row));
                }
            }
            for (draft, object) in self.admitted::<E>(&rows.unique, there).await? {
                found[draft] = object.map(|object| (object, false));
            }
            missing.retain(|draft| found[*draft].is_none());
            if missing.is_empty() {
                break;
            }
            if !hooked {
                hooked = true;
                self.before_new(rows, &missing).await?;
                values = unique_values(rows)?;
            }
            let mut seen = FxHashSet::default();
            let first: Vec<usize> = missing.iter().copied().filter(|draft| seen.insert(&values[*draft])).collect();
            let answers = self.insert(rows, &first, &values).await?;
            for (draft, row) in answers.rows {
                take_new(self.core(), &rows.drafts[draft], &row)?;
                new.push(rows.drafts[draft].any().clone());
                found[draft] = Some((rows.drafts[draft].clone().into(), true));
            }
            added.extend(answers.written);
            added_keys.extend(answers.keys);
            missing.retain(|draft| found[*draft].is_none());
            if missing.is_empty() {
                break;
            }
        }
        self.after_new(new).await?;
        let key = |draft: usize| table_values(rows, &values[draft]);
        let objects = found.into_iter().enumerate();
        let objects = objects.map(|(draft, object)| object.ok_or_else(|| hidden(table.entity, &key(draft))));
        objects.collect()
    }
}

/// What each draft holds in the columns that tell rows apart.
pub(super) fn unique_values<E: TrackedEntity>(rows: &NewRows<E>) -> Result<Vec<Vec<Value>>, Error> {
    rows.drafts.iter().map(|draft| values_in(&rows.unique, draft)).collect()
}

/// Where a row stands, for messages: keys are shown, other values never are (L1).
pub(super) fn table_values<E: TrackedEntity>(rows: &NewRows<E>, values: &[Value]) -> String {
    let table = table_of::<E>();
    match rows.unique == table.keys {
        true => table.show_key(values),
        false => "(found by a unique key)".to_owned(),
    }
}

/// A row is there that this unit cannot read.
pub(super) fn hidden(entity: &str, shown: &str) -> Error {
    Error::usage(format!(
        "{entity} {shown}: a row with these values is there, or was each time it was to be added, but this unit cannot read it: \
         a policy hides it, a trigger writes other values, or others keep deleting it"
    ))
}
