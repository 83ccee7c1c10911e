//! Values of optional types as keys, as unique values that change hands, as keys of parents, and as tracked times.

use mac_address::MacAddress;
use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{
    Error,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::family::{Count, Mood};

type Done = Result<(), Error>;

/// An entity whose key is of this type, with a nullable key to its own table and a nullable unique value of the type.
macro_rules! keyed {
    ($name:ident, $type:ty, $backends:expr, |$at:ident| $value:expr) => {
        mod $name {
            use super::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
            #[sea_orm(table_name = "knot")]
            pub struct Model {
                #[sea_orm(primary_key, auto_increment = false)]
                pub id: $type,
                pub up: Option<$type>,
                #[sea_orm(unique)]
                pub only: Option<$type>,
                pub n: i32,
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {
                #[sea_orm(belongs_to = "Entity", from = "Column::Up", to = "Column::Id")]
                Up,
            }

            impl ActiveModelBehavior for ActiveModel {}

            fn value($at: i32) -> $type {
                $value
            }

            fn new(at: i32, up: Option<i32>) -> ActiveModel {
                ActiveModel { id: Set(value(at)), up: Set(up.map(value)), only: Set(Some(value(at))), n: Set(at) }
            }

            pub fn run(rows: i32) {
                for backend in $backends {
                    run_test_on(
                        backend,
                        async |db: &Db| create_table(db, Entity).await,
                        async |db: Db| -> Done {
                            let mut s = db.session().optimistic().begin().await?;
                            // The first two need each other: one of them is NULL for a moment.
                            let objects: Vec<_> = (0..rows)
                                .map(|at| s.add(new(at, Some(if at == 0 { rows - 1 } else { at - 1 }))))
                                .collect();
                            s.flush().await?;
                            // Unique values change hands, all at once.
                            for (at, object) in objects.iter().enumerate() {
                                object.set_only(Some(value((at as i32 + 1) % rows)));
                                object.set_n(object.n() + 1);
                            }
                            s.flush().await?;
                            for (at, object) in objects.iter().enumerate() {
                                let found = s.get::<Entity>(value(at as i32)).await?.expect("the row");
                                assert!(Tracked::ptr_eq(object, &found));
                                let row = Entity::find_by_id(value(at as i32)).one(&s).await?.expect("the row");
                                assert_eq!(format!("{row:?}"), format!("{:?}", object.model()));
                                assert_eq!(row.n, at as i32 + 1);
                            }
                            s.commit().await?;
                            let mut s = db.begin().await?;
                            let found = s.get_many::<Entity>((0..rows).map(value)).await?;
                            let found: Vec<_> = found.into_iter().flatten().collect();
                            assert_eq!(found.len(), rows as usize);
                            for object in &found {
                                let parent =
                                    object.related_one_by::<Entity>(&mut s, Relation::Up).await?.expect("a parent");
                                assert_eq!(Some(parent.id()), object.up());
                            }
                            // Keys move on by as many as there are rows, children with them.
                            for object in &found {
                                object.set_up(None::<$type>);
                            }
                            s.flush().await?;
                            found.iter().for_each(|object| s.delete(object));
                            s.commit().await?;
                            assert_eq!(Entity::find().all(db.connection()).await?, []);
                            Ok(())
                        },
                    );
                }
            }
        }
    };
}

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];
const POSTGRES: [Backend; 1] = [Backend::Postgres];

keyed!(decimal, Decimal, POSTGRES, |at| Decimal::new(i64::from(at) * 100 + 50, 2));
keyed!(date, TimeDate, BOTH, |at| TimeDate::from_ordinal_date(2000 + at, 60).unwrap());
keyed!(moment, TimeDateTime, BOTH, |at| {
    TimeDateTime::new(
        TimeDate::from_ordinal_date(2000 + at, 60).unwrap(),
        TimeTime::from_hms_micro(1, 2, 3, 456_789).unwrap(),
    )
});
keyed!(network, IpNetwork, POSTGRES, |at| format!("10.0.{}.{}/32", at / 200, at % 200).parse().unwrap());
keyed!(mac, MacAddress, POSTGRES, |at| MacAddress::new([2, 0, 0, 0, (at >> 8) as u8, at as u8]));
keyed!(wrapper, Count, BOTH, |at| Count(at));
keyed!(bytes, Vec<u8>, BOTH, |at| vec![0, (at >> 8) as u8, at as u8]);

#[test]
fn d12_values_of_optional_types_are_keys_and_unique_values() {
    for rows in [2, 3, 40] {
        decimal::run(rows);
        date::run(rows);
        moment::run(rows);
        network::run(rows);
        mac::run(rows);
        wrapper::run(rows);
        bytes::run(rows);
    }
}

#[test]
fn d12_a_native_enum_is_a_key() {
    mod entity {
        use super::*;

        #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
        #[sea_orm(table_name = "by_mood")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub mood: Mood,
            pub n: i32,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    }
    for backend in BOTH {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, entity::Entity).await,
            async |db: Db| -> Done {
                let mut s = db.session().optimistic().begin().await?;
                let new = |mood| entity::ActiveModel { mood: Set(mood), n: Set(1) };
                let (fine, bad) = (s.add(new(Mood::Fine)), s.add(new(Mood::Bad)));
                s.flush().await?;
                let found = s.get::<entity::Entity>(Mood::Bad).await?.expect("a row");
                assert!(Tracked::ptr_eq(&bad, &found));
                fine.set_n(2);
                bad.set_n(3);
                s.flush().await?;
                s.delete(&fine);
                s.commit().await?;
                let rows = entity::Entity::find().all(db.connection()).await?;
                assert_eq!(rows, [entity::Model { mood: Mood::Bad, n: 3 }]);
                Ok(())
            },
        );
    }
}

