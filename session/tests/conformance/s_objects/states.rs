//! The states of an object, tried cell by cell, and what is left of it after its unit (S3, S4, S7, S12).

use super::*;

#[test]
fn s12_after_the_unit_its_objects_are_detached_readable_and_never_sent() {
    let logged = Logged::new();
    on_all(async |db: Db| {
        let committed =
            db.run(async |s: &mut Session| -> Result<_, Error> { Ok(s.add(draft(1, "one"))) }).await.unwrap();
        assert_eq!((committed.state(), committed.title(), committed.version()), (State::Detached, "one".to_owned(), 1));
        logged.take("");
        committed.set_title("too late");
        assert_eq!(logged.take("after its unit of work had ended; the change is not sent (S12)"), 1);

        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.delete(&committed);
                s.flush().await
            })
            .await
            .unwrap();
        assert_eq!(recorder.take(), Vec::<String>::new());
        assert_eq!(notes_in_database(&db).await, vec![(1, "one".to_owned())]);

        let mut s = db.begin().await.unwrap();
        let (loaded, added) = (s.get::<note::Entity>(1_i64).await.unwrap().unwrap(), s.add(draft(2, "two")));
        loaded.set_title("uno");
        s.flush().await.unwrap();
        s.rollback().await.unwrap();
        assert_eq!((loaded.state(), loaded.title()), (State::Detached, "one".to_owned()));
        assert_eq!((added.state(), added.title()), (State::Transient, "two".to_owned()));
        assert!(s.get::<note::Entity>(1_i64).await.is_err(), "the session cannot be used again");
        assert!(s.try_add(draft(3, "three")).is_err());
    });
}

#[test]
fn s12_a_late_write_panics_in_a_strict_unit() {
    on_all(async |db: Db| {
        let note = db
            .session()
            .strict()
            .run(async |s: &mut Session| -> Result<_, Error> { Ok(s.add(draft(1, "one"))) })
            .await
            .unwrap();
        let late = catch_unwind(AssertUnwindSafe(|| drop(note.set_title("too late").clone())));
        assert!(late.is_err());
        assert_eq!(note.title(), "one", "reading stays possible, and the write did not happen");
        behind_the_back(&db, "DELETE FROM note").await;
    });
}

/// What the object held when it expired is not what the row held when the block was entered (D8).
#[test]
fn s5_an_object_that_expired_before_a_block_is_asked_for_again_after_its_rollback() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                let note = s.add(draft(1, "first"));
                s.flush().await?;
                s.execute_unprepared("UPDATE note SET title = 'behind' WHERE id = 1").await?;
                s.expire(&note);
                let undone = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.get::<note::Entity>(1_i64).await?;
                        assert_eq!(note.title(), "behind");
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(undone.is_err());
                assert!(s.peek::<note::Entity>(1_i64).is_none(), "what it holds is not known");
                s.get::<note::Entity>(1_i64).await?;
                assert_eq!(note.title(), "behind");

                // What expired inside the block was known before it, and is known again without a query.
                let undone = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.execute_unprepared("UPDATE note SET title = 'tentative' WHERE id = 1").await?;
                        s.expire(&note);
                        s.atomic(async |s: &mut Session| -> Result<(), Error> {
                            s.get::<note::Entity>(1_i64).await.map(drop)
                        })
                        .await?;
                        assert_eq!(note.title(), "tentative");
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(undone.is_err());
                recorder.take();
                assert!(s.get::<note::Entity>(1_i64).await?.is_some_and(|same| Tracked::ptr_eq(&same, &note)));
                assert_eq!((note.title(), recorder.take()), ("behind".to_owned(), Vec::<String>::new()));
                Ok(())
            })
            .await
            .unwrap();
    });
}

/// Brings an object into a state. Row 1 is there, and its object is in the map.
async fn object_in(state: State, s: &mut Session) -> Result<Tracked<note::Entity>, Error> {
    let note = match state {
        State::Transient | State::Pending => s.add(draft(2, "new")),
        _ => s.get::<note::Entity>(1_i64).await?.unwrap(),
    };
    match state {
        State::Transient | State::Deleted => s.delete(&note),
        State::Detached => s.expunge(&note),
        _ => {}
    }
    Ok(note)
}

/// Tries one cell of the table in a unit of its own.
async fn try_cell(db: &Db, cell: &StateCell) -> Result<(), Error> {
    let mut s = db.begin().await?;
    s.get::<note::Entity>(1_i64).await?;
    let before = s.savepoint().await?;
    let note = object_in(cell.state, &mut s).await?;
    assert_eq!(note.state(), cell.state);
    let tried = match cell.operation {
        Operation::Set => note.set(note::Column::Title, "changed"),
        Operation::Flush => s.flush().await,
        Operation::Delete => {
            s.delete(&note);
            Ok(())
        }
        Operation::Expunge => {
            s.expunge(&note);
            Ok(())
        }
        Operation::Refresh => s.refresh(&note).await,
        Operation::AddAgain => s.add_again(&note),
        Operation::RollbackTo => s.rollback_to(before).await,
        Operation::Commit => s.commit().await,
        Operation::Rollback => s.rollback().await,
    };
    assert_eq!(tried.is_ok(), cell.next.is_some(), "{cell:?}: {tried:?}");
    assert_eq!(note.state(), cell.next.unwrap_or(cell.state), "{cell:?}");
    if let Err(refused) = tried {
        assert!(matches!(refused, Error::Usage(_)), "{cell:?}: {refused}");
    }
    Ok(())
}

#[test]
fn s3_s4_s7_s12_every_cell_of_the_state_table_is_tried() {
    on_all(async |db: Db| {
        for cell in STATE_TABLE {
            behind_the_back(&db, "DELETE FROM note").await;
            db.run(async |s: &mut Session| -> Result<(), Error> { row(s, 1, "one").await }).await.unwrap();
            try_cell(&db, cell).await.unwrap();
        }
    });
}

#[test]
fn s12_an_object_of_another_unit_is_not_read_again() {
    on_all(async |db: Db| {
        let foreign = db.run(async |s: &mut Session| -> Result<_, Error> { Ok(s.add(draft(1, "one"))) }).await.unwrap();
        let outcome = db.run(async |s: &mut Session| -> Result<(), Error> { s.refresh(&foreign).await }).await;
        assert!(matches!(outcome, Err(Error::Usage(_))), "{outcome:?}");
    });
}
