//! Rows by their unique values, and many rows at once (U2, U4).

mod expressions;
mod statements;
mod tables;

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectOptions, ConnectionTrait, QueryOrder, Statement,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait},
};
use sea_session::{
    Error, Session, State, Tracked,
    prelude::*,
    testing::{Backend, cluster, create_table, run_test_on},
};

use crate::support::*;

/// A page with a key from the database, a unique slug, and everything that a flush sets by itself.
mod page {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "page")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub slug: String,
        pub title: String,
        #[sea_orm(default_value = "draft")]
        pub status: String,
        #[tracked(version)]
        pub version: i32,
        #[tracked(created_at)]
        pub created_at: DateTimeUtc,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    pub static SAVED: AtomicU32 = AtomicU32::new(0);

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(self, _: &C, _: bool) -> Result<Self, DbErr> {
            match &self.title {
                Set(title) if title == "refused" => Err(DbErr::Custom("no such title".into())),
                _ => Ok(self),
            }
        }

        async fn after_save<C: ConnectionTrait>(model: Model, _: &C, insert: bool) -> Result<Model, DbErr> {
            if insert && model.title == "counted" {
                SAVED.fetch_add(1, Ordering::SeqCst);
            }
            Ok(model)
        }
    }
}

async fn pages(db: &Db) -> Done {
    create_table(db, page::Entity).await
}

fn on_pages(test: impl AsyncFn(Db) -> Done) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(backend, pages, async |db: Db| test(db).await);
    }
}

fn new_page(slug: &str, title: &str) -> page::ActiveModel {
    page::ActiveModel { slug: Set(slug.to_owned()), title: Set(title.to_owned()), ..Default::default() }
}

async fn stored(db: &Db, slug: &str) -> Option<page::Model> {
    page::Entity::find().filter(page::Column::Slug.eq(slug)).one(db.connection()).await.unwrap()
}

fn one_more() -> Expr {
    Expr::col(note::Column::Views).add(1)
}

/// Statements about rows; BEGIN, COMMIT and savepoints left out.
fn about_rows(sent: Vec<String>) -> Vec<String> {
    let control = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"];
    sent.into_iter().filter(|sql| !control.iter().any(|word| sql.starts_with(word))).collect()
}

// ---- U4: rows by unique values -------------------------------------------------------------------------------------

#[test]
fn u4_find_by_unique_gives_the_object_of_the_map() {
    three_ways(async |s: &mut Session| -> Done {
        let ann = s.add(writer("ann"));
        // The new row goes first.
        let found = s.find_by_unique::<author::Entity>(author::Column::Name, "ann").await?.unwrap();
        assert!(Tracked::ptr_eq(&ann, &found));
        assert!(s.find_by_unique::<author::Entity>([author::Column::Name], "bob").await?.is_none());
        ann.set_name("eve".to_owned());
        assert!(s.find_by_unique::<author::Entity>(author::Column::Name, "ann").await?.is_none());
        let found = s.find_by_unique::<author::Entity>(author::Column::Name, "eve").await?.unwrap();
        assert!(Tracked::ptr_eq(&ann, &found));
        s.delete(&ann);
        assert!(s.find_by_unique::<author::Entity>(author::Column::Name, "eve").await?.is_none());
        let wrong = s.find_by_unique::<author::Entity>(author::Column::Name, ("eve", 1)).await;
        assert!(matches!(wrong, Err(Error::Usage(_))), "{wrong:?}");
        Ok(())
    });
}

