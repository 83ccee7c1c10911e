//! Who changed what, written by the flush that changes it: `cargo run --example audit`.
//!
//! One attribute on the entity. The trail commits with the change or not at all, and a secret column is told without
//! its values.
//!
//! ```text
//! insert user 1: mail null -> "ada@example.org", password changed
//! update user 1: mail "ada@example.org" -> "ada@example.com"
//! update user 1: password changed
//! delete user 1: mail "ada@example.com" -> null, password changed
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]
#![allow(missing_docs, reason = "a program has no interface")]

use std::fmt::Write;

use anyhow::Context;
use sea_orm::{ActiveValue::Set, QueryOrder, entity::prelude::*};
use sea_session::{audit, prelude::*, testing::create_table};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "user")]
#[tracked(audit)]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub mail: String,
    #[tracked(secret)]
    pub password: String,
}

impl ActiveModelBehavior for ActiveModel {}

async fn ada(s: &mut Session) -> anyhow::Result<Tracked<Entity>> {
    s.get::<Entity>(1).await?.context("Ada")
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, Entity).await?;
    create_table(&db, audit::Entity).await?;

    db.run(async |s: &mut Session| -> anyhow::Result<()> {
        s.add(ActiveModel {
            mail: Set("ada@example.org".into()),
            password: Set("secret".into()),
            ..Default::default()
        });
        Ok(())
    })
    .await?;
    db.run(async |s: &mut Session| -> anyhow::Result<()> {
        ada(s).await?.set_mail("ada@example.com");
        Ok(())
    })
    .await?;
    // What is rolled back leaves no trail.
    let undone = db.run(async |s: &mut Session| -> anyhow::Result<()> {
        ada(s).await?.set_mail("eve@example.com");
        s.flush().await?;
        anyhow::bail!("changed my mind")
    });
    anyhow::ensure!(undone.await.is_err(), "it was undone");
    db.run(async |s: &mut Session| -> anyhow::Result<()> {
        ada(s).await?.set_password("more secret");
        Ok(())
    })
    .await?;
    db.run(async |s: &mut Session| -> anyhow::Result<()> {
        let ada = ada(s).await?;
        s.delete(&ada);
        Ok(())
    })
    .await?;

    let mut out = String::new();
    for row in audit::Entity::find().order_by_asc(audit::Column::Id).all(db.connection()).await? {
        let columns = row.changes.as_object().context("an object")?;
        let told: Vec<String> = columns
            .iter()
            .filter(|(column, _)| *column != "id")
            .map(|(column, change)| match (change.get("old"), change.get("new")) {
                (None, None) => format!("{column} changed"),
                (old, new) => format!("{column} {} -> {}", shown(old), shown(new)),
            })
            .collect();
        writeln!(out, "{} {} {}: {}", row.kind, row.entity, row.row_key, told.join(", "))?;
    }
    Ok(out)
}

fn shown(value: Option<&Json>) -> String {
    value.map_or_else(|| "null".to_owned(), Json::to_string)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
