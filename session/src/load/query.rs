//! Loading through the identity map (I): one row, one object, however it is reached.

use std::future::Future;

use rustc_hash::FxHashMap;
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, DbBackend, EntityTrait, IntoActiveModel, Iterable,
    ModelTrait, PrimaryKeyToColumn, QueryFilter, QueryResult, QuerySelect, QueryTrait, Select, Statement, Value,
    sea_query::{Asterisk, Expr, ExprTrait, IntoValueTuple, LockBehavior, LockType, Query, ValueTuple, Values},
};

use super::{row_reader::RowReader, stream::Rows};
use crate::{
    Session, Tracked,
    connection::{Fetch, Message, Reply, boxed::boxed, text::cut_by_bytes},
    error::Error,
    objects::{
        Object, Phase, State,
        identity::Key,
        key_of, keys_of,
        states::{self, Operation},
    },
    run::options::Settings,
    table::{
        facts::{Equality, TableFacts},
        meta::{self, TableMeta, TrackedEntity},
        value,
    },
    unit::core::Core,
};

/// At most this many values of keys are asked for in one statement: SQLite takes 32,766 parameters.
const VALUES_A_STATEMENT: usize = 10_000;

/// How many keys of this many columns go into one statement.
pub(crate) fn keys_a_statement(columns: usize) -> usize {
    (VALUES_A_STATEMENT / columns.max(1)).max(1)
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
        if let Some(object) = core.map.get::<E>(&Key::borrowed(&tuple))
            && let Some(phase) = object.phase_unless_expired()
        {
            core.hits += 1;
            core.usable()?;
            return Ok(is_there(phase).then(|| object.clone().into()));
        }
        // Boxed, so that a look-up which needs no SQL carries no room for one.
        boxed(|| self.fetch::<E>(tuple)).await
    }

    async fn fetch<E: TrackedEntity>(&mut self, tuple: ValueTuple) -> Result<Option<Tracked<E>>, Error> {
        self.core().connection.counters().miss();
        let (table, backend) = (meta::table::<E>(), self.backend());
        let values = key_values(table, tuple)?;
        let by_key = || E::find().filter(key_filter::<E>(values.clone())).build(backend).sql;
        let sql = table.texts.by_key(backend, by_key);
        let message = Message::Built { sql, values: Values(values.clone()), fetch: Fetch::One };
        let rows = ask(self, table, message).await?.rows();
        if let Some(row) = rows.first() {
            let model = RowReader::<E>::in_order().read(row)?;
            return Ok(Some(admit::<E>(self.core(), model, false, false)?));
        }
        let values = self.keys_compared::<E>(values).await?;
        if let Some(other) = values.folding {
            let found = self.matching::<E>(&table.keys, &other, std::slice::from_ref(&values.values)).await?;
            if let Some((_, key)) = found.into_iter().next() {
                return Ok(self.get_by_values::<E>(vec![key]).await?.pop());
            }
        }
        self.core().vanished::<E>(&Key::from_values(values.values));
        Ok(None)
    }

    /// A key, and how the database compares it where that is not by its bytes (D5).
    async fn keys_compared<E: TrackedEntity>(&mut self, values: Vec<Value>) -> Result<Compared, Error> {
        let table = meta::table::<E>();
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
        let table = meta::table::<E>();
        let mut missing = Vec::new();
        for key in &keys {
            if self.core().map.get::<E>(&Key::from_values(key.clone())).is_none_or(Object::is_expired) {
                missing.push(key.clone());
            }
        }
        if !missing.is_empty() {
            let facts = self.core().table_facts(table).await?;
            for some in cut_by_bytes(&missing, keys_a_statement(table.keys.len())) {
                let condition = match facts.folds(&table.keys) {
                    false => keys_filter::<E>(some, self.backend()),
                    true => compared_filter::<E>(some, &facts, self.backend()),
                };
                E::find().filter(condition).load(self).await?;
            }
        }
        let core = self.core();
        let held = keys.into_iter().filter_map(|key| core.map.get::<E>(&Key::from_values(key)));
        Ok(held.filter(|object| is_there(object.phase())).map(|object| object.clone().into()).collect())
    }

    /// The objects with these keys, in the order of the keys; keys without a row are left out. Asks only for what the map
    /// does not hold, in one statement (I5); in as few as their parameters allow, if there are thousands.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_many<E: TrackedEntity>(
        &mut self,
        keys: impl IntoIterator<Item = impl IntoValueTuple>,
    ) -> Result<Vec<Tracked<E>>, Error> {
        let tuples: Vec<ValueTuple> = keys.into_iter().map(IntoValueTuple::into_value_tuple).collect();
        let core = self.core();
        let missing: Vec<ValueTuple> = tuples
            .iter()
            .filter(|tuple| core.map.get::<E>(&Key::from_tuple((*tuple).clone())).is_none_or(Object::is_expired))
            .cloned()
            .collect();
        core.hits += (tuples.len() - missing.len()) as u64;
        missing.iter().for_each(|_| core.connection.counters().miss());
        let table = meta::table::<E>();
        let missing = missing.into_iter().map(|tuple| key_values(table, tuple)).collect::<Result<Vec<_>, Error>>()?;
        let mut spelled: FxHashMap<Key, Key> = FxHashMap::default();
        if !missing.is_empty() {
            let Compared { values: missing, folding } = self.all_compared::<E>(missing).await?;
            match folding {
                None => {
                    for some in cut_by_bytes(&missing, keys_a_statement(table.keys.len())) {
                        E::find().filter(keys_filter::<E>(some, self.backend())).load(self).await?;
                    }
                }
                Some(equality) => {
                    // Each key as its row spells it, as the database compares them (D5).
                    let found = self.matching::<E>(&table.keys, &equality, &missing).await?;
                    for (at, key) in &found {
                        spelled.insert(Key::from_values(missing[*at].clone()), Key::from_values(key.clone()));
                    }
                    self.get_by_values::<E>(found.into_iter().map(|(_, key)| key).collect()).await?;
                }
            }
            for key in missing {
                let key = Key::from_values(key);
                if !spelled.contains_key(&key) {
                    self.core().vanished::<E>(&key);
                }
            }
        }
        let core = self.core();
        let held = tuples.into_iter().filter_map(|tuple| {
            let key = Key::from_tuple(tuple);
            core.map.get::<E>(spelled.get(&key).unwrap_or(&key))
        });
        Ok(held.filter(|object| is_there(object.phase())).map(|object| object.clone().into()).collect())
    }

    async fn all_compared<E: TrackedEntity>(
        &mut self,
        values: Vec<Vec<Value>>,
    ) -> Result<Compared<Vec<Vec<Value>>>, Error> {
        let Compared { folding, .. } = self.keys_compared::<E>(Vec::new()).await?;
        Ok(Compared { values, folding })
    }

    /// Reads an object's row again and overwrites it, changes included.
    ///
    /// # Errors
    /// [`Error::Stale`] if the row is gone; [`Error::UnrepeatableRead`] in an optimistic unit (P5).
    pub async fn refresh<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        self.reload(object, None).await
    }

    /// Locks an object's row until the end of the transaction and reads it again (I3). On SQLite a writing unit holds the
    /// write lock already; the row is read again all the same.
    ///
    /// # Errors
    /// As [`Session::refresh`].
    pub async fn lock<E: TrackedEntity>(&mut self, object: &Tracked<E>) -> Result<(), Error> {
        self.reload(object, Some(LockType::Update)).await
    }

    /// Reads an expired object again: what was set since stays set.
    ///
    /// # Errors
    /// [`Error::Stale`] if its row is gone.
    pub(crate) async fn read_again<E: TrackedEntity>(&mut self, object: &Object<E>) -> Result<(), Error> {
        self.reload_object(object, None, false).await
    }

    async fn reload<E: TrackedEntity>(&mut self, object: &Tracked<E>, lock: Option<LockType>) -> Result<(), Error> {
        self.reload_object(object.object(), lock, true).await
    }

    async fn reload_object<E: TrackedEntity>(
        &mut self,
        object: &Object<E>,
        lock: Option<LockType>,
        overwrite: bool,
    ) -> Result<(), Error> {
        let (table, backend) = (meta::table::<E>(), self.backend());
        let entity = table.entity;
        // To this unit another unit's object is as detached as can be.
        let own = object.belongs_to(&self.core().shared);
        let state = if own { object.state() } else { State::Detached };
        let key = object.row_key().filter(|_| states::next(state, Operation::Refresh).is_some());
        let Some(key) = key else {
            return Err(Error::usage(format!(
                "this {entity} is {state:?} and cannot be read again: {}",
                states::reason(state, Operation::Refresh)
            )));
        };
        let shown = object.key_for_messages();
        let values = key_values(table, key)?;
        let filter = match table.keys.iter().any(|key| table.columns[*key].may_fold()) {
            false => key_filter::<E>(values),
            true => {
                let facts = self.core().table_facts(table).await?;
                compared_filter::<E>(&[values], &facts, backend)
            }
        };
        let mut select = E::find().filter(filter);
        if let Some(lock) = lock {
            select = select.lock(lock);
        }
        // A guard, so that a dropped future leaves autoflush as it was.
        let mut quiet = self.no_autoflush();
        let found = Loader { select, refresh: overwrite, lock: lock.is_some() }.load(&mut quiet).await?;
        drop(quiet);
        if !found.is_empty() {
            return Ok(());
        }
        if let Some(key) = object.map_key() {
            self.core().vanished::<E>(&key);
        }
        Err(Error::Stale { entity, key: shown.into(), expected: None, found: None })
    }

    /// Brings a model from elsewhere into the unit: onto the object with its key, loaded if need be, or as a new one.
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
    /// unless its version says that it was read from a row, and changed there, that is gone.
    ///
    /// # Errors
    /// [`Error::Stale`] if the entity has a version and the model's is not the row's, or the row is gone (O3, E3).
    ///
    /// # Cancel safety
    /// As [`Session::get`]; nothing is changed before the row was found.
    pub async fn merge<E: TrackedEntity>(&mut self, model: E::Model) -> Result<Tracked<E>, Error> {
        let table = meta::table::<E>();
        let brought = table.version.and_then(|v| E::Column::iter().nth(v)).map(|v| value::as_integer(&model.get(v)));
        let Some(object) = self.get::<E>(model.get_primary_key_value()).await? else {
            if let Some(expected) = brought.flatten().filter(|version| *version > FIRST_VERSION) {
                let key = table.show_key(&keys_of::<E>(&model)).into();
                return Err(Error::Stale { entity: table.entity, key, expected: Some(expected), found: None });
            }
            return Ok(self.add(new_row::<E>(table, model)));
        };
        expect_version(table, &object, brought)?;
        for (position, column) in E::Column::iter().enumerate() {
            let kept = table.is_kept(position) || table.not_brought.contains(&position);
            if !kept && object.object().get(column).as_ref() != Some(&model.get(column)) {
                object.object().set(column, model.get(column))?;
            }
        }
        Ok(object)
    }

    /// Changes what is `Set` in an active model on the row with this key, and nothing else; `None` if there is no such row:
    /// nothing is ever inserted.
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
        changes: E::ActiveModel,
    ) -> Result<Option<Tracked<E>>, Error> {
        let Some(object) = self.get::<E>(key).await? else { return Ok(None) };
        let table = meta::table::<E>();
        let set = E::Column::iter().enumerate().filter_map(|(position, column)| match changes.get(column) {
            ActiveValue::Set(value) => Some((position, column, value)),
            ActiveValue::Unchanged(_) | ActiveValue::NotSet => None,
        });
        let set: Vec<(usize, E::Column, Value)> = set.collect();
        let held = |position: &usize| object.object().any_column(*position);
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
                    object.object().key_for_messages()
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
    let held = table.version.and_then(|version| object.object().any_column(version));
    let held = held.as_ref().and_then(value::as_integer);
    match brought {
        // An object that is still to be inserted has none yet.
        Some(expected) if expected != held && held.is_some() => {
            let key = object.object().key_for_messages().into();
            Err(Error::Stale { entity: table.entity, key, expected, found: held })
        }
        _ => Ok(()),
    }
}

