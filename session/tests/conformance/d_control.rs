//! Transaction control in SQL of the caller's own, and transactions that end by themselves (D11).

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_session::{Error, Session, UnitState, prelude::*};

use crate::support::*;

/// Each way in which SQL is sent through a session; how the first of them that sent it answered.
async fn all_ways(s: &Session, sql: &str) -> Vec<Error> {
    let statement = || Statement::from_string(s.get_database_backend(), sql);
    let answers = [
        s.execute_unprepared(sql).await.map(|_| ()),
        s.execute_raw(statement()).await.map(|_| ()),
        s.query_one_raw(statement()).await.map(|_| ()),
        s.query_all_raw(statement()).await.map(|_| ()),
    ];
    answers.into_iter().map(|answer| Error::from(answer.expect_err("it is refused"))).collect()
}

#[test]
fn d11_control_is_refused_before_it_is_sent() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        let unit = options.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "kept"));
            s.flush().await?;
            let sent = recorder.statements().len();
            for (sql, instead) in [
                ("BEGIN", "s.atomic"),
                ("begin; insert into tag values ('x')", "s.atomic"),
                ("START TRANSACTION READ ONLY", "s.atomic"),
                ("COMMIT", "return `Ok`"),
                ("END", "return `Ok`"),
                ("-- at last\n  commit;", "return `Ok`"),
                ("SELECT 1; COMMIT", "return `Ok`"),
                ("INSERT INTO tag VALUES ('a;b'); /* now */ Commit And Chain", "return `Ok`"),
                ("ROLLBACK", "set_rollback(true)"),
                ("/* no */ rollback to x", "rollback_to"),
                ("ABORT", "set_rollback(true)"),
                ("SAVEPOINT x", "s.savepoint()"),
                ("((savepoint x))", "s.savepoint()"),
                (";;RELEASE SAVEPOINT x", "s.release"),
                ("PREPARE TRANSACTION 'x'", "Several::two_phase"),
                ("COMMIT PREPARED 'x'", "Several::recover"),
                ("ROLLBACK PREPARED 'x'", "Several::recover"),
                ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ".isolation("),
                ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", ".isolation("),
            ] {
                for refused in all_ways(s, sql).await {
                    assert!(matches!(&refused, Error::Usage(text) if text.contains(instead)), "{sql}: {refused}");
                }
                // Nothing was sent, so nothing has to be rolled back.
                assert!(!s.needs_rollback());
            }
            let nested = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(all_ways(s, "ROLLBACK TO SAVEPOINT sea_session_1").await.len(), 4);
                s.add(draft(2, "kept too"));
                Ok(())
            });
            nested.await?;
            let control = |text: &String| commits(text) || rolls_back(text);
            assert!(!recorder.statements()[sent..].iter().any(control), "{:?}", recorder.statements());
            Ok(())
        });
        unit.await.unwrap();
        assert_eq!(notes_in_database(&db).await, [(1, "kept".to_owned()), (2, "kept too".to_owned())]);
    });
}

#[test]
fn d11_words_in_literals_and_names_are_no_control() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.execute_unprepared("INSERT INTO tag VALUES ('COMMIT'); INSERT INTO tag VALUES ('; ROLLBACK;')").await?;
        s.execute_unprepared("INSERT INTO tag VALUES ('begin'); -- COMMIT\n /* ; COMMIT */").await?;
        let read = |sql: &str| Statement::from_string(s.get_database_backend(), sql.to_owned());
        let rows =
            s.query_all_raw(read("SELECT name AS \"commit\" FROM tag WHERE name <> '; COMMIT' ORDER BY name")).await?;
        assert_eq!(rows.len(), 3);
        if s.backend() == DbBackend::Postgres {
            s.execute_unprepared("DO $body$ BEGIN INSERT INTO tag VALUES ('end'); END; $body$").await?;
            s.execute_unprepared("SELECT $$; COMMIT; $$; SELECT E'\\'; COMMIT'; SET CONSTRAINTS ALL IMMEDIATE").await?;
            s.execute_unprepared("PREPARE plan AS SELECT 1; DEALLOCATE plan").await?;
        } else if s.backend() == DbBackend::Sqlite {
            s.execute_unprepared(
                "CREATE TRIGGER kept AFTER INSERT ON tag BEGIN UPDATE tag SET name = name; SELECT CASE WHEN 1 THEN 2 END; END; \
                 DROP TRIGGER kept",
            )
            .await?;
        }
        assert_eq!(s.unit_state(), UnitState::Started);
        Ok(())
    });
}

mod hooked {
    use super::*;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(self, db: &C, _insert: bool) -> Result<Self, DbErr> {
            db.execute_unprepared("COMMIT").await?;
            Ok(self)
        }
    }
}

#[test]
fn d11_a_hook_of_an_entity_may_not_end_the_transaction_either() {
    on_all(async |db: Db| {
        let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(hooked::ActiveModel { name: sea_orm::Set("never".into()) });
            s.flush().await
        });
        let refused = unit.await.unwrap_err();
        assert!(refused.to_string().contains("COMMIT was to be sent"), "{refused}");
    });
}

