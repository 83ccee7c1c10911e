//! `update_many` and `delete_many`, and the objects of the map (U2).

use super::*;

fn more_views(by: i32) -> sea_orm::UpdateMany<note::Entity> {
    note::Entity::update_many().col_expr(note::Column::Views, Expr::col(note::Column::Views).add(by))
}

#[test]
fn u2_update_many_brings_the_objects_up_to_date() {
    three_ways(async |s: &mut Session| -> Done {
        let notes: Vec<_> = (1..=3).map(|id| s.add(draft(id, "a note"))).collect();
        s.flush().await?;
        // What is pending goes first, and is not lost.
        notes[1].set_title("other".to_owned());
        let changed = s.update_many(more_views(5).filter(note::Column::Title.eq("a note"))).await?;
        assert_eq!(changed, 2);
        let views: Vec<i32> = notes.iter().map(|note| note.views()).collect();
        assert_eq!(views, [5, 0, 5]);
        assert_eq!(notes.iter().map(|note| note.version()).collect::<Vec<_>>(), [2, 2, 2]);
        assert!(notes.iter().all(|note| note.changed().is_empty()));
        let outcome = s
            .atomic(async |s: &mut Session| -> Done {
                assert_eq!(s.update_many(more_views(1)).await?, 3);
                assert_eq!(notes[0].views(), 6);
                Err(Error::Usage("undo".into()))
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((notes[0].views(), notes[0].version()), (5, 2), "back by value");
        // The version is the row's: a flush matches it.
        notes[0].set_title("last".to_owned());
        s.flush().await?;
        assert_eq!(s.update_many(note::Entity::update_many()).await?, 0, "nothing is set, nothing is sent");
        Ok(())
    });
}

/// What can become of a row's object in a block.
#[derive(Clone, Copy, Debug)]
enum Deed {
    UpdateMany,
    Change,
    Flush,
    Reread,
    Delete,
    /// The row goes, and then its object is changed, which nobody sends.
    ChangeDeleted,
}

async fn carried_out(s: &mut Session, deed: Deed, note: &Tracked<note::Entity>) -> Done {
    match deed {
        Deed::UpdateMany => _ = s.update_many(more_views(1)).await?,
        Deed::Change => _ = note.set_title(format!("{}, changed", note.title())),
        Deed::Flush => s.flush().await?,
        Deed::Reread => {
            s.execute_unprepared("UPDATE note SET title = 'by hand', views = views + 10").await?;
            s.refresh(note).await?;
        }
        Deed::Delete => s.delete(note),
        Deed::ChangeDeleted => {
            s.delete(note);
            s.flush().await?;
            note.set_title("gone".to_owned());
        }
    }
    Ok(())
}

#[test]
fn u2_s2_whatever_follows_an_update_many_goes_back_with_it() {
    use Deed::*;
    let deeds = [UpdateMany, Change, Flush, Reread];
    let mut programs: Vec<Vec<Deed>> = Vec::new();
    for first in deeds {
        for second in deeds {
            programs.extend(
                [UpdateMany, Change, Flush, Reread, Delete, ChangeDeleted].map(|third| vec![first, second, third]),
            );
        }
    }
    let programs = &programs;
    three_ways(async |s: &mut Session| -> Done {
        let note = s.add(draft(1, "a note"));
        s.flush().await?;
        for program in programs {
            // The rest of the program is in a block of its own, which is released.
            for inside in 0..=program.len() {
                let before = note.model();
                let block = async |s: &mut Session| -> Done {
                    for deed in &program[..inside] {
                        carried_out(s, *deed, &note).await?;
                    }
                    let rest = async |s: &mut Session| -> Done {
                        for deed in &program[inside..] {
                            carried_out(s, *deed, &note).await?;
                        }
                        Ok(())
                    };
                    s.atomic(rest).await?;
                    Err(Error::Usage("undo".into()))
                };
                assert!(s.atomic(block).await.is_err());
                assert_eq!((note.model(), note.state()), (before, State::Persistent), "{program:?}, {inside} outside");
                assert!(note.changed().is_empty(), "{program:?}, {inside} outside");
            }
        }
        Ok(())
    });
}

#[test]
fn u2_update_many_without_objects_asks_for_nothing() {
    on_both(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Done {
                assert_eq!(s.update_many(more_views(1)).await?, 0);
                assert!(about_rows(recorder.take()).iter().all(|sql| !sql.contains("RETURNING")));
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn u2_update_many_raises_versions_so_that_others_notice() {
    on_postgres(async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            s.add(draft(1, "first"));
            Ok(())
        })
        .await
        .unwrap();
        let mut late = db.begin().await.unwrap();
        let note = late.get::<note::Entity>(1).await.unwrap().unwrap();
        let before = note.updated_at();
        db.run(async |s: &mut Session| -> Done { s.update_many(more_views(1)).await.map(|_| ()) }).await.unwrap();
        let row = note::Entity::find_by_id(1).one(db.connection()).await.unwrap().unwrap();
        assert!(row.version == 2 && row.updated_at > before);
        note.set_title("late".to_owned());
        let outcome = late.commit().await;
        assert!(matches!(outcome, Err(Error::Stale { expected: Some(1), found: Some(2), .. })), "{outcome:?}");
    });
}

#[test]
fn u2_a_version_at_its_end_is_refused_by_its_column() {
    on_both(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Done {
                s.add(note::ActiveModel { version: Set(i32::MAX), ..draft(1, "last") });
                s.update_many(more_views(1)).await.map(|_| ())
            })
            .await;
        assert_eq!(outcome.unwrap_err().class(), Some(sea_session::Class::NotNull));
    });
}