#[test]
fn u4_find_many_by_unique_answers_each_value_in_one_statement() {
    on_both(async |db: Db| {
        let names: Vec<String> = (0..500).map(|n| format!("author {n}")).collect();
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Done {
                names.iter().step_by(2).for_each(|name| _ = s.add(writer(name)));
                s.flush().await?;
                recorder.take();
                let found = s.find_many_by_unique::<author::Entity>(author::Column::Name, names.clone()).await?;
                assert_eq!(recorder.take().len(), 1);
                for (at, (name, author)) in names.iter().zip(&found).enumerate() {
                    assert_eq!(author.as_ref().map(|author| author.name()), (at % 2 == 0).then(|| name.clone()));
                }
                // By its key, an object of the map costs no statement.
                let id = found[0].as_ref().unwrap().id();
                let held = s.find_by_unique::<author::Entity>(author::Column::Id, id).await?.unwrap();
                assert!(Tracked::ptr_eq(&held, found[0].as_ref().unwrap()));
                assert_eq!(recorder.take(), Vec::<String>::new());
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn u4_get_or_add_adds_once_and_gets_afterwards() {
    on_pages(async |db: Db| {
        let (recorder, options) = watched(&db);
        let (id, at) = options
            .run(async |s: &mut Session| -> Result<(i64, DateTimeUtc), Error> {
                let (page, added) = s.get_or_add(new_page("home", "Home"), page::Column::Slug).await?;
                assert!(added);
                assert_eq!((page.version(), page.status()), (1, "draft".to_owned()));
                assert_eq!(s.state(&page), State::Persistent);
                let (again, added) = s.get_or_add(new_page("home", "other"), page::Column::Slug).await?;
                assert!(!added && Tracked::ptr_eq(&page, &again));
                assert_eq!(again.title(), "Home", "a row that is there stays as it is");
                assert!(Tracked::ptr_eq(&page, &s.get::<page::Entity>(page.id()).await?.unwrap()));
                Ok((page.id(), page.created_at()))
            })
            .await?;
        assert_eq!(about_rows(recorder.take()).len(), 3, "looked for, added; looked for");
        let row = stored(&db, "home").await.unwrap();
        assert_eq!((row.id, row.created_at, row.updated_at), (id, at, at));
        db.run(async |s: &mut Session| -> Done {
            let (page, added) = s.get_or_add(new_page("home", "other"), page::Column::Slug).await?;
            assert!(!added && page.id() == id && page.title() == "Home");
            let unset = page::ActiveModel { title: Set("none".into()), ..Default::default() };
            let unset = s.get_or_add(unset, page::Column::Slug).await;
            assert!(matches!(unset, Err(Error::Usage(_))), "{unset:?}");
            Ok(())
        })
        .await
    });
}

#[test]
fn u4_get_or_add_under_concurrency_gives_one_row() {
    on_pages(async |db: Db| {
        let units = (0..16).map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                db.run(async |s: &mut Session| -> Result<(i64, bool), Error> {
                    let (page, added) = s.get_or_add(new_page("same", &format!("of {n}")), page::Column::Slug).await?;
                    Ok((page.id(), added))
                })
                .await
            })
        });
        let answers: Vec<(i64, bool)> =
            join_all(units).await.into_iter().map(|unit| unit.unwrap()).collect::<Result<_, _>>()?;
        assert_eq!(answers.iter().filter(|(_, added)| *added).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|(id, _)| *id == answers[0].0), "{answers:?}");
        assert_eq!(page::Entity::find().count(db.connection()).await?, 1);
        Ok(())
    });
}

#[test]
fn u4_get_or_add_under_serializable_units_is_retried() {
    run_test_on(Backend::Postgres, pages, async |db: Db| -> Done {
        let units = (0..8).map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.session()
                    .isolation(IsolationLevel::Serializable)
                    .retry(Retry::times(50))
                    .run(async |s: &mut Session| -> Result<i64, Error> {
                        Ok(s.get_or_add(new_page("same", "one"), page::Column::Slug).await?.0.id())
                    })
                    .await
            })
        });
        let ids: Vec<i64> = join_all(units).await.into_iter().map(|unit| unit.unwrap()).collect::<Result<_, _>>()?;
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        Ok(())
    });
}

