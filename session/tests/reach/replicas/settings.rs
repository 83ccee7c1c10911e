//! Which units run on a replica, and that all that holds of a unit on the primary holds of theirs.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sea_orm::{ConnectionTrait, Statement, entity::prelude::*};
use sea_session::{Class, Error, Recorder, Session, UnitOptions, prelude::*};

use super::{pair::Pair, read_with, write};
use crate::support::{author, draft, note};

#[tokio::test]
async fn u9_a_unit_that_may_write_or_asks_for_it_stays_on_the_primary() {
    let pair = Pair::new(1).await;
    pair.primary.execute_unprepared("CREATE TABLE sea_session_commits (token uuid, fence boolean)").await.unwrap();
    let db = pair.db().await;
    let read_only = || db.session().read_only();
    let serializable = || read_only().isolation(IsolationLevel::Serializable);
    for primary in [db.session(), read_only().on_primary(), serializable(), serializable().deferrable()] {
        assert_eq!(read_with(primary).await.unwrap().replica, None);
    }
    // What a token is written for has to write.
    let token = read_with(read_only().settle_by_token()).await.unwrap_err();
    assert_eq!(token.sqlstate(), Some("25006"));
    for replica in [
        read_only().isolation(IsolationLevel::RepeatableRead),
        read_only().isolation(IsolationLevel::ReadCommitted),
        read_only().settle(),
        read_only().unfiltered(),
    ] {
        assert_eq!(read_with(replica).await.unwrap().replica, Some(0));
    }
    let mut by_hand = read_only().begin().await.unwrap();
    assert_eq!(note::Entity::find().count(&by_hand).await.unwrap(), 0);
    assert_eq!(by_hand.replica(), Some(0));
    by_hand.commit().await.unwrap();
}

#[tokio::test]
async fn u9_a_server_that_is_serializable_by_default_gets_only_units_that_say_otherwise() {
    let pair = Pair::new(1).await;
    let set = format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", pair.database.name());
    pair.primary.execute_unprepared(&set).await.unwrap();
    // Connections that are made from here on have it.
    pair.caught_up(0, &pair.primary.clone().into()).await;
    let db = pair.db().await;
    // What it asks for is there already: it is not waited for because of others' writes.
    pair.caught_up(0, &db).await;
    let read_only = || db.session().read_only();
    for silent in [read_only(), read_only().tenant("app.tenant", "acme")] {
        let silent = read_with(silent).await.unwrap();
        assert_eq!((silent.replica, silent.routing.passed_over, silent.routing.waits), (None, 1, 0));
    }
    let repeatable = read_with(read_only().isolation(IsolationLevel::RepeatableRead)).await.unwrap();
    assert_eq!(repeatable.replica, Some(0));
}

#[tokio::test]
async fn u9_a_snapshot_that_is_kept_holds_what_the_process_wrote() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    for id in 1..=40 {
        write(&db, id).await;
        let unit = db.session().read_only().isolation(IsolationLevel::RepeatableRead);
        let read = read_with(unit).await.unwrap();
        assert_eq!((read.replica, read.notes), (Some(0), id.unsigned_abs()));
    }
}

#[tokio::test]
async fn u9_an_advisory_lock_is_the_primarys() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    let mut first = db.session().read_only().begin().await.unwrap();
    first.advisory_lock(7).await.unwrap();
    assert_eq!((first.replica(), note::Entity::find().count(&first).await.unwrap()), (None, 0));
    let mut second = db.begin().await.unwrap();
    assert!(!second.try_advisory_lock(7).await.unwrap(), "it keeps others out");
    second.rollback().await.unwrap();
    first.rollback().await.unwrap();

    let mut late = db.session().read_only().begin().await.unwrap();
    assert_eq!(note::Entity::find().count(&late).await.unwrap(), 0);
    for refused in [late.advisory_lock(7).await.unwrap_err(), late.try_advisory_lock(7).await.unwrap_err()] {
        assert_eq!(
            refused.text().to_string(),
            "an advisory lock was asked for in a unit that runs on replica 0, where it would keep nobody out: open the unit \
             with `.on_primary()`"
        );
    }
    assert_eq!(note::Entity::find().count(&late).await.unwrap(), 0, "nothing was sent, so the unit goes on");
    late.commit().await.unwrap();
}