/// A model from outside as a new row, which gets its version, its times and its tenant from the flush.
fn new_row<E: TrackedEntity>(table: &TableMeta, model: E::Model) -> E::ActiveModel {
    let mut draft = model.into_active_model();
    for (position, column) in E::Column::iter().enumerate() {
        let own = [table.version, table.tenant, table.created_at, table.updated_at].contains(&Some(position));
        if own || table.not_brought.contains(&position) {
            draft.not_set(column);
        }
    }
    draft
}

/// Keys, and how the database compares them where that is not by their bytes (D5).
struct Compared<V = Vec<Value>> {
    values: V,
    folding: Option<Vec<Option<Equality>>>,
}

fn is_there(phase: Phase) -> bool {
    matches!(phase, Phase::Persistent | Phase::Pending)
}

/// Values of a key as the columns want them: an `i32` for an `i64` column and the other way round (I7).
fn key_values(table: &TableMeta, tuple: ValueTuple) -> Result<Vec<Value>, Error> {
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
        if let Some(n) = value::as_integer(value).filter(|_| meta::is_integer(kind)) {
            *value = value::integer(kind, n);
        }
    }
    Ok(values)
}

fn key_filter<E: TrackedEntity>(values: Vec<Value>) -> Condition {
    let columns = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    columns.zip(values).fold(Condition::all(), |all, (column, value)| all.add(column.eq(value)))
}

