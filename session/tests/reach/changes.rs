//! What a unit changes (U7): the change set, and observers of flushes.

mod audit_trail;
mod derived;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder, Value};
use sea_session::{
    Change, ChangeKind, Error, FlushObserver, Flushing, Recorder, Session, audit,
    outbox::Outbox,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::support_outbox::event;
use tokio::sync::Notify;

mod memo {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "memo")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
        #[tracked(secret)]
        pub pin: String,
        #[sea_orm(default_value = "draft")]
        pub status: String,
        #[tracked(version)]
        pub version: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

mod account {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "account")]
    #[tracked(no_hooks, audit, outbox = "accounts", soft_delete = "closed_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub owner: String,
        #[tracked(secret)]
        pub password: String,
        pub closed_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

fn memo(title: &str) -> memo::ActiveModel {
    memo::ActiveModel { title: Set(title.to_owned()), pin: Set("1234".to_owned()), ..Default::default() }
}

fn account(id: i64) -> account::ActiveModel {
    account::ActiveModel {
        id: Set(id),
        owner: Set("ann".to_owned()),
        password: Set("hunter2".to_owned()),
        ..Default::default()
    }
}

async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, memo::Entity).await?;
    create_table(db, account::Entity).await?;
    create_table(db, event::Entity).await?;
    create_table(db, audit::Entity).await
}

fn on_both(test: impl AsyncFn(Db) -> Result<(), Error>) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

fn text(value: &str) -> Option<Value> {
    Some(value.into())
}

/// Keeps the texts of all changes that it sees.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait::async_trait]
impl FlushObserver for Seen {
    async fn flushed(&self, _: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error> {
        self.0.lock().unwrap().extend(changes.iter().map(|change| format!("{change:?}")));
        Ok(())
    }
}

#[test]
fn u7_changes_say_what_the_next_flush_would_do_and_what_it_did() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let memo = s.add(memo("one"));
            let pending = s.changes().pending;
            assert_eq!(format!("{pending:?}"), "[insert memo (new): [title, pin]]");
            assert!(pending[0].key().is_empty());
            s.flush().await?;
            let changes = s.changes();
            assert!(changes.pending.is_empty());
            let [insert] = &changes.flushed[..] else { panic!("{changes:?}") };
            assert!(insert.is::<memo::Entity>() && !insert.is::<account::Entity>());
            assert_eq!(
                (insert.entity(), insert.kind(), insert.key()),
                ("memo", ChangeKind::Insert, &[1_i64.into()][..])
            );
            // What the database and the flush made is in it, and the secret is not.
            assert_eq!(insert.column("status").unwrap().new, text("draft"));
            assert_eq!(insert.column("version").unwrap().new, Some(1.into()));
            let pin = insert.column("pin").unwrap();
            assert!(pin.secret && pin.old.is_none() && pin.new.is_none());
            assert!(!insert.to_json().to_string().contains("1234"));

            memo.set_title("two").set_pin("9999");
            let pending = s.changes().pending;
            let title = pending[0].column("title").unwrap();
            assert_eq!((title.old.clone(), title.new.clone()), (text("one"), text("two")));
            assert_eq!(format!("{pending:?}"), "[update memo 1: [title, pin]]");
            memo.set_title("one").set_pin("1234");
            assert!(s.changes().pending.is_empty(), "as the database has it");
            memo.set_title("three");
            s.flush().await?;
            let update = s.changes().flushed.pop().unwrap();
            assert_eq!(format!("{update:?}"), "update memo 1: [title, version]");
            assert_eq!(
                update.to_json(),
                serde_json::json!({ "title": { "old": "one", "new": "three" }, "version": { "old": 1, "new": 2 } })
            );

            s.delete(&memo);
            assert_eq!(s.changes().pending[0].kind(), ChangeKind::Delete);
            s.flush().await?;
            let changes = s.changes().flushed;
            let delete = changes.last().unwrap();
            assert_eq!((delete.kind(), delete.key_text().as_str()), (ChangeKind::Delete, "1"));
            assert_eq!(delete.column("title").unwrap().old, text("three"));
            assert!(delete.columns().iter().all(|column| column.new.is_none()));
            assert_eq!(changes.len(), 3);
            Ok(())
        })
        .await
    });
}

