//! Objects and savepoints (S): after any rollback a handle shows what the database holds, restored by value.

mod failures;
mod states;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder};
use sea_session::{
    Error, Session,
    prelude::*,
    tables::{Operation, STATE_TABLE, StateCell},
};

use crate::support::*;

/// What a body says that wants to be rolled back.
pub fn changed_my_mind() -> Error {
    Error::Usage("changed my mind".into())
}

/// Writes a row that no session tracks.
pub async fn row(s: &Session, id: i64, title: &str) -> Result<(), Error> {
    let row = note::ActiveModel { version: Set(1), updated_at: Set(chrono::Utc::now()), ..draft(id, title) };
    note::Entity::insert(row).exec(s).await?;
    Ok(())
}

/// The table as this transaction sees it, past the identity map.
pub async fn table(s: &Session) -> Result<Vec<(i64, String)>, Error> {
    let rows = note::Entity::find().order_by_asc(note::Column::Id).all(s).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.title)).collect())
}

/// How many messages the unit has sent so far, control messages too.
pub fn messages(s: &mut Session) -> u64 {
    let stats = s.stats();
    stats.statements + stats.control
}

/// Collects what is logged on this thread while the value lives.
pub struct Logged {
    text: Arc<parking_lot::Mutex<Vec<u8>>>,
    _default: tracing::subscriber::DefaultGuard,
}

struct Pen(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    pub fn new() -> Self {
        second_subscriber();
        let text: Arc<parking_lot::Mutex<Vec<u8>>> = Arc::default();
        let pen = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || Pen(pen.clone()))
            .finish();
        Self { text, _default: tracing::subscriber::set_default(subscriber) }
    }

    /// How many lines say this; what was logged so far is forgotten.
    pub fn take(&self, what: &str) -> usize {
        let bytes = std::mem::take(&mut *self.text.lock());
        String::from_utf8(bytes).unwrap().lines().filter(|line| line.contains(what)).count()
    }
}

#[test]
fn s1_entering_a_block_flushes_the_parents_work_which_survives_the_childs_rollback() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let kept = s.add(draft(1, "parent's"));
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(s.state(&kept), State::Persistent, "flushed on entry");
                kept.set_title("child's");
                s.add(draft(2, "child's"));
                s.flush().await?;
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((s.state(&kept), kept.title()), (State::Persistent, "parent's".to_owned()));
        assert_eq!(table(s).await?, [(1, "parent's".to_owned())]);

        let before = messages(s);
        s.atomic(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await?;
        assert_eq!(messages(s), before, "with nothing pending, entering and leaving send nothing");
        Ok(())
    });
}

#[test]
fn s1_an_add_that_was_refused_is_reported_on_entry_and_not_forgotten_by_the_childs_rollback() {
    on_all(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "first"));
                s.flush().await?;
                s.add(draft(1, "the same key"));
                let _ = s.atomic(async |_: &mut Session| -> Result<(), Error> { Err(changed_my_mind()) }).await;
                Ok(())
            })
            .await;
        assert!(outcome.unwrap_err().to_string().contains('1'), "the duplicate is named");
        assert_eq!(notes_in_database(&db).await, vec![]);
    });
}

#[test]
fn s1_an_add_that_was_refused_goes_with_the_savepoint_around_it() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(1, "first"));
        let savepoint = s.savepoint().await?;
        let refused = s.add(draft(1, "the same key"));
        assert_eq!(s.state(&refused), State::Transient, "it never came into the unit");
        s.rollback_to(savepoint).await?;
        refused.set_title("changed, and still in no unit");
        s.flush().await?;
        assert_eq!(table(s).await?, [(1, "first".to_owned())]);
        Ok(())
    });
}

