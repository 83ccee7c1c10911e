//! Two tenants in one table, neither of whom sees the other: `cargo run --example tenants`.
//!
//! The unit says whose it is. The flush fills the column in, and every read of objects asks for that tenant's rows
//! alone. On PostgreSQL the tenant is bound to the transaction as well, for row-level security.
//!
//! ```text
//! acme has:    1 acme's plan
//! globex has:  2 globex's plan
//! acme asks for note 2: it is not there
//! globex in acme's name: note belongs to tenants: the object belongs to another tenant than the unit (see errors/tenant)
//! without a tenant:      note belongs to tenants: open the unit with `.tenant(key, …)` (see errors/tenant)
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]
#![allow(missing_docs, reason = "a program has no interface")]

use std::fmt::Write;

use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{prelude::*, testing::create_table};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "note")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[tracked(tenant)]
    pub account: String,
    pub title: String,
}

impl ActiveModelBehavior for ActiveModel {}

/// A unit of work of one account.
fn unit(db: &Db, account: &str) -> UnitOptions {
    db.session().tenant("app.account", account)
}

#[db_session]
async fn list(s: &mut Session) -> Result<String, SessionError> {
    let notes = Entity::find().load(s).await?;
    Ok(notes.iter().map(|note| format!("{} {}", note.id(), note.title())).collect::<Vec<_>>().join(", "))
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, Entity).await?;
    for account in ["acme", "globex"] {
        unit(&db, account)
            .run(async |s: &mut Session| -> Result<(), SessionError> {
                s.add(ActiveModel { title: Set(format!("{account}'s plan")), ..Default::default() });
                Ok(())
            })
            .await?;
    }

    let mut out = String::new();
    let acme = unit(&db, "acme").run(async |s: &mut Session| list(s).await).await?;
    writeln!(out, "acme has:    {acme}")?;
    let globex = unit(&db, "globex").run(async |s: &mut Session| list(s).await).await?;
    writeln!(out, "globex has:  {globex}")?;

    let look = async |s: &mut Session| -> Result<bool, SessionError> { Ok(s.get::<Entity>(2).await?.is_some()) };
    let there = unit(&db, "acme").run(look).await?;
    writeln!(out, "acme asks for note 2: it is {}", if there { "there" } else { "not there" })?;

    let forge = async |s: &mut Session| -> Result<(), SessionError> {
        s.add(ActiveModel { account: Set("acme".into()), title: Set("forged".into()), ..Default::default() });
        Ok(())
    };
    if let Err(refused) = unit(&db, "globex").run(forge).await {
        writeln!(out, "globex in acme's name: {refused}")?;
    }
    if let Err(refused) = list_on(&db).await {
        writeln!(out, "without a tenant:      {refused}")?;
    }
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
