//! A graph of objects: written in one flush, read in a statement a step: `cargo run --example graph`.
//!
//! ```text
//! 2 authors, 4 books, 8 reviews in one flush of 3 INSERTs
//! Ada
//!   Ada's first    (good, long)
//!   Ada's second   (good, long)
//! Grace
//!   Grace's first  (good, long)
//!   Grace's second (good, long)
//! 3 SELECTs for 14 objects
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]

use std::fmt::Write;

use sea_orm::{ActiveValue::Set, QueryOrder, entity::prelude::*};
use sea_session::{Recorder, prelude::*, testing::create_table};

mod author {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "author")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many)]
        pub books: HasMany<super::book::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod book {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "book")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub author_id: i64,
        pub title: String,
        #[sea_orm(belongs_to, from = "author_id", to = "id")]
        pub author: BelongsTo<super::author::Entity>,
        #[sea_orm(has_many)]
        pub reviews: HasMany<super::review::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod review {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "review")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub book_id: i64,
        pub text: String,
        #[sea_orm(belongs_to, from = "book_id", to = "id")]
        pub book: BelongsTo<super::book::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// How many of the recorded messages begin so.
fn count(sent: &[String], verb: &str) -> usize {
    sent.iter().filter(|sql| sql.starts_with(verb)).count()
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, author::Entity).await?;
    create_table(&db, book::Entity).await?;
    create_table(&db, review::Entity).await?;
    let recorder = Recorder::new();
    let mut out = String::new();

    // Nobody has a key yet: the children follow their parents.
    db.session()
        .record(&recorder)
        .run(async |s: &mut Session| -> Result<(), SessionError> {
            for name in ["Ada", "Grace"] {
                let author = s.add(author::ActiveModel { name: Set(name.into()), ..Default::default() });
                for which in ["first", "second"] {
                    let title = format!("{name}'s {which}");
                    let book = s.add(book::ActiveModel { title: Set(title), ..Default::default() });
                    book.set_author(&author)?;
                    for text in ["good", "long"] {
                        let review = s.add(review::ActiveModel { text: Set(text.into()), ..Default::default() });
                        review.set_book(&book)?;
                    }
                }
            }
            Ok(())
        })
        .await?;
    let inserts = count(&recorder.take(), "INSERT");
    writeln!(out, "2 authors, 4 books, 8 reviews in one flush of {inserts} INSERTs")?;

    let shown = db
        .session()
        .read_only()
        .record(&recorder)
        .run(async |s: &mut Session| -> Result<String, SessionError> {
            let mut shown = String::new();
            let with_books =
                author::Entity::find().order_by_asc(author::Column::Id).with(book::Entity.then(review::Entity));
            for author in with_books.load(s).await? {
                shown += &format!("{}\n", author.name());
                for book in author.books(s).await? {
                    let texts: Vec<String> = book.reviews(s).await?.iter().map(|review| review.text()).collect();
                    shown += &format!("  {:<14} ({})\n", book.title(), texts.join(", "));
                }
            }
            Ok(shown + &format!("{} SELECTs for {} objects\n", s.stats().statements, s.tracked()))
        })
        .await?;
    out += &shown;
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
