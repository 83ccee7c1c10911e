//! The tables that the modules share, and how a test is run on each backend and in each of three ways: plain, inside an outer
//! block, and in a unit begun by hand.

use sea_orm::{ConnectionTrait, Set, entity::prelude::*};
use sea_session::{
    Error, Recorder, Session, UnitOptions,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

pub type Done = Result<(), Error>;

pub mod author {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "author")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        pub born: Option<i32>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::note::Entity")]
        Notes,
    }

    impl Related<super::note::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Notes.def()
        }
    }
}

pub mod note {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub author_id: Option<i64>,
        pub title: String,
        #[sea_orm(default_value = 0)]
        pub views: i32,
        #[tracked(version)]
        pub version: i32,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::author::Entity",
            from = "Column::AuthorId",
            to = "super::author::Column::Id",
            on_delete = "Cascade"
        )]
        Author,
    }

    impl Related<super::author::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Author.def()
        }
    }
}

/// A new note with its key and title.
pub fn draft(id: i64, title: &str) -> note::ActiveModel {
    note::ActiveModel { id: Set(id), title: Set(title.to_owned()), ..Default::default() }
}

/// A new author; its key comes from the database.
pub fn writer(name: &str) -> author::ActiveModel {
    author::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

pub async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, author::Entity).await?;
    create_table(db, note::Entity).await
}

/// Changes the database past every session.
pub async fn behind_the_back(db: &Db, sql: &str) {
    db.connection().execute_unprepared(sql).await.unwrap();
}

/// Runs a test on both backends.
pub fn on_both(test: impl AsyncFn(Db)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

/// Runs a test of what only PostgreSQL has.
pub fn on_postgres(test: impl AsyncFn(Db)) {
    run_test_on(Backend::Postgres, tables, async |db: Db| test(db).await);
}

/// Runs a test on tables that these statements make.
pub fn on_tables(backend: Backend, statements: &[&str], test: impl AsyncFn(Db) -> Result<(), Error>) {
    let make = async |db: &Db| -> Result<(), Error> {
        for statement in statements {
            db.connection().execute_unprepared(statement).await?;
        }
        Ok(())
    };
    run_test_on(backend, make, async |db: Db| test(db).await);
}

/// A recorder and the options of a unit that it watches.
pub fn watched(db: &Db) -> (Recorder, UnitOptions) {
    let recorder = Recorder::new();
    let options = db.session().record(&recorder);
    (recorder, options)
}

/// Opens each of the three kinds of surroundings on both backends and runs the body in it: plain (the unit's own block),
/// inside an outer block, and in a unit begun by hand. Everything is rolled back afterwards.
pub fn three_ways<F>(body: F)
where
    F: for<'a> sea_session::Block<&'a mut Session, Result<(), Error>, Fut: Send> + Sync,
{
    on_both(async |db: Db| {
        let undo = |outcome: Result<(), Error>| match outcome {
            Err(Error::Usage(text)) if text == "undo" => {}
            other => panic!("{other:?}"),
        };
        let undone = || Error::Usage("undo".into());
        let plain = db.run(async |s: &mut Session| -> Result<(), Error> { body(s).await.and(Err(undone())) }).await;
        undo(plain);
        let nested = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> { body(s).await }).await?;
                Err(undone())
            })
            .await;
        undo(nested);
        let mut by_hand = db.begin().await.unwrap();
        body(&mut by_hand).await.unwrap();
        by_hand.rollback().await.unwrap();
        assert_eq!(note::Entity::find().count(db.connection()).await.unwrap(), 0, "everything is undone");
    });
}
