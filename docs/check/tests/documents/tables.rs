//! Writes and checks docs/book/src/blocks.md and docs/book/src/states.md: what blocks do and where objects go is read from the crate's own
//! tables, which the session follows and whose cells its conformance suite tries.
//!
//! `cargo test -p docs-check --test documents` compares; `UPDATE=1 cargo test -p docs-check --test documents` writes.

use std::fmt::Write;

use sea_session::{
    BlockKind, BlockState, State,
    tables::{BLOCK_TABLE, BlockEvent, Operation, STATE_TABLE, StateCell, decide},
};

fn compare(name: &str, page: &str) {
    let path = format!("{}/../book/src/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).expect("the page can be written");
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        held == page,
        "docs/book/src/{name} is out of date; `UPDATE=1 cargo test -p docs-check --test documents` writes it:\n{page}"
    );
}

const KINDS: [(BlockKind, &str); 3] = [
    (BlockKind::Unit, "The unit (the transaction)"),
    (BlockKind::Savepoint, "A nested block (a savepoint)"),
    (BlockKind::Merged, "A merged block (no savepoint)"),
];
const BLOCK_STATES: [BlockState; 5] =
    [BlockState::Idle, BlockState::Live, BlockState::FlaggedIdle, BlockState::Flagged, BlockState::Lost];
const EVENTS: [(BlockEvent, &str); 3] =
    [(BlockEvent::Statement, "a statement"), (BlockEvent::ExitOk, "a good end"), (BlockEvent::ExitErr, "a bad end")];

#[test]
fn every_block_state_has_its_action_in_the_page() {
    let mut page = "# What a block does\n\n\
        Written by `UPDATE=1 cargo test -p docs-check --test documents` from `sea_session::tables::BLOCK_TABLE`, which the session itself \
        follows, and each cell of which is tried on both backends by the test `a1_a8_every_cell_of_the_block_table_is_tried`. \
        Do not edit.\n\n\
        A block is *idle* until its BEGIN or SAVEPOINT is sent, then *live*; *flagged* once it must roll back (a statement failed, or \
        `set_rollback(true)`); *lost* when the \
        connection is gone (on SQLite nothing short of a crash of the driver's thread does that). A merged block is as live as what it \
        is inside of; a block inside a flagged one is flagged. A bad end is an error, a panic, or a drop. Letters and numbers are rules (`docs/rules.md`).\n"
        .to_owned();
    for (kind, title) in KINDS {
        write!(page, "\n## {title}\n\n| State | On | Does | Sends | Then | Why |\n|---|---|---|---|---|---|\n")
            .expect("a string takes text");
        for state in BLOCK_STATES {
            for (event, on) in EVENTS {
                let cell = BLOCK_TABLE
                    .iter()
                    .find(|cell| cell.kind == kind && cell.state == state && cell.event == event)
                    .expect("the table is total");
                assert_eq!(decide(kind, state, event), cell.action);
                let then = cell.next.map_or_else(|| "over".to_owned(), |next| format!("{next:?}"));
                let sends = cell.action.sends().iter();
                let sends: Vec<String> = sends
                    .map(|start| match *start {
                        "" => "the statement".to_owned(),
                        control => format!("`{}`", control.replace("sea_session_", "…")),
                    })
                    .collect();
                let sends = if sends.is_empty() { "nothing".to_owned() } else { sends.join(", ") };
                writeln!(page, "| {state:?} | {on} | {:?} | {sends} | {then} | {} |", cell.action, cell.reason)
                    .expect("a string takes text");
            }
        }
    }
    compare("blocks.md", &page);
}

const STATES: [State; 5] = [State::Transient, State::Pending, State::Persistent, State::Deleted, State::Detached];
const OPERATIONS: [(Operation, &str); 9] = [
    (Operation::Set, "a setter"),
    (Operation::Flush, "`flush`"),
    (Operation::Delete, "`delete`"),
    (Operation::Expunge, "`expunge`"),
    (Operation::Refresh, "`refresh`, `lock`"),
    (Operation::AddAgain, "`add_again`"),
    (Operation::RollbackTo, "rollback to before"),
    (Operation::Commit, "`commit`"),
    (Operation::Rollback, "`rollback`"),
];

fn cell(state: State, operation: Operation) -> &'static StateCell {
    let found = STATE_TABLE.iter().find(|cell| cell.state == state && cell.operation == operation);
    found.expect("the table is total")
}

#[test]
fn every_object_state_has_its_operations_in_the_page() {
    let mut page = "# Where an object goes\n\n\
        Written by `UPDATE=1 cargo test -p docs-check --test documents` from `sea_session::tables::STATE_TABLE`, each cell of which is tried \
        on both backends by the test `s3_s4_s7_s12_every_cell_of_the_state_table_is_tried`. Do not edit.\n\n\
        Left: the state of an object. Top: what is done to it or to its unit. The cell: its state afterwards. *Rollback to \
        before* goes to a savepoint from before the object came into its state. Letters and numbers are rules (`docs/rules.md`).\n\n| |"
        .to_owned();
    for (_, name) in OPERATIONS {
        write!(page, " {name} |").expect("a string takes text");
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(OPERATIONS.len()));
    page.push('\n');
    for state in STATES {
        write!(page, "| **{state:?}** |").expect("a string takes text");
        for (operation, _) in OPERATIONS {
            let next = cell(state, operation).next.map_or_else(|| "refused".to_owned(), |next| format!("{next:?}"));
            write!(page, " {next} |").expect("a string takes text");
        }
        page.push('\n');
    }
    for state in STATES {
        write!(page, "\n## {state:?}\n\n| On | Becomes | Why |\n|---|---|---|\n").expect("a string takes text");
        for (operation, name) in OPERATIONS {
            let StateCell { next, reason, .. } = cell(state, operation);
            let next = next.map_or_else(|| "refused".to_owned(), |next| format!("{next:?}"));
            writeln!(page, "| {name} | {next} | {reason} |").expect("a string takes text");
        }
    }
    compare("states.md", &page);
}
