//! The tables of words and vectors go with the records of the index, on every backend.

use context_entities::index_record;
use context_migration::{Migrator, Runner};
use sea_orm::{ConnectionTrait, prelude::*};
use sea_orm_migration::MigratorTrait;
use serde_json::json;

use crate::{
    common::Fresh,
    schema::{a_record, migrated, round_trip},
    support,
};

#[tokio::test]
async fn w5_the_tables_of_words_follow_the_records() {
    for fresh in migrated().await {
        let db = &fresh.db;
        for n in 0..3 {
            let record = a_record("a", n, index_record::Level::Content, "t", "b", Uuid::now_v7());
            round_trip::<index_record::Entity>(db, record).await;
        }
        let terms = |terms: &[(&str, i64)]| match fresh.is_mariadb() {
            true => json!(terms),
            false => {
                terms.iter().map(|(term, n)| ((*term).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>().into()
            }
        };
        let set = async |length: i64, pairs: &[(&str, i64)], which: &str| {
            let terms = terms(pairs);
            fresh.sql(&format!("UPDATE index_records SET length = {length}, terms = '{terms}' WHERE {which}")).await;
        };
        set(4, &[("lake", 3), ("a/b", 1)], "id IN (1, 2)").await;
        set(7, &[("湖水", 2)], "id = 3").await;
        let held = async || {
            let rows = fresh.texts("SELECT s.owner_space || ' ' || t.term || ' ' || t.record || ' ' || t.frequency || ' ' || t.length FROM index_terms t JOIN index_spaces s ON s.id = t.space_id ORDER BY s.id, t.term, t.record").await;
            let totals = fresh.texts("SELECT s.owner_space || ' ' || sum(t.records) || ' ' || sum(t.words) FROM index_totals t JOIN index_spaces s ON s.id = t.space_id GROUP BY s.id, s.owner_space ORDER BY s.id").await;
            (rows, totals)
        };
        let alice = |rows: &[&str]| rows.iter().map(|row| format!("user:alice {row}")).collect::<Vec<_>>();
        let all = ["a/b 1 1 4", "a/b 2 1 4", "lake 1 3 4", "lake 2 3 4", "湖水 3 2 7"];
        assert_eq!(held().await, (alice(&all), alice(&["3 15"])));
        // Another text, another owner, a change that is none of theirs, and none at all.
        set(1, &[("sea", 1)], "id = 1").await;
        fresh.sql("UPDATE index_records SET owner_space = 'shared' WHERE id = 2").await;
        let (rows, totals) = held().await;
        assert_eq!(rows, ["user:alice sea 1 1 1", "user:alice 湖水 3 2 7", "shared a/b 2 1 4", "shared lake 2 3 4"]);
        assert_eq!(totals, ["user:alice 2 8", "shared 1 4"]);
        fresh.sql("UPDATE index_records SET version = version + 1").await;
        assert_eq!(held().await, (rows, totals));
        fresh.sql("DELETE FROM index_records WHERE id <> 2").await;
        assert_eq!(held().await.0, ["shared a/b 2 1 4", "shared lake 2 3 4"]);
        fresh.sql("DELETE FROM index_records").await;
        assert_eq!(held().await, (Vec::new(), vec!["user:alice 0 0".to_owned(), "shared 0 0".to_owned()]));
        fresh.close().await;
    }
}

/// The tables of words are as little another tenant's or owner's to see as the records are.
#[tokio::test]
async fn w7_row_level_security_hides_the_words_of_others() {
    let fresh = Fresh::postgres().await;
    Migrator::up(&fresh.db, None).await.unwrap();
    let db = &fresh.db;
    let mut id = 0;
    for account in ["a", "b"] {
        for space in ["user:alice", "user:bob"] {
            let mut record = a_record(account, id, index_record::Level::Content, "t", "b", Uuid::now_v7());
            record.owner_space = space.into();
            round_trip::<index_record::Entity>(db, record).await;
            id += 1;
        }
    }
    fresh.sql(r#"UPDATE index_records SET length = 1, terms = '{"lake": 1}'"#).await;
    let role = format!("reader_{}", Uuid::new_v4().simple());
    fresh.sql(&format!("CREATE ROLE {role}")).await;
    fresh
        .sql(&format!("GRANT SELECT, INSERT ON index_terms, index_spaces, index_totals, index_vectors TO {role}"))
        .await;
    // A vector is seen through its record.
    fresh.sql(&format!("GRANT SELECT ON index_records TO {role}")).await;
    fresh.sql("INSERT INTO index_vectors SELECT id, 'm', 1, content_hash, '{1}' FROM index_records").await;
    let seen = async |settings: &str| {
        let transaction = sea_orm::TransactionTrait::begin(db).await.unwrap();
        transaction.execute_unprepared(&format!("SET LOCAL ROLE {role}; {settings}")).await.unwrap();
        let mut seen = Vec::new();
        for table in ["index_terms", "index_spaces", "index_totals", "index_vectors"] {
            let sql = format!("SELECT count(*) FROM {table}");
            let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql);
            let row = transaction.query_one_raw(statement).await.unwrap();
            seen.push(row.unwrap().try_get_by_index::<i64>(0).unwrap());
        }
        transaction.rollback().await.unwrap();
        seen
    };
    assert_eq!(seen("").await, [0, 0, 0, 0]);
    assert_eq!(seen("SET LOCAL app.account_id = ''").await, [0, 0, 0, 0]);
    assert_eq!(seen("SET LOCAL app.account_id = 'a'").await, [2, 2, 2, 2]);
    assert_eq!(seen("SET LOCAL app.account_id = 'a'; SET LOCAL app.owner_spaces = 'user:bob'").await, [1, 1, 1, 1]);
    assert_eq!(seen("SET LOCAL app.dispatcher = 'on'").await, [4, 4, 4, 4]);
    let foreign = fresh.count("SELECT min(id) FROM index_spaces WHERE account_id = 'b'").await;
    let transaction = sea_orm::TransactionTrait::begin(db).await.unwrap();
    transaction.execute_unprepared(&format!("SET LOCAL ROLE {role}; SET LOCAL app.account_id = 'a'")).await.unwrap();
    let insert = format!("INSERT INTO index_terms VALUES ({foreign}, 'x', 1, 1, 1)");
    let error = transaction.execute_unprepared(&insert).await.unwrap_err().to_string();
    assert!(error.contains("row-level security"), "{error}");
    transaction.rollback().await.unwrap();
    // A vector of another tenant's record is none that one may write.
    let foreign = fresh.count("SELECT min(id) FROM index_records WHERE account_id = 'b'").await;
    let transaction = sea_orm::TransactionTrait::begin(db).await.unwrap();
    transaction.execute_unprepared(&format!("SET LOCAL ROLE {role}; SET LOCAL app.account_id = 'a'")).await.unwrap();
    let insert = format!("INSERT INTO index_vectors VALUES ({foreign}, 'other', 1, '', '{{1}}')");
    let error = transaction.execute_unprepared(&insert).await.unwrap_err().to_string();
    assert!(error.contains("row-level security"), "{error}");
    transaction.rollback().await.unwrap();
    fresh.sql(&format!("DROP OWNED BY {role}")).await;
    fresh.sql(&format!("DROP ROLE {role}")).await;
    fresh.close().await;
}

#[tokio::test]
async fn w5_a_vector_has_the_length_that_it_says_and_goes_with_its_record() {
    for fresh in migrated().await {
        let db = &fresh.db;
        for n in 0..2 {
            let record = a_record("a", n, index_record::Level::Content, "t", "b", Uuid::now_v7());
            round_trip::<index_record::Entity>(db, record).await;
        }
        let ones = |count: usize| match fresh.is_postgres() {
            true => format!("'{{{}}}'", vec!["1"; count].join(",")),
            false => format!("x'{}'", "0000803f".repeat(count)),
        };
        for model in ["m", "n"] {
            let vector = ones(2);
            fresh
                .sql(&format!("INSERT INTO index_vectors SELECT id, '{model}', 2, '', {vector} FROM index_records"))
                .await;
        }
        for (dimensions, count) in [(1, 2), (2, 1), (0, 0)] {
            let insert = format!(
                "INSERT INTO index_vectors SELECT min(id), 'o', {dimensions}, '', {} FROM index_records",
                ones(count)
            );
            let error = db.execute_unprepared(&insert).await.unwrap_err().to_string();
            assert!(error.contains("index_vectors_vector_check"), "{error}");
        }
        fresh.sql("DELETE FROM index_records WHERE id = (SELECT min(id) FROM index_records)").await;
        assert_eq!(fresh.count("SELECT count(*) FROM index_vectors").await, 2);
        fresh.sql("DELETE FROM index_records").await;
        assert_eq!(fresh.count("SELECT count(*) FROM index_vectors").await, 0);
        fresh.close().await;
    }
}

/// On PostgreSQL vectors were bytes once.
#[tokio::test]
async fn w5_every_vector_is_the_same_after_its_type_has_changed() {
    for fresh in Fresh::all().await {
        if fresh.is_postgres() {
            let runner = Runner::new(fresh.db.clone());
            runner.up_by(10).await.unwrap();
            support::fill(&fresh).await;
            let numbers = [1.0, -2.5, 0.0, 0.1, f32::MIN_POSITIVE, 1e-45, -1e-40, f32::MAX, 16_777_217.0];
            let hex: String = numbers.iter().flat_map(|n| n.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect();
            let insert = format!(
                "INSERT INTO index_vectors SELECT id, 'm', {}, '', '\\x{hex}' FROM index_records",
                numbers.len()
            );
            fresh.sql(&insert).await;
            runner.up().await.unwrap();
            let rows = fresh.texts("SELECT unnest(vector)::text FROM index_vectors").await;
            assert_eq!(rows.iter().map(|text| text.parse().unwrap()).collect::<Vec<f32>>(), numbers);
            runner.down(1).await.unwrap();
            assert_eq!(fresh.texts("SELECT encode(vector, 'hex') FROM index_vectors").await, [hex]);
        }
        fresh.close().await;
    }
}
