//! How many messages the workloads of the benchmark cost, on both backends: a number that grows with the rows is a defect
//! (F2), whatever the clock says. `benches/unit_of_work` times the same work.

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait};
use sea_session::{Error, Recorder, Session, prelude::*, testing::run_test_on};

use crate::support::{backends, create_table};

use crate::entities::{self, child, item, items, new_child, new_item, new_parent, parent};

const ROWS: usize = 2_000;

async fn tables(db: &Db) -> Result<(), Error> {
    match db.backend() {
        DbBackend::Postgres => _ = db.connection().execute_unprepared(entities::POSTGRES).await?,
        DbBackend::Sqlite => _ = db.connection().execute_unprepared(entities::SQLITE).await?,
        _ => {
            create_table(db, item::Entity).await?;
            create_table(db, parent::Entity).await?;
            create_table(db, child::Entity).await?;
            for table in ["item", "parent", "child"] {
                let longer = format!("ALTER TABLE {table} MODIFY content longtext NOT NULL");
                db.connection().execute_unprepared(&longer).await?;
            }
        }
    }
    Ok(())
}

fn on_all(test: impl AsyncFn(Db)) {
    for backend in backends() {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

/// Runs one unit and says what it sent.
async fn sent(db: &Db, body: impl AsyncFn(&mut Session) -> Result<(), Error>) -> Vec<String> {
    let recorder = Recorder::new();
    let mut s = db.session().record(&recorder).begin().await.unwrap();
    body(&mut s).await.unwrap();
    s.commit().await.unwrap();
    recorder.statements()
}

/// What each message does, in order, each run of the same once with its length. A write that is counted stands inside a
/// `WITH written`, SQLite's set update behind a `WITH u`; MariaDB's BEGIN stands behind its settings, its COMMIT behind the release of
/// a savepoint.
fn outline(sent: &[String]) -> Vec<(String, usize)> {
    let mut outline: Vec<(String, usize)> = Vec::new();
    for text in sent {
        let counted = text.strip_prefix("WITH written").and_then(|rest| rest.split_once(" AS ("));
        let word = match counted.map_or(&text[..], |(_, write)| write).split_whitespace().next() {
            Some("WITH") => "UPDATE",
            Some("SET") if text.contains("START TRANSACTION") => "BEGIN",
            Some("RELEASE") if text.ends_with("COMMIT") => "COMMIT",
            other => other.unwrap_or_default(),
        };
        match outline.last_mut() {
            Some((last, times)) if *last == word => *times += 1,
            _ => outline.push((word.to_owned(), 1)),
        }
    }
    outline
}

/// Sets of MariaDB's are chunks of new rows, as SQLite's, and one statement of rows that are there.
fn expect(db: &Db, sent: &[String], postgres: &[(&'static str, usize)], sqlite: &[(&'static str, usize)]) {
    let one = |(word, times): &(&'static str, usize)| match *word {
        "UPDATE" | "DELETE" => (*word, 1),
        _ => (*word, *times),
    };
    let mariadb: Vec<_> = sqlite.iter().map(one).collect();
    let expected = match db.backend() {
        DbBackend::Postgres => postgres,
        DbBackend::MySql => &mariadb,
        _ => sqlite,
    };
    let expected: Vec<(String, usize)> = expected.iter().map(|(word, times)| ((*word).to_owned(), *times)).collect();
    assert_eq!(outline(sent), expected, "{:?}: {sent:?}", db.backend());
}

async fn insert(db: &Db) -> Vec<String> {
    sent(db, async |s| {
        for row in items(ROWS) {
            s.add(new_item(row));
        }
        Ok(())
    })
    .await
}

#[test]
fn f2_statements_of_an_insert_with_known_keys() {
    on_all(async |db: Db| {
        let sent = insert(&db).await;
        // 2,000 rows of SQLite's are chunks of powers of two: 1,024, 512, 256, 128, 64 and 16.
        expect(
            &db,
            &sent,
            &[("BEGIN", 1), ("SELECT", 1), ("COPY", 1), ("COMMIT", 1)],
            &[("BEGIN", 1), ("INSERT", 6), ("COMMIT", 1)],
        );
        assert_eq!(item::Entity::find().count(db.connection()).await.unwrap(), ROWS as u64);
    });
}

#[test]
fn f2_statements_of_parents_and_children_with_generated_keys() {
    on_all(async |db: Db| {
        let sent = sent(&db, async |s| {
            let mut children = items(ROWS).into_iter();
            for row in items(ROWS / 2) {
                let parent = s.add(new_parent(row));
                for row in children.by_ref().take(2) {
                    let child = s.add(new_child(row));
                    child.set_parent::<parent::Entity>(child::Relation::Parent, &parent)?;
                }
            }
            Ok(())
        })
        .await;
        // Each table draws its keys, is asked what it takes, and is copied into.
        let postgres = [("BEGIN", 1), ("SELECT", 2), ("COPY", 1), ("SELECT", 2), ("COPY", 1), ("COMMIT", 1)];
        // 1,000 are 512, 256, 128, 64, 32 and 8.
        expect(&db, &sent, &postgres, &[("BEGIN", 1), ("INSERT", 12), ("COMMIT", 1)]);
    });
}

#[test]
fn f2_statements_of_a_load_and_its_changes() {
    on_all(async |db: Db| {
        insert(&db).await;
        // Many rows are only counted, behind a savepoint from which the one that is missing could be looked for.
        let many = &[("BEGIN", 1), ("SELECT", 1), ("SAVEPOINT", 1), ("UPDATE", 1), ("RELEASE", 1), ("COMMIT", 1)][..];
        let few = &[("BEGIN", 1), ("SELECT", 1), ("UPDATE", 1), ("COMMIT", 1)][..];
        for (changes, postgres, chunks) in [(ROWS, many, 6), (100, few, 3)] {
            let sent = sent(&db, async |s| {
                let rows = item::Entity::find().load(s).await?;
                for row in &rows[..changes] {
                    row.set_title(format!("changed {changes}"));
                }
                Ok(())
            })
            .await;
            expect(&db, &sent, postgres, &[("BEGIN", 1), ("SELECT", 1), ("UPDATE", chunks), ("COMMIT", 1)]);
        }
    });
}

#[test]
fn f2_statements_of_a_delete_of_what_was_loaded() {
    on_all(async |db: Db| {
        insert(&db).await;
        let sent = sent(&db, async |s| {
            let rows = item::Entity::find().load(s).await?;
            rows.iter().for_each(|row| s.delete(row));
            Ok(())
        })
        .await;
        expect(
            &db,
            &sent,
            &[("BEGIN", 1), ("SELECT", 1), ("SAVEPOINT", 1), ("DELETE", 1), ("RELEASE", 1), ("COMMIT", 1)],
            &[("BEGIN", 1), ("SELECT", 1), ("DELETE", 6), ("COMMIT", 1)],
        );
        if db.backend() == DbBackend::Postgres {
            assert!(sent[2].contains("pg_current_xact_id"), "what a lost COMMIT is settled by (R9): {}", sent[2]);
        }
        assert_eq!(item::Entity::find().count(db.connection()).await.unwrap(), 0);
    });
}

#[test]
fn i1_statements_of_gets_of_tracked_objects() {
    on_all(async |db: Db| {
        insert(&db).await;
        let sent = sent(&db, async |s| {
            let rows = item::Entity::find().load(s).await?;
            for row in &rows {
                let again = s.get::<item::Entity>(row.id()).await?.unwrap();
                assert!(Tracked::ptr_eq(row, &again));
            }
            Ok(())
        })
        .await;
        expect(
            &db,
            &sent,
            &[("BEGIN", 1), ("SELECT", 1), ("COMMIT", 1)],
            &[("BEGIN", 1), ("SELECT", 1), ("COMMIT", 1)],
        );
    });
}

#[test]
fn a2_statements_of_nested_blocks() {
    const BLOCKS: usize = 20;
    on_all(async |db: Db| {
        let sent = sent(&db, async |s| {
            for (at, row) in items(BLOCKS).into_iter().enumerate() {
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.add(new_item(row.clone()));
                        s.flush().await?;
                        if at % 10 == 9 { Err(Error::Usage("every tenth".into())) } else { Ok(()) }
                    })
                    .await;
                assert_eq!(outcome.is_err(), at % 10 == 9);
            }
            Ok(())
        })
        .await;
        let inserts = sent.iter().filter(|text| text.contains("INSERT INTO")).count();
        let rolled_back = sent.iter().filter(|text| text.starts_with("ROLLBACK TO")).count();
        assert_eq!((inserts, rolled_back), (BLOCKS, BLOCKS / 10), "{sent:?}");
        // Two a block: SAVEPOINT, with the RELEASE of the one before, and INSERT. The first one's comes with BEGIN.
        assert_eq!(sent.len(), 2 * BLOCKS + BLOCKS / 10 + 1, "{sent:?}");
    });
}

#[test]
fn f2_statements_of_a_small_unit() {
    on_all(async |db: Db| {
        insert(&db).await;
        let sent = sent(&db, async |s| {
            let row = s.get::<item::Entity>(7_i64).await?.unwrap();
            row.set_title("changed");
            Ok(())
        })
        .await;
        let four = [("BEGIN", 1), ("SELECT", 1), ("UPDATE", 1), ("COMMIT", 1)];
        expect(&db, &sent, &four, &four);
    });
}
