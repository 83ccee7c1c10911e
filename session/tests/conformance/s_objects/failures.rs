//! What a failure makes of objects and blocks (S8, S9, S10).

use super::*;

#[test]
fn s8_a_failed_flush_restores_memory_at_once_names_the_row_and_the_savepoint_alone_revives_the_unit() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let ann = s.add(writer("ann"));
        let note = s.add(draft(1, "one"));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                note.set_title("flushed before the failure");
                s.flush().await?;
                let twin = s.add(writer("ann"));
                ann.set_born(Some(1900));
                let failed = s.flush().await.unwrap_err();
                assert!(failed.is_unique_violation(), "{failed}");
                let text = failed.to_string();
                assert!(text.contains("author"), "it names the entity: {text}");
                assert!(failed.constraint().is_some_and(|name| name.contains("name")), "the constraint: {failed:?}");

                assert_eq!((note.title(), ann.born()), ("one".to_owned(), None), "memory is back at once");
                assert_eq!(s.state(&twin), State::Transient);
                let refused = s.flush().await;
                assert!(refused.is_ok(), "nothing is dirty, so there is nothing to refuse");
                let refused = note::Entity::find().all(s).await.map_err(Error::from).unwrap_err();
                assert!(matches!(&refused, Error::Refused { .. }), "A8 until the block is left: {refused}");
                assert!(refused.to_string().contains("author"), "with the first cause: {refused}");
                Err(failed)
            })
            .await;
        assert!(outcome.unwrap_err().is_unique_violation());
        assert_eq!(table(s).await?, [(1, "one".to_owned())], "the outer transaction lives");
        note.set_title("uno");
        s.flush().await?;
        assert_eq!(table(s).await?, [(1, "uno".to_owned())]);
        Ok(())
    });
}

#[test]
fn s8_a_failed_flush_names_the_key_of_the_row() {
    on_all(async |db: Db| {
        let failed = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                row(s, 7, "there already").await?;
                s.add(draft(7, "the same key"));
                s.flush().await
            })
            .await
            .unwrap_err();
        assert!(failed.is_unique_violation());
        assert!(failed.to_string().contains("note 7"), "{failed}");
    });
}

#[test]
fn s8_a_failed_flush_of_the_whole_unit_puts_objects_back_and_a_manual_savepoint_repairs_it() {
    on_all(async |db: Db| {
        let mut s = db.begin().await.unwrap();
        s.add(writer("ann"));
        let savepoint = s.savepoint().await.unwrap();
        let twin = s.add(writer("ann"));
        assert!(s.flush().await.unwrap_err().is_unique_violation());
        assert_eq!(s.state(&twin), State::Transient);
        assert!(author::Entity::find().all(&s).await.is_err());
        s.rollback_to(savepoint).await.unwrap();
        twin.set_name("bob");
        s.add_again(&twin).unwrap();
        s.commit().await.unwrap();
        assert_eq!(author::Entity::find().all(db.connection()).await.unwrap().len(), 2);
    });
}

#[test]
fn s9_changes_between_a_failure_and_its_rollback_are_dropped_with_a_warning() {
    let logged = Logged::new();
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(writer("ann"));
        let note = s.add(draft(1, "one"));
        s.flush().await?;
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(writer("ann"));
                s.flush().await.unwrap_err();
                note.set_title("too late");
                s.delete(&note);
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
        assert_eq!((note.title(), s.state(&note)), ("one".to_owned(), State::Persistent));
        assert!(!s.is_dirty());
        assert_eq!(table(s).await?, [(1, "one".to_owned())]);
        Ok(())
    });
    assert_eq!(
        logged.take("were dropped with the rollback of their block (S9)"),
        3 * backends().count(),
        "once in each way on each backend"
    );
}

#[test]
fn s9_changes_under_a_flag_that_is_taken_back_are_sent_once() {
    on_all(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.set_rollback(true)?;
            let author = s.add(writer("ann"));
            assert!(matches!(s.flush().await, Err(Error::Refused { .. })));
            author.set_born(Some(1900));
            s.set_rollback(false)?;
            s.flush().await
        })
        .await
        .unwrap();
        assert_eq!(author::Entity::find().all(db.connection()).await.unwrap().len(), 1);
    });
}

#[test]
fn s10_memory_is_restored_also_if_rollback_to_fails() {
    on_all(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                let note = s.add(draft(1, "one"));
                s.flush().await?;
                let inner = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        note.set_title("ONE");
                        s.add(draft(2, "two"));
                        s.flush().await?;
                        // The savepoint goes with the transaction, behind the session's back.
                        sea_session::testing::send_unchecked(s, "ROLLBACK").await?;
                        Err(changed_my_mind())
                    })
                    .await;
                assert!(matches!(inner, Err(Error::Usage(_))), "the first cause is the body's: {inner:?}");
                assert_eq!((note.title(), s.state(&note)), ("one".to_owned(), State::Persistent));
                let refused = s.flush().await.and(note::Entity::find().all(s).await.map(|_| ()).map_err(Error::from));
                assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::TransactionEnded { .. })), "{outcome:?}");
        assert_eq!(notes_in_database(&db).await, vec![]);
    });
}
