//! Optimistic checks by version (O) and by columns read (P).

use sea_orm::{EntityTrait, Set};
use sea_session::{Error, Session, prelude::*};

use crate::support::*;

/// An entity without a version, so that only the columns read protect it.
mod account {
    use super::*;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "account")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub owner: Option<String>,
        pub balance: i64,
        pub rate: f64,
        #[tracked(optimistic = false)]
        pub seen: i64,
        pub opened: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn accounts(db: &Db, ids: impl Iterator<Item = i64> + Send + Clone + Sync) {
    create_table(db, account::Entity).await.unwrap();
    // As a DEFAULT CURRENT_TIMESTAMP of SQLite would have written it: not in the form in which it is bound.
    let rows: Vec<String> = ids.map(|id| format!("({id}, NULL, 100, 0.1, 0, '2026-01-01 00:00:00')")).collect();
    behind_the_back(
        db,
        &format!("INSERT INTO account (id, owner, balance, rate, seen, opened) VALUES {}", rows.join(", ")),
    )
    .await;
}

async fn notes(db: &Db, count: i64) {
    db.run(async |s: &mut Session| -> Result<(), Error> {
        (0..count).for_each(|id| drop(s.add(draft(id, "loaded"))));
        Ok(())
    })
    .await
    .unwrap();
}

/// Changes a row past the identity map, in the session's own transaction: what a concurrent unit would have done.
async fn meanwhile(s: &mut Session, sql: &str) -> Result<(), Error> {
    use sea_orm::ConnectionTrait;
    s.no_autoflush().execute_unprepared(sql).await?;
    Ok(())
}

#[test]
fn o1_f8_the_stale_row_of_a_batch_is_named() {
    the_stale_row_is_named(500);
}

/// So many rows are only counted at first.
#[test]
fn o1_f8_the_stale_row_of_a_large_batch_is_named() {
    the_stale_row_is_named(1_500);
}

fn the_stale_row_is_named(rows: i64) {
    on_all(async |db: Db| {
        notes(&db, rows).await;
        let update = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                let loaded = note::Entity::find().load(s).await?;
                meanwhile(s, "UPDATE note SET version = 9 WHERE id = 321").await?;
                for n in &loaded {
                    n.set_title("mine");
                }
                s.flush().await
            })
            .await
            .unwrap_err();
        match update.root() {
            Error::Stale { entity: "note", key, expected: Some(1), found: Some(9) } => assert_eq!(&**key, "321"),
            other => panic!("{other:?}"),
        }
        let delete = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                let loaded = note::Entity::find().load(s).await?;
                meanwhile(s, "DELETE FROM note WHERE id = 42").await?;
                loaded.iter().for_each(|n| s.delete(n));
                Ok(())
            })
            .await
            .unwrap_err();
        match delete.root() {
            Error::Stale { entity: "note", key, expected: Some(1), found: None } => assert_eq!(&**key, "42"),
            // SQLite cannot say which of many deleted rows was gone before; the others' locks are all its own there.
            Error::Stale { entity: "note", key, expected: None, found: None } => {
                assert!(db.backend() == sea_orm::DbBackend::Sqlite && key.starts_with("(one of note "), "{key}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(notes_in_database(&db).await.len() as i64, rows, "nothing of either batch stays");
    });
}

#[test]
fn f8_a_trigger_that_drops_one_of_many_changes_is_told() {
    on_all(async |db: Db| {
        if db.backend() != sea_orm::DbBackend::Postgres {
            return; // triggers of the others cannot drop a change without an error
        }
        accounts(&db, 0..1_500).await;
        behind_the_back(
            &db,
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF OLD.id = 77 THEN RETURN NULL; END IF; RETURN COALESCE(NEW, OLD); END $$",
        )
        .await;
        behind_the_back(
            &db,
            "CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION keep()",
        )
        .await;
        for delete in [true, false] {
            let recorder = sea_session::Recorder::new();
            let mut s = db.session().record(&recorder).begin().await.unwrap();
            for account in account::Entity::find().load(&mut s).await.unwrap() {
                match delete {
                    true => s.delete(&account),
                    false => _ = account.set_balance(1),
                }
            }
            let told = s.flush().await.unwrap_err().to_string();
            assert!(told.starts_with("account 77") || told.contains("drops changes"), "{told}");
            assert!(told.contains("1500 rows were to be changed, 1499 were"), "{told}");
            s.rollback().await.unwrap();
            let sent = recorder.statements();
            let undone = sent.iter().filter(|text| text.starts_with("ROLLBACK TO SAVEPOINT")).count();
            assert_eq!(undone, 1, "the rows are counted, then looked at again as they were: {sent:?}");
        }
    });
}

