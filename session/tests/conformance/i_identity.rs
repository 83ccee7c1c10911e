//! The identity map (I): one object a row, however it is reached.

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use sea_session::{Error, Session, prelude::*};

use super::s_objects::{changed_my_mind, messages, row, table};
use crate::support::*;

pub fn tag(name: &str) -> tag::ActiveModel {
    tag::ActiveModel { name: Set(name.to_owned()) }
}

fn pair(note: i64, tag: &str) -> note_tag::ActiveModel {
    note_tag::ActiveModel { note_id: Set(note), tag_name: Set(tag.to_owned()) }
}

#[test]
fn i1_get_load_and_relations_give_one_object_a_row() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let author = s.add(writer("ann"));
        let note = s.add(draft(1, "one"));
        note.set_parent(note::Relation::Author, &author)?;
        let label = s.add(tag("red"));
        s.flush().await?;
        note.junction::<tag::Entity>().attach(s, [&label]).await?;

        let sent = messages(s);
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(1_i64).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(1_i64).await?.unwrap()));
        assert!(Tracked::ptr_eq(&author, &note.related_one::<author::Entity>(s).await?.unwrap()));
        assert_eq!(messages(s), sent, "none of these asks the database");

        let loaded = note::Entity::find().filter(note::Column::Title.eq("one")).load(s).await?;
        assert!(loaded.len() == 1 && Tracked::ptr_eq(&note, &loaded[0]));
        assert!(Tracked::ptr_eq(&note, &note::Entity::find().load_one(s).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &author.related::<note::Entity>(s).await?[0]));
        assert!(Tracked::ptr_eq(&label, &note.related::<tag::Entity>(s).await?[0]));
        assert!(Tracked::ptr_eq(&note, s.get_many::<note::Entity>([1_i64]).await?[0].as_ref().unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.load_related(std::slice::from_ref(&author), note::Entity).await?[0][0]));
        assert_eq!(s.tracked(), 3);
        Ok(())
    });
}

#[test]
fn i1_two_units_never_share_an_object() {
    on_all(async |db: Db| {
        let get = async || {
            db.run(async |s: &mut Session| -> Result<_, Error> { s.get::<note::Entity>(1_i64).await }).await.unwrap()
        };
        db.run(async |s: &mut Session| -> Result<(), Error> { row(s, 1, "one").await }).await.unwrap();
        assert!(!Tracked::ptr_eq(&get().await.unwrap(), &get().await.unwrap()));
    });
}

#[test]
fn i2_a_key_that_is_taken_is_refused_and_delete_then_add_is_an_update() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let old = s.add(draft(1, "old"));
        s.flush().await?;
        let refused = s.try_add(draft(1, "twin")).unwrap_err();
        assert!(matches!(&refused, Error::Duplicate { entity: "note", key } if &**key == "1"), "{refused:?}");

        s.delete(&old);
        let new = s.add(draft(1, "new"));
        let before = s.stats();
        s.flush().await?;
        // What a write made is read by another statement where it cannot answer.
        let statements = if s.backend() == sea_orm::DbBackend::MySql { 3 } else { 2 };
        assert_eq!(
            s.stats().statements - before.statements,
            statements,
            "the version's check, and one upsert for the two"
        );
        assert_eq!((s.state(&old), s.state(&new)), (State::Deleted, State::Persistent));
        assert!(Tracked::ptr_eq(&new, &s.get::<note::Entity>(1_i64).await?.unwrap()));
        assert_eq!(table(s).await?, [(1, "new".to_owned())]);

        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "twin"));
                s.flush().await
            })
            .await;
        assert!(matches!(outcome, Err(Error::Duplicate { .. })), "`add` leaves it to the flush: {outcome:?}");
        assert_eq!(table(s).await?, [(1, "new".to_owned())]);
        Ok(())
    });
}

#[test]
fn i2_a_row_switch_deletes_nothing_and_checks_the_version() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> { row(s, 1, "old").await }).await.unwrap();
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let old = s.get::<note::Entity>(1_i64).await?.unwrap();
                s.delete(&old);
                s.add(draft(1, "new"));
                recorder.take();
                s.flush().await
            })
            .await
            .unwrap();
        let sent = recorder.take();
        let (length, write) = match db.backend() {
            sea_orm::DbBackend::MySql => (4, "UPDATE"),
            _ => (3, "DO UPDATE"),
        };
        assert_eq!(sent.len(), length, "the version's check, the write and COMMIT: {sent:?}");
        assert!(sent.iter().all(|sql| !sql.contains("DELETE")), "the row is changed where it is: {sent:?}");
        assert!(sent[1].contains(write), "{sent:?}");
        assert_eq!(notes_in_database(&db).await, vec![(1, "new".to_owned())]);
    });
}

