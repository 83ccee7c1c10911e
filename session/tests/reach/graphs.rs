//! U1: graphs of objects in one statement a step, and what is known of them afterwards without asking.

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder};
use sea_session::{Error, Session, linked, prelude::*, self_via};

use crate::blog::*;

fn sent(s: &Session) -> u64 {
    s.stats().statements
}

/// Two users, of whom the first has two posts with comments and tags.
async fn some_rows(s: &mut Session) -> Result<(), Error> {
    let ann = s.add(user("ann"));
    let ben = s.add(user("ben"));
    s.flush().await?;
    ben.set_manager(&ann)?;
    let posts = [s.add(post(ann.id(), "one")), s.add(post(ann.id(), "two"))];
    let tags = [s.add(tag("red")), s.add(tag("blue"))];
    s.flush().await?;
    for text in ["a", "b", "c"] {
        s.add(comment(posts[0].id(), text));
    }
    for (post, tag, place) in [(0, 0, 1), (0, 1, 2), (1, 1, 1)] {
        let (post_id, tag_id) = (Set(posts[post].id()), Set(tags[tag].id()));
        s.add(post_tag::ActiveModel { post_id, tag_id, place: Set(place) });
    }
    s.add(follows::ActiveModel { user_id: Set(ann.id()), follower_id: Set(ben.id()) });
    let profile = s.add(profile::ActiveModel { picture: Set("ann.png".to_owned()), ..Default::default() });
    profile.set_user(&ann)?;
    s.flush().await
}

/// Loads in a unit that knows nothing yet.
async fn with_rows(db: &Db) {
    db.run(async |s: &mut Session| -> Result<(), Error> { some_rows(s).await }).await.unwrap();
}

