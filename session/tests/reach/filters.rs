//! Filters of entities (U5): tenants, soft-deleted rows, and conditions of the caller's, in every read of objects.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
};
use sea_session::{
    Error, Recorder, Session, UnitOptions,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

mod elsewhere;

mod project {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "project")]
    #[tracked(no_hooks, soft_delete = "deleted_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[tracked(tenant)]
        pub account: String,
        pub deleted_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::task::Entity")]
        Tasks,
    }

    impl Related<super::task::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Tasks.def()
        }
    }
}

mod task {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "task")]
    #[tracked(soft_delete = "deleted_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub project_id: Option<i64>,
        #[tracked(tenant)]
        pub account: String,
        pub title: String,
        pub deleted_at: Option<DateTimeUtc>,
        #[tracked(version)]
        pub version: i32,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation, Tracked)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::project::Entity", from = "Column::ProjectId", to = "super::project::Column::Id")]
        Project,
    }

    impl Related<super::project::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Project.def()
        }
    }

    impl Related<super::label::Entity> for Entity {
        fn to() -> RelationDef {
            super::task_label::Relation::Label.def()
        }

        fn via() -> Option<RelationDef> {
            Some(super::task_label::Relation::Task.def().rev())
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod label {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "label")]
    #[tracked(no_hooks, soft_delete = "gone_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub gone_at: Option<DateTimeWithTimeZone>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

mod task_label {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "task_label")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub task_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub label_name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::task::Entity", from = "Column::TaskId", to = "super::task::Column::Id")]
        Task,
        #[sea_orm(belongs_to = "super::label::Entity", from = "Column::LabelName", to = "super::label::Column::Name")]
        Label,
    }
}

const KEY: &str = "app.account";

fn project(id: i64) -> project::ActiveModel {
    project::ActiveModel { id: Set(id), ..Default::default() }
}

fn task(id: i64, project: Option<i64>) -> task::ActiveModel {
    task::ActiveModel { id: Set(id), project_id: Set(project), title: Set(format!("t{id}")), ..Default::default() }
}

/// On each backend, in a database where ann has project 1 with tasks 1 and 2, and bob project 5 with task 5.
fn on_both(test: impl AsyncFn(Db) -> Result<(), Error>) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let make = async |db: &Db| -> Result<(), Error> {
            create_table(db, project::Entity).await?;
            create_table(db, task::Entity).await?;
            create_table(db, label::Entity).await?;
            create_table(db, task_label::Entity).await?;
            for (account, at, tasks) in [("ann", 1, vec![1, 2]), ("bob", 5, vec![5])] {
                let fill = async |s: &mut Session| -> Result<(), Error> {
                    s.add(project(at));
                    tasks.iter().for_each(|id| drop(s.add(task(*id, Some(at)))));
                    Ok(())
                };
                unit(db, account).run(fill).await?;
            }
            Ok(())
        };
        run_test_on(backend, make, async |db: Db| test(db).await);
    }
}

fn unit(db: &Db, account: &str) -> UnitOptions {
    db.session().tenant(KEY, account)
}

async fn ids(s: &mut Session) -> Result<Vec<i64>, Error> {
    Ok(task::Entity::find().order_by_asc(task::Column::Id).load(s).await?.iter().map(|task| task.id()).collect())
}

/// What the table holds, past every session: the keys of rows that are not marked, and of those that are.
async fn held(db: &Db) -> (Vec<i64>, Vec<i64>) {
    let rows = task::Entity::find().order_by_asc(task::Column::Id).all(db.connection()).await.unwrap();
    let (gone, there): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.deleted_at.is_some());
    (there.into_iter().map(|row| row.id).collect(), gone.into_iter().map(|row| row.id).collect())
}

/// How many messages had this word.
fn sent(recorder: &Recorder, word: &str) -> usize {
    recorder.take().iter().filter(|text| text.contains(word)).count()
}