#[test]
fn u4_a_pending_object_is_got_and_a_row_that_was_gone_is_added_anew() {
    three_ways(async |s: &mut Session| -> Done {
        let ann = s.add(writer("ann"));
        let (found, added) = s.get_or_add(writer("ann"), author::Column::Name).await?;
        assert!(!added && Tracked::ptr_eq(&ann, &found));
        let note = s.add(draft(1, "first"));
        s.flush().await?;
        // Past the map, as a statement of somebody else's.
        s.execute_unprepared("DELETE FROM note").await?;
        let (again, added) = s.get_or_add(draft(1, "again"), note::Column::Id).await?;
        assert!(added && !Tracked::ptr_eq(&note, &again));
        assert_eq!((s.state(&note), s.state(&again)), (State::Deleted, State::Persistent));
        assert!(Tracked::ptr_eq(&again, &s.get::<note::Entity>(1).await?.unwrap()));
        Ok(())
    });
}

#[test]
fn u4_upserts_and_get_or_adds_of_the_same_keys_do_not_wait_for_each_other() {
    on_pages(async |db: Db| {
        let units = (0..8).map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                db.run(async |s: &mut Session| -> Done {
                    let mut slugs: Vec<String> = (0..50).map(|slug| format!("slug {slug}")).collect();
                    if n % 2 == 0 {
                        slugs.reverse();
                    }
                    let models = slugs.iter().map(|slug| new_page(slug, "shared"));
                    if n % 3 == 0 {
                        s.upsert_many(models, page::Column::Slug).await?;
                    } else {
                        s.get_or_add_many(models, page::Column::Slug).await?;
                    }
                    Ok(())
                })
                .await
            })
        });
        join_all(units).await.into_iter().map(|unit| unit.unwrap()).collect::<Result<Vec<()>, _>>()?;
        assert_eq!(page::Entity::find().count(db.connection()).await?, 50);
        Ok(())
    });
}

#[test]
fn u4_get_or_add_waits_for_the_unit_that_was_faster() {
    run_test_on(Backend::Postgres, pages, async |db: Db| -> Done {
        let mut first = db.begin().await?;
        let (page, added) = first.get_or_add(new_page("same", "first"), page::Column::Slug).await?;
        assert!(added);
        let id = page.id();
        let second = tokio::spawn({
            let db = db.clone();
            async move {
                let (recorder, options) = watched(&db);
                let body = async |s: &mut Session| -> Result<(i64, bool, String), Error> {
                    let (page, added) = s.get_or_add(new_page("same", "second"), page::Column::Slug).await?;
                    Ok((page.id(), added, page.title()))
                };
                options.run(body).await.map(|answer| (answer, about_rows(recorder.take()).len()))
            }
        });
        let waits = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted";
        loop {
            let statement = Statement::from_string(sea_orm::DbBackend::Postgres, waits);
            let row = db.connection().query_one_raw(statement).await?.unwrap();
            if row.try_get::<i64>("", "n")? > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        first.commit().await?;
        let (answer, statements) = second.await.unwrap()?;
        assert_eq!(answer, (id, false, "first".to_owned()));
        assert_eq!(statements, 3);
        Ok(())
    });
}

#[test]
fn u4_get_or_add_of_a_thousand_keys_in_three_statements() {
    on_pages(async |db: Db| {
        let slugs: Vec<String> = (0..1_000).map(|n| format!("slug {n}")).collect();
        let half = slugs.iter().step_by(2).map(|slug| new_page(slug, "before"));
        page::Entity::insert_many(half.map(|page| page::ActiveModel {
            version: Set(1),
            created_at: Set(chrono::Utc::now()),
            updated_at: Set(chrono::Utc::now()),
            ..page
        }))
        .exec_without_returning(db.connection())
        .await?;
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Done {
                let models = slugs.iter().map(|slug| new_page(slug, "now"));
                let pages = s.get_or_add_many(models, page::Column::Slug).await?;
                assert_eq!(pages.len(), 1_000);
                for (at, (page, added)) in pages.iter().enumerate() {
                    assert_eq!((page.slug(), *added), (slugs[at].clone(), at % 2 == 1));
                    assert_eq!(page.title(), if *added { "now" } else { "before" });
                }
                Ok(())
            })
            .await?;
        assert!(about_rows(recorder.take()).len() <= 3);
        let ids = page::Entity::find().order_by_asc(page::Column::Id).all(db.connection()).await?;
        assert_eq!(ids.len(), 1_000);
        Ok(())
    });
}

