//! Rows that are found by unique values, or else added (U4): what `ON DUPLICATE KEY`, which is about every unique key, must not do.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use sea_orm::{ActiveValue::Set, ConnectOptions, PaginatorTrait, entity::prelude::*, sqlx::ConnectOptions as _};
use sea_session::{Error, Recorder, Session, Tracked, prelude::*};
use tokio::sync::Barrier;

use crate::tables::*;

type Done = Result<(), Error>;

/// A row with two unique keys beside its own, of which the second stands before the first in the table.
mod label {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "label")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        pub code: Option<i32>,
        pub note: String,
        #[tracked(version)]
        pub version: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

const TABLE: &str = "CREATE TABLE label (code int UNIQUE, id bigint AUTO_INCREMENT PRIMARY KEY, \
    name varchar(20) COLLATE utf8mb4_general_ci NOT NULL UNIQUE, note varchar(20) NOT NULL DEFAULT '', version int NOT NULL)";

fn label(name: &str, code: Option<i32>) -> label::ActiveModel {
    label::ActiveModel { name: Set(name.to_owned()), code: Set(code), ..Default::default() }
}

fn on_labels(test: impl AsyncFn(Db)) {
    on_mariadb(async |db: Db| {
        behind(&db, TABLE).await;
        test(db).await;
    });
}

async fn stored(db: &Db) -> Vec<label::Model> {
    use sea_orm::QueryOrder;
    label::Entity::find().order_by_asc(label::Column::Id).all(db.connection()).await.unwrap()
}

/// A pool that has a connection for each of the units.
async fn wide(db: &Db) -> Db {
    let url = db.connection().get_mysql_connection_pool().connect_options().to_url_lossy().to_string();
    let mut options = ConnectOptions::new(url);
    options.max_connections(UNITS as u32);
    Db::connect(options).await.unwrap()
}

const UNITS: usize = 16;

/// Runs a body in so many units at once: each has a snapshot of its own in which no row is there.
async fn at_once(db: &Db, nested: bool, body: impl AsyncFn(&mut Session) -> Done) {
    let (wide, together) = (wide(db).await, Barrier::new(UNITS));
    let unit = async || {
        let mut s = wide.begin().await?;
        assert_eq!(label::Entity::find().count(&s).await?, 0);
        together.wait().await;
        match nested {
            false => body(&mut s).await?,
            true => {
                let savepoint = s.savepoint().await?;
                body(&mut s).await?;
                s.release(savepoint).await?;
            }
        }
        s.commit().await
    };
    let outcomes = futures_util::future::join_all((0..UNITS).map(|_| unit())).await;
    outcomes.into_iter().for_each(|outcome: Done| outcome.unwrap());
    wide.close().await.unwrap();
}

#[test]
fn u4_of_many_units_at_once_one_adds_the_row_and_all_get_it() {
    for nested in [false, true] {
        on_labels(async |db: Db| {
            let (added, ids) = (AtomicU32::new(0), parking_lot_ids());
            at_once(&db, nested, async |s: &mut Session| {
                let (label, new) = s.get_or_add(label("one", Some(1)), label::Column::Name).await?;
                added.fetch_add(u32::from(new), Ordering::SeqCst);
                ids.lock().unwrap().push(label.id());
                Ok(())
            })
            .await;
            let rows = stored(&db).await;
            assert_eq!((rows.len(), added.load(Ordering::SeqCst)), (1, 1));
            assert_eq!(*ids.lock().unwrap(), [rows[0].id; UNITS]);
        });
    }
}

fn parking_lot_ids() -> Arc<std::sync::Mutex<Vec<i64>>> {
    Arc::default()
}

#[test]
fn u4_of_many_upserts_at_once_each_raises_the_version() {
    for nested in [false, true] {
        on_labels(async |db: Db| {
            at_once(&db, nested, async |s: &mut Session| {
                s.upsert(label("one", Some(1)), label::Column::Name).await.map(drop)
            })
            .await;
            let rows = stored(&db).await;
            assert_eq!((rows.len(), rows[0].version), (1, UNITS as i32));
        });
    }
}

#[test]
fn u4_a_row_that_is_there_stays_as_it_is_and_counts_one_statement() {
    on_labels(async |db: Db| {
        behind(&db, "INSERT INTO label (name, code, note, version) VALUES ('ann', 1, 'kept', 3)").await;
        let recorder = Recorder::new();
        let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Done {
            recorder.take();
            // In another spelling, which the collation holds equal (D5).
            let (ann, new) = s.get_or_add(label("ANN", Some(9)), label::Column::Name).await?;
            assert_eq!((new, ann.name(), ann.note(), ann.version()), (false, "ann".to_owned(), "kept".to_owned(), 3));
            assert!(writes(&recorder).is_empty());
            let (bob, new) = s.get_or_add(label("bob", None), label::Column::Name).await?;
            assert_eq!((new, bob.version(), bob.note()), (true, 1, String::new()));
            assert_eq!(writes(&recorder).len(), 1);
            let (again, new) = s.get_or_add(label("Bob", None), label::Column::Name).await?;
            assert!(!new && Tracked::ptr_eq(&bob, &again));
            Ok(())
        });
        unit.await.unwrap();
        assert_eq!(stored(&db).await.len(), 2);
    });
}