#[test]
fn u5_another_tenants_row_is_not_there_in_any_read() {
    on_both(async |db: Db| {
        let recorder = Recorder::new();
        unit(&db, "bob")
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert!(s.get::<task::Entity>(1).await?.is_none());
                assert_eq!(s.get_many::<task::Entity>([1_i64, 5, 2]).await?.iter().flatten().count(), 1);
                assert_eq!(ids(s).await?, [5]);
                assert!(task::Entity::find_by_id(1).load_one(s).await?.is_none());
                assert_eq!(task::Entity::find().count_in(s).await?, 1);
                let mut rows = task::Entity::find().rows(s).await?;
                assert_eq!(rows.next().await?.unwrap().id, 5);
                assert!(rows.next().await?.is_none());
                drop(rows);
                // The filters that can be lifted are not this one.
                assert!(s.unfiltered().get::<task::Entity>(1).await?.is_none());
                assert_eq!(task::Entity::find().unfiltered().load(s).await?.len(), 1);
                assert_eq!(task::Entity::find().filtered(s)?.all(s).await?.len(), 1);
                Ok(())
            })
            .await?;
        let sent = recorder.take();
        let reads = sent.iter().filter(|text| text.contains("FROM \"task\"") && text.contains("SELECT"));
        assert!(reads.clone().count() >= 6, "{sent:?}");
        reads.for_each(|text| assert!(text.contains("\"task\".\"account\" ="), "{text}"));
        Ok(())
    });
}

#[test]
fn u5_relations_do_not_lead_to_another_tenants_rows() {
    on_both(async |db: Db| {
        // A task of bob's that names ann's project, and one of ann's that names bob's.
        db.connection().execute_unprepared("UPDATE task SET project_id = 1 WHERE id = 5").await?;
        db.connection().execute_unprepared("UPDATE task SET project_id = 5 WHERE id = 2").await?;
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let own = s.get::<project::Entity>(1).await?.unwrap();
                let astray = s.get::<task::Entity>(2).await?.unwrap();
                let related: Vec<i64> = own.related::<task::Entity>(s).await?.iter().map(|task| task.id()).collect();
                assert_eq!(related, [1]);
                assert!(astray.related_one::<project::Entity>(s).await?.is_none());
                assert!(astray.project(s).await?.is_none());
                let many = s.load_related(&[own], task::Entity).await?;
                assert_eq!(many[0].len(), 1);
                assert_eq!(s.load_related(&[astray], project::Entity).await?[0].len(), 0);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_a_tenant_of_the_wrong_type_is_said_and_without_one_nothing_is_sent() {
    on_both(async |db: Db| {
        let recorder = Recorder::new();
        let outcome = db
            .session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                for outcome in [
                    task::Entity::find().count_in(s).await.map(drop),
                    s.get_many::<task::Entity>([1_i64]).await.map(drop),
                    task::Entity::find().filtered(s).map(drop),
                    task::Entity::find().rows(s).await.map(drop),
                ] {
                    assert!(matches!(outcome, Err(Error::Tenant { entity: "task", .. })), "{outcome:?}");
                }
                Ok(())
            })
            .await;
        outcome?;
        assert_eq!(recorder.take(), Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn u5_a_soft_delete_of_a_thousand_is_one_statement() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                (100..1_124).for_each(|id| drop(s.add(task(id, None))));
                Ok(())
            })
            .await?;
        let recorder = Recorder::new();
        unit(&db, "ann")
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                let many = task::Entity::find().filter(task::Column::Id.gte(100)).load(s).await?;
                many.iter().for_each(|task| s.delete(task));
                recorder.take();
                s.flush().await?;
                // PostgreSQL has a savepoint around so many; on SQLite 1,024 are one chunk.
                let texts = recorder.take();
                assert_eq!(texts.iter().filter(|text| text.contains("UPDATE")).count(), 1, "{texts:?}");
                assert!(!texts.iter().any(|text| text.contains("DELETE")), "{texts:?}");
                assert!(many.iter().all(|task| task.version() == 2 && task.deleted_at().is_some()));
                assert_eq!(ids(s).await?, [1, 2]);
                Ok(())
            })
            .await?;
        let (there, gone) = held(&db).await;
        assert_eq!((there, gone.len()), (vec![1, 2, 5], 1_024));
        Ok(())
    });
}