#[test]
fn u1_a_graph_of_three_levels_is_three_statements() {
    on_each(async |db: Db| {
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)";
        behind_the_back(
            &db,
            &format!("{numbers} INSERT INTO \"user\" (id, name) SELECT i, 'u' || i FROM n WHERE i <= 100"),
        )
        .await;
        behind_the_back(
            &db,
            &format!(
                "{numbers} INSERT INTO post (id, user_id, title) SELECT i, (i - 1) / 10 + 1, 'p' FROM n WHERE i <= 1000"
            ),
        )
        .await;
        behind_the_back(
            &db,
            &format!("{numbers} INSERT INTO comment (id, post_id, text) SELECT i, (i - 1) / 10 + 1, 'c' FROM n"),
        )
        .await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let users = user::Entity::find()
                .order_by_asc(user::Column::Id)
                .with(post::Entity.then(comment::Entity))
                .load(s)
                .await?;
            assert_eq!((users.len(), sent(s), s.tracked()), (100, 3, 11_100));
            for user in &users {
                let posts = user.posts(s).await?;
                assert_eq!(posts.len(), 10);
                for post in posts {
                    assert_eq!(post.user_id(), user.id());
                    let comments = post.related::<comment::Entity>(s).await?;
                    assert!(comments.len() == 10 && comments.iter().all(|comment| comment.post_id() == post.id()));
                }
            }
            assert_eq!(sent(s), 3, "what was loaded is not asked for again");
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u1_the_text_of_a_step_does_not_depend_on_the_number_of_parents() {
    on_each(async |db: Db| {
        let mut texts = Vec::new();
        for users in [5, 7] {
            let recorder = sea_session::Recorder::new();
            let unit = db.session().record(&recorder);
            unit.run(async |s: &mut Session| -> Result<(), Error> {
                for at in 0..users {
                    s.add(user(&format!("u{at}")));
                }
                s.flush().await?;
                recorder.take();
                user::Entity::find().with(post::Entity).with(linked(UserToTags)).load(s).await?;
                s.set_rollback(true)
            })
            .await
            .unwrap();
            texts.push(recorder.take()[1..3].to_vec());
        }
        assert_eq!(texts[0], texts[1]);
    });
}

#[test]
fn u1_every_kind_of_relation_is_a_step() {
    on_each(async |db: Db| {
        with_rows(&db).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let users = user::Entity::find()
                .order_by_asc(user::Column::Id)
                .with(profile::Entity)
                .with(post::Entity.then(post_tag::Entity.then(tag::Entity)))
                .with(post::Entity.then(tag::Entity))
                .with(user::Entity.by(user::Relation::Manager))
                .with(user::Entity.by(user::Relation::Reports))
                .with(self_via(follows::Entity))
                .with(self_via(follows::Entity).reverse())
                .with(linked(UserToTags))
                .load(s)
                .await?;
            assert_eq!(sent(s), 1 + 1 + 3 + 1 + 2 + 2 + 1, "posts, which two paths share, are loaded once");
            let before = sent(s);
            let (ann, ben) = (&users[0], &users[1]);
            assert_eq!(ann.profile(s).await?.unwrap().picture(), "ann.png");
            assert!(ben.profile(s).await?.is_none());
            assert!(Tracked::ptr_eq(&ben.manager(s).await?.unwrap(), ann) && ann.manager(s).await?.is_none());
            assert!(Tracked::ptr_eq(&ann.reports(s).await?[0], ben) && ben.reports(s).await?.is_empty());
            assert!(Tracked::ptr_eq(&ann.follow(s, self_via(follows::Entity)).await?[0], ben));
            assert!(Tracked::ptr_eq(&ben.follow(s, self_via(follows::Entity).reverse()).await?[0], ann));
            assert!(ben.follow(s, self_via(follows::Entity)).await?.is_empty());
            let posts = ann.posts(s).await?;
            let count =
                async |s: &mut Session, at: usize| posts[at].related::<tag::Entity>(s).await.map(|tags| tags.len());
            assert_eq!((count(s, 0).await?, count(s, 1).await?), (2, 1));
            let linking = posts[0].related::<post_tag::Entity>(s).await?;
            assert_eq!(linking.iter().map(|row| row.place()).sum::<i32>(), 3, "the junction's own column");
            assert_eq!(linking[0].tag(s).await?.unwrap().id(), linking[0].tag_id());
            let mut names: Vec<String> =
                ann.follow(s, linked(UserToTags)).await?.iter().map(|tag| tag.name()).collect();
            names.sort();
            assert_eq!(names, ["blue", "red"], "each object at a path's end once");
            assert_eq!(ann.follow(s, post::Entity.then(tag::Entity)).await?.len(), 2);
            assert_eq!(sent(s), before);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u1_a_path_that_is_not_loaded_is_asked_for_a_step_at_a_time() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        some_rows(s).await?;
        let ann = user::Entity::find().order_by_asc(user::Column::Id).load_one(s).await?.unwrap();
        let before = sent(s);
        assert_eq!(ann.follow(s, post::Entity.then(comment::Entity)).await?.len(), 3);
        assert_eq!(sent(s) - before, 2);
        Ok(())
    });
}

#[test]
fn u1_what_changes_what_a_relation_joins_on_has_it_asked_for_again() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        some_rows(s).await?;
        let users = user::Entity::find().order_by_asc(user::Column::Id).with(post::Entity).load(s).await?;
        let (ann, ben) = (&users[0], &users[1]);
        let posts = ann.posts(s).await?;

        // Another column changes no relation, and nothing is flushed to find that out.
        posts[0].set_title("changed");
        let before = sent(s);
        assert_eq!(ann.posts(s).await?.len(), 2);
        assert_eq!(sent(s), before);

        posts[0].set_author(ben)?;
        assert_eq!((ann.posts(s).await?.len(), ben.posts(s).await?.len()), (1, 1));
        s.add(post(ben.id(), "three"));
        assert_eq!(ben.posts(s).await?.len(), 2);
        posts[1].related::<post_tag::Entity>(s).await?.iter().for_each(|row| s.delete(row));
        s.delete(&posts[1]);
        assert!(ann.posts(s).await?.is_empty());

        let load = async |s: &mut Session| {
            user::Entity::find().order_by_asc(user::Column::Id).with(post::Entity).load(s).await
        };
        load(s).await?;
        s.execute_unprepared(&format!("INSERT INTO post (user_id, title) VALUES ({}, 'by hand')", ann.id())).await?;
        assert_eq!(ann.posts(s).await?.len(), 1, "SQL of the caller's own");
        load(s).await?;
        s.expire(ann);
        let before = sent(s);
        ann.posts(s).await?;
        assert!(sent(s) > before, "an expired object is asked about");
        load(s).await?;
        let first = ann.posts(s).await?.remove(0);
        s.expire(&first);
        let before = sent(s);
        ann.posts(s).await?;
        assert!(sent(s) > before, "and an expired related one");
        Ok(())
    });
}

