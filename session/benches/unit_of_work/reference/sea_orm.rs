//! Plain SeaORM: `save` in a loop, `insert_many`, `all()`, and nested transactions.

use std::time::{Duration, Instant};

use sea_orm::ActiveValue::Set;
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, DatabaseConnection, EntityTrait, FromQueryResult, IntoActiveModel,
    ModelTrait, TransactionTrait,
};

use crate::entities::{hooked, item, new_item};

/// How many rows `insert_many` is given: nine binds a row stay under the limits of both databases.
const CHUNK: usize = 1_000;

/// Inserts one by one; `insert` is what `save` comes to for a key that the client made (Z12).
pub async fn insert_loop(db: &DatabaseConnection, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let tx = db.begin().await.expect("begin");
    for row in rows {
        new_item(row).insert(&tx).await.expect("insert");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// Inserts with `insert_many`, 1,000 rows a call.
pub async fn insert_many(db: &DatabaseConnection, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let tx = db.begin().await.expect("begin");
    let mut rows = rows.into_iter().map(new_item).peekable();
    while rows.peek().is_some() {
        let chunk: Vec<item::ActiveModel> = rows.by_ref().take(CHUNK).collect();
        item::Entity::insert_many(chunk).exec_without_returning(&tx).await.expect("insert");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// Loads every row, changes the title of the first so many, and saves each.
pub async fn save_loop(db: &DatabaseConnection, changes: usize, suffix: &str) -> Duration {
    save_each(db, changes, |row: item::Model| {
        let title = Set(format!("title {} {suffix}", row.id));
        item::ActiveModel { title, ..row.into_active_model() }
    })
    .await
}

/// The same with all rows; a hook of the entity runs before each is saved.
pub async fn save_loop_hooked(db: &DatabaseConnection, suffix: &str) -> Duration {
    save_each(db, usize::MAX, |row: hooked::Model| {
        let title = Set(format!("title {} {suffix}", row.id));
        hooked::ActiveModel { title, ..row.into_active_model() }
    })
    .await
}

async fn save_each<M, A>(db: &DatabaseConnection, changes: usize, change: impl Fn(M) -> A) -> Duration
where
    M: ModelTrait + FromQueryResult + IntoActiveModel<A>,
    M::Entity: EntityTrait<Model = M>,
    A: ActiveModelTrait<Entity = M::Entity> + ActiveModelBehavior + Send,
{
    let start = Instant::now();
    let tx = db.begin().await.expect("begin");
    let rows = M::Entity::find().all(&tx).await.expect("select");
    for row in rows.into_iter().take(changes) {
        change(row).save(&tx).await.expect("save");
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}

/// Loads every row.
pub async fn all(db: &DatabaseConnection, n: usize) -> Duration {
    let start = Instant::now();
    let tx = db.begin().await.expect("begin");
    let rows = item::Entity::find().all(&tx).await.expect("select");
    tx.commit().await.expect("commit");
    let time = start.elapsed();
    assert_eq!(rows.len(), n);
    time
}

/// One outer transaction, a nested one for each row, every tenth of them rolled back.
pub async fn nested(db: &DatabaseConnection, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let tx = db.begin().await.expect("begin");
    for (at, row) in rows.into_iter().enumerate() {
        let nested = tx.begin().await.expect("nested begin");
        item::Entity::insert(new_item(row)).exec_without_returning(&nested).await.expect("insert");
        if at % 10 == 9 {
            nested.rollback().await.expect("rollback");
        } else {
            nested.commit().await.expect("commit");
        }
    }
    tx.commit().await.expect("commit");
    start.elapsed()
}
