//! The columns whose values tell rows apart, as the caller names them.

use sea_orm::{ColumnTrait, EntityTrait, IdenStatic, Value, sea_query::ValueTuple};

use crate::{
    error::Error,
    objects::{
        Object,
        entity::{TrackedEntity, table_of},
    },
    table::value::{as_column, is_null},
};

/// The columns of a unique key: one column, or several in an array, a slice or a vector.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # fn main() {
/// use sea_session::UniqueColumns;
///
/// assert_eq!(note::Column::Title.into_columns().len(), 1);
/// assert_eq!([note::Column::Id, note::Column::Title].into_columns().len(), 2);
/// # }
/// ```
pub trait UniqueColumns<C> {
    /// The columns, in the order of the values that are looked for.
    fn into_columns(self) -> Vec<C>;
}

impl<C: ColumnTrait> UniqueColumns<C> for C {
    fn into_columns(self) -> Vec<C> {
        vec![self]
    }
}

impl<C: ColumnTrait, const N: usize> UniqueColumns<C> for [C; N] {
    fn into_columns(self) -> Vec<C> {
        self.to_vec()
    }
}

impl<C: ColumnTrait> UniqueColumns<C> for &[C] {
    fn into_columns(self) -> Vec<C> {
        self.to_vec()
    }
}

impl<C: ColumnTrait> UniqueColumns<C> for Vec<C> {
    fn into_columns(self) -> Vec<C> {
        self
    }
}

/// The places of columns in their table.
///
/// # Errors
/// None is named.
pub(super) fn places<E: TrackedEntity>(
    columns: impl UniqueColumns<<E as EntityTrait>::Column>,
) -> Result<Vec<usize>, Error> {
    let table = table_of::<E>();
    let columns = columns.into_columns();
    let places: Vec<usize> = columns.iter().filter_map(|column| table.column(column.as_str())).collect();
    match places.is_empty() {
        true => Err(Error::usage(format!("name the columns that tell rows of {} apart", table.entity))),
        false => Ok(places),
    }
}

/// What the caller looks for in these columns, each value as its column holds it.
///
/// # Errors
/// There are more values than columns, or fewer.
pub(super) fn values_for<E: TrackedEntity>(columns: &[usize], tuple: ValueTuple) -> Result<Vec<Value>, Error> {
    let table = table_of::<E>();
    let values: Vec<Value> = tuple.into_iter().collect();
    if values.len() != columns.len() {
        let (given, named) = (values.len(), columns.len());
        return Err(Error::usage(format!(
            "a row of {} is looked for by {named} columns, and {given} values were given",
            table.entity
        )));
    }
    let own = columns.iter().zip(values);
    Ok(own.map(|(column, value)| as_column(value, &table.columns[*column].kind)).collect())
}

/// What a new row holds in the columns by which it is told from others.
///
/// # Errors
/// It holds nothing in one of them, or NULL, which is equal to nothing.
pub(super) fn values_in<E: TrackedEntity>(columns: &[usize], draft: &Object<E>) -> Result<Vec<Value>, Error> {
    let table = table_of::<E>();
    let value = |column: &usize| {
        draft.any().column_value(*column).filter(|value| !is_null(value)).ok_or_else(|| {
            let (entity, name) = (table.entity, table.columns[*column].name);
            Error::usage(format!("`{entity}.{name}` tells rows apart, so that each model must have it set"))
        })
    };
    columns.iter().map(value).collect()
}
