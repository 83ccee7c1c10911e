//! What an error of the database can be asked.

use sea_orm::{ConnectionTrait, DbErr, Set, entity::prelude::*};
use sea_session::{
    Class, Error, Session,
    prelude::*,
    testing::{Backend, run_test_on},
};

mod price {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "price")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub name: Option<String>,
        pub shop: i64,
        pub amount: i64,
        pub above: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

const TABLE: &str = "CREATE TABLE price (
    id bigint NOT NULL CONSTRAINT price_key PRIMARY KEY,
    name text NOT NULL CONSTRAINT price_name UNIQUE,
    shop bigint NOT NULL,
    amount bigint NOT NULL CONSTRAINT price_is_positive CHECK (amount > 0),
    above bigint CONSTRAINT price_above REFERENCES price (id),
    CONSTRAINT price_once UNIQUE (shop, amount))";

fn on_both(test: impl AsyncFn(Db, Backend) -> Result<(), Error>) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let make = async |db: &Db| -> Result<(), Error> {
            db.connection().execute_unprepared(TABLE).await?;
            db.connection().execute_unprepared("INSERT INTO price VALUES (1, 'one', 1, 1, NULL)").await?;
            Ok(())
        };
        run_test_on(backend, make, async |db: Db| test(db, backend).await);
    }
}

fn row(id: i64) -> price::ActiveModel {
    let name = format!("name {id}");
    price::ActiveModel { id: Set(id), name: Set(Some(name)), shop: Set(1), amount: Set(id), above: Set(None) }
}

/// Class, code, constraint, table and column.
type Answers<'a> = (Class, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn answers(error: &Error) -> Answers<'_> {
    let said = error.database().unwrap_or_else(|| panic!("{error:?}"));
    (said.class(), said.code(), said.constraint(), said.table(), said.column())
}

#[test]
fn u10_a_violated_constraint_is_told_by_code_name_table_and_column() {
    let cases = |backend: Backend| -> Vec<(price::ActiveModel, Answers<'static>)> {
        let table = Some("price");
        match backend {
            Backend::Sqlite => vec![
                (
                    price::ActiveModel { amount: Set(5), ..row(1) },
                    (Class::Unique, Some("1555"), Some("price.id"), table, Some("id")),
                ),
                (
                    price::ActiveModel { name: Set(Some("one".into())), ..row(2) },
                    (Class::Unique, Some("2067"), Some("price.name"), table, Some("name")),
                ),
                (
                    price::ActiveModel { amount: Set(1), ..row(2) },
                    (Class::Unique, Some("2067"), Some("price.shop, price.amount"), table, None),
                ),
                (
                    price::ActiveModel { name: Set(None), ..row(2) },
                    (Class::NotNull, Some("1299"), Some("price.name"), table, Some("name")),
                ),
                (
                    price::ActiveModel { amount: Set(-2), ..row(2) },
                    (Class::Check, Some("275"), Some("price_is_positive"), None, None),
                ),
                (
                    price::ActiveModel { above: Set(Some(9)), ..row(2) },
                    (Class::ForeignKey, Some("787"), None, None, None),
                ),
            ],
            _ => vec![
                (
                    price::ActiveModel { amount: Set(5), ..row(1) },
                    (Class::Unique, Some("23505"), Some("price_key"), table, None),
                ),
                (
                    price::ActiveModel { name: Set(Some("one".into())), ..row(2) },
                    (Class::Unique, Some("23505"), Some("price_name"), table, None),
                ),
                (
                    price::ActiveModel { amount: Set(1), ..row(2) },
                    (Class::Unique, Some("23505"), Some("price_once"), table, None),
                ),
                (
                    price::ActiveModel { name: Set(None), ..row(2) },
                    (Class::NotNull, Some("23502"), None, table, Some("name")),
                ),
                (
                    price::ActiveModel { amount: Set(-2), ..row(2) },
                    (Class::Check, Some("23514"), Some("price_is_positive"), table, None),
                ),
                (
                    price::ActiveModel { above: Set(Some(9)), ..row(2) },
                    (Class::ForeignKey, Some("23503"), Some("price_above"), table, None),
                ),
            ],
        }
    };
    on_both(async |db: Db, backend: Backend| {
        for (wrong, expected) in cases(backend) {
            let flushed = db.run(async |s: &mut Session| -> Result<(), Error> {
                s.add(wrong.clone());
                s.flush().await
            });
            assert_eq!(answers(&flushed.await.unwrap_err()), expected, "by a flush");
            // Through SeaORM, and through a block that had to roll back because of it.
            let swallowed = db.run(async |s: &mut Session| -> Result<(), Error> {
                let error: DbErr = wrong.clone().insert(s).await.unwrap_err();
                assert_eq!(answers(&error.into()), expected, "by SeaORM");
                Ok(())
            });
            let rolled_back = swallowed.await.unwrap_err();
            assert!(matches!(rolled_back, Error::RolledBack { .. }));
            assert_eq!(answers(&rolled_back), expected, "as the first cause");
        }
        Ok(())
    });
}

#[test]
fn u10_an_error_that_no_database_started_has_nothing_to_ask() {
    assert!(Error::Usage("wrong".into()).database().is_none());
    let hook = Error::Hook {
        entity: "price",
        key: "1".into(),
        hook: "before_save",
        cause: std::sync::Arc::new(Error::Cancelled),
    };
    assert!(hook.database().is_none());
}
