//! What an entity's table looks like, read once from SeaORM's own definitions and from `#[tracked(…)]`.
//!
//! Columns are positions in `E::Column::iter()`; a set of columns is a bit mask ([`ColumnSet`]).

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ColumnType, DbBackend, DbErr, EntityTrait, IdenStatic, IntoActiveModel,
    Iterable, ModelTrait, PrimaryKeyToColumn, QueryResult, RelationTrait, TryIntoModel, Value,
    sea_query::{
        ArrayType, Expr, ForeignKeyAction, OptionEnum, PostgresQueryBuilder, Query, SchemaName, SqliteQueryBuilder,
        TableName, TableRef,
    },
};

use crate::{
    error::Error,
    flush::value::decode,
    names::Names,
    tracked::Object,
    value_ref::{Exactness, ValueRef},
};

/// An entity that sessions can track. Implemented by `#[derive(Tracked)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not tracked",
    label = "this entity is not tracked",
    note = "add `sea_session::Tracked` to the derives of its `Model`"
)]
pub trait TrackedEntity:
    EntityTrait<
        Model: IntoActiveModel<<Self as EntityTrait>::ActiveModel> + Send + Sync + 'static,
        ActiveModel: TryIntoModel<<Self as EntityTrait>::Model> + Send + 'static,
    >
{
    /// The handle with the typed accessors, generated beside the model.
    type Handle: Clone + From<Object<Self>> + std::ops::Deref<Target = Object<Self>> + Send + Sync + 'static;

    /// What the `#[tracked(…)]` attributes say.
    fn spec() -> EntitySpec<Self>;

    /// A static of the entity's own, where the session keeps what it has read of its table.
    fn shape() -> &'static Shape;

    /// The value that `model` holds in the column at `position` (in the order of `Column::iter()`). The derive lends it;
    /// without the derive it is copied.
    fn value_of(model: &Self::Model, position: usize) -> ValueRef<'_> {
        let column = Self::Column::iter().nth(position);
        column.map_or(ValueRef::Null, |column| ValueRef::Owned(Box::new(model.get(column))))
    }

    /// The row whose columns stand at `places`, which has them by [`TrackedEntity::numbers`]. Finding each by its name would
    /// cost more than reading it. `None`: SeaORM's own way must read it, or say what is wrong with it.
    fn from_row(_row: &QueryResult, _places: &[usize]) -> Option<Self::Model> {
        None
    }

    /// NULL as the field behind the column at `position` turns it into a value. `None`: only the column's kind can tell.
    fn null_of(_position: usize) -> Option<Value> {
        None
    }

    /// What `row` holds in the column called `name`, read as the field behind the column at `position`. `None`: only the
    /// column's kind can tell how.
    fn value_in_row(_row: &QueryResult, _position: usize, _name: &str) -> Option<Result<Value, DbErr>> {
        None
    }

    /// The columns with the numbers that the accessors call them by: those of the variants of `Column`. Where the enum
    /// gives numbers of its own, they are not the columns' positions.
    fn numbers() -> Vec<(usize, Self::Column)> {
        Vec::new()
    }

    /// The value that `draft` holds there; `None` if it was never set.
    fn value_of_draft(draft: &Self::ActiveModel, position: usize) -> Option<ValueRef<'_>> {
        match draft.get(Self::Column::iter().nth(position)?) {
            ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(ValueRef::Owned(Box::new(value))),
            ActiveValue::NotSet => None,
        }
    }
}

/// The `#[tracked(…)]` attributes of an entity; written by the derive.
#[derive(Debug)]
pub struct EntitySpec<E: EntityTrait> {
    version: Option<E::Column>,
    created_at: Option<E::Column>,
    updated_at: Option<E::Column>,
    tenant: Option<E::Column>,
    not_optimistic: Vec<E::Column>,
    read_only: Vec<E::Column>,
    secret: Vec<E::Column>,
    not_brought: Vec<E::Column>,
    unique_keys: Vec<(&'static str, E::Column)>,
    hooks: bool,
}

impl<E: EntityTrait> Default for EntitySpec<E> {
    fn default() -> Self {
        Self {
            version: None,
            created_at: None,
            updated_at: None,
            tenant: None,
            not_optimistic: vec![],
            read_only: vec![],
            secret: vec![],
            not_brought: vec![],
            unique_keys: vec![],
            hooks: true,
        }
    }
}

impl<E: EntityTrait> EntitySpec<E> {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The optimistic lock (O1): an integer that every update raises by one.
    pub fn version(mut self, column: E::Column) -> Self {
        self.version = Some(column);
        self
    }

