//! Binary COPY writes what single statements write, for every type that it takes, and steps aside where it must not be used.

use chrono::{NaiveDate, NaiveTime, TimeZone, Utc};
use sea_orm::{ConnectionTrait, IntoActiveModel, QueryOrder, entity::prelude::*};
use sea_session::{
    Error, Recorder,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

mod wide {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "wide")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub flag: bool,
        pub small: i16,
        pub int: i32,
        pub big: i64,
        pub double: f64,
        pub text: String,
        pub maybe: Option<String>,
        #[sea_orm(column_type = "VarBinary(StringLen::None)")]
        pub bytes: Vec<u8>,
        #[sea_orm(column_type = "JsonBinary")]
        pub binary_json: Json,
        #[sea_orm(column_type = "Json")]
        pub plain_json: Json,
        pub date: Date,
        pub time: Time,
        pub naive: DateTime,
        pub moment: DateTimeUtc,
        pub zoned: DateTimeWithTimeZone,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

fn row(i: i64) -> wide::Model {
    let day = NaiveDate::from_ymd_opt(1969, 12, 31).unwrap() + chrono::Days::new(u64::try_from(i).unwrap() * 977);
    let time = NaiveTime::from_num_seconds_from_midnight_opt(u32::try_from(i).unwrap() % 86_400, 123_456_000).unwrap();
    let moment = Utc.timestamp_micros(i * 1_234_567_890_123 - 5_000_000_000_000).unwrap();
    wide::Model {
        id: Uuid::from_u128(0xfeed_0000_0000 + i as u128),
        flag: i % 2 == 0,
        small: i16::try_from(i).unwrap() - 300,
        int: i32::MIN + i32::try_from(i).unwrap(),
        big: i64::MAX - i,
        double: i as f64 / 3.0,
        text: format!("tab\t newline\n \\N quote' {i} é 🦀"),
        maybe: (i % 3 == 0).then(|| format!("maybe {i}")),
        bytes: i.to_be_bytes().to_vec(),
        binary_json: serde_json::json!({ "n": i, "deep": [null, true, "x"] }),
        plain_json: serde_json::json!([i, "plain"]),
        date: day,
        time,
        naive: day.and_time(time),
        moment,
        zoned: moment.fixed_offset(),
    }
}

/// What a unit with this body sends.
async fn sent<F>(db: &Db, body: F) -> Vec<String>
where
    F: for<'a> sea_session::Block<&'a mut Session, Result<(), Error>, Fut: Send> + Send + Sync,
{
    let recorder = Recorder::new();
    db.session().record(&recorder).run(body).await.unwrap();
    recorder.take()
}

#[test]
fn f2_copy_writes_what_was_meant_and_is_one_statement() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, wide::Entity).await,
            async |db: Db| {
                let rows: Vec<wide::Model> = (0..600).map(row).collect();
                let sent = sent(&db, async |s: &mut Session| {
                    rows.iter().for_each(|row| drop(s.add(row.clone().into_active_model())));
                    s.flush().await
                });
                let sent = sent.await;
                let held = wide::Entity::find().order_by_asc(wide::Column::Id).all(db.connection()).await.unwrap();
                assert_eq!(held.len(), rows.len());
                for (held, meant) in held.iter().zip(&rows) {
                    assert_eq!(held, meant);
                }
                if backend == Backend::Postgres {
                    assert_eq!(sent.len(), 4, "BEGIN, the question, COPY, COMMIT: {sent:#?}");
                    assert!(sent[2].starts_with("COPY \"wide\""), "{sent:#?}");
                }
            },
        );
    }
}

#[test]
fn r9_the_question_before_a_copy_tells_the_transaction() {
    run_test_on(
        Backend::Postgres,
        async |db: &Db| create_table(db, wide::Entity).await,
        async |db: Db| {
            let sent = sent(&db, async |s: &mut Session| {
                let rows: Vec<_> = (0..600).map(|i| s.add(row(i).into_active_model())).collect();
                s.flush().await?;
                rows[0].set_int(7);
                s.flush().await
            });
            let sent = sent.await;
            let told: Vec<bool> = sent.iter().map(|text| text.contains("pg_current_xact_id")).collect();
            assert_eq!(
                told,
                [false, true, false, false, false],
                "BEGIN, the question, COPY, UPDATE, COMMIT: {sent:#?}"
            );
        },
    );
}

#[test]
fn f2_copy_steps_aside_for_a_column_of_another_type() {
    run_test_on(
        Backend::Postgres,
        async |db: &Db| -> Result<(), Error> {
            create_table(db, wide::Entity).await?;
            db.connection().execute_unprepared("ALTER TABLE wide ALTER COLUMN big TYPE numeric").await?;
            Ok(())
        },
        async |db: Db| {
            let sent = sent(&db, async |s: &mut Session| {
                (0..600).for_each(|i| drop(s.add(row(i).into_active_model())));
                s.flush().await
            });
            let sent = sent.await;
            assert!(sent.iter().all(|text| !text.starts_with("COPY")), "{sent:#?}");
            assert!(sent.iter().any(|text| text.contains("UNNEST")), "{sent:#?}");
        },
    );
}
