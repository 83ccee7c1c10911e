//! The order of this crate's rooms, and the test that holds it: a room imports from those above it and from itself, nothing else.

#[path = "../../src/rooms/reader.rs"]
mod reader;

use reader::{Order, examined};

/// The rooms from the top to the bottom; those of one line stand side by side, and do not import from each other.
const ORDER: Order = &[
    &[
        ("state", "how far a migration has come"),
        ("holder", "who holds the lock"),
        ("sql", "how the runner sends SQL of its own"),
        ("shown", "what is shown of addresses and statements"),
        ("template", "a new migration's file"),
    ],
    &[("direction", "up or down"), ("catalogue", "a schema as lines")],
    &[
        ("record", "what a migration sends, without a database"),
        ("options", "what an operator may want otherwise, and what the runner tells"),
        ("error", "what goes wrong"),
    ],
    &[
        ("ledger", "what the database remembers"),
        ("report", "what a run did, or would send"),
        ("workplace", "connections of the runner's own, a file each driver"),
    ],
    &[
        ("findings", "where each migration stands, and what is wrong with it"),
        ("lock", "one runner at a time"),
        ("role", "the application's role"),
        ("doctor", "the schema beside what it should be"),
    ],
    &[("fresh", "drops everything")],
    &[("runner", "applies migrations")],
    &[("cli", "the command")],
];

#[test]
fn rooms_stand_in_an_order_and_none_imports_from_below() {
    let (wrong, count) = examined(ORDER);
    assert!(count > 50, "only {count} imports between rooms were read");
    assert_eq!(wrong, Vec::<String>::new());
}
