//! The flush (F).

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, Set, Statement,
};
use sea_session::{Error, Session, prelude::*};

use crate::support::*;

#[test]
fn a_design_example_runs() {
    on_all(async |db: Db| {
        let id = db
            .run(async |s: &mut Session| -> Result<i64, Error> {
                s.add(draft(7, "first"));
                let author = s.add(writer("ann"));
                s.flush().await?;
                let note = s.get::<note::Entity>(7).await?.unwrap();
                assert_eq!(note.version(), 1);
                assert_eq!(note.status(), "draft");
                note.set_title("renamed");
                let again = s.get::<note::Entity>(7_i32).await?.unwrap();
                assert!(Tracked::ptr_eq(&note, &again));
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        note.set_title("tentative");
                        s.add(draft(8, "inner"));
                        s.flush().await?;
                        Err(Error::Usage("changed my mind".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                assert_eq!(note.title(), "renamed");
                assert_eq!(note.version(), 2);
                let n = note::Entity::find().filter(note::Column::Title.contains("re")).count(s).await?;
                assert_eq!(n, 1);
                Ok(author.id())
            })
            .await
            .unwrap();
        assert!(id > 0);
        assert_eq!(notes_in_database(&db).await, vec![(7, "renamed".to_owned())]);
    });
}

#[test]
fn f5_generated_keys_reach_objects_and_children() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let authors: Vec<_> = (0..20).map(|i| s.add(writer(&format!("w{i}")))).collect();
        for (i, author) in authors.iter().enumerate() {
            let child = s.add(draft(i as i64, &format!("n{i}")));
            child.set_parent(note::Relation::Author, author)?;
        }
        s.flush().await?;
        for (i, author) in authors.iter().enumerate() {
            let id = author.id();
            let held = author::Entity::find_by_id(id).one(s).await?.unwrap();
            assert_eq!(held.name, format!("w{i}"));
            let child = s.get::<note::Entity>(i as i64).await?.unwrap();
            assert_eq!(child.author_id(), Some(id));
            assert_eq!(note::Entity::find_by_id(i as i64).one(s).await?.unwrap().author_id, Some(id));
        }
        for author in &authors {
            author.set_born(Some(1900));
        }
        s.flush().await?;
        assert_eq!(author::Entity::find().filter(author::Column::Born.eq(1900)).count(s).await?, 20);
        for i in 0..20_i64 {
            let n = s.get::<note::Entity>(i).await?.unwrap();
            s.delete(&n);
        }
        for author in &authors {
            s.delete(author);
        }
        s.flush().await?;
        assert_eq!(author::Entity::find().count(s).await?, 0);
        Ok(())
    });
}

/// The flush statements among what was sent: neither reads nor transaction control.
fn writes(sent: &[String]) -> usize {
    sent.iter()
        .filter(|sql| {
            sql.contains("INSERT INTO") || sql.contains("UPDATE ") || sql.contains("DELETE ") || sql.starts_with("COPY")
        })
        .count()
}

#[test]
fn f2_ten_thousand_rows_take_a_few_statements() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                // Limits on parameters ask for chunks of at most 1,024 rows, in powers of two.
                let most = if s.backend() == DbBackend::Postgres { 5 } else { 20 };
                (0..10_000).for_each(|id| drop(s.add(draft(id, "x"))));
                (0..10_000).for_each(|id| drop(s.add(writer(&format!("w{id}")))));
                s.flush().await?;
                let sent = writes(&recorder.take());
                assert!(sent <= 3 * most, "{sent} statements for 20,000 inserts");
                let notes = note::Entity::find().load(s).await?;
                for note in &notes {
                    note.set_title("y");
                }
                s.flush().await?;
                let sent = writes(&recorder.take());
                assert!((1..=2 * most).contains(&sent), "{sent} statements for 10,000 updates");
                notes.iter().for_each(|note| s.delete(note));
                s.flush().await?;
                let sent = writes(&recorder.take());
                // MariaDB checks a table's foreign key to itself row by row, in the middle of a statement: they go alone.
                let most = if s.backend() == DbBackend::MySql { 5_000 } else { most };
                assert!((1..=2 * most).contains(&sent), "{sent} statements for 10,000 deletes");
                assert_eq!(note::Entity::find().count(s).await?, 0);
                Ok(())
            })
            .await
            .unwrap();
    });
}