#[test]
fn u1_a_junction_that_changes_is_asked_again() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        some_rows(s).await?;
        let posts = post::Entity::find().order_by_asc(post::Column::Id).with(tag::Entity).load(s).await?;
        let green = s.add(tag("green"));
        s.flush().await?;
        posts[1].tags().attach(s, [&green]).await?;
        assert_eq!(posts[1].related::<tag::Entity>(s).await?.len(), 2);
        post::Entity::find().with(tag::Entity).load(s).await?;
        let rows = posts[0].related::<post_tag::Entity>(s).await?;
        s.delete(&rows[0]);
        assert_eq!(posts[0].related::<tag::Entity>(s).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn u1_what_is_not_flushed_when_a_relation_is_loaded_is_not_missed_later() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        some_rows(s).await?;
        let users = user::Entity::find().order_by_asc(user::Column::Id).load(s).await?;
        s.add(post(users[1].id(), "pending"));
        let mut quiet = s.no_autoflush();
        user::Entity::find().with(post::Entity).load(&mut quiet).await?;
        assert!(users[1].posts(&mut quiet).await?.is_empty());
        drop(quiet);
        assert_eq!(users[1].posts(s).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn u1_s5_what_a_rolled_back_block_loaded_goes_and_what_was_loaded_before_stays_true() {
    on_each(async |db: Db| {
        with_rows(&db).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let users = user::Entity::find().order_by_asc(user::Column::Id).load(s).await?;
            let failed: Result<(), Error> = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    user::Entity::find().with(post::Entity).load(s).await?;
                    assert_eq!(users[0].posts(s).await?.len(), 2);
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(failed.is_err());
            assert_eq!(s.tracked(), 2, "the posts left the map");
            let before = sent(s);
            let posts = users[0].posts(s).await?;
            assert_eq!((posts.len(), sent(s) - before), (2, 1));

            user::Entity::find().with(post::Entity).load(s).await?;
            let failed: Result<(), Error> = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    posts[0].set_author(&users[1])?;
                    s.add(post(users[1].id(), "tentative"));
                    assert_eq!(users[1].posts(s).await?.len(), 2);
                    user::Entity::find().with(post::Entity).load(s).await?;
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(failed.is_err());
            assert_eq!((users[0].posts(s).await?.len(), users[1].posts(s).await?.len()), (2, 0));

            // A block that ends well hands what it loaded to the one around it.
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                user::Entity::find().with(post::Entity).load(s).await.map(|_| ())
            })
            .await?;
            let failed: Result<(), Error> =
                s.atomic(async |_: &mut Session| -> Result<(), Error> { Err(Error::Usage("undo".into())) }).await;
            assert!(failed.is_err());
            let before = sent(s);
            assert_eq!((users[0].posts(s).await?.len(), sent(s)), (2, before));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u1_d6_a_row_that_the_database_deletes_along_leaves_the_relation() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        some_rows(s).await?;
        let lone = s.add(user("lone"));
        let picture = s.add(profile::ActiveModel { picture: Set("lone.png".to_owned()), ..Default::default() });
        picture.set_user(&lone)?;
        let profiles = profile::Entity::find().order_by_desc(profile::Column::Id).with(user::Entity).load(s).await?;
        assert!(Tracked::ptr_eq(&profiles[0].user(s).await?.unwrap(), &lone));
        user::Entity::find().with(profile::Entity).load(s).await?;
        assert!(Tracked::ptr_eq(&lone.profile(s).await?.unwrap(), &picture));
        s.delete(&lone);
        s.flush().await?;
        assert_eq!(s.state(&picture), State::Deleted);
        Ok(())
    });
}