#[test]
fn o1_a_row_switch_compares_the_loaded_version_and_goes_on_from_it() {
    on_all(async |db: Db| {
        notes(&db, 3).await;
        let stale = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                let old = s.get::<note::Entity>(1).await?.unwrap();
                meanwhile(s, "UPDATE note SET version = 5, title = 'theirs' WHERE id = 1").await?;
                s.delete(&old);
                s.add(draft(1, "switched"));
                s.flush().await
            })
            .await
            .unwrap_err();
        assert!(
            matches!(stale.root(), Error::Stale { expected: Some(1), found: Some(5), .. }),
            "a switch must not overwrite what it did not load: {stale:?}"
        );
        db.run(async |s: &mut Session| -> Result<(), Error> {
            for id in 0..3 {
                let old = s.get::<note::Entity>(id).await?.unwrap();
                s.delete(&old);
                let new = s.add(draft(id, "switched"));
                s.flush().await?;
                assert_eq!(new.version(), 2, "back at 1 it would be the version that somebody else still holds");
            }
            Ok(())
        })
        .await
        .unwrap();
        let held = note::Entity::find().all(db.connection()).await.unwrap();
        assert!(held.iter().all(|n| n.version == 2 && n.title == "switched"), "{held:?}");
    });
}

#[test]
fn o2_the_version_is_bumped_once_and_a_hand_set_one_still_compares_the_loaded() {
    on_all(async |db: Db| {
        notes(&db, 1).await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let note = s.get::<note::Entity>(0).await?.unwrap();
            note.set_title("a");
            note.set_title("b");
            note.set_status("open");
            s.flush().await?;
            assert_eq!(note.version(), 2);
            note.set_title("b");
            s.flush().await?;
            assert_eq!(note.version(), 2, "no change, no bump (F3)");
            note.set(note::Column::Version, 40)?;
            note.set_title("c");
            s.flush().await?;
            assert_eq!(note.version(), 3);
            meanwhile(s, "UPDATE note SET version = 40 WHERE id = 0").await?;
            note.set(note::Column::Version, 40)?;
            note.set_title("d");
            let stale = s.flush().await.unwrap_err();
            assert!(matches!(stale.root(), Error::Stale { expected: Some(3), found: Some(40), .. }), "{stale:?}");
            Err(Error::Usage("undo".into()))
        })
        .await
        .unwrap_err();
    });
}

#[test]
fn o3_merging_an_older_version_is_refused() {
    on_all(async |db: Db| {
        notes(&db, 1).await;
        let old = note::Entity::find_by_id(0).one(db.connection()).await.unwrap().unwrap();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let note = s.get::<note::Entity>(0).await?.unwrap();
            note.set_title("newer");
            s.flush().await?;
            let refused = s.merge::<note::Entity>(old.clone()).await.unwrap_err();
            assert!(matches!(refused, Error::Stale { expected: Some(1), found: Some(2), .. }), "{refused:?}");
            assert_eq!(note.title(), "newer");
            let same = note::Model { title: "merged".into(), version: 2, ..old.clone() };
            let merged = s.merge::<note::Entity>(same).await?;
            assert!(Tracked::ptr_eq(&merged, &note));
            s.flush().await
        })
        .await
        .unwrap();
        assert_eq!(title_in_database(&db, 0).await.as_deref(), Some("merged"));
    });
}

/// A getter was called.
fn read<T>(_: T) {}

/// Runs an optimistic unit that loads the accounts, looks at them, and writes their balance, while `sql` changes the rows.
async fn optimistic(db: &Db, look: impl Fn(&Tracked<account::Entity>) + Send + Sync, sql: &str) -> Result<(), Error> {
    db.session()
        .optimistic()
        .run(async |s: &mut Session| -> Result<(), Error> {
            let loaded = account::Entity::find().load(s).await?;
            loaded.iter().for_each(&look);
            if !sql.is_empty() {
                meanwhile(s, sql).await?;
            }
            for a in &loaded {
                a.set_balance(a.id() + 1);
            }
            s.flush().await?;
            Err(Error::Usage("undo".into()))
        })
        .await
        .map_err(|e| e.root().clone())
        .or_else(|e| if matches!(&e, Error::Usage(text) if text == "undo") { Ok(()) } else { Err(e) })
}

#[test]
fn p1_p6_a_column_read_before_it_was_written_is_checked_and_named_in_a_batch() {
    on_all(async |db: Db| {
        accounts(&db, 0..10).await;
        let error =
            optimistic(&db, |a| read(a.balance()), "UPDATE account SET balance = 7 WHERE id = 3").await.unwrap_err();
        match &error {
            Error::UnrepeatableRead { entity: "account", key, column: "balance", change: None } => {
                assert_eq!(&**key, "3")
            }
            other => panic!("{other:?}"),
        }
        assert!(!error.to_string().contains("100"), "values only with show_values: {error}");
        // NULL is compared as a value: IS NULL.
        let error =
            optimistic(&db, |a| read(a.owner()), "UPDATE account SET owner = 'eve' WHERE id = 4").await.unwrap_err();
        assert!(matches!(error, Error::UnrepeatableRead { column: "owner", .. }), "{error:?}");
        optimistic(&db, |a| read(a.owner()), "").await.unwrap();
        // Moments compare as moments, however they were written.
        optimistic(&db, |a| read(a.opened()), "").await.unwrap();
        optimistic(&db, |a| read(a.model()), "").await.unwrap();
    });
}