#[test]
fn u4_models_of_one_key_get_one_object_and_other_shapes_keep_their_defaults() {
    on_pages(async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let shown = page::ActiveModel { status: Set("shown".into()), ..new_page("b", "two") };
            let models = [new_page("a", "one"), shown, new_page("a", "three")];
            let pages = s.get_or_add_many(models, page::Column::Slug).await?;
            assert!(Tracked::ptr_eq(&pages[0].0, &pages[2].0));
            assert_eq!(pages.iter().map(|(_, added)| *added).collect::<Vec<_>>(), [true, true, false]);
            assert_eq!((pages[0].0.title(), pages[0].0.status()), ("one".to_owned(), "draft".to_owned()));
            assert_eq!(pages[1].0.status(), "shown");
            Ok(())
        })
        .await
    });
}

#[test]
fn u4_what_was_got_or_added_goes_back_with_its_block() {
    on_pages(async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let (kept, _) = s.get_or_add(new_page("kept", "kept"), page::Column::Slug).await?;
            let mut inner = None;
            let outcome = s
                .atomic(async |s: &mut Session| -> Done {
                    let (page, added) = s.get_or_add(new_page("gone", "gone"), page::Column::Slug).await?;
                    assert!(added);
                    s.get_or_add(new_page("kept", "again"), page::Column::Slug).await?;
                    s.upsert(new_page("kept", "changed"), page::Column::Slug).await?;
                    s.upsert(new_page("other", "new"), page::Column::Slug).await?;
                    inner = Some(page);
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(outcome.is_err());
            let gone = inner.unwrap();
            assert_eq!(s.state(&gone), State::Transient, "as one whose adding was rolled back (S3)");
            assert_eq!((kept.title(), kept.version()), ("kept".to_owned(), 1));
            assert!(s.find_by_unique::<page::Entity>(page::Column::Slug, "other").await?.is_none());
            s.add_again(&gone)?;
            s.flush().await?;
            assert_eq!(s.state(&gone), State::Persistent);
            Ok(())
        })
        .await?;
        assert_eq!(stored(&db, "kept").await.unwrap().title, "kept");
        assert_eq!(stored(&db, "gone").await.unwrap().title, "gone");
        Ok(())
    });
}

#[test]
fn u4_upsert_inserts_or_takes_over_what_is_set() {
    on_pages(async |db: Db| {
        let (recorder, options) = watched(&db);
        let created = options
            .run(async |s: &mut Session| -> Result<DateTimeUtc, Error> {
                let new = page::ActiveModel { status: Set("shown".into()), ..new_page("home", "Home") };
                let page = s.upsert(new, page::Column::Slug).await?;
                assert_eq!((page.version(), page.title()), (1, "Home".to_owned()));
                let again = s.upsert(new_page("home", "Start"), page::Column::Slug).await?;
                assert!(Tracked::ptr_eq(&page, &again));
                assert_eq!((page.version(), page.title(), page.status()), (2, "Start".to_owned(), "shown".to_owned()));
                assert!(page.changed().is_empty());
                Ok(page.created_at())
            })
            .await?;
        assert_eq!(about_rows(recorder.take()).len(), 2, "one statement each");
        let row = stored(&db, "home").await.unwrap();
        assert_eq!((row.version, row.created_at), (2, created));
        // A unit that has loaded the row before notices.
        let mut stale = db.begin().await?;
        let page = stale.get::<page::Entity>(row.id).await?.unwrap();
        if db.backend() == sea_orm::DbBackend::Sqlite {
            stale.rollback().await?;
            return Ok(());
        }
        db.run(async |s: &mut Session| -> Done {
            s.upsert(new_page("home", "x"), page::Column::Slug).await.map(|_| ())
        })
        .await?;
        page.set_title("late".to_owned());
        let outcome = stale.commit().await;
        assert!(matches!(outcome, Err(Error::Stale { expected: Some(2), found: Some(3), .. })), "{outcome:?}");
        Ok(())
    });
}

