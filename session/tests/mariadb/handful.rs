//! A few changed rows, which one statement names by their values (F2, D12).

use sea_orm::{
    ActiveModelTrait, ConnectionTrait, IdenStatic, IntoActiveModel, Iterable, Statement, TryIntoModel,
    entity::prelude::*,
};
use sea_session::{Error, Recorder, Session, prelude::*};

use crate::tables::*;

type Done = Result<(), Error>;

#[test]
fn f2_a_handful_of_rows_is_named_by_one_statement_of_two_texts() {
    on_mariadb(async |db: Db| {
        let recorder = Recorder::new();
        let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Done {
            let items: Vec<_> = (0..9).map(|n| s.add(named(&format!("i{n}")))).collect();
            s.flush().await?;
            writes(&recorder);
            let mut texts = Vec::new();
            for rows in 2..=5 {
                items.iter().take(rows).enumerate().for_each(|(n, item)| _ = item.set_amount((10 * rows + n) as i32));
                s.flush().await?;
                let sent = writes(&recorder);
                assert_eq!(sent.len(), 1, "{sent:?}");
                texts.extend(sent);
                for (n, item) in items.iter().enumerate() {
                    let row = item::Entity::find_by_id(item.id()).one(s).await?.unwrap();
                    assert_eq!((row.amount, row.version), (item.amount(), item.with(|model| model.version)));
                    assert_eq!(row.amount == (10 * rows + n) as i32, n < rows, "{row:?}");
                }
            }
            // Two, or four of which the last may stand for another.
            assert!(texts[0].contains("CASE") && texts[1].contains("CASE") && texts[1] == texts[2], "{texts:?}");
            assert!(texts[3].contains("JSON_TABLE"), "{texts:?}");
            Ok(())
        });
        unit.await.unwrap();
    });
}

/// Values of every kind but where a bit says that there is none.
fn value_or_nothing(id: u8, n: u8, nothing: u32) -> kinds::ActiveModel {
    let moment = DateTimeUtc::from_timestamp_micros(1_700_000_000_000_001 * i64::from(n % 2 + 1) / 2).unwrap();
    let model = kinds::Model {
        id: Uuid::from_u128(u128::from(id)),
        big: Some([u64::MAX, 0, 1 << 63, 7][usize::from(n % 4)]),
        small: Some(n),
        single: Some([0.1, f32::MAX, -f32::MIN_POSITIVE, 16_777_216.0][usize::from(n % 4)]),
        double: Some([0.1, f64::MAX, -f64::MIN_POSITIVE, 9_007_199_254_740_993.0][usize::from(n % 4)]),
        flag: Some(n.is_multiple_of(2)),
        text: Some("\"\\'; -- 😀 ".repeat(usize::from(n))),
        bytes: Some(vec![255; usize::from(n % 40)]),
        day: Some(moment.date_naive()),
        hour: Some(moment.time()),
        naive: Some(moment.naive_utc()),
        moment: Some(moment),
        offset: Some(moment.fixed_offset()),
        document: Some(serde_json::json!({"a": [n, "😀\"\\", null, 1e300], "b": "x".repeat(usize::from(n))})),
    };
    let mut row = model.into_active_model().reset_all();
    for (bit, column) in kinds::Column::iter().filter(|column| !matches!(column, kinds::Column::Id)).enumerate() {
        if nothing >> bit & 1 == 1 {
            let null = row.get(column).into_value().unwrap().as_null();
            row.set(column, null);
        }
    }
    row
}

/// What a row holds, byte by byte, in the words of the server.
async fn bytes_of(db: &Db, id: Uuid) -> Vec<Option<String>> {
    let columns = kinds::Column::iter().filter(|column| !matches!(column, kinds::Column::Id));
    let columns: Vec<String> = columns.map(|column| format!("HEX(CAST(`{}` AS BINARY))", column.as_str())).collect();
    let sql = format!("SELECT {} FROM kinds WHERE id = ?", columns.join(", "));
    let asked = Statement::from_sql_and_values(db.backend(), sql, [id.into()]);
    let row = db.connection().query_one_raw(asked).await.unwrap().unwrap();
    (0..columns.len()).map(|at| row.try_get_by_index(at).unwrap()).collect()
}

