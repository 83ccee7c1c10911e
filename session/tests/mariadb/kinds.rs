//! Kinds of columns that only MySQL and MariaDB have, or that hold more there than elsewhere (D4, D5, D12).

use sea_orm::{ActiveValue::Set, PaginatorTrait, entity::prelude::*};
use sea_session::{Class, Error, Recorder, Session, Tracked, prelude::*};

use crate::tables::*;

type Done = Result<(), Error>;

/// Kinds that are carried as they are, and kinds that only a cast carries: as texts.
mod odd {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "odd")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: u64,
        #[sea_orm(column_type = "Text", select_as = "CHAR(80)", save_as = "DECIMAL(65, 30)")]
        pub price: String,
        pub bits: u64,
        pub size: String,
        pub marks: String,
        #[sea_orm(column_type = "Text", select_as = "CHAR(8)", save_as = "SIGNED")]
        pub year: String,
        #[sea_orm(column_type = "Text", select_as = "CHAR(20)", save_as = "TIME(6)")]
        pub span: String,
        #[sea_orm(column_type = "Text", select_as = "CHAR(20)", save_as = "DATE")]
        pub day: String,
        pub largest: u64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

const ODD: &str = "CREATE TABLE odd (id bigint unsigned PRIMARY KEY, price decimal(65,30) NOT NULL, bits bit(40) NOT NULL, \
    size enum('small', 'large') NOT NULL, marks set('a', 'b', 'c') NOT NULL, year year NOT NULL, span time(6) NOT NULL, \
    day date NOT NULL, largest bigint unsigned NOT NULL)";

const PRICE: &str = "12345678901234567890123456789012345.123456789012345678901234567890";

fn odd(id: u64) -> odd::ActiveModel {
    odd::ActiveModel {
        id: Set(id),
        price: Set(PRICE.into()),
        bits: Set((1 << 40) - 1),
        size: Set("large".into()),
        marks: Set("c,a".into()),
        year: Set("2155".into()),
        span: Set("-838:59:58.5".into()),
        day: Set("1000-01-01".into()),
        largest: Set(u64::MAX),
    }
}

async fn stored(s: &mut Session, one: &Tracked<odd::Entity>) -> Result<odd::Model, Error> {
    Ok(odd::Entity::find_by_id(one.id()).one(s).await?.expect("a row"))
}

#[test]
fn d4_d12_kinds_of_the_servers_own_are_carried_alone_and_in_sets() {
    on_mariadb(async |db: Db| {
        behind(&db, ODD).await;
        for (first, rows) in [(0, 1), (100, 5), (200, 3)] {
            let unit = db.session().optimistic().run(async |s: &mut Session| -> Done {
                // The last key that there is.
                let keys = (0..rows).map(|n| u64::MAX - first - n);
                let added: Vec<_> = keys.map(|key| s.add(odd(key))).collect();
                s.flush().await?;
                for one in &added {
                    let row = stored(s, one).await?;
                    assert_eq!(one.model(), row, "what the database made of it");
                    assert_eq!((&*row.price, row.bits, &*row.marks), (PRICE, (1 << 40) - 1, "a,c"));
                    assert_eq!((&*row.span, &*row.year, row.largest), ("-838:59:58.500000", "2155", u64::MAX));
                }
                for one in &added {
                    one.set_bits(5_u64).set_size("SMALL").set_marks("b,a,b").set_span("800:00:00").set_largest(0_u64);
                }
                s.flush().await?;
                for one in &added {
                    let row = stored(s, one).await?;
                    assert_eq!(one.model(), row);
                    assert_eq!((row.bits, &*row.size, &*row.marks, row.largest), (5, "small", "a,b", 0));
                    assert!(s.get::<odd::Entity>(one.id()).await?.is_some_and(|same| Tracked::ptr_eq(&same, one)));
                }
                added.iter().for_each(|one| s.delete(one));
                s.flush().await?;
                assert_eq!(odd::Entity::find().count(s).await?, 0);
                Ok(())
            });
            unit.await.unwrap();
        }
    });
}