#[test]
fn s2_a_release_hands_what_was_added_changed_deleted_and_rekeyed_to_the_parent() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let (changed, deleted, moved) = (s.add(draft(1, "a")), s.add(draft(2, "b")), s.add(draft(3, "c")));
        s.flush().await?;
        let mut added = None;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                let inner = s
                    .atomic(async |s: &mut Session| -> Result<Tracked<note::Entity>, Error> {
                        s.atomic(async |s: &mut Session| -> Result<Tracked<note::Entity>, Error> {
                            changed.set_title("A");
                            s.delete(&deleted);
                            moved.set_id(30_i64);
                            Ok(s.add(draft(4, "d")))
                        })
                        .await
                    })
                    .await?;
                assert_eq!(table(s).await?.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 4, 30]);
                added = Some(inner);
                let sent = messages(s);
                assert!(s.get::<note::Entity>(3_i64).await?.is_none());
                assert_eq!(messages(s), sent + 1, "the old key is no longer in the map");
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        let added = added.unwrap();
        let sent = messages(s);
        assert_eq!((changed.title(), changed.version()), ("a".to_owned(), 1));
        assert_eq!((s.state(&deleted), s.state(&added)), (State::Persistent, State::Transient));
        assert_eq!(moved.id(), 3);
        for (id, object) in [(1, &changed), (2, &deleted), (3, &moved)] {
            let held = s.get::<note::Entity>(id as i64).await?.unwrap();
            assert!(Tracked::ptr_eq(&held, object));
        }
        assert!(s.peek::<note::Entity>(30_i64).is_none() && s.peek::<note::Entity>(4_i64).is_none());
        assert_eq!(messages(s), sent, "all of it without a query");
        assert_eq!(table(s).await?, [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]);
        Ok(())
    });
}

#[test]
fn s3_what_was_added_is_transient_again_readable_and_may_be_added_again() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let mut kept = None;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                let author = s.add(writer("ann"));
                s.flush().await?;
                assert!(s.contains(&author));
                kept = Some((author.clone(), author.id()));
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        let (author, id) = kept.unwrap();
        assert_eq!((s.state(&author), s.contains(&author)), (State::Transient, false));
        assert_eq!((author.id(), author.name()), (id, "ann".to_owned()), "the generated key can be read");
        assert!(s.get::<author::Entity>(id).await?.is_none());

        author.set_name("bob");
        s.add_again(&author)?;
        s.flush().await?;
        assert_eq!(s.state(&author), State::Persistent);
        let rows = author::Entity::find().all(s).await?;
        assert_eq!(rows, [author::Model { id, name: "bob".into(), born: None }]);
        assert!(s.add_again(&author).is_err(), "it is in the unit");
        Ok(())
    });
}

#[test]
fn s3_added_deleted_and_added_again_before_a_flush_is_one_row() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let author = s.add(writer("ann"));
        s.delete(&author);
        assert_eq!(s.state(&author), State::Transient);
        s.add_again(&author)?;
        s.flush().await?;
        assert_eq!(author::Entity::find().all(s).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn s3_a_child_added_again_still_follows_its_parent() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let mut kept = None;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                let (parent, child) = (s.add(writer("ann")), s.add(draft(1, "hers")));
                child.set_parent(note::Relation::Author, &parent)?;
                kept = Some((parent, child));
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        let (parent, child) = kept.unwrap();
        s.add_again(&child)?;
        s.add_again(&parent)?;
        s.flush().await?;
        assert_eq!(child.author_id(), Some(parent.id()));
        assert_eq!(note::Entity::find_by_id(1).one(s).await?.unwrap().author_id, Some(parent.id()));
        Ok(())
    });
}

#[test]
fn s3_adding_again_what_has_a_taken_key_is_refused_and_changes_nothing() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "mine"));
        s.delete(&note);
        s.add(draft(1, "another's"));
        assert!(matches!(s.add_again(&note), Err(Error::Duplicate { .. })));
        assert_eq!(s.state(&note), State::Transient);
        note.set_title("still in no unit");
        s.flush().await?;
        assert_eq!(table(s).await?, [(1, "another's".to_owned())]);
        Ok(())
    });
}

#[test]
fn s4_what_was_deleted_is_persistent_again_and_the_same_instance_also_after_an_inner_release() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "kept"));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    note.set_title("changed, then deleted");
                    s.delete(&note);
                    Ok(())
                })
                .await?;
                assert_eq!((s.state(&note), s.contains(&note)), (State::Deleted, false));
                assert!(s.get::<note::Entity>(1_i64).await?.is_none());
                let other = s.add(draft(1, "another row of the same key"));
                s.flush().await?;
                assert!(s.contains(&other));
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        let sent = messages(s);
        assert_eq!((s.state(&note), note.title()), (State::Persistent, "kept".to_owned()));
        assert!(Tracked::ptr_eq(&note, &s.get::<note::Entity>(1_i64).await?.unwrap()));
        assert_eq!(messages(s), sent);
        note.set_title("and it is sent again");
        s.flush().await?;
        assert_eq!(table(s).await?, [(1, "and it is sent again".to_owned())]);
        Ok(())
    });
}