#[test]
fn u4_a_row_that_meets_another_in_a_key_that_was_not_named_is_an_error_and_changes_nothing() {
    on_labels(async |db: Db| {
        behind(&db, "INSERT INTO label (name, code, version) VALUES ('ann', 1, 1), ('bob', 2, 1)").await;
        let before = stored(&db).await;
        for (name, code) in [("ann", 2), ("new", 2)] {
            let unit = db.run(async |s: &mut Session| -> Done {
                let block = s.atomic(async |s: &mut Session| -> Done {
                    let model = label::ActiveModel { note: Set("taken".into()), ..label(name, Some(code)) };
                    s.upsert(model, label::Column::Name).await.map(drop)
                });
                let refused = block.await.unwrap_err();
                assert!(refused.is_unique_violation(), "{refused:?}");
                Ok(())
            });
            unit.await.unwrap();
            assert_eq!(stored(&db).await, before);
        }
        db.run(async |s: &mut Session| -> Done {
            // What was named is there: the other key is not asked about.
            let (ann, new) = s.get_or_add(label("ann", Some(2)), label::Column::Name).await?;
            assert_eq!((new, ann.code()), (false, Some(1)));
            let block = s.atomic(async |s: &mut Session| -> Done {
                s.get_or_add(label("new", Some(2)), label::Column::Name).await.map(drop)
            });
            assert!(block.await.unwrap_err().is_unique_violation());
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(stored(&db).await, before);
    });
}

#[test]
fn u4_columns_without_a_unique_key_of_their_own_are_refused_by_name() {
    on_labels(async |db: Db| {
        let unit = db.run(async |s: &mut Session| -> Done {
            for columns in [vec![label::Column::Note], vec![label::Column::Name, label::Column::Code]] {
                let model = label::ActiveModel { note: Set("x".into()), ..label("one", Some(1)) };
                let refused = s.get_or_add(model.clone(), columns.clone()).await.unwrap_err();
                assert!(matches!(&refused, Error::Usage(text) if text.contains("no unique key of just")), "{refused}");
                let refused = s.upsert(model, columns).await.unwrap_err();
                assert!(matches!(&refused, Error::Usage(text) if text.contains("no unique key of just")), "{refused}");
            }
            Ok(())
        });
        unit.await.unwrap();
        assert!(stored(&db).await.is_empty());
    });
}

/// An UPDATE that changes nothing would fire them.
#[test]
fn u4_triggers_do_not_see_a_row_that_is_only_got() {
    on_labels(async |db: Db| {
        behind(&db, "CREATE TRIGGER touched BEFORE UPDATE ON label FOR EACH ROW SET NEW.note = 'touched'").await;
        let mut s = db.begin().await.unwrap();
        assert_eq!(label::Entity::find().count(&s).await.unwrap(), 0);
        // After this unit's snapshot.
        behind(&db, "INSERT INTO label (name, code, version) VALUES ('ann', 1, 1)").await;
        let (ann, new) = s.get_or_add(label("ann", Some(5)), label::Column::Name).await.unwrap();
        assert_eq!((new, ann.note(), ann.code()), (false, String::new(), Some(1)));
        let (bob, new) = s.get_or_add(label("bob", Some(2)), label::Column::Name).await.unwrap();
        assert!(new && bob.id() != ann.id());
        s.commit().await.unwrap();
        assert!(stored(&db).await.iter().all(|row| row.note.is_empty()));
        let refused = db.run(async |s: &mut Session| -> Done {
            s.get_or_add(label("new", Some(2)), label::Column::Name).await.map(drop)
        });
        assert!(refused.await.unwrap_err().is_unique_violation(), "of a key that was not named");
        // An upsert changes the row, which the trigger is for; the object holds what became of it.
        db.run(async |s: &mut Session| -> Done {
            let ann = s.upsert(label("ann", Some(7)), label::Column::Name).await?;
            assert_eq!((ann.note(), ann.code(), ann.version()), ("touched".to_owned(), Some(7), 2));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn s3_a_row_that_was_added_in_a_block_that_rolls_back_is_transient_again() {
    on_labels(async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let mut kept = None;
            let block = s.atomic(async |s: &mut Session| -> Done {
                let (label, new) = s.get_or_add(label("one", None), label::Column::Name).await?;
                assert!(new);
                kept = Some(label);
                s.upsert(label::ActiveModel { note: Set("new".into()), ..label_named("one") }, label::Column::Name)
                    .await?;
                Err(Error::Usage("changed my mind".into()))
            });
            block.await.unwrap_err();
            assert_eq!(s.state(kept.as_ref().unwrap()), State::Transient);
            assert_eq!(label::Entity::find().count(s).await?, 0);
            Ok(())
        })
        .await
        .unwrap();
    });
}

fn label_named(name: &str) -> label::ActiveModel {
    label::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

#[test]
fn u4_many_are_got_added_and_upserted_in_their_order() {
    on_labels(async |db: Db| {
        behind(&db, "INSERT INTO label (name, code, version) VALUES ('n3', 3, 1), ('n1', 1, 1)").await;
        db.run(async |s: &mut Session| -> Done {
            let models = || (0..6).map(|n| label(&format!("n{n}"), Some(n)));
            let got = s.get_or_add_many(models(), label::Column::Name).await?;
            assert_eq!(got.iter().map(|(_, new)| *new).collect::<Vec<_>>(), [true, false, true, false, true, true]);
            let upserted = s.upsert_many(models(), label::Column::Name).await?;
            for (n, (label, (same, _))) in upserted.iter().zip(&got).enumerate() {
                assert!(Tracked::ptr_eq(label, same));
                assert_eq!((label.name(), label.code(), label.version()), (format!("n{n}"), Some(n as i32), 2));
            }
            Ok(())
        })
        .await
        .unwrap();
        assert!(stored(&db).await.iter().all(|row| row.version == 2));
    });
}
