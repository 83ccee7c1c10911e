// The tables that the examples of the documentation use. Each example includes this file, and so do the book's.

#[allow(unused_imports)]
use sea_orm::{ActiveValue::Set, entity::prelude::*};
#[allow(unused_imports)]
use sea_session::{Error, prelude::*, testing::create_table};

/// Who wrote a note.
#[allow(missing_docs)]
pub mod author {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "author")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::note::Entity")]
        Notes,
    }

    impl Related<super::note::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Notes.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A note, with an optimistic lock and a time of its last change.
#[allow(missing_docs)]
pub mod note {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub author_id: Option<i64>,
        pub title: String,
        #[sea_orm(default_value = 0)]
        pub stars: i32,
        #[tracked(version)]
        pub version: i32,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::author::Entity", from = "Column::AuthorId", to = "super::author::Column::Id")]
        Author,
    }

    impl Related<super::author::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Author.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A new note.
pub fn draft(title: &str) -> note::ActiveModel {
    note::ActiveModel { title: Set(title.to_owned()), ..Default::default() }
}

/// An embedded database with these tables, and one note: key 1, titled "first".
pub async fn example() -> Result<Db, Error> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, author::Entity).await?;
    create_table(&db, note::Entity).await?;
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft("first"));
        Ok(())
    })
    .await?;
    Ok(db)
}