#[test]
fn u5_no_read_sees_a_deleted_row() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let task = s.get::<task::Entity>(1).await?.unwrap();
                let labels = ["red", "blue"]
                    .map(|name| s.add(label::ActiveModel { name: Set(name.to_owned()), ..Default::default() }));
                task.junction::<label::Entity>().attach(s, &labels).await?;
                s.delete(&labels[0]);
                Ok(())
            })
            .await?;
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let (one, two) = (s.get::<task::Entity>(1).await?.unwrap(), s.get::<task::Entity>(2).await?.unwrap());
                let project = s.get::<project::Entity>(1).await?.unwrap();
                s.delete(&two);
                // Before the flush, by what the map holds ...
                assert!(s.peek::<task::Entity>(2).is_none());
                assert!(s.get::<task::Entity>(2).await?.is_none());
                assert_eq!(s.get_many::<task::Entity>([1_i64, 2]).await?.iter().flatten().count(), 1);
                assert!(s.is_dirty(), "none of these asked the database");
                // ... and after it, by what the database says.
                assert_eq!(ids(s).await?, [1]);
                assert_eq!(task::Entity::find().count_in(s).await?, 1);
                assert_eq!(project.related::<task::Entity>(s).await?.len(), 1);
                assert_eq!(s.load_related(std::slice::from_ref(&project), task::Entity).await?[0].len(), 1);
                assert!(task::Entity::find_by_id(2).load_one(s).await?.is_none());
                assert_eq!(task::Entity::find().filtered(s)?.all(s).await?.len(), 1);
                let labels: Vec<String> = one.related::<label::Entity>(s).await?.iter().map(|l| l.name()).collect();
                assert_eq!(labels, ["blue"]);
                assert_eq!(s.load_related(std::slice::from_ref(&one), label::Entity).await?[0].len(), 1);
                let mut rows = task::Entity::find().rows(s).await?;
                assert_eq!(rows.next().await?.unwrap().id, 1);
                assert!(rows.next().await?.is_none());
                drop(rows);
                assert!(matches!(s.refresh(&two).await, Err(Error::Stale { found: None, .. })));
                // A parent that the map holds.
                s.delete(&project);
                assert!(one.related_one::<project::Entity>(s).await?.is_none());
                assert!(one.project(s).await?.is_none());
                // SeaORM's own ways know nothing of filters.
                assert_eq!(task::Entity::find().count(s).await?, 3);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_unfiltered_says_otherwise_for_a_query_a_stretch_and_a_unit() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let two = s.get::<task::Entity>(2).await?.unwrap();
                s.delete(&two);
                Ok(())
            })
            .await?;
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(task::Entity::find().unfiltered().load(s).await?.len(), 2);
                assert_eq!(task::Entity::find().unfiltered().count_in(s).await?, 2);
                assert!(s.get::<task::Entity>(2).await?.is_none(), "it is in the map, and not shown");
                let mut all = s.unfiltered();
                let two = all.get::<task::Entity>(2).await?.unwrap();
                assert_eq!(ids(&mut all).await?, [1, 2]);
                all.refresh(&two).await?;
                drop(all);
                assert_eq!(ids(s).await?, [1]);
                Ok(())
            })
            .await?;
        unit(&db, "ann")
            .unfiltered()
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert!(s.get::<task::Entity>(2).await?.is_some());
                assert_eq!(ids(s).await?, [1, 2]);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_what_was_deleted_can_be_restored_or_really_deleted() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let one = s.get::<task::Entity>(1).await?.unwrap();
                let two = s.get::<task::Entity>(2).await?.unwrap();
                s.delete(&one);
                s.delete(&two);
                assert_eq!(s.state(&two), State::Persistent);
                s.flush().await?;
                let at = two.deleted_at();
                s.delete(&two);
                assert_eq!(two.deleted_at(), at, "the time of the first stays");
                // The key is taken, by a row that no read gives.
                assert!(matches!(s.try_add(task(2, None)), Err(Error::Duplicate { .. })));
                s.restore(&one)?;
                assert!(s.get::<task::Entity>(1).await?.is_some());
                Ok(())
            })
            .await?;
        assert_eq!(held(&db).await, (vec![1, 5], vec![2]));
        let recorder = Recorder::new();
        unit(&db, "ann")
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                let two = s.unfiltered().get::<task::Entity>(2).await?.unwrap();
                s.hard_delete(&two);
                Ok(())
            })
            .await?;
        assert_eq!(sent(&recorder, "DELETE"), 1);
        assert_eq!(held(&db).await, (vec![1, 5], vec![]));
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let draft = s.add(task(9, None));
                s.delete(&draft);
                assert_eq!(s.state(&draft), State::Transient);
                assert!(matches!(s.restore(&draft), Err(Error::Usage(_))));
                Ok(())
            })
            .await?;
        assert_eq!(held(&db).await, (vec![1, 5], vec![]));
        Ok(())
    });
}