#[test]
fn s4_a_delete_that_was_never_flushed_is_taken_back_too() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "kept"));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.delete(&note);
                let twin = s.add(draft(1, "in its place"));
                assert!(Tracked::ptr_eq(&twin, &s.peek::<note::Entity>(1_i64).unwrap()));
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!(s.state(&note), State::Persistent);
        assert!(Tracked::ptr_eq(&note, &s.peek::<note::Entity>(1_i64).unwrap()));
        assert!(!s.is_dirty());
        assert_eq!(table(s).await?, [(1, "kept".to_owned())]);
        Ok(())
    });
}

#[test]
fn s5_what_was_changed_has_its_old_values_without_a_query() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let (flushed, unflushed) = (s.add(draft(1, "one")), s.add(draft(2, "two")));
                s.flush().await?;
                recorder.take();
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        flushed.set_title("ONE");
                        s.flush().await?;
                        flushed.set_title("ONE, TWICE");
                        unflushed.set_title("TWO");
                        recorder.take();
                        Err(changed_my_mind())
                    })
                    .await;
                assert!(outcome.is_err());
                let sent = recorder.take();
                assert_eq!(sent.len(), 1, "nothing but the rollback: {sent:?}");
                assert!(sent[0].starts_with("ROLLBACK TO"), "{sent:?}");
                assert_eq!((flushed.title(), flushed.version()), ("one".to_owned(), 1));
                assert_eq!((unflushed.title(), unflushed.version()), ("two".to_owned(), 1));
                assert!(flushed.changed().is_empty() && unflushed.changed().is_empty());
                assert!(Tracked::ptr_eq(&flushed, &s.get::<note::Entity>(1_i64).await?.unwrap()));
                assert_eq!(recorder.take(), Vec::<String>::new());

                flushed.set_title("uno");
                s.flush().await?;
                assert_eq!(flushed.version(), 2, "the restored version is the one that the UPDATE matches");
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(title_in_database(&db, 1).await.unwrap(), "uno");
    });
}

#[test]
fn s5_a_block_in_which_nothing_was_sent_restores_memory_and_sends_nothing() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "one"));
        s.flush().await?;
        let sent = messages(s);
        let outcome = s
            .atomic(async |_: &mut Session| -> Result<(), Error> {
                note.set_title("ONE");
                note.update(|model| model.status = "shown".into());
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((note.title(), note.status()), ("one".to_owned(), "draft".to_owned()));
        assert!(!s.is_dirty());
        assert_eq!(messages(s), sent);
        Ok(())
    });
}

#[test]
fn s5_what_was_first_loaded_in_the_block_leaves_the_map() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        row(s, 1, "one").await?;
        let mut inside = None;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    let note = s.get::<note::Entity>(1_i64).await?.unwrap();
                    note.set_title("ONE");
                    inside = Some(note);
                    Ok(())
                })
                .await?;
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        let inside = inside.unwrap();
        assert_eq!((s.state(&inside), inside.title()), (State::Detached, "one".to_owned()));
        let sent = messages(s);
        let again = s.get::<note::Entity>(1_i64).await?.unwrap();
        assert_eq!(messages(s), sent + 1, "the next `get` asks the database");
        assert!(!Tracked::ptr_eq(&inside, &again));
        Ok(())
    });
}

#[test]
fn s5_what_a_block_read_again_is_as_it_was_before_the_block() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let (refreshed, expired, locked) = (s.add(draft(1, "one")), s.add(draft(2, "two")), s.add(draft(3, "three")));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("UPDATE note SET title = 'behind the map'").await?;
                s.refresh(&refreshed).await?;
                s.expire(&expired);
                s.get::<note::Entity>(2_i64).await?;
                note::Entity::find_by_id(3).for_update().load(s).await?;
                for note in [&refreshed, &expired, &locked] {
                    assert_eq!(note.title(), "behind the map");
                }
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        let titles = [&refreshed, &expired, &locked].map(|note| note.title());
        assert_eq!(titles, ["one", "two", "three"], "memory follows the database (INV4)");
        Ok(())
    });
}

