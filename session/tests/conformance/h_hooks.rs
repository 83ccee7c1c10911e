//! Hooks (H).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use sea_orm::{ActiveValue::Set, ConnectionTrait};
use sea_session::{
    Error, Session,
    prelude::*,
    testing::{Backend, run_test_on},
};

use crate::support::*;

/// What ran, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn put(&self, word: &'static str) {
        self.0.lock().push(word);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock())
    }

    fn on_commit(&self, s: &mut Session, word: &'static str) {
        let log = self.clone();
        s.on_commit(async move || log.put(word));
    }

    fn on_rollback(&self, s: &mut Session, word: &'static str) {
        let log = self.clone();
        s.on_rollback(async move || log.put(word));
    }
}

fn changed_my_mind() -> Error {
    Error::Usage("changed my mind".into())
}

#[test]
fn h1_a_hook_registered_after_the_unit_runs_at_once() {
    on_all(async |db: Db| {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut s = db.begin().await.unwrap();
        let hooks = s.hooks();
        s.commit().await.unwrap();
        hooks.on_commit(async move || {
            let _ = tell.send("ran");
        });
        assert_eq!(told.await, Ok("ran"));
    });
}

#[test]
fn h2_hooks_run_in_order_across_levels_after_the_outermost_commit() {
    on_all(async |db: Db| {
        let log = Log::default();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            log.on_commit(s, "first");
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "row"));
                log.on_commit(s, "second");
                Ok(())
            })
            .await?;
            log.on_commit(s, "third");
            assert_eq!(log.take(), Vec::<&str>::new(), "a release is no commit");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(log.take(), ["first", "second", "third"]);
    });
}

#[test]
fn h3_h8_a_rolled_back_savepoint_takes_its_commit_hooks_and_runs_its_rollback_hooks() {
    on_all(async |db: Db| {
        let log = Log::default();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            log.on_commit(s, "kept");
            log.on_rollback(s, "never");
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    // An inner release hands its hooks to the block that is rolled back.
                    s.atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.add(draft(1, "lost"));
                        log.on_commit(s, "lost");
                        log.on_rollback(s, "rolled back");
                        Ok(())
                    })
                    .await?;
                    Err(changed_my_mind())
                })
                .await;
            assert!(outcome.is_err());
            assert_eq!(log.take(), ["rolled back"]);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(log.take(), ["kept"]);
    });
}

#[test]
fn h4_a_rolled_back_unit_forgets_its_commit_hooks() {
    on_all(async |db: Db| {
        let log = Log::default();
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                log.on_commit(s, "lost");
                log.on_rollback(s, "rolled back");
                Err(changed_my_mind())
            })
            .await;
        assert!(outcome.is_err());
        assert_eq!(log.take(), ["rolled back"]);
    });
}

#[test]
fn h4_a_lost_connection_forgets_the_commit_hooks() {
    // SQLite has no connection that could be lost.
    on_servers(async |db: Db| {
        let log = Log::default();
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "lost"));
                s.flush().await?;
                log.on_commit(s, "never");
                log.on_rollback(s, "rolled back");
                s.execute_unprepared(ends_itself(s.backend())).await.unwrap_err();
                log.on_commit(s, "never either");
                Ok(())
            })
            .await;
        assert!(outcome.unwrap_err().is_connection_lost());
        assert_eq!(log.take(), ["rolled back"]);
        let mut by_hand = db.begin().await.unwrap();
        by_hand.add(draft(2, "lost"));
        by_hand.flush().await.unwrap();
        log.on_commit(&mut by_hand, "never");
        by_hand.execute_unprepared(ends_itself(db.backend())).await.unwrap_err();
        assert!(by_hand.commit().await.unwrap_err().is_connection_lost());
        let hooks = by_hand.hooks();
        drop(by_hand);
        assert_eq!(format!("{hooks:?}"), "Hooks { registered: 0 }");
        assert_eq!(log.take(), Vec::<&str>::new());
    });
}

#[test]
fn h5_a_hook_may_open_a_unit_and_register_another() {
    on_all(async |db: Db| {
        let log = Log::default();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "first"));
            let (hooks, inner, own) = (s.hooks(), log.clone(), db.clone());
            s.on_commit(async move || -> Result<(), Error> {
                inner.put("outer");
                let again = inner.clone();
                hooks.on_commit(async move || again.put("inner"));
                own.run(async |s: &mut Session| -> Result<(), Error> {
                    s.add(draft(2, "by the hook"));
                    Ok(())
                })
                .await
            });
            log.on_commit(s, "last");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(log.take(), ["outer", "inner", "last"]);
        assert_eq!(notes_in_database(&db).await.len(), 2);
    });
}

