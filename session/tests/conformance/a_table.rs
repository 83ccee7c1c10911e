//! Every cell of the table of blocks, tried on a real session: it is brought into the state, the event happens, and what was
//! sent and where the block and its parent stand afterwards is what the cell says.

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait};
use sea_session::{
    BlockKind, BlockState, Error, Recorder, Session,
    prelude::*,
    tables::{BLOCK_TABLE, BlockAction, BlockCell, BlockEvent},
};

use crate::support::*;

fn bad_end() -> Error {
    Error::Usage("a bad end".into())
}

async fn look(s: &mut Session) -> Result<u64, Error> {
    Ok(note::Entity::find().count(s).await?)
}

/// Who asked for the rollback of a flagged block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Caller,
    Database,
}

/// Does in a new block what brings it into the state.
async fn bring(s: &mut Session, state: BlockState, asked: Asked) -> Result<(), Error> {
    match (state, asked) {
        (BlockState::Idle, _) => {}
        (BlockState::Live, _) => drop(look(s).await?),
        (BlockState::FlaggedIdle, _) => s.set_rollback(true)?,
        (BlockState::Flagged, Asked::Caller) => {
            look(s).await?;
            s.set_rollback(true)?;
        }
        (BlockState::Flagged, Asked::Database) => {
            s.execute_unprepared("SELECT no_such_column FROM note").await.unwrap_err();
        }
        (BlockState::Lost, _) => {
            look(s).await?;
            s.execute_unprepared(ends_itself(s.backend())).await.unwrap_err();
        }
    }
    Ok(())
}

/// Brings the block that has just begun into the cell's state, lets the event happen, and says how the body ends.
async fn body(s: &mut Session, cell: &BlockCell, asked: Asked, recorder: &Recorder) -> Result<(), Error> {
    assert_eq!(s.block_state(), (cell.kind, BlockState::Idle), "a block begins idle");
    bring(s, cell.state, asked).await?;
    assert_eq!(s.block_state(), (cell.kind, cell.state), "brought into its state");
    recorder.take();
    match cell.event {
        BlockEvent::ExitOk => Ok(()),
        BlockEvent::ExitErr => Err(bad_end()),
        BlockEvent::Statement => {
            let outcome = look(s).await;
            assert_eq!(outcome.is_err(), cell.action == BlockAction::Refuse, "{outcome:?}");
            let sent = recorder.take();
            check_sent(cell, &sent);
            assert_eq!(Some(s.block_state().1), cell.next, "where the block stands then");
            Ok(())
        }
    }
}

/// That this and nothing else was sent when the event happened.
#[track_caller]
fn check_sent(cell: &BlockCell, sent: &[String]) {
    // The SQL of an idle merged block is none, but what it is inside of was not begun yet either: another cell's message.
    let around: &[&str] =
        if cell.action == BlockAction::Pass && cell.state == BlockState::Idle { &["BEGIN"] } else { &[] };
    let starts = around.iter().chain(cell.action.sends());
    let starts: Vec<&str> = starts.map(|start| if start.is_empty() { "SELECT" } else { *start }).collect();
    assert_eq!(sent.len(), starts.len(), "{starts:?}: {sent:#?}");
    let is = |(sql, start): (&String, &&str)| match *start {
        "BEGIN" => begins(sql),
        "COMMIT" => commits(sql),
        "ROLLBACK" => rolls_back(sql),
        start => sql.starts_with(start),
    };
    assert!(sent.iter().zip(&starts).all(is), "{starts:?}: {sent:#?}");
}

/// How the block itself must have ended.
fn check_outcome(cell: &BlockCell, asked: Asked, outcome: &Result<(), Error>) {
    let flagged = matches!(cell.state, BlockState::FlaggedIdle | BlockState::Flagged);
    let by_database = flagged && cell.state == BlockState::Flagged && asked == Asked::Database;
    match (cell.event, outcome) {
        (BlockEvent::ExitErr, Err(Error::Usage(text))) => assert_eq!(text, "a bad end"),
        (_, Err(e)) if cell.state == BlockState::Lost => assert!(e.is_connection_lost(), "{e}"),
        // What a merged block swallowed is for its parent to say.
        (_, Ok(())) => assert!(!by_database || cell.kind == BlockKind::Merged),
        (_, Err(Error::RolledBack { .. })) => assert!(by_database && cell.kind != BlockKind::Merged),
        (_, Err(other)) => panic!("{other}"),
    }
}

async fn try_unit(db: &Db, cell: &BlockCell, asked: Asked) {
    let (recorder, unit) = watched(db);
    let outcome = unit.run(async |s: &mut Session| body(s, cell, asked, &recorder).await).await;
    if cell.event != BlockEvent::Statement {
        check_sent(cell, &recorder.take());
    }
    check_outcome(cell, asked, &outcome);
}