/// Rows whose key is one of these.
fn keys_filter<E: TrackedEntity>(rows: &[Vec<Value>], backend: DbBackend) -> Condition {
    let columns: Vec<E::Column> = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect();
    let names = columns.iter().map(|column| Expr::col(column.as_column_ref())).collect();
    Condition::all().add(one_of(names, &columns, rows.to_vec(), backend))
}

/// Rows whose key is one of these, compared as the columns compare their own values (D5).
fn compared_filter<E: TrackedEntity>(rows: &[Vec<Value>], facts: &TableFacts, backend: DbBackend) -> Condition {
    let table = meta::table::<E>();
    let columns: Vec<E::Column> = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect();
    let hole = if backend == DbBackend::Sqlite { "?" } else { "$1" };
    let value = |(at, value): (usize, &Value)| {
        Expr::cust_with_expr(facts.compared(table.keys[at], hole), columns[at].save_as(Expr::val(value.clone())))
    };
    if let [column] = columns[..] {
        let values = rows.iter().flat_map(|row| row.iter().enumerate().map(value));
        return Condition::all().add(Expr::col(column.as_column_ref()).is_in(values));
    }
    rows.iter().fold(Condition::any(), |any, row| {
        let same = columns.iter().zip(row.iter().enumerate().map(value));
        let row =
            same.fold(Condition::all(), |all, (column, value)| all.add(Expr::col(column.as_column_ref()).eq(value)));
        any.add(row)
    })
}

