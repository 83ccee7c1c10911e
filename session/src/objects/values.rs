//! The values of an object, whatever its entity: a model, of which every column is known, or a draft.
//!
//! What happens to objects is compiled once; of an entity's own is what stands here, and the typed faces.

use std::{any::Any, marker::PhantomData, sync::Arc};

use futures_util::future::BoxFuture;
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ActiveValue, DbErr, EntityTrait, FromQueryResult, Iterable, ModelTrait,
    QueryResult, Value,
};

use super::entity::{TrackedEntity, table_of};
use crate::{
    connection::lent::FlushConnection,
    table::{columns::ColumnSet, meta::TableMeta, value::as_column, value_ref::ValueRef},
};

/// A model of any entity.
pub(crate) trait AnyModel: Any + Send + Sync {
    fn table(&self) -> &'static TableMeta;
    /// What stands in a column.
    fn lent(&self, column: usize) -> ValueRef<'_>;
    /// As [`AnyModel::lent`], as a value of its own.
    fn value(&self, column: usize) -> Value;
    /// Takes a value that is of the column's kind.
    fn put(&mut self, column: usize, value: Value) -> Result<(), DbErr>;
    fn copied(&self) -> Arc<dyn AnyModel>;
    /// As a draft that has all of its values set.
    fn all_set(&self) -> Box<dyn AnyDraft>;
    /// As a draft that has these columns set, and the others unchanged.
    fn with_set(&self, set: ColumnSet) -> Box<dyn AnyDraft>;
    fn entity(&self) -> &'static dyn AnyEntity;
    /// Runs SeaORM's `after_save`.
    fn after_save<'a, 'c: 'a>(
        &'a self,
        db: &'a FlushConnection<'c>,
        is_insert: bool,
    ) -> BoxFuture<'a, Result<Arc<dyn AnyModel>, DbErr>>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// A draft of any entity.
pub(crate) trait AnyDraft: Any + Send {
    fn table(&self) -> &'static TableMeta;
    /// What stands in a column, if anything does.
    fn lent(&self, column: usize) -> Option<ValueRef<'_>>;
    /// As [`AnyDraft::lent`], as a value of its own.
    fn value(&self, column: usize) -> Option<Value>;
    /// Takes a value out that was set, not one that is unchanged.
    fn take_set(&mut self, column: usize) -> Option<Value>;
    /// Takes a value that is of the column's kind.
    fn put(&mut self, column: usize, value: Value) -> Result<(), DbErr>;
    fn unset(&mut self, column: usize);
    /// Values that are unchanged are set from now on.
    fn set_all(&mut self);
    fn copied(&self) -> Box<dyn AnyDraft>;
    /// The model that a complete draft has become. Moves the values out; an incomplete draft keeps them.
    fn complete(&mut self) -> Result<Arc<dyn AnyModel>, DbErr>;
    fn entity(&self) -> &'static dyn AnyEntity;
    /// Runs SeaORM's `before_save`.
    fn before_save<'a, 'c: 'a>(
        self: Box<Self>,
        db: &'a FlushConnection<'c>,
        is_insert: bool,
    ) -> BoxFuture<'a, Result<Box<dyn AnyDraft>, DbErr>>;
    /// Runs SeaORM's `before_delete`.
    fn before_delete<'a, 'c: 'a>(
        self: Box<Self>,
        db: &'a FlushConnection<'c>,
    ) -> BoxFuture<'a, Result<Box<dyn AnyDraft>, DbErr>>;
    /// Runs SeaORM's `after_delete`.
    fn after_delete<'a, 'c: 'a>(self: Box<Self>, db: &'a FlushConnection<'c>) -> BoxFuture<'a, Result<(), DbErr>>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// What an entity is asked for, none of its objects.
pub(crate) trait AnyEntity: Sync {
    fn empty_draft(&self) -> Box<dyn AnyDraft>;
    fn read(&self, row: &QueryResult) -> Result<Arc<dyn AnyModel>, DbErr>;
    /// See [`TrackedEntity::moment`].
    fn moment(&self, column: usize, microseconds: i64) -> Option<Value>;
}

struct Of<E>(PhantomData<fn() -> E>);

fn column_at<E: TrackedEntity>(position: usize) -> E::Column {
    E::Column::iter().nth(position).expect("a position is that of a column")
}

/// The columns that the model has a field for, with their positions.
fn held_columns<E: TrackedEntity>() -> impl Iterator<Item = (usize, E::Column)> {
    let table = table_of::<E>();
    E::Column::iter().enumerate().filter(|(at, _)| table.whole || table.columns[*at].held)
}

impl<E: TrackedEntity> AnyEntity for Of<E> {
    fn empty_draft(&self) -> Box<dyn AnyDraft> {
        Box::new(<E::ActiveModel as ActiveModelTrait>::default())
    }

