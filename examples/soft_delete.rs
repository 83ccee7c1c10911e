//! A delete that can be taken back: `cargo run --example soft_delete`.
//!
//! ```text
//! at first:          draft, plan
//! plan is deleted:   draft
//! in the bin:        plan
//! restored:          draft, plan
//! deleted for good:  draft (1 row)
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]
#![allow(missing_docs, reason = "a program has no interface")]

use std::fmt::Write;

use anyhow::Context;
use sea_orm::{ActiveValue::Set, PaginatorTrait, QueryOrder, entity::prelude::*};
use sea_session::{prelude::*, testing::create_table};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "page")]
#[tracked(soft_delete = "deleted_at")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub title: String,
    pub deleted_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}

fn titles(pages: &[Tracked<Entity>]) -> String {
    pages.iter().map(|page| page.title()).collect::<Vec<_>>().join(", ")
}

/// What every read sees.
#[db_session(read_only)]
async fn list(s: &mut Session) -> Result<String, SessionError> {
    Ok(titles(&Entity::find().order_by_asc(Column::Title).load(s).await?))
}

/// What only those see who ask for it.
async fn bin(s: &mut Session) -> Result<Vec<Tracked<Entity>>, SessionError> {
    Entity::find().filter(Column::DeletedAt.is_not_null()).unfiltered().load(s).await
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, Entity).await?;
    db.run(async |s: &mut Session| -> Result<(), SessionError> {
        for title in ["draft", "plan"] {
            s.add(ActiveModel { title: Set(title.into()), ..Default::default() });
        }
        Ok(())
    })
    .await?;
    let mut out = String::new();
    writeln!(out, "at first:          {}", list_on(&db).await?)?;

    db.run(async |s: &mut Session| -> anyhow::Result<()> {
        let plan = s.get::<Entity>(2).await?.context("the plan")?;
        s.delete(&plan);
        Ok(())
    })
    .await?;
    writeln!(out, "plan is deleted:   {}", list_on(&db).await?)?;

    let in_bin = db
        .run(async |s: &mut Session| -> Result<String, SessionError> {
            let pages = bin(s).await?;
            pages.iter().try_for_each(|page| s.restore(page))?;
            Ok(titles(&pages))
        })
        .await?;
    writeln!(out, "in the bin:        {in_bin}")?;
    writeln!(out, "restored:          {}", list_on(&db).await?)?;

    db.run(async |s: &mut Session| -> anyhow::Result<()> {
        let plan = s.get::<Entity>(2).await?.context("the plan")?;
        s.hard_delete(&plan);
        Ok(())
    })
    .await?;
    let rows = Entity::find().count(db.connection()).await?;
    writeln!(out, "deleted for good:  {} ({rows} row)", list_on(&db).await?)?;
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
