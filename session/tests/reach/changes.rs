//! What a unit changes (U7): the change set, observers of flushes, the audit table, and events that are derived from changes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use sea_orm::{ActiveValue::Set, ConnectionTrait, DbBackend, EntityTrait, QueryOrder, Value};
use sea_session::{
    Change, ChangeKind, Error, FlushObserver, Flushing, Recorder, Session, audit,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
    testing::{Backend, cluster, create_table, run_test_on},
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
fn u7_audited_entities_leave_a_row_for_each_change() {
    on_both(async |db: Db| {
        outbox(&db);
        db.session()
            .tenant("app.account", "acme")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let account = s.add(account(1));
                s.flush().await?;
                account.set_owner("bob").set_password("swordfish");
                s.flush().await?;
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        account.set_owner("undone");
                        s.flush().await?;
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                s.delete(&account);
                s.flush().await?;
                s.restore(&account)?;
                s.flush().await?;
                s.hard_delete(&account);
                Ok(())
            })
            .await?;
        let rows = audit::Entity::find().order_by_asc(audit::Column::Id).all(db.connection()).await.unwrap();
        let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["insert", "update", "delete", "restore", "delete"]);
        assert!(rows.iter().all(|row| row.entity == "account" && row.row_key == "1"));
        assert!(rows.iter().all(|row| row.tenant.as_deref() == Some("acme")));
        assert_eq!(rows[1].changes, serde_json::json!({ "owner": { "old": "ann", "new": "bob" }, "password": {} }));
        let all = format!("{:?}", rows.iter().map(|row| row.changes.to_string()).collect::<Vec<_>>());
        assert!(!all.contains("hunter2") && !all.contains("swordfish"), "{all}");
        Ok(())
    });
}

#[test]
fn u7_the_audit_of_a_thousand_changes_takes_as_many_statements_as_that_of_one() {
    on_both(async |db: Db| {
        outbox(&db);
        let mut counts = Vec::new();
        for (first, many) in [(0, 64), (1_000, 1_024)] {
            let recorder = Recorder::new();
            db.session()
                .record(&recorder)
                .run(async |s: &mut Session| -> Result<(), Error> {
                    (first..first + many).for_each(|id| drop(s.add(account(id))));
                    Ok(())
                })
                .await?;
            counts.push(recorder.take().len());
        }
        assert!(counts[1] <= counts[0] + 3, "{counts:?}");
        assert_eq!(audit::Entity::find().all(db.connection()).await.unwrap().len(), 64 + 1_024);
        Ok(())
    });
}

#[test]
fn u7_a_role_that_may_only_insert_into_the_trail_leaves_its_rows() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = cluster::fresh_database().await.unwrap();
        let owner = Db::connect(database.url()).await.unwrap();
        tables(&owner).await.unwrap();
        let role = database.create_role().await.unwrap();
        let grants = format!(
            "GRANT ALL ON account, events TO {0}; GRANT INSERT ON audit_log TO {0}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0}",
            role.name()
        );
        owner.connection().execute_unprepared(&grants).await.unwrap();
        let db = Db::connect(role.url()).await.unwrap();
        outbox(&db);
        // One row, some that go as arrays, and as many as go by COPY.
        for (first, many) in [(0, 1), (10, 20), (1_000, 700)] {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                (first..first + many).for_each(|id| drop(s.add(account(id))));
                Ok(())
            })
            .await
            .unwrap();
        }
        let told: Vec<String> = trail(&owner).await.into_iter().map(|(_, key, _)| key).collect();
        let expected = [0..1, 10..30, 1_000..1_700].into_iter().flatten().map(|id| id.to_string());
        assert_eq!(told, expected.collect::<Vec<_>>());
        assert!(audit::Entity::find().all(db.connection()).await.is_err(), "the role may not read the trail");
        drop(db.close().await);
        drop(owner.close().await);
    });
}

