//! Pages of objects by key (U6): each goes on after the last row of the one before, so that rows which come or go meanwhile shift
//! nothing, and the hundredth page costs what the first does.

use std::{fmt, str::FromStr};

use sea_orm::{
    ColumnTrait, IdenStatic, Iterable, ModelTrait, Order, PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Condition, Expr, ExprTrait, NullOrdering},
};
use serde::{Deserialize, Serialize};

use super::query::Loader;
use crate::{
    error::Error,
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::{
        columns::ColumnMeta,
        facts::TableFacts,
        text_form::{from_text, to_text},
        value::is_null,
    },
    unit::session::Session,
};

/// Where a page ended: the next goes on after it. A value of its own, which may leave the process: by serde, or as text. It holds
/// what the last row held in the columns of the order, and nothing is trusted that comes back in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The order that it is a place in.
    by: String,
    /// What the last row held, as text; none for NULL.
    after: Vec<Option<String>>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|e| Error::usage(format!("this text is no cursor of a page: {e}")))
    }
}

/// A page of objects.
#[derive(Clone, Debug)]
pub struct Page<E: TrackedEntity> {
    /// The objects, in the page's order.
    pub objects: Vec<Tracked<E>>,
    /// Where the next page goes on; none if this one was not full, so that nothing follows.
    pub next: Option<Cursor>,
}

/// A query that is read a page at a time; made by [`crate::LoadExt::page`].
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     (0..3).for_each(|n| _ = s.add(draft(&format!("note {n}"))));
///     let first = note::Entity::find().page(None, 3).by(note::Column::Title).load(s).await?;
///     let rest = note::Entity::find().page(first.next.as_ref(), 3).by(note::Column::Title).load(s).await?;
///     assert_eq!((first.objects.len(), rest.objects.len()), (3, 1));
///     assert!(rest.next.is_none());
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a page is read by `.load(s)`"]
pub struct Pages<E: TrackedEntity> {
    query: Loader<E>,
    after: Option<Cursor>,
    limit: u64,
    order: Vec<(E::Column, Order)>,
}

/// A column of the order, and what is known of it.
struct Place<E: TrackedEntity> {
    column: E::Column,
    at: usize,
    meta: &'static ColumnMeta,
    descending: bool,
}

impl<E: TrackedEntity> Pages<E> {
    pub(super) fn new(query: Loader<E>, after: Option<&Cursor>, limit: u64) -> Self {
        Self { query, after: after.cloned(), limit, order: Vec::new() }
    }

    /// Orders by this column, smallest first and NULL last; further ones where it is equal. The key always comes last by itself.
    pub fn by(mut self, column: E::Column) -> Self {
        self.order.push((column, Order::Asc));
        self
    }

    /// Orders by this column, NULL first and then largest first.
    pub fn by_desc(mut self, column: E::Column) -> Self {
        self.order.push((column, Order::Desc));
        self
    }

    /// The page's objects.
    ///
    /// # Errors
    /// As [`crate::LoadExt::load`]; [`Error::Usage`] if the query has an order of its own, the cursor is of another order, or a
    /// column of the order has no text form, or is secret.
    ///
    /// # Cancel safety
    /// As any statement (C1).
    pub async fn load(mut self, s: &mut Session) -> Result<Page<E>, Error> {
        self.refuse_own_order()?;
        let places = self.places()?;
        let by = places.iter().map(Place::name).collect::<Vec<_>>().join(", ");
        if let Some(cursor) = self.after.take() {
            let facts = match places.iter().any(|place| place.meta.may_fold()) {
                true => Some(s.core().table_facts(table_of::<E>()).await?),
                false => None,
            };
            let values = place_values(&places, &by, &cursor, facts.as_deref(), s)?;
            self.query.select = self.query.select.filter(beyond(&places, &values));
        }
        let mut select = self.query.select.limit(self.limit);
        for place in &places {
            let order = if place.descending { Order::Desc } else { Order::Asc };
            let nulls = if place.descending { NullOrdering::First } else { NullOrdering::Last };
            select = match place.meta.nullable {
                true => select.order_by_with_nulls(place.column, order, nulls),
                false => select.order_by(place.column, order),
            };
        }
        self.query.select = select;
        let mut last = Vec::new();
        let rows = self.query.load_graph(s, |_, model: &E::Model| {
            last = places.iter().map(|place| model.get(place.column)).collect();
            Ok(())
        });
        let objects: Vec<Tracked<E>> = rows.await?.into_iter().map(|(object, ())| object).collect();
        let full = objects.len() as u64 == self.limit && !objects.is_empty();
        let next = full.then(|| Cursor { by, after: last.iter().map(to_text).collect() });
        Ok(Page { objects, next })
    }

