//! U8: SeaORM's own transactions, nested models and streams on a session. The shapes are those of SeaORM's test-suite.

use futures_util::{StreamExt, TryStreamExt};
use sea_orm::{
    AccessMode, ConnectionTrait, DbErr, QueryOrder, Set, SqlErr, SqliteTransactionMode, Statement, StreamTrait,
    TransactionError, TransactionOptions, TransactionSession, TransactionTrait, entity::prelude::*,
};
use sea_session::{
    Error, NestedTransaction, Recorder, Session,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

mod author {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "author")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        #[sea_orm(has_one)]
        pub portrait: HasOne<super::portrait::Entity>,
        #[sea_orm(has_many)]
        pub books: HasMany<super::book::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod portrait {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "portrait")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub file: String,
        #[sea_orm(unique)]
        pub author_id: i64,
        #[sea_orm(belongs_to, from = "author_id", to = "id")]
        pub author: BelongsTo<super::author::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod book {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "book")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub author_id: i64,
        pub title: String,
        #[sea_orm(belongs_to, from = "author_id", to = "id")]
        pub author: BelongsTo<super::author::Entity>,
        #[sea_orm(has_many, via = "book_tag")]
        pub tags: HasMany<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod tag {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub word: String,
        #[sea_orm(has_many, via = "book_tag")]
        pub books: HasMany<super::book::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod book_tag {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "book_tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub book_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_id: i64,
        #[sea_orm(belongs_to, from = "book_id", to = "id")]
        pub book: BelongsTo<super::book::Entity>,
        #[sea_orm(belongs_to, from = "tag_id", to = "id")]
        pub tag: BelongsTo<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, author::Entity).await?;
    create_table(db, portrait::Entity).await?;
    create_table(db, book::Entity).await?;
    create_table(db, tag::Entity).await?;
    create_table(db, book_tag::Entity).await
}

/// Runs a test on both backends.
fn on_both(test: impl AsyncFn(Db) -> Result<(), Error>) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

fn named(name: &str) -> author::ActiveModel {
    author::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

async fn names(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let authors = author::Entity::find().order_by_asc(author::Column::Id).all(db).await?;
    Ok(authors.into_iter().map(|author| author.name).collect())
}

fn forced() -> DbErr {
    DbErr::Custom("rolled back on purpose".to_owned())
}

#[test]
fn u8_a_transaction_inside_a_unit_is_a_savepoint_and_objects_go_back_with_it() {
    on_both(async |db: Db| {
        let recorder = Recorder::new();
        db.session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                let held = s.add(named("first"));
                s.flush().await?;
                recorder.take();
                let connection = &*s;

                let lost = connection.begin().await?;
                held.set_name("tentative");
                named("second").save(&lost).await?;
                assert_eq!(names(&lost).await?, ["tentative", "second"]);
                lost.rollback().await?;
                assert_eq!(held.name(), "first", "memory goes back with the savepoint");
                assert_eq!(names(connection).await?, ["first"]);

                let kept = connection.begin().await?;
                held.set_name("renamed");
                kept.commit().await?;
                assert_eq!(names(connection).await?, ["renamed"], "what was pending in it is flushed with its end");

                {
                    let _dropped = connection.begin().await?;
                    held.set_name("dropped");
                    named("third").insert(&_dropped).await?;
                }
                assert_eq!(held.name(), "renamed", "memory goes back at once");
                assert_eq!(names(connection).await?, ["renamed"]);

                let sent = recorder.take();
                let savepoints = sent.iter().filter(|text| text.contains("SAVEPOINT sea_session_")).count();
                assert!(savepoints >= 3 && !sent.iter().any(|text| text.contains("BEGIN")), "{sent:?}");
                held.set_name("after");
                Ok(())
            })
            .await?;
        assert_eq!(names(db.connection()).await?, ["after"]);
        Ok(())
    });
}