#[tokio::test]
async fn u9_a_write_is_refused_as_on_the_primary() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    write(&db, 1).await;
    let places = AtomicUsize::new(0);
    let refused = async |options: UnitOptions, sql: Option<&'static str>| -> Error {
        let unit = options.run(async |s: &mut Session| -> Result<(), Error> {
            let note = s.get::<note::Entity>(1).await?.expect("the note");
            places.fetch_add(s.replica().map_or(0, |_| 1), Ordering::Relaxed);
            match sql {
                Some(sql) => {
                    s.execute_unprepared(sql).await?;
                }
                None => {
                    note.set_title("changed");
                }
            }
            s.add(draft(2, "new"));
            Ok(())
        });
        unit.await.expect_err("the database refuses it")
    };
    for sql in
        [None, Some("DELETE FROM note"), Some("SELECT * FROM note FOR UPDATE"), Some("SELECT nextval('author_id_seq')")]
    {
        let on_replica = refused(db.session().read_only(), sql).await;
        let on_primary = refused(db.session().read_only().on_primary(), sql).await;
        assert_eq!(on_replica.sqlstate(), Some("25006"));
        assert_eq!(on_replica.to_string(), on_primary.to_string());
        assert_eq!(on_replica.class(), on_primary.class());
    }
    assert_eq!(places.into_inner(), 4, "each was sent to both");
    assert_eq!(note::Entity::find().count(&pair.primary).await.unwrap(), 1);
}

#[tokio::test]
async fn u9_settings_tenants_and_timeouts_hold_on_a_replica() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    let shown = "SELECT current_setting('app.tenant', true) || current_setting('app.space', true) AS shown";
    let ask = Statement::from_string(db.backend(), shown);
    let bound = || db.session().read_only().tenant("app.tenant", "acme").set_local("app.space", "'7'");
    let body = async |s: &mut Session| -> Result<Option<String>, Error> {
        let row = s.query_one_raw(ask.clone()).await?.expect("a row");
        assert_eq!(s.replica(), Some(0));
        Ok(row.try_get("", "shown")?)
    };
    assert_eq!(bound().run(body).await.unwrap().as_deref(), Some("acme'7'"));
    // And are gone with the unit.
    let unbound = db.session().read_only().run(body).await.unwrap();
    assert_eq!(unbound.unwrap_or_default(), "");

    let timeout = db.session().read_only().statement_timeout(Duration::from_millis(20));
    let late = timeout.run(async |s: &mut Session| -> Result<(), Error> {
        s.execute_unprepared("SELECT 1").await?;
        assert_eq!(s.replica(), Some(0));
        s.execute_unprepared("SELECT pg_sleep(60)").await?;
        Ok(())
    });
    assert_eq!(late.await.unwrap_err().class(), Some(Class::QueryCanceled));

    // What the unit itself asks for and no server has is the unit's error, and the replica stays.
    let wrong = db.session().read_only().set_local("no_such_parameter", 1);
    assert_eq!(read_with(wrong).await.unwrap_err().sqlstate(), Some("42704"));
    assert_eq!(db.replica_stats()[0].losses, 0);
}

#[tokio::test]
async fn u9_a_statement_alone_runs_on_a_replica() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    write(&db, 1).await;
    let (recorder, titles) = (Recorder::new(), Statement::from_string(db.backend(), "SELECT title FROM note"));
    let options = db.session().read_only().tenant("app.tenant", "acme").record(&recorder);
    let rows = options.clone().query(titles.clone()).await.unwrap();
    assert_eq!(rows[0].try_get_by_index::<String>(0).unwrap(), "written");
    let stats = options.stats();
    assert_eq!((stats.routing.on_replica, stats.statements, stats.control), (1, 1, 0));
    assert_eq!(recorder.take().len(), 1, "what a replica is asked is not the unit's");
    let primary = db.session();
    primary.clone().query(titles).await.unwrap();
    assert_eq!(primary.stats().routing.on_replica, 0);
}

