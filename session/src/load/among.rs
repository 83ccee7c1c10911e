//! The condition that a row holds one of many values, in a text that does not depend on how many they are: an array, or a list
//! that is filled up to the next power of two. Sends nothing.

use sea_orm::{ColumnTrait, Value, sea_query::Expr};

use super::by_key::{keys_a_statement, one_of};
use crate::{
    dialect::{Dialect, Sets},
    table::columns::ColumnMeta,
};

/// Whether `names` hold the values of one of `rows`, which are those of `columns`; at least one row.
pub(super) fn among<C: ColumnTrait>(
    mut names: Vec<Expr>,
    columns: &[C],
    metas: &[&ColumnMeta],
    mut rows: Vec<Vec<Value>>,
    dialect: &Dialect,
) -> Expr {
    if let ([meta], Sets::Arrays) = (metas, dialect.sets)
        && meta.compares_with_array(dialect.number())
        && rows.iter().flatten().all(|value| value.array_type() == meta.kind)
    {
        let values = Value::Array(meta.kind.clone(), Some(Box::new(rows.into_iter().flatten().collect())));
        let text = format!("{} = ANY({})", dialect.parameter(1), dialect.parameter(2));
        return Expr::cust_with_exprs(text, [names.swap_remove(0), Expr::val(values)]);
    }
    let size = rows.len().next_power_of_two().min(keys_a_statement(columns.len(), dialect).max(rows.len()));
    if let Some(last) = rows.last().cloned() {
        rows.resize(size, last);
    }
    one_of(names, columns, rows, dialect)
}