#[test]
fn i3_a_row_read_again_keeps_what_is_held_until_it_is_refreshed_or_locked() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let (clean, dirty) = (s.add(draft(1, "one")), s.add(draft(2, "two")));
        s.flush().await?;
        s.execute_unprepared("UPDATE note SET title = 'elsewhere', status = 'shown'").await?;
        {
            let mut s = s.no_autoflush();
            dirty.set_title("mine");
            note::Entity::find().load(&mut s).await?;
        }
        assert_eq!((clean.title(), dirty.title()), ("one".to_owned(), "mine".to_owned()));
        assert_eq!((clean.status(), dirty.status()), ("draft".to_owned(), "draft".to_owned()));

        note::Entity::find_by_id(1).refresh().load(s).await?;
        assert_eq!((clean.title(), clean.status()), ("elsewhere".to_owned(), "shown".to_owned()));
        s.refresh(&dirty).await?;
        assert_eq!((dirty.title(), dirty.changed().len()), ("mine".to_owned(), 0), "the load above flushed it first");
        assert_eq!(dirty.status(), "shown");
        Ok(())
    });
}

#[test]
fn i3_refresh_drops_the_changes_of_the_object_and_sends_none() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "one"));
        s.flush().await?;
        note.set_title("never sent");
        let before = s.stats();
        s.refresh(&note).await?;
        assert_eq!(s.stats().statements - before.statements, 1, "one SELECT, no UPDATE");
        assert_eq!(note.title(), "one");
        s.flush().await?;
        assert_eq!((table(s).await?, note.version()), (vec![(1, "one".to_owned())], 1));
        Ok(())
    });
}

#[test]
fn i3_what_is_read_under_a_lock_is_fresh() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let notes: Vec<_> = (1..=5).map(|id| s.add(draft(id, "old"))).collect();
        s.flush().await?;
        s.execute_unprepared("UPDATE note SET title = 'new'").await?;
        assert_eq!(notes[0].title(), "old");
        s.lock(&notes[0]).await?;
        note::Entity::find_by_id(2).for_update().load(s).await?;
        note::Entity::find_by_id(3).skip_locked().load(s).await?;
        note::Entity::find_by_id(4).nowait().load(s).await?;
        use sea_orm::QuerySelect;
        note::Entity::find_by_id(5).lock_exclusive().load(s).await?;
        for note in &notes {
            assert_eq!(note.title(), "new", "{note:?}");
        }
        Ok(())
    });
}

#[test]
fn i3_a_locked_row_is_skipped_or_refused_at_once() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> { row(s, 1, "one").await }).await.unwrap();
        if db.backend() == sea_orm::DbBackend::Sqlite {
            // A writing unit holds the only write lock of the file: nobody else can hold a row.
            return;
        }
        let mut holder = db.begin().await.unwrap();
        note::Entity::find_by_id(1).for_update().load(&mut holder).await.unwrap();
        let mut s = db.begin().await.unwrap();
        assert!(note::Entity::find().skip_locked().load(&mut s).await.unwrap().is_empty());
        let refused = note::Entity::find().nowait().load(&mut s).await.unwrap_err();
        assert_eq!(refused.class(), Some(sea_session::Class::LockNotAvailable), "{refused}");
        s.rollback().await.unwrap();
        holder.rollback().await.unwrap();
    });
}

#[test]
fn i4_a_deleted_object_is_none_and_peek_asks_nobody() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        row(s, 1, "one").await?;
        let sent = messages(s);
        assert!(s.peek::<note::Entity>(1_i64).is_none(), "it is not in the map yet");
        assert_eq!(messages(s), sent);
        let note = s.get::<note::Entity>(1_i64).await?.unwrap();
        assert!(Tracked::ptr_eq(&note, &s.peek::<note::Entity>(1_i64).unwrap()));
        assert!(s.contains(&note));

        s.delete(&note);
        assert_eq!(s.state(&note), State::Deleted);
        let sent = messages(s);
        assert!(s.get::<note::Entity>(1_i64).await?.is_none() && s.peek::<note::Entity>(1_i64).is_none());
        assert_eq!(messages(s), sent, "before its flush the map knows it");
        s.flush().await?;
        assert!(s.get::<note::Entity>(1_i64).await?.is_none());
        assert!(!s.contains(&note));
        assert!(s.refresh(&note).await.is_err(), "there is nothing to read again");
        Ok(())
    });
}