/// An enum's word that is none, and a number that is none of its column, are errors whatever the server is set to.
#[test]
fn y2_values_that_a_kind_does_not_have_are_refused_by_the_server() {
    on_mariadb(async |db: Db| {
        behind(&db, ODD).await;
        let wrong: [fn() -> odd::ActiveModel; 5] = [
            || odd::ActiveModel { size: Set("medium".into()), ..odd(1) },
            || odd::ActiveModel { marks: Set("a,d".into()), ..odd(1) },
            || odd::ActiveModel { bits: Set(1 << 40), ..odd(1) },
            || odd::ActiveModel { year: Set("2156".into()), ..odd(1) },
            || odd::ActiveModel { day: Set("2023-02-30".into()), ..odd(1) },
        ];
        for model in wrong {
            let refused = db.run(async |s: &mut Session| -> Done {
                s.add(model());
                s.flush().await
            });
            assert!(refused.await.is_err(), "{:?}", model());
        }
    });
}

/// A day that is none, as old applications store it.
mod dated {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "dated")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub day: Option<Date>,
        pub hour: Option<Time>,
        pub n: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// The same table, with a day in every row.
mod strict {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "dated")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub day: Date,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

#[test]
fn d12_a_zero_date_and_a_time_over_a_day_are_no_panic_and_the_unit_goes_on() {
    on_mariadb(async |db: Db| {
        behind(&db, "CREATE TABLE dated (id bigint PRIMARY KEY, day date, hour time(6), n int NOT NULL)").await;
        behind(&db, "SET SESSION sql_mode = ''; INSERT INTO dated VALUES (1, '0000-00-00', NULL, 1), (2, NULL, '30:00:00', 1), (3, '2024-02-29', '23:59:59.999999', 1)").await;
        db.run(async |s: &mut Session| -> Done {
            // A day that is none is read as none; where there must be one, not at all.
            assert_eq!(s.get::<dated::Entity>(1).await?.expect("a row").day(), None);
            let refused = s.get::<dated::Entity>(2).await.unwrap_err();
            assert_eq!(refused.class(), Some(Class::Decode), "{refused:?}");
            let refused = s.get::<strict::Entity>(1).await.unwrap_err();
            assert_eq!(refused.class(), Some(Class::Decode), "{refused:?}");
            let good = s.get::<dated::Entity>(3).await?.expect("a row");
            good.set_n(2);
            Ok(())
        })
        .await
        .unwrap();
    });
}

/// A key of bytes that is filled up.
mod padded {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "padded")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Vec<u8>,
        pub n: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