/// The shape of SeaORM's `transaction_nested`: commits and rollbacks three deep.
async fn three_deep(connection: &Session) -> Result<(), TransactionError<DbErr>> {
    connection
        .transaction_async::<_, _, DbErr>(async |one: &NestedTransaction| {
            named("a").save(one).await?;
            named("b").save(one).await?;
            let kept = one
                .transaction_async::<_, _, DbErr>(async |two: &NestedTransaction| {
                    named("c").save(two).await?;
                    let lost = two
                        .transaction_async::<_, (), DbErr>(async |three: &NestedTransaction| {
                            named("lost").save(three).await?;
                            assert_eq!(names(three).await?, ["a", "b", "c", "lost"]);
                            Err(forced())
                        })
                        .await;
                    assert!(matches!(lost, Err(TransactionError::Transaction(DbErr::Custom(_)))), "{lost:?}");
                    assert_eq!(names(two).await?, ["a", "b", "c"]);
                    let kept = two
                        .transaction_async::<_, _, DbErr>(async |three: &NestedTransaction| {
                            named("d").save(three).await?;
                            Ok(())
                        })
                        .await;
                    assert!(kept.is_ok(), "{kept:?}");
                    Ok(())
                })
                .await;
            assert!(kept.is_ok(), "{kept:?}");
            let lost = one
                .transaction_async::<_, (), DbErr>(async |two: &NestedTransaction| {
                    named("lost too").save(two).await?;
                    two.transaction_async::<_, _, DbErr>(async |three: &NestedTransaction| {
                        named("lost with it").save(three).await.map(drop)
                    })
                    .await
                    .expect("it commits into what is lost");
                    assert_eq!(names(two).await?.len(), 6);
                    Err(forced())
                })
                .await;
            assert!(lost.is_err());
            assert_eq!(names(one).await?, ["a", "b", "c", "d"]);
            Ok(())
        })
        .await
}

#[test]
fn u8_closures_nest_and_each_goes_back_by_itself() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            three_deep(s).await.expect("it commits");
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                author::Entity::delete_many().exec(s).await?;
                three_deep(s).await.expect("in a block of the session as well");
                Ok(())
            })
            .await
        })
        .await?;
        assert_eq!(names(db.connection()).await?, ["a", "b", "c", "d"]);
        let undone = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                author::Entity::delete_many().exec(s).await?;
                three_deep(s).await.expect("it commits");
                author::Entity::delete_many().exec(s).await?;
                Err(Error::Usage("undo".into()))
            })
            .await;
        assert!(undone.is_err());
        assert_eq!(names(db.connection()).await?.len(), 4, "the unit's rollback takes them along");
        Ok(())
    });
}

#[test]
fn u8_boxed_closures_of_sea_orm_run_and_their_futures_can_be_spawned() {
    async fn by_name(txn: &impl ConnectionTrait, name: &str) -> Result<u64, DbErr> {
        author::Entity::find().filter(author::Column::Name.eq(name)).count(txn).await
    }

    on_both(async |db: Db| {
        let work = async move {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                let name = "boxed".to_owned();
                let connection = &*s;
                let found = connection
                    .transaction::<_, u64, DbErr>(|txn| {
                        Box::pin(async move {
                            named(&name).insert(txn).await?;
                            by_name(txn, &name).await
                        })
                    })
                    .await
                    .map_err(|e| Error::Usage(e.to_string().into()))?;
                assert_eq!(found, 1);
                author::ActiveModel::builder().set_name("nested").save(connection).await?;
                Ok(())
            })
            .await
        };
        tokio::spawn(work).await.unwrap()
    });
}

