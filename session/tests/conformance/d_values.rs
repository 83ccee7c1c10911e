//! D12: what SeaORM's own statements carry, every path carries; and two values are the same if the database holds one thing
//! for them.

use chrono::TimeZone as _;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, ConnectionTrait, FromJsonQueryResult, entity::prelude::*};
use sea_session::{
    Error, Recorder,
    prelude::*,
    testing::{Backend, run_test_on},
};
use serde::{Deserialize, Serialize};

use crate::support::{backends, create_table};

type Done = Result<(), Error>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Part {
    pub name: String,
    pub size: Option<f64>,
}

fn part(name: &str) -> Part {
    Part { name: name.into(), size: Some(1.5) }
}

// ---- lists of documents, and documents --------------------------------------------------------------------------------

mod parts {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "parts")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub place: i32,
        #[sea_orm(column_type = "JsonBinary")]
        pub list: Vec<super::Part>,
        #[sea_orm(column_type = "Json", nullable)]
        pub maybe: Option<Vec<super::Part>>,
        #[sea_orm(column_type = "JsonBinary", nullable)]
        pub one: Option<super::Part>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

fn of_parts(at: i32) -> parts::ActiveModel {
    parts::ActiveModel {
        place: Set(at),
        list: Set((0..at % 3).map(|n| part(&n.to_string())).collect()),
        maybe: Set((at % 2 == 0).then(|| vec![part("x"), Part { name: "ü\"'".into(), size: None }])),
        one: Set((at % 5 == 0).then(|| part("one"))),
        ..Default::default()
    }
}

fn stored_parts(at: i32, set: usize) -> parts::Model {
    let draft = of_parts(at);
    parts::Model {
        id: 0,
        place: at,
        list: draft.list.unwrap(),
        maybe: draft.maybe.unwrap(),
        one: if set == 0 { draft.one.unwrap() } else { Some(part("changed")) },
    }
}

#[test]
fn d12_a_list_of_documents_goes_into_a_json_column() {
    for (backend, rows) in backends().flat_map(|b| [1, 3, 600].map(|n| (b, n))) {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, parts::Entity).await,
            async |db: Db| -> Done {
                let by_sea_orm = of_parts(5).insert(db.connection()).await?;
                for show in [false, true] {
                    let unit = db.session().optimistic();
                    let unit = if show { unit.show_values() } else { unit };
                    unit.run(async |s: &mut Session| -> Done {
                        let added: Vec<_> = (0..rows).map(|at| s.add(of_parts(at))).collect();
                        s.flush().await?;
                        for (at, one) in added.iter().enumerate() {
                            let row = parts::Entity::find_by_id(one.id()).one(&*s).await?.expect("a row");
                            assert_eq!(row, parts::Model { id: one.id(), ..stored_parts(at as i32, 0) });
                            assert_eq!(row, one.model());
                            one.set_one(Some(part("changed")));
                            one.set_maybe(Some(vec![]));
                        }
                        s.flush().await?;
                        for (at, one) in added.iter().enumerate() {
                            let row = parts::Entity::find_by_id(one.id()).one(&*s).await?.expect("a row");
                            let expected =
                                parts::Model { id: one.id(), maybe: Some(vec![]), ..stored_parts(at as i32, 1) };
                            assert_eq!((&row, one.model()), (&expected, expected.clone()));
                            s.delete(one);
                        }
                        Ok(())
                    })
                    .await?;
                }
                assert_eq!(parts::Entity::find().all(db.connection()).await?, [by_sea_orm]);
                Ok(())
            },
        );
    }
}

#[test]
fn d12_a_list_of_documents_that_the_database_made_is_read_back() {
    for backend in backends() {
        let json = match backend {
            Backend::Postgres => ("jsonb", "json"),
            Backend::MariaDb => ("json", "json"),
            _ => ("text", "text"),
        };
        let table = format!(
            "CREATE TABLE parts (id integer PRIMARY KEY, place integer NOT NULL, one {0}, maybe {1} DEFAULT '[]', \
             list {0} NOT NULL DEFAULT '[{{\"name\": \"made\", \"size\": 2.5}}]')",
            json.0, json.1
        );
        run_test_on(backend, async |db: &Db| db.connection().execute_unprepared(&table).await.map(|_| ()), {
            async |db: Db| -> Done {
                db.run(async |s: &mut Session| -> Done {
                    let new = |id: i32| parts::ActiveModel { id: Set(id), place: Set(id), ..Default::default() };
                    let added: Vec<_> = (1..=3).map(|id| s.add(new(id))).collect();
                    s.flush().await?;
                    for one in &added {
                        assert_eq!(one.list(), [Part { name: "made".into(), size: Some(2.5) }]);
                        assert_eq!((one.maybe(), one.one()), (Some(vec![]), None));
                    }
                    Ok(())
                })
                .await
            }
        });
    }
}

