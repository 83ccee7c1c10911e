//! Writes and checks docs/blocks.md and docs/states.md: what blocks do is read from the crate's own table, where an object
//! goes is tried.
//!
//! `cargo test -p docs-check --test tables` compares; `UPDATE=1 cargo test -p docs-check --test tables` writes.

use std::fmt::Write;

use sea_session::{BLOCK_TABLE, BlockKind, BlockState, Event, UnitState, decide};

include!("../../../session/docs/example.rs");

fn compare(name: &str, page: &str) {
    let path = format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).expect("the page can be written");
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        held == page,
        "docs/{name} is out of date; `UPDATE=1 cargo test -p docs-check --test tables` writes it:\n{page}"
    );
}

const KINDS: [(BlockKind, &str); 3] = [
    (BlockKind::Unit, "The unit (the transaction)"),
    (BlockKind::Savepoint, "A nested block (a savepoint)"),
    (BlockKind::Merged, "A merged block (no savepoint)"),
];
const BLOCK_STATES: [BlockState; 5] =
    [BlockState::Idle, BlockState::Live, BlockState::FlaggedIdle, BlockState::Flagged, BlockState::Lost];
const EVENTS: [(Event, &str); 3] =
    [(Event::Statement, "a statement"), (Event::ExitOk, "a good end"), (Event::ExitErr, "a bad end")];

#[test]
fn every_block_state_has_its_action_in_the_page() {
    let mut page = "# What a block does\n\n\
        Written by `UPDATE=1 cargo test -p docs-check --test tables` from `sea_session::BLOCK_TABLE`, which the session itself \
        follows. Do not edit.\n\n\
        A block is *idle* until its BEGIN or SAVEPOINT is sent, then *live*; *flagged* once it must roll back; *lost* when the \
        connection is gone. A bad end is an error, a panic, or a drop. Letters and numbers are [rules](rules.md).\n"
        .to_owned();
    for (kind, title) in KINDS {
        write!(page, "\n## {title}\n\n| State | On | Does | Why |\n|---|---|---|---|\n").expect("a string takes text");
        for state in BLOCK_STATES {
            for (event, on) in EVENTS {
                let cell = BLOCK_TABLE
                    .iter()
                    .find(|cell| cell.kind == kind && cell.state == state && cell.event == event)
                    .expect("the table is total");
                assert_eq!(decide(kind, state, event), cell.action);
                writeln!(page, "| {state:?} | {on} | {:?} | {} |", cell.action, cell.reason)
                    .expect("a string takes text");
            }
        }
    }
    compare("blocks.md", &page);
}

const STATES: [State; 5] = [State::Transient, State::Pending, State::Persistent, State::Deleted, State::Detached];

/// What is done to an object. The last three end the unit, or what the object went through.
#[derive(Clone, Copy)]
enum Done {
    Set,
    Flush,
    Delete,
    Expunge,
    Refresh,
    AddAgain,
    RollbackTo,
    Commit,
    Rollback,
}

const OPERATIONS: [(Done, &str); 9] = [
    (Done::Set, "a setter, then `flush`"),
    (Done::Flush, "`flush`"),
    (Done::Delete, "`delete`"),
    (Done::Expunge, "`expunge`"),
    (Done::Refresh, "`refresh`"),
    (Done::AddAgain, "`add_again`"),
    (Done::RollbackTo, "rollback to before"),
    (Done::Commit, "`commit`"),
    (Done::Rollback, "`rollback`"),
];

/// Brings an object into a state, in a unit begun by hand.
async fn object_in(state: State, s: &mut Session) -> Result<Tracked<note::Entity>, Error> {
    Ok(match state {
        State::Transient => {
            let note = s.add(draft("transient"));
            s.delete(&note);
            note
        }
        State::Pending => s.add(draft("pending")),
        other => {
            let note = s.get::<note::Entity>(1).await?.expect("the example's note");
            match other {
                State::Deleted => s.delete(&note),
                State::Detached => s.expunge(&note),
                _ => {}
            }
            note
        }
    })
}

async fn perform(done: Done, s: &mut Session, note: &Tracked<note::Entity>) -> Result<(), Error> {
    match done {
        Done::Set => {
            note.set_title("changed");
            s.flush().await
        }
        Done::Flush => s.flush().await,
        Done::Delete => {
            s.delete(note);
            Ok(())
        }
        Done::Expunge => {
            s.expunge(note);
            Ok(())
        }
        Done::Refresh => s.refresh(note).await,
        Done::AddAgain => s.add_again(note),
        Done::RollbackTo => Ok(()),
        Done::Commit => s.commit().await,
        Done::Rollback => s.rollback().await,
    }
}

/// Where the object is after the operation, or that the operation was refused.
async fn outcome(state: State, done: Done) -> Result<String, Error> {
    let db = example().await?;
    let mut s = db.begin().await?;
    // The row is known before, so that a rollback to here has something to go back to.
    s.get::<note::Entity>(1).await?;
    let before = s.savepoint().await?;
    let note = object_in(state, &mut s).await?;
    assert_eq!(s.state(&note), state, "the object was brought into the state that the row names");
    let refused = match done {
        Done::RollbackTo => s.rollback_to(before).await.is_err(),
        other => perform(other, &mut s, &note).await.is_err(),
    };
    let after = s.state(&note);
    let open = matches!(s.unit_state(), UnitState::New | UnitState::Started);
    if open {
        s.rollback().await?;
    }
    Ok(match refused {
        true => format!("refused; {after:?}"),
        false => format!("{after:?}"),
    })
}

#[tokio::test]
async fn every_object_state_was_tried_with_every_operation() -> Result<(), Error> {
    let mut page = "# Where an object goes\n\n\
        Written by `UPDATE=1 cargo test -p docs-check --test tables`, which tries each cell on embedded SQLite. Do not edit.\n\n\
        Left: the state of an object in a unit begun by hand. Top: what is done. The cell: its state afterwards. *Rollback to \
        before* goes to a savepoint from before the object came into its state.\n\n| |"
        .to_owned();
    for (_, name) in OPERATIONS {
        write!(page, " {name} |").expect("a string takes text");
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(OPERATIONS.len()));
    page.push('\n');
    for state in STATES {
        write!(page, "| **{state:?}** |").expect("a string takes text");
        for (done, _) in OPERATIONS {
            write!(page, " {} |", outcome(state, done).await?).expect("a string takes text");
        }
        page.push('\n');
    }
    compare("states.md", &page);
    Ok(())
}