/// Whether `names` hold the values of one of `rows`, which are those of `columns`. One flat list, never a chain of ORs, which
/// is as deep as it is long.
pub(crate) fn one_of<C: ColumnTrait>(
    mut names: Vec<Expr>,
    columns: &[C],
    rows: Vec<Vec<Value>>,
    backend: DbBackend,
) -> Expr {
    // Cast as the columns ask for it (enums), which bare values would not be.
    let cast = |row: Vec<Value>| columns.iter().zip(row).map(|(column, value)| column.save_as(Expr::val(value)));
    match (names.len(), backend) {
        (1, _) => names.swap_remove(0).is_in(rows.into_iter().flat_map(cast)),
        // SQLite compares a row with the rows of a query only.
        (_, DbBackend::Sqlite) => {
            let rows = rows.into_iter().map(ValueTuple::Many);
            Expr::tuple(names).in_subquery(Query::select().column(Asterisk).from_values(rows, "keys").take())
        }
        _ => Expr::tuple(names).is_in(rows.into_iter().map(|row| Expr::tuple(cast(row)))),
    }
}

/// A query whose rows come in through the identity map.
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until `.load(s)` or `.load_one(s)`"]
pub struct Loader<E: EntityTrait> {
    select: Select<E>,
    refresh: bool,
    lock: bool,
}