#[test]
fn u4_upsert_many_goes_in_one_statement() {
    on_pages(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Done {
                s.upsert_many((0..10).map(|n| new_page(&format!("slug {n}"), "first")), page::Column::Slug).await?;
                recorder.take();
                let again = (5..700).map(|n| new_page(&format!("slug {n}"), "second"));
                let pages = s.upsert_many(again, page::Column::Slug).await?;
                assert_eq!(about_rows(recorder.take()).len(), 1);
                for (at, page) in pages.iter().enumerate() {
                    assert_eq!(page.slug(), format!("slug {}", at + 5));
                    assert_eq!((page.title(), page.version()), ("second".to_owned(), if at < 5 { 2 } else { 1 }));
                }
                let twice = [new_page("a", "one"), new_page("a", "two")];
                let twice = s.upsert_many(twice, page::Column::Slug).await;
                assert!(matches!(twice, Err(Error::Usage(_))), "{twice:?}");
                Ok(())
            })
            .await?;
        assert_eq!(page::Entity::find().count(db.connection()).await?, 700);
        Ok(())
    });
}

#[test]
fn u4_hooks_run_for_rows_that_are_added() {
    on_pages(async |db: Db| {
        let before = page::SAVED.load(Ordering::SeqCst);
        let outcome = db
            .run(async |s: &mut Session| -> Done {
                s.get_or_add(new_page("a", "counted"), page::Column::Slug).await?;
                s.get_or_add(new_page("a", "counted"), page::Column::Slug).await?;
                assert_eq!(page::SAVED.load(Ordering::SeqCst) - before, 1);
                let refused = s.get_or_add(new_page("b", "refused"), page::Column::Slug).await;
                assert!(matches!(refused, Err(Error::Hook { hook: "before_save", .. })), "{refused:?}");
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "as after a flush that failed: {outcome:?}");
        Ok(())
    });
}

#[test]
fn u4_delete_by_key_deletes_without_loading() {
    three_ways(async |s: &mut Session| -> Done {
        let note = s.add(draft(1, "first"));
        s.add(draft(2, "second"));
        s.flush().await?;
        assert!(s.delete_by_key::<note::Entity>(1).await?);
        assert_eq!(s.state(&note), State::Deleted);
        assert!(!s.contains(&note));
        assert!(!s.delete_by_key::<note::Entity>(1).await?);
        assert!(s.get::<note::Entity>(1).await?.is_none());
        s.add(draft(1, "again"));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Done {
                assert!(s.delete_by_key::<note::Entity>(2_i32).await?);
                Err(Error::Usage("undo".into()))
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!(s.get::<note::Entity>(2).await?.unwrap().title(), "second");
        Ok(())
    });
}

/// A key that the database compares without regard to case, and a column that it computes.
mod place {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "place")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        pub size: i32,
        pub twice: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

fn on_places(test: impl AsyncFn(Db) -> Done) {
    let sqlite = "CREATE TABLE place (id integer PRIMARY KEY, name text NOT NULL COLLATE NOCASE UNIQUE, size integer NOT NULL, \
                  twice integer GENERATED ALWAYS AS (size * 2) STORED)";
    on_tables(Backend::Sqlite, &[sqlite], async |db: Db| test(db).await);
    let postgres = "CREATE TABLE place (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text COLLATE folding NOT NULL \
                    UNIQUE, size int NOT NULL, twice int GENERATED ALWAYS AS (size * 2) STORED)";
    let collation = "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    on_tables(Backend::Postgres, &[collation, postgres], async |db: Db| test(db).await);
}

fn new_place(name: &str, size: i32) -> place::ActiveModel {
    place::ActiveModel { id: NotSet, name: Set(name.to_owned()), size: Set(size), twice: Set(-1) }
}

#[test]
fn u4_equal_is_what_the_database_holds_equal() {
    on_places(async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let (rome, added) = s.get_or_add(new_place("Rome", 1), place::Column::Name).await?;
            assert!(added);
            assert_eq!(rome.twice(), 2, "computed, whatever was set");
            let (again, added) = s.get_or_add(new_place("ROME", 5), place::Column::Name).await?;
            assert!(!added && Tracked::ptr_eq(&rome, &again));
            let found = s.find_by_unique::<place::Entity>(place::Column::Name, "rome").await?;
            assert!(Tracked::ptr_eq(&rome, &found.unwrap()));
            let upserted = s.upsert(new_place("rOmE", 7), place::Column::Name).await?;
            assert!(Tracked::ptr_eq(&rome, &upserted));
            assert_eq!((rome.name(), rome.size(), rome.twice()), ("Rome".to_owned(), 7, 14));
            let many = [new_place("rome", 1), new_place("Oslo", 2), new_place("OSLO", 3), new_place("Bonn", 4)];
            let places = s.get_or_add_many(many, place::Column::Name).await?;
            assert!(Tracked::ptr_eq(&places[1].0, &places[2].0) && Tracked::ptr_eq(&places[0].0, &rome));
            assert_eq!(places.iter().filter(|(_, added)| *added).count(), 2);
            let upserted = s.upsert_many([new_place("OSLO", 8), new_place("Kyiv", 9)], place::Column::Name).await?;
            assert!(Tracked::ptr_eq(&upserted[0], &places[1].0));
            assert_eq!((places[1].0.size(), upserted[1].name()), (8, "Kyiv".to_owned()));
            Ok(())
        })
        .await
    });
}