/// Two units that change the same rows, each in its own order, would lock them in that order and wait for each other.
#[test]
fn f2_rows_of_one_statement_are_locked_in_the_order_of_their_keys() {
    on_all(async |db: Db| {
        // Stored the other way round, so that the order in which they stand there is not that of their keys.
        let stored = db.run(async |s: &mut Session| -> Result<(), Error> {
            (0..1_000).rev().for_each(|id| drop(s.add(draft(id, "x"))));
            Ok(())
        });
        stored.await.unwrap();
        let watch = match db.backend() {
            DbBackend::Sqlite => {
                "CREATE TRIGGER changed BEFORE UPDATE ON note BEGIN INSERT INTO locked (note) VALUES (OLD.id); END; \
                 CREATE TRIGGER removed BEFORE DELETE ON note BEGIN INSERT INTO locked (note) VALUES (OLD.id); END"
            }
            DbBackend::MySql => {
                "CREATE TRIGGER changed BEFORE UPDATE ON note FOR EACH ROW INSERT INTO locked (note) VALUES (OLD.id); \
                 CREATE TRIGGER removed BEFORE DELETE ON note FOR EACH ROW INSERT INTO locked (note) VALUES (OLD.id); \
                 ALTER TABLE locked ADD COLUMN turn serial"
            }
            _ => {
                "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN INSERT INTO locked (note) VALUES (OLD.id); RETURN COALESCE(NEW, OLD); END'; \
                 CREATE TRIGGER changed BEFORE UPDATE OR DELETE ON note FOR EACH ROW EXECUTE FUNCTION watch(); \
                 ALTER TABLE locked ADD COLUMN turn serial"
            }
        };
        let analyze = if db.backend() == DbBackend::MySql { "ANALYZE TABLE note" } else { "ANALYZE note" };
        behind_the_back(&db, &format!("{analyze}; CREATE TABLE locked (note bigint NOT NULL)")).await;
        behind_the_back(&db, watch).await;
        let turn = if db.backend() == DbBackend::Sqlite { "rowid" } else { "turn" };
        let ids: Vec<i64> = (0..40).map(|i| i * 700 % 999).collect();
        let mut ordered = ids.clone();
        ordered.sort_unstable();
        for options in [db.session(), db.session().optimistic()] {
            let locked = options.run(async |s: &mut Session| -> Result<_, Error> {
                if s.backend() == DbBackend::Postgres {
                    // As in a large table: rows are looked up one by one.
                    s.execute_unprepared("SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off").await?;
                }
                let notes = note::Entity::find().filter(note::Column::Id.is_in(ids.iter().copied())).load(s).await?;
                let by_id = |id: &i64| notes.iter().find(|note| note.id() == *id).unwrap();
                ids.iter().map(by_id).for_each(|note| _ = note.set_title("y"));
                s.flush().await?;
                ids.iter().rev().map(by_id).for_each(|note| s.delete(note));
                s.flush().await?;
                let sql = format!("SELECT note FROM locked ORDER BY {turn}");
                let rows = s.query_all_raw(Statement::from_string(s.backend(), sql)).await?;
                let locked = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<i64>, _>>()?;
                s.set_rollback(true)?;
                Ok(locked)
            });
            assert_eq!(locked.await.unwrap(), [&ordered[..], &ordered[..]].concat());
        }
    });
}

#[test]
fn f3_only_changed_columns_are_sent_and_no_change_sends_nothing() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let note = s.add(draft(1, "a"));
                s.flush().await?;
                recorder.take();
                note.set_title("a");
                note.set_status("draft");
                s.flush().await?;
                note.set_title("b");
                note.set_title("a");
                s.flush().await?;
                assert_eq!((recorder.take(), note.version()), (vec![], 1));
                note.set_title("b");
                s.flush().await?;
                let sent = recorder.take();
                assert_eq!(writes(&sent), 1);
                assert!(sent[0].contains("title") && sent[0].contains("version"), "{sent:?}");
                assert!(!sent[0].contains("status") && !sent[0].contains("author_id"), "{sent:?}");
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn f4_a_column_never_set_takes_the_default_in_a_mixed_batch() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let mixed: Vec<_> = (0..100)
            .map(|id| match id % 3 {
                0 => s.add(draft(id, "default")),
                1 => s.add(note::ActiveModel { status: Set("open".into()), ..draft(id, "set") }),
                _ => s.add(note::ActiveModel { parent_id: Set(None), ..draft(id, "default") }),
            })
            .collect();
        s.flush().await?;
        for note in &mixed {
            let expected = if note.title() == "set" { "open" } else { "draft" };
            assert_eq!(note.status(), expected, "in memory");
        }
        let held = note::Entity::find().all(&*s).await?;
        assert_eq!(held.len(), 100);
        for row in held {
            assert_eq!(row.status, if row.title == "set" { "open" } else { "draft" }, "in the database");
        }
        Ok(())
    });
}