#[test]
fn d4_a_key_of_bytes_that_the_database_fills_up_is_what_the_object_holds() {
    on_mariadb(async |db: Db| {
        behind(&db, "CREATE TABLE padded (id binary(8) PRIMARY KEY, n int NOT NULL)").await;
        db.run(async |s: &mut Session| -> Done {
            let new = |id: &[u8]| padded::ActiveModel { id: Set(id.to_vec()), n: Set(1) };
            let all: Vec<_> = [&[1, 2, 255][..], &[7], &[9; 8]].map(|id| s.add(new(id))).into();
            s.flush().await?;
            assert_eq!(all[0].id(), [1, 2, 255, 0, 0, 0, 0, 0]);
            all.iter().for_each(|one| _ = one.set_n(2));
            s.flush().await?;
            let again = s.get::<padded::Entity>(vec![7_u8, 0, 0, 0, 0, 0, 0, 0]).await?.expect("a row");
            assert!(Tracked::ptr_eq(&again, &all[1]));
            all.iter().for_each(|one| s.delete(one));
            s.flush().await?;
            assert_eq!(padded::Entity::find().count(s).await?, 0);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn d4_a_moment_is_cut_as_the_driver_cuts_it_and_read_back() {
    on_mariadb(async |db: Db| {
        let recorder = Recorder::new();
        db.session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Done {
                for (first, moment) in [(0, "1985-07-03T12:30:45.123456789Z"), (10, "2031-07-03T12:30:45.999999999Z")] {
                    let moment: DateTimeUtc = moment.parse().unwrap();
                    let new = |n: i64| made::ActiveModel {
                        id: Set(first + n),
                        name: Set("x".into()),
                        touched: Set(moment),
                        ..Default::default()
                    };
                    let all: Vec<_> = (0..3).map(|n| s.add(new(n))).collect();
                    s.flush().await?;
                    for one in &all {
                        let row = made::Entity::find_by_id(one.id()).one(s).await?.expect("a row");
                        one.with(|model| assert_eq!(*model, row));
                    }
                }
                Ok(())
            })
            .await
            .unwrap();
    });
}

/// Moments of every precision that there is.
mod precise {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "precise")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub none: DateTime,
        pub one: DateTime,
        pub two: DateTime,
        pub three: DateTime,
        pub four: DateTime,
        pub five: DateTime,
        pub six: DateTime,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

#[test]
fn d4_a_moment_has_the_precision_of_its_column_alone_and_in_sets() {
    on_mariadb(async |db: Db| {
        let columns = ["none", "one", "two", "three", "four", "five", "six"].iter().enumerate();
        let columns: Vec<_> = columns.map(|(digits, name)| format!("{name} datetime({digits}) NOT NULL")).collect();
        behind(&db, &format!("CREATE TABLE precise (id bigint PRIMARY KEY, {})", columns.join(", "))).await;
        let moment = |text: &str| -> DateTime { text.parse().unwrap() };
        let new = |id: i64, at: DateTime| precise::ActiveModel {
            id: Set(id),
            none: Set(at),
            one: Set(at),
            two: Set(at),
            three: Set(at),
            four: Set(at),
            five: Set(at),
            six: Set(at),
        };
        for (first, rows) in [(0, 1), (100, 5), (200, 3)] {
            db.session()
                .optimistic()
                .run(async |s: &mut Session| -> Done {
                    let at = moment("2024-02-29T23:59:59.999999");
                    let all: Vec<_> = (0..rows).map(|n| s.add(new(first + n, at))).collect();
                    s.flush().await?;
                    for at in [moment("1999-12-31T23:59:59.555555"), moment("9999-12-31T23:59:59.000001")] {
                        for one in &all {
                            let row = precise::Entity::find_by_id(one.id()).one(s).await?.expect("a row");
                            assert_eq!(one.model(), row, "what the database made of it");
                            one.set_none(at)
                                .set_one(at)
                                .set_two(at)
                                .set_three(at)
                                .set_four(at)
                                .set_five(at)
                                .set_six(at);
                        }
                        s.flush().await?;
                    }
                    for one in &all {
                        let row = precise::Entity::find_by_id(one.id()).one(s).await?.expect("a row");
                        assert_eq!(one.model(), row);
                        assert_eq!(row.six, moment("9999-12-31T23:59:59.000001"));
                        assert_eq!(row.five, moment("9999-12-31T23:59:59"));
                    }
                    Ok(())
                })
                .await
                .unwrap();
        }
    });
}

/// What a cast carries as a text: a number of another scale than its column, and a text in a collation that folds.
mod priced {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "priced")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[sea_orm(column_type = "Text", select_as = "CHAR(80)", save_as = "DECIMAL(30, 10)")]
        pub price: String,
        #[sea_orm(column_type = "Text", select_as = "CHAR(80)", save_as = "CHAR(80)")]
        pub label: String,
        pub stock: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

#[test]
fn p1_what_travels_as_a_text_is_unchanged_until_somebody_changes_it() {
    on_mariadb(async |db: Db| {
        let table = "CREATE TABLE priced (id bigint PRIMARY KEY, price decimal(8,2) NOT NULL, \
                     label varchar(20) COLLATE utf8mb4_general_ci NOT NULL, stock int NOT NULL)";
        behind(&db, table).await;
        let sell = async |by: Option<&'static str>| -> Result<i32, Error> {
            db.session()
                .optimistic()
                .run(async |s: &mut Session| -> Result<i32, Error> {
                    let one = s.get::<priced::Entity>(1).await?.expect("a row");
                    assert_eq!((&*one.price(), &*one.label()), ("-2.50", "Tea"));
                    if let Some(change) = by {
                        behind(&db, change).await;
                    }
                    one.set_stock(one.stock() - 1);
                    s.flush().await?;
                    Ok(one.stock())
                })
                .await
        };
        let added = db.session().optimistic().run(async |s: &mut Session| -> Done {
            let one =
                priced::ActiveModel { id: Set(1), price: Set("-2.5".into()), label: Set("Tea".into()), stock: Set(9) };
            let one = s.add(one);
            s.flush().await?;
            one.set_stock(8);
            s.flush().await
        });
        added.await.unwrap();
        assert_eq!(sell(None).await.unwrap(), 7);
        for change in ["UPDATE priced SET price = -2.51", "UPDATE priced SET price = -2.5, label = 'TEA'"] {
            let refused = sell(Some(change)).await.unwrap_err();
            assert!(matches!(refused.root(), Error::UnrepeatableRead { .. }), "{change}: {refused}");
            behind(&db, "UPDATE priced SET price = -2.5, label = 'Tea'").await;
        }
    });
}