/// A column of a kind that does not travel in sets.
mod tagged {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "tagged")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        pub tags: Vec<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

#[test]
fn u2_u4_columns_that_do_not_travel_in_sets_go_row_by_row() {
    let table = "CREATE TABLE tagged (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, tags text[] NOT NULL)";
    on_tables(Backend::Postgres, &[table], async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let new = |id: i64, tags: &[&str]| tagged::ActiveModel {
                id: Set(id),
                name: Set(format!("name {id}")),
                tags: Set(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            };
            let many = s.get_or_add_many([new(1, &["a"]), new(2, &[]), new(1, &["b"])], tagged::Column::Name).await?;
            assert_eq!(many.iter().map(|(_, added)| *added).collect::<Vec<_>>(), [true, true, false]);
            assert_eq!((many[0].0.tags(), many[1].0.tags()), (vec!["a".to_owned()], vec![]));
            let many = s.upsert_many([new(2, &["c", "d"]), new(3, &["e"])], tagged::Column::Name).await?;
            assert_eq!(many[0].tags(), ["c", "d"]);
            let found = s.find_by_unique::<tagged::Entity>(tagged::Column::Tags, vec!["e".to_owned()]).await?;
            assert!(Tracked::ptr_eq(&many[1], &found.unwrap()));
            let cleared = tagged::ActiveModel { tags: Set(vec!["f".to_owned()]), ..Default::default() };
            assert_eq!(s.update_many(tagged::Entity::update_many().set(cleared)).await?, 3);
            assert_eq!(many[1].tags(), ["f"]);
            many[1].set_expr(tagged::Column::Tags, Expr::cust("tags || 'g'::text"))?;
            s.flush().await?;
            assert_eq!(many[1].tags(), ["f", "g"]);
            Ok(())
        })
        .await
    });
}
