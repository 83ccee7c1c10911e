//! Rows of one answer as models: where each column stands is found out once, with the first row.

use std::marker::PhantomData;

use sea_orm::{DbErr, FromQueryResult, IdenStatic, Iterable, QueryResult};

use crate::meta::TrackedEntity;

/// Reads the rows of one answer.
pub(crate) struct RowReader<E: TrackedEntity> {
    /// Where the columns stand; not known before the first row.
    places: Option<Vec<usize>>,
    entity: PhantomData<fn() -> E>,
}

impl<E: TrackedEntity> RowReader<E> {
    pub(crate) fn new() -> Self {
        Self { places: None, entity: PhantomData }
    }

    /// The model that a row holds.
    ///
    /// # Errors
    /// As SeaORM's `from_query_result`.
    pub(crate) fn read(&mut self, row: &QueryResult) -> Result<E::Model, DbErr> {
        let places = self.places.get_or_insert_with(|| places::<E>(&row.column_names()));
        E::from_row(row, places).map_or_else(|| E::Model::from_query_result(row, ""), Ok)
    }
}

/// Where each column of `E` stands among `names`; nothing if one is missing. Of columns named alike the last is meant, as
/// it is by name.
fn places<E: TrackedEntity>(names: &[String]) -> Vec<usize> {
    let place = |column: E::Column| names.iter().rposition(|name| name == column.as_str());
    E::Column::iter().map(place).collect::<Option<_>>().unwrap_or_default()
}