/// From some hundreds of rows on PostgreSQL draws the keys first and copies the rows in.
#[test]
fn f5_many_generated_keys_reach_the_right_objects_and_their_children() {
    const AUTHORS: i64 = 1_200;
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let mut authors = Vec::new();
                for n in 0..AUTHORS {
                    let author =
                        s.add(author::ActiveModel { born: Set(Some(1_900)), ..writer(&format!("author {n}")) });
                    let note = s.add(draft(n, &format!("by {n}")));
                    note.set_parent(note::Relation::Author, &author)?;
                    authors.push((author, note));
                }
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        assert_eq!(s.add(writer("author 0")).changed(), Vec::<&str>::new());
                        s.flush().await
                    })
                    .await;
                assert!(outcome.unwrap_err().is_unique_violation(), "the others were flushed before the block (S1)");
                let mut keys: Vec<i64> = authors.iter().map(|(author, _)| author.id()).collect();
                keys.sort_unstable();
                keys.dedup();
                assert_eq!(keys.len() as i64, AUTHORS);
                for (author, note) in &authors {
                    assert_eq!(note.author_id(), Some(author.id()));
                    let held = s.peek::<author::Entity>(author.id()).unwrap();
                    assert!(Tracked::ptr_eq(&held, author));
                }
                Ok(())
            })
            .await
            .unwrap();
        let pairs = note::Entity::find().find_also_related(author::Entity).all(db.connection()).await.unwrap();
        assert_eq!(pairs.len() as i64, AUTHORS);
        for (note, author) in pairs {
            assert_eq!(author.unwrap().name, format!("author {}", note.id), "{}", note.title);
        }
        let sent = recorder.statements();
        let drawn = sent.iter().filter(|text| text.contains("nextval") && text.contains("generate_series"));
        let copied = sent.iter().filter(|text| text.starts_with("COPY")).count();
        let expected = if db.backend() == DbBackend::Postgres { (1, 1) } else { (0, 0) };
        assert_eq!((drawn.count(), copied), expected, "{sent:?}");
    });
}

#[test]
fn f5_each_object_gets_its_own_key_whatever_order_the_answer_has() {
    on_all(async |db: Db| {
        if db.backend() == DbBackend::Postgres {
            // Rows of a partitioned table go to sixteen places, by a hash of the key.
            let parts: String = (0..16)
                .map(|n| {
                    format!("CREATE TABLE author_{n} PARTITION OF author FOR VALUES WITH (MODULUS 16, REMAINDER {n});")
                })
                .collect();
            let sql = format!(
                "DROP TABLE note_tag, note, author; CREATE TABLE author (id bigserial PRIMARY KEY, name text NOT NULL, born int) \
                 PARTITION BY HASH (id); {parts}"
            );
            behind_the_back(&db, &sql).await;
        }
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let authors: Vec<_> = (0..5_000).rev().map(|n| s.add(writer(&format!("w{n}")))).collect();
            s.flush().await?;
            let held = author::Entity::find().all(&*s).await?;
            let ids: std::collections::HashMap<String, i64> = held.into_iter().map(|a| (a.name, a.id)).collect();
            assert_eq!(ids.len(), 5_000);
            for author in authors {
                assert_eq!(ids.get(&author.name()), Some(&author.id()), "{}", author.name());
            }
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn f6_created_and_deleted_before_a_flush_sends_nothing() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let note = s.add(draft(1, "x"));
                let author = s.add(writer("ann"));
                note.set_parent(note::Relation::Author, &author)?;
                s.delete(&note);
                s.delete(&author);
                s.flush().await?;
                assert!(s.peek::<note::Entity>(1).is_none());
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(recorder.take(), Vec::<String>::new());
    });
}

#[test]
fn f7_no_autoflush_guards_a_stretch() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(1, "x"));
        {
            let quiet = s.no_autoflush();
            assert_eq!(note::Entity::find().count(&*quiet).await?, 0);
        }
        assert_eq!(note::Entity::find().count(&*s).await?, 1, "restored by its drop");
        s.add(draft(2, "y"));
        {
            let mut outer = s.no_autoflush();
            drop(outer.no_autoflush());
            assert_eq!(note::Entity::find().count(&*outer).await?, 1, "the inner guard does not end the outer stretch");
        }
        assert_eq!(note::Entity::find().count(&*s).await?, 2);
        Ok(())
    });
}

