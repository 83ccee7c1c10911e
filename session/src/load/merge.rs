//! What comes from outside brought onto a row: whole rows as they were read (merge) and changes (patch), as models or as types of
//! the caller's that become active models (E3, O3).

use sea_orm::{ActiveModelTrait, ActiveValue, IntoActiveModel, Iterable, Value, sea_query::IntoValueTuple};

use crate::{
    error::Error,
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::{meta::TableMeta, value},
    unit::session::Session,
};

impl Session {
    /// Brings a row as it was read, and changed elsewhere since, into the unit: onto the object with its key, loaded if need be,
    /// or as a new one. What comes is a model, or a type with `DeriveIntoActiveModel` that has the key and some of the columns;
    /// a column that does not come stays as it is.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let shown = note.model();                            // goes out to a form
    ///     note.set_title("changed meanwhile");
    ///     s.flush().await?;
    ///
    ///     let back = note::Model { title: "from the form".into(), ..shown };
    ///     let outcome = s.merge::<note::Entity>(back).await;
    ///     assert!(matches!(outcome, Err(Error::Stale { expected: Some(1), found: Some(2), .. })));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is the row's own stays: key, version, tenant, `created_at`, `updated_at`, and columns marked `read_only`. A field that
    /// serde skips is not brought by a model that it has read, and stays as well; to change one, set it, or use
    /// [`Session::patch`]. A model whose key has no row becomes a new object, with a version, tenant and times of its own,
    /// unless its version says that it was read from a row, and changed there, that is gone. So does one without a key.
    ///
    /// # Errors
    /// [`Error::Stale`] if the entity has a version and the model's is not the row's, or the row is gone (O3, E3);
    /// [`Error::Usage`] if the entity has a version and what comes for a row has none.
    ///
    /// # Cancel safety
    /// As [`Session::get`]; nothing is changed before the row was found.
    pub async fn merge<E: TrackedEntity>(
        &mut self,
        model: impl IntoActiveModel<E::ActiveModel>,
    ) -> Result<Tracked<E>, Error> {
        let (table, brought) = (table_of::<E>(), model.into_active_model());
        let version = table.version.and_then(|v| E::Column::iter().nth(v)).map(|v| brought.get(v).into_value());
        let Some(key) = brought.get_primary_key_value() else {
            return Ok(self.add(new_row::<E>(table, brought)));
        };
        let Some(object) = self.get::<E>(key.clone()).await? else {
            let version = version.flatten().as_ref().and_then(value::as_integer);
            if let Some(expected) = version.filter(|version| *version > FIRST_VERSION) {
                let key = table.show_key(&key.into_iter().collect::<Vec<_>>()).into();
                return Err(Error::Stale { entity: table.entity, key, expected: Some(expected), found: None });
            }
            return Ok(self.add(new_row::<E>(table, brought)));
        };
        if version == Some(None) {
            return Err(Error::usage(format!(
                "what is merged into {} {} has no version, so nobody can tell whether it was changed since it was read: bring the \
                 version along, or use `patch`",
                table.entity,
                object.any().key_text()
            )));
        }
        expect_version(table, &object, version.map(|version| version.as_ref().and_then(value::as_integer)))?;
        for (position, column) in E::Column::iter().enumerate().filter(|(position, _)| !table.is_kept(*position)) {
            let value = match brought.get(column) {
                ActiveValue::Set(value) => value,
                // A model has a value for each field, also for those that serde did not bring.
                ActiveValue::Unchanged(value) if !table.not_brought.contains(&position) => value,
                ActiveValue::Unchanged(_) | ActiveValue::NotSet => continue,
            };
            if object.object().get(column).as_ref() != Some(&value) {
                object.object().set(column, value)?;
            }
        }
        Ok(object)
    }

    /// Changes what is `Set` in an active model on the row with this key, and nothing else; `None` if there is no such row:
    /// nothing is ever inserted. A type with `DeriveIntoActiveModel` does as well: its fields are what is set, those that are
    /// `None` of an `Option` more than the column has excepted.
    ///
    /// A version that is set is the one that the row must have. Key, tenant, `created_at`, `updated_at` and `read_only` columns
    /// may be set to what they are.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let title = || note::ActiveModel { title: Set("patched".to_owned()), ..Default::default() };
    ///     let note = s.patch::<note::Entity>(1, title()).await?.expect("the example's note");
    ///     assert_eq!(note.changed(), ["title"]);
    ///     assert!(s.patch::<note::Entity>(2, title()).await?.is_none());
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Stale`] if a version is set and is not the row's; [`Error::Usage`] if a column that only the row itself, the
    /// database or the flush may change is set to another value. Nothing is changed then.
    ///
    /// # Cancel safety
    /// As [`Session::get`]; nothing is changed before the row was found.
    pub async fn patch<E: TrackedEntity>(
        &mut self,
        key: impl IntoValueTuple,
        changes: impl IntoActiveModel<E::ActiveModel>,
    ) -> Result<Option<Tracked<E>>, Error> {
        let changes = changes.into_active_model();
        let Some(object) = self.get::<E>(key).await? else { return Ok(None) };
        let table = table_of::<E>();
        let set = E::Column::iter().enumerate().filter_map(|(position, column)| match changes.get(column) {
            ActiveValue::Set(value) => Some((position, column, value)),
            ActiveValue::Unchanged(_) | ActiveValue::NotSet => None,
        });
        let set: Vec<(usize, E::Column, Value)> = set.collect();
        let held = |position: &usize| object.any().column_value(*position);
        for (position, _, value) in set.iter().filter(|(position, ..)| table.is_kept(*position)) {
            if table.version == Some(*position) {
                expect_version(table, &object, Some(value::as_integer(value)))?;
            } else if held(position)
                .is_none_or(|held| value::as_column(value.clone(), &table.columns[*position].kind) != held)
            {
                return Err(Error::usage(format!(
                    "{}.{} of {} is not changed by a patch: it is the row's own; leave it unset",
                    table.entity,
                    table.columns[*position].name,
                    object.any().key_text()
                )));
            }
        }
        for (position, column, value) in set.into_iter().filter(|(position, ..)| !table.is_kept(*position)) {
            if held(&position).as_ref() != Some(&value) {
                object.object().set(column, value)?;
            }
        }
        Ok(Some(object))
    }
}

/// The version that the flush gives a new row.
const FIRST_VERSION: i64 = 1;

/// Only the version that the row has is accepted (O3, E3); `brought` is none of an entity without.
fn expect_version<E: TrackedEntity>(
    table: &TableMeta,
    object: &Tracked<E>,
    brought: Option<Option<i64>>,
) -> Result<(), Error> {
    let held = table.version.and_then(|version| object.any().column_value(version));
    let held = held.as_ref().and_then(value::as_integer);
    match brought {
        // An object that is still to be inserted has none yet.
        Some(expected) if expected != held && held.is_some() => {
            let key = object.any().key_text().into();
            Err(Error::Stale { entity: table.entity, key, expected, found: held })
        }
        _ => Ok(()),
    }
}

/// A model from outside as a new row, which gets its version, its times and its tenant from the flush.
fn new_row<E: TrackedEntity>(table: &TableMeta, mut draft: E::ActiveModel) -> E::ActiveModel {
    for (position, column) in E::Column::iter().enumerate() {
        let own = [table.version, table.tenant, table.created_at, table.updated_at, table.soft_delete];
        let own = own.contains(&Some(position));
        let brought = draft.get(column).is_set() || !table.not_brought.contains(&position);
        if own || !brought {
            draft.not_set(column);
        }
    }
    draft
}
