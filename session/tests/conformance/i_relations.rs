//! Relations of many parents at once (I8), through the identity map.

use std::collections::HashMap;

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder};
use sea_session::{Error, Session, prelude::*};

use super::{i_identity::tag, s_objects::Logged};
use crate::support::*;

#[test]
fn i8_a_relation_of_many_parents_is_one_statement() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let authors: Vec<_> = (0..30).map(|i| s.add(writer(&format!("w{i}")))).collect();
        for (i, author) in authors.iter().enumerate().take(29) {
            for n in 0..2 {
                let note = s.add(draft((i * 2 + n) as i64, "one"));
                note.set_parent(note::Relation::Author, author)?;
            }
        }
        let labels = [s.add(tag("red")), s.add(tag("blue"))];
        s.flush().await?;

        let before = s.stats().statements;
        let notes = s.load_related(&authors, note::Entity).await?;
        assert_eq!(s.stats().statements - before, 1);
        assert_eq!(notes.len(), 30);
        assert!(notes[..29].iter().all(|some| some.len() == 2) && notes[29].is_empty());
        for (author, some) in authors.iter().zip(&notes) {
            assert!(some.iter().all(|note| note.author_id() == Some(author.id())));
        }

        let all: Vec<_> = notes.into_iter().flatten().collect();
        let before = s.stats().statements;
        let parents = s.load_related(&all, author::Entity).await?;
        assert_eq!(s.stats().statements - before, 1);
        assert!(Tracked::ptr_eq(&parents[0][0], &parents[1][0]), "through the map");

        all[0].junction::<tag::Entity>().attach(s, &labels).await?;
        all[1].junction::<tag::Entity>().attach(s, &labels[..1]).await?;
        let before = s.stats().statements;
        let tags = s.load_related(&all[..3], tag::Entity).await?;
        assert!(s.stats().statements - before <= 2, "the junction and the tags");
        assert_eq!(tags.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 0]);
        Ok(())
    });
}

#[test]
fn i8_a_relation_of_more_parents_than_a_statement_has_parameters() {
    on_all(async |db: Db| {
        const MANY: i64 = 33_000;
        let numbers = numbers(MANY);
        behind_the_back(&db, &format!("{numbers} INSERT INTO author (id, name) SELECT i, 'author ' || i FROM n")).await;
        let columns = "(id, author_id, title, version, updated_at)";
        let notes =
            format!("INSERT INTO note {columns} SELECT id, id, 't', 1, '2026-01-01 00:00:00+00:00' FROM author");
        behind_the_back(&db, &notes).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let authors = author::Entity::find().order_by_asc(author::Column::Id).load(s).await?;
            let before = s.stats().statements;
            let notes = s.load_related(&authors, note::Entity).await?;
            assert_eq!(notes.len(), authors.len());
            assert!(authors.iter().zip(&notes).all(|(author, notes)| notes.len() == 1 && notes[0].id() == author.id()));
            let all: Vec<_> = notes.into_iter().flatten().collect();
            let parents = s.load_related(&all, author::Entity).await?;
            assert!(authors.iter().zip(&parents).all(|(author, found)| Tracked::ptr_eq(author, &found[0])));
            let sent = s.stats().statements - before;
            assert!(sent <= 8, "{sent} statements for {MANY} parents, and back");
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn i8_a_relation_through_a_junction_to_more_rows_than_a_statement_has_parameters() {
    on_all(async |db: Db| {
        const MANY: i64 = 33_000;
        let numbers = numbers(MANY);
        behind_the_back(&db, &format!("{numbers} INSERT INTO tag (name) SELECT 't' || i FROM n")).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let notes: Vec<_> = (0..3).map(|id| s.add(draft(id, "n"))).collect();
            s.flush().await?;
            // The first has every tag, the second one in a thousand, the third none.
            for sql in [
                "INSERT INTO note_tag (note_id, tag_name) SELECT 0, name FROM tag",
                "INSERT INTO note_tag (note_id, tag_name) SELECT 1, name FROM tag WHERE name LIKE '%000'",
            ] {
                s.execute_unprepared(sql).await?;
            }
            let before = s.stats().statements;
            let tags = s.load_related(&notes, tag::Entity).await?;
            let sent = s.stats().statements - before;
            assert_eq!(tags.iter().map(Vec::len).collect::<Vec<_>>(), [33_000, 33, 0]);
            assert!(sent <= 5, "{sent} statements: the pairs, and the tags in parts");
            let of_all: HashMap<String, _> = tags[0].iter().map(|tag| (tag.name(), tag)).collect();
            assert!(tags[1].iter().all(|tag| Tracked::ptr_eq(tag, of_all[&tag.name()])), "one row, one object");
            Ok(())
        })
        .await
        .unwrap();
    });
}

/// What a program would declare whose tables are in a schema of their own.
mod library {
    pub mod book {
        use sea_orm::entity::prelude::*;
        use sea_session::Tracked;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
        #[sea_orm(schema_name = "library", table_name = "book")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub id: i64,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl Related<super::shelf::Entity> for Entity {
            fn to() -> RelationDef {
                super::placed::Relation::Shelf.def()
            }

            fn via() -> Option<RelationDef> {
                Some(super::placed::Relation::Book.def().rev())
            }
        }

        impl ActiveModelBehavior for ActiveModel {}
    }

    pub mod shelf {
        use sea_orm::entity::prelude::*;
        use sea_session::Tracked;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
        #[sea_orm(schema_name = "library", table_name = "shelf")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub room: i32,
            #[sea_orm(primary_key, auto_increment = false)]
            pub place: String,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    }

    pub mod placed {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
        #[sea_orm(schema_name = "library", table_name = "placed")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub book_id: i64,
            #[sea_orm(primary_key, auto_increment = false)]
            pub room: i32,
            #[sea_orm(primary_key, auto_increment = false)]
            pub place: String,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {
            #[sea_orm(belongs_to = "super::book::Entity", from = "Column::BookId", to = "super::book::Column::Id")]
            Book,
            #[sea_orm(
                belongs_to = "super::shelf::Entity",
                from = "(Column::Room, Column::Place)",
                to = "(super::shelf::Column::Room, super::shelf::Column::Place)"
            )]
            Shelf,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }
}

