//! Versions that have reached the end of their type (E7), on every way of a flush.

use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{
    Error, Recorder, Session,
    prelude::*,
    testing::{Backend, run_test_on},
};

use crate::support::{backends, behind_the_back, create_table};

/// An entity for each type of version, and the ways in which its rows are changed.
macro_rules! versions {
    ($($name:ident: $type:ty, $backends:expr;)*) => {$(
        mod $name {
            use super::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
            #[sea_orm(table_name = "counted")]
            #[tracked(no_hooks)]
            pub struct Model {
                #[sea_orm(primary_key, auto_increment = false)]
                pub id: i64,
                #[sea_orm(unique)]
                pub place: Option<i64>,
                pub title: String,
                #[tracked(version)]
                pub version: $type,
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            async fn load(s: &mut Session) -> Result<Vec<Tracked<Entity>>, Error> {
                use sea_orm::QueryOrder;
                Entity::find().order_by_asc(Column::Id).load(s).await
            }

            /// A change in one of the ways that a flush has; the first row is the one whose version ends.
            async fn change(s: &mut Session, way: usize) -> Result<(), Error> {
                let rows = load(s).await?;
                match way {
                    // Alone; all in one set; through the planner.
                    0 => _ = rows[0].set_title("changed"),
                    1 => rows.iter().for_each(|row| _ = row.set_title("changed")),
                    2 => {
                        rows[0].set_place(Some(2));
                        rows[1].set_place(Some(1));
                    }
                    // Deleted and added again: a row switch.
                    3 => {
                        s.delete(&rows[0]);
                        s.add(ActiveModel { id: Set(1), title: Set("again".into()), ..Default::default() });
                    }
                    // Beside rows that are new.
                    _ => {
                        s.add(ActiveModel { id: Set(9), title: Set("new".into()), ..Default::default() });
                        rows[0].set_title("changed");
                    }
                }
                Ok(())
            }

            pub fn ends() {
                for backend in $backends {
                    run_test_on(backend, async |db: &Db| create_table(db, Entity).await, async |db: Db| {
                        let last = i64::try_from(<$type>::MAX).unwrap_or(i64::MAX);
                        for (id, version) in [(1, last), (2, last - 1), (3, 1)] {
                            let sql = format!("INSERT INTO counted VALUES ({id}, {id}, 'stored', {version})");
                            behind_the_back(&db, &sql).await;
                        }
                        for way in 0..5 {
                            let recorder = Recorder::new();
                            let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Result<(), Error> {
                                let loaded = load(s).await?.len();
                                assert_eq!(loaded, 3);
                                let sent = s.stats().statements;
                                let nested = s
                                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                                        change(s, way).await?;
                                        s.flush().await
                                    })
                                    .await;
                                assert!(matches!(&nested, Err(Error::VersionExhausted { version, .. }) if *version == last), "{nested:?}");
                                assert!(s.stats().statements - sent <= 2, "nothing but the read and its savepoint");
                                change(s, way).await?;
                                s.flush().await
                            });
                            let refused = unit.await.unwrap_err();
                            let text = refused.to_string();
                            assert!(
                                matches!(refused.root(), Error::VersionExhausted { entity: "counted", .. })
                                    && text.contains(&format!("counted 1: version {last} is the last")),
                                "{way}: {text}"
                            );
                            let written = |text: &String| ["UPDATE", "INSERT", "DELETE"].iter().any(|verb| text.starts_with(verb));
                            assert!(!recorder.statements().iter().any(written), "{way}: {:?}", recorder.statements());
                        }
                        // What has one left goes on, and a row may always be deleted.
                        let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
                            let rows = load(s).await?;
                            rows[1].set_title("changed");
                            s.delete(&rows[0]);
                            s.flush().await?;
                            assert_eq!(i64::try_from(rows[1].version()).unwrap(), last);
                            Ok(())
                        });
                        unit.await.unwrap();
                    });
                }
            }
        }
    )*};
}

/// Where the types are that PostgreSQL has not.
const UNSIGNED: [Backend; 2] = [Backend::Sqlite, Backend::MariaDb];

versions! {
    // PostgreSQL has types for these three.
    small: i16, backends();
    int: i32, backends();
    big: i64, backends();
    word: u32, UNSIGNED;
    tiny: i8, UNSIGNED;
    byte: u8, UNSIGNED;
    short: u16, UNSIGNED;
}

#[test]
fn e7_a_version_of_16_bits_ends_with_a_named_error() {
    small::ends();
    short::ends();
}

#[test]
fn e7_a_version_of_32_bits_ends_with_a_named_error() {
    int::ends();
}

#[test]
fn e7_a_version_of_64_bits_ends_with_a_named_error() {
    big::ends();
}

#[test]
fn e7_a_version_of_8_bits_ends_with_a_named_error() {
    tiny::ends();
    byte::ends();
}

#[test]
fn e7_a_version_of_32_bits_without_a_sign_ends_with_a_named_error() {
    word::ends();
}
