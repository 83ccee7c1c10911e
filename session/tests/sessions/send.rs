//! Every future that the crate gives out can be sent to another thread: spawned as a task, and awaited in a method of an
//! `#[async_trait]`. A body that holds a session across an await must be as well, which is what `AsyncFn(&mut Session)` alone
//! does not give (C1, section 3 of the design).

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use sea_orm::{ActiveValue::Set, PaginatorTrait, entity::prelude::*};
use sea_session::{
    Error, Several,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

mod shelf {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "shelf")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::book::Entity")]
        Books,
    }

    impl Related<super::book::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Books.def()
        }
    }

    impl Related<super::label::Entity> for Entity {
        fn to() -> RelationDef {
            super::shelf_label::Relation::Label.def()
        }

        fn via() -> Option<RelationDef> {
            Some(super::shelf_label::Relation::Shelf.def().rev())
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod book {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "book")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub shelf_id: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::shelf::Entity", from = "Column::ShelfId", to = "super::shelf::Column::Id")]
        Shelf,
    }

    impl Related<super::shelf::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Shelf.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod label {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "label")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod shelf_label {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "shelf_label")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shelf_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub label_id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::shelf::Entity", from = "Column::ShelfId", to = "super::shelf::Column::Id")]
        Shelf,
        #[sea_orm(belongs_to = "super::label::Entity", from = "Column::LabelId", to = "super::label::Column::Id")]
        Label,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

fn shelf(id: i64) -> shelf::ActiveModel {
    shelf::ActiveModel { id: Set(id), name: Set(format!("shelf {id}")) }
}

/// Both of the ways in which a service's code asks for `Send`.
#[async_trait]
trait Work {
    async fn everything_of_a_session(&self, s: &mut Session, first: i64) -> Result<(), Error>;
    async fn everything_of_a_database(&self, db: Db, url: String) -> Result<(), Error>;
}

struct Service {
    /// Borrowed by bodies and hooks.
    prefix: String,
}

#[async_trait]
impl Work for Service {
    async fn everything_of_a_session(&self, s: &mut Session, first: i64) -> Result<(), Error> {
        let on_shelf = s.add(shelf(first));
        let on_book = s.add(book::ActiveModel { id: Set(first), shelf_id: Set(Some(first)) });
        let on_label = s.add(label::ActiveModel { id: Set(first) });
        s.flush().await?;
        s.refresh(&on_shelf).await?;
        s.lock(&on_shelf).await?;
        assert!(s.get::<shelf::Entity>(first).await?.is_some());
        assert!(matches!(s.get_many::<shelf::Entity>([first, first + 1]).await?[..], [Some(_), None]));
        s.merge::<shelf::Entity>(shelf::Model { id: first, name: self.prefix.clone() }).await?;
        let loaded = shelf::Entity::find().filter(shelf::Column::Id.eq(first)).load(s).await?;
        assert!(shelf::Entity::find().filter(shelf::Column::Id.eq(first)).for_update().load_one(s).await?.is_some());
        assert!(
            shelf::Entity::find().filter(shelf::Column::Id.eq(first)).tracked().refresh().load_one(s).await?.is_some()
        );
        assert_eq!(s.load_related(&loaded, book::Entity).await?[0].len(), 1);
        assert_eq!(on_shelf.related::<book::Entity>(s).await?.len(), 1);
        assert!(on_book.related_one::<shelf::Entity>(s).await?.is_some());
        let labels = on_shelf.junction::<label::Entity>();
        labels.attach(s, [&on_label]).await?;
        labels.change(s, &[&on_label], &[&on_label]).await?;
        labels.detach(s, [&on_label]).await?;
        let mut rows = shelf::Entity::find().rows(s).await?;
        assert!(rows.next().await?.is_some());
        drop(rows);
        let names = shelf::Entity::find().rows(s).await?.into_stream().map(|row| row.map(|row| row.name));
        assert!(std::pin::pin!(names).next().await.is_some());
        assert!(shelf::Entity::find().count(s).await? > 0);
        assert!(shelf::Entity::find().count(&*s.no_autoflush()).await? > 0);

        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                on_shelf.set_name(&self.prefix);
                s.block().merged().run(async |s: &mut Session| s.flush().await).await?;
                let savepoint = s.savepoint().await?;
                s.rollback_to(savepoint).await?;
                s.release(savepoint).await?;
                Err(Error::Usage("undo".into()))
            })
            .await;
        assert!(outcome.is_err());
        drop(s.advisory_lock(first).await);
        drop(s.try_advisory_lock(first).await);
        let prefix = self.prefix.clone();
        s.on_commit(async move || drop(prefix)).robust();
        s.on_rollback(async || ());
        Ok(())
    }

    async fn everything_of_a_database(&self, db: Db, url: String) -> Result<(), Error> {
        let again = Db::connect(url).await?;
        again.close().await?;
        db.run(async |s: &mut Session| self.everything_of_a_session(s, 1).await).await?;
        db.session().retry(2).run(async |s: &mut Session| self.everything_of_a_session(s, 2).await).await?;
        let mut s = db.begin().await?;
        self.everything_of_a_session(&mut s, 3).await?;
        s.commit().await?;
        let mut s = db.session().optimistic().begin().await?;
        s.rollback().await?;

        let prefix = &self.prefix;
        let mut batches = db.batches(10..20_i64, 4, Duration::ZERO).on_progress(|_| ());
        let body = async |s: &mut Session, ids: &[i64]| -> Result<(), Error> {
            for id in ids {
                s.add(shelf(*id)).set_name(prefix);
            }
            s.flush().await
        };
        batches.step(&body).await?;
        batches.run(body).await?;

        let several = Several::new("one", &db);
        several.run(async |all| self.everything_of_a_session(all.primary(), 30).await).await?;
        if db.backend() == sea_orm::DbBackend::Postgres {
            several.recover(Duration::ZERO).await?;
            db.create_commit_tokens().await?;
            db.purge_commit_tokens(Duration::ZERO).await?;
        }
        Ok(())
    }
}

