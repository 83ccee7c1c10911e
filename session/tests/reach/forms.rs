//! E3: what a form sends back, as a model or as a type of the application's own (`DeriveIntoActiveModel`).

use sea_orm::{DeriveIntoActiveModel, IntoActiveModel, Set, entity::prelude::*};
use sea_session::{Error, Session, prelude::*};

mod recipe {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "recipe")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
        pub text: Option<String>,
        #[tracked(read_only)]
        pub author: String,
        #[tracked(version)]
        pub version: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

use recipe::ActiveModel;

/// What a form shows and sends back: the row as it was read, with its version.
#[derive(Clone, DeriveIntoActiveModel)]
struct EditForm {
    id: i64,
    title: String,
    version: i32,
}

/// What a request changes: a column that is not there stays.
#[derive(Clone, Default, DeriveIntoActiveModel)]
struct Changes {
    title: Option<String>,
    text: Option<Option<String>>,
}

/// A form that knows no version.
#[derive(Clone, DeriveIntoActiveModel)]
struct Blind {
    id: i64,
    title: String,
}

#[derive(Clone, DeriveIntoActiveModel)]
struct NewRecipe {
    title: String,
    author: String,
}

async fn soup(s: &mut Session) -> Result<Tracked<recipe::Entity>, Error> {
    let soup = s.add(ActiveModel {
        title: Set("soup".into()),
        text: Set(Some("boil".into())),
        author: Set("ann".into()),
        ..Default::default()
    });
    s.flush().await?;
    Ok(soup)
}

#[session_test(sqlite, postgres, tables = [recipe::Entity])]
async fn e3_a_form_is_merged_and_what_it_has_not_stays(s: &mut Session) -> Result<(), Error> {
    let soup = soup(s).await?;
    let form = EditForm { id: soup.id(), title: "stew".into(), version: soup.version() };
    let merged = s.merge::<recipe::Entity>(form.clone()).await?;
    assert!(Tracked::ptr_eq(&merged, &soup));
    assert_eq!(soup.changed(), ["title"]);
    s.flush().await?;
    let row = recipe::Entity::find_by_id(soup.id()).one(s).await?.expect("it is there");
    assert_eq!((row.title.as_str(), row.text.as_deref(), row.author.as_str()), ("stew", Some("boil"), "ann"));

    // The form was read before that change.
    let stale = s.merge::<recipe::Entity>(form).await;
    assert!(matches!(stale, Err(Error::Stale { expected: Some(1), found: Some(2), .. })), "{stale:?}");
    // One that brings no version cannot be told from such a one.
    let blind = s.merge::<recipe::Entity>(Blind { id: soup.id(), title: "blind".into() }).await;
    assert!(matches!(&blind, Err(Error::Usage(text)) if text.contains("`patch`")), "{blind:?}");
    assert_eq!(soup.title(), "stew");
    Ok(())
}

#[session_test(sqlite, postgres, tables = [recipe::Entity])]
async fn e3_a_form_without_a_row_is_a_new_row_unless_it_was_read_from_one(s: &mut Session) -> Result<(), Error> {
    let new = s.merge::<recipe::Entity>(NewRecipe { title: "cake".into(), author: "bob".into() }).await?;
    s.flush().await?;
    assert_eq!((new.title().as_str(), new.author().as_str(), new.version()), ("cake", "bob", 1));
    let gone = s.merge::<recipe::Entity>(EditForm { id: 99, title: "gone".into(), version: 2 }).await;
    assert!(matches!(gone, Err(Error::Stale { expected: Some(2), found: None, .. })), "{gone:?}");
    Ok(())
}

#[session_test(sqlite, postgres, tables = [recipe::Entity])]
async fn e3_changes_are_patched_and_nothing_else(s: &mut Session) -> Result<(), Error> {
    let soup = soup(s).await?;
    let id = soup.id();
    let patched = s.patch::<recipe::Entity>(id, Changes { text: Some(None), ..Default::default() }).await?;
    assert!(patched.is_some_and(|patched| Tracked::ptr_eq(&patched, &soup)));
    assert_eq!((soup.changed(), soup.text()), (vec!["text"], None));
    s.patch::<recipe::Entity>(id, Changes { title: Some("stew".into()), ..Default::default() }).await?;
    s.patch::<recipe::Entity>(id, Changes::default()).await?;
    assert_eq!((soup.title().as_str(), soup.text()), ("stew", None));
    // A form's version is the one that the row must have here as well.
    let old = EditForm { id, title: "old".into(), version: 7 };
    let stale = s.patch::<recipe::Entity>(id, old.clone()).await;
    assert!(matches!(stale, Err(Error::Stale { expected: Some(7), found: Some(1), .. })), "{stale:?}");
    // An active model is taken as before, and nothing is ever inserted.
    let changes = old.into_active_model();
    assert!(s.patch::<recipe::Entity>(99, changes).await?.is_none());
    Ok(())
}

#[session_test(sqlite, postgres, tables = [recipe::Entity])]
async fn e3_a_form_goes_back_with_its_block(s: &mut Session) -> Result<(), Error> {
    let soup = soup(s).await?;
    let form = EditForm { id: soup.id(), title: "stew".into(), version: 1 };
    let undone = s
        .atomic(async |s: &mut Session| -> Result<(), Error> {
            s.merge::<recipe::Entity>(form.clone()).await?;
            s.patch::<recipe::Entity>(form.id, Changes { text: Some(None), ..Default::default() }).await?;
            s.flush().await?;
            assert_eq!(soup.version(), 2);
            Err(Error::Usage("undo".into()))
        })
        .await;
    assert!(undone.is_err());
    assert_eq!((soup.title().as_str(), soup.text().as_deref(), soup.version()), ("soup", Some("boil"), 1));
    Ok(())
}