#[test]
fn u1_refresh_reads_the_whole_graph_again() {
    on_each(async |db: Db| {
        with_rows(&db).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let users = user::Entity::find().order_by_asc(user::Column::Id).with(post::Entity).load(s).await?;
            let posts = users[0].posts(s).await?;
            s.execute_unprepared("UPDATE post SET title = 'by hand'").await?;
            let load = || user::Entity::find().with(post::Entity);
            load().load(s).await?;
            assert_eq!(posts[0].title(), "one", "a clean object keeps what it has (I3)");
            load().refresh().load(s).await?;
            assert_eq!(posts[0].title(), "by hand");
            let before = sent(s);
            assert_eq!((users[0].posts(s).await?.len(), sent(s)), (2, before));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u1_a_path_that_leads_elsewhere_says_so() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let refused = user::Entity::find().with(post::Entity.by(user::Relation::Manager)).load(s).await;
        s.add(user("ann"));
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("does not lead from user to post"), "{text}");
        Ok(())
    });
}

#[test]
fn f10_set_makes_the_given_ones_the_only_ones_related() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let ann = s.add(user("ann"));
        let post = s.add(post::ActiveModel { title: Set("one".to_owned()), ..Default::default() });
        post.set_author(&ann)?;
        let [red, green, blue] = ["red", "green", "blue"].map(|name| s.add(tag(name)));
        let names = async |s: &mut Session| -> Result<Vec<String>, Error> {
            let mut names: Vec<String> = post.related::<tag::Entity>(s).await?.iter().map(|tag| tag.name()).collect();
            names.sort();
            Ok(names)
        };
        let tags = post.junction::<tag::Entity>();
        tags.set(s, [&red, &green, &red]).await?;
        assert_eq!(names(s).await?, ["green", "red"]);

        // One SELECT of what is related, one DELETE, one INSERT.
        let before = sent(s);
        tags.set(s, [&green, &blue]).await?;
        assert_eq!(sent(s) - before, 3);
        assert_eq!(names(s).await?, ["blue", "green"]);

        // What a graph has loaded is not asked for: one DELETE, one INSERT.
        post::Entity::find().with(tag::Entity).load(s).await?;
        let before = sent(s);
        tags.set(s, [&red, &green]).await?;
        assert_eq!(sent(s) - before, 2);
        post::Entity::find().with(tag::Entity).load(s).await?;
        let before = sent(s);
        tags.set(s, [&green, &red]).await?;
        assert_eq!(sent(s), before, "nothing differs");
        tags.set(s, [&blue, &green]).await?;

        let undone: Result<(), Error> = s
            .atomic(async |s: &mut Session| {
                tags.set(s, []).await?;
                assert!(names(s).await?.is_empty());
                Err(Error::Usage("undo".into()))
            })
            .await;
        assert!(undone.is_err());
        assert_eq!(names(s).await?, ["blue", "green"]);
        Ok(())
    });
}

#[test]
fn i8_what_is_related_to_a_pending_object_is_asked_for_after_its_insert() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let ann = s.add(user("ann"));
        let post = s.add(post::ActiveModel { title: Set("one".to_owned()), ..Default::default() });
        post.set_author(&ann)?;
        // Without autoflush it has no key, and the error says what to do.
        let mut quiet = s.no_autoflush();
        let refused = post.related::<tag::Entity>(&mut quiet).await;
        assert!(matches!(&refused, Err(Error::Usage(text)) if text.contains("flush")), "{refused:?}");
        drop(quiet);
        assert!(post.related::<tag::Entity>(s).await?.is_empty());
        assert_eq!(s.state(&post), State::Persistent);

        let ben = s.add(user("ben"));
        assert!(ben.related_one::<profile::Entity>(s).await?.is_none());
        assert_eq!(s.state(&ben), State::Persistent);
        Ok(())
    });
}