    /// Set by the flush that inserts the row, unless it was set by hand.
    pub fn created_at(mut self, column: E::Column) -> Self {
        self.created_at = Some(column);
        self
    }

    /// Set by every flush that writes the row.
    pub fn updated_at(mut self, column: E::Column) -> Self {
        self.updated_at = Some(column);
        self
    }

    /// The tenant that the row belongs to (T2).
    pub fn tenant(mut self, column: E::Column) -> Self {
        self.tenant = Some(column);
        self
    }

    /// A column that optimistic units do not check (P3).
    pub fn not_optimistic(mut self, column: E::Column) -> Self {
        self.not_optimistic.push(column);
        self
    }

    /// A column that has no setter.
    pub fn read_only(mut self, column: E::Column) -> Self {
        self.read_only.push(column);
        self
    }

    /// A column that a model which came from outside does not bring: serde skips its field, which then holds a default that
    /// nobody meant. [`Session::merge`](crate::Session::merge) leaves it alone (E3).
    pub fn not_brought(mut self, column: E::Column) -> Self {
        self.not_brought.push(column);
        self
    }

    /// A column of a unique key of several columns, which SeaORM names by `unique_key = "name"` (F1).
    pub fn unique_key(mut self, name: &'static str, column: E::Column) -> Self {
        self.unique_keys.push((name, column));
        self
    }

    /// The entity's `ActiveModelBehavior` has no hooks, so none is called (H10): SeaORM's hooks take models by value, a copy
    /// of the object for each of them, which a flush of many objects feels. `#[tracked(no_hooks)]` says this, and writes
    /// the empty `impl ActiveModelBehavior`, so that there cannot be another.
    pub fn no_hooks(mut self) -> Self {
        self.hooks = false;
        self
    }

    /// A column whose value is never shown, even with `show_values`.
    pub fn secret(mut self, column: E::Column) -> Self {
        self.secret.push(column);
        self
    }
}

/// A set of columns of one table. Columns from the 64th on share the last bit, so the set may say "changed" of one that
/// is not (the flush compares values anyway), and never the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ColumnSet(u64);

impl ColumnSet {
    fn bit(column: usize) -> u64 {
        1 << column.min(63)
    }

    pub(crate) fn insert(&mut self, column: usize) {
        self.0 |= Self::bit(column);
    }