/// Loads a SeaORM query through the identity map: `note::Entity::find().filter(…).load(s).await?`.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use sea_orm::QueryOrder;
///
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     s.add(draft("second"));
///     let notes = note::Entity::find().order_by_desc(note::Column::Id).load(s).await?;
///     assert_eq!(notes.len(), 2);
///     let first = note::Entity::find().filter(note::Column::Title.eq("first")).for_update().load_one(s).await?;
///     assert!(Tracked::ptr_eq(&first.expect("it is there"), &notes[1]));
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
pub trait LoadExt<E: TrackedEntity>: Sized {
    /// The query as a loader, to ask for locks or fresh values first.
    fn tracked(self) -> Loader<E>;

    /// All rows, as objects of the session.
    ///
    /// # Errors
    /// What the database says; [`Error::UnrepeatableRead`] in an optimistic unit (P5).
    fn load(self, s: &mut Session) -> impl Future<Output = Result<Vec<Tracked<E>>, Error>> + Send {
        self.tracked().load(s)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    fn load_one(self, s: &mut Session) -> impl Future<Output = Result<Option<Tracked<E>>, Error>> + Send {
        self.tracked().load_one(s)
    }

    /// The rows one at a time, untracked, with memory flat (I6). Pending changes are flushed first; the session can be used
    /// again when the rows are dropped. (Not `stream`: SeaORM's feature of that name gives `Select` a method of its own.)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let mut rows = note::Entity::find().rows(s).await?;
    ///     while let Some(note) = rows.next().await? {
    ///         assert_eq!(note.title, "first");             // a plain model
    ///     }
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; the flush fails.
    ///
    /// # Cancel safety
    /// As any statement: dropped half-way it flags its block (C1). See [`Rows::next`] for the rows.
    fn rows(self, s: &mut Session) -> impl Future<Output = Result<Rows<'_, E>, Error>> + Send;

    /// Overwrites objects that are in the map already, changes included (I3).
    fn refresh(self) -> Loader<E> {
        self.tracked().refresh()
    }

    /// `FOR UPDATE`; what is loaded under a lock is fresh (I3). On SQLite the writing unit holds the only write lock.
    fn for_update(self) -> Loader<E> {
        self.tracked().for_update()
    }

    /// `FOR UPDATE SKIP LOCKED`. On SQLite nothing is ever locked by somebody else, so nothing is skipped.
    fn skip_locked(self) -> Loader<E> {
        self.tracked().skip_locked()
    }

    /// `FOR UPDATE NOWAIT`. On SQLite there is nothing to wait for.
    fn nowait(self) -> Loader<E> {
        self.tracked().nowait()
    }
}

impl<E: TrackedEntity> LoadExt<E> for Select<E> {
    fn rows(self, s: &mut Session) -> impl Future<Output = Result<Rows<'_, E>, Error>> + Send {
        Rows::open(self, s)
    }

    fn tracked(self) -> Loader<E> {
        Loader { select: self, refresh: false, lock: false }
    }
}

impl<E: TrackedEntity> Loader<E> {
    /// See [`LoadExt::refresh`].
    pub fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    /// See [`LoadExt::for_update`].
    pub fn for_update(mut self) -> Self {
        self.select = self.select.lock(LockType::Update);
        self.lock = true;
        self
    }

    /// See [`LoadExt::skip_locked`].
    pub fn skip_locked(mut self) -> Self {
        self.select = self.select.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        self.lock = true;
        self
    }

    /// See [`LoadExt::nowait`].
    pub fn nowait(mut self) -> Self {
        self.select = self.select.lock_with_behavior(LockType::Update, LockBehavior::Nowait);
        self.lock = true;
        self
    }