#[test]
fn p6_values_are_shown_only_when_asked_for() {
    on_all(async |db: Db| {
        accounts(&db, 0..1).await;
        let shown = db
            .session()
            .optimistic()
            .show_values()
            .run(async |s: &mut Session| -> Result<(), Error> {
                let a = s.get::<account::Entity>(0).await?.unwrap();
                a.set_balance(a.balance() + 1);
                meanwhile(s, "UPDATE account SET balance = 777 WHERE id = 0").await?;
                s.flush().await
            })
            .await
            .unwrap_err();
        let text = shown.to_string();
        assert!(text.contains("balance") && text.contains("100") && text.contains("777"), "{text}");
    });
}

#[test]
fn p2_blind_writes_are_not_checked_but_a_missing_row_is_an_error() {
    on_all(async |db: Db| {
        accounts(&db, 0..10).await;
        optimistic(&db, |_| {}, "UPDATE account SET balance = 7, owner = 'eve'").await.unwrap();
        let gone = optimistic(&db, |_| {}, "DELETE FROM account WHERE id = 6").await.unwrap_err();
        assert!(matches!(&gone, Error::Stale { key, .. } if &**key == "6"), "{gone:?}");
    });
}

#[test]
fn p3_floats_excluded_columns_serializable_units_and_locked_rows_are_not_checked() {
    on_all(async |db: Db| {
        accounts(&db, 0..10).await;
        optimistic(&db, |a| read(a.rate()), "UPDATE account SET rate = 9").await.unwrap();
        optimistic(&db, |a| read(a.seen()), "UPDATE account SET seen = 9").await.unwrap();
        let unit = async |serializable: bool, lock: bool| {
            let options = db.session().optimistic();
            let options = if serializable { options.isolation(IsolationLevel::Serializable) } else { options };
            options
                .run(async |s: &mut Session| -> Result<(), Error> {
                    let a = match lock {
                        true => account::Entity::find_by_id(0).for_update().load_one(s).await?,
                        false => s.get::<account::Entity>(0).await?,
                    };
                    let a = a.ok_or_else(|| Error::Usage("no account".into()))?;
                    a.set_balance(a.balance() + 1);
                    meanwhile(s, "UPDATE account SET balance = balance + 50 WHERE id = 0").await?;
                    s.flush().await
                })
                .await
        };
        assert!(unit(false, false).await.is_err(), "this one is checked");
        unit(true, false).await.unwrap();
        unit(false, true).await.unwrap();
    });
}

#[test]
fn p4_after_a_flush_the_baseline_is_what_was_written() {
    on_all(async |db: Db| {
        accounts(&db, 0..1).await;
        db.session()
            .optimistic()
            .run(async |s: &mut Session| -> Result<(), Error> {
                let a = s.get::<account::Entity>(0).await?.unwrap();
                for _ in 0..3 {
                    a.set_balance(a.balance() + 1);
                    s.flush().await?;
                }
                meanwhile(s, "UPDATE account SET balance = 0 WHERE id = 0").await?;
                a.set_balance(a.balance() + 1);
                assert!(matches!(s.flush().await.unwrap_err().root(), Error::UnrepeatableRead { .. }));
                Err(Error::Usage("undo".into()))
            })
            .await
            .unwrap_err();
    });
}

#[test]
fn p5_a_row_read_again_is_compared_where_it_was_read_and_refreshed_where_not() {
    on_all(async |db: Db| {
        accounts(&db, 0..2).await;
        let outcome = db
            .session()
            .optimistic()
            .run(async |s: &mut Session| -> Result<(), Error> {
                let a = s.get::<account::Entity>(0).await?.unwrap();
                let _ = a.owner();
                meanwhile(s, "UPDATE account SET balance = 5 WHERE id = 0").await?;
                account::Entity::find().load(s).await?;
                assert_eq!(a.balance(), 5, "an unread column is refreshed");
                meanwhile(s, "UPDATE account SET owner = 'eve' WHERE id = 0").await?;
                account::Entity::find().load(s).await.map(drop)
            })
            .await;
        assert!(matches!(outcome, Err(Error::UnrepeatableRead { column: "owner", .. })), "{outcome:?}");
    });
}

#[test]
fn p1_a_row_switch_is_checked_too() {
    on_all(async |db: Db| {
        accounts(&db, 0..2).await;
        let outcome = db
            .session()
            .optimistic()
            .run(async |s: &mut Session| -> Result<(), Error> {
                let old = s.get::<account::Entity>(0).await?.unwrap();
                let (balance, opened) = (old.balance(), old.opened());
                meanwhile(s, "UPDATE account SET balance = 5 WHERE id = 0").await?;
                s.delete(&old);
                s.add(account::ActiveModel {
                    id: Set(0),
                    owner: Set(None),
                    balance: Set(balance + 1),
                    rate: Set(1.0),
                    seen: Set(0),
                    opened: Set(opened),
                });
                s.flush().await
            })
            .await
            .unwrap_err();
        assert!(matches!(outcome.root(), Error::UnrepeatableRead { column: "balance", .. }), "{outcome:?}");
    });
}
