//! Several databases (M).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbBackend, Statement, sqlx::ConnectOptions as _};
use sea_session::{Error, Recovered, Sessions, Several, prelude::*, testing::cluster};

use crate::support::*;

/// A second database of the same kind as `db`, with the suite's tables, and what keeps it alive.
struct Second {
    db: Db,
    _place: Box<dyn std::any::Any>,
}

impl Second {
    async fn like(db: &Db) -> Self {
        let (url, place): (String, Box<dyn std::any::Any>) = match db.backend() {
            DbBackend::Postgres => {
                let database = cluster::fresh_database().await.unwrap();
                (database.url(), Box::new(database))
            }
            DbBackend::MySql => {
                let database = cluster::mariadb::fresh_database().await.unwrap();
                (database.url(), Box::new(database))
            }
            _ => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite://{}?mode=rwc", folder.path().join("second.db").display()), Box::new(folder))
            }
        };
        let db = Db::connect(url).await.unwrap();
        tables(&db).await.unwrap();
        Self { db, _place: place }
    }
}

/// A token of no other test: names of prepared transactions are the whole cluster's, and two runs may share one.
fn token() -> String {
    sea_orm::prelude::Uuid::from_u128(fastrand::u128(..)).to_string()
}

/// From now on no transaction that changes `note` can commit: the violation shows at COMMIT.
async fn refuse_commits(db: &Db) {
    let sql = if db.backend() == DbBackend::Postgres {
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused at commit'; END $$; \
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    } else {
        "CREATE TABLE orphan (id INTEGER PRIMARY KEY, note INTEGER REFERENCES orphan(id) DEFERRABLE INITIALLY DEFERRED); \
         CREATE TRIGGER refuse AFTER INSERT ON note BEGIN INSERT INTO orphan (id, note) VALUES (NULL, 99); END"
    };
    behind_the_back(db, sql).await;
}

/// A unit that writes one note on each of the two databases.
async fn write_both(several: &Several, hooks: &Arc<Mutex<Vec<&'static str>>>) -> Result<(), Error> {
    several
        .run(async |s: &mut Sessions| -> Result<(), Error> {
            let ran = hooks.clone();
            s.primary().add(draft(1, "first"));
            s.primary().on_commit(async move || ran.lock().push("first"));
            let ran = hooks.clone();
            s.on("second")?.add(draft(2, "second"));
            s.on("second")?.on_commit(async move || ran.lock().push("second"));
            Ok(())
        })
        .await
}

#[test]
fn m1_all_commit_the_primary_first_and_hooks_run_after_all() {
    on_all(async |db: Db| {
        let second = Second::like(&db).await;
        let hooks = Arc::default();
        write_both(&Several::new("first", &db).and("second", &second.db), &hooks).await.unwrap();
        assert_eq!(notes_in_database(&db).await, vec![(1, "first".to_owned())]);
        assert_eq!(notes_in_database(&second.db).await, vec![(2, "second".to_owned())]);
        assert_eq!(*hooks.lock(), ["first", "second"]);
    });
}

#[test]
fn m1_a_body_that_fails_and_a_primary_that_cannot_commit_leave_nothing_anywhere() {
    on_all(async |db: Db| {
        let second = Second::like(&db).await;
        let several = Several::new("first", &db).and("second", &second.db);
        let failed: Result<(), Error> = several
            .run(async |s: &mut Sessions| -> Result<(), Error> {
                let (first, other) = s.pair("first", "second")?;
                first.add(draft(1, "first"));
                other.add(draft(2, "second"));
                first.flush().await?;
                Err(Error::Usage("changed my mind".into()))
            })
            .await;
        assert!(matches!(failed, Err(Error::Usage(_))), "{failed:?}");
        if db.backend() == DbBackend::MySql {
            return; // nothing that the database checks shows at COMMIT there
        }
        refuse_commits(&db).await;
        let hooks = Arc::default();
        let refused = write_both(&several, &hooks).await.unwrap_err();
        assert!(matches!(refused, Error::Database(_)), "{refused}");
        assert_eq!(notes_in_database(&db).await, vec![]);
        assert_eq!(notes_in_database(&second.db).await, vec![]);
        assert!(hooks.lock().is_empty());
    });
}

#[test]
fn m1_a_secondary_that_fails_is_a_partial_commit_that_names_who_has_what() {
    on_all(async |db: Db| {
        if db.backend() == DbBackend::MySql {
            return; // nothing that the database checks shows at COMMIT there
        }
        let second = Second::like(&db).await;
        refuse_commits(&second.db).await;
        let hooks = Arc::default();
        let partial = write_both(&Several::new("first", &db).and("second", &second.db), &hooks).await.unwrap_err();
        let Error::PartialCommit { committed, failed, .. } = &partial else { panic!("{partial}") };
        assert_eq!((&committed[..], &failed[..]), (&["first".to_owned()][..], &["second".to_owned()][..]));
        assert_eq!(notes_in_database(&db).await.len(), 1);
        assert_eq!(notes_in_database(&second.db).await, vec![]);
        assert_eq!(*hooks.lock(), ["first"], "the hooks of those that committed");
    });
}