#[test]
fn u8_nested_models_are_saved_and_deleted_with_what_hangs_on_them() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let connection = &*s;
            let author = author::ActiveModel::builder()
                .set_name("Ann")
                .set_portrait(portrait::ActiveModel::builder().set_file("ann.png"))
                .add_book(
                    book::ActiveModel::builder()
                        .set_title("one")
                        .add_tag(tag::ActiveModel::builder().set_word("blue"))
                        .add_tag(tag::ActiveModel::builder().set_word("red")),
                )
                .add_book(book::ActiveModel::builder().set_title("two"))
                .save(connection)
                .await?;
            let id = *author.id.as_ref();

            // What was written is there for the map.
            let tracked = s.get::<author::Entity>(id).await?.expect("it was inserted");
            let mut titles: Vec<String> = tracked.books(s).await?.iter().map(|book| book.title()).collect();
            titles.sort();
            assert_eq!(titles, ["one", "two"]);
            assert_eq!(tracked.portrait(s).await?.expect("it was inserted").file(), "ann.png");

            // Another belongs to an author that exists.
            let model = tracked.model();
            let connection = &*s;
            let book =
                book::ActiveModel::builder().set_title("three").set_author(model.into_ex()).insert(connection).await?;
            assert_eq!(book.author_id, id);
            Ok(())
        })
        .await?;
        assert_eq!(book_tag::Entity::find().count(db.connection()).await?, 2);

        db.run(async |s: &mut Session| -> Result<(), Error> {
            let author = author::Entity::find().one(s).await?.expect("it was committed");
            let lost = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    author.clone().cascade_delete(s).await?;
                    assert_eq!(book::Entity::find().count(s).await?, 0);
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(lost.is_err());
            assert_eq!(book::Entity::find().count(s).await?, 3, "the block has rolled back");
            author.cascade_delete(s).await?;
            Ok(())
        })
        .await?;
        assert_eq!(author::Entity::find().count(db.connection()).await?, 0);
        assert_eq!(portrait::Entity::find().count(db.connection()).await?, 0);
        assert_eq!(book_tag::Entity::find().count(db.connection()).await?, 0);
        assert_eq!(tag::Entity::find().count(db.connection()).await?, 2);
        Ok(())
    });
}

#[test]
fn u8_only_the_innermost_transaction_is_used() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let connection = &*s;
            let outer = connection.begin().await?;
            let inner = outer.begin().await?;
            for refused in
                [connection.begin().await.map(drop), outer.begin().await.map(drop), names(&outer).await.map(drop)]
            {
                let refused = refused.unwrap_err().to_string();
                assert!(refused.contains("use that one, or end it first"), "{refused}");
            }
            named("inner").insert(&inner).await?;
            // An outer one that ends first takes the inner with it.
            let refused = outer.commit().await.unwrap_err().to_string();
            assert!(refused.contains("end it first"), "{refused}");
            assert_eq!(names(connection).await?, Vec::<String>::new());
            let over = names(&inner).await.unwrap_err().to_string();
            assert!(over.contains("is over"), "{over}");
            assert!(inner.commit().await.is_err());

            // The order in which they are dropped makes no difference.
            let outer = connection.begin().await?;
            let inner = outer.begin().await?;
            named("inner").insert(&inner).await?;
            drop(outer);
            drop(inner);
            assert_eq!(names(connection).await?, Vec::<String>::new());

            // Rolled back, the outer takes the inner along and says nothing.
            let outer = connection.begin().await?;
            let inner = outer.begin().await?;
            named("inner").insert(&inner).await?;
            outer.rollback().await?;
            inner.rollback().await?;
            assert_eq!(names(connection).await?, Vec::<String>::new());

            s.add(named("after"));
            Ok(())
        })
        .await?;
        assert_eq!(names(db.connection()).await?, ["after"]);
        Ok(())
    });
}

#[test]
fn u8_a_session_that_is_used_meanwhile_gives_its_transaction_up() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let held = s.add(named("first"));
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    let transaction = TransactionTrait::begin(s).await?;
                    held.set_name("tentative");
                    named("second").insert(&transaction).await?;
                    // What is asked here would be asked in the transaction's savepoint.
                    let refused = s.get::<author::Entity>(7).await.unwrap_err();
                    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
                    assert!(refused.to_string().contains("end it first"), "{refused}");
                    let over = transaction.commit().await.unwrap_err().to_string();
                    assert!(over.contains("is over"), "{over}");
                    Ok(())
                })
                .await;
            assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
            assert_eq!(held.name(), "first");
            assert_eq!(names(s).await?, ["first"]);

            // One that has ended is nobody's business, and one that outlives its unit does nothing.
            TransactionTrait::begin(s).await?.commit().await?;
            assert!(s.get::<author::Entity>(7).await?.is_none());
            Ok(())
        })
        .await?;
        let mut s = db.begin().await?;
        let transaction = TransactionTrait::begin(&s).await?;
        named("lost").insert(&transaction).await?;
        s.rollback().await?;
        assert!(names(&transaction).await.unwrap_err().to_string().contains("is over"));
        drop(transaction);
        let mut s = db.begin().await?;
        let transaction = TransactionTrait::begin(&s).await?;
        named("lost").insert(&transaction).await?;
        assert!(matches!(s.commit().await, Err(Error::RolledBack { .. })));
        let s = db.begin().await?;
        let transaction = TransactionTrait::begin(&s).await?;
        named("lost").insert(&transaction).await?;
        drop(s);
        assert!(transaction.commit().await.is_err());
        assert_eq!(names(db.connection()).await?, ["first"]);
        Ok(())
    });
}

