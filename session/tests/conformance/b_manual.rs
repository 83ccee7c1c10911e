//! Savepoints and units by hand (B).

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, Statement};
use sea_session::{Class, Error, Session, UnitState, prelude::*};

use crate::support::*;

#[test]
fn b1_savepoints_are_gone_back_to_and_released_and_a_gone_one_sends_nothing() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(1, "kept"));
        let first = s.savepoint().await?;
        s.add(draft(2, "lost"));
        s.flush().await?;
        let second = s.savepoint().await?;
        s.rollback_to(first).await?;
        let sent = s.stats().round_trips();
        assert!(matches!(s.rollback_to(second).await, Err(Error::Usage(_))), "it went with the first");
        assert!(matches!(s.release(second).await, Err(Error::Usage(_))));
        assert_eq!(s.stats().round_trips(), sent);
        assert_eq!(note::Entity::find().count(s).await?, 1);
        s.add(draft(3, "lost again"));
        s.flush().await?;
        s.rollback_to(first).await?;
        s.add(draft(4, "kept too"));
        s.release(first).await?;
        assert!(matches!(s.rollback_to(first).await, Err(Error::Usage(_))));
        assert_eq!(note::Entity::find().count(s).await?, 2);
        Ok(())
    });
}

#[test]
fn b2_a_unit_has_five_states_and_an_ended_one_is_not_used_again() {
    on_all(async |db: Db| {
        let mut s = db.begin().await.unwrap();
        assert_eq!(s.unit_state(), UnitState::New);
        s.add(draft(1, "kept"));
        s.flush().await.unwrap();
        assert_eq!(s.unit_state(), UnitState::Started);
        s.commit().await.unwrap();
        assert_eq!(s.unit_state(), UnitState::Committed);
        assert!(matches!(s.commit().await, Err(Error::Usage(_))));
        assert!(matches!(s.rollback().await, Err(Error::Usage(_))));
        assert!(s.get::<note::Entity>(1).await.is_err());

        let mut s = db.begin().await.unwrap();
        s.add(draft(2, "lost"));
        s.flush().await.unwrap();
        s.rollback().await.unwrap();
        assert_eq!(s.unit_state(), UnitState::RolledBack);
        assert!(matches!(s.rollback().await, Err(Error::Usage(_))));
        assert_eq!(notes_in_database(&db).await, vec![(1, "kept".to_owned())]);
    });
}

#[test]
fn b3_a_look_at_a_shared_session_waits_for_no_statement() {
    on_postgres(async |db: Db| {
        let mut holder = db.begin().await.unwrap();
        holder.advisory_lock(7).await.unwrap();
        let mut s = db.begin().await.unwrap();
        let look = || (s.unit_state(), s.in_transaction(), s.depth(), s.tracked());
        // A statement that ends only after the look; what is seen meanwhile is what held before it.
        let waits = s.execute_unprepared("SELECT pg_advisory_xact_lock(7)");
        let (waited, meanwhile) = tokio::join!(biased; waits, async {
            let seen = look();
            holder.rollback().await.unwrap();
            seen
        });
        waited.unwrap();
        assert_eq!(meanwhile, (UnitState::New, false, 0, 0));
        assert_eq!(look(), (UnitState::Started, true, 0, 0));
        s.rollback().await.unwrap();
    });
}