#[test]
fn i4_expire_reads_again_once_and_expunge_and_merge_do_what_they_say() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "one"));
        s.flush().await?;
        s.execute_unprepared("UPDATE note SET title = 'elsewhere'").await?;
        s.expire_all::<note::Entity>();
        let sent = messages(s);
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(1_i64).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(1_i64).await?.unwrap()));
        assert_eq!((messages(s), note.title()), (sent + 1, "elsewhere".to_owned()));

        let brought = note::Model { title: "from a form".into(), ..note.model() };
        let merged = s.merge::<note::Entity>(brought).await?;
        assert!(Tracked::ptr_eq(&note, &merged));
        assert_eq!(note.changed(), ["title"]);
        s.flush().await?;

        s.expunge(&note);
        assert_eq!((s.state(&note), s.contains(&note)), (State::Detached, false));
        let other = s.get::<note::Entity>(1_i64).await?.unwrap();
        assert!(!Tracked::ptr_eq(&note, &other));
        assert_eq!((note.title(), other.title()), ("from a form".to_owned(), "from a form".to_owned()));

        let new = s.merge::<note::Entity>(note::Model { id: 2, version: 1, ..other.model() }).await?;
        assert_eq!(s.state(&new), State::Pending);
        s.flush().await?;
        assert_eq!(table(s).await?.len(), 2);
        Ok(())
    });
}

#[test]
fn i5_get_many_asks_for_what_is_missing_in_one_statement() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        for id in 1..=6 {
            row(s, id, "one").await?;
        }
        let held = s.get::<note::Entity>(2_i64).await?.unwrap();
        let pending = s.add(draft(7, "new"));
        s.delete(&held);
        let gone = held;
        s.flush().await?;
        let kept = s.get::<note::Entity>(3_i64).await?.unwrap();

        let before = s.stats();
        let found = s.get_many::<note::Entity>([6_i64, 3, 2, 99, 1, 7, 6]).await?;
        let after = s.stats();
        let ids: Vec<_> = found.iter().map(|note| note.as_ref().map(|note| note.id())).collect();
        assert_eq!(ids, [Some(6), Some(3), None, None, Some(1), Some(7), Some(6)], "in the order asked for");
        let found: Vec<_> = found.into_iter().flatten().collect();
        assert!(Tracked::ptr_eq(&found[1], &kept) && Tracked::ptr_eq(&found[3], &pending));
        assert!(Tracked::ptr_eq(&found[0], &found[4]));
        assert_eq!(s.state(&gone), State::Deleted);
        assert_eq!(after.statements - before.statements, 1);
        assert_eq!(after.rows - before.rows, 2, "only 6 and 1 were read");

        let sent = messages(s);
        assert_eq!(s.get_many::<note::Entity>([1_i64, 3, 6]).await?.len(), 3);
        assert_eq!(messages(s), sent, "nothing is missing");
        Ok(())
    });
}

#[test]
fn i5_get_many_takes_composite_keys_of_any_integer_width() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(1, "one"));
        s.add(tag("red"));
        let (held, second) = (s.add(pair(1, "red")), s.add(tag("blue")));
        s.flush().await?;
        note_tag::Entity::insert(pair(1, "blue")).exec_without_returning(s).await?;
        drop(second);
        let sent = messages(s);
        let found = s.get_many::<note_tag::Entity>([(1_i32, "red".to_owned()), (1_i32, "blue".to_owned())]).await?;
        let found: Vec<_> = found.into_iter().flatten().collect();
        assert_eq!(found.iter().map(|pair| pair.tag_name()).collect::<Vec<_>>(), ["red", "blue"]);
        assert!(Tracked::ptr_eq(&found[0], &held));
        let asks_first = u64::from(s.backend() == sea_orm::DbBackend::MySql);
        assert_eq!(messages(s) - sent, 1 + asks_first);
        Ok(())
    });
}

