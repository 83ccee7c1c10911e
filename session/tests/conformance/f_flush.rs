//! The flush (F).

use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use sea_session::{Error, Session, prelude::*};

use crate::support::*;

#[test]
fn a_design_example_runs() {
    on_both(async |db: Db| {
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