#[tokio::test]
async fn u9_blocks_and_objects_are_on_a_replica_as_on_the_primary() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    for id in 1..=3 {
        write(&db, id).await;
    }
    let options = db.session().read_only();
    options
        .clone()
        .run(async |s: &mut Session| -> Result<(), Error> {
            // The unit begins, and with it the block, in the message that asks the replica.
            let outcome = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    assert_eq!(s.get::<note::Entity>(1).await?.expect("note 1").title(), "written");
                    assert_eq!((s.replica(), s.depth()), (Some(0), 1));
                    s.execute_unprepared("SELECT 1 / 0").await?;
                    Ok(())
                })
                .await;
            assert_eq!(outcome.unwrap_err().sqlstate(), Some("22012"));
            let notes = note::Entity::find().load(s).await?;
            assert_eq!((notes.len(), s.tracked()), (3, 3));
            s.atomic(async |s: &mut Session| -> Result<(), Error> {
                let mut rows = note::Entity::find().rows(s).await?;
                let mut streamed = 0;
                while rows.next().await?.is_some() {
                    streamed += 1;
                }
                assert_eq!(streamed, 3);
                Ok(())
            })
            .await
        })
        .await
        .unwrap();
    let stats = options.stats();
    assert_eq!((stats.routing.on_replica, stats.savepoints), (1, 2));
    assert_eq!(db.replica_stats()[0].units, 1);
}

#[tokio::test]
async fn u9_without_replicas_nothing_more_is_sent() {
    let pair = Pair::new(0).await;
    let db = Db::connect(pair.database.url()).await.unwrap();
    let recorder = Recorder::new();
    let options = db.session().read_only().record(&recorder);
    options
        .clone()
        .run(async |s: &mut Session| -> Result<(), Error> {
            s.execute_unprepared("SELECT 1").await?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(recorder.take(), ["BEGIN READ ONLY", "SELECT 1", "COMMIT"]);
    let write = db.session().record(&recorder);
    write
        .run(async |s: &mut Session| -> Result<(), Error> {
            s.execute_unprepared("SELECT 2").await?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(recorder.take(), ["BEGIN", "SELECT 2", "COMMIT"]);
    assert_eq!(options.stats().routing, sea_session::Routing::default());
    assert_eq!(db.replica_stats(), []);
    // A position is no more than what is there anyway.
    let position = db.written().await.unwrap();
    assert_eq!(read_with(db.session().read_only().reads_after(position)).await.unwrap().replica, None);
    assert!(position <= db.written().await.unwrap());
}

#[tokio::test]
async fn u9_what_a_replica_says_of_a_table_is_not_believed_of_the_primarys() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    // How often the catalogue was asked, and where.
    let find = async |options: UnitOptions| -> (u64, Option<usize>) {
        let body = async |s: &mut Session| -> Result<Option<usize>, Error> {
            // A text may be compared by rules of its own, which only the catalogue knows.
            s.find_by_unique::<author::Entity>(author::Column::Name, "nobody").await?;
            Ok(s.replica())
        };
        let replica = options.clone().run(body).await.expect("the unit");
        (options.stats().facts, replica)
    };
    let (read, written) = (async || find(db.session().read_only()).await, async || find(db.session()).await);
    assert_eq!((read().await, read().await), ((1, Some(0)), (0, Some(0))));
    assert_eq!((written().await, written().await), ((1, None), (0, None)));
    assert_eq!(read().await, (0, Some(0)));
    db.tables_altered();
    assert_eq!((read().await, read().await), ((1, Some(0)), (0, Some(0))));
}