fn on_sqlite(test: impl AsyncFn(Db)) {
    sea_session::testing::run_test_on(sea_session::testing::Backend::Sqlite, tables, async |db: Db| test(db).await);
}

/// A trigger and a table that roll the whole transaction back.
async fn explosives(db: &Db) {
    let trigger =
        "CREATE TRIGGER bang BEFORE INSERT ON note WHEN NEW.title = 'bang' BEGIN SELECT RAISE(ROLLBACK, 'bang'); END";
    behind_the_back(db, trigger).await;
    behind_the_back(db, "CREATE TABLE once (id integer PRIMARY KEY ON CONFLICT ROLLBACK)").await;
}

/// What rolls the transaction back, sent in different ways.
async fn explode(s: &mut Session, way: usize) -> Result<(), Error> {
    match way {
        0 => drop(s.add(draft(7, "bang"))),
        1 => _ = s.execute_unprepared("INSERT OR ROLLBACK INTO tag VALUES ('twice'), ('twice')").await?,
        _ => {
            s.execute_unprepared("INSERT INTO once VALUES (1)").await?;
            let twice = Statement::from_string(DbBackend::Sqlite, "INSERT INTO once VALUES (1)");
            s.execute_raw(twice).await?;
        }
    }
    s.flush().await
}

#[test]
fn d11_a_transaction_that_the_database_ended_fails_the_unit() {
    on_sqlite(async |db: Db| {
        explosives(&db).await;
        for way in 0..3 {
            let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                let said = explode(s, way).await.expect_err("it fails");
                assert!(said.sqlstate().is_some(), "the first cause: {said}");
                // The caller claims to have mended it; there is nothing to mend any more.
                drop(s.set_rollback(false));
                let after = s.execute_unprepared("INSERT INTO tag VALUES ('outside of any transaction')").await;
                let after = Error::from(after.expect_err("it is refused"));
                assert!(after.to_string().contains("transaction was ended by the database"), "{after}");
                Ok(())
            });
            let failed = unit.await.unwrap_err();
            assert!(matches!(failed, Error::TransactionEnded { .. }), "{way}: {failed:?}");
            assert_eq!(notes_in_database(&db).await, []);
            assert_eq!(count(&db, "tag").await, 0, "{way}");
            // The connection is as good as before.
            db.run(async |s: &mut Session| -> Result<(), Error> { s.flush().await }).await.unwrap();
        }
    });
}

#[test]
fn d11_a_transaction_that_ended_inside_a_block_fails_the_whole_unit() {
    on_sqlite(async |db: Db| {
        explosives(&db).await;
        for way in 0..3 {
            let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
                let outer = s.add(draft(1, "lost"));
                s.flush().await?;
                let nested = s.atomic(async |s: &mut Session| -> Result<(), Error> { explode(s, way).await });
                nested.await.expect_err("it fails");
                outer.set_title("nowhere");
                let flushed = s.flush().await.expect_err("there is no transaction");
                assert!(matches!(flushed.root(), Error::Database(_)), "{flushed}");
                Ok(())
            });
            let failed = unit.await.unwrap_err();
            assert!(matches!(failed, Error::TransactionEnded { .. } | Error::RolledBack { .. }), "{way}: {failed:?}");
            assert_eq!((notes_in_database(&db).await, count(&db, "tag").await), (vec![], 0), "{way}");
        }
    });
}

#[test]
fn d11_an_error_that_ends_nothing_leaves_the_transaction_open() {
    on_sqlite(async |db: Db| {
        let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "kept"));
            s.flush().await?;
            let twice = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("INSERT INTO tag VALUES ('twice'), ('twice')").await?;
                Ok(())
            });
            assert!(twice.await.unwrap_err().is_unique_violation());
            s.execute_unprepared("INSERT INTO tag VALUES ('once')").await?;
            Ok(())
        });
        unit.await.unwrap();
        assert_eq!((notes_in_database(&db).await.len(), count(&db, "tag").await), (1, 1));
    });
}

async fn count(db: &Db, table: &str) -> i64 {
    let sql = format!("SELECT count(*) AS n FROM {table}");
    let row = db.connection().query_one_raw(Statement::from_string(db.backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "n").unwrap()
}

#[test]
fn d11_a_transaction_that_somebody_ended_is_noticed_at_the_next_answer() {
    // SQLite has nobody else who could end it, but its own statements, which are asked about.
    on_postgres(async |db: Db| {
        let unit = db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "gone with it"));
            s.flush().await?;
            sea_session::testing::send_unchecked(s, "ROLLBACK").await?;
            let nested = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(2, "never"));
                s.flush().await
            });
            nested.await.expect_err("there is nothing for a savepoint to be in");
            Ok(())
        });
        let failed = unit.await.unwrap_err();
        assert!(matches!(failed, Error::TransactionEnded { .. }), "{failed:?}");
        assert_eq!(notes_in_database(&db).await, []);
    });
}
