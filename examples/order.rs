//! An order whose items may fail one by one: `cargo run --example order`.
//!
//! Each item is a nested block, a savepoint. One that fails takes its own changes back, rows and objects, and the order
//! goes on.
//!
//! ```text
//! tea     2 booked
//! cake    only 1 left, 3 wanted
//! coffee  there is none
//! milk    4 booked
//! order 1 with 2 lines, 10 in all
//! left: cake 1, milk 0, tea 8
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]

use std::fmt::Write;

use anyhow::Context;
use sea_orm::{ActiveValue::Set, PaginatorTrait, QueryOrder, entity::prelude::*};
use sea_session::{prelude::*, testing::create_table};

mod product {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "product")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub price: i64,
        pub left: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod order {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "order")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub total: i64,
        #[sea_orm(has_many)]
        pub lines: HasMany<super::line::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod line {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "line")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub order_id: i64,
        pub product: String,
        pub pieces: i64,
        #[sea_orm(belongs_to, from = "order_id", to = "id")]
        pub order: BelongsTo<super::order::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("there is none")]
    Unknown,
    #[error("only {left} left, {wanted} wanted")]
    SoldOut { left: i64, wanted: i64 },
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Books one item, or nothing of it.
#[atomic]
async fn book(s: &mut Session, order: &Tracked<order::Entity>, name: &str, pieces: i64) -> Result<(), OrderError> {
    let line = s.add(line::ActiveModel { product: Set(name.into()), pieces: Set(pieces), ..Default::default() });
    line.set_order(order)?;
    let product = s.get::<product::Entity>(name.to_owned()).await?.ok_or(OrderError::Unknown)?;
    let left = product.left();
    product.set_left(left - pieces);
    order.set_total(order.total() + pieces * product.price());
    if left < pieces {
        return Err(OrderError::SoldOut { left, wanted: pieces });
    }
    Ok(())
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, product::Entity).await?;
    create_table(&db, order::Entity).await?;
    create_table(&db, line::Entity).await?;
    let mut out = String::new();

    let told = db
        .run(async |s: &mut Session| -> Result<Vec<String>, OrderError> {
            for (name, price, left) in [("tea", 3, 10), ("cake", 5, 1), ("milk", 1, 4)] {
                s.add(product::ActiveModel { name: Set(name.into()), price: Set(price), left: Set(left) });
            }
            let order = s.add(order::ActiveModel { total: Set(0), ..Default::default() });
            let mut told = Vec::new();
            for (name, pieces) in [("tea", 2), ("cake", 3), ("coffee", 1), ("milk", 4)] {
                let booked = book(s, &order, name, pieces).await;
                told.push(match booked {
                    Ok(()) => format!("{name:<7} {pieces} booked"),
                    Err(refused) => format!("{name:<7} {refused}"),
                });
            }
            Ok(told)
        })
        .await?;
    told.iter().try_for_each(|line| writeln!(out, "{line}"))?;

    let order = order::Entity::find().one(db.connection()).await?.context("the order")?;
    let lines = line::Entity::find().count(db.connection()).await?;
    writeln!(out, "order {} with {lines} lines, {} in all", order.id, order.total)?;
    let products = product::Entity::find().order_by_asc(product::Column::Name).all(db.connection()).await?;
    let left: Vec<String> = products.iter().map(|product| format!("{} {}", product.name, product.left)).collect();
    writeln!(out, "left: {}", left.join(", "))?;
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