mod stamped {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "stamped")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub n: i32,
        #[tracked(created_at)]
        pub made: TimeDateTime,
        #[tracked(updated_at)]
        pub changed: Option<TimeDateTimeWithTimeZone>,
        pub on: Option<TimeDate>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[test]
fn d12_tracked_times_may_be_of_the_crate_time() {
    for (backend, rows) in BOTH.into_iter().flat_map(|b| [1, 3, 600].map(|n| (b, n))) {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, stamped::Entity).await,
            async |db: Db| -> Done {
                let mut s = db.begin().await?;
                let new = || stamped::ActiveModel { n: Set(1), ..Default::default() };
                let objects: Vec<_> = (0..rows).map(|_| s.add(new())).collect();
                s.flush().await?;
                let made: Vec<_> = objects.iter().map(|object| (object.made(), object.changed_at())).collect();
                for object in &objects {
                    object.set_n(2);
                }
                s.flush().await?;
                for (object, (made, changed)) in objects.iter().zip(made) {
                    assert_eq!(object.made(), made);
                    assert!(object.changed_at() >= changed && changed.is_some());
                    let row = stamped::Entity::find_by_id(object.id()).one(&s).await?.expect("a row");
                    assert_eq!(format!("{row:?}"), format!("{:?}", object.model()));
                }
                s.commit().await?;
                Ok(())
            },
        );
    }
}

/// The accessor of the column `changed` would hide the object's own method of that name.
trait ChangedAt {
    fn changed_at(&self) -> Option<TimeDateTimeWithTimeZone>;
}

impl ChangedAt for Tracked<stamped::Entity> {
    fn changed_at(&self) -> Option<TimeDateTimeWithTimeZone> {
        self.with(|model| model.changed)
    }
}

#[test]
fn d12_a_decimal_of_another_scale_is_a_change_only_where_scales_are_kept() {
    mod price {
        use super::*;

        #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
        #[sea_orm(table_name = "price")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub id: i32,
            pub free: Decimal,
            #[sea_orm(column_type = "Decimal(Some((16, 4)))")]
            pub fixed: Decimal,
            pub at: TimeDateTimeWithTimeZone,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    }
    for backend in BOTH {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, price::Entity).await,
            async |db: Db| -> Done {
                let east = time::UtcOffset::from_hms(2, 0, 0).unwrap();
                let at = TimeDateTimeWithTimeZone::from_unix_timestamp(1_700_000_000).unwrap();
                let mut s = db.begin().await?;
                let row = s.add(price::ActiveModel {
                    id: Set(1),
                    free: Set(Decimal::new(15, 1)),
                    fixed: Set(Decimal::new(15, 1)),
                    at: Set(at),
                });
                s.flush().await?;
                row.set_free(Decimal::new(150, 2)).set_fixed(Decimal::new(150, 2)).set_at(at.to_offset(east));
                let kept: &[&str] = if backend == Backend::Postgres { &["free"] } else { &["at"] };
                assert_eq!(row.changed(), kept, "{backend:?}");
                s.flush().await?;
                let stored = price::Entity::find_by_id(1).one(&s).await?.expect("a row");
                assert_eq!(stored.free.scale(), if backend == Backend::Postgres { 2 } else { 1 });
                s.commit().await?;
                Ok(())
            },
        );
    }
}
