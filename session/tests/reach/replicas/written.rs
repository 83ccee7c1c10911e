//! What counts as written, and how another process comes to know of it.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Set, entity::prelude::*};
use sea_session::{Error, Position, Replicas, Session, prelude::*, testing::cluster::Cluster};

use super::{
    pair::{LONG, Pair, ask, eventually},
    read, read_with, write,
};
use crate::support::{behind_the_back, draft, note};

/// Whether the next unit that reads asks the primary how far its log is.
async fn asks(db: &Db) -> bool {
    read(db).await.routing.positions == 1
}

#[tokio::test]
async fn u9_only_what_was_written_is_asked_for() {
    let pair = Pair::new(1).await;
    let db = pair.db().await;
    assert!(asks(&db).await, "what was written before the replicas were named is not known");
    assert!(!asks(&db).await);

    db.run(async |s: &mut Session| -> Result<(), Error> {
        assert_eq!(note::Entity::find().count(s).await?, 0);
        s.execute_unprepared("SELECT 1").await?;
        Ok(())
    })
    .await
    .unwrap();
    assert!(!asks(&db).await, "a unit that might have written, and did not");

    let refused = db
        .run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "rolled back"));
            s.flush().await?;
            Err(Error::Usage("undo".into()))
        })
        .await;
    assert!(refused.is_err());
    assert!(!asks(&db).await, "a unit that was rolled back");

    write(&db, 1).await;
    assert!(asks(&db).await, "a flush");
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.execute_unprepared("UPDATE note SET title = 'changed'").await?;
        Ok(())
    })
    .await
    .unwrap();
    assert!(asks(&db).await, "SQL of the caller's own");
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.atomic(async |s: &mut Session| -> Result<(), Error> {
            note::ActiveModel { id: Set(1), title: Set("nested".into()), ..Default::default() }.update(s).await?;
            Ok(())
        })
        .await
    })
    .await
    .unwrap();
    assert!(asks(&db).await, "a statement in a nested block");
    let mut by_hand = db.begin().await.unwrap();
    by_hand.add(draft(2, "by hand"));
    by_hand.commit().await.unwrap();
    assert!(asks(&db).await, "a unit begun by hand");
    db.send_alone("SELECT count(*) FROM note").await.unwrap();
    assert!(!asks(&db).await, "a statement alone that reads");
    db.send_alone("DELETE FROM note WHERE id = 2").await.unwrap();
    assert!(asks(&db).await, "a statement alone that writes");
    assert!(!asks(&db).await);
}

#[tokio::test]
async fn u9_a_function_that_writes_counts_whatever_its_statement_is_called() {
    let pair = Pair::new(1).await;
    let make = "CREATE FUNCTION add_note(bigint) RETURNS bigint LANGUAGE sql AS $$ INSERT INTO note (id, title, version, updated_at) \
                VALUES ($1, 'by a function', 1, now()) RETURNING id $$";
    pair.primary.execute_unprepared(make).await.unwrap();
    let db = pair.db().await;
    read(&db).await;
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.execute_unprepared("SELECT add_note(1)").await?;
        Ok(())
    })
    .await
    .unwrap();
    let read = read(&db).await;
    assert_eq!((read.replica, read.notes, read.routing.positions), (Some(0), 1, 1));
}

#[tokio::test]
async fn u9_a_commit_whose_future_was_dropped_counts_as_written() {
    let pair = Pair::new(1).await;
    // Its COMMIT lasts until the lock is free.
    let make = "CREATE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(24); \
                RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER held_up AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED \
                FOR EACH ROW EXECUTE FUNCTION held_up()";
    pair.primary.execute_unprepared(make).await.unwrap();
    let db = pair.db().await;
    read(&db).await;
    let mut holder = Db::connect(pair.database.url()).await.unwrap().begin().await.unwrap();
    holder.advisory_lock(24).await.unwrap();
    let unit = tokio::spawn({
        let db = db.clone();
        async move { write(&db, 1).await }
    });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    eventually("COMMIT is under way", async || ask::<i64>(&pair.primary, waiting).await == 1).await;
    unit.abort();
    assert!(unit.await.unwrap_err().is_cancelled());
    assert!(asks(&db).await);
    holder.rollback().await.unwrap();
}

