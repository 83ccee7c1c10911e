//! Columns that an expression sets (U2).

use super::*;

#[test]
fn u2_set_expr_sends_the_expression_and_reads_the_value_back() {
    on_both(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Done {
                let notes: Vec<_> = (1..=5).map(|id| s.add(draft(id, "a note"))).collect();
                let new = notes[0].set_expr(note::Column::Views, one_more());
                assert!(matches!(new, Err(Error::Usage(_))), "it is no row yet: {new:?}");
                s.flush().await?;
                recorder.take();
                for note in &notes {
                    note.set_expr(note::Column::Views, one_more())?;
                }
                assert_eq!((notes[0].views(), notes[0].changed()), (0, vec!["views"]));
                s.flush().await?;
                let sent = recorder.take();
                assert_eq!(sent.len(), 1, "{sent:?}");
                assert!(sent[0].contains("\"views\" + "), "{sent:?}");
                assert!(notes.iter().all(|note| note.views() == 1 && note.version() == 2 && note.changed().is_empty()));
                // A value that is set afterwards replaces it, and other changes go along.
                notes[0].set_expr(note::Column::Views, one_more())?;
                notes[0].set_views(70);
                notes[1].set_expr(note::Column::Views, one_more())?;
                notes[1].set_title("other".to_owned());
                notes[2].set_views(10);
                notes[2].set_expr(note::Column::Views, one_more())?;
                s.flush().await?;
                let views: Vec<i32> = notes.iter().map(|note| note.views()).collect();
                assert_eq!(views, [70, 2, 11, 1, 1]);
                assert!(notes[..3].iter().all(|note| note.version() == 3));
                for column in [note::Column::Id, note::Column::Version] {
                    assert!(matches!(notes[0].set_expr(column, Expr::value(9)), Err(Error::Usage(_))));
                }
                Ok(())
            })
            .await
            .unwrap();
        let rows = note::Entity::find().order_by_asc(note::Column::Id).all(db.connection()).await.unwrap();
        assert_eq!(
            rows.iter().map(|note| (note.views, note.version)).collect::<Vec<_>>(),
            [(70, 3), (2, 3), (11, 3), (1, 2), (1, 2)]
        );
        assert_eq!(rows[1].title, "other");
    });
}

#[test]
fn u2_an_expression_goes_back_with_its_block() {
    three_ways(async |s: &mut Session| -> Done {
        let note = s.add(draft(1, "first"));
        s.flush().await?;
        for flushed in [true, false] {
            let outcome = s
                .atomic(async |s: &mut Session| -> Done {
                    note.set_expr(note::Column::Views, one_more())?;
                    if flushed {
                        s.flush().await?;
                        assert_eq!(note.views(), 1);
                    }
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(outcome.is_err());
            s.flush().await?;
            assert_eq!((note.views(), note.version()), (0, 1));
            assert!(note.changed().is_empty());
        }
        note.set_expr(note::Column::Title, Expr::cust("upper(title)"))?;
        s.refresh(&note).await?;
        s.flush().await?;
        assert_eq!(note.title(), "first", "a refresh drops what was not sent");
        note.set_expr(note::Column::Title, Expr::cust("upper(title)"))?;
        let found = note::Entity::find().filter(note::Column::Title.eq("FIRST")).load(s).await?;
        assert!(Tracked::ptr_eq(&found[0], &note) && note.title() == "FIRST");
        Ok(())
    });
}

#[test]
fn u2_an_expression_on_a_row_that_others_changed_is_stale() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            s.add(draft(1, "first"));
            s.add(draft(2, "second"));
            Ok(())
        })
        .await
        .unwrap();
        let mut s = db.begin().await.unwrap();
        let (first, second) =
            (s.get::<note::Entity>(1).await.unwrap().unwrap(), s.get::<note::Entity>(2).await.unwrap().unwrap());
        // Past the map, as a statement of somebody else's.
        s.execute_unprepared("UPDATE note SET version = 7 WHERE id = 2").await.unwrap();
        first.set_expr(note::Column::Views, one_more()).unwrap();
        second.set_expr(note::Column::Views, one_more()).unwrap();
        let outcome = s.flush().await;
        assert!(
            matches!(&outcome, Err(Error::Stale { key, expected: Some(1), found: Some(7), .. }) if &**key == "2"),
            "{outcome:?}"
        );
        assert_eq!((first.views(), first.version()), (0, 1));
        s.rollback().await.unwrap();
    });
}