    /// See [`LoadExt::load`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    pub async fn load(self, s: &mut Session) -> Result<Vec<Tracked<E>>, Error> {
        let statement = self.select.build(s.backend());
        let lock = self.lock || self.asks_for_lock(&statement);
        read::<E>(s, statement, self.refresh, lock).await
    }

    /// A lock that SeaORM's own builder asked for counts as well; the query does not say so but by its text.
    fn asks_for_lock(&self, statement: &Statement) -> bool {
        let locks = |sql: &str| {
            let tail = sql.rfind(" FOR ").map_or("", |at| &sql[at..]);
            tail.starts_with(" FOR UPDATE") || tail.starts_with(" FOR NO KEY UPDATE")
        };
        match statement.db_backend {
            // SQLite's text leaves the lock out.
            DbBackend::Sqlite => locks(&self.select.build(DbBackend::Postgres).sql),
            _ => locks(&statement.sql),
        }
    }

    /// See [`LoadExt::load_one`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    pub async fn load_one(mut self, s: &mut Session) -> Result<Option<Tracked<E>>, Error> {
        self.select = self.select.limit(1);
        Ok(self.load(s).await?.pop())
    }
}

/// Sends a question about rows of this table.
async fn ask(s: &mut Session, table: &TableMeta, message: Message<'_>) -> Result<Reply, Error> {
    refuse_without_tenant(table, &s.core().settings)?;
    s.core().statement_about(message, !table.secret.is_empty()).await
}

/// Reads rows through the map.
async fn read<E: TrackedEntity>(
    s: &mut Session,
    statement: Statement,
    refresh: bool,
    lock: bool,
) -> Result<Vec<Tracked<E>>, Error> {
    let (mut reader, mut models) = (RowReader::<E>::new(), Vec::new());
    let mut failed = None;
    let mut take = |row: QueryResult| match reader.read(&row) {
        Ok(model) if failed.is_none() => models.push(model),
        Ok(_) => {}
        Err(e) => _ = failed.get_or_insert(e),
    };
    ask(s, meta::table::<E>(), Message::Read(statement, &mut take)).await?;
    let core = s.core();
    core.map.reserve::<E>(models.len());
    let objects = models.into_iter().map(|model| admit::<E>(core, model, refresh, lock));
    let objects = objects.collect::<Result<_, Error>>()?;
    failed.map_or(Ok(objects), |e| Err(e.into()))
}

/// A tenant's entity is not read without a tenant (T2).
pub(crate) fn refuse_without_tenant(table: &TableMeta, settings: &Settings) -> Result<(), Error> {
    match (table.tenant, &settings.tenant) {
        (Some(_), None) => {
            Err(Error::Tenant { entity: table.entity, reason: "open the unit with `.tenant(key, …)`".into() })
        }
        _ => Ok(()),
    }
}

/// As [`refuse_without_tenant`]; nor is another tenant's row.
pub(crate) fn refuse_other_tenant<E: TrackedEntity>(
    table: &TableMeta,
    settings: &Settings,
    model: &E::Model,
) -> Result<(), Error> {
    refuse_without_tenant(table, settings)?;
    let (Some(column), Some((_, tenant))) = (table.tenant, &settings.tenant) else { return Ok(()) };
    let held = E::Column::iter().nth(column).map(|column| model.get(column));
    match held.as_ref().map(value::tenant_text) {
        Some(owner) if owner.as_deref() != Some(tenant) => Err(Error::Tenant {
            entity: table.entity,
            reason: "the row belongs to another tenant than the unit".into(),
        }),
        _ => Ok(()),
    }
}

/// Brings one row into the map (I1, I3).
pub(crate) fn admit<E: TrackedEntity>(
    core: &mut Core,
    model: E::Model,
    refresh: bool,
    locked: bool,
) -> Result<Tracked<E>, Error> {
    let table = meta::table::<E>();
    refuse_other_tenant::<E>(table, &core.settings, &model)?;
    let key = key_of::<E>(table, &model);
    if let Some(held) = core.map.get::<E>(&key) {
        let held = held.clone();
        let holder = core.holder();
        if held.reread(model, refresh || locked, locked, core.frames[holder].id)? {
            core.frames[holder].undo.touch(held.as_any_object());
        }
        return Ok(held.into());
    }
    let object = Object::loaded(model, key.clone(), locked, &core.shared);
    core.map.insert(key, object.clone());
    // Rolled back, a block forgets what it loaded first (S5); the unit's own block ends with the map itself.
    let holder = core.holder();
    if holder > 0 {
        core.frames[holder].undo.load(object.as_any_object());
    }
    Ok(object.into())
}