#[test]
fn u2_an_optimistic_unit_reads_what_its_own_update_has_written() {
    on_both(async |db: Db| {
        db.session()
            .optimistic()
            .run(async |s: &mut Session| -> Done {
                let note = s.add(draft(1, "first"));
                s.flush().await?;
                assert_eq!((note.views(), note.title()), (0, "first".to_owned()));
                s.update_many(more_views(3)).await?;
                note::Entity::find().load(s).await?;
                assert_eq!(note.views(), 3);
                note.set_expr(note::Column::Views, one_more())?;
                note::Entity::find().load(s).await?;
                assert_eq!(note.views(), 4);
                s.upsert(draft(1, "other"), note::Column::Id).await?;
                note.set_views(7);
                s.flush().await
            })
            .await
            .unwrap();
    });
}

#[test]
fn u2_an_update_of_keys_expires_the_objects() {
    three_ways(async |s: &mut Session| -> Done {
        let note = s.add(draft(1, "first"));
        s.flush().await?;
        let moved = note::Entity::update_many().col_expr(note::Column::Id, Expr::col(note::Column::Id).add(10));
        assert_eq!(s.update_many(moved).await?, 1);
        assert!(s.peek::<note::Entity>(1).is_none());
        assert!(s.get::<note::Entity>(1).await?.is_none());
        assert_eq!(s.get::<note::Entity>(11).await?.unwrap().title(), "first");
        assert_eq!(s.state(&note), State::Deleted);
        Ok(())
    });
}

#[test]
fn u2_delete_many_takes_objects_and_their_children_along() {
    three_ways(async |s: &mut Session| -> Done {
        let (ann, bob) = (s.add(writer("ann")), s.add(writer("bob")));
        s.flush().await?;
        let of = |id: i64, author: i64| note::ActiveModel { author_id: Set(Some(author)), ..draft(id, "a note") };
        let (first, second) = (s.add(of(1, ann.id())), s.add(of(2, bob.id())));
        let pending = s.add(draft(3, "alone"));
        let outcome = s
            .atomic(async |s: &mut Session| -> Done {
                let deleted =
                    s.delete_many(author::Entity::delete_many().filter(author::Column::Name.eq("ann"))).await?;
                assert_eq!(deleted, 1);
                assert_eq!((s.state(&ann), s.state(&first)), (State::Deleted, State::Deleted));
                assert_eq!((s.state(&bob), s.state(&second)), (State::Persistent, State::Persistent));
                Err(Error::Usage("undo".into()))
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((s.state(&ann), s.state(&first)), (State::Persistent, State::Persistent));
        assert!(Tracked::ptr_eq(&ann, &s.get::<author::Entity>(ann.id()).await?.unwrap()));
        assert_eq!(s.delete_many(note::Entity::delete_many()).await?, 3, "the pending one was inserted first");
        assert_eq!(s.state(&pending), State::Deleted);
        assert!(s.get_many::<note::Entity>([1, 2, 3]).await?.iter().all(Option::is_none));
        Ok(())
    });
}

#[test]
fn u2_children_of_parents_that_are_not_in_the_map_go_too() {
    on_both(async |db: Db| {
        let id = db
            .run(async |s: &mut Session| -> Result<i64, Error> {
                let ann = s.add(writer("ann"));
                s.flush().await?;
                s.add(note::ActiveModel { author_id: Set(Some(ann.id())), ..draft(1, "first") });
                Ok(ann.id())
            })
            .await
            .unwrap();
        db.run(async |s: &mut Session| -> Done {
            let note = s.get::<note::Entity>(1).await?.unwrap();
            assert!(s.delete_by_key::<author::Entity>(id).await?);
            assert_eq!(s.state(&note), State::Deleted);
            Ok(())
        })
        .await
        .unwrap();
    });
}