#[test]
fn m1_wrong_names_are_refused_with_the_right_ones() {
    on_all(async |db: Db| {
        let outcome: Result<(), Error> = Several::new("main", &db)
            .run(async |s: &mut Sessions| -> Result<(), Error> { s.on("audit").map(|_| ()) })
            .await;
        assert_eq!(outcome.unwrap_err().text().to_string(), "no database `audit` in this unit; there are: main");
        let twice: Result<(), Error> = Several::new("main", &db)
            .and("main", &db)
            .run(async |_: &mut Sessions| -> Result<(), Error> { Ok(()) })
            .await;
        assert!(twice.is_err());
    });
}

#[test]
fn m2_two_phase_prepares_all_before_committing_any_or_is_refused() {
    on_all(async |db: Db| {
        let second = Second::like(&db).await;
        let several = Several::new("first", &db).and("second", &second.db).two_phase();
        let hooks = Arc::default();
        if let Some(why) = why_not(&db, "two_phase") {
            let refused = write_both(&several, &hooks).await.unwrap_err();
            assert!(matches!(&refused, Error::Unsupported { what, .. } if what == why), "{refused}");
            return;
        }
        db.create_commit_tokens().await.unwrap();
        write_both(&several, &hooks).await.unwrap();
        assert_eq!(notes_in_database(&db).await.len(), 1);
        assert_eq!(notes_in_database(&second.db).await.len(), 1);
        assert_eq!(*hooks.lock(), ["first", "second"]);
        assert_eq!(several.recover(Duration::ZERO).await.unwrap(), Recovered::default(), "nothing is left prepared");
        if db.backend() == DbBackend::MySql {
            return; // nothing that the database checks shows at PREPARE there
        }

        behind_the_back(&db, "DELETE FROM note").await;
        behind_the_back(&second.db, "DELETE FROM note").await;
        refuse_commits(&second.db).await;
        let refused = write_both(&several, &hooks).await.unwrap_err();
        assert!(matches!(refused, Error::Database(_)), "a deferred violation shows at PREPARE: {refused}");
        assert_eq!(notes_in_database(&db).await, vec![]);
        assert_eq!(notes_in_database(&second.db).await, vec![]);
        assert_eq!(several.recover(Duration::ZERO).await.unwrap(), Recovered::default(), "nothing is left prepared");
    });
}