#[test]
fn u8_sql_that_controls_the_transaction_is_refused_here_too() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let connection = &*s;
            for text in ["COMMIT", "SAVEPOINT a", "ROLLBACK"] {
                let refused = connection.execute_unprepared(text).await.unwrap_err();
                assert!(matches!(Error::from(refused), Error::Usage(_)), "{text}");
                let statement = Statement::from_string(db.backend(), text);
                assert!(connection.stream_raw(statement).await.is_err(), "{text}");
            }
            Ok(())
        })
        .await
    });
}

#[test]
fn u8_a_part_has_no_settings_that_its_unit_has_not() {
    on_both(async |db: Db| {
        let unit = db.session().isolation(IsolationLevel::Serializable);
        unit.run(async |s: &mut Session| -> Result<(), Error> {
            let connection = &*s;
            let level = |level| (Some(level), Some(AccessMode::ReadWrite));
            let (isolation, access) = level(IsolationLevel::Serializable);
            connection.begin_with_config(isolation, access).await?.commit().await?;
            let (isolation, access) = level(IsolationLevel::RepeatableRead);
            let refused = connection.begin_with_config(isolation, access).await.unwrap_err().to_string();
            assert!(refused.contains("one isolation level"), "{refused}");
            let refused = connection.begin_with_config(None, Some(AccessMode::ReadOnly)).await.unwrap_err().to_string();
            assert!(refused.contains(".read_only()"), "{refused}");
            let sqlite = |mode| TransactionOptions { sqlite_transaction_mode: Some(mode), ..Default::default() };
            connection.begin_with_options(sqlite(SqliteTransactionMode::Deferred)).await?.commit().await?;
            let refused = connection.begin_with_options(sqlite(SqliteTransactionMode::Exclusive)).await;
            assert!(refused.unwrap_err().to_string().contains("exclusive"));
            Ok(())
        })
        .await?;
        let reading = db.session().read_only();
        reading
            .run(async |s: &mut Session| -> Result<(), Error> {
                let connection = &*s;
                let read = connection.begin_with_config(None, Some(AccessMode::ReadOnly)).await?;
                assert_eq!(names(&read).await?, Vec::<String>::new());
                read.commit().await?;
                assert!(connection.begin_with_config(None, Some(AccessMode::ReadWrite)).await.is_err());
                Ok(())
            })
            .await
    });
}