#[test]
fn u7_the_trail_is_not_among_the_changes_that_it_tells_of() {
    on_both(async |db: Db| {
        let (seen, recorder) = (Seen::default(), Recorder::new());
        outbox(&db);
        db.on_flush(seen.clone());
        db.session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert!(s.changes().flushed.is_empty());
                s.add(account(1));
                s.flush().await?;
                let told: Vec<String> = s.changes().flushed.iter().map(|change| format!("{change:?}")).collect();
                assert!(!told.is_empty() && told.iter().all(|text| !text.contains("audit_log")), "{told:?}");
                Ok(())
            })
            .await?;
        let seen = seen.take();
        assert!(!seen.is_empty() && seen.iter().all(|text| !text.contains("audit_log")), "{seen:?}");
        assert_eq!(recorder.take().iter().filter(|sql| sql.contains("INSERT INTO \"audit_log\"")).count(), 1);
        Ok(())
    });
}

#[test]
fn u7_a_trail_whose_table_acts_by_itself_is_written_row_by_row() {
    on_both(async |db: Db| {
        outbox(&db);
        let trigger = match db.backend() {
            DbBackend::Sqlite => {
                "CREATE TRIGGER marks AFTER INSERT ON audit_log \
                 BEGIN UPDATE audit_log SET kind = 'seen ' || NEW.kind WHERE id = NEW.id; END"
            }
            _ => {
                "CREATE FUNCTION marks() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN NEW.kind := 'seen ' || NEW.kind; RETURN NEW; END $$; \
                 CREATE TRIGGER marks BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION marks()"
            }
        };
        db.connection().execute_unprepared(trigger).await?;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            (0..5).for_each(|id| drop(s.add(account(id))));
            Ok(())
        })
        .await?;
        let told: Vec<(String, String)> = trail(&db).await.into_iter().map(|(kind, key, _)| (kind, key)).collect();
        assert_eq!(told, (0..5).map(|id| ("seen insert".to_owned(), id.to_string())).collect::<Vec<_>>());
        Ok(())
    });
}

struct Receiver(Arc<Mutex<Vec<Event>>>);

#[async_trait::async_trait]
impl Handler for Receiver {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(events.iter().map(|_| Delivery::Done).collect())
    }
}

#[test]
fn u7_events_are_derived_from_changes_and_delivered_in_their_order() {
    on_both(async |db: Db| {
        let outbox = outbox(&db);
        db.session()
            .tenant("app.account", "acme")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let one = s.add(account(1));
                s.add(account(2));
                s.flush().await?;
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        one.set_owner("undone");
                        s.flush().await?;
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                one.set_owner("bob");
                Ok(())
            })
            .await?;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let one = s.get::<account::Entity>(1).await?.unwrap();
            s.delete(&one);
            Ok(())
        })
        .await?;
        let received = Arc::new(Mutex::new(Vec::new()));
        Dispatcher::new(&outbox, Receiver(received.clone())).drain().await?;
        let received = received.lock().unwrap();
        let of = |key: &str| -> Vec<(i64, String)> {
            let events = received.iter().filter(|event| event.key == key);
            events.map(|event| (event.sequence, event.event_type.clone())).collect()
        };
        assert_eq!(of("account 1"), [(1, "insert".into()), (2, "update".into()), (3, "delete".into())]);
        assert_eq!(of("account 2"), [(1, "insert".into())]);
        assert_eq!(received[0].account_id, "acme");
        let update = received.iter().find(|event| event.event_type == "update").unwrap();
        let changes = serde_json::json!({ "owner": { "old": "ann", "new": "bob" } });
        assert_eq!(update.payload, serde_json::json!({ "key": { "id": 1 }, "changes": changes }));
        Ok(())
    });
}

#[test]
fn u7_a_change_whose_event_nobody_takes_is_refused() {
    on_both(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(account(1));
                Ok(())
            })
            .await;
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("accounts") && message.contains("derive_into"), "{message}");
        assert_eq!(account::Entity::find().all(db.connection()).await.unwrap().len(), 0);
        Ok(())
    });
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
