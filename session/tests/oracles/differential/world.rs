//! What a program does to an entity, whichever it is: in a session, and by SeaORM's own statements.

use std::{any::Any, collections::BTreeMap, marker::PhantomData, sync::Arc};

use futures_util::future::BoxFuture;
use sea_orm::{
    ActiveModelTrait, DatabaseConnection, DbErr, IdenStatic, Iterable, ModelTrait, PrimaryKeyToColumn, QueryFilter,
    Value,
    sea_query::{Expr, IntoValueTuple, ValueTuple},
};
use sea_session::{Error, LoadExt, Session, State, Tracked, TrackedEntity};

use super::family::Shape;

/// A row: its values in the order of the shape's columns.
pub type Row = Vec<Value>;
/// Values by the numbers of their columns.
pub type Cells = BTreeMap<usize, Value>;

/// An entity of the family.
pub trait Subject: TrackedEntity<Model: Sync> {
    const SHAPE: &'static Shape;

    /// Sets a column by its accessor, if the test has one at hand.
    fn set_by_accessor(_own: &Tracked<Self>, _column: &str, _value: &Value) -> bool {
        false
    }

    /// What the accessors say.
    fn row_by_accessors(own: &Tracked<Self>) -> Row {
        row_of::<Self>(&own.model())
    }

    /// Points the foreign key of this name at a parent.
    fn link(own: &Tracked<Self>, column: &str, parent: &dyn Any) -> Result<(), Error>;

    /// The tag of the parent that the key of this name leads to.
    fn parent<'a>(
        own: &'a Tracked<Self>,
        column: &'a str,
        s: &'a mut Session,
    ) -> BoxFuture<'a, Result<Option<i64>, Error>>;

    /// The same for many at once.
    fn parents<'a>(
        all: &'a [Tracked<Self>],
        column: &'a str,
        s: &'a mut Session,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>>;
}

/// An object of a session.
pub trait Handle: Send + Sync {
    fn set(&self, column: usize, value: Value) -> Result<(), Error>;
    fn link(&self, column: usize, parent: &dyn Handle) -> Result<(), Error>;
    fn row(&self) -> Row;
    fn state(&self) -> State;
    fn same(&self, other: &dyn Handle) -> bool;
    fn delete(&self, s: &mut Session);
    fn expire(&self, s: &mut Session);
    fn refresh<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<(), Error>>;
    fn parent<'a>(&'a self, column: usize, s: &'a mut Session) -> BoxFuture<'a, Result<Option<i64>, Error>>;
    fn any(&self) -> &dyn Any;
}

/// An entity, without its type.
pub trait World: Send + Sync {
    fn shape(&self) -> &'static Shape;

    // ---- in a session ----
    fn add(&self, s: &mut Session, cells: &Cells) -> Result<Arc<dyn Handle>, Error>;
    fn get<'a>(&'a self, s: &'a mut Session, key: Vec<Value>) -> BoxFuture<'a, Result<Option<Arc<dyn Handle>>, Error>>;
    fn get_many<'a>(
        &'a self,
        s: &'a mut Session,
        keys: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Handle>>, Error>>;
    fn load<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<Vec<Arc<dyn Handle>>, Error>>;
    fn expire_all(&self, s: &mut Session);
    fn parents<'a>(
        &'a self,
        s: &'a mut Session,
        all: &'a [Arc<dyn Handle>],
        column: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>>;
    fn rows_in<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<Vec<Row>, Error>>;

    // ---- by SeaORM's own statements, which say how many rows they have written ----
    fn insert<'a>(&'a self, db: &'a DatabaseConnection, cells: &'a Cells) -> BoxFuture<'a, Result<u64, DbErr>>;
    fn update<'a>(
        &'a self,
        db: &'a DatabaseConnection,
        key: Vec<Value>,
        cells: &'a Cells,
    ) -> BoxFuture<'a, Result<u64, DbErr>>;
    fn remove<'a>(&'a self, db: &'a DatabaseConnection, key: Vec<Value>) -> BoxFuture<'a, Result<u64, DbErr>>;
    fn rows<'a>(&'a self, db: &'a DatabaseConnection) -> BoxFuture<'a, Result<Vec<Row>, DbErr>>;
    fn by_tag<'a>(&'a self, db: &'a DatabaseConnection, tag: i64) -> BoxFuture<'a, Result<Option<Row>, DbErr>>;
}

pub struct Of<E>(PhantomData<fn() -> E>);

impl<E: Subject> Of<E>
where
    E::Model: Sync,
    E::ActiveModel: sea_orm::ActiveModelBehavior,
{
    #[allow(clippy::new_ret_no_self, reason = "what is wanted is the entity without its type")]
    pub fn new() -> Arc<dyn World> {
        Arc::new(Self(PhantomData))
    }
}

fn column<E: Subject>(at: usize) -> E::Column {
    let name = E::SHAPE.columns[at].name;
    E::Column::iter().find(|column| column.as_str() == name).expect("a column of the entity")
}

fn row_of<E: Subject>(model: &E::Model) -> Row {
    (0..E::SHAPE.columns.len()).map(|at| model.get(column::<E>(at))).collect()
}

fn draft<E: Subject>(cells: &Cells) -> E::ActiveModel {
    let mut draft = <E::ActiveModel as ActiveModelTrait>::default();
    for (at, value) in cells {
        draft.try_set(column::<E>(*at), value.clone()).expect("a value of the column's type");
    }
    draft
}

fn tuple(key: Vec<Value>) -> ValueTuple {
    match <[Value; 1]>::try_from(key) {
        Ok([one]) => ValueTuple::One(one),
        Err(key) => (key[0].clone(), key[1].clone()).into_value_tuple(),
    }
}

