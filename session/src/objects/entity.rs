//! What an entity is to a session: the trait that the derive writes, what its attributes say, and how the shape of its table is
//! read from them and from SeaORM's own definitions, once.

use std::sync::OnceLock;

use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ColumnType, DbErr, EntityTrait, IdenStatic, IntoActiveModel, Iterable,
    ModelTrait, PrimaryKeyToColumn, QueryResult, RelationDef, RelationTrait, TryIntoModel, Value,
    sea_query::{ArrayType, Expr},
};

use super::Object;
use crate::{
    dialect::DIALECTS,
    table::{
        columns::{ColumnMeta, ColumnSet, ColumnSql, HOLE},
        kinds::null_of_kind,
        meta::{Cascade, ForeignKey, TableMeta},
        names::Names,
        sql::{quote, quoted_table},
        texts::KeptTexts,
        value_ref::ValueRef,
    },
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

    /// A moment, in microseconds since 1970, as a value of the field behind the column at `position`. `None`: the column's kind
    /// tells how. The derive writes it for types of the crate `time`, which this crate may not know.
    fn moment(_position: usize, _microseconds: i64) -> Option<Value> {
        None
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
    soft_delete: Option<E::Column>,
    not_optimistic: Vec<E::Column>,
    read_only: Vec<E::Column>,
    secret: Vec<E::Column>,
    hidden: Vec<&'static str>,
    not_brought: Vec<E::Column>,
    unique_keys: Vec<(&'static str, E::Column)>,
    hooks: bool,
    audit: bool,
    outbox: Option<&'static str>,
    cascades: Vec<E::Relation>,
    orphans: Vec<E::Relation>,
}

impl<E: EntityTrait> Default for EntitySpec<E> {
    fn default() -> Self {
        Self {
            version: None,
            created_at: None,
            updated_at: None,
            tenant: None,
            soft_delete: None,
            not_optimistic: vec![],
            read_only: vec![],
            secret: vec![],
            hidden: vec![],
            not_brought: vec![],
            unique_keys: vec![],
            hooks: true,
            audit: false,
            outbox: None,
            cascades: vec![],
            orphans: vec![],
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

    /// The nullable time that marks deleted rows (U5): a delete sets it, and reads pass over rows that have it. The row itself
    /// is deleted by [`Session::hard_delete`](crate::Session::hard_delete).
    pub fn soft_delete(mut self, column: E::Column) -> Self {
        self.soft_delete = Some(column);
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

    /// Each change of a row is told in the audit table (U7): see [`crate::audit`].
    pub fn audit(mut self) -> Self {
        self.audit = true;
        self
    }

    /// Each change of a row is an event of this topic (U7): see [`crate::outbox::Outbox::derive_into`].
    pub fn outbox(mut self, topic: &'static str) -> Self {
        self.outbox = Some(topic);
        self
    }

    /// Rows of this relation are deleted along with their parent, as far as the map holds them (U3).
    pub fn cascade(mut self, relation: E::Relation) -> Self {
        self.cascades.push(relation);
        self
    }

    /// A row whose key to this relation becomes NULL is deleted (U3).
    pub fn delete_orphans(mut self, relation: E::Relation) -> Self {
        self.orphans.push(relation);
        self
    }

    /// A column whose value is never shown, even with `show_values`, and left out where an object is serialized.
    pub fn secret(mut self, column: E::Column) -> Self {
        self.secret.push(column);
        self.hidden(column.as_str())
    }

    /// What serde calls the field of a secret column, where that is not the column's name.
    pub fn hidden(mut self, name: &'static str) -> Self {
        self.hidden.push(name);
        self
    }
}

/// What an entity says whose relations say nothing; the derive's own function of that name comes before it.
#[doc(hidden)]
pub trait NoRelations {
    #[doc(hidden)]
    fn __relations<E: EntityTrait>(spec: EntitySpec<E>) -> EntitySpec<E> {
        spec
    }
}

impl<T> NoRelations for T {}

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
pub(crate) fn table_of<E: TrackedEntity>() -> &'static TableMeta {
    E::shape().0.get_or_init(TableMeta::read::<E>)
}

impl TableMeta {
    /// The foreign key that a relation of this table's entity is; SeaORM builds a relation's definition anew each time.
    pub(crate) fn parent<E: TrackedEntity>(&self, relation: &E::Relation) -> Option<&ForeignKey> {
        let same = |known: E::Relation| std::mem::discriminant(&known) == std::mem::discriminant(relation);
        let at = E::Relation::iter().position(same)?;
        self.parents.get((*self.relations.get(at)?)?)
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
        let claimed: ColumnSet = keys.iter().chain(unique.iter().flatten()).copied().collect();
        let foreign = parents.iter().flat_map(|key: &ForeignKey| &key.columns).copied();
        let soft_delete = spec.soft_delete.and_then(at);
        Self {
            joining: claimed.union(foreign.chain(soft_delete).collect()),
            cascades: spec.cascades.iter().filter_map(|relation| cascade(&relation.def(), &columns)).collect(),
            orphans: spec.orphans.iter().filter_map(|relation| own_key(&relation.def(), &columns)).collect(),
            entity: entity.table_name(),
            schema: entity.schema_name().map(str::to_owned),
            table,
            version: spec.version.and_then(at),
            created_at: spec.created_at.and_then(at),
            updated_at: spec.updated_at.and_then(at),
            tenant: spec.tenant.and_then(at),
            soft_delete,
            not_optimistic: set(&spec.not_optimistic),
            secret: set(&spec.secret),
            hidden: spec.hidden,
            read_only: spec.read_only.iter().filter_map(|c| at(*c)).collect(),
            not_brought: spec.not_brought.iter().filter_map(|c| at(*c)).collect(),
            hooks: spec.hooks,
            audit: spec.audit,
            outbox: spec.outbox,
            parents,
            relations,
            claimed,
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
            texts: KeptTexts::default(),
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
    let def = column.def();
    let declared = def.get_column_type();
    let sql = DIALECTS.iter().map(|dialect| {
        let save = (dialect.expression)(write.clone());
        ColumnSql {
            exactness: (dialect.exactness)(declared),
            save: (save != HOLE).then_some(save),
            select: format!("{} AS {}", (dialect.expression)(read.clone()), quote(alias)),
        }
    });
    let sql: Box<[ColumnSql]> = sql.collect();
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
        kind,
        sql,
    }
}

/// Where the rows stand that are deleted along with a row, and what they hold then.
fn cascade(def: &RelationDef, columns: &[ColumnMeta]) -> Option<Cascade> {
    let to = def.to_col.iter().map(|name| name.inner().into_owned()).collect();
    Some(Cascade { columns: own_key(def, columns)?, table: quoted_table(&def.to_tbl), to })
}

/// The columns of the entity's own that a relation starts from.
fn own_key(def: &RelationDef, columns: &[ColumnMeta]) -> Option<Vec<usize>> {
    def.from_col.iter().map(|name| columns.iter().position(|column| column.name == name.inner())).collect()
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