struct Nothing;

#[async_trait]
impl Handler for Nothing {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        Ok(events.iter().map(|_| Delivery::Done).collect())
    }
}

/// Only compiled: what an outbox needs of its tables is its own tests' business.
async fn everything_of_an_outbox(db: Db) -> Result<(), Error> {
    let outbox = Outbox::new(&db, "events", "test");
    let dispatcher = Dispatcher::new(&outbox, Nothing);
    dispatcher.drain().await?;
    dispatcher.run(std::future::ready(())).await;
    outbox.metrics().await?;
    outbox.purge_done(Duration::ZERO, 1).await?;
    outbox.dead(0, 1).await?;
    outbox.dead_letter(1).await?;
    outbox.replay(None).await?;
    outbox.purge_dead(None).await?;
    Ok(())
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn c1_every_future_of_the_crate_can_be_spawned_and_awaited_in_an_async_trait() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let tables = async |db: &Db| -> Result<(), Error> {
            create_table(db, shelf::Entity).await?;
            create_table(db, book::Entity).await?;
            create_table(db, label::Entity).await?;
            create_table(db, shelf_label::Entity).await
        };
        run_test_on(backend, tables, async |db: Db| -> Result<(), Error> {
            drop(is_send(everything_of_an_outbox(db.clone())));
            let service: Box<dyn Work + Send + Sync> = Box::new(Service { prefix: "a".to_owned() });
            let url = "sqlite::memory:".to_owned();
            let task = tokio::spawn(async move { service.everything_of_a_database(db, url).await });
            task.await.expect("the task did not panic")
        });
    }
}

/// A session and its objects are values that a task may own.
#[test]
fn c1_a_session_and_its_objects_move_between_threads() {
    run_test_on(
        Backend::Sqlite,
        async |db: &Db| create_table(db, shelf::Entity).await,
        async |db: Db| {
            let mut s = db.begin().await.unwrap();
            let object = s.add(shelf(1));
            let (mut s, object) = tokio::spawn(async move {
                s.flush().await.unwrap();
                object.set_name("by another task");
                (s, object)
            })
            .await
            .unwrap();
            s.commit().await.unwrap();
            assert_eq!(object.name(), "by another task");
        },
    );
}