/// PostgreSQL only: what SQLite calls a schema is another file, attached to one connection.
#[test]
fn i8_f10_a_junction_in_a_schema_of_its_own_to_a_key_of_two_columns() {
    use library::{book, shelf};
    on_postgres(async |db: Db| {
        behind_the_back(
            &db,
            "CREATE SCHEMA library; CREATE TABLE library.book (id bigint PRIMARY KEY); \
             CREATE TABLE library.shelf (room int, place text, PRIMARY KEY (room, place)); \
             CREATE TABLE library.placed (book_id bigint REFERENCES library.book, room int, place text, \
             PRIMARY KEY (book_id, room, place), FOREIGN KEY (room, place) REFERENCES library.shelf)",
        )
        .await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let books: Vec<_> = (1..=3).map(|id| s.add(book::ActiveModel { id: Set(id) })).collect();
            let shelves: Vec<_> = [(1, "a"), (1, "b"), (2, "a")]
                .map(|(room, place)| s.add(shelf::ActiveModel { room: Set(room), place: Set(place.to_owned()) }))
                .into();
            books[0].junction::<shelf::Entity>().attach(s, &shelves).await?;
            books[1].junction::<shelf::Entity>().attach(s, &shelves[2..]).await?;
            books[0].junction::<shelf::Entity>().detach(s, &shelves[..1]).await?;
            let before = s.stats().statements;
            let found = s.load_related(&books, shelf::Entity).await?;
            assert_eq!(
                s.stats().statements - before,
                1,
                "the pairs, matched by the database; the shelves are in the map"
            );
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 0]);
            assert!(found[0].iter().any(|shelf| Tracked::ptr_eq(shelf, &shelves[1])));
            assert!(Tracked::ptr_eq(&found[1][0], &shelves[2]));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn i8_parents_that_wait_for_their_keys_are_flushed_first() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let author = s.add(writer("ann"));
        let note = s.add(draft(1, "one"));
        note.set_parent(note::Relation::Author, &author)?;
        let notes = s.load_related(std::slice::from_ref(&author), note::Entity).await?;
        assert!(Tracked::ptr_eq(&notes[0][0], &note));
        Ok(())
    });
}

#[test]
fn i8_a_repeated_lazy_load_is_reported_once_as_n_plus_one() {
    let logged = Logged::new();
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let authors: Vec<_> = (0..40).map(|i| s.add(writer(&format!("w{i}")))).collect();
        s.flush().await?;
        let before = s.stats().statements;
        for author in &authors {
            assert!(author.related::<note::Entity>(s).await?.is_empty());
        }
        assert_eq!(s.stats().statements - before, 40);
        Ok(())
    });
    assert_eq!(logged.take("N+1"), 3 * backends().count(), "once in each way on each backend");
}

#[test]
fn i8_a_set_based_load_is_not_reported() {
    let logged = Logged::new();
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let authors: Vec<_> = (0..40).map(|i| s.add(writer(&format!("w{i}")))).collect();
        s.flush().await?;
        s.load_related(&authors, note::Entity).await?;
        authors[0].related::<note::Entity>(s).await?;
        Ok(())
    });
    assert_eq!(logged.take("N+1"), 0);
}