#[test]
fn u8_a_refused_statement_tells_the_first_cause() {
    on_both(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                named("twice").insert(s).await?;
                let connection = &*s;
                let transaction = connection.begin().await?;
                let first = named("twice").insert(&transaction).await.unwrap_err();
                assert!(matches!(first.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{first:?}");

                // Every further one is refused (A8), and SeaORM can still be asked why.
                let refused = named("other").insert(&transaction).await.unwrap_err();
                assert!(matches!(refused.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{refused:?}");
                let begun = transaction.begin().await.unwrap_err();
                assert!(matches!(begun.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{begun:?}");
                let refused = Error::from(refused);
                assert!(matches!(refused, Error::Refused { .. }) && refused.is_unique_violation(), "{refused:?}");

                // It was swallowed, so the transaction does not commit (A7), and says why.
                let ended = transaction.commit().await.unwrap_err();
                assert!(matches!(ended.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{ended:?}");
                assert!(matches!(Error::from(ended), Error::RolledBack { .. }));

                assert_eq!(names(connection).await?, ["twice"], "what was before it is still there");

                // A flush's error, which names the row, travels the same way.
                s.add(named("twice"));
                let flushed = names(s).await.unwrap_err();
                assert!(matches!(flushed.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{flushed:?}");
                let own = Error::from(flushed.clone());
                assert!(own.to_string().starts_with("author"), "{own}");
                Err(flushed.into())
            })
            .await;
        assert!(outcome.unwrap_err().is_unique_violation());
        Ok(())
    });
}

#[test]
fn u8_an_error_without_a_database_travels_as_before() {
    let stale = Error::Stale { entity: "book", key: "7".into(), expected: Some(1), found: Some(2) };
    let travelling = DbErr::from(stale);
    assert!(travelling.sql_err().is_none());
    assert!(matches!(Error::from(travelling), Error::Stale { found: Some(2), .. }));
}

#[test]
fn u8_a_dropped_closure_is_rolled_back() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let held = s.add(named("first"));
            s.flush().await?;
            let connection = &*s;
            let far = tokio::sync::Notify::new();
            let work = connection.transaction_async::<_, (), DbErr>(async |txn: &NestedTransaction| {
                held.set_name("tentative");
                named("second").insert(txn).await?;
                far.notify_one();
                std::future::pending().await
            });
            tokio::select! {
                biased;
                _ = work => unreachable!("it waits to be dropped"),
                () = far.notified() => {}
            }
            assert_eq!(held.name(), "first");
            assert_eq!(names(connection).await?, ["first"]);

            // Dropped in the middle of a statement, too.
            let transaction = connection.begin().await?;
            held.set_name("tentative");
            let polled = futures_util::FutureExt::now_or_never(named("third").insert(&transaction));
            drop(transaction);
            assert_eq!(held.name(), "first", "{polled:?}");
            assert_eq!(names(connection).await?, ["first"]);
            Ok(())
        })
        .await?;
        assert_eq!(names(db.connection()).await?, ["first"]);
        Ok(())
    });
}

#[test]
fn u8_a_panic_in_a_closure_rolls_it_back() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let connection = &*s;
            let work = connection.transaction_async::<_, (), DbErr>(async |txn: &NestedTransaction| {
                named("lost").insert(txn).await?;
                panic!("in the closure")
            });
            let panicked = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await;
            assert!(panicked.is_err());
            assert_eq!(names(connection).await?, Vec::<String>::new());
            Ok(())
        })
        .await
    });
}

#[test]
fn u8_streams_give_rows_one_by_one_and_keep_the_session_to_themselves() {
    const MANY: usize = 2_500;
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            for at in 0..MANY {
                s.add(named(&format!("{at:05}")));
            }
            // What is pending is flushed first.
            let connection = &*s;
            let mut stream = author::Entity::find().order_by_asc(author::Column::Id).stream(connection).await?;
            assert_eq!(stream.next().await.unwrap()?.name, "00000");
            let refused = names(connection).await.unwrap_err().to_string();
            assert!(refused.contains("a stream of this session is open"), "{refused}");
            assert!(connection.begin().await.is_err());
            drop(stream);
            assert_eq!(names(connection).await?.len(), MANY, "left early, it leaves nothing behind");

            let transaction = connection.begin().await?;
            let all: Vec<author::Model> = author::Entity::find()
                .order_by_asc(author::Column::Id)
                .stream(&transaction)
                .await?
                .try_collect()
                .await?;
            assert_eq!(all.len(), MANY);
            assert!(
                all.is_sorted_by_key(|author| author.id)
                    && all.iter().zip(0..).all(|(a, n)| a.name == format!("{n:05}"))
            );
            named("after").insert(&transaction).await?;

            // A statement that writes gives its rows as well.
            let text = "UPDATE author SET name = name || '!' WHERE name < '00003' RETURNING name";
            let rows = transaction.stream_raw(Statement::from_string(db.backend(), text)).await?;
            let changed: Vec<sea_orm::QueryResult> = rows.try_collect().await?;
            assert_eq!(changed.len(), 3);
            transaction.commit().await?;
            assert_eq!(names(connection).await?.len(), MANY + 1);
            Ok(())
        })
        .await?;
        assert_eq!(names(db.connection()).await?.len(), MANY + 1);
        Ok(())
    });
}

#[test]
fn u8_a_stream_that_fails_flags_its_transaction() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let connection = &*s;
            let transaction = connection.begin().await?;
            let nothing = Statement::from_string(db.backend(), "SELECT id FROM no_such_table");
            let rows: Result<Vec<_>, DbErr> = transaction.stream_raw(nothing).await?.try_collect().await;
            let first = Error::from(rows.unwrap_err());
            assert!(first.sqlstate().is_some(), "{first:?}");
            let refused = Error::from(names(&transaction).await.unwrap_err());
            assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
            transaction.rollback().await?;
            assert_eq!(names(connection).await?, Vec::<String>::new());
            Ok(())
        })
        .await
    });
}