#[test]
fn s6_a_changed_primary_key_reverts_and_the_map_is_rekeyed() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let (a, b) = (s.add(draft(1, "a")), s.add(draft(2, "b")));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                a.set_id(10_i64);
                s.flush().await?;
                b.set_id(1_i64);
                s.flush().await?;
                a.set_id(2_i64);
                s.flush().await?;
                assert!(Tracked::ptr_eq(&a, &s.peek::<note::Entity>(2_i64).unwrap()), "they have changed places");
                assert!(Tracked::ptr_eq(&b, &s.peek::<note::Entity>(1_i64).unwrap()));
                assert!(s.peek::<note::Entity>(10_i64).is_none());
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((a.id(), b.id()), (1, 2));
        assert!(Tracked::ptr_eq(&a, &s.peek::<note::Entity>(1_i64).unwrap()));
        assert!(Tracked::ptr_eq(&b, &s.peek::<note::Entity>(2_i64).unwrap()));
        assert!(s.peek::<note::Entity>(10_i64).is_none());
        a.set_title("A");
        s.flush().await?;
        assert_eq!(table(s).await?, [(1, "A".to_owned()), (2, "b".to_owned())]);
        Ok(())
    });
}

#[test]
fn s7_what_was_expunged_stays_out_and_keeps_its_values() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let (clean, dirty, added) = (s.add(draft(1, "one")), s.add(draft(2, "two")), s.add(draft(3, "three")));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                clean.set_title("ONE");
                s.flush().await?;
                dirty.set_title("TWO");
                s.delete(&added);
                [&clean, &dirty, &added].into_iter().for_each(|note| s.expunge(note));
                s.flush().await?;
                let rows = table(s).await?;
                assert_eq!(rows.len(), 3, "neither the change nor the delete is sent: {rows:?}");
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        for note in [&clean, &dirty, &added] {
            assert_eq!((s.state(note), s.contains(note)), (State::Detached, false));
        }
        assert_eq!((clean.title(), dirty.title()), ("ONE".to_owned(), "TWO".to_owned()));
        let again = s.get::<note::Entity>(1_i64).await?.unwrap();
        assert!(!Tracked::ptr_eq(&again, &clean));
        assert_eq!(again.title(), "one");
        Ok(())
    });
}

#[test]
fn s7_a_dirty_object_expunged_in_a_block_that_fails_keeps_its_values() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let note = s.add(draft(1, "one"));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                note.set_title("ONE");
                s.expunge(&note);
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!((s.state(&note), note.title()), (State::Detached, "ONE".to_owned()));
        Ok(())
    });
}

/// A unit whose `after_flush` hook changes an object in each of the first `rounds` flushes.
async fn with_busy_hook(db: &Db, rounds: usize) -> (Result<(), Error>, usize) {
    let flushes = Arc::new(AtomicUsize::new(0));
    let outcome = db
        .run(async |s: &mut Session| -> Result<(), Error> {
            let note = s.add(draft(1, "one"));
            let (flushes, hooked) = (flushes.clone(), note.clone());
            s.after_flush(move || {
                let n = flushes.fetch_add(1, Ordering::Relaxed);
                if n < rounds {
                    hooked.set_title(format!("after {}", n + 1));
                }
                Ok(())
            });
            Ok(())
        })
        .await;
    (outcome, flushes.load(Ordering::Relaxed))
}

#[test]
fn s11_commit_flushes_until_nothing_is_dirty_and_stops_after_a_hundred_rounds() {
    on_all(async |db: Db| {
        let (outcome, flushes) = with_busy_hook(&db, usize::MAX).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("100 flushes"), "{error}");
        assert_eq!(flushes, 100);
        assert_eq!(notes_in_database(&db).await, vec![]);

        let (outcome, flushes) = with_busy_hook(&db, 99).await;
        outcome.unwrap();
        assert_eq!(flushes, 100, "99 changes by the hook and the first flush");
        assert_eq!(notes_in_database(&db).await, vec![(1, "after 99".to_owned())]);
    });
}

#[test]
fn s2_h3_a_savepoint_inside_a_merged_block_that_fails_is_its_parents_to_undo() {
    on_all(async |db: Db| {
        let ran = Arc::new(AtomicUsize::new(0));
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let note = s.add(draft(1, "one"));
            s.flush().await?;
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    let merged = s
                        .block()
                        .merged()
                        .run(async |s: &mut Session| -> Result<(), Error> {
                            s.savepoint().await?;
                            note.set_title("ONE");
                            s.add(draft(2, "two"));
                            let ran = ran.clone();
                            s.on_commit(async move || {
                                ran.fetch_add(1, Ordering::Relaxed);
                            });
                            s.flush().await?;
                            Err(changed_my_mind())
                        })
                        .await;
                    assert!(merged.is_err());
                    Ok(())
                })
                .await;
            assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
            assert_eq!((note.title(), s.tracked()), ("one".to_owned(), 1));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await, vec![(1, "one".to_owned())]);
        assert_eq!(ran.load(Ordering::Relaxed), 0, "a hook goes with the savepoint that it was registered in");
    });
}
