//! Loading by key (I5): one object or many, from the map without SQL or from the database.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sea_orm::{
    ColumnTrait, Condition, Iterable, PrimaryKeyToColumn, QueryFilter, QueryTrait, Statement, Value,
    sea_query::{Expr, ExprTrait, IntoValueTuple, ValueTuple, Values},
};

use super::{
    admit::admit,
    query::{LoadExt, ask},
    row_reader::RowReader,
};
use crate::{
    connection::{Fetch, Message, boxed::boxed, text::cut_by_bytes},
    dialect::Dialect,
    error::Error,
    objects::{
        AnyObject, Phase, Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    table::{
        facts::{Equality, TableFacts},
        kinds::ColumnKind,
        meta::TableMeta,
        value,
    },
    unit::{core::Core, session::Session},
};

/// At most this many values of keys are asked for in one statement: SQLite takes 32,766 parameters.
const VALUES_A_STATEMENT: usize = 10_000;

/// How many keys of this many columns go into one statement.
pub(crate) fn keys_a_statement(columns: usize, dialect: &Dialect) -> usize {
    match columns {
        0 | 1 => VALUES_A_STATEMENT,
        _ => (VALUES_A_STATEMENT / columns).max(1).min(dialect.most_selected()),
    }
}

impl Session {
    /// The object with this key: from the map without SQL, or from the database.
    ///
    /// A deleted object is `None`. The key may be of any integer width.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let again = s.get::<note::Entity>(1).await?.expect("from the map, without SQL");
    ///     assert!(Tracked::ptr_eq(&note, &again));
    ///     assert!(s.get::<note::Entity>(2).await?.is_none());
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; a key of another shape than the entity's.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn get<E: TrackedEntity>(&mut self, key: impl IntoValueTuple) -> Result<Option<Tracked<E>>, Error> {
        let tuple = key.into_value_tuple();
        let core = self.core();
        if let Some(object) = core.map.get(table_of::<E>(), &Key::borrowed(&tuple))
            && let Some(phase) = object.phase_unless_expired()
            && let Some(shown) = core.filters.shows(object)
        {
            core.hits += 1;
            core.usable()?;
            return Ok((shown && is_there(phase)).then(|| Tracked::of(object.clone())));
        }
        // Boxed, so that a look-up which needs no SQL carries no room for one.
        boxed(|| self.fetch::<E>(tuple)).await
    }

    async fn fetch<E: TrackedEntity>(&mut self, tuple: ValueTuple) -> Result<Option<Tracked<E>>, Error> {
        self.core().connection.counters().miss();
        let table = table_of::<E>();
        let values = key_values(table, tuple)?;
        let message = self.core().row_with_key::<E>(&values)?;
        let rows = ask(self, table, message).await?.rows();
        if let Some(row) = rows.first() {
            let model = RowReader::<E>::in_order().read(row)?;
            return Ok(Some(admit::<E>(self.core(), Arc::new(model), false, false)?));
        }
        let values = self.keys_compared(table, values).await?;
        if let Some(other) = values.folding {
            let found = self.matching(table, &table.keys, &other, std::slice::from_ref(&values.values)).await?;
            if let Some((_, key)) = found.into_iter().next() {
                return Ok(self.get_by_values::<E>(vec![key]).await?.pop());
            }
        }
        self.core().not_found(table, &Key::from_values(values.values));
        Ok(None)
    }

    /// A key, and how the database compares it where that is not by its bytes (D5).
    async fn keys_compared(&mut self, table: &'static TableMeta, values: Vec<Value>) -> Result<Compared, Error> {
        if !table.keys.iter().any(|key| table.columns[*key].may_fold()) {
            return Ok(Compared { values, folding: None });
        }
        let facts = self.core().table_facts(table).await?;
        let folding = facts.folds(&table.keys).then(|| facts.equality_of(&table.keys));
        Ok(Compared { values, folding })
    }

    /// The objects with these keys, each as its row spells it, in any order.
    pub(crate) async fn get_by_values<E: TrackedEntity>(
        &mut self,
        keys: Vec<Vec<Value>>,
    ) -> Result<Vec<Tracked<E>>, Error> {
        let table = table_of::<E>();
        let mut missing = Vec::new();
        for key in &keys {
            let core = self.core();
            if core.map.get(table, &Key::from_values(key.clone())).is_none_or(|object| core.must_ask(object)) {
                missing.push(key.clone());
            }
        }
        if !missing.is_empty() {
            let facts = self.core().table_facts(table).await?;
            let most_bytes = self.core().connection.most_bytes(table);
            for some in cut_by_bytes(&missing, keys_a_statement(table.keys.len(), self.dialect()), most_bytes) {
                let condition = match facts.folds(&table.keys) {
                    false => keys_filter::<E>(some, self.dialect()),
                    true => compared_filter::<E>(some, &facts, self.dialect()),
                };
                E::find().filter(condition).load(self).await?;
            }
        }
        let core = self.core();
        let held = keys.into_iter().filter_map(|key| core.map.get(table, &Key::from_values(key)));
        Ok(held.filter(|object| core.gives(object)).map(|object| Tracked::of(object.clone())).collect())
    }

    /// The objects with these keys, one answer for each key in the order of the keys; `None` where there is no row. Asks only
    /// for what the map does not hold, in one statement (I5); in as few as their parameters allow, if there are thousands.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let keys = [2, 1];
    ///     for (key, note) in keys.into_iter().zip(s.get_many::<note::Entity>(keys).await?) {
    ///         match note {
    ///             Some(note) => assert_eq!((key, note.title()), (1, "first".to_owned())),
    ///             None => assert_eq!(key, 2),
    ///         }
    ///     }
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::get`].
    ///
    /// # Cancel safety
    /// As [`Session::get`].
    pub async fn get_many<E: TrackedEntity>(
        &mut self,
        keys: impl IntoIterator<Item = impl IntoValueTuple>,
    ) -> Result<Vec<Option<Tracked<E>>>, Error> {
        let tuples: Vec<ValueTuple> = keys.into_iter().map(IntoValueTuple::into_value_tuple).collect();
        let (table, core) = (table_of::<E>(), self.core());
        let missing: Vec<ValueTuple> = tuples
            .iter()
            .filter(|tuple| {
                let held = core.map.get(table, &Key::from_tuple((*tuple).clone()));
                held.is_none_or(|object| core.must_ask(object))
            })
            .cloned()
            .collect();
        core.hits += (tuples.len() - missing.len()) as u64;
        missing.iter().for_each(|_| core.connection.counters().miss());
        let missing = missing.into_iter().map(|tuple| key_values(table, tuple)).collect::<Result<Vec<_>, Error>>()?;
        let mut spelled: FxHashMap<Key, Key> = FxHashMap::default();
        if !missing.is_empty() {
            let Compared { values: missing, folding } = self.all_compared(table, missing).await?;
            match folding {
                None => {
                    let most_bytes = self.core().connection.most_bytes(table);
                    for some in cut_by_bytes(&missing, keys_a_statement(table.keys.len(), self.dialect()), most_bytes) {
                        E::find().filter(keys_filter::<E>(some, self.dialect())).load(self).await?;
                    }
                }
                Some(equality) => {
                    // Each key as its row spells it, as the database compares them (D5).
                    let found = self.matching(table, &table.keys, &equality, &missing).await?;
                    for (at, key) in &found {
                        spelled.insert(Key::from_values(missing[*at].clone()), Key::from_values(key.clone()));
                    }
                    self.get_by_values::<E>(found.into_iter().map(|(_, key)| key).collect()).await?;
                }
            }
            for key in missing {
                let key = Key::from_values(key);
                if !spelled.contains_key(&key) {
                    self.core().not_found(table, &key);
                }
            }
        }
        let core = self.core();
        let held = tuples.into_iter().map(|tuple| {
            let key = Key::from_tuple(tuple);
            core.map.get(table, spelled.get(&key).unwrap_or(&key))
        });
        Ok(held.map(|object| object.filter(|object| core.gives(object)).cloned().map(Tracked::of)).collect())
    }

    async fn all_compared(
        &mut self,
        table: &'static TableMeta,
        values: Vec<Vec<Value>>,
    ) -> Result<Compared<Vec<Vec<Value>>>, Error> {
        let Compared { folding, .. } = self.keys_compared(table, Vec::new()).await?;
        Ok(Compared { values, folding })
    }
}

/// Keys, and how the database compares them where that is not by their bytes (D5).
struct Compared<V = Vec<Value>> {
    values: V,
    folding: Option<Vec<Option<Equality>>>,
}

impl Core {
    /// The question for the row with this key, as this unit may see it.
    fn row_with_key<'m, E: TrackedEntity>(&self, key: &[Value]) -> Result<Message<'m>, Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        // Refused before a text is kept.
        let tenant = self.tenant_of(table)?;
        let select = || -> Result<Statement, Error> {
            Ok(self.filtered(E::find().filter(key_filter::<E>(key.to_vec())))?.build(dialect.backend))
        };
        if !self.reads_as_usual(table) {
            return Ok(Message::Statement(select()?, Fetch::One));
        }
        let sql = table.texts.by_key(dialect.number(), || select().map(|select| select.sql))?;
        Ok(Message::Built { sql, values: Values(key.iter().cloned().chain(tenant).collect()), fetch: Fetch::One })
    }

    /// Whether only the database can tell if a read gives this object of the map.
    pub(crate) fn must_ask(&self, object: &AnyObject) -> bool {
        object.is_expired() || self.filters.shows(object).is_none()
    }

    /// Whether a read gives this object of the map.
    pub(crate) fn gives(&self, object: &AnyObject) -> bool {
        is_there(object.phase()) && !object.wants_reading() && self.filters.shows(object) == Some(true)
    }
}

fn is_there(phase: Phase) -> bool {
    matches!(phase, Phase::Persistent | Phase::Pending)
}

/// Values of a key as the columns want them: an `i32` for an `i64` column and the other way round (I7).
pub(crate) fn key_values(table: &TableMeta, tuple: ValueTuple) -> Result<Vec<Value>, Error> {
    let mut values = match tuple {
        ValueTuple::One(value) => vec![value],
        several => several.into_iter().collect(),
    };
    if values.len() != table.keys.len() {
        return Err(Error::usage(format!(
            "the key of {} has {} columns, {} were given",
            table.entity,
            table.keys.len(),
            values.len()
        )));
    }
    for (column, value) in table.keys.iter().zip(&mut values) {
        let kind = &table.columns[*column].kind;
        if let Some(n) = value::as_integer(value).filter(|_| ColumnKind::of(kind).is_integer()) {
            *value = value::integer(kind, n);
        }
    }
    Ok(values)
}

pub(crate) fn key_filter<E: TrackedEntity>(values: Vec<Value>) -> Condition {
    let columns = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    columns.zip(values).fold(Condition::all(), |all, (column, value)| all.add(column.eq(value)))
}

/// Rows whose key is one of these.
fn keys_filter<E: TrackedEntity>(rows: &[Vec<Value>], dialect: &Dialect) -> Condition {
    let columns: Vec<E::Column> = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect();
    let names = columns.iter().map(|column| Expr::col(column.as_column_ref())).collect();
    Condition::all().add(one_of(names, &columns, rows.to_vec(), dialect))
}

/// Rows whose key is one of these, compared as the columns compare their own values (D5).
pub(crate) fn compared_filter<E: TrackedEntity>(
    rows: &[Vec<Value>],
    facts: &TableFacts,
    dialect: &Dialect,
) -> Condition {
    let table = table_of::<E>();
    let columns: Vec<E::Column> = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect();

    let value = |(at, value): (usize, &Value)| {
        Expr::cust_with_expr(
            facts.compared(table.keys[at], dialect.hole),
            columns[at].save_as(Expr::val(value.clone())),
        )
    };
    if let [column] = columns[..] {
        let values = rows.iter().flat_map(|row| row.iter().enumerate().map(value));
        return Condition::all().add(Expr::col(column.as_column_ref()).is_in(values));
    }
    let names = columns.iter().map(|column| Expr::col(column.as_column_ref())).collect();
    let rows = rows.iter().map(|row| row.iter().enumerate().map(value).collect());
    Condition::all().add(one_row_of(names, rows.collect(), dialect))
}

/// Whether `names` hold the values of one of `rows`, which are those of `columns`.
pub(crate) fn one_of<C: ColumnTrait>(
    mut names: Vec<Expr>,
    columns: &[C],
    rows: Vec<Vec<Value>>,
    dialect: &Dialect,
) -> Expr {
    // Cast as the columns ask for it (enums), which bare values would not be.
    let cast = |row: Vec<Value>| columns.iter().zip(row).map(|(column, value)| column.save_as(Expr::val(value)));
    match names.len() {
        1 => names.swap_remove(0).is_in(rows.into_iter().flat_map(cast)),
        _ => one_row_of(names, rows.into_iter().map(|row| cast(row).collect()).collect(), dialect),
    }
}

/// Whether `names` hold the values of one of `rows`. Of several rows the database makes a table: of a list, where it takes one, its
/// time grows with the square (PostgreSQL tries each row of it with each of the table's, MariaDB looks at each pair of ranges). One
/// row is compared as it is, since MariaDB reads the whole table for a DELETE with a query in it.
fn one_row_of(names: Vec<Expr>, mut rows: Vec<Vec<Expr>>, dialect: &Dialect) -> Expr {
    if rows.len() == 1 {
        let same = names.into_iter().zip(rows.swap_remove(0)).map(|(name, value)| name.eq(value));
        return same.fold(Condition::all(), Condition::add).into();
    }
    let width = names.len();
    let called: Vec<String> = (0..width).map(|at| format!("k{at}")).collect();
    let tuple = |row: usize| {
        let places = (0..width).map(|at| dialect.place(2 + row * width + at));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    };
    let tuples: Vec<String> = (0..rows.len()).map(tuple).collect();
    let text = format!("{} IN (SELECT * FROM {})", dialect.place(1), dialect.rows_of("u", &called, &tuples));
    Expr::cust_with_exprs(text, std::iter::once(Expr::tuple(names)).chain(rows.into_iter().flatten()))
}