#[tokio::test]
async fn u9_what_is_written_past_all_sessions_is_noted_by_the_caller() {
    let pair = Pair::new(1).await;
    let db = pair.db_with(|replicas| replicas.wait(Duration::ZERO)).await;
    pair.caught_up(0, &db).await;
    assert_eq!(read(&db).await.replica, Some(0));
    pair.pause(0).await;
    let insert = "INSERT INTO note (id, title, version, updated_at) VALUES (1, 'past all sessions', 1, now())";
    behind_the_back(&db, insert).await;
    let unseen = read(&db).await;
    assert_eq!((unseen.replica, unseen.notes), (Some(0), 0));
    db.note_written();
    let seen = read(&db).await;
    assert_eq!((seen.replica, seen.notes, seen.routing.waits), (None, 1, 0));
}

#[tokio::test]
async fn u9_another_process_reads_after_a_position_that_it_was_given() {
    let pair = Pair::new(1).await;
    // Two pools stand for two processes; the one that writes has no replicas.
    let writer = Db::connect(pair.database.url()).await.unwrap();
    let reader = pair.db_with(|replicas| replicas.wait(Duration::from_millis(1))).await;
    pair.caught_up(0, &reader).await;
    assert_eq!(read(&reader).await.replica, Some(0));
    pair.pause(0).await;
    write(&writer, 1).await;
    let header = writer.written().await.unwrap().to_string();

    let older = read(&reader).await;
    assert_eq!((older.replica, older.notes), (Some(0), 0), "it knows nothing of the other process");
    let position: Position = header.parse().unwrap();
    let after = || reader.session().read_only().reads_after(position);
    let passed = read_with(after()).await.unwrap();
    assert_eq!((passed.replica, passed.notes), (None, 1));
    let rows = after().query(sea_orm::Statement::from_string(reader.backend(), "SELECT id FROM note")).await.unwrap();
    assert_eq!(rows.len(), 1);
    pair.resume(0).await;
    pair.caught_up(0, &writer).await;
    let replayed = read_with(after()).await.unwrap();
    assert_eq!((replayed.replica, replayed.notes), (Some(0), 1));

    // Its own position is behind what it has written itself.
    write(&reader, 2).await;
    let own = reader.written().await.unwrap();
    assert!(own > position);
    assert_eq!(read(&reader).await.routing.positions, 0, "the question was asked already");
    // A position of an earlier time asks for no less than what was written since.
    pair.pause(0).await;
    write(&reader, 3).await;
    let both = read_with(after()).await.unwrap();
    assert_eq!((both.replica, both.notes), (None, 3));
}

#[tokio::test]
async fn u9_a_position_behind_the_header_of_a_page_is_the_end_of_the_page_before() {
    let primary = Cluster::start().await.unwrap();
    let replica = primary.replica().await.unwrap();
    let db = Db::connect(primary.url()).await.unwrap();
    let replicas = Replicas::from([Db::connect(replica.url()).await.unwrap()]).reach_within(LONG).wait(LONG);
    let db = db.replicas(replicas).unwrap();
    let place = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    let fill_page = "DO $$ BEGIN LOOP PERFORM pg_logical_emit_message(false, '', repeat('x', (random() * 100)::int)); \
                     EXIT WHEN (pg_current_wal_insert_lsn() - '0/0'::pg_lsn) % 8192 = 24; END LOOP; END $$";
    for (fill, header, size) in [(fill_page, 24, 8_192), ("SELECT pg_switch_wal()", 40, 16 << 20)] {
        // The server writes a record of its own now and then, which may come between.
        let position = loop {
            db.connection().execute_unprepared(fill).await.unwrap();
            db.note_written();
            let position = db.written().await.unwrap();
            if ask::<i64>(db.connection(), place).await % size == header {
                break position;
            }
        };
        let low = position.to_string().split_once('/').map(|(_, low)| i64::from_str_radix(low, 16).unwrap());
        assert_eq!(low.unwrap() % 8_192, 0, "{position} is no end of a page");
        let unit = db.session().read_only().run(async |s: &mut Session| -> Result<Option<usize>, Error> {
            s.execute_unprepared("SELECT 1").await?;
            Ok(s.replica())
        });
        assert_eq!(unit.await.unwrap(), Some(0));
    }
}