#[test]
fn u7_what_a_rolled_back_block_changed_is_gone_from_the_change_set() {
    on_both(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.changes();
            s.add(memo("kept"));
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(memo("undone"));
                    s.flush().await?;
                    s.atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.add(memo("undone too"));
                        Ok(())
                    })
                    .await?;
                    assert_eq!(s.changes().flushed.len(), 3);
                    s.add(memo("never sent"));
                    assert_eq!(s.changes().pending.len(), 1);
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(outcome.is_err());
            let changes = s.changes();
            assert_eq!((changes.pending.len(), changes.flushed.len()), (0, 1));
            assert_eq!(changes.flushed[0].column("title").unwrap().new, text("kept"));
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(memo("kept as well"));
                Ok(())
            })
            .await?;
            let savepoint = s.savepoint().await?;
            s.add(memo("undone"));
            s.flush().await?;
            assert_eq!(s.changes().flushed.len(), 3);
            s.rollback_to(savepoint).await?;
            assert_eq!(s.changes().flushed.len(), 2);
            // A flush that fails takes its block along.
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(memo("undone"));
                    s.flush().await?;
                    s.add(memo::ActiveModel { id: Set(1), ..memo("taken") });
                    s.flush().await
                })
                .await;
            assert!(outcome.is_err());
            assert_eq!(s.changes().flushed.len(), 2);
            Ok(())
        })
        .await
    });
}

/// Writes a line for each memo that changes: an audit trail of the application's own, as the book has it.
struct Trail;

#[async_trait::async_trait]
impl FlushObserver for Trail {
    async fn flushed(&self, unit: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error> {
        for change in changes.iter().filter(|change| change.is::<memo::Entity>()) {
            unit.add(audit::ActiveModel {
                entity: Set(change.entity().to_owned()),
                row_key: Set(change.key_text()),
                kind: Set(change.meaning().to_owned()),
                changes: Set(change.to_json()),
                ..Default::default()
            });
        }
        Ok(())
    }
}

async fn trail(db: &Db) -> Vec<(String, String, serde_json::Value)> {
    let rows = audit::Entity::find().order_by_asc(audit::Column::Id).all(db.connection()).await.unwrap();
    rows.into_iter().map(|row| (row.kind, row.row_key, row.changes)).collect()
}

#[test]
fn u7_an_observer_adds_objects_that_commit_and_roll_back_with_the_change() {
    on_both(async |db: Db| {
        let seen = Seen::default();
        db.on_flush(Trail);
        db.on_flush(seen.clone());
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(memo("kept"));
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(memo("undone"));
                    s.flush().await?;
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(outcome.is_err());
            Ok(())
        })
        .await?;
        let trail = trail(&db).await;
        assert_eq!(trail.len(), 1);
        assert_eq!((trail[0].0.as_str(), &trail[0].2["title"]["new"]), ("insert", &"kept".into()));
        // What observers add is observed as well; what is undone was seen, by whoever looked.
        let seen = seen.take();
        assert_eq!(seen.iter().filter(|text| text.starts_with("insert memo")).count(), 2);
        assert_eq!(seen.iter().filter(|text| text.starts_with("insert audit_log")).count(), 2);
        Ok(())
    });
}

/// Refuses what it sees, or adds to it for ever, or never ends.
#[derive(Clone)]
enum Odd {
    Refuses,
    Endless,
    Pending(Arc<Notify>),
}

#[async_trait::async_trait]
impl FlushObserver for Odd {
    async fn flushed(&self, unit: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error> {
        match self {
            Odd::Refuses
                if changes.iter().any(|change| change.column("title").is_some_and(|c| c.new == text("bad"))) =>
            {
                Err(Error::Usage("not this title".into()))
            }
            Odd::Refuses => Ok(()),
            Odd::Endless => {
                unit.add(memo("one more"));
                Ok(())
            }
            Odd::Pending(far) => {
                far.notify_one();
                std::future::pending().await
            }
        }
    }
}

#[test]
fn u7_an_observers_error_fails_the_flush_and_rolls_it_back() {
    on_both(async |db: Db| {
        db.on_flush(Odd::Refuses);
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(memo("good"));
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(memo("bad"));
                    Ok(())
                })
                .await;
            assert!(outcome.unwrap_err().to_string().contains("not this title"));
            Ok(())
        })
        .await?;
        assert_eq!(memo::Entity::find().all(db.connection()).await.unwrap().len(), 1);
        Ok(())
    });
}