/// What a value is chosen from gives it its kind: each beside values and beside nothing, in each place. The oracle is a row that
/// SeaORM writes alone.
#[test]
fn d12_a_value_of_a_handful_is_stored_as_one_that_comes_alone() {
    on_mariadb(async |db: Db| {
        let alone = |at: u8| 100 + at;
        for id in 0..4 {
            value_or_nothing(id, 0, 0).insert(db.connection()).await.unwrap();
            value_or_nothing(alone(id), 0, 0).insert(db.connection()).await.unwrap();
        }
        // No column has a value in the first round, and each every way of being one or none in the others.
        for (round, rows) in [4, 2, 3, 4, 2, 3, 4, 4, 2, 3, 4, 4].into_iter().enumerate() {
            let nothing = |at: u8| match round {
                0 => u32::MAX,
                1 => 0,
                _ => 0x9e37_79b9_u32.wrapping_mul(round as u32 * 4 + u32::from(at) + 1) >> 7,
            };
            let written = |id: u8, at: u8| value_or_nothing(id, at * 3 + round as u8, nothing(at));
            // Each column of each row changes, so that the rows are one set.
            for at in 0..rows {
                value_or_nothing(at, 1, !nothing(at)).update(db.connection()).await.unwrap();
            }
            let recorder = Recorder::new();
            let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Done {
                let all = s.get_many::<kinds::Entity>((0..rows).map(|id| Uuid::from_u128(u128::from(id)))).await?;
                for (at, one) in (0..).zip(all.iter().flatten()) {
                    let model = written(at, at).try_into_model()?;
                    one.update(|held| *held = model);
                }
                s.flush().await
            });
            unit.await.unwrap();
            let sent = writes(&recorder);
            assert!(matches!(&sent[..], [text] if text.contains("CASE")), "round {round}: {sent:?}");
            for at in 0..rows {
                written(alone(at), at).update(db.connection()).await.unwrap();
                let of = |id: u8| bytes_of(&db, Uuid::from_u128(u128::from(id)));
                assert_eq!(of(at).await, of(alone(at)).await, "round {round}, row {at}");
            }
        }
    });
}

/// What is assigned first is what the next assignment would choose by.
#[test]
fn s6_a_handful_of_rows_whose_keys_change_is_not_chosen_by_them() {
    on_mariadb(async |db: Db| {
        behind(&db, "INSERT INTO word VALUES ('a', 1), ('b', 2), ('c', 3)").await;
        let unit = db.run(async |s: &mut Session| -> Done {
            let words = s.get_many::<word::Entity>(["a", "b", "c"].map(str::to_owned)).await?;
            for (word, (text, n)) in words.iter().flatten().zip([("ä2", 10), ("b2", 20), ("c2", 30)]) {
                word.set_text(text).set_n(n);
            }
            s.flush().await
        });
        unit.await.unwrap();
        let mut held: Vec<(String, i32)> =
            word::Entity::find().all(db.connection()).await.unwrap().into_iter().map(|row| (row.text, row.n)).collect();
        held.sort_by_key(|(_, n)| *n);
        assert_eq!(held, [("ä2".to_owned(), 10), ("b2".to_owned(), 20), ("c2".to_owned(), 30)]);
    });
}

/// Keys that are found as their collation compares them choose as it does.
#[test]
fn d5_a_handful_of_rows_is_chosen_as_its_keys_compare() {
    on_mariadb(async |db: Db| {
        behind(&db, "INSERT INTO word VALUES ('Straße', 1), ('OTHER', 2)").await;
        let recorder = Recorder::new();
        let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Done {
            let words = s.get_many::<word::Entity>(["STRAßE", "other "].map(str::to_owned)).await?;
            words.iter().flatten().zip([10, 20]).for_each(|(word, n)| _ = word.set_n(n));
            s.flush().await
        });
        unit.await.unwrap();
        let sent = writes(&recorder);
        assert!(matches!(&sent[..], [text] if text.contains("CASE")), "{sent:?}");
        let held = word::Entity::find().all(db.connection()).await.unwrap();
        assert!(held.iter().all(|row| row.n == if row.text == "OTHER" { 20 } else { 10 }), "{held:?}");
    });
}

/// A row that no unit changes is not locked by a change of its neighbours, however small the table.
#[test]
fn f2_a_handful_of_rows_locks_no_others() {
    on_mariadb(async |db: Db| {
        behind(
            &db,
            "INSERT INTO item (id, name, amount, version) VALUES (1, 'a', 0, 1), (2, 'b', 0, 1), (3, 'c', 0, 1)",
        )
        .await;
        let unit = db.run(async |s: &mut Session| -> Done {
            let items = s.get_many::<item::Entity>([1, 3]).await?;
            items.iter().flatten().for_each(|item| _ = item.set_amount(5));
            s.flush().await?;
            let other = db.run(async |s: &mut Session| -> Done {
                s.execute_unprepared("SELECT id FROM item WHERE id = 2 FOR UPDATE NOWAIT").await?;
                Ok(())
            });
            other.await
        });
        unit.await.unwrap();
    });
}
