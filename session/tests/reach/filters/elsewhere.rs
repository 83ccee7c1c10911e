//! Filters in the ways of reading and writing that are not of one object: graphs, pairs, unique values, statements on many rows.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr};
use sea_session::{Error, Session, prelude::*};

use super::{on_both, project, task, unit};

#[test]
fn u5_u6_a_pair_has_no_row_that_a_filter_hides() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let two = s.get::<task::Entity>(2).await?.unwrap();
                s.delete(&two);
                let pairs = || task::Entity::find().find_also_related(project::Entity).order_by_asc(task::Column::Id);
                let found = pairs().load(s).await?;
                assert_eq!(
                    found.iter().map(|(task, _)| task.id()).collect::<Vec<_>>(),
                    [1],
                    "neither bob's nor the deleted one"
                );
                assert_eq!(found[0].1.as_ref().map(|project| project.id()), Some(1));
                // A related row that is hidden is as one that is not there, and takes nothing along.
                let project = s.get::<project::Entity>(1).await?.unwrap();
                s.delete(&project);
                let found = pairs().load(s).await?;
                assert!(found.len() == 1 && found[0].1.is_none());
                assert_eq!(project::Entity::find().find_with_related(task::Entity).load(s).await?.len(), 0);
                let mut all = s.unfiltered();
                assert_eq!(pairs().load(&mut all).await?.len(), 2, "not bob's, whatever is asked for");
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_u1_what_a_graph_has_loaded_is_what_reads_give_now() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let projects = project::Entity::find().with(task::Entity).load(s).await?;
                let two = s.get::<task::Entity>(2).await?.unwrap();
                assert_eq!(projects[0].related::<task::Entity>(s).await?.len(), 2);
                s.delete(&two);
                assert_eq!(projects[0].related::<task::Entity>(s).await?.len(), 1);
                assert_eq!(projects[0].related::<task::Entity>(&mut s.unfiltered()).await?.len(), 2);
                s.restore(&two)?;
                assert_eq!(projects[0].related::<task::Entity>(s).await?.len(), 2);
                let projects = project::Entity::find().with(task::Entity).load(s).await?;
                let mut narrow = s.with_filter::<task::Entity>(task::Column::Id.eq(1));
                assert_eq!(projects[0].related::<task::Entity>(&mut narrow).await?.len(), 1);
                drop(narrow);
                assert_eq!(projects[0].related::<task::Entity>(s).await?.len(), 2);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_u4_a_row_that_a_filter_hides_is_not_found_by_a_unique_value() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let find = async |s: &mut Session, title: &'static str| -> Result<bool, Error> {
                    Ok(s.find_by_unique::<task::Entity>(task::Column::Title, title).await?.is_some())
                };
                assert!(find(s, "t1").await? && !find(s, "t5").await?, "bob's is not there");
                let one = s.get::<task::Entity>(1).await?.unwrap();
                s.delete(&one);
                assert!(!find(s, "t1").await?);
                assert!(find(&mut s.unfiltered(), "t1").await?);
                let mut narrow = s.with_filter::<task::Entity>(task::Column::Id.eq(1));
                assert!(!find(&mut narrow, "t2").await?);
                drop(narrow);
                assert!(find(s, "t2").await?);
                // By the key as well, from the map or not; and a row that is there and hidden is not added once more.
                let by_key = s.find_many_by_unique::<task::Entity>(task::Column::Id, [1_i64, 2, 5]).await?;
                assert_eq!(by_key.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
                Ok(())
            })
            .await
    });
}

#[test]
fn u5_u2_statements_on_many_rows_touch_none_that_is_hidden() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let two = s.get::<task::Entity>(2).await?.unwrap();
                s.delete(&two);
                let renamed = || task::Entity::update_many().col_expr(task::Column::Title, Expr::value("renamed"));
                assert_eq!(s.update_many(renamed()).await?, 1, "neither bob's nor the deleted one");
                assert_eq!(s.unfiltered().update_many(renamed()).await?, 2);
                // Nothing is lost by forgetting that rows are only marked.
                let refused = s.delete_many(task::Entity::delete_many()).await.unwrap_err();
                assert!(refused.to_string().contains("deleted_at"), "{refused}");
                assert!(matches!(s.delete_by_key::<task::Entity>(1_i64).await, Err(Error::Usage(_))));
                let marked = task::Entity::update_many().col_expr(task::Column::DeletedAt, Expr::current_timestamp());
                assert_eq!(s.update_many(marked.filter(task::Column::Id.eq(1))).await?, 1);
                assert_eq!(task::Entity::find().load(s).await?.len(), 0);
                assert_eq!(s.unfiltered().delete_many(task::Entity::delete_many()).await?, 2);
                Ok(())
            })
            .await?;
        assert_eq!(task::Entity::find().all(db.connection()).await?.len(), 1, "bob's");
        Ok(())
    });
}

#[test]
fn u5_u4_a_hidden_row_is_neither_got_nor_added_again() {
    on_both(async |db: Db| {
        unit(&db, "ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let one = s.get::<task::Entity>(1).await?.unwrap();
                s.delete(&one);
                let model = task::ActiveModel { id: Set(1), title: Set("again".into()), ..Default::default() };
                let error = s.get_or_add(model, task::Column::Id).await.unwrap_err();
                assert!(error.to_string().contains("cannot read it"), "{error}");
                Ok(())
            })
            .await
    });
}
