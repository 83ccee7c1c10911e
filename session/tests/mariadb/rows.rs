//! How rows are written, and what the database makes of them (D, F).

use sea_orm::{ConnectionTrait, IntoActiveModel, Set, entity::prelude::*};
use sea_session::{Error, Recorder, Session, prelude::*};

use crate::tables::*;

#[test]
fn y2_new_rows_get_the_keys_that_the_database_says_of_each() {
    on_mariadb(async |db: Db| {
        let recorder = Recorder::new();
        db.session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                let items: Vec<_> = (0..300).map(|n| s.add(named(&format!("i{}", 299 - n)))).collect();
                let twins: Vec<_> = (0..3).map(|_| s.add(named("twin"))).collect();
                s.flush().await?;
                for item in &items {
                    let row = item::Entity::find_by_id(item.id()).one(s).await?.unwrap();
                    assert_eq!((row.name, row.amount), (item.name(), 0));
                    assert_eq!(item.amount(), 0);
                }
                let mut keys: Vec<i64> = twins.iter().map(|twin| twin.id()).collect();
                keys.dedup();
                assert_eq!(keys.len(), 3);
                Ok(())
            })
            .await
            .unwrap();
        // 303 rows in chunks of powers of two.
        assert_eq!(writes(&recorder).len(), 6);
    });
}

#[test]
fn f2_changed_and_deleted_rows_go_in_one_statement_each_whose_text_is_the_same_for_any_number() {
    on_mariadb(async |db: Db| {
        let recorder = Recorder::new();
        db.session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                let items: Vec<_> = (0..50).map(|n| s.add(named(&format!("i{n}")))).collect();
                s.flush().await?;
                writes(&recorder);
                items.iter().enumerate().for_each(|(n, item)| _ = item.set_amount(n as i32 + 1));
                s.flush().await?;
                let of_all = writes(&recorder);
                items.iter().take(7).for_each(|item| _ = item.set_amount(-1));
                s.flush().await?;
                assert_eq!((of_all.len(), writes(&recorder)), (1, of_all));
                for (n, item) in items.iter().enumerate() {
                    let row = item::Entity::find_by_id(item.id()).one(s).await?.unwrap();
                    assert_eq!((row.amount, row.version), if n < 7 { (-1, 3) } else { (n as i32 + 1, 2) });
                }
                items.iter().take(49).for_each(|item| s.delete(item));
                s.flush().await?;
                assert_eq!(writes(&recorder).len(), 1);
                assert_eq!(item::Entity::find().count(s).await?, 1);
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn o1_a_stale_row_of_a_set_is_named() {
    on_mariadb(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                let items: Vec<_> = (0..3).map(|n| s.add(named(&format!("i{n}")))).collect();
                s.flush().await?;
                s.execute_unprepared("UPDATE item SET version = 7 WHERE name = 'i1'").await?;
                items.iter().for_each(|item| _ = item.set_amount(5));
                let key = items[1].id().to_string();
                match s.flush().await {
                    Err(Error::Stale { key: named, expected: Some(1), found: Some(7), .. }) => {
                        assert_eq!(*named, *key);
                        Err(Error::Usage("seen".into()))
                    }
                    other => panic!("{other:?}"),
                }
            })
            .await;
        assert!(matches!(outcome, Err(Error::Usage(text)) if text == "seen"));
    });
}

#[test]
fn d4_an_object_holds_what_its_row_holds() {
    on_mariadb(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let at = DateTimeUtc::from_timestamp_micros(1_700_000_000_700_000).unwrap();
            let new = |id: i64| made::ActiveModel { id: Set(id), name: Set("four".to_owned()), ..Default::default() };
            let all: Vec<_> = (0..3).map(|id| s.add(made::ActiveModel { at: Set(at), ..new(id) })).collect();
            let other = s.add(new(9));
            s.flush().await?;
            async fn check(s: &mut Session, one: &Tracked<made::Entity>) -> Result<(), Error> {
                let row = made::Entity::find_by_id(one.id()).one(s).await?.unwrap();
                one.with(|model| assert_eq!(*model, row));
                Ok(())
            }
            for one in all.iter().chain([&other]) {
                check(s, one).await?;
                assert_eq!((one.status(), one.length()), ("draft".to_owned(), Some(4)));
            }
            let before = all[0].touched();
            all.iter().for_each(|one| _ = one.set_name("longer"));
            other.set_name("alone");
            s.flush().await?;
            for one in all.iter().chain([&other]) {
                check(s, one).await?;
            }
            assert_eq!(all[0].length(), Some(6));
            assert_ne!(all[0].touched(), before);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn d2_a_table_with_a_trigger_goes_row_by_row_and_is_read_back() {
    on_mariadb(async |db: Db| {
        behind(&db, "CREATE TRIGGER shout BEFORE INSERT ON item FOR EACH ROW SET NEW.name = UPPER(NEW.name)").await;
        behind(&db, "CREATE TRIGGER whisper BEFORE UPDATE ON item FOR EACH ROW SET NEW.name = LOWER(NEW.name)").await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let items: Vec<_> = (0..3).map(|n| s.add(named(&format!("Item{n}")))).collect();
            s.flush().await?;
            assert_eq!(items[2].name(), "ITEM2");
            items.iter().for_each(|item| _ = item.set_amount(4));
            s.flush().await?;
            assert_eq!(items[1].name(), "item1");
            Ok(())
        })
        .await
        .unwrap();
    });
}