    pub(crate) fn contains(self, column: usize) -> bool {
        self.0 & Self::bit(column) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn all() -> Self {
        Self(u64::MAX)
    }

    /// Whether this set can tell the columns of a table so wide apart.
    pub(crate) fn tells_apart(width: usize) -> bool {
        width < 64
    }

    /// The columns, in order, of a table so wide.
    pub(crate) fn columns(self, width: usize) -> impl Iterator<Item = usize> {
        (0..width).filter(move |column| self.contains(*column))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<usize> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = usize>>(columns: I) -> Self {
        let mut set = Self::default();
        columns.into_iter().for_each(|c| set.insert(c));
        set
    }
}

/// One column, with how SeaORM writes and reads it.
#[derive(Clone, Debug)]
pub(crate) struct ColumnMeta {
    pub(crate) name: &'static str,
    /// The type of one value; of an array, SeaORM says the type of its elements.
    pub(crate) kind: ArrayType,
    /// Whether a value is an array of `kind` (PostgreSQL).
    array: bool,
    /// Whether values are JSON documents, which an array of them is too.
    json: bool,
    pub(crate) nullable: bool,
    /// Whether the model has a field for it: the enum may have more members than that.
    pub(crate) held: bool,
    /// NULL, typed as the field.
    null: Value,
    at: usize,
    read: ReadColumn,
    exact_postgres: Exactness,
    exact_sqlite: Exactness,
    /// SeaORM's write-side cast (an enum, `save_as`), with [`HOLE`] where the value goes.
    save_postgres: Option<String>,
    save_sqlite: Option<String>,
    /// SeaORM's read-side expression for this column.
    select_postgres: String,
    select_sqlite: String,
}

/// Reads the column at a position, called so in this row, as the type of its field.
type ReadColumn = fn(&QueryResult, usize, &str) -> Option<Result<Value, DbErr>>;

/// Stands for the value in a cast's text.
const HOLE: &str = "__value__";

impl ColumnMeta {
    /// A column for tests that need no entity.
    #[cfg(test)]
    pub(crate) fn plain(name: &'static str, kind: ArrayType, nullable: bool) -> Self {
        let select = format!("{0} AS {0}", quote(name));
        Self {
            name,
            null: null_of_kind(&kind),
            kind,
            array: false,
            json: false,
            nullable,
            held: true,
            at: 0,
            read: |_, _, _| None,
            exact_postgres: Exactness::default(),
            exact_sqlite: Exactness::default(),
            save_postgres: None,
            save_sqlite: None,
            select_postgres: select.clone(),
            select_sqlite: select,
        }
    }

    /// Whether values of this column can be bound as one array of a batch, and read back by themselves.
    pub(crate) fn is_simple(&self) -> bool {
        !self.array && crate::flush::value::is_simple(&self.kind)
    }

    /// Whether the database may hold values equal that are not the same: texts, and kinds that are compared by value.
    pub(crate) fn may_fold(&self) -> bool {
        !self.is_simple() || matches!(self.kind, ArrayType::String | ArrayType::Char)
    }

    pub(crate) fn is_moment(&self) -> bool {
        matches!(
            self.kind,
            ArrayType::ChronoDate
                | ArrayType::ChronoTime
                | ArrayType::ChronoDateTime
                | ArrayType::ChronoDateTimeUtc
                | ArrayType::ChronoDateTimeLocal
                | ArrayType::ChronoDateTimeWithTimeZone
        )
    }

    /// Whether SeaORM writes this column through a cast (an enum, `save_as`).
    pub(crate) fn is_cast(&self, backend: DbBackend) -> bool {
        if backend == DbBackend::Sqlite { self.save_sqlite.is_some() } else { self.save_postgres.is_some() }
    }

    pub(crate) fn quoted(&self) -> String {
        quote(self.name)
    }

    /// The SQL that writes `value` into this column.
    pub(crate) fn save(&self, backend: DbBackend, value: &str) -> String {
        let template = if backend == DbBackend::Sqlite { &self.save_sqlite } else { &self.save_postgres };
        template.as_ref().map_or_else(|| value.to_owned(), |t| t.replace(HOLE, value))
    }

    /// NULL, typed as the column.
    pub(crate) fn kind_null(&self) -> Value {
        self.null.clone()
    }

    /// A value as it is sent: SeaORM stores a list of JSON documents in a JSON column as one document.
    pub(crate) fn sent(&self, value: Value) -> Value {
        match value {
            Value::Array(ArrayType::Json, list) if self.json => Value::Json(list.map(|list| Box::new(document(*list)))),
            other => other,
        }
    }

    /// What a row holds in this column, as the type of the entity's field.
    ///
    /// # Errors
    /// The row has no such column, or it holds what the field cannot.
    pub(crate) fn decode(&self, row: &QueryResult) -> Result<Value, Error> {
        self.decode_as(row, self.name)
    }

    /// As [`ColumnMeta::decode`], of a column that the answer calls so.
    pub(crate) fn decode_as(&self, row: &QueryResult, name: &str) -> Result<Value, Error> {
        match (self.read)(row, self.at, name) {
            Some(read) => Ok(read?),
            None => decode(row, name, &self.kind),
        }
    }

    /// What makes two values of this column the same.
    pub(crate) fn exactness(&self, backend: DbBackend) -> Exactness {
        if backend == DbBackend::Sqlite { self.exact_sqlite } else { self.exact_postgres }
    }

    /// The condition that this column (which the statement calls `column`) still holds `loaded`, which is SQL (P1). A type that
    /// values are cast to may have no equality, so those are compared as texts.
    pub(crate) fn unchanged(&self, backend: DbBackend, column: &str, loaded: &str) -> String {
        if backend == DbBackend::Sqlite {
            return format!("{column} IS {loaded}");
        }
        match self.save_postgres.is_some() && !matches!(self.kind, ArrayType::Enum(_)) {
            true => format!("CAST({column} AS text) IS NOT DISTINCT FROM CAST({loaded} AS text)"),
            false => format!("{column} IS NOT DISTINCT FROM {loaded}"),
        }
    }

    /// The SQL that reads this column back, named as the column.
    pub(crate) fn select(&self, backend: DbBackend) -> &str {
        if backend == DbBackend::Sqlite { &self.select_sqlite } else { &self.select_postgres }
    }
}

/// A foreign key to another table, or to its own.
#[derive(Clone, Debug)]
pub(crate) struct ForeignKey {
    pub(crate) columns: Vec<usize>,
    /// As [`TableMeta::table`]: the same name in two schemas is two tables (D9).
    pub(crate) to_table: String,
    pub(crate) to_columns: Vec<String>,
    pub(crate) on_update: OnUpdate,
}

/// What becomes of a row that refers to a value which changes, as the entity says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUpdate {
    /// The database changes the row as well.
    Follows,
    /// The database refuses the change.
    Refuses,
    /// The entity does not say.
    Unknown,
}

impl From<Option<ForeignKeyAction>> for OnUpdate {
    fn from(action: Option<ForeignKeyAction>) -> Self {
        match action {
            Some(ForeignKeyAction::Cascade | ForeignKeyAction::SetNull) => OnUpdate::Follows,
            Some(ForeignKeyAction::NoAction | ForeignKeyAction::Restrict) => OnUpdate::Refuses,
            _ => OnUpdate::Unknown,
        }
    }
}

/// The shape of an entity's table.
#[derive(Debug)]
pub(crate) struct TableMeta {
    pub(crate) entity: &'static str,
    pub(crate) schema: Option<String>,
    /// Quoted, with its schema.
    pub(crate) table: String,
    pub(crate) columns: Vec<ColumnMeta>,
    pub(crate) keys: Vec<usize>,
    pub(crate) version: Option<usize>,
    pub(crate) created_at: Option<usize>,
    pub(crate) updated_at: Option<usize>,
    pub(crate) tenant: Option<usize>,
    pub(crate) not_optimistic: ColumnSet,
    pub(crate) secret: ColumnSet,
    /// Columns without a setter, and those that a model from outside does not bring.
    pub(crate) read_only: Vec<usize>,
    pub(crate) not_brought: Vec<usize>,
    /// Whether SeaORM's hooks are called (H10).
    pub(crate) hooks: bool,
    pub(crate) parents: Vec<ForeignKey>,
    /// Which of the parents each relation is, in SeaORM's order; none if it is no foreign key of this table.
    pub(crate) relations: Vec<Option<usize>>,
    /// Sets of columns whose values are unique together; the primary key is not among them.
    pub(crate) unique: Vec<Vec<usize>>,
    /// Columns that are unique, or part of a key.
    pub(crate) claimed: ColumnSet,
    /// Whether the model has a field for every column.
    pub(crate) whole: bool,
    /// Whether the flush sets columns of its own: versions, times, tenants.
    pub(crate) stamped: bool,
    /// The position of each number that accessors use; nothing where they are the positions.
    pub(crate) places: Option<Box<[usize]>>,
    pub(crate) texts: Texts,
    pub(crate) names: Names,
}

/// The texts of a table's statements that are sent again and again, once they were built: that costs more than to send them.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    by_key_postgres: OnceLock<Arc<str>>,
    by_key_sqlite: OnceLock<Arc<str>>,
    changes: RwLock<FxHashMap<ChangeText, Arc<str>>>,
}

/// What the text of a write depends on, where nothing but key and version is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChangeText {
    pub(crate) sqlite: bool,
    pub(crate) form: ChangeForm,
    /// None for a DELETE.
    pub(crate) written: ColumnSet,
    pub(crate) versioned: bool,
    /// Whether the transaction's id is asked for.
    pub(crate) xid: bool,
}

