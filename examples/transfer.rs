//! Money moves between two accounts, or does not: `cargo run --example transfer`.
//!
//! A function of a session joins its caller's unit of work. Beside it the macro writes one that opens a unit, and runs
//! it again when the database says that it lost against another.
//!
//! ```text
//! before:           Ada 100, Grace 0
//! 30 to Grace:      Ada 70, Grace 30
//! 500 to Grace:     account 1 holds only 70
//! afterwards:       Ada 70, Grace 30
//! ten at once:      Ada 60, Grace 40
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]
#![allow(missing_docs, reason = "a program has no interface")]

use std::fmt::Write;

use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{prelude::*, testing::create_table};
use tokio::task::JoinSet;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub owner: String,
    pub balance: i64,
}

impl ActiveModelBehavior for ActiveModel {}

#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error("there is no account {0}")]
    Missing(i64),
    #[error("account {account} holds only {balance}")]
    Overdrawn { account: i64, balance: i64 },
    #[error(transparent)]
    Session(#[from] SessionError),
}

#[db_session(retry = 10)]
async fn transfer(s: &mut Session, from: i64, to: i64, amount: i64) -> Result<(), TransferError> {
    let source = s.get::<Entity>(from).await?.ok_or(TransferError::Missing(from))?;
    let target = s.get::<Entity>(to).await?.ok_or(TransferError::Missing(to))?;
    target.set_balance(target.balance() + amount);
    source.set_balance(source.balance() - amount);
    if source.balance() < 0 {
        // Both balances go back, in memory and in the database.
        return Err(TransferError::Overdrawn { account: from, balance: source.balance() + amount });
    }
    Ok(())
}

/// Who has how much, as everybody sees it.
async fn balances(db: &Db) -> anyhow::Result<String> {
    let accounts = Entity::find().all(db.connection()).await?;
    let shown: Vec<String> = accounts.iter().map(|account| format!("{} {}", account.owner, account.balance)).collect();
    Ok(shown.join(", "))
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, Entity).await?;
    db.run(async |s: &mut Session| -> Result<(), SessionError> {
        for (owner, balance) in [("Ada", 100), ("Grace", 0)] {
            s.add(ActiveModel { owner: Set(owner.into()), balance: Set(balance), ..Default::default() });
        }
        Ok(())
    })
    .await?;

    let mut out = String::new();
    writeln!(out, "before:           {}", balances(&db).await?)?;
    transfer_on(&db, 1, 2, 30).await?;
    writeln!(out, "30 to Grace:      {}", balances(&db).await?)?;
    if let Err(refused) = transfer_on(&db, 1, 2, 500).await {
        writeln!(out, "500 to Grace:     {refused}")?;
    }
    writeln!(out, "afterwards:       {}", balances(&db).await?)?;

    // Side by side, each in a unit of its own.
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let db = db.clone();
        tasks.spawn(async move { transfer_on(&db, 1, 2, 1).await });
    }
    for outcome in tasks.join_all().await {
        outcome?;
    }
    writeln!(out, "ten at once:      {}", balances(&db).await?)?;
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
