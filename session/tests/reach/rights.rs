//! U8: SeaORM's role-based access control inside a unit (with the feature `rbac`).

use sea_orm::{
    ConnectionTrait, DbErr, Set, StreamTrait, TransactionSession, TransactionTrait,
    entity::prelude::*,
    rbac::{RbacEngine, RbacSnapshot, RbacUserId},
};
use sea_session::{Error, Session, prelude::*};

mod thing {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "thing")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

fn named(name: &str) -> thing::ActiveModel {
    thing::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

#[session_test(sqlite, postgres, tables = [thing::Entity])]
async fn u8_statements_of_a_user_are_checked_against_the_users_rights(db: Db) -> Result<(), Error> {
    let pool = db.connection();
    // User 0 may do everything, and nobody else has any role.
    pool.replace_rbac(RbacEngine::from_snapshot(RbacSnapshot::danger_unrestricted()));
    let (anything, nothing) = (pool.restricted_for(RbacUserId(0))?, pool.restricted_for(RbacUserId(1))?);
    db.run(async |s: &mut Session| -> Result<(), Error> {
        let transaction = TransactionTrait::begin(s).await?.restricted_to(&anything);
        named("one").insert(&transaction).await?;
        assert_eq!(thing::Entity::find().count(&transaction).await?, 1);
        drop(thing::Entity::find().stream(&transaction).await?);
        let raw = transaction.execute_unprepared("DELETE FROM thing").await;
        assert!(matches!(raw, Err(DbErr::RbacError(_))), "{raw:?}");
        let statement = sea_orm::Statement::from_string(db.backend(), "SELECT 1");
        assert!(matches!(transaction.stream_raw(statement).await.map(drop), Err(DbErr::RbacError(_))));
        transaction.commit().await?;

        let transaction = TransactionTrait::begin(s).await?.restricted_to(&nothing);
        assert!(named("two").insert(&transaction).await.is_err());
        assert!(thing::Entity::find().all(&transaction).await.is_err());
        assert!(thing::Entity::find().stream(&transaction).await.is_err());
        transaction.commit().await?;
        assert_eq!(thing::Entity::find().count(s).await?, 1, "the session's own statements are not the user's");
        Ok(())
    })
    .await
}
