//! `crate = "…"`: every macro, where sea-session is reached by another path. That nothing else names it is asserted of the
//! macros' texts (`nothing_names_the_crate_but_the_path`, in the snapshots of `sea-session-macros-core`).

/// A crate that hands sea-session on.
mod framework {
    pub mod sessions {
        pub use ::sea_session::*;
    }
}

use framework::sessions::{Db, Error, Session, Tracked, atomic as nested, testing::create_table};
use sea_orm::{Set, entity::prelude::*};

mod shelf {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "shelf")]
    #[tracked(crate = "crate::renamed::framework::sessions", no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[tracked(version)]
        pub version: i32,
        #[sea_orm(has_many)]
        pub cups: HasMany<super::cup::Entity>,
    }
}

mod cup {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "cup")]
    #[tracked(crate = "crate::renamed::framework::sessions", no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub shelf_id: i64,
        #[sea_orm(belongs_to, from = "shelf_id", to = "id")]
        pub shelf: BelongsTo<super::shelf::Entity>,
    }
}

mod lid {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "lid")]
    #[tracked(crate = "crate::renamed::framework::sessions")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub cup_id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation, Tracked)]
    #[tracked(crate = "crate::renamed::framework::sessions")]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::cup::Entity", from = "Column::CupId", to = "super::cup::Column::Id")]
        Cup,
    }

    impl Related<super::cup::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Cup.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[framework::sessions::db_session(retry = 3, crate = crate::renamed::framework::sessions)]
async fn fill(s: &mut Session, cups: i64) -> Result<i64, Error> {
    let shelf = s.add(shelf::ActiveModel { ..Default::default() });
    s.flush().await?;
    for _ in 0..cups {
        add_cup(s, shelf.id()).await?;
    }
    Ok(shelf.id())
}

#[framework::sessions::prelude::atomic(crate = "crate::renamed::framework::sessions")]
async fn add_cup(s: &mut Session, shelf: i64) -> Result<(), Error> {
    let tried: Result<(), Error> = nested!(s, crate = crate::renamed::framework::sessions, {
        s.add(cup::ActiveModel { shelf_id: Set(shelf), ..Default::default() });
        s.flush().await?;
        Err(Error::Usage("a try".into()))
    });
    assert!(tried.is_err());
    s.add(cup::ActiveModel { shelf_id: Set(shelf), ..Default::default() });
    Ok(())
}

#[framework::sessions::session_test(sqlite, tables = [shelf::Entity, cup::Entity, lid::Entity], crate = "crate::renamed::framework::sessions")]
async fn u10_every_macro_takes_the_path_of_the_crate(db: Db) -> Result<(), Error> {
    let id = fill_on(&db, 2).await?;
    let found = framework::sessions::unit!(db, crate = crate::renamed::framework::sessions, -> Result<usize, Error> {
        let shelf = s.get::<shelf::Entity>(id).await?.expect("it was committed");
        let cups = shelf.cups(s).await?;
        assert_eq!(cups[0].shelf(s).await?.expect("it was committed").version(), 1);
        let lid = s.add(lid::ActiveModel { ..Default::default() });
        lid.set_cup(&cups[0])?;
        assert!(lid.cup(s).await?.is_some_and(|cup| Tracked::ptr_eq(&cup, &cups[0])));
        Ok(cups.len())
    })?;
    assert_eq!(found, 2);
    Ok(())
}

#[tokio::test]
async fn u10_the_path_is_for_the_macros_alone() {
    let db = Db::connect("sqlite::memory:").await.unwrap();
    create_table(&db, shelf::Entity).await.unwrap();
    create_table(&db, cup::Entity).await.unwrap();
    assert_eq!(fill_on(&db, 1).await.unwrap(), 1);
}