async fn try_nested(db: &Db, cell: &BlockCell, asked: Asked) {
    let (recorder, unit) = watched(db);
    let outcome = unit
        .run(async |s: &mut Session| -> Result<(), Error> {
            let merged = cell.kind == BlockKind::Merged;
            if !merged {
                // The unit's own BEGIN is another cell's business.
                look(s).await?;
            }
            let block = if merged { s.block().merged() } else { s.block() };
            let inner = block.run(async |s: &mut Session| body(s, cell, asked, &recorder).await).await;
            check_outcome(cell, asked, &inner);
            if cell.event != BlockEvent::Statement {
                check_sent(cell, &recorder.take());
            }
            check_parent(s, cell, &recorder).await;
            Ok(())
        })
        .await;
    match outcome {
        Ok(()) => assert_ne!(cell.state, BlockState::Lost),
        Err(Error::RolledBack { .. }) => assert!(cell.kind == BlockKind::Merged),
        Err(e) => assert!(cell.state == BlockState::Lost && e.is_connection_lost(), "{e}"),
    }
}

/// Where the block's parent stands when the block is over, and what rides with the next block's SAVEPOINT.
async fn check_parent(s: &mut Session, cell: &BlockCell, recorder: &Recorder) {
    let (kind, state) = s.block_state();
    assert_eq!(kind, BlockKind::Unit);
    let flagged = matches!(cell.state, BlockState::FlaggedIdle | BlockState::Flagged);
    match (cell.kind, cell.action) {
        _ if cell.state == BlockState::Lost => assert_eq!(state, BlockState::Lost),
        (BlockKind::Merged, BlockAction::FlagParent) => {
            let live = matches!(cell.state, BlockState::Live | BlockState::Flagged);
            assert_eq!(state, if live { BlockState::Flagged } else { BlockState::FlaggedIdle });
        }
        (BlockKind::Merged, BlockAction::Refuse) => {
            assert!(matches!(state, BlockState::FlaggedIdle | BlockState::Flagged))
        }
        (BlockKind::Merged, _) => {
            let sent = cell.event == BlockEvent::Statement || cell.state == BlockState::Live;
            assert_eq!(state, if sent { BlockState::Live } else { BlockState::Idle });
        }
        _ => assert_eq!(state, BlockState::Live, "the unit goes on"),
    }
    if state != BlockState::Live || flagged && cell.kind == BlockKind::Merged {
        return;
    }
    recorder.take();
    s.atomic(async |s: &mut Session| look(s).await).await.unwrap();
    let sent = recorder.take();
    let was_sent =
        matches!(cell.state, BlockState::Live | BlockState::Flagged) || cell.action == BlockAction::Savepoint;
    let rides = cell.kind == BlockKind::Savepoint && was_sent;
    assert_eq!(sent[0].starts_with("RELEASE SAVEPOINT sea_session_"), rides, "{sent:#?}");
    assert_eq!(sent[0].matches("SAVEPOINT").count(), if rides { 2 } else { 1 }, "{sent:#?}");
}

#[test]
fn a1_a8_every_cell_of_the_block_table_is_tried() {
    on_all(async |db: Db| {
        let mut tried = 0;
        for cell in BLOCK_TABLE {
            if cell.state == BlockState::Lost && db.backend() == DbBackend::Sqlite {
                continue;
            }
            for asked in [Asked::Caller, Asked::Database] {
                println!("{:?} {:?} {:?} {:?}", cell.kind, cell.state, cell.event, asked);
                match cell.kind {
                    BlockKind::Unit => try_unit(&db, cell, asked).await,
                    BlockKind::Savepoint | BlockKind::Merged => try_nested(&db, cell, asked).await,
                }
            }
            tried += 1;
        }
        assert_eq!(tried, if db.backend() == DbBackend::Sqlite { 36 } else { 45 });
    });
}

#[test]
fn a11_sqlite_does_not_lose_a_connection() {
    // What the table says of `Lost`: nothing that a program can do takes SQLite's connection away from a session.
    sea_session::testing::run_test_on(sea_session::testing::Backend::Sqlite, tables, async |db: Db| {
        let mut s = db.begin().await.unwrap();
        look(&mut s).await.unwrap();
        drop(tokio::time::timeout(std::time::Duration::from_millis(100), db.close()).await);
        s.execute_unprepared("SELECT no_such_column FROM note").await.unwrap_err();
        assert_eq!(s.block_state(), (BlockKind::Unit, BlockState::Flagged), "it fails, and is not lost");
        s.rollback().await.unwrap();
    });
}