    fn read(&self, row: &QueryResult) -> Result<Arc<dyn AnyModel>, DbErr> {
        Ok(Arc::new(E::Model::from_query_result(row, "")?))
    }

    fn moment(&self, column: usize, microseconds: i64) -> Option<Value> {
        E::moment(column, microseconds)
    }
}

impl<M> AnyModel for M
where
    M: ModelTrait,
    M::Entity: TrackedEntity<Model = M>,
{
    fn table(&self) -> &'static TableMeta {
        table_of::<M::Entity>()
    }

    fn lent(&self, column: usize) -> ValueRef<'_> {
        M::Entity::value_of(self, column)
    }

    fn value(&self, column: usize) -> Value {
        self.get(column_at::<M::Entity>(column))
    }

    fn put(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        self.try_set(column_at::<M::Entity>(column), value)
    }

    fn copied(&self) -> Arc<dyn AnyModel> {
        Arc::new(self.clone())
    }

    fn all_set(&self) -> Box<dyn AnyDraft> {
        Box::new(self.clone().into_active_model().reset_all())
    }

    fn with_set(&self, set: ColumnSet) -> Box<dyn AnyDraft> {
        let mut draft = self.clone().into_active_model();
        held_columns::<M::Entity>().filter(|(at, _)| set.contains(*at)).for_each(|(_, column)| draft.reset(column));
        Box::new(draft)
    }

    fn entity(&self) -> &'static dyn AnyEntity {
        &Of::<M::Entity>(PhantomData)
    }

    fn after_save<'a, 'c: 'a>(
        &'a self,
        db: &'a FlushConnection<'c>,
        is_insert: bool,
    ) -> BoxFuture<'a, Result<Arc<dyn AnyModel>, DbErr>> {
        let saved = self.clone();
        Box::pin(async move {
            let model = <M::Entity as EntityTrait>::ActiveModel::after_save(saved, db, is_insert).await?;
            Ok(Arc::new(model) as Arc<dyn AnyModel>)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<A> AnyDraft for A
where
    A: ActiveModelBehavior,
    A::Entity: TrackedEntity<ActiveModel = A>,
{
    fn table(&self) -> &'static TableMeta {
        table_of::<A::Entity>()
    }

    fn lent(&self, column: usize) -> Option<ValueRef<'_>> {
        A::Entity::value_of_draft(self, column)
    }

    fn value(&self, column: usize) -> Option<Value> {
        match self.get(column_at::<A::Entity>(column)) {
            ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(value),
            ActiveValue::NotSet => None,
        }
    }

    fn take_set(&mut self, column: usize) -> Option<Value> {
        match self.take(column_at::<A::Entity>(column)) {
            ActiveValue::Set(value) => Some(value),
            _ => None,
        }
    }

    fn put(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        self.try_set(column_at::<A::Entity>(column), value)
    }

    fn unset(&mut self, column: usize) {
        self.not_set(column_at::<A::Entity>(column));
    }

    fn set_all(&mut self) {
        held_columns::<A::Entity>().for_each(|(_, column)| self.reset(column));
    }

    fn copied(&self) -> Box<dyn AnyDraft> {
        Box::new(self.clone())
    }

    fn complete(&mut self) -> Result<Arc<dyn AnyModel>, DbErr> {
        let draft = match held_columns::<A::Entity>().any(|(_, column)| self.is_not_set(column)) {
            true => self.clone(),
            false => std::mem::replace(self, <A as ActiveModelTrait>::default()),
        };
        Ok(Arc::new(draft.try_into_model()?))
    }

    fn entity(&self) -> &'static dyn AnyEntity {
        &Of::<A::Entity>(PhantomData)
    }

    fn before_save<'a, 'c: 'a>(
        self: Box<Self>,
        db: &'a FlushConnection<'c>,
        is_insert: bool,
    ) -> BoxFuture<'a, Result<Box<dyn AnyDraft>, DbErr>> {
        Box::pin(async move {
            let draft = ActiveModelBehavior::before_save(*self, db, is_insert).await?;
            Ok(Box::new(draft) as Box<dyn AnyDraft>)
        })
    }

    fn before_delete<'a, 'c: 'a>(
        self: Box<Self>,
        db: &'a FlushConnection<'c>,
    ) -> BoxFuture<'a, Result<Box<dyn AnyDraft>, DbErr>> {
        Box::pin(async move {
            let draft = ActiveModelBehavior::before_delete(*self, db).await?;
            Ok(Box::new(draft) as Box<dyn AnyDraft>)
        })
    }

    fn after_delete<'a, 'c: 'a>(self: Box<Self>, db: &'a FlushConnection<'c>) -> BoxFuture<'a, Result<(), DbErr>> {
        Box::pin(async move { ActiveModelBehavior::after_delete(*self, db).await.map(drop) })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// An object's values.
pub(crate) enum Data {
    /// Every column is known. Shared with readers and with undo, copied on the first write after that.
    Full(Arc<dyn AnyModel>),
    /// Some columns come from the database with the insert.
    Draft(Box<dyn AnyDraft>),
}

impl Clone for Data {
    fn clone(&self) -> Self {
        match self {
            Data::Full(model) => Data::Full(model.clone()),
            Data::Draft(draft) => Data::Draft(draft.copied()),
        }
    }
}

impl Data {
    /// What stands in a column, if anything does.
    pub(super) fn lent(&self, column: usize) -> Option<ValueRef<'_>> {
        match self {
            Data::Full(model) => Some(model.lent(column)),
            Data::Draft(draft) => draft.lent(column),
        }
    }

    /// As [`Data::lent`], as a value of its own.
    pub(super) fn value(&self, column: usize) -> Option<Value> {
        match self {
            Data::Full(model) => Some(model.value(column)),
            Data::Draft(draft) => draft.value(column),
        }
    }

    /// The values of several columns, if all of them are known.
    pub(super) fn values(&self, columns: &[usize]) -> Option<Vec<Value>> {
        columns.iter().map(|column| self.value(*column)).collect()
    }

    /// The model, if every column is known.
    pub(super) fn model(&self) -> Option<&Arc<dyn AnyModel>> {
        match self {
            Data::Full(model) => Some(model),
            Data::Draft(_) => None,
        }
    }

    /// Takes columns back to what they held.
    pub(super) fn put_back(&mut self, table: &TableMeta, columns: Vec<(usize, Value)>) {
        for (column, value) in columns {
            // It is the column's own value, which it takes.
            _ = self.put(table, column, value);
        }
    }

    /// Takes a value as the column has it: a key of one type may point to a key of another (i32 to i64, T to Option<T>).
    pub(super) fn put(&mut self, table: &TableMeta, column: usize, value: Value) -> Result<(), DbErr> {
        match self {
            Data::Full(model) => put_shared(model, table, column, value),
            Data::Draft(draft) => draft.put(column, as_column(value, &table.columns[column].kind)),
        }
    }

    /// Takes a value that is of the column's very type.
    pub(super) fn put_exactly(&mut self, column: usize, value: Value) -> Result<(), DbErr> {
        match self {
            Data::Full(model) => own(model).put(column, value),
            Data::Draft(draft) => draft.put(column, value),
        }
    }

    pub(super) fn table(&self) -> &'static TableMeta {
        match self {
            Data::Full(model) => model.table(),
            Data::Draft(draft) => draft.table(),
        }
    }

    pub(super) fn entity(&self) -> &'static dyn AnyEntity {
        match self {
            Data::Full(model) => model.entity(),
            Data::Draft(draft) => draft.entity(),
        }
    }
}