#[test]
fn f9_a_batch_that_fails_leaves_nothing_queued() {
    on_all(async |db: Db| {
        behind_the_back(&db, "INSERT INTO author (name) VALUES ('w50')").await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let failed = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    (0..100).for_each(|n| drop(s.add(writer(&format!("w{n}")))));
                    (0..100).for_each(|id| drop(s.add(draft(id, "x"))));
                    s.flush().await
                })
                .await
                .unwrap_err();
            assert!(failed.is_unique_violation(), "{failed}");
            assert!(!s.is_dirty());
            s.flush().await?;
            assert_eq!((author::Entity::find().count(&*s).await?, note::Entity::find().count(&*s).await?), (1, 0));
            s.add(draft(7, "after"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await, vec![(7, "after".to_owned())]);
    });
}

#[test]
fn f10_many_to_many_removes_first_ignores_duplicates_and_chunks() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let note = s.add(draft(1, "x"));
                let tags: Vec<_> =
                    (0..33_000).map(|n| s.add(tag::ActiveModel { name: Set(format!("t{n:05}")) })).collect();
                s.flush().await?;
                recorder.take();
                let junction = note.junction::<tag::Entity>();
                junction.attach(s, tags[..100].iter().chain(&tags[..50])).await?;
                junction.attach(s, &tags[..100]).await?;
                assert_eq!(writes(&recorder.take()), 2);
                let (old, new): (Vec<_>, Vec<_>) = (tags[..60].iter().collect(), tags[50..120].iter().collect());
                junction.change(s, &old, &new).await?;
                assert_eq!(writes(&recorder.take()), 2, "one statement each way");
                let held: Vec<String> = note_tag::Entity::find()
                    .order_by_asc(note_tag::Column::TagName)
                    .all(&*s)
                    .await?
                    .into_iter()
                    .map(|row| row.tag_name)
                    .collect();
                let expected: Vec<String> = (50..120).map(|n| format!("t{n:05}")).collect();
                assert_eq!(held, expected, "removes first: what is in both lists stays");
                // More pairs than the parameters of one statement (Z10).
                junction.attach(s, &tags).await?;
                assert_eq!(note_tag::Entity::find().count(&*s).await?, 33_000);
                junction.detach(s, &tags).await?;
                assert_eq!(note_tag::Entity::find().count(&*s).await?, 0);
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn f1_unique_values_are_freed_before_they_are_taken() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let [a, b, c] = ["a", "b", "c"].map(|name| s.add(writer(name)));
            s.flush().await?;
            // A chain of updates whose head takes from a delete and whose tail gives to an insert.
            s.delete(&c);
            b.set_name("c");
            a.set_name("b");
            let new = s.add(writer("a"));
            s.flush().await?;
            assert_eq!((a.name(), b.name(), new.name()), ("b".into(), "c".into(), "a".into()));
            // `name` may not be NULL, so a swap is named and not tried.
            a.set_name("c");
            b.set_name("b");
            let swap = s.atomic(async |s: &mut Session| s.flush().await).await.unwrap_err();
            assert!(matches!(swap.root(), Error::Cycle { .. }) && swap.to_string().contains("author"), "{swap}");
            Err(Error::Usage("undo".into()))
        })
        .await
        .unwrap_err();
    });
}

#[test]
fn f1_a_moved_primary_key_is_freed_before_it_is_taken() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let notes: Vec<_> = (1..=3).map(|id| s.add(draft(id, &format!("n{id}")))).collect();
            s.flush().await?;
            s.delete(&notes[2]);
            notes[1].set_id(3_i64);
            notes[0].set_id(2_i64);
            s.flush().await?;
            s.add(draft(1, "new"));
            Ok(())
        })
        .await
        .unwrap();
        let held = [(1, "new"), (2, "n1"), (3, "n2")].map(|(id, title)| (id, title.to_owned()));
        assert_eq!(notes_in_database(&db).await, held);
    });
}