#[test]
fn u5_a_soft_delete_goes_back_with_its_block() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let one = s.get::<task::Entity>(1).await?.unwrap();
                for flushed in [false, true] {
                    let outcome = s
                        .atomic(async |s: &mut Session| -> Result<(), Error> {
                            s.delete(&one);
                            if flushed {
                                s.flush().await?;
                                assert_eq!(one.version(), 2);
                            }
                            assert!(s.get::<task::Entity>(1).await?.is_none());
                            Err(Error::Usage("undo".into()))
                        })
                        .await;
                    assert!(outcome.is_err());
                    assert_eq!((one.deleted_at(), one.version()), (None, 1));
                    assert!(Tracked::ptr_eq(&s.get::<task::Entity>(1).await?.unwrap(), &one));
                    assert_eq!(ids(s).await?, [1, 2]);
                }
                Ok(())
            })
            .await?;
        assert_eq!(held(&db).await, (vec![1, 2, 5], vec![]));
        Ok(())
    });
}

#[test]
fn u5_a_row_that_another_unit_deletes_is_checked_by_its_version() {
    on_both(async |db: Db| {
        let mut first = unit(&db, "ann").begin().await?;
        let seen = first.get::<task::Entity>(1).await?.unwrap();
        first.rollback().await?;
        let mut second = unit(&db, "ann").begin().await?;
        let task = second.get::<task::Entity>(1).await?.unwrap();
        second.delete(&task);
        second.commit().await?;
        let outcome = unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> { s.merge::<task::Entity>(seen.model()).await.map(drop) })
            .await;
        // The model is of version 1: a new row, whose key is taken.
        assert!(outcome.is_err(), "{outcome:?}");
        assert_eq!(held(&db).await, (vec![2, 5], vec![1]));
        Ok(())
    });
}