    /// An order of the query's own would come first, and its columns are in no cursor.
    fn refuse_own_order(&self) -> Result<(), Error> {
        let mut without = self.query.select.clone();
        QueryOrder::query(&mut without).clear_order_by();
        let mut with = self.query.select.clone();
        if QueryOrder::query(&mut without) == QueryOrder::query(&mut with) {
            return Ok(());
        }
        let entity = table_of::<E>().entity;
        Err(Error::usage(format!(
            "a page of {entity} has its order from `.by(…)` and `.by_desc(…)`, not from the query"
        )))
    }

    /// The columns of the order, with the key's at its end.
    fn places(&self) -> Result<Vec<Place<E>>, Error> {
        let table = table_of::<E>();
        let keys = E::PrimaryKey::iter().map(|key| (key.into_column(), Order::Asc));
        let mut places: Vec<Place<E>> = Vec::new();
        for (column, order) in self.order.iter().cloned().chain(keys) {
            let Some(at) = table.column(column.as_str()) else { continue };
            if places.iter().any(|place| place.at == at) {
                continue;
            }
            let meta = &table.columns[at];
            let refused =
                |why: &str| Error::usage(format!("{}.{} cannot be paged by: it {why}", table.entity, meta.name));
            if table.secret.contains(at) {
                return Err(refused("is secret, and a cursor would tell it"));
            }
            if meta.array || meta.json || !meta.is_simple() {
                return Err(refused("has no text form for a cursor"));
            }
            places.push(Place { column, at, meta, descending: matches!(order, Order::Desc) });
        }
        Ok(places)
    }
}

impl<E: TrackedEntity> Place<E> {
    fn name(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.meta.name)
    }

    fn expr(&self) -> Expr {
        Expr::col(self.column.as_column_ref())
    }
}

/// What the cursor's row held in each column, as an expression that the column can be compared with; none for NULL.
fn place_values<E: TrackedEntity>(
    places: &[Place<E>],
    by: &str,
    cursor: &Cursor,
    facts: Option<&TableFacts>,
    s: &Session,
) -> Result<Vec<Option<Expr>>, Error> {
    let entity = table_of::<E>().entity;
    let other = |found: &str| Error::usage(format!("this cursor of {entity} is of the order by {found}, not by {by}"));
    if cursor.by != by || cursor.after.len() != places.len() {
        return Err(other(&cursor.by));
    }
    let value = |(place, text): (&Place<E>, &Option<String>)| -> Result<Option<Expr>, Error> {
        let Some(text) = text else { return Ok(None) };
        let wrong = || Error::usage(format!("this cursor's {entity}.{} is no value of that column", place.meta.name));
        let value = from_text(&place.meta.kind, text).filter(|value| !is_null(value)).ok_or_else(wrong)?;
        let value = place.column.save_as(Expr::val(value));
        // As the column compares its own values (D5).
        Ok(Some(match facts {
            Some(facts) => Expr::cust_with_expr(facts.compared(place.at, s.dialect().hole), value),
            None => value,
        }))
    };
    places.iter().zip(&cursor.after).map(value).collect()
}

/// The rows that come after these values.
fn beyond<E: TrackedEntity>(places: &[Place<E>], values: &[Option<Expr>]) -> Condition {
    let descending = places.iter().all(|place| place.descending);
    let one_way = descending || places.iter().all(|place| !place.descending);
    if one_way
        && places.iter().all(|place| !place.meta.nullable)
        && let Some(values) = values.iter().cloned().collect::<Option<Vec<Expr>>>()
    {
        // One comparison of rows, which an index on these columns answers.
        let (columns, values) = (Expr::tuple(places.iter().map(Place::expr)), Expr::tuple(values));
        return Condition::all().add(if descending { columns.lt(values) } else { columns.gt(values) });
    }
    let mut any = Condition::any();
    let mut same = Condition::all();
    for (place, value) in places.iter().zip(values) {
        if let Some(after) = after(place, value) {
            any = any.add(same.clone().add(after));
        }
        same = same.add(match value {
            Some(value) => place.expr().eq(value.clone()),
            None => place.expr().is_null(),
        });
    }
    any
}

/// The rows that come after a value in one column. NULL counts as larger than any value; none if nothing is larger.
fn after<E: TrackedEntity>(place: &Place<E>, value: &Option<Expr>) -> Option<Condition> {
    let column = || place.expr();
    match (value, place.descending) {
        (Some(value), true) => Some(Condition::all().add(column().lt(value.clone()))),
        (None, true) => Some(Condition::all().add(column().is_not_null())),
        (Some(value), false) if place.meta.nullable => {
            Some(Condition::any().add(column().gt(value.clone())).add(column().is_null()))
        }
        (Some(value), false) => Some(Condition::all().add(column().gt(value.clone()))),
        (None, false) => None,
    }
}
