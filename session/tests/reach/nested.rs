//! U3: nested models of SeaORM's as graphs of new objects, and objects that go with others.

use sea_orm::{ActiveValue::Set, EntityTrait, IntoActiveModel, PaginatorTrait, QueryOrder};
use sea_session::{
    Error, Session,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::blog::*;

fn writer() -> user::ActiveModelEx {
    let post = |title: &str| post::ActiveModel::builder().set_title(title);
    let comment = |text: &str| comment::ActiveModel::builder().set_text(text);
    user::ActiveModel::builder()
        .set_name("ann")
        .set_profile(profile::ActiveModel::builder().set_picture("ann.png"))
        .set_manager(user::ActiveModel::builder().set_name("chief"))
        .add_report(user::ActiveModel::builder().set_name("ben"))
        .add_follower(user::ActiveModel::builder().set_name("fan"))
        .add_post(post("one").add_comment(comment("a")).add_comment(comment("b")))
        .add_post(post("two").add_tag(tag::ActiveModel::builder().set_name("red")))
}

#[test]
fn u3_every_new_row_of_a_nested_model_is_pending_linked_and_sent_in_one_flush() {
    on_each(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let ann = s.add_graph(writer())?;
            assert_eq!(s.state(&ann), State::Pending);
            assert_eq!(s.stats().statements, 0, "nothing is asked and nothing is sent");
            s.flush().await?;
            assert_eq!(s.stats().flushes, 1);
            assert!(ann.manager(s).await?.unwrap().name() == "chief");
            Ok(())
        })
        .await
        .unwrap();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let users = user::Entity::find().order_by_asc(user::Column::Name).load(s).await?;
            let [ann, ben, chief, fan] = &users[..] else { panic!("{users:?}") };
            assert_eq!((ann.manager_id(), ben.manager_id()), (Some(chief.id()), Some(ann.id())));
            assert_eq!(ann.profile(s).await?.unwrap().picture(), "ann.png");
            assert!(
                Tracked::ptr_eq(&ann.followers(s).await?[0], fan) && Tracked::ptr_eq(&fan.following(s).await?[0], ann)
            );
            let mut posts = ann.posts(s).await?;
            posts.sort_by_key(|post| post.title());
            assert_eq!(posts[0].comments(s).await?.len(), 2);
            assert_eq!(posts[1].related::<tag::Entity>(s).await?[0].name(), "red");
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u3_a_nested_row_that_is_there_is_linked_and_not_added() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let (ann, red) = (s.add(user("ann")), s.add(tag("red")));
        s.flush().await?;
        let with = |author: user::ActiveModelEx, tag: tag::ActiveModelEx| {
            post::ActiveModel::builder().set_title("one").set_author(author).add_tag(tag)
        };
        let post =
            s.add_graph(with(ann.model().into_active_model().into_ex(), red.model().into_active_model().into_ex()))?;
        s.flush().await?;
        assert!(Tracked::ptr_eq(&post.author(s).await?.unwrap(), &ann));
        assert!(Tracked::ptr_eq(&post.related::<tag::Entity>(s).await?[0], &red));

        // Rows that this unit does not hold are linked by what the model says.
        let (author, label) = (ann.model(), red.model());
        s.expunge(&ann);
        s.expunge(&red);
        let post =
            s.add_graph(with(author.clone().into_active_model().into_ex(), label.into_active_model().into_ex()))?;
        s.flush().await?;
        assert_eq!((post.user_id(), user::Entity::find().count(s).await?), (author.id, 1));
        assert_eq!(post.related::<tag::Entity>(s).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn u3_a_graph_that_is_refused_adds_nothing() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let taken = s.add(user::ActiveModel { id: Set(7), name: Set("taken".to_owned()), ..Default::default() });
        let twice = user::ActiveModel::builder().set_id(7).set_name("again");
        let refused = s.add_graph(post::ActiveModel::builder().set_title("one").set_author(twice));
        assert!(matches!(refused, Err(Error::Duplicate { entity: "user", .. })), "{refused:?}");
        s.flush().await?;
        assert_eq!((post::Entity::find().count(s).await?, user::Entity::find().count(s).await?), (0, 1));

        let mut changed = taken.model().into_active_model().into_ex();
        changed.name = Set("changed".to_owned());
        let refused = s.add_graph(post::ActiveModel::builder().set_title("one").set_author(changed));
        assert!(refused.unwrap_err().to_string().contains("change it by its object"));
        let elsewhere = user::Model { id: 8, name: String::new(), manager_id: None }.into_active_model();
        let refused = s.add_graph(elsewhere.into_ex().add_post(post::ActiveModel::builder().set_title("one")));
        assert!(refused.unwrap_err().to_string().contains("has not loaded"));
        assert!(
            !s.is_dirty() || {
                s.flush().await?;
                post::Entity::find().count(s).await? == 0
            }
        );
        Ok(())
    });
}

#[test]
fn u3_s3_a_graph_that_is_rolled_back_is_transient_again() {
    on_each(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let mut kept = None;
            let failed: Result<(), Error> = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    let ann = s.add_graph(writer())?;
                    s.flush().await?;
                    kept = Some((ann.posts(s).await?, ann));
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(failed.is_err());
            let (_, ann) = kept.unwrap();
            assert_eq!((s.state(&ann), s.tracked()), (State::Transient, 0));
            assert_eq!(user::Entity::find().count(s).await?, 0);
            Ok(())
        })
        .await
        .unwrap();
    });
}

