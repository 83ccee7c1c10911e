//! Two people edit one recipe: `cargo run --example edit_form`.
//!
//! What a form shows goes out in one request and comes back in another. `merge` takes it back under the version that
//! was shown, and refuses it if somebody was faster. `patch` changes single columns, where no version was shown.
//!
//! ```text
//! both read:        Soup, version 1
//! Ada saves:        Onion soup, version 2
//! Grace saves:      stale recipe 1: version 1 was loaded, the database holds 2 (see errors/stale)
//! Grace again:      Onion soup with bread, version 3
//! a vote (patch):   Onion soup with bread, 1 vote, version 4
//! a vote for none:  there is no recipe 9
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]
#![allow(missing_docs, reason = "a program has no interface")]

use std::fmt::Write;

use anyhow::Context;
use sea_orm::{ActiveValue::Set, DeriveIntoActiveModel, entity::prelude::*};
use sea_session::{prelude::*, testing::create_table};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "recipe")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub title: String,
    pub votes: i32,
    #[tracked(version)]
    pub version: i32,
}

impl ActiveModelBehavior for ActiveModel {}

/// What the form shows, and sends back.
#[derive(Clone, DeriveIntoActiveModel)]
struct Form {
    id: i64,
    title: String,
    version: i32,
}

/// What a click on a button changes.
#[derive(DeriveIntoActiveModel)]
struct Vote {
    votes: i32,
}

/// Shows the form.
#[db_session(read_only)]
async fn show(s: &mut Session, id: i64) -> anyhow::Result<Form> {
    let recipe = s.get::<Entity>(id).await?.context("the recipe")?;
    Ok(Form { id, title: recipe.title(), version: recipe.version() })
}

/// Takes the form back.
#[db_session]
async fn save(s: &mut Session, form: Form) -> Result<Model, SessionError> {
    let recipe = s.merge::<Entity>(form).await?;
    s.flush().await?;
    Ok(recipe.model())
}

#[db_session(retry = 3)]
async fn vote(s: &mut Session, id: i64) -> Result<Option<Model>, SessionError> {
    let votes = s.get::<Entity>(id).await?.map_or(0, |recipe| recipe.votes());
    let recipe = s.patch::<Entity>(id, Vote { votes: votes + 1 }).await?;
    s.flush().await?;
    Ok(recipe.map(|recipe| recipe.model()))
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, Entity).await?;
    db.run(async |s: &mut Session| -> Result<(), SessionError> {
        s.add(ActiveModel { title: Set("Soup".into()), votes: Set(0), ..Default::default() });
        Ok(())
    })
    .await?;
    let mut out = String::new();

    let (mut ada, mut grace) = (show_on(&db, 1).await?, show_on(&db, 1).await?);
    writeln!(out, "both read:        {}, version {}", grace.title, grace.version)?;
    ada.title = "Onion soup".into();
    let saved = save_on(&db, ada).await?;
    writeln!(out, "Ada saves:        {}, version {}", saved.title, saved.version)?;
    grace.title = "Soup with bread".into();
    if let Err(stale) = save_on(&db, grace).await {
        writeln!(out, "Grace saves:      {stale}")?;
    }
    let mut grace = show_on(&db, 1).await?;
    grace.title += " with bread";
    let saved = save_on(&db, grace).await?;
    writeln!(out, "Grace again:      {}, version {}", saved.title, saved.version)?;

    let voted = vote_on(&db, 1).await?.context("it is there")?;
    writeln!(out, "a vote (patch):   {}, {} vote, version {}", voted.title, voted.votes, voted.version)?;
    if vote_on(&db, 9).await?.is_none() {
        writeln!(out, "a vote for none:  there is no recipe 9")?;
    }
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