/// A query in it would have MariaDB read, and lock, the whole table.
#[test]
fn d5_one_key_of_several_columns_is_compared_as_it_is() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "one"));
                s.add(tag("red"));
                let held = s.add(pair(1, "red"));
                s.flush().await?;
                recorder.take();
                s.refresh(&held).await?;
                assert!(s.delete_by_key::<note_tag::Entity>((1_i64, "red".to_owned())).await?);
                let sent = recorder.take();
                assert!(sent.iter().any(|sql| sql.starts_with("DELETE")), "{sent:#?}");
                assert!(sent.iter().all(|sql| !sql.contains(" IN (")), "{sent:#?}");
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn i5_get_many_takes_more_keys_than_a_statement_has_parameters() {
    on_all(async |db: Db| {
        const MANY: i64 = 33_000;
        let numbers = numbers(MANY);
        let now = "'2026-01-01 00:00:00+00:00'";
        behind_the_back(
            &db,
            &format!("{numbers} INSERT INTO note (id, title, version, updated_at) SELECT i, 't', 1, {now} FROM n"),
        )
        .await;
        behind_the_back(&db, "INSERT INTO tag (name) VALUES ('red')").await;
        behind_the_back(&db, "INSERT INTO note_tag (note_id, tag_name) SELECT id, 'red' FROM note").await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let pairs = s.get_many::<note_tag::Entity>((1..=MANY).map(|id| (id, "red".to_owned()))).await?;
            assert_eq!(pairs.len(), usize::try_from(MANY).unwrap());
            let in_order = |(pair, id): (&Option<Tracked<note_tag::Entity>>, i64)| {
                pair.as_ref().is_some_and(|pair| pair.note_id() == id)
            };
            assert!(pairs.iter().zip(1..).all(in_order), "in the order of the keys");
            let notes = s.get_many::<note::Entity>(1..=MANY).await?;
            assert_eq!(notes.len(), pairs.len());
            // Where texts are compared by a collation, the database says which keys are equal, a thousand at a time, as many as it takes
            // of rows to look up.
            let most = if s.backend() == sea_orm::DbBackend::MySql { 2 * 33 + 6 } else { 15 };
            assert!(s.stats().statements <= most, "{} statements for {MANY} keys of each kind", s.stats().statements);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn i6_the_map_holds_strongly_and_a_stream_leaves_it_alone() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        for id in 1..=1_200_i64 {
            s.add(draft(id, "one"));
        }
        s.flush().await?;
        assert_eq!(s.tracked(), 1_200, "handles were dropped, objects were not");
        let held = s.get::<note::Entity>(7_i64).await?.unwrap();
        held.set_title("flushed before the stream");

        let (mut ids, mut titles) = (Vec::new(), Vec::new());
        {
            let mut rows = note::Entity::find().order_by_asc(note::Column::Id).rows(s).await?;
            while let Some(row) = rows.next().await? {
                ids.push(row.id);
                titles.push(row.title);
            }
            assert!(rows.next().await?.is_none(), "an ended stream stays ended");
        }
        assert_eq!(ids, (1..=1_200).collect::<Vec<_>>());
        assert_eq!(titles[6], "flushed before the stream");
        assert_eq!(s.tracked(), 1_200);
        Ok(())
    });
}

#[test]
fn i6_a_streamed_row_is_not_in_the_map_and_a_stream_may_be_left_early() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        for id in 1..=600_i64 {
            row(s, id, "one").await?;
        }
        for _ in 0..3 {
            let mut rows =
                note::Entity::find().filter(note::Column::Id.gt(5)).order_by_asc(note::Column::Id).rows(s).await?;
            assert_eq!(rows.next().await?.unwrap().id, 6);
            assert_eq!(rows.next().await?.unwrap().id, 7);
            drop(rows);
        }
        assert_eq!(s.tracked(), 0);
        assert!(s.peek::<note::Entity>(6_i64).is_none());
        s.get::<note::Entity>(6_i64).await?.unwrap().set_title("the session goes on");
        s.flush().await?;
        assert_eq!(table(s).await?[5].1, "the session goes on");
        Ok(())
    });
}

#[test]
fn i6_a_stream_that_fails_flags_its_block_with_the_first_cause() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        row(s, 1, "one").await?;
        // Divides by zero on PostgreSQL, overflows on the others.
        let wrong = match s.backend() {
            sea_orm::DbBackend::Sqlite => "abs(-9223372036854775807 - note.id) > 0",
            sea_orm::DbBackend::MySql => "9223372036854775807 + note.id > 0",
            _ => "1 / (note.id - 1) > 0",
        };
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                let select = note::Entity::find().filter(sea_orm::sea_query::Expr::cust(wrong));
                let failed = match select.rows(s).await {
                    Ok(mut rows) => rows.next().await.map(|_| ()),
                    Err(e) => Err(e),
                };
                let failed = failed.unwrap_err();
                let refused = note::Entity::find().all(s).await.map_err(Error::from).unwrap_err();
                assert!(matches!(&refused, Error::Refused { .. }), "{refused:?}");
                assert_eq!(refused.root().to_string(), failed.to_string());
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
        assert_eq!(table(s).await?.len(), 1, "and the block around it lives");
        Ok(())
    });
}

