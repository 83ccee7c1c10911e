//! The order of this crate's rooms, and the test that holds it: a room imports from those above it and from itself, nothing else.

#[path = "../../src/rooms/reader.rs"]
mod reader;

use reader::{Order, examined, rooms, tokens};

/// The rooms from the top to the bottom; those of one line stand side by side, and do not import from each other.
const ORDER: Order = &[
    &[
        ("state", "how far a migration has come"),
        ("holder", "who holds the lock"),
        ("sql", "how the runner sends SQL of its own"),
        ("shown", "what is shown of addresses, statements and checksums"),
        ("words", "the words of a statement"),
        ("template", "a new migration's file"),
    ],
    &[("direction", "up or down")],
    &[("options", "what an operator may want otherwise, and what the runner tells"), ("error", "what goes wrong")],
    &[("lock", "one runner at a time")],
    &[("dialect", "one folder a backend: what it can do, its texts, lock and connections")],
    &[
        ("catalogue", "a schema as lines"),
        ("record", "what a migration sends, without a database"),
        ("workplace", "connections of the runner's own"),
        ("role", "the application's role"),
    ],
    &[
        ("ledger", "what the database remembers"),
        ("report", "what a run did, or would send"),
        ("doctor", "the schema beside what it should be"),
    ],
    &[("findings", "where each migration stands, and what is wrong with it")],
    &[("runner", "applies migrations")],
    &[("cli", "the command")],
];

/// Backends may be named here only (Y1).
const NAMES_BACKENDS: &str = "dialect";
const BACKENDS: &[&str] = &[
    "DbBackend",
    "DatabaseBackend",
    "Sqlite",
    "Postgres",
    "MySql",
    "SqlxSqlitePoolConnection",
    "SqlxPostgresPoolConnection",
];

#[test]
fn rooms_stand_in_an_order_and_none_imports_from_below() {
    let (wrong, count) = examined(ORDER);
    assert!(count > 50, "only {count} imports between rooms were read");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn y1_no_backend_is_named_outside_of_its_dialect() {
    let mut wrong = Vec::new();
    for (name, _, text) in rooms().into_iter().filter(|(_, module, _)| module[0] != NAMES_BACKENDS) {
        let named = tokens(&text).into_iter().filter(|token| BACKENDS.contains(&token.text.as_str()));
        wrong.extend(named.map(|token| format!("{name}:{}: {}", token.line, token.text)));
        let driver = |line: &str| {
            ["sqlite", "postgres", "mysql"].iter().any(|driver| line.contains(&format!("feature = \"{driver}\"")))
        };
        let chosen = text.lines().enumerate().filter(|(_, line)| driver(line));
        wrong.extend(chosen.map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim())));
    }
    assert_eq!(wrong, Vec::<String>::new());
}