#[test]
fn b3_a_session_says_where_it_is() {
    on_all(async |db: Db| {
        let mut s = db.begin().await.unwrap();
        assert_eq!((s.in_transaction(), s.depth()), (false, 0));
        s.atomic(async |s: &mut Session| -> Result<(), Error> {
            assert_eq!((s.in_transaction(), s.depth()), (false, 1), "nothing was sent yet");
            note::Entity::find().count(s).await?;
            assert_eq!((s.in_transaction(), s.depth()), (true, 1));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!((s.in_transaction(), s.depth()), (true, 0));
        s.commit().await.unwrap();
        assert!(!s.in_transaction());
    });
}

#[test]
fn b3_a_block_cannot_have_another_isolation_than_its_unit() {
    on_all(async |db: Db| {
        for (unit, asked, granted) in [
            (Some(IsolationLevel::Serializable), IsolationLevel::Serializable, true),
            (Some(IsolationLevel::RepeatableRead), IsolationLevel::Serializable, false),
            (None, IsolationLevel::Serializable, false),
            (None, IsolationLevel::ReadCommitted, false),
        ] {
            let recorder = sea_session::Recorder::new();
            let mut options = db.session().record(&recorder);
            if let Some(level) = unit {
                options = options.isolation(level);
            }
            let ran = std::sync::atomic::AtomicBool::new(false);
            let outcome = options
                .run(async |s: &mut Session| -> Result<(), Error> {
                    let block = s.block().isolation(asked);
                    block
                        .run(async |_: &mut Session| -> Result<(), Error> {
                            ran.store(true, std::sync::atomic::Ordering::Relaxed);
                            Ok(())
                        })
                        .await
                })
                .await;
            assert_eq!((outcome.is_ok(), ran.into_inner()), (granted, granted), "{unit:?} {asked:?}: {outcome:?}");
            if let Err(e) = outcome {
                assert!(matches!(&e, Error::Usage(text) if text.contains(&asked.to_string())), "{e}");
            }
            assert_eq!(recorder.take(), Vec::<String>::new(), "refused before anything is sent");
        }
    });
}

/// Not safe under a lesser isolation, and says so.
#[db_session(isolation = "serializable")]
async fn look_twice(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

#[async_trait::async_trait]
trait Looker {
    async fn look(&self, s: &mut Session) -> Result<u64, Error>;
    async fn look_on(&self, db: &Db) -> Result<u64, Error>;
}

struct Careful;

#[async_trait::async_trait]
impl Looker for Careful {
    #[db_session(isolation = IsolationLevel::RepeatableRead)]
    async fn look(&self, s: &mut Session) -> Result<u64, Error> {
        Ok(note::Entity::find().count(s).await?)
    }
}

#[test]
fn b3_a_function_that_asks_for_an_isolation_joins_no_unit_of_another() {
    on_all(async |db: Db| {
        assert_eq!(look_twice_on(&db).await.unwrap(), 0);
        assert_eq!(Careful.look_on(&db).await.unwrap(), 0);
        let (recorder, unit) = watched(&db);
        let joined = async |s: &mut Session| -> Result<u64, Error> { look_twice(s).await };
        let refused = unit.clone().run(joined).await.unwrap_err();
        assert!(matches!(&refused, Error::Usage(text) if text.contains("opened without")), "{refused}");
        let refused = unit.clone().isolation(IsolationLevel::RepeatableRead).run(joined).await.unwrap_err();
        assert!(matches!(&refused, Error::Usage(text) if text.contains("one isolation level")), "{refused}");
        let by_trait = async |s: &mut Session| -> Result<u64, Error> { Careful.look(s).await };
        assert!(unit.clone().run(by_trait).await.is_err());
        assert_eq!(recorder.take(), Vec::<String>::new(), "refused before anything is sent");
        unit.clone().isolation(IsolationLevel::Serializable).run(joined).await.unwrap();
        unit.isolation(IsolationLevel::RepeatableRead).run(by_trait).await.unwrap();
    });
}

#[test]
fn b4_read_only_and_deferrable_blocks_are_refused_by_name_before_anything_is_sent() {
    three_ways(async |s: &mut Session| -> Result<(), Error> {
        let sent = s.stats().round_trips();
        let body = async |_: &mut Session| -> Result<(), Error> { panic!("a refused block does not run") };
        let read_only = s.block().read_only().run(body).await.unwrap_err().to_string();
        assert!(read_only.contains("cannot be read-only") && read_only.contains(".read_only()"), "{read_only}");
        let deferrable = s.block().deferrable().run(body).await.unwrap_err().to_string();
        assert!(deferrable.contains("cannot be deferrable"), "{deferrable}");
        let first = s.block().merged().deferrable().read_only().run(body).await.unwrap_err().to_string();
        assert_eq!(first, deferrable, "the first that cannot be had");
        assert_eq!(s.stats().round_trips(), sent);
        assert_eq!(note::Entity::find().count(s).await?, 0, "the unit goes on");
        Ok(())
    });
}

#[db_session(read_only)]
async fn report(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

#[db_session(isolation = "serializable", read_only, deferrable)]
async fn backup(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

#[test]
fn b4_a_function_that_asks_for_a_read_only_or_deferrable_unit_joins_no_other() {
    on_all(async |db: Db| {
        assert_eq!(report_on(&db).await.unwrap(), 0);
        // The others have no such units (`b4_deferrable_needs_serializable_and_read_only`), and refuses them by name.
        let deferrable = why_not(&db, "deferrable").is_none();
        assert_eq!(backup_on(&db).await.is_ok(), deferrable);
        let (recorder, unit) = watched(&db);
        let reports = async |s: &mut Session| -> Result<u64, Error> { report(s).await };
        let backs_up = async |s: &mut Session| -> Result<u64, Error> { backup(s).await };
        let refused = unit.clone().run(reports).await.unwrap_err();
        assert!(matches!(&refused, Error::Usage(text) if text.contains("`.read_only()`")), "{refused}");
        let serializable = unit.clone().isolation(IsolationLevel::Serializable);
        let refused = serializable.clone().run(backs_up).await.unwrap_err();
        assert!(matches!(&refused, Error::Usage(text) if text.contains("`.read_only()`")), "{refused}");
        let refused = serializable.clone().read_only().run(backs_up).await.unwrap_err();
        assert!(matches!(&refused, Error::Usage(text) if text.contains("`.deferrable()`")), "{refused}");
        assert_eq!(recorder.take(), Vec::<String>::new(), "refused before anything is sent");
        unit.read_only().run(reports).await.unwrap();
        assert_eq!(serializable.read_only().deferrable().run(backs_up).await.is_ok(), deferrable);
    });
}

#[test]
fn b4_deferrable_needs_serializable_and_read_only() {
    on_all(async |db: Db| {
        let alone = [
            db.session().deferrable(),
            db.session().deferrable().read_only(),
            db.session().deferrable().isolation(IsolationLevel::Serializable),
            db.session().deferrable().read_only().isolation(IsolationLevel::RepeatableRead),
        ];
        for options in alone {
            let numbers = options.clone();
            let refused = options.run(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await.unwrap_err();
            assert!(matches!(&refused, Error::Usage(text) if text.contains("read_only")), "{refused}");
            assert_eq!(numbers.stats().round_trips(), 0);
        }
    });
}

#[test]
fn b4_read_only_refuses_writes_and_deferrable_asks_for_its_company() {
    on_all(async |db: Db| {
        let written = db
            .session()
            .read_only()
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "refused"));
                Ok(())
            })
            .await;
        assert!(written.is_err());
        assert_eq!(notes_in_database(&db).await, vec![]);
        assert!(db.session().deferrable().begin().await.is_err());
        let whole = db.session().isolation(IsolationLevel::Serializable).read_only().deferrable();
        let outcome =
            whole.run(async |s: &mut Session| -> Result<u64, Error> { Ok(note::Entity::find().count(s).await?) }).await;
        match why_not(&db, "deferrable") {
            None => assert_eq!(outcome.unwrap(), 0),
            Some(why) => {
                assert!(matches!(&outcome, Err(Error::Unsupported { what, .. }) if what == why), "{outcome:?}");
            }
        }
        // What a read-only unit left behind does not bind the next one on its connection.
        behind_the_back(&db, "INSERT INTO tag (name) VALUES ('after')").await;
    });
}

#[test]
fn b5_advisory_locks_end_with_the_transaction_or_are_refused() {
    on_all(async |db: Db| {
        let mut s = db.begin().await.unwrap();
        if let Some(why) = why_not(&db, "advisory_locks") {
            let waits = s.advisory_lock(7).await;
            assert!(matches!(&waits, Err(Error::Unsupported { what, .. }) if what == why), "{waits:?}");
            let tries = s.try_advisory_lock(7).await;
            assert!(matches!(&tries, Err(Error::Unsupported { what, .. }) if what == why), "{tries:?}");
            return;
        }
        s.advisory_lock(7).await.unwrap();
        let mut other = db.begin().await.unwrap();
        assert!(!other.try_advisory_lock(7).await.unwrap());
        s.commit().await.unwrap();
        assert!(other.try_advisory_lock(7).await.unwrap());
        other.execute_unprepared("SELECT 1").await.unwrap();
    });
}

#[test]
fn r7_a_lock_timeout_bounds_the_wait_for_a_row_and_holds_for_its_unit_only() {
    on_servers(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "free"));
            Ok(())
        })
        .await
        .unwrap();
        let mut holder = db.begin().await.unwrap();
        holder.execute_unprepared("UPDATE note SET title = 'held' WHERE id = 1").await.unwrap();
        let hurried = || db.session().lock_timeout(std::time::Duration::from_millis(50));
        let rename = async |unit: UnitOptions| {
            unit.run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("UPDATE note SET title = 'mine' WHERE id = 1").await?;
                Ok(())
            })
            .await
        };
        let refused = rename(hurried()).await.unwrap_err();
        assert_eq!(refused.class(), Some(Class::LockNotAvailable), "{refused:?}");
        let again = hurried().retry(Retry::times(1).on_lock_not_available());
        let numbers = again.clone();
        rename(again).await.unwrap_err();
        assert_eq!(numbers.stats().retries, 1);
        holder.rollback().await.unwrap();
        rename(hurried()).await.unwrap();

        let setting = match db.backend() {
            DbBackend::Postgres => "SHOW lock_timeout",
            _ => "SELECT CAST(@@innodb_lock_wait_timeout AS char)",
        };
        let (same, global) = (setting, setting.replace("@@", "@@global."));
        let ask = async |s: &Session, question: &str| -> Result<String, Error> {
            let row = s.query_one_raw(Statement::from_string(db.backend(), question)).await?;
            Ok(row.expect("a setting").try_get_by_index(0)?)
        };
        db.run(async |s: &mut Session| -> Result<(), Error> {
            assert_eq!(ask(s, same).await?, ask(s, &global).await?, "a later unit has the server's");
            Ok(())
        })
        .await
        .unwrap();
    });
}