fn every_kind(n: u8) -> kinds::Model {
    let moment = DateTimeUtc::from_timestamp_micros(1_700_000_000_123_456 + i64::from(n)).unwrap();
    kinds::Model {
        id: Uuid::from_u128(u128::from(n)),
        big: Some(u64::MAX - u64::from(n)),
        small: Some(n),
        single: Some(0.1 * f32::from(n)),
        double: Some(1e-7 + f64::from(n)),
        flag: Some(n.is_multiple_of(2)),
        text: Some(format!("\"\\'; -- \u{0}\n{n} 😀 ")),
        bytes: Some(vec![0, 255, b'\'', b'"', b'\\', n]),
        day: Some(moment.date_naive()),
        hour: Some(moment.time()),
        naive: Some(moment.naive_utc()),
        moment: Some(moment),
        offset: Some(moment.fixed_offset()),
        document: Some(serde_json::json!({"a": [1, "😀\"\\", null, n], "b": 0.1})),
    }
}

#[test]
fn d12_every_kind_of_value_travels_alone_and_in_sets() {
    on_mariadb(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let alone = s.add(every_kind(200).into_active_model().reset_all());
            s.flush().await?;
            let all: Vec<_> = (0..5).map(|n| s.add(every_kind(n).into_active_model().reset_all())).collect();
            s.flush().await?;
            let check = async |s: &mut Session, one: &Tracked<kinds::Entity>, expected: kinds::Model| {
                let row = kinds::Entity::find_by_id(one.id()).one(s).await.unwrap().unwrap();
                assert_eq!(row, expected);
                one.with(|model| assert_eq!(*model, expected));
            };
            for (n, one) in all.iter().enumerate() {
                check(s, one, every_kind(n as u8)).await;
            }
            check(s, &alone, every_kind(200)).await;
            // The same values, each in another row.
            let moved = |n: u8| kinds::Model { id: Uuid::from_u128(u128::from(n)), ..every_kind(n + 100) };
            for (n, one) in all.iter().enumerate() {
                one.update(|model| *model = moved(n as u8));
            }
            s.flush().await?;
            for (n, one) in all.iter().enumerate() {
                check(s, one, moved(n as u8)).await;
            }
            let nothing = |n: u8| kinds::Model {
                id: Uuid::from_u128(u128::from(n)),
                big: None,
                small: None,
                single: None,
                double: None,
                flag: None,
                text: None,
                bytes: None,
                day: None,
                hour: None,
                naive: None,
                moment: None,
                offset: None,
                document: None,
            };
            for (n, one) in all.iter().enumerate() {
                one.update(|model| *model = nothing(n as u8));
            }
            s.flush().await?;
            for (n, one) in all.iter().enumerate() {
                check(s, one, nothing(n as u8)).await;
            }
            all.iter().for_each(|one| s.delete(one));
            s.flush().await?;
            assert_eq!(kinds::Entity::find().count(s).await?, 1);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn d5_two_spellings_that_the_collation_holds_equal_are_one_object() {
    on_mariadb(async |db: Db| {
        let new = |text: &str| word::ActiveModel { text: Set(text.to_owned()), n: Set(1) };
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(new("Straße"));
            s.add(new("other"));
            s.add(new("third"));
            Ok(())
        })
        .await
        .unwrap();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let one = s.get::<word::Entity>("STRAßE".to_owned()).await?.unwrap();
            assert_eq!(one.text(), "Straße");
            let again = s.get::<word::Entity>("straße ".to_owned()).await?.unwrap();
            assert!(Tracked::ptr_eq(&one, &again));
            let many = s.get_many::<word::Entity>(["OTHER".to_owned(), "tHird".to_owned()]).await?;
            assert_eq!(many.iter().flatten().count(), 2);
            many.iter().flatten().for_each(|word| _ = word.set_n(2));
            s.flush().await?;
            // A key that is deleted and added again in another spelling is one row.
            s.delete(&one);
            s.add(new("strasse"));
            s.add(new("STRAßE"));
            s.flush().await?;
            Ok(())
        })
        .await
        .unwrap();
        let rows = word::Entity::find().all(db.connection()).await.unwrap();
        let held: Vec<(String, i32)> = rows.into_iter().map(|row| (row.text, row.n)).collect();
        assert_eq!(held.len(), 4, "{held:?}");
        assert!(held.contains(&("other".to_owned(), 2)) && held.contains(&("STRAßE".to_owned(), 1)), "{held:?}");
    });
}