#[test]
fn i7_keys_of_every_integer_width_are_one_row() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(7, "one"));
        s.flush().await?;
        let sent = messages(s);
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(7_i64).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(7_i32).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(7_i16).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(7_u32).await?.unwrap()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(7_u64).await?.unwrap()));
        assert_eq!(messages(s), sent, "none asks the database");
        s.expunge(&note);
        let read = s.get::<note::Entity>(7_i16).await?.unwrap();
        assert!(Tracked::ptr_eq(&read, &s.peek::<note::Entity>(7_i64).unwrap()), "read by one width, held by all");
        Ok(())
    });
}

#[test]
fn i7_composite_and_text_keys_are_compared_by_the_entitys_own_types() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(1, "one"));
        let label = s.add(tag("red"));
        let both = s.add(pair(1, "red"));
        s.flush().await?;
        let sent = messages(s);
        assert!(Tracked::ptr_eq(&label, &s.get::<tag::Entity>("red").await?.unwrap()));
        assert!(Tracked::ptr_eq(&label, &s.get::<tag::Entity>("red".to_owned()).await?.unwrap()));
        assert!(Tracked::ptr_eq(&both, &s.get::<note_tag::Entity>((1_i64, "red".to_owned())).await?.unwrap()));
        assert!(Tracked::ptr_eq(&both, &s.get::<note_tag::Entity>((1_i32, "red")).await?.unwrap()));
        assert!(Tracked::ptr_eq(&both, &s.peek::<note_tag::Entity>((1_u32, "red")).unwrap()));
        assert_eq!(messages(s), sent, "none asks the database");
        assert!(s.get::<note_tag::Entity>(1_i64).await.is_err(), "half a key is a mistake, not a query");
        Ok(())
    });
}

#[test]
fn i1_a_row_that_follows_itself_hangs_nothing() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let root = s.add(draft(1, "root"));
        root.set_parent(note::Relation::Parent, &root)?;
        s.flush().await?;
        assert_eq!(note::Entity::find_by_id(1).one(s).await?.unwrap().parent_id, Some(1));
        let outcome = s.atomic(async |s: &mut Session| -> Result<(), Error> {
            root.set_parent(note::Relation::Parent, &root)?;
            s.flush().await?;
            Err(changed_my_mind())
        });
        assert!(outcome.await.is_err());
        assert_eq!(root.parent_id(), Some(1));
        Ok(())
    });
}

/// What a flush of one change sends with so many clean objects in the map, and the COMMIT after it.
async fn one_change_among(db: &Db, clean: i64) -> Vec<String> {
    let (recorder, options) = watched(db);
    options
        .run(async |s: &mut Session| -> Result<(), Error> {
            let last = note::Entity::find().order_by_asc(note::Column::Id).load(s).await?.pop().unwrap();
            assert_eq!(s.tracked() as i64, clean);
            last.set_title("changed");
            recorder.take();
            s.flush().await?;
            assert!(!s.is_dirty());
            Ok(())
        })
        .await
        .unwrap();
    recorder.take()
}

#[test]
fn i6_a_flush_of_one_change_sends_the_same_with_ten_and_with_a_hundred_thousand_tracked() {
    on_all(async |db: Db| {
        let fill = async |from: i64, to: i64| {
            let (numbers, now) = (numbers(to), "'2026-01-01 00:00:00+00:00'");
            let columns = "id, title, version, updated_at";
            let rows = format!("SELECT i, 'one', 1, {now} FROM n WHERE i >= {from}");
            behind_the_back(&db, &format!("{numbers} INSERT INTO note ({columns}) {rows}")).await;
        };
        fill(1, 10).await;
        let few = one_change_among(&db, 10).await;
        fill(11, 100_000).await;
        let many = one_change_among(&db, 100_000).await;
        assert_eq!(few, many);
        assert_eq!(many.len(), 2, "the UPDATE and COMMIT: {many:?}");
    });
}

#[test]
fn i2_o1_a_row_switch_goes_on_counting_the_version() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> { row(s, 1, "old").await }).await.unwrap();
        let version = db
            .run(async |s: &mut Session| -> Result<i32, Error> {
                let old = s.get::<note::Entity>(1_i64).await?.unwrap();
                s.delete(&old);
                let new = s.add(draft(1, "new"));
                s.flush().await?;
                Ok(new.version())
            })
            .await
            .unwrap();
        let held = note::Entity::find_by_id(1).one(db.connection()).await.unwrap().unwrap();
        assert_eq!(
            (held.version, version),
            (2, 2),
            "whoever loaded version 1 must be told that the row is another one"
        );
    });
}