/// As [`Data::put`], of a model that may be shared.
pub(super) fn put_shared(
    model: &mut Arc<dyn AnyModel>,
    table: &TableMeta,
    column: usize,
    value: Value,
) -> Result<(), DbErr> {
    own(model).put(column, as_column(value, &table.columns[column].kind))
}

/// The model as nobody else's: copied, if it is shared.
pub(super) fn own(model: &mut Arc<dyn AnyModel>) -> &mut dyn AnyModel {
    if Arc::get_mut(model).is_none() {
        *model = model.copied();
    }
    Arc::get_mut(model).expect("a copy is nobody else's")
}

/// The model by its type.
pub(super) fn model_as<E: TrackedEntity>(model: &dyn AnyModel) -> &E::Model {
    model.as_any().downcast_ref().expect(OF_ITS_ENTITY)
}

pub(super) fn model_as_mut<E: TrackedEntity>(model: &mut dyn AnyModel) -> &mut E::Model {
    model.as_any_mut().downcast_mut().expect(OF_ITS_ENTITY)
}

pub(super) fn shared_as<E: TrackedEntity>(model: &Arc<dyn AnyModel>) -> Arc<E::Model> {
    model.clone().into_any().downcast().expect(OF_ITS_ENTITY)
}

/// The draft by its type.
pub(super) fn draft_as<E: TrackedEntity>(draft: &dyn AnyDraft) -> &E::ActiveModel {
    draft.as_any().downcast_ref().expect(OF_ITS_ENTITY)
}

pub(super) fn draft_as_mut<E: TrackedEntity>(draft: &mut dyn AnyDraft) -> &mut E::ActiveModel {
    draft.as_any_mut().downcast_mut().expect(OF_ITS_ENTITY)
}

const OF_ITS_ENTITY: &str = "an object's values are of its entity";