/// How rows are written, and how it is answered which were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChangeForm {
    /// One new row, by values.
    New,
    /// One row, by values.
    One,
    /// A few rows in arrays, each answering with its place.
    Few,
    /// Rows in arrays, counted by the database, which names one that is missing.
    Many,
    /// Rows in arrays, of which the answer tells the number and nothing else.
    Bare,
    /// Rows in arrays, each answering with its place and what it holds.
    Back,
}

/// An application has few sets of columns that it changes together; one that has many builds the rest again each time.
const MOST_TEXTS: usize = 256;

impl Texts {
    /// The text of a change; `build` makes it the first time.
    pub(crate) fn change(&self, what: ChangeText, build: impl FnOnce() -> String) -> Arc<str> {
        if let Some(text) = self.changes.read().get(&what) {
            return text.clone();
        }
        let text: Arc<str> = build().into();
        let mut changes = self.changes.write();
        if changes.len() < MOST_TEXTS {
            changes.insert(what, text.clone());
        }
        text
    }

    /// The text of `SELECT … WHERE key = ?`; `build` makes it the first time.
    pub(crate) fn by_key(&self, backend: DbBackend, build: impl FnOnce() -> String) -> Arc<str> {
        let cell = if backend == DbBackend::Sqlite { &self.by_key_sqlite } else { &self.by_key_postgres };
        cell.get_or_init(|| build().into()).clone()
    }
}

