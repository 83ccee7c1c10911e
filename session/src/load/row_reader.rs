//! Rows of one answer as models: where each column stands is found out once, with the first row.

use std::marker::PhantomData;

use sea_orm::{DbErr, FromQueryResult, IdenStatic, Iterable, QueryResult};
use smallvec::SmallVec;

use crate::{
    dialect::column_names,
    objects::entity::{TrackedEntity, table_of},
};

/// One for each column of an entity, most of which have no more.
type Few<T> = SmallVec<[T; 16]>;

/// Reads the rows of one answer.
pub(crate) struct RowReader<E: TrackedEntity> {
    /// Where the columns stand; not known before the first row.
    places: Option<Few<usize>>,
    entity: PhantomData<fn() -> E>,
}

impl<E: TrackedEntity> RowReader<E> {
    pub(crate) fn new() -> Self {
        Self { places: None, entity: PhantomData }
    }

    /// For answers to the query that `find()` makes, which asks for the columns one after the other.
    pub(crate) fn in_order() -> Self {
        Self { places: Some(by_number::<E>((0..E::Column::iter().len()).collect())), entity: PhantomData }
    }

    /// The model that a row holds.
    ///
    /// # Errors
    /// As SeaORM's `from_query_result`.
    pub(crate) fn read(&mut self, row: &QueryResult) -> Result<E::Model, DbErr> {
        let places = self.places.get_or_insert_with(|| by_number::<E>(places::<E>(&column_names(row))));
        E::from_row(row, places).map_or_else(|| E::Model::from_query_result(row, ""), Ok)
    }
}

/// Places of columns in the order of `Column::iter()`, by the numbers that the derive calls them by.
fn by_number<E: TrackedEntity>(places: Few<usize>) -> Few<usize> {
    match &table_of::<E>().places {
        Some(numbers) if !places.is_empty() => {
            numbers.iter().map(|at| places.get(*at).copied().unwrap_or(usize::MAX)).collect()
        }
        _ => places,
    }
}

/// Where each column of `E` stands among `names`; nothing if one is missing. Of columns named alike the last is meant, as
/// it is by name.
fn places<E: TrackedEntity>(names: &[&str]) -> Few<usize> {
    // As `find()` asks for them.
    if E::Column::iter().map(|column| column.as_str()).eq(names.iter().copied()) {
        return (0..names.len()).collect();
    }
    let place = |column: E::Column| names.iter().rposition(|name| *name == column.as_str());
    E::Column::iter().map(place).collect::<Option<_>>().unwrap_or_default()
}
