//! D9: what users call their tables, columns and types never decides which of them is meant.

use sea_orm::{ActiveValue::Set, ConnectionTrait, FromQueryResult, PaginatorTrait, entity::prelude::*};
use sea_session::{
    Error,
    prelude::*,
    testing::{Backend, run_test_on},
};

use crate::support::{backends, create_table};

type Done = Result<(), Error>;

async fn sql(db: &Db, statements: &[&str]) -> Done {
    for statement in statements {
        db.connection().execute_unprepared(statement).await?;
    }
    Ok(())
}

/// An entity in SeaORM's long format, whose `Column` is written by hand.
macro_rules! by_hand {
    ($name:ident, { $($column:tt)* }) => {
        mod $name {
            use super::*;

            #[derive(Copy, Clone, Default, Debug, DeriveEntity)]
            pub struct Entity;

            impl EntityName for Entity {
                fn table_name(&self) -> &'static str {
                    "person"
                }
            }

            #[derive(Clone, Debug, PartialEq, Eq, DeriveModel, DeriveActiveModel, Tracked)]
            pub struct Model {
                pub id: i32,
                pub first: String,
                pub last: Option<String>,
                #[tracked(version)]
                pub version: i32,
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveColumn)]
            pub enum Column { $($column)* }

            #[derive(Copy, Clone, Debug, EnumIter, DerivePrimaryKey)]
            pub enum PrimaryKey {
                Id,
            }

            impl PrimaryKeyTrait for PrimaryKey {
                type ValueType = i32;

                fn auto_increment() -> bool {
                    true
                }
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ColumnTrait for Column {
                type EntityName = Entity;

                fn def(&self) -> ColumnDef {
                    match self {
                        Self::Id | Self::Version => ColumnType::Integer.def(),
                        Self::First => ColumnType::Text.def(),
                        Self::Last => ColumnType::Text.def().null(),
                    }
                }
            }

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

by_hand!(turned, { Version, Last, First, Id });
by_hand!(numbered, { Last = 7, Id = 2, Version = 40, First = 3 });

macro_rules! any_order {
    ($backend:expr, $person:ident, $rows:expr) => {
        run_test_on(
            $backend,
            async |db: &Db| create_table(db, $person::Entity).await,
            async |db: Db| -> Done {
                let unit = db.session().optimistic();
                let ids = unit
                    .run(async |s: &mut Session| -> Result<Vec<i32>, Error> {
                        let new = |at: i32| $person::ActiveModel {
                            first: Set(format!("first {at}")),
                            last: Set((at % 2 == 0).then(|| format!("last {at}"))),
                            ..Default::default()
                        };
                        let people: Vec<_> = (0..$rows).map(|at| s.add(new(at))).collect();
                        s.flush().await?;
                        for (at, person) in people.iter().enumerate() {
                            assert_eq!(person.first(), format!("first {at}"));
                            assert_eq!(person.last().is_some(), at % 2 == 0);
                            assert_eq!(person.version(), 1);
                        }
                        Ok(people.iter().map(|person| person.id()).collect())
                    })
                    .await?;
                db.session()
                    .optimistic()
                    .run(async |s: &mut Session| -> Done {
                        for person in s.get_many::<$person::Entity>(ids.clone()).await?.into_iter().flatten() {
                            let (first, last) = (person.first(), person.last());
                            assert!(first.starts_with("first "), "{first}");
                            person.set_last(Some(format!("{first}, {last:?}")));
                            assert_eq!(person.changed(), ["last"]);
                        }
                        Ok(())
                    })
                    .await?;
                for person in $person::Entity::find().all(db.connection()).await? {
                    assert!(person.first.starts_with("first "), "{person:?}");
                    assert!(person.last.as_deref().is_some_and(|last| last.starts_with("first ")), "{person:?}");
                    assert_eq!(person.version, 2);
                }
                Ok(())
            },
        )
    };
}

#[test]
fn d9_columns_are_told_by_their_variants_not_by_the_order_of_the_fields() {
    for backend in backends() {
        any_order!(backend, turned, 1);
        any_order!(backend, turned, 3);
        any_order!(backend, turned, 600);
    }
}

#[test]
fn d9_a_column_enum_may_have_numbers_of_its_own() {
    for backend in backends() {
        any_order!(backend, numbered, 1);
        any_order!(backend, numbered, 3);
    }
}

/// A `Column` with a member that the model has no field for, and a model with a field that has no column.
mod partial {
    use super::*;

    #[derive(Copy, Clone, Default, Debug, DeriveEntity)]
    pub struct Entity;

    impl EntityName for Entity {
        fn table_name(&self) -> &'static str {
            "partial"
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq, DeriveActiveModel, Tracked)]
    pub struct Model {
        pub id: i32,
        pub name: String,
        #[sea_orm(ignore)]
        pub note: String,
        pub size: Option<i32>,
    }

    impl FromQueryResult for Model {
        fn from_query_result(row: &sea_orm::QueryResult, pre: &str) -> Result<Self, DbErr> {
            let (id, name, size) = (row.try_get(pre, "id")?, row.try_get(pre, "name")?, row.try_get(pre, "size")?);
            Ok(Self { id, name, note: String::new(), size })
        }
    }

    impl ModelTrait for Model {
        type Entity = Entity;

        fn get(&self, column: Column) -> Value {
            match column {
                Column::Id => self.id.into(),
                Column::Name => self.name.clone().into(),
                Column::Size => self.size.into(),
                Column::Made => Value::String(None),
            }
        }

        fn get_value_type(column: Column) -> sea_orm::sea_query::ArrayType {
            match column {
                Column::Id | Column::Size => sea_orm::sea_query::ArrayType::Int,
                Column::Name | Column::Made => sea_orm::sea_query::ArrayType::String,
            }
        }

        fn try_set(&mut self, column: Column, value: Value) -> Result<(), DbErr> {
            match column {
                Column::Id => self.id = value.unwrap(),
                Column::Name => self.name = value.unwrap(),
                Column::Size => self.size = value.unwrap(),
                Column::Made => return Err(DbErr::Type("a model has no `made`".into())),
            }
            Ok(())
        }
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveColumn)]
    pub enum Column {
        Made,
        Size,
        Id,
        Name,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DerivePrimaryKey)]
    pub enum PrimaryKey {
        Id,
    }

    impl PrimaryKeyTrait for PrimaryKey {
        type ValueType = i32;

        fn auto_increment() -> bool {
            true
        }
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ColumnTrait for Column {
        type EntityName = Entity;

        fn def(&self) -> ColumnDef {
            match self {
                Self::Id => ColumnType::Integer.def(),
                Self::Size => ColumnType::Integer.def().null(),
                Self::Name => ColumnType::Text.def(),
                Self::Made => ColumnType::Text.def().default("by the table"),
            }
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[test]
fn d9_a_column_enum_may_have_members_that_the_model_has_not() {
    for (backend, rows) in backends().flat_map(|b| [1, 3, 600].map(|n| (b, n))) {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, partial::Entity).await,
            async |db: Db| -> Done {
                db.run(async |s: &mut Session| -> Done {
                    let new = |at: i32| partial::ActiveModel {
                        name: Set(format!("n{at}")),
                        size: Set(Some(at)),
                        ..Default::default()
                    };
                    let added: Vec<_> = (0..rows).map(|at| s.add(new(at))).collect();
                    s.flush().await?;
                    added.iter().for_each(|one| {
                        one.set_size(one.size().map(|size| size + 1));
                    });
                    s.flush().await?;
                    for one in &added {
                        let row = partial::Entity::find_by_id(one.id()).one(&*s).await?.expect("a row");
                        assert_eq!((&row.name, row.size), (&one.name(), one.size()));
                    }
                    s.delete(&added[0]);
                    Ok(())
                })
                .await?;
                let left = partial::Entity::find().all(db.connection()).await?;
                assert_eq!(left.len(), rows as usize - 1);
                assert!(left.iter().all(|row| row.size.is_some_and(|size| row.name == format!("n{}", size - 1))));
                Ok(())
            },
        );
    }
}

// ---- schemas -------------------------------------------------------------------------------------------------------

/// Two tables called `thing`, the one in `alpha` with a key to the one in `beta`.
mod alpha {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(schema_name = "alpha", table_name = "thing")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub up: i64,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::beta::Entity", from = "Column::Up", to = "super::beta::Column::Id")]
        Up,
    }

    impl Related<super::beta::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Up.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod beta {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(schema_name = "beta", table_name = "thing")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// A key to its own table, which the one in `alpha` is not.
        pub above: Option<i64>,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "Entity", from = "Column::Above", to = "Column::Id")]
        Above,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn schemas(db: &Db) -> Done {
    let postgres = &[
        "CREATE SCHEMA alpha",
        "CREATE SCHEMA beta",
        "CREATE TABLE beta.thing (id bigint PRIMARY KEY, above bigint REFERENCES beta.thing, name text NOT NULL)",
        "CREATE TABLE alpha.thing (id bigint PRIMARY KEY, up bigint NOT NULL REFERENCES beta.thing, name text NOT NULL)",
    ];
    sql(db, postgres).await
}

