#[test]
fn a_note_is_found() {
    async fn a_note_is_found(s: &mut Session) {
        assert!(find(s, 1). await .is_none());
    }
    ::sea_session::testing::run_test(
        ::sea_session::testing::Backend::Sqlite,
        async |_: &::sea_session::Db| ::core::result::Result::<
            (),
            ::sea_session::Error,
        >::Ok(()),
        async |s: &mut ::sea_session::Session| a_note_is_found(s).await,
    );
}
mod a_note_is_kept {
    #[allow(unused_imports)]
    use super::*;
    #[ignore = "slow"]
    #[test]
    fn sqlite() {
        async fn a_note_is_kept(db: Db) -> Result<(), Error> {
            keep(&db).await
        }
        ::sea_session::testing::run_test_on(
            ::sea_session::testing::Backend::Sqlite,
            async |db: &::sea_session::Db| {
                <Migrator as ::sea_orm_migration::MigratorTrait>::up(
                        db.connection(),
                        ::core::option::Option::None,
                    )
                    .await
            },
            async |db: ::sea_session::Db| a_note_is_kept(db).await,
        );
    }
    #[ignore = "slow"]
    #[test]
    fn postgres() {
        async fn a_note_is_kept(db: Db) -> Result<(), Error> {
            keep(&db).await
        }
        ::sea_session::testing::run_test_on(
            ::sea_session::testing::Backend::Postgres,
            async |db: &::sea_session::Db| {
                <Migrator as ::sea_orm_migration::MigratorTrait>::up(
                        db.connection(),
                        ::core::option::Option::None,
                    )
                    .await
            },
            async |db: ::sea_session::Db| a_note_is_kept(db).await,
        );
    }
}
#[test]
fn notes_have_tags() {
    async fn notes_have_tags(db: &Db) -> Result<(), Error> {
        tag(db).await
    }
    ::sea_session::testing::run_test_on(
        ::sea_session::testing::Backend::Sqlite,
        async |
            db: &::sea_session::Db,
        | -> ::core::result::Result<(), ::sea_session::Error> {
            ::sea_session::testing::create_table(db, note::Entity).await?;
            ::sea_session::testing::create_table(db, tag::Entity).await?;
            ::core::result::Result::Ok(())
        },
        async |db: ::sea_session::Db| notes_have_tags(&db).await,
    );
}