/// What the names in a database say of it, where the server does not tell its databases apart.
async fn place(db: &Db) -> String {
    if db.backend() != DbBackend::MySql {
        return String::new();
    }
    let question = "SELECT LEFT(MD5(DATABASE()), 16)";
    let row = db.connection().query_one_raw(Statement::from_string(db.backend(), question)).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Prepares a transaction past every session, and waits until its connection is gone, where it is the connection's until then.
async fn leave_prepared(db: &Db, sql: &str) {
    if db.backend() != DbBackend::MySql {
        return behind_the_back(db, sql).await;
    }
    let url = db.connection().get_mysql_connection_pool().connect_options().to_url_lossy().to_string();
    let own = sea_orm::Database::connect(url).await.unwrap();
    let number =
        own.query_one_raw(Statement::from_string(db.backend(), "SELECT CONNECTION_ID()")).await.unwrap().unwrap();
    let number: u64 = number.try_get_by_index(0).unwrap();
    own.execute_unprepared(sql).await.unwrap();
    own.close().await.unwrap();
    let question = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number}");
    loop {
        let there = Statement::from_string(db.backend(), question.clone());
        let there = db.connection().query_one_raw(there).await.unwrap().unwrap();
        if there.try_get_by_index::<i64>(0).unwrap() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn m2_recovery_commits_what_the_primary_committed_and_rolls_back_the_rest() {
    on_all(async |db: Db| {
        if let Some(why) = why_not(&db, "commit_tokens") {
            let refused = db.create_commit_tokens().await.unwrap_err();
            assert!(matches!(&refused, Error::Unsupported { what, .. } if what == why), "{refused}");
            return;
        }
        let second = Second::like(&db).await;
        let several = Several::new("first", &db).and("second", &second.db).two_phase();
        if let Some(why) = why_not(&db, "two_phase") {
            let refused = several.recover(Duration::ZERO).await.unwrap_err();
            assert!(matches!(&refused, Error::Unsupported { what, .. } if what == why), "{refused}");
            return;
        }
        db.create_commit_tokens().await.unwrap();
        // What a crash leaves after the primary's commit, before it, and with the primary itself still prepared.
        let (decided, undecided, early) = (&token(), &token(), &token());
        behind_the_back(&db, &format!("INSERT INTO sea_session_commits (token) VALUES ('{decided}')")).await;
        let places = [place(&db).await, place(&second.db).await];
        let left = |id: i64, token: &str, at: usize| {
            let note = format!("INSERT INTO note (id, title, version, updated_at) VALUES ({id}, 'left', 1, now())");
            let token_row = if at == 0 {
                format!("INSERT INTO sea_session_commits (token) VALUES ('{token}'); ")
            } else {
                String::new()
            };
            match db.backend() {
                // The name has a place and a time behind it; the connection, which alone may end it as long as it lives, is closed.
                DbBackend::MySql => {
                    let name = format!("'sea_session:{token}:{at}', '{}.1'", places[at]);
                    let note = note.replace("now()", "now(6)");
                    format!("XA START {name}; {note}; {token_row}XA END {name}; XA PREPARE {name}")
                }
                _ => format!("BEGIN; {note}; {token_row}PREPARE TRANSACTION 'sea_session:{token}:{at}'"),
            }
        };
        leave_prepared(&second.db, &left(1, decided, 1)).await;
        leave_prepared(&second.db, &left(2, undecided, 1)).await;
        leave_prepared(&db, &left(3, early, 0)).await;
        leave_prepared(&second.db, &left(3, early, 1)).await;

        let recovered = several.recover(Duration::ZERO).await.unwrap();
        assert_eq!(recovered.committed, [format!("second: sea_session:{decided}:1")]);
        assert_eq!(recovered.rolled_back.len(), 3, "{recovered:?}");
        assert_eq!(notes_in_database(&second.db).await, vec![(1, "left".to_owned())]);
        assert_eq!(notes_in_database(&db).await, vec![]);
        assert_eq!(several.recover(Duration::ZERO).await.unwrap(), Recovered::default(), "recovery is done once");
        assert_eq!(db.purge_commit_tokens(Duration::ZERO).await.unwrap(), 3);
    });
}

/// Names of prepared transactions are the whole cluster's, but each belongs to one database of it.
#[test]
fn m2_recovery_leaves_alone_what_another_database_of_the_cluster_prepared() {
    on_postgres(async |db: Db| {
        let (second, stranger) = (Second::like(&db).await, Second::like(&db).await);
        let several = Several::new("first", &db).and("second", &second.db).two_phase();
        db.create_commit_tokens().await.unwrap();
        let (undecided, theirs) = (token(), token());
        let left = |token: &str, at: usize| {
            format!(
                "BEGIN; INSERT INTO note (id, title, version, updated_at) VALUES (1, 'left', 1, now()); \
                 PREPARE TRANSACTION 'sea_session:{token}:{at}'"
            )
        };
        behind_the_back(&second.db, &left(&undecided, 1)).await;
        // In the primary's name, but not in the primary: it says nothing about what the primary decided.
        behind_the_back(&stranger.db, &left(&undecided, 0)).await;
        behind_the_back(&db, &format!("INSERT INTO sea_session_commits (token) VALUES ('{theirs}')")).await;
        let third = Second::like(&db).await;
        behind_the_back(&third.db, &left(&theirs, 1)).await;

        let recovered = several.recover(Duration::ZERO).await.unwrap();
        assert_eq!(recovered.committed, [""; 0], "of a database that is none of these");
        assert_eq!(recovered.rolled_back, [format!("second: sea_session:{undecided}:1")]);
        for (database, gid) in [(&stranger, format!("{undecided}:0")), (&third, format!("{theirs}:1"))] {
            // An error if recovery had ended it.
            behind_the_back(&database.db, &format!("COMMIT PREPARED 'sea_session:{gid}'")).await;
            assert_eq!(notes_in_database(&database.db).await, vec![(1, "left".to_owned())]);
        }
    });
}

/// Asking leaves a mark, and the mark must not be taken for the primary's own.
#[test]
fn m2_recovery_says_the_same_to_every_database_and_every_time() {
    on_postgres(async |db: Db| {
        let (second, third) = (Second::like(&db).await, Second::like(&db).await);
        let several = Several::new("first", &db).and("second", &second.db).and("third", &third.db).two_phase();
        db.create_commit_tokens().await.unwrap();
        let undecided = token();
        let left = |at: usize| {
            format!(
                "BEGIN; INSERT INTO note (id, title, version, updated_at) VALUES (1, 'left', 1, now()); \
                 PREPARE TRANSACTION 'sea_session:{undecided}:{at}'"
            )
        };
        for _ in 0..2 {
            behind_the_back(&second.db, &left(1)).await;
            behind_the_back(&third.db, &left(2)).await;
            let recovered = several.recover(Duration::ZERO).await.unwrap();
            assert_eq!((recovered.committed.len(), recovered.rolled_back.len()), (0, 2), "{recovered:?}");
            assert_eq!(notes_in_database(&second.db).await, vec![]);
            assert_eq!(notes_in_database(&third.db).await, vec![]);
        }
    });
}