#[test]
fn h6_a_failing_hook_leaves_the_commit_and_stops_the_later_unless_it_is_robust() {
    on_all(async |db: Db| {
        let log = Log::default();
        for (robust, expected) in [(false, vec!["before"]), (true, vec!["before", "after"])] {
            let outcome = db
                .run(async |s: &mut Session| -> Result<(), Error> {
                    s.add(draft(i64::from(robust), "kept"));
                    log.on_commit(s, "before");
                    let hook = s.on_commit(async || Err::<(), _>("the mail server is down"));
                    if robust {
                        hook.robust();
                    }
                    log.on_commit(s, "after");
                    Ok(())
                })
                .await;
            match robust {
                true => assert!(outcome.is_ok(), "{outcome:?}"),
                false => assert!(
                    matches!(&outcome, Err(Error::AfterCommit { message }) if message.contains("mail server")),
                    "{outcome:?}"
                ),
            }
            assert_eq!(log.take(), expected);
        }
        assert_eq!(notes_in_database(&db).await.len(), 2, "both stand");
    });
}

#[test]
fn h7_a_hook_registered_while_flagged_never_runs() {
    on_all(async |db: Db| {
        let log = Log::default();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    let failed = s.execute_unprepared("SELECT no_such_column FROM note").await;
                    assert!(failed.is_err());
                    log.on_commit(s, "never");
                    Ok(())
                })
                .await;
            assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(log.take(), Vec::<&str>::new());
    });
}

#[test]
fn h9_a_retried_attempt_takes_its_hooks_along() {
    on_all(async |db: Db| {
        let (log, attempts) = (Log::default(), AtomicUsize::new(0));
        db.session()
            .retry(1)
            .retry_on(|e: &Error| matches!(e, Error::Usage(_)))
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "once"));
                let first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
                log.on_commit(s, if first { "first" } else { "second" });
                if first { Err(changed_my_mind()) } else { Ok(()) }
            })
            .await
            .unwrap();
        assert_eq!(log.take(), ["second"]);
    });
}

