//! Plans that a connection has kept and that are not valid any more (E5).

use sea_orm::{ActiveValue::Set, ConnectOptions, ConnectionTrait, DbBackend, Statement, entity::prelude::*};
use sea_session::{Class, Error, Session, prelude::*, testing::cluster};

mod part {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "part")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// A pool of one connection, and another that changes the table behind it.
async fn with_one_connection(test: impl AsyncFn(Db, Db)) {
    let database = cluster::fresh_database().await.unwrap();
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(1).min_connections(1);
    let (one, other) = (Db::connect(options).await.unwrap(), Db::connect(database.url()).await.unwrap());
    alter(&other, "CREATE TABLE part (id bigserial PRIMARY KEY, name varchar(20) NOT NULL)").await;
    alter(&other, "INSERT INTO part (name) VALUES ('a'), ('b')").await;
    test(one.clone(), other.clone()).await;
    one.close().await.unwrap();
    other.close().await.unwrap();
}

async fn alter(db: &Db, sql: &str) {
    db.connection().execute_unprepared(sql).await.unwrap();
}

/// Reads, changes and adds, each by a prepared statement.
async fn work(db: &Db, retry: u32) -> Result<usize, Error> {
    let unit = async |s: &mut Session| -> Result<usize, Error> {
        let part = s.get::<part::Entity>(1).await?.expect("the row");
        let count = part::Entity::find().load(s).await?.len();
        part.set_name(format!("{}x", &part.name()[..1]));
        s.flush().await?;
        part.set_name("a".to_owned());
        s.add(part::ActiveModel { name: Set("new".to_owned()), ..Default::default() });
        s.flush().await?;
        Ok(count)
    };
    db.session().retry(Retry::times(retry).sleep_with(|_| Box::pin(async {}))).run(unit).await
}

async fn prepared(db: &Db) {
    for _ in 0..3 {
        work(db, 0).await.unwrap();
    }
}

#[tokio::test]
async fn e5_a_plan_that_ddl_has_changed_is_dropped() {
    with_one_connection(async |one: Db, other: Db| {
        prepared(&one).await;
        alter(&other, "ALTER TABLE part ALTER COLUMN name TYPE text").await;
        let failed = work(&one, 0).await.unwrap_err();
        assert_eq!((failed.class(), failed.sqlstate()), (Some(Class::PlanChanged), Some("0A000")), "{failed}");
        assert!(!failed.is_connection_lost());
        prepared(&one).await;
    })
    .await;
}

#[tokio::test]
async fn e5_a_unit_with_retry_is_repeated_by_itself() {
    with_one_connection(async |one: Db, other: Db| {
        prepared(&one).await;
        let count = work(&one, 0).await.unwrap();
        alter(&other, "ALTER TABLE part ALTER COLUMN name TYPE text").await;
        assert_eq!(work(&one, 1).await.unwrap(), count + 1, "one attempt more was enough");
        alter(&other, "ALTER TABLE part ALTER COLUMN name TYPE varchar(30)").await;
        assert_eq!(work(&one, 1).await.unwrap(), count + 2);
    })
    .await;
}

#[tokio::test]
async fn e5_a_plan_that_changed_dooms_the_unit_from_inside_a_block() {
    with_one_connection(async |one: Db, other: Db| {
        prepared(&one).await;
        alter(&other, "ALTER TABLE part ALTER COLUMN name TYPE text").await;
        let unit = async |s: &mut Session| -> Result<usize, Error> {
            let nested = s
                .atomic(async |s: &mut Session| -> Result<usize, Error> {
                    Ok(part::Entity::find().load(s).await?.len())
                })
                .await;
            // Caught: the connection would say the same again.
            nested.or(Ok(0))
        };
        let alone = one.run(unit).await;
        assert!(
            matches!(&alone, Err(Error::RolledBack { cause }) if cause.class() == Some(Class::PlanChanged)),
            "{alone:?}"
        );
        prepared(&one).await;
        alter(&other, "ALTER TABLE part ALTER COLUMN name TYPE varchar(40)").await;
        assert!(one.session().retry(1).run(unit).await.unwrap() > 0);
    })
    .await;
}

#[tokio::test]
async fn e5_statements_that_somebody_deallocated_are_prepared_again() {
    with_one_connection(async |one: Db, _other: Db| {
        prepared(&one).await;
        one.run(async |s: &mut Session| -> Result<(), Error> {
            s.execute_unprepared("DEALLOCATE ALL").await?;
            Ok(())
        })
        .await
        .unwrap();
        let failed = work(&one, 0).await.unwrap_err();
        assert_eq!((failed.class(), failed.sqlstate()), (Some(Class::PlanChanged), Some("26000")), "{failed}");
        work(&one, 0).await.unwrap();
        one.connection().execute_unprepared("DEALLOCATE ALL").await.unwrap();
        work(&one, 1).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn e5_a_callers_own_mistake_is_no_changed_plan() {
    with_one_connection(async |one: Db, _other: Db| {
        for (sql, code) in [
            ("EXECUTE nothing", "26000"),
            ("SELECT 1 FROM part FOR UPDATE OF nothing", "42P01"),
            ("SELECT count(*) FROM part FOR UPDATE", "0A000"),
        ] {
            let unit = async |s: &mut Session| -> Result<(), Error> {
                s.execute_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
                Ok(())
            };
            let failed = one.session().retry(2).run(unit).await.unwrap_err();
            assert_eq!((failed.class(), failed.sqlstate()), (Some(Class::Other), Some(code)), "{failed}");
            assert!(!matches!(failed, Error::Exhausted { .. }), "it was not repeated");
        }
    })
    .await;
}

#[tokio::test]
async fn e5_sqlite_prepares_anew_what_ddl_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("plans.db").display());
    let mut options = ConnectOptions::new(&url);
    options.max_connections(1);
    let (one, other) = (Db::connect(options).await.unwrap(), Db::connect(&url).await.unwrap());
    alter(&other, "CREATE TABLE part (id integer PRIMARY KEY AUTOINCREMENT, name varchar NOT NULL)").await;
    alter(&other, "INSERT INTO part (name) VALUES ('a')").await;
    for added in 0..3 {
        prepared(&one).await;
        alter(&other, &format!("ALTER TABLE part ADD COLUMN more_{added} text")).await;
        work(&one, 0).await.unwrap();
        alter(&other, &format!("CREATE INDEX part_{added} ON part (name, more_{added})")).await;
        work(&one, 0).await.unwrap();
    }
}