#[test]
fn u5_a_filter_of_the_callers_holds_in_every_read_until_its_guard_is_dropped() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let (one, two) = (s.get::<task::Entity>(1).await?.unwrap(), s.get::<task::Entity>(2).await?.unwrap());
                let project = s.get::<project::Entity>(1).await?.unwrap();
                {
                    let mut s = s.with_filter::<task::Entity>(task::Column::Title.eq("t1"));
                    // Held objects: what the condition means only the database can tell.
                    assert!(Tracked::ptr_eq(&s.get::<task::Entity>(1).await?.unwrap(), &one));
                    assert!(s.get::<task::Entity>(2).await?.is_none());
                    assert_eq!(s.get_many::<task::Entity>([2_i64, 1]).await?.iter().flatten().count(), 1);
                    assert!(s.peek::<task::Entity>(2).is_none());
                    assert!(s.peek::<task::Entity>(1).is_some(), "it was read under this filter");
                    assert_eq!(ids(&mut s).await?, [1]);
                    assert_eq!(task::Entity::find().count_in(&mut s).await?, 1);
                    assert_eq!(project.related::<task::Entity>(&mut s).await?.len(), 1);
                    assert_eq!(s.load_related(std::slice::from_ref(&project), task::Entity).await?[0].len(), 1);
                    assert!(matches!(s.refresh(&two).await, Err(Error::Stale { .. })));
                    assert_eq!(s.state(&two), State::Persistent, "it is hidden, not gone");
                    assert_eq!(task::Entity::find().unfiltered().load(&mut s).await?.len(), 2);
                    // One that was changed since is asked for again.
                    one.set_title("other");
                    assert!(s.get::<task::Entity>(1).await?.is_none());
                    two.set_title("t1");
                    assert!(s.get::<task::Entity>(2).await?.is_some());
                    // Two filters, one in the other.
                    let mut inner = s.with_filter::<task::Entity>(task::Column::Id.eq(7));
                    assert_eq!(ids(&mut inner).await?, Vec::<i64>::new());
                    assert!(inner.get::<task::Entity>(2).await?.is_none());
                    assert!(inner.get::<project::Entity>(1).await?.is_some(), "it is the tasks' filter");
                    drop(inner);
                    assert!(s.get::<task::Entity>(2).await?.is_some());
                }
                assert!(s.get::<task::Entity>(1).await?.is_some());
                assert_eq!(ids(s).await?, [1, 2]);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_an_expired_object_that_a_filter_hides_is_not_taken_for_gone() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let two = s.get::<task::Entity>(2).await?.unwrap();
                s.expire(&two);
                let mut narrow = s.with_filter::<task::Entity>(task::Column::Title.eq("t1"));
                assert!(narrow.get::<task::Entity>(2).await?.is_none());
                assert!(narrow.get_many::<task::Entity>([2_i64]).await?.iter().all(Option::is_none));
                drop(narrow);
                assert!(Tracked::ptr_eq(&s.get::<task::Entity>(2).await?.unwrap(), &two));
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_a_filter_goes_with_the_rollback_of_its_block_and_stays_with_its_release() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.filter::<task::Entity>(task::Column::Id.eq(1));
                        assert_eq!(ids(s).await?, [1]);
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                assert_eq!(ids(s).await?, [1, 2]);
                let savepoint = s.savepoint().await?;
                s.filter::<task::Entity>(task::Column::Id.eq(1));
                s.rollback_to(savepoint).await?;
                assert_eq!(ids(s).await?, [1, 2]);
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.filter::<task::Entity>(task::Column::Id.eq(1));
                    Ok(())
                })
                .await?;
                assert_eq!(ids(s).await?, [1]);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_what_a_rolled_back_block_made_visible_is_hidden_again() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.filter::<task::Entity>(task::Column::Title.eq("shown"));
                let one = s.unfiltered().get::<task::Entity>(1).await?.unwrap();
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        one.set_title("shown");
                        assert!(s.get::<task::Entity>(1).await?.is_some());
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                assert!(s.get::<task::Entity>(1).await?.is_none());
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_a_query_of_alternatives_is_not_loosened() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let two = s.get::<task::Entity>(2).await?.unwrap();
                s.delete(&two);
                let any = Condition::any().add(task::Column::Id.eq(2)).add(task::Column::Id.gte(1));
                let found = task::Entity::find().filter(any).load(s).await?;
                assert_eq!(found.len(), 1);
                s.filter::<task::Entity>(
                    Condition::any().add(task::Column::Title.eq("t1")).add(task::Column::Title.eq("t5")),
                );
                assert_eq!(ids(s).await?, [1]);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_keys_that_fold_are_filtered_too() {
    let make = async |db: &Db| -> Result<(), Error> {
        let sql = "CREATE TABLE label (name text COLLATE NOCASE PRIMARY KEY, gone_at text)";
        db.connection().execute_unprepared(sql).await?;
        Ok(())
    };
    run_test_on(Backend::Sqlite, make, async |db: Db| -> Result<(), Error> {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let labels =
                ["red", "blue"].map(|name| s.add(label::ActiveModel { name: Set(name.into()), ..Default::default() }));
            s.flush().await?;
            assert!(s.get::<label::Entity>("RED".to_owned()).await?.is_some());
            s.delete(&labels[0]);
            assert!(s.get::<label::Entity>("RED".to_owned()).await?.is_none());
            let keys = ["RED".to_owned(), "Blue".to_owned()];
            assert_eq!(s.get_many::<label::Entity>(keys).await?.iter().flatten().count(), 1);
            Ok(())
        })
        .await
    });
}