// ---- arrays in optimistic checks (PostgreSQL) ---------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "Mood u")]
pub enum Mood {
    #[sea_orm(string_value = "it's fine")]
    Fine,
    #[sea_orm(string_value = "bad")]
    Bad,
}

mod lists {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "lists")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub n: i32,
        pub tags: Vec<String>,
        pub numbers: Option<Vec<i64>>,
        pub smalls: Vec<i16>,
        pub flags: Vec<bool>,
        pub days: Vec<Date>,
        pub moments: Vec<DateTimeUtc>,
        pub uuids: Vec<Uuid>,
        pub raw: Vec<Vec<u8>>,
        pub moods: Vec<super::Mood>,
        pub mood: Option<super::Mood>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row of the lists, its arrays of types that are narrower, or other, than what the entity says.
const LISTS: &str = "CREATE TYPE \"Mood u\" AS ENUM ('it''s fine', 'bad'); CREATE TABLE lists (id serial PRIMARY KEY, \
    n integer NOT NULL, tags TAGS[] NOT NULL, numbers bigint[], smalls smallint[] NOT NULL, flags boolean[] NOT NULL, \
    days date[] NOT NULL, moments timestamptz[] NOT NULL, uuids uuid[] NOT NULL, raw bytea[] NOT NULL, \
    moods \"Mood u\"[] NOT NULL, mood \"Mood u\")";

fn of_lists(at: i32) -> lists::ActiveModel {
    let moment = chrono::Utc.timestamp_opt(i64::from(at) * 100_000, 500_000).unwrap();
    lists::ActiveModel {
        n: Set(at),
        tags: Set(vec!["a, b".into(), "{c}".into(), String::new()]),
        numbers: Set((at % 2 == 0).then(|| vec![1, -1, i64::MAX])),
        smalls: Set(vec![]),
        flags: Set(vec![true, false]),
        days: Set(vec![moment.date_naive()]),
        moments: Set(vec![moment]),
        uuids: Set(vec![Uuid::from_u128(at as u128)]),
        raw: Set(vec![vec![0, 255], vec![]]),
        moods: Set(vec![Mood::Bad, Mood::Fine]),
        mood: Set((at % 3 == 0).then_some(Mood::Fine)),
        ..Default::default()
    }
}

#[test]
fn d12_an_array_is_compared_whatever_its_column_is_called_by_the_database() {
    for (tags, rows) in ["varchar", "text", "varchar(20)"].into_iter().flat_map(|t| [1, 3, 40].map(|n| (t, n))) {
        let table = LISTS.replace("TAGS", tags);
        run_test_on(Backend::Postgres, async |db: &Db| db.connection().execute_unprepared(&table).await.map(|_| ()), {
            async |db: Db| -> Done {
                db.session()
                    .optimistic()
                    .run(async |s: &mut Session| -> Done {
                        let added: Vec<_> = (0..rows).map(|at| s.add(of_lists(at))).collect();
                        s.flush().await?;
                        for one in &added {
                            let model = one.model();
                            let row = lists::Entity::find_by_id(one.id()).one(&*s).await?.expect("a row");
                            assert_eq!(row, model);
                            one.set_n(-1);
                        }
                        s.flush().await?;
                        assert!(lists::Entity::find().all(&*s).await?.iter().all(|row| row.n == -1));
                        let first = &added[0];
                        let _ = first.tags();
                        s.execute_unprepared("UPDATE lists SET tags = tags || 'more'").await?;
                        first.set_n(9);
                        let refused = s.flush().await.expect_err("the tags were read");
                        let column = matches!(&refused, Error::UnrepeatableRead { column: "tags", .. });
                        assert!(column, "{refused}");
                        Ok(())
                    })
                    .await
                    .expect_err("the failed flush ends the unit");
                Ok(())
            }
        });
    }
}

// ---- the same value ---------------------------------------------------------------------------------------------------

mod measure {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "measure")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub x: f64,
        pub y: Option<f32>,
        pub at: DateTimeWithTimeZone,
        pub data: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