#[test]
fn u7_an_observer_that_adds_for_ever_is_stopped() {
    on_both(async |db: Db| {
        db.on_flush(Odd::Endless);
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(memo("first"));
                Ok(())
            })
            .await;
        assert!(outcome.unwrap_err().to_string().contains("100 flushes"));
        assert_eq!(memo::Entity::find().all(db.connection()).await.unwrap().len(), 0);
        Ok(())
    });
}

#[test]
fn u7_a_flush_that_is_dropped_while_it_is_observed_must_be_rolled_back() {
    on_both(async |db: Db| {
        let far = Arc::new(Notify::new());
        db.on_flush(Odd::Pending(far.clone()));
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(memo("written, and not told of"));
                tokio::select! {
                    biased;
                    _ = s.flush() => panic!("the observer never ends"),
                    () = far.notified() => {}
                }
                Ok(())
            })
            .await;
        assert!(matches!(outcome.unwrap_err().root(), Error::Cancelled));
        assert_eq!(memo::Entity::find().all(db.connection()).await.unwrap().len(), 0);
        // A block that is dropped with it takes it along, and the unit goes on.
        db.run(async |s: &mut Session| -> Result<(), Error> {
            {
                let block = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.add(memo("undone"));
                    s.flush().await
                });
                tokio::select! {
                    biased;
                    _ = block => panic!("the observer never ends"),
                    () = far.notified() => {}
                }
            }
            s.execute_unprepared("SELECT 1").await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn u7_units_that_nobody_observes_send_and_keep_nothing_more() {
    on_both(async |db: Db| {
        let statements = async |db: &Db| -> Result<Vec<String>, Error> {
            let recorder = Recorder::new();
            db.session()
                .record(&recorder)
                .run(async |s: &mut Session| -> Result<(), Error> {
                    s.add(memo("x"));
                    s.flush().await?;
                    assert!(s.changes().flushed.is_empty(), "nobody had asked before the flush");
                    Ok(())
                })
                .await?;
            Ok(recorder.take())
        };
        let before = statements(&db).await?;
        let seen = Seen::default();
        db.on_flush(seen.clone());
        assert_eq!(statements(&db).await?.len(), before.len());
        assert_eq!(seen.take().len(), 1);
        Ok(())
    });
}

#[test]
fn u7_an_observer_may_ask_the_database_and_run_hooks() {
    struct Counts(Arc<AtomicUsize>);

    #[async_trait::async_trait]
    impl FlushObserver for Counts {
        async fn flushed(&self, unit: &mut Flushing<'_>, _: &[Change]) -> Result<(), Error> {
            assert_eq!(unit.tenant(), Some("ann"));
            let memos = memo::Entity::find().all(&unit.connection()).await?;
            let count = self.0.clone();
            unit.on_commit(async move || {
                count.store(memos.len(), Ordering::Relaxed);
            });
            Ok(())
        }
    }

    on_both(async |db: Db| {
        let count = Arc::new(AtomicUsize::new(0));
        db.on_flush(Counts(count.clone()));
        let unit = db.session().tenant("app.account", "ann");
        unit.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(memo("one"));
            s.add(memo("two"));
            Ok(())
        })
        .await?;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        Ok(())
    });
}

fn outbox(db: &Db) -> Outbox {
    let outbox = Outbox::new(db, "events", "accounts");
    outbox.derive_into::<event::Entity>();
    outbox
}

#[test]
fn u7_a_change_that_comes_while_a_flush_writes_is_of_the_next_round() {
    on_both(async |db: Db| {
        let seen = Seen::default();
        db.on_flush(seen.clone());
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let memo = s.add(memo("one"));
            s.flush().await?;
            let once = AtomicUsize::new(0);
            let again = memo.clone();
            s.after_flush(move || {
                if once.fetch_add(1, Ordering::Relaxed) == 0 {
                    again.set_status("late");
                }
                Ok(())
            });
            memo.set_title("two");
            Ok(())
        })
        .await?;
        let seen = seen.take();
        assert_eq!(seen[1..], ["update memo 1: [title, version]", "update memo 1: [status, version]"]);
        Ok(())
    });
}
