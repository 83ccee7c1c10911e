//! Small things that would cost a user minutes: arguments that only an option looks at, answers of `get_many`.

use sea_orm::{Set, entity::prelude::*};
use sea_session::{Error, Recorder, Session, prelude::*, testing::create_table};

mod page {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "page")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[tracked(tenant)]
        pub account: i64,
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Neither body looks at its account: that is the unit's business.
#[deny(unused_variables)]
#[db_session(tenant("app.account" = account))]
async fn add_page(s: &mut Session, account: i64, id: i64) -> Result<(), Error> {
    s.add(page::ActiveModel { id: Set(id), title: Set("a page".into()), ..Default::default() });
    s.flush().await
}

#[deny(unused_variables)]
#[db_session(tenant("app.account" = account.to_string()), durable)]
async fn add_page_alone(s: &mut Session, account: i64, id: i64) -> Result<(), Error> {
    add_page(s, account, id).await
}

struct Pages;

#[async_trait::async_trait]
trait AddsPages {
    async fn add(&self, s: &mut Session, account: i64, id: i64) -> Result<(), Error>;
}

#[deny(unused_variables)]
#[async_trait::async_trait]
impl AddsPages for Pages {
    async fn add(&self, s: &mut Session, account: i64, id: i64) -> Result<(), Error> {
        add_page(s, account, id).await
    }
}

#[session_test(sqlite, postgres, tables = [page::Entity])]
async fn t2_an_argument_that_only_names_the_tenant_is_no_unused_one(db: Db) -> Result<(), Error> {
    add_page_on(&db, 7, 1).await?;
    add_page_alone_on(&db, 8, 2).await?;
    let unit = db.session().tenant("app.account", 7);
    unit.run(async |s: &mut Session| -> Result<(), Error> {
        assert!(add_page_alone(s, 7, 9).await.is_err(), "it is durable");
        Pages.add(s, 7, 3).await
    })
    .await?;
    let pages = page::Entity::find().all(db.connection()).await.unwrap();
    assert_eq!(pages.iter().map(|page| (page.id, page.account)).collect::<Vec<_>>(), [(1, 7), (2, 8), (3, 7)]);
    Ok(())
}

#[session_test(sqlite, postgres, tables = [page::Entity])]
async fn i5_get_many_answers_for_each_key(db: Db) -> Result<(), Error> {
    let recorder = Recorder::new();
    let unit = db.session().tenant("app.account", 7).record(&recorder);
    unit.run(async |s: &mut Session| -> Result<(), Error> {
        for id in [1, 2, 3] {
            add_page(s, 7, id).await?;
        }
        let gone = s.get::<page::Entity>(3).await?.expect("it was added");
        s.delete(&gone);
        s.flush().await?;
        s.expire_all::<page::Entity>();
        recorder.take();
        let keys = [2_i64, 9, 1, 3, 2];
        let found = s.get_many::<page::Entity>(keys).await?;
        let ids: Vec<Option<i64>> = found.iter().map(|page| page.as_ref().map(|page| page.id())).collect();
        assert_eq!(ids, [Some(2), None, Some(1), None, Some(2)]);
        assert_eq!(recorder.take().len(), 1);
        let (first, last) = (found[0].as_ref().expect("2"), found[4].as_ref().expect("2"));
        assert!(Tracked::ptr_eq(first, last));
        Ok(())
    })
    .await
}

/// `create_table` is used where a test has no attribute.
#[tokio::test]
async fn i5_get_many_of_no_keys_asks_nobody() {
    let db = Db::connect("sqlite::memory:").await.unwrap();
    create_table(&db, page::Entity).await.unwrap();
    let unit = db.session().tenant("app.account", 7);
    let numbers = unit.clone();
    unit.run(async |s: &mut Session| -> Result<(), Error> {
        assert!(s.get_many::<page::Entity>(Vec::<i64>::new()).await?.is_empty());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(numbers.stats().statements, 0);
}