#[test]
fn i2_a_row_switch_replaces_every_column() {
    on_mariadb(async |db: Db| {
        behind(&db, "INSERT INTO made (id, name, status) VALUES (1, 'one', 'final'), (2, 'two', 'final')").await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let old = s.get_many::<made::Entity>([1, 2]).await?;
            old.iter().flatten().for_each(|one| s.delete(one));
            let new = |id: i64| made::ActiveModel { id: Set(id), name: Set("new".to_owned()), ..Default::default() };
            let all: Vec<_> = [1, 2].into_iter().map(|id| s.add(new(id))).collect();
            s.flush().await?;
            for one in &all {
                assert_eq!((one.status(), one.length()), ("draft".to_owned(), Some(3)));
            }
            Ok(())
        })
        .await
        .unwrap();
        let rows = made::Entity::find().all(db.connection()).await.unwrap();
        assert!(rows.iter().all(|row| row.status == "draft" && row.name == "new"), "{rows:?}");
    });
}

#[test]
fn f1_rows_of_a_tree_go_parents_first_and_leave_children_first() {
    on_mariadb(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            for id in (1..=6_i64).rev() {
                let parent = (id > 1).then_some(id / 2).filter(|parent| *parent > 0);
                s.add(node::ActiveModel { id: Set(id), parent_id: Set(parent) });
            }
            s.flush().await?;
            let all = s.get_many::<node::Entity>(1..=6_i64).await?;
            all.iter().flatten().for_each(|node| s.delete(node));
            s.flush().await?;
            assert_eq!(node::Entity::find().count(s).await?, 0);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn d6_what_a_referential_action_does_it_does_to_the_objects() {
    on_mariadb(async |db: Db| {
        behind(&db, "INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2)").await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let all = s.get_many::<node::Entity>(1..=3_i64).await?;
            s.delete(all[0].as_ref().unwrap());
            s.flush().await?;
            assert!(s.get::<node::Entity>(2_i64).await?.is_none());
            assert!(s.get::<node::Entity>(3_i64).await?.is_none());
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn y2_a_value_that_does_not_fit_is_an_error_whatever_the_server_is_set_to() {
    on_mariadb(async |db: Db| {
        let lax = "SET SESSION sql_mode = ''";
        for row in ["a name that is longer than twenty characters", "fits"] {
            let outcome = db
                .run(async |s: &mut Session| -> Result<(), Error> {
                    s.add(named(row));
                    s.flush().await
                })
                .await;
            assert_eq!(outcome.is_ok(), row == "fits", "{outcome:?}");
        }
        // A pool that is taken as it is.
        let mut options = sea_orm::ConnectOptions::new(url_of(&db));
        options.map_sqlx_mysql_pool_opts(move |pool| {
            pool.after_connect(move |connection, _| {
                Box::pin(async move {
                    use sea_orm::sqlx::Executor;
                    connection.execute(lax).await.map(drop)
                })
            })
        });
        let own = Db::from(sea_orm::Database::connect(options).await.unwrap());
        let outcome = own
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(named("a name that is longer than twenty characters"));
                s.flush().await
            })
            .await;
        assert!(outcome.is_err());
        own.close().await.unwrap();
    });
}

#[test]
fn u2_many_rows_are_changed_and_deleted_by_one_statement() {
    use sea_orm::sea_query::{Expr, ExprTrait};
    on_mariadb(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let items: Vec<_> = (0..5).map(|n| s.add(named(&format!("i{n}")))).collect();
            s.flush().await?;
            let more = item::Entity::update_many()
                .col_expr(item::Column::Amount, Expr::col(item::Column::Amount).add(7))
                .filter(item::Column::Name.ne("i0"));
            assert_eq!(s.update_many(more).await?, 4);
            // No UPDATE answers: the objects are read again when they are asked for.
            let read = s.get_many::<item::Entity>(items.iter().map(|item| item.id()).collect::<Vec<_>>()).await?;
            let held: Vec<(i32, i32)> = read.iter().flatten().map(|item| (item.amount(), item.version())).collect();
            assert_eq!(held, [(0, 1), (7, 2), (7, 2), (7, 2), (7, 2)]);
            let few = item::Entity::delete_many().filter(item::Column::Amount.eq(0));
            assert_eq!(s.delete_many(few).await?, 1);
            assert_eq!(s.state(&items[0]), State::Deleted);
            assert_eq!(item::Entity::find().count(s).await?, 4);
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u2_what_an_expression_gives_is_read_when_it_is_asked_for() {
    use sea_orm::sea_query::{Expr, ExprTrait};
    on_mariadb(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let items: Vec<_> = (0..3).map(|n| s.add(named(&format!("i{n}")))).collect();
            s.flush().await?;
            for item in &items {
                item.set_expr(item::Column::Amount, Expr::col(item::Column::Amount).add(5))?;
            }
            s.flush().await?;
            for item in &items {
                s.refresh(item).await?;
                assert_eq!((item.amount(), item.version()), (5, 2));
            }
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u4_rows_are_found_by_unique_values() {
    on_mariadb(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let items: Vec<_> = (0..3).map(|n| s.add(named(&format!("i{n}")))).collect();
            s.flush().await?;
            let asked = ["i2", "none", "i0"];
            let found = s.find_many_by_unique::<item::Entity>(item::Column::Name, asked).await?;
            let found: Vec<Option<i64>> = found.iter().map(|found| found.as_ref().map(|item| item.id())).collect();
            assert_eq!(found, [Some(items[2].id()), None, Some(items[0].id())]);
            Ok(())
        })
        .await
        .unwrap();
    });
}

/// Rows that each go into a statement, but not all into one: the server takes no message of more than `max_allowed_packet`.
#[test]
fn d10_a_set_stays_below_what_the_server_takes() {
    on_mariadb(async |db: Db| {
        behind(&db, "ALTER TABLE item MODIFY name longtext NOT NULL").await;
        let sizes = [(4 << 20) - 100, (25 << 19) - 4_000, 10, (25 << 19) - 4_000];
        let texts = |letter: &str| sizes.map(|size| letter.repeat(size));
        let most: i64 = {
            let asked = sea_orm::Statement::from_string(db.backend(), "SELECT CAST(@@max_allowed_packet AS signed)");
            db.connection().query_one_raw(asked).await.unwrap().unwrap().try_get_by_index(0).unwrap()
        };
        assert!(sizes[0] + sizes[1] > most as usize, "two of them are too much");
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let items: Vec<_> = texts("a").iter().map(|text| s.add(named(text))).collect();
            s.flush().await?;
            for (item, text) in items.iter().zip(texts("b")) {
                item.set_name(text);
            }
            s.flush().await
        })
        .await
        .unwrap();
        let rows = item::Entity::find().all(db.connection()).await.unwrap();
        assert!(rows.iter().map(|row| &row.name).eq(&texts("b")));
    });
}

/// A unit's snapshot shows a row as it was when the unit first looked; a write finds it as it is.
#[test]
fn o1_a_row_that_others_have_changed_since_is_stale_and_one_that_is_gone_is_gone() {
    on_mariadb(async |db: Db| {
        for (change, left) in [("UPDATE item SET version = 9", Some(9)), ("DELETE FROM item", None)] {
            let added = db.run(async |s: &mut Session| -> Result<(), Error> {
                ["one", "two", "three"].into_iter().for_each(|name| drop(s.add(named(name))));
                Ok(())
            });
            added.await.unwrap();
            let outcome = db.run(async |s: &mut Session| -> Result<(), Error> {
                let items = item::Entity::find().load(s).await?;
                behind(&db, &format!("{change} WHERE name = 'two'")).await;
                items.iter().for_each(|item| _ = item.set_amount(7));
                s.flush().await
            });
            let outcome = outcome.await;
            let error = outcome.unwrap_err();
            assert!(matches!(error.root(), Error::Stale { found, .. } if *found == left), "{error}");
            behind(&db, "DELETE FROM item").await;
        }
    });
}