fn a(id: i64, up: i64) -> alpha::ActiveModel {
    alpha::ActiveModel { id: Set(id), up: Set(up), name: Set(format!("a{id}")) }
}

fn b(id: i64, above: Option<i64>) -> beta::ActiveModel {
    beta::ActiveModel { id: Set(id), above: Set(above), name: Set(format!("b{id}")) }
}

#[test]
fn d9_the_same_name_in_two_schemas_is_two_tables() {
    run_test_on(Backend::Postgres, schemas, async |db: Db| -> Done {
        // The child is added first: only the foreign key says which table comes first.
        db.run(async |s: &mut Session| -> Done {
            s.add(a(1, 7));
            s.add(b(7, None));
            s.flush().await?;
            // The same keys in both, and a chain inside one of them.
            s.add(a(2, 1));
            s.add(a(7, 2));
            s.add(b(2, Some(1)));
            s.add(b(1, Some(7)));
            Ok(())
        })
        .await?;
        db.run(async |s: &mut Session| -> Done {
            let child = s.get::<alpha::Entity>(1).await?.expect("a child");
            let parent = child.related_one::<beta::Entity>(s).await?.expect("its parent");
            assert_eq!((parent.name().as_str(), child.name().as_str()), ("b7", "a1"));
            let other = s.get::<beta::Entity>(1).await?.expect("a row of the other table");
            assert_eq!(other.name(), "b1");
            child.set_parent(alpha::Relation::Up, &other)?;
            s.flush().await?;
            assert_eq!(child.up(), 1);
            Ok(())
        })
        .await?;
        db.run(async |s: &mut Session| -> Done {
            let (parents, children) = (beta::Entity::find().load(s).await?, alpha::Entity::find().load(s).await?);
            parents.iter().for_each(|row| s.delete(row));
            children.iter().for_each(|row| s.delete(row));
            s.flush().await
        })
        .await?;
        assert_eq!(alpha::Entity::find().count(db.connection()).await?, 0);
        assert_eq!(beta::Entity::find().count(db.connection()).await?, 0);
        Ok(())
    });
}