/// Tables without a cascade of their own.
mod owned {
    pub mod shelf {
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
        #[sea_orm(table_name = "shelf")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i64,
            #[sea_orm(has_many)]
            #[tracked(cascade)]
            pub boxes: HasMany<super::carton::Entity>,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }

    pub mod carton {
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
        #[sea_orm(table_name = "carton")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i64,
            pub shelf_id: Option<i64>,
            #[sea_orm(belongs_to, from = "shelf_id", to = "id")]
            #[tracked(orphans = "delete")]
            pub shelf: BelongsTo<Option<super::shelf::Entity>>,
            #[sea_orm(has_many)]
            #[tracked(cascade)]
            pub things: HasMany<super::thing::Entity>,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }

    pub mod thing {
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
        #[sea_orm(table_name = "thing")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i64,
            pub carton_id: Option<i64>,
            #[sea_orm(belongs_to, from = "carton_id", to = "id")]
            pub carton: BelongsTo<Option<super::carton::Entity>>,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }

    /// In the compact format.
    pub mod sticker {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
        #[sea_orm(table_name = "sticker")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i64,
            pub thing_id: Option<i64>,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation, sea_session::Tracked)]
        pub enum Relation {
            #[sea_orm(belongs_to = "super::thing::Entity", from = "Column::ThingId", to = "super::thing::Column::Id")]
            #[tracked(orphans = "delete")]
            Thing,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }
}

use owned::{carton, shelf, sticker, thing};

fn on_shelves(test: impl AsyncFn(Db)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let make = async |db: &Db| -> Result<(), Error> {
            create_table(db, shelf::Entity).await?;
            create_table(db, carton::Entity).await?;
            create_table(db, thing::Entity).await?;
            create_table(db, sticker::Entity).await
        };
        run_test_on(backend, make, async |db: Db| {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                for _ in 0..2 {
                    let thing = || thing::ActiveModel::default();
                    let carton = || carton::ActiveModel::builder().add_thing(thing()).add_thing(thing());
                    s.add_graph(shelf::ActiveModel::builder().add_box(carton()).add_box(carton()))?;
                }
                Ok(())
            })
            .await
            .unwrap();
            test(db).await;
        });
    }
}

async fn counts(s: &mut Session) -> Result<(u64, u64, u64), Error> {
    let (shelves, cartons) = (shelf::Entity::find().count(s).await?, carton::Entity::find().count(s).await?);
    Ok((shelves, cartons, thing::Entity::find().count(s).await?))
}

#[test]
fn u3_what_a_cascade_reaches_in_the_map_is_deleted_along_children_first() {
    on_shelves(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let load = || shelf::Entity::find().order_by_asc(shelf::Column::Id);
            let shelves = load().with(carton::Entity.then(thing::Entity)).load(s).await?;
            let things = shelves[0].follow(s, carton::Entity.then(thing::Entity)).await?;
            let failed: Result<(), Error> = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.delete(&shelves[0]);
                    let before = s.stats().statements;
                    s.flush().await?;
                    // With a savepoint: three tables, whatever the number of rows.
                    assert!(s.stats().statements - before <= 4);
                    assert!(things.iter().all(|thing| s.state(thing) == State::Deleted));
                    assert_eq!(counts(s).await?, (1, 2, 4));
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(failed.is_err());
            assert!(things.iter().all(|thing| s.state(thing) == State::Persistent), "back with the block");
            assert_eq!(counts(s).await?, (2, 4, 8));

            // What is moved to another parent in time does not go along, and what was added to this one does.
            let cartons = shelves[0].boxes(s).await?;
            cartons[0].set_shelf(&shelves[1])?;
            let late = s.add(thing::ActiveModel::default());
            late.set_carton(&cartons[1])?;
            s.delete(&shelves[0]);
            s.flush().await?;
            assert_eq!((counts(s).await?, s.state(&late)), ((1, 3, 6), State::Transient));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u3_an_owned_row_without_its_parent_is_deleted_with_what_it_owns() {
    on_shelves(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let shelves = shelf::Entity::find().with(carton::Entity.then(thing::Entity)).load(s).await?;
            let carton = &shelves[0].boxes(s).await?[0];
            let things = carton.things(s).await?;
            carton.set_shelf_id(None);
            s.flush().await?;
            assert_eq!((s.state(carton), s.state(&things[0])), (State::Deleted, State::Deleted));
            assert_eq!(counts(s).await?, (2, 3, 6));
            let lone = s.add(sticker::ActiveModel::default());
            let loose = s.add(sticker::ActiveModel::default());
            lone.set_thing(&thing::Entity::find().load(s).await?[0])?;
            s.flush().await?;
            lone.set_thing_id(None);
            loose.set_thing_id(None);
            s.flush().await?;
            assert_eq!(
                (s.state(&lone), s.state(&loose)),
                (State::Deleted, State::Persistent),
                "one never had a parent"
            );
            Ok(())
        })
        .await
        .unwrap();
    });
}