#[test]
fn f1_rows_of_a_self_reference_parents_first_and_children_deleted_first() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        // Added child first, in a chain longer than any chunk.
        let notes: Vec<_> = (0..3_000).map(|id| s.add(draft(id, "x"))).collect();
        for pair in notes.windows(2) {
            pair[0].set_parent(note::Relation::Parent, &pair[1])?;
        }
        s.flush().await?;
        assert_eq!(note::Entity::find().filter(note::Column::ParentId.is_not_null()).count(&*s).await?, 2_999);
        notes.iter().rev().for_each(|note| s.delete(note));
        s.flush().await?;
        // A ring: opened through the nullable key, and opened again to be deleted.
        let ring: Vec<_> = (0..3).map(|id| s.add(draft(id, "ring"))).collect();
        for n in 0..3 {
            ring[n].set_parent(note::Relation::Parent, &ring[(n + 1) % 3])?;
        }
        s.flush().await?;
        for n in 0..3_i64 {
            let held = note::Entity::find_by_id(n).one(&*s).await?.map(|row| row.parent_id);
            assert_eq!(held, Some(Some((n + 1) % 3)));
        }
        ring.iter().for_each(|note| s.delete(note));
        s.flush().await?;
        assert_eq!(note::Entity::find().count(&*s).await?, 0);
        Ok(())
    });
}

#[test]
fn i2_a_row_switch_is_an_upsert_that_cascades_nothing() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let note = s.add(note::ActiveModel { status: Set("open".into()), ..draft(1, "old") });
            let child = s.add(draft(2, "child"));
            child.set_parent(note::Relation::Parent, &note)?;
            s.flush().await?;
            s.delete(&note);
            let new = s.add(draft(1, "new"));
            s.flush().await?;
            assert_eq!((new.title(), new.status()), ("new".into(), "draft".into()), "defaults come back");
            assert_eq!(note::Entity::find_by_id(2).one(&*s).await?.unwrap().parent_id, Some(1), "the child stays");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(title_in_database(&db, 1).await.as_deref(), Some("new"));
    });
}

/// Writing the first note takes long enough for somebody to come in between.
const SLOW_SQLITE: &str = "CREATE TRIGGER slow_{event} BEFORE {event} ON note WHEN NEW.id = 0 BEGIN SELECT count(*) FROM \
    (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000) SELECT n FROM c); END";
const SLOW_MARIADB: &str = "CREATE TRIGGER slow_{event} BEFORE {event} ON note FOR EACH ROW \
    BEGIN IF NEW.id = 0 THEN DO SLEEP(0.1); END IF; END";
const SLOW_POSTGRES: &str = "CREATE FUNCTION slow_{event}() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$; \
    CREATE TRIGGER slow_{event} BEFORE {event} ON note FOR EACH ROW WHEN (NEW.id = 0) EXECUTE FUNCTION slow_{event}()";

/// Polls `flush` until its first statement is on its way, makes `change`, and waits for its end.
async fn changed_meanwhile<T>(
    flush: impl Future<Output = Result<(), Error>>,
    change: impl FnOnce() -> T,
) -> Result<(), Error> {
    let mut flush = std::pin::pin!(flush);
    assert!(
        futures_util::poll!(flush.as_mut()).is_pending(),
        "the flush was over before anybody could come in between"
    );
    change();
    flush.await
}

#[test]
fn f3_a_change_made_while_a_flush_is_under_way_is_sent_by_its_next_round() {
    on_all(async |db: Db| {
        let slow = match db.backend() {
            DbBackend::Sqlite => SLOW_SQLITE,
            DbBackend::MySql => SLOW_MARIADB,
            _ => SLOW_POSTGRES,
        };
        for event in ["INSERT", "UPDATE"] {
            behind_the_back(&db, &slow.replace("{event}", event)).await;
        }
        for many in [1, 20, 1_000] {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                note::Entity::delete_many().exec(s).await?;
                let notes: Vec<_> = (0..many).map(|id| s.add(draft(id, "first"))).collect();
                changed_meanwhile(s.flush(), || notes[0].set_title("while inserted").set_status("late")).await?;
                let held = note::Entity::find_by_id(0).one(s).await?.unwrap();
                assert_eq!((held.title.as_str(), held.status.as_str(), held.version), ("while inserted", "late", 2));
                assert_eq!((notes[0].title(), notes[0].version()), (held.title, held.version));

                for note in &notes {
                    note.set_title("second");
                }
                changed_meanwhile(s.flush(), || notes[0].set_title("while updated")).await?;
                let held = note::Entity::find_by_id(0).one(s).await?.unwrap();
                assert_eq!((held.title.as_str(), held.status.as_str(), held.version), ("while updated", "late", 4));
                assert_eq!((notes[0].title(), notes[0].version()), (held.title, held.version));
                Ok(())
            })
            .await
            .unwrap();
        }
    });
}
