//! Entities that `sea-orm-cli` 2.0.4 generated from `schema.sql`, in its compact and in its dense format. Nothing in the
//! two folders was edited; the derive came with them:
//!
//! ```text
//! sea-orm-cli generate entity -u $DATABASE_URL -o compact --entity-format compact --with-prelude none \
//!     --model-extra-derives sea_session::Tracked
//! ```
// What SeaORM's own macros expand to is theirs.
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

#[rustfmt::skip]
pub mod compact;
#[rustfmt::skip]
pub mod dense;

/// Creates the schema.
pub async fn migrate(db: &sea_session::Db) -> Result<(), sea_orm::DbErr> {
    use sea_orm::ConnectionTrait;
    db.connection().execute_unprepared(include_str!("schema.sql")).await.map(drop)
}