const EAST: &str = "2024-05-01T10:00:00+02:00";
const SAME_IN_UTC: &str = "2024-05-01T08:00:00+00:00";

fn measured(id: i64) -> measure::ActiveModel {
    measure::ActiveModel {
        id: Set(id),
        x: Set(0.0),
        y: Set(Some(f32::NAN)),
        at: Set(EAST.parse().unwrap()),
        data: Set(serde_json::json!({"a": 1, "b": [0.0, {"c": null}]})),
    }
}

/// Whether a change of the row was sent, and the row after it.
async fn sent(db: &Db, change: impl Fn(&Tracked<measure::Entity>) + Sync) -> Result<(bool, measure::Model), Error> {
    let recorder = Recorder::new();
    let row = db
        .session()
        .record(&recorder)
        .run(async |s: &mut Session| -> Result<Tracked<measure::Entity>, Error> {
            let row = s.get::<measure::Entity>(1).await?.expect("a row");
            change(&row);
            Ok(row)
        })
        .await?;
    let stored = measure::Entity::find_by_id(1).one(db.connection()).await?.expect("a row");
    assert_eq!(stored.x.to_bits(), row.x().to_bits());
    Ok((recorder.take().iter().any(|sql| sql.contains("UPDATE")), stored))
}

#[test]
fn d12_a_zero_of_the_other_sign_is_another_value_where_the_database_keeps_it() {
    run_test_on(
        Backend::Postgres,
        async |db: &Db| create_table(db, measure::Entity).await,
        async |db: Db| -> Done {
            measured(1).insert(db.connection()).await?;
            let (is_sent, row) = sent(&db, |row| {
                row.set_x(-0.0);
            })
            .await?;
            assert!(is_sent && row.x.is_sign_negative(), "{row:?}");
            assert!(
                !sent(&db, |row| {
                    row.set_x(-0.0).set_y(Some(-f32::NAN));
                })
                .await?
                .0
            );
            let (is_sent, row) = sent(&db, |row| {
                row.set_x(0.0);
            })
            .await?;
            assert!(is_sent && row.x.is_sign_positive(), "{row:?}");
            Ok(())
        },
    );
}

#[test]
fn d12_another_offset_of_the_same_moment_is_a_change_only_where_offsets_are_kept() {
    for backend in backends() {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, measure::Entity).await,
            async |db: Db| -> Done {
                measure::ActiveModel { y: Set(None), ..measured(1) }.insert(db.connection()).await?;
                let (is_sent, row) = sent(&db, |row| {
                    row.set_at(SAME_IN_UTC.parse::<DateTimeWithTimeZone>().unwrap());
                })
                .await?;
                assert_eq!(is_sent, backend == Backend::Sqlite, "{row:?}");
                assert_eq!(row.at.to_rfc3339(), SAME_IN_UTC, "PostgreSQL has it so anyway");
                assert!(
                    sent(&db, |row| {
                        row.set_at("2024-05-01T08:00:01Z".parse::<DateTimeWithTimeZone>().unwrap());
                    })
                    .await?
                    .0
                );
                Ok(())
            },
        );
    }
}

#[test]
fn d12_a_document_is_the_same_in_any_order_of_its_keys() {
    for backend in backends() {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, measure::Entity).await,
            async |db: Db| -> Done {
                measure::ActiveModel { y: Set(None), ..measured(1) }.insert(db.connection()).await?;
                let turned = || serde_json::json!({"b": [0.0, {"c": null}], "a": 1});
                assert!(
                    !sent(&db, |row| {
                        row.set_data(turned());
                    })
                    .await?
                    .0
                );
                let (is_sent, row) = sent(&db, |row| {
                    row.set_data(serde_json::json!({"a": 1}));
                })
                .await?;
                assert!(is_sent && row.data == serde_json::json!({"a": 1}));
                Ok(())
            },
        );
    }
}

// ---- moments before the year 2000 ---------------------------------------------------------------------------------------