impl TableMeta {
    /// A key for messages; a secret part of it is not shown (L1).
    pub(crate) fn show_key(&self, key: &[Value]) -> String {
        if !self.keys.iter().any(|k| self.secret.contains(*k)) {
            return crate::flush::show_key(key);
        }
        let shown = self.keys.iter().zip(key).map(|(k, value)| match self.secret.contains(*k) {
            true => "(secret)".to_owned(),
            false => crate::flush::show_key(std::slice::from_ref(value)),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Whether only the flush, the database or `add` says what stands in a column: no model from outside does (E3).
    pub(crate) fn is_kept(&self, column: usize) -> bool {
        self.keys.contains(&column)
            || self.read_only.contains(&column)
            || [self.version, self.tenant, self.created_at, self.updated_at].contains(&Some(column))
    }

    /// The foreign key that a relation of this table's entity is; SeaORM builds a relation's definition anew each time.
    pub(crate) fn parent<E: TrackedEntity>(&self, relation: &E::Relation) -> Option<&ForeignKey> {
        let same = |known: E::Relation| std::mem::discriminant(&known) == std::mem::discriminant(relation);
        let at = E::Relation::iter().position(same)?;
        self.parents.get((*self.relations.get(at)?)?)
    }

    /// Whether `columns` (by name) are this table's primary key, in its order.
    pub(crate) fn is_key(&self, columns: &[String]) -> bool {
        columns.len() == self.keys.len() && self.keys.iter().zip(columns).all(|(k, name)| self.columns[*k].name == name)
    }

    /// The position of the column that an accessor calls by this number.
    #[inline]
    pub(crate) fn place(&self, number: usize) -> usize {
        match &self.places {
            None => number,
            Some(places) => places.get(number).copied().unwrap_or(number),
        }
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    fn read<E: TrackedEntity>() -> Self {
        let entity = E::default();
        let spec = E::spec();
        let columns: Vec<ColumnMeta> =
            E::Column::iter().enumerate().map(|(at, column)| column_meta::<E>(at, column)).collect();
        let at = |c: E::Column| columns.iter().position(|m| m.name == c.as_str());
        let set = |list: &[E::Column]| list.iter().filter_map(|c| at(*c)).collect::<ColumnSet>();
        let keys: Vec<usize> = E::PrimaryKey::iter().filter_map(|k| at(k.into_column())).collect();
        let unique = unique_sets::<E>(&spec, &at);
        let table = match entity.schema_name() {
            Some(schema) => format!("{}.{}", quote(schema), quote(entity.table_name())),
            None => quote(entity.table_name()),
        };
        let places = places::<E>(&at);
        let (parents, relations) = foreign_keys::<E>(&columns);
        Self {
            entity: entity.table_name(),
            schema: entity.schema_name().map(str::to_owned),
            table,
            version: spec.version.and_then(at),
            created_at: spec.created_at.and_then(at),
            updated_at: spec.updated_at.and_then(at),
            tenant: spec.tenant.and_then(at),
            not_optimistic: set(&spec.not_optimistic),
            secret: set(&spec.secret),
            read_only: spec.read_only.iter().filter_map(|c| at(*c)).collect(),
            not_brought: spec.not_brought.iter().filter_map(|c| at(*c)).collect(),
            hooks: spec.hooks,
            parents,
            relations,
            claimed: keys.iter().chain(unique.iter().flatten()).copied().collect(),
            stamped: spec.version.is_some()
                || spec.created_at.is_some()
                || spec.updated_at.is_some()
                || spec.tenant.is_some(),
            names: Names::unlike(entity.table_name(), &columns),
            unique,
            whole: columns.iter().all(|column| column.held),
            columns,
            keys,
            places,
            texts: Texts::default(),
        }
    }
}

/// Where the numbers of the accessors lead, if they are not the positions themselves.
fn places<E: TrackedEntity>(at: &dyn Fn(E::Column) -> Option<usize>) -> Option<Box<[usize]>> {
    let numbers = E::numbers();
    if numbers.iter().all(|(number, column)| at(*column) == Some(*number)) {
        return None;
    }
    let most = numbers.iter().map(|(number, _)| *number).max()?;
    let mut places: Box<[usize]> = (0..=most).collect();
    for (number, column) in numbers {
        places[number] = at(column)?;
    }
    Some(places)
}

fn column_meta<E: TrackedEntity>(at: usize, column: E::Column) -> ColumnMeta {
    let write = column.save_as(Expr::cust(HOLE));
    let read = column.select_as(Expr::col(column.as_str()));
    let alias = column.as_str();
    let postgres =
        |e: Expr| Query::select().expr(e).to_owned().to_string(PostgresQueryBuilder)["SELECT ".len()..].to_owned();
    let sqlite =
        |e: Expr| Query::select().expr(e).to_owned().to_string(SqliteQueryBuilder)["SELECT ".len()..].to_owned();
    let unless_plain = |sql: String| (sql != HOLE).then_some(sql);
    let def = column.def();
    let declared = def.get_column_type();
    // SeaORM has no kind for a vector, which is an array of floats.
    let vector = matches!(declared, ColumnType::Vector(_));
    let kind = if vector { ArrayType::Float } else { E::Model::get_value_type(column) };
    let json = matches!(declared, ColumnType::Json | ColumnType::JsonBinary);
    let null = E::null_of(at).unwrap_or_else(|| match declared {
        ColumnType::Array(_) => Value::Array(kind.clone(), None),
        _ => null_of_kind(&kind),
    });
    let listed = matches!(declared, ColumnType::Array(_)) || matches!(null, Value::Array(..));
    let numbers = E::numbers();
    ColumnMeta {
        name: alias,
        held: numbers.is_empty() || numbers.iter().any(|(_, other)| other.as_str() == alias),
        array: vector || (listed && !json),
        json,
        nullable: def.is_null(),
        null,
        at,
        read: E::value_in_row,
        exact_postgres: Exactness::of(declared, DbBackend::Postgres),
        exact_sqlite: Exactness::of(declared, DbBackend::Sqlite),
        kind,
        save_postgres: unless_plain(postgres(write.clone())),
        save_sqlite: unless_plain(sqlite(write)),
        select_postgres: format!("{} AS {}", postgres(read.clone()), quote(alias)),
        select_sqlite: format!("{} AS {}", sqlite(read), quote(alias)),
    }
}

/// A list of documents as one document.
pub(crate) fn document(list: Vec<Value>) -> serde_json::Value {
    let documents = list.into_iter().map(|value| match value {
        Value::Json(Some(document)) => *document,
        _ => serde_json::Value::Null,
    });
    serde_json::Value::Array(documents.collect())
}

/// NULL of a kind. A kind that only a feature of SeaORM brings has no name here: `null_of` knows its NULL, and text, which
/// every type can be read from, stands in for it where there is no derive.
fn null_of_kind(kind: &ArrayType) -> Value {
    match kind {
        ArrayType::Bool => Value::Bool(None),
        ArrayType::TinyInt => Value::TinyInt(None),
        ArrayType::SmallInt => Value::SmallInt(None),
        ArrayType::Int => Value::Int(None),
        ArrayType::BigInt => Value::BigInt(None),
        ArrayType::TinyUnsigned => Value::TinyUnsigned(None),
        ArrayType::SmallUnsigned => Value::SmallUnsigned(None),
        ArrayType::Unsigned => Value::Unsigned(None),
        ArrayType::BigUnsigned => Value::BigUnsigned(None),
        ArrayType::Float => Value::Float(None),
        ArrayType::Double => Value::Double(None),
        ArrayType::String => Value::String(None),
        ArrayType::Char => Value::Char(None),
        ArrayType::Bytes => Value::Bytes(None),
        ArrayType::Json => Value::Json(None),
        ArrayType::ChronoDate => Value::ChronoDate(None),
        ArrayType::ChronoTime => Value::ChronoTime(None),
        ArrayType::ChronoDateTime => Value::ChronoDateTime(None),
        ArrayType::ChronoDateTimeUtc => Value::ChronoDateTimeUtc(None),
        ArrayType::ChronoDateTimeLocal => Value::ChronoDateTimeLocal(None),
        ArrayType::ChronoDateTimeWithTimeZone => Value::ChronoDateTimeWithTimeZone(None),
        ArrayType::Uuid => Value::Uuid(None),
        ArrayType::Enum(name) => Value::Enum(OptionEnum::None((**name).clone())),
        #[allow(unreachable_patterns, reason = "features of SeaORM add kinds")]
        _ => Value::String(None),
    }
}

/// A table's name as SQL, with its schema: what tells it from every other table.
pub(crate) fn quoted_table(table: &TableRef) -> String {
    let name = quote(&table.sea_orm_table().inner());
    match table {
        TableRef::Table(TableName(Some(SchemaName(_, schema)), _), _) => format!("{}.{name}", quote(&schema.inner())),
        _ => name,
    }
}

/// The foreign keys of an entity, and which of them each of its relations is.
fn foreign_keys<E: TrackedEntity>(columns: &[ColumnMeta]) -> (Vec<ForeignKey>, Vec<Option<usize>>) {
    let position = |name: &str| columns.iter().position(|c| c.name == name);
    let foreign_key = |relation: E::Relation| {
        let def = relation.def();
        // `belongs_to` is the side with `is_owner == false` (Z17): this table holds the key.
        if def.is_owner {
            return None;
        }
        let columns = def.from_col.iter().map(|c| position(c.inner().as_ref())).collect::<Option<Vec<_>>>()?;
        let to_columns = def.to_col.iter().map(|c| c.inner().into_owned()).collect();
        let to_table = quoted_table(&def.to_tbl);
        Some(ForeignKey { columns, to_table, to_columns, on_update: def.on_update.into() })
    };
    let mut parents = Vec::new();
    let relations = E::Relation::iter().map(|relation| {
        parents.push(foreign_key(relation)?);
        Some(parents.len() - 1)
    });
    let relations = relations.collect();
    (parents, relations)
}

/// Single columns by SeaORM's `unique`, sets by the names that the derive read from `unique_key` (SeaORM's own definition
/// keeps that name to itself).
fn unique_sets<E: TrackedEntity>(spec: &EntitySpec<E>, at: &dyn Fn(E::Column) -> Option<usize>) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = E::Column::iter()
        .enumerate()
        .filter(|(_, c)| c.def().is_unique())
        .map(|(position, _)| vec![position])
        .collect();
    let mut names: Vec<&str> = spec.unique_keys.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        sets.push(spec.unique_keys.iter().filter(|(n, _)| *n == name).filter_map(|(_, c)| at(*c)).collect());
    }
    sets
}

pub(crate) fn is_integer(kind: &ArrayType) -> bool {
    matches!(
        kind,
        ArrayType::TinyInt
            | ArrayType::SmallInt
            | ArrayType::Int
            | ArrayType::BigInt
            | ArrayType::TinyUnsigned
            | ArrayType::SmallUnsigned
            | ArrayType::Unsigned
            | ArrayType::BigUnsigned
    )
}

/// A quoted identifier, the same on both backends.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What was read of an entity's table, once, for the life of the process. Only the session looks inside.
#[derive(Debug, Default)]
pub struct Shape(OnceLock<TableMeta>);

impl Shape {
    /// Nothing was read yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

/// The shape of `E`'s table.
pub(crate) fn table<E: TrackedEntity>() -> &'static TableMeta {
    E::shape().0.get_or_init(TableMeta::read::<E>)
}