// ---- names that are ours, reserved, or quoted -------------------------------------------------------------------------

mod odd {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "u")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub c0: i32,
        #[sea_orm(column_name = "ord")]
        pub order: String,
        #[sea_orm(column_name = "sea_session_row")]
        pub row: Option<i32>,
        #[sea_orm(column_name = "select")]
        pub c1: Option<String>,
        #[sea_orm(column_name = "a \"quoted\" name", default_value = "d")]
        pub quoted: String,
        #[sea_orm(column_name = "größe.ü", unique)]
        pub wide: Option<i64>,
        #[sea_orm(column_name = "excluded")]
        pub written: bool,
        #[sea_orm(column_name = "Column")]
        pub column: i32,
        #[tracked(version)]
        #[sea_orm(column_name = "input")]
        pub m: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

fn strange(at: i64) -> odd::ActiveModel {
    odd::ActiveModel {
        order: Set(format!("o{at}")),
        row: Set((at % 2 == 0).then_some(1)),
        c1: Set(None),
        wide: Set(Some(at)),
        written: Set(at % 3 == 0),
        column: Set(-1),
        ..Default::default()
    }
}

fn odd_names(backend: Backend, rows: i64) {
    run_test_on(
        backend,
        async |db: &Db| create_table(db, odd::Entity).await,
        async |db: Db| -> Done {
            for show in [false, true] {
                let unit = db.session().optimistic();
                let unit = if show { unit.show_values() } else { unit };
                unit.run(async |s: &mut Session| -> Done {
                    let added: Vec<_> = (0..rows).map(|at| s.add(strange(at))).collect();
                    s.flush().await?;
                    for (at, one) in added.iter().enumerate() {
                        assert_eq!((one.order(), one.quoted()), (format!("o{at}"), "d".to_owned()));
                        one.set_c1(Some(format!("c{at}"))).set_row(Some(5)).set_quoted("it's");
                    }
                    s.flush().await?;
                    // Unique values change hands.
                    for (at, one) in added.iter().enumerate() {
                        one.set_wide(Some((at as i64 + 1) % rows));
                    }
                    s.flush().await?;
                    let stored = odd::Entity::find().all(&*s).await?;
                    for one in &added {
                        let row = stored.iter().find(|row| row.c0 == one.c0()).expect("a row");
                        assert_eq!(*row, one.model());
                    }
                    added.iter().for_each(|one| {
                        s.delete(one);
                    });
                    s.flush().await?;
                    assert_eq!(odd::Entity::find().count(&*s).await?, 0);
                    Ok(())
                })
                .await?;
            }
            Ok(())
        },
    );
}

#[test]
fn d9_names_of_users_never_meet_names_of_ours() {
    for backend in backends() {
        for rows in [2, 3, 40, 600] {
            odd_names(backend, rows);
        }
    }
}