#[test]
fn d12_a_moment_is_cut_as_sea_orm_cuts_it() {
    run_test_on(
        Backend::Postgres,
        async |db: &Db| create_table(db, measure::Entity).await,
        async |db: Db| -> Done {
            let moments =
                ["1999-12-31T23:59:59.123456789Z", "1969-07-20T20:17:40.000000999Z", "2024-02-29T12:00:00.999999999Z"];
            for (at, moment) in moments.into_iter().enumerate() {
                let draft = |id: i64| measure::ActiveModel { at: Set(moment.parse().unwrap()), ..measured(id) };
                draft(at as i64).insert(db.connection()).await?;
                for (rows, first) in [(1, 10), (3, 20), (600, 100)] {
                    db.run(async |s: &mut Session| -> Done {
                        (0..rows).for_each(|n| drop(s.add(draft(first + n))));
                        Ok(())
                    })
                    .await?;
                }
                let rows = measure::Entity::find().all(db.connection()).await?;
                let plain = rows.iter().find(|row| row.id == at as i64).expect("SeaORM's own row").at;
                assert!(rows.iter().filter(|row| row.id >= 10).all(|row| row.at == plain), "{moment}: {plain}");
                measure::Entity::delete_many().filter(measure::Column::Id.gte(10)).exec(db.connection()).await?;
            }
            Ok(())
        },
    );
}

// ---- numbers that no backend holds -----------------------------------------------------------------------------------------

mod counter {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "counter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub n: u64,
        pub text: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// SeaORM writes a `u64` up to the largest `i64`, reads none back on these backends, and panics over a larger one.
#[test]
fn d12_a_number_that_is_too_large_is_refused_and_no_panic() {
    // MariaDB has numbers without a sign, up to the last (`tests/mariadb`).
    let others = backends().filter(|backend| *backend != Backend::MariaDb);
    for (backend, rows) in others.flat_map(|b| [1, 3, 600].map(|n| (b, n))) {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, counter::Entity).await,
            async |db: Db| -> Done {
                let new = |id: i64, n: u64| counter::ActiveModel { id: Set(id), n: Set(n), text: Set(String::new()) };
                let most = i64::MAX.cast_unsigned();
                db.run(async |s: &mut Session| -> Done {
                    (0..rows).for_each(|id| drop(s.add(new(id, most))));
                    Ok(())
                })
                .await?;
                let held = db.connection().query_all_raw(sea_orm::Statement::from_string(
                    db.connection().get_database_backend(),
                    "SELECT n FROM counter",
                ));
                let held: Result<Vec<i64>, DbErr> = held.await?.iter().map(|row| row.try_get("", "n")).collect();
                assert_eq!(held?, vec![i64::MAX; rows as usize]);
                for show in [false, true] {
                    let unit = if show { db.session().show_values() } else { db.session() };
                    let refused = unit
                        .run(async |s: &mut Session| -> Done {
                            (0..rows).for_each(|id| drop(s.add(new(1_000 + id, most + 1))));
                            Ok(())
                        })
                        .await
                        .expect_err("it does not fit");
                    assert!(refused.to_string().contains("larger than 9223372036854775807"), "{refused}");
                }
                Ok(())
            },
        );
    }
}

// ---- tenants and times --------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "house")]
pub enum House {
    #[sea_orm(string_value = "north")]
    North,
    #[sea_orm(string_value = "south")]
    South,
}

mod rented {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "rented")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[tracked(tenant)]
        pub house: super::House,
        pub name: String,
        #[tracked(created_at)]
        pub made: DateTime,
        #[tracked(updated_at)]
        pub changed: Option<DateTimeWithTimeZone>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[test]
fn d12_a_native_enum_may_be_the_tenant() {
    for (backend, rows) in backends().flat_map(|b| [1, 3, 600].map(|n| (b, n))) {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, rented::Entity).await,
            async |db: Db| -> Done {
                let unit = |tenant: &str| db.session().tenant("app.house", tenant);
                unit("south")
                    .run(async |s: &mut Session| -> Done {
                        let new = || rented::ActiveModel { name: Set("n".into()), ..Default::default() };
                        let added: Vec<_> = (0..rows).map(|_| s.add(new())).collect();
                        s.flush().await?;
                        added.iter().for_each(|one| {
                            one.set_name("m");
                        });
                        s.flush().await?;
                        for one in added.iter().take(3) {
                            assert_eq!(one.house(), House::South);
                            let row = rented::Entity::find_by_id(one.id()).one(&*s).await?.expect("a row");
                            assert_eq!(row, one.model());
                        }
                        Ok(())
                    })
                    .await?;
                let refused = unit("north")
                    .run(async |s: &mut Session| -> Done {
                        s.add(rented::ActiveModel {
                            name: Set("n".into()),
                            house: Set(House::South),
                            ..Default::default()
                        });
                        Ok(())
                    })
                    .await
                    .expect_err("another house");
                assert!(matches!(refused, Error::Tenant { .. }), "{refused}");
                Ok(())
            },
        );
    }
}