#[test]
fn h9_an_attempt_that_lost_with_40001_takes_its_hooks_along() {
    // On SQLite a writing unit has the only write lock, so none loses against another.
    run_test_on(Backend::Postgres, tables, async |db: Db| {
        behind_the_back(&db, "INSERT INTO note (id, title, version, updated_at) VALUES (1, 'old', 1, now())").await;
        let (log, attempts) = (Log::default(), AtomicUsize::new(0));
        let unit = db.session().isolation(IsolationLevel::RepeatableRead).retry(3);
        let numbers = unit.clone();
        unit.run(async |s: &mut Session| -> Result<(), Error> {
            let first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
            let note = s.get::<note::Entity>(1).await?.unwrap();
            if first {
                behind_the_back(&db, "UPDATE note SET title = 'theirs' WHERE id = 1").await;
            }
            log.on_commit(s, if first { "first" } else { "second" });
            log.on_rollback(s, if first { "first lost" } else { "never" });
            note.set_title(&(note.title() + " and ours"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(numbers.stats().retries, 1);
        assert_eq!(log.take(), ["first lost", "second"]);
        assert_eq!(title_in_database(&db, 1).await.as_deref(), Some("theirs and ours"));
    });
}

/// An entity whose `ActiveModelBehavior` notes what is asked of it.
mod minuted {
    use parking_lot::Mutex;
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "minuted")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub title: String,
        pub place: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    pub static MINUTES: Mutex<Vec<(String, i64, String)>> = Mutex::new(Vec::new());

    fn note(what: &str, id: i64, place: &str) {
        MINUTES.lock().push((what.to_owned(), id, place.to_owned()));
    }

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(self, _: &C, insert: bool) -> Result<Self, DbErr> {
            let what = if insert { "before insert" } else { "before update" };
            note(what, *self.id.as_ref(), self.place.as_ref());
            Ok(self)
        }

        async fn after_save<C: ConnectionTrait>(model: Model, _: &C, insert: bool) -> Result<Model, DbErr> {
            note(if insert { "after insert" } else { "after update" }, model.id, &model.place);
            Ok(model)
        }

        async fn before_delete<C: ConnectionTrait>(self, _: &C) -> Result<Self, DbErr> {
            note("before delete", *self.id.as_ref(), self.place.as_ref());
            Ok(self)
        }

        async fn after_delete<C: ConnectionTrait>(self, _: &C) -> Result<Self, DbErr> {
            note("after delete", *self.id.as_ref(), self.place.as_ref());
            Ok(self)
        }
    }

    /// What was asked since the last time, of objects of one place (one test on one backend).
    pub fn take(place: &str) -> Vec<(String, i64)> {
        let mut minutes = MINUTES.lock();
        let (mine, others) = std::mem::take(&mut *minutes).into_iter().partition(|(_, _, at)| at == place);
        *minutes = others;
        let mut mine: Vec<(String, i64)> = mine.into_iter().map(|(what, id, _)| (what, id)).collect();
        mine.sort();
        mine
    }
}

#[test]
fn h10_an_entitys_own_hooks_run_once_an_object_whatever_the_statements_are() {
    on_all(async |db: Db| {
        create_table(&db, minuted::Entity).await.unwrap();
        let place = format!("{:?}", db.backend());
        let many = |what: &str| (0..20_i64).map(|id| (what.to_owned(), id)).collect::<Vec<_>>();
        let around = |what: &str| [many(&format!("after {what}")), many(&format!("before {what}"))].concat();
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let objects: Vec<_> = (0..20)
                .map(|id| {
                    let (title, place) = (Set("new".to_owned()), Set(place.clone()));
                    s.add(minuted::ActiveModel { id: Set(id), title, place })
                })
                .collect();
            s.flush().await?;
            assert_eq!(minuted::take(&place), around("insert"));
            s.flush().await?;
            assert_eq!(minuted::take(&place), [], "nothing to send, nothing to ask");
            for object in &objects {
                object.set_title("changed");
                object.set_title("changed twice");
            }
            s.flush().await?;
            assert_eq!(minuted::take(&place), around("update"));
            objects.iter().for_each(|object| s.delete(object));
            s.flush().await?;
            assert_eq!(minuted::take(&place), around("delete"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(minuted::take(&place), [], "nor at COMMIT");
    });
}

#[test]
fn h10_a_flush_hook_that_fails_fails_the_flush() {
    on_all(async |db: Db| {
        for before in [true, false] {
            let outcome = db
                .run(async |s: &mut Session| -> Result<(), Error> {
                    let refuse = || Err(Error::Usage("the hook says no".into()));
                    if before {
                        s.before_flush(refuse)
                    } else {
                        s.after_flush(refuse)
                    }
                    s.add(draft(1, "lost"));
                    let refused = s.flush().await;
                    assert!(matches!(&refused, Err(Error::Usage(text)) if text == "the hook says no"), "{refused:?}");
                    assert!(s.needs_rollback());
                    Ok(())
                })
                .await;
            assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");
            assert_eq!(notes_in_database(&db).await, vec![]);
        }
    });
}

#[test]
fn h10_flush_hooks_run_around_a_flush_that_has_something_to_do() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let log = Log::default();
        let (before, after) = (log.clone(), log.clone());
        s.before_flush(move || {
            before.put("before");
            Ok(())
        });
        s.after_flush(move || {
            after.put("after");
            Ok(())
        });
        s.flush().await?;
        assert_eq!(log.take(), Vec::<&str>::new(), "nothing to send");
        s.add(draft(1, "row"));
        s.flush().await?;
        assert_eq!(log.take(), ["before", "after"]);
        Ok(())
    });
}

#[test]
fn h2_h5_hooks_registered_by_a_hook_run_next_in_their_order_and_never_those_for_a_rollback() {
    on_all(async |db: Db| {
        let ran = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let ran = ran.clone();
            async move || ran.lock().push(name)
        };
        let (first, x, y, never, last) = (ran.clone(), note("x"), note("y"), note("never"), note("last"));
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let hooks = s.hooks();
            let (first, x, y, never) = (first.clone(), x.clone(), y.clone(), never.clone());
            s.on_commit(async move || {
                first.lock().push("first");
                hooks.on_commit(x);
                hooks.on_commit(y);
                hooks.on_rollback(never);
            });
            s.on_commit(last.clone());
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(*ran.lock(), ["first", "x", "y", "last"]);
    });
}