impl<E: Subject> Handle for Tracked<E> {
    fn set(&self, at: usize, value: Value) -> Result<(), Error> {
        if E::set_by_accessor(self, E::SHAPE.columns[at].name, &value) {
            return Ok(());
        }
        (**self).set(column::<E>(at), value)
    }

    fn link(&self, at: usize, parent: &dyn Handle) -> Result<(), Error> {
        E::link(self, E::SHAPE.columns[at].name, parent.any())
    }

    fn row(&self) -> Row {
        E::row_by_accessors(self)
    }

    fn state(&self) -> State {
        (**self).state()
    }

    fn same(&self, other: &dyn Handle) -> bool {
        other.any().downcast_ref::<Self>().is_some_and(|other| Tracked::ptr_eq(self, other))
    }

    fn delete(&self, s: &mut Session) {
        s.delete(self);
    }

    fn expire(&self, s: &mut Session) {
        s.expire(self);
    }

    fn refresh<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { s.refresh(self).await })
    }

    fn parent<'a>(&'a self, at: usize, s: &'a mut Session) -> BoxFuture<'a, Result<Option<i64>, Error>> {
        E::parent(self, E::SHAPE.columns[at].name, s)
    }

    fn any(&self) -> &dyn Any {
        self
    }
}

impl<E: Subject> World for Of<E> {
    fn shape(&self) -> &'static Shape {
        E::SHAPE
    }

    fn add(&self, s: &mut Session, cells: &Cells) -> Result<Arc<dyn Handle>, Error> {
        Ok(Arc::new(s.try_add(draft::<E>(cells))?))
    }

    fn get<'a>(&'a self, s: &'a mut Session, key: Vec<Value>) -> BoxFuture<'a, Result<Option<Arc<dyn Handle>>, Error>> {
        Box::pin(async move {
            let found = s.get::<E>(tuple(key)).await?;
            Ok(found.map(|found| Arc::new(found) as Arc<dyn Handle>))
        })
    }

    fn get_many<'a>(
        &'a self,
        s: &'a mut Session,
        keys: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Handle>>, Error>> {
        Box::pin(async move {
            let found = s.get_many::<E>(keys.into_iter().map(tuple)).await?;
            Ok(found.into_iter().flatten().map(|found| Arc::new(found) as Arc<dyn Handle>).collect())
        })
    }

    fn load<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<Vec<Arc<dyn Handle>>, Error>> {
        Box::pin(async move {
            let found = E::find().load(s).await?;
            Ok(found.into_iter().map(|found| Arc::new(found) as Arc<dyn Handle>).collect())
        })
    }

    fn expire_all(&self, s: &mut Session) {
        s.expire_all::<E>();
    }

    fn parents<'a>(
        &'a self,
        s: &'a mut Session,
        all: &'a [Arc<dyn Handle>],
        at: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
        Box::pin(async move {
            let all: Vec<Tracked<E>> =
                all.iter().map(|one| one.any().downcast_ref::<Tracked<E>>().expect("its type").clone()).collect();
            E::parents(&all, E::SHAPE.columns[at].name, s).await
        })
    }

    fn rows_in<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move { Ok(E::find().all(&*s).await?.iter().map(row_of::<E>).collect()) })
    }

    fn insert<'a>(&'a self, db: &'a DatabaseConnection, cells: &'a Cells) -> BoxFuture<'a, Result<u64, DbErr>> {
        Box::pin(async move { E::insert(draft::<E>(cells)).exec_without_returning(db).await })
    }

    fn update<'a>(
        &'a self,
        db: &'a DatabaseConnection,
        key: Vec<Value>,
        cells: &'a Cells,
    ) -> BoxFuture<'a, Result<u64, DbErr>> {
        Box::pin(async move {
            let mut update = E::update_many();
            for (at, value) in cells {
                let column = column::<E>(*at);
                update = update.col_expr(column, sea_orm::ColumnTrait::save_as(&column, Expr::val(value.clone())));
            }
            for (key_column, value) in E::PrimaryKey::iter().zip(key) {
                update = update.filter(sea_orm::ColumnTrait::eq(&key_column.into_column(), value));
            }
            Ok(update.exec(db).await?.rows_affected)
        })
    }

    fn remove<'a>(&'a self, db: &'a DatabaseConnection, key: Vec<Value>) -> BoxFuture<'a, Result<u64, DbErr>> {
        Box::pin(async move {
            let mut delete = E::delete_many();
            for (key_column, value) in E::PrimaryKey::iter().zip(key) {
                delete = delete.filter(sea_orm::ColumnTrait::eq(&key_column.into_column(), value));
            }
            Ok(delete.exec(db).await?.rows_affected)
        })
    }

    fn rows<'a>(&'a self, db: &'a DatabaseConnection) -> BoxFuture<'a, Result<Vec<Row>, DbErr>> {
        Box::pin(async move { Ok(E::find().all(db).await?.iter().map(row_of::<E>).collect()) })
    }

    fn by_tag<'a>(&'a self, db: &'a DatabaseConnection, tag: i64) -> BoxFuture<'a, Result<Option<Row>, DbErr>> {
        Box::pin(async move {
            let column = column::<E>(E::SHAPE.tag());
            let row = E::find().filter(sea_orm::ColumnTrait::eq(&column, tag)).one(db).await?;
            Ok(row.as_ref().map(row_of::<E>))
        })
    }
}

/// What a value is, exactly: zeros have signs, numbers have scales.
pub fn shown(value: &Value) -> String {
    format!("{value:?}")
}
