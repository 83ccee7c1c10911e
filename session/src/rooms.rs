//! The order of this crate's rooms, and the test that holds it: a room imports from those above it and from itself, nothing else.
//! `docs/ARCHITECTURE.md` prints the order.

mod reader;

use std::{fs, path::Path};

use reader::{Order, examined, imports, refused, rooms, tokens};

/// The rooms from the top to the bottom; those of one line stand side by side, and do not import from each other.
const ORDER: Order = &[
    &[("error", "what goes wrong, and what kind of failure it is"), ("stats", "what is counted, and the recorder")],
    &[("table", "what an entity's table is: its shape, kinds of columns, values, the facts of the catalogue")],
    &[("dialect", "one file a backend: what it can do, its limits, texts, errors, facts and driver")],
    &[("connection", "the one place that sends SQL; the pool; what logs may show; spans")],
    &[("objects", "an object, its states, the identity map, undo, and the words that the flush shares with them")],
    &[("flush", "from dirty objects to statements: the plan, which is pure, and one writer")],
    &[("unit", "blocks, the core of a session and its public face, its end, hooks, settings")],
    &[("run", "options, the retry loop, batches, several databases"), ("load", "queries, relations, streams")],
    &[("many", "rows found, added, upserted by unique values; updates and deletes of many")],
    &[
        ("outbox", "events that commit with their change"),
        ("testing", "test databases, and assertions on what was sent"),
    ],
    &[("derived", "events of an outbox that are derived from changes")],
];

/// Backends may be named here only (Y1): in `dialect`, which is them, and in `testing`, which starts them.
const NAMES_BACKENDS: &[&str] = &["dialect", "testing"];
const BACKENDS: &[&str] = &[
    "DbBackend",
    "DatabaseBackend",
    "DatabaseConnectionType",
    "Sqlite",
    "Postgres",
    "MySql",
    "PgArguments",
    "SqliteArguments",
];

/// Between these lines ARCHITECTURE.md prints the order.
const BEGIN: &str = "<!-- rooms: written by `UPDATE=1 cargo test -p sea-session --lib rooms` -->\n";
const END: &str = "<!-- end of rooms -->\n";

#[test]
fn rooms_stand_in_an_order_and_none_imports_from_below() {
    let (wrong, count) = examined(ORDER);
    assert!(count > 400, "only {count} imports between rooms were read");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn y1_no_backend_is_named_outside_of_its_dialect() {
    let mut wrong = Vec::new();
    for (name, module, text) in rooms() {
        if !NAMES_BACKENDS.contains(&module[0].as_str()) {
            let named = tokens(&text).into_iter().filter(|token| BACKENDS.contains(&token.text.as_str()));
            wrong.extend(named.map(|token| format!("{name}:{}: {}", token.line, token.text)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn y4_no_driver_is_chosen_outside_of_its_dialect() {
    let mut wrong = Vec::new();
    for (name, module, text) in rooms().into_iter().filter(|(_, module, _)| !NAMES_BACKENDS.contains(&&*module[0])) {
        let chosen = ["sqlite", "postgres", "mysql"].map(|driver| format!("feature = \"{driver}\""));
        let lines = text.lines().enumerate().filter(|(_, line)| chosen.iter().any(|chosen| line.contains(chosen)));
        wrong.extend(lines.map(|(at, line)| format!("{name}:{}: {} in {module:?}", at + 1, line.trim())));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What the outbox takes from other rooms: all of it public, so that it could be a crate of its own.
const OUTBOX_USES: &[&str] = &[
    "connection::channel::Channel",
    "connection::channel::Listener",
    "connection::db::Db",
    "connection::db::Queues",
    "connection::text::Text",
    "error::Error",
    "run::options::UnitOptions",
    "table::sql::quote",
    "table::value::number_array",
    "unit::session::Session",
];

#[test]
fn rooms_the_outbox_uses_nothing_but_what_is_public() {
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let public: Vec<String> =
        imports(&root.replace("pub use ", "use crate::"), &[]).into_iter().map(|(path, _)| path.join("::")).collect();
    let mut used: Vec<String> = Vec::new();
    for (name, module, text) in rooms().into_iter().filter(|(_, module, _)| module[0] == "outbox") {
        let out = imports(&text, &module).into_iter().filter(|(to, _)| to[0] != "outbox");
        used.extend(out.map(|(to, _)| to.join("::")));
        let inside = tokens(&text).into_iter().filter(|token| ["core", "dialect"].contains(&token.text.as_str()));
        assert_eq!(inside.map(|token| token.line).collect::<Vec<_>>(), [0; 0], "{name} looks into a session");
    }
    used.sort();
    used.dedup();
    assert_eq!(used, OUTBOX_USES);
    for item in OUTBOX_USES {
        assert!(public.iter().any(|path| path.ends_with(item)), "{item} is not handed on by lib.rs");
    }
}

#[test]
fn rooms_are_printed_in_the_document_of_the_architecture() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md");
    let held = fs::read_to_string(&path).expect("docs/ARCHITECTURE.md");
    let (before, rest) = held.split_once(BEGIN).expect("the line before the rooms");
    let (_, after) = rest.split_once(END).expect("the line after the rooms");
    let row = |(room, says): &(&str, &str)| format!("`{room}`: {says}");
    let rows = ORDER.iter().map(|floor| format!("1. {}\n", floor.iter().map(row).collect::<Vec<_>>().join(" · ")));
    let written = format!("{before}{BEGIN}\n{}\n{END}{after}", rows.collect::<String>());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &written).expect("docs/ARCHITECTURE.md");
    } else {
        assert!(
            held == written,
            "docs/ARCHITECTURE.md prints another order: UPDATE=1 cargo test -p sea-session --lib rooms"
        );
    }
}

#[test]
fn rooms_the_reader_of_imports_finds_every_form() {
    let text = r##"
use super::a::{self, b::{C, D as E}, f::*};
// use crate::run::in_a_comment;
const TEXT: &str = "crate::run::in_a_string";
const RAW: &str = r#"use crate::run::"raw";"#;
fn f<'a>(c: char) -> crate::unit::core::Core {
    let quote = ['\'', '"', 'x'];
    use crate::flush;
    std::mem::take(super::super::load::x())
}
mod inner {
    use super::g;
    use super::super::h;
}
pub(crate) use self::own::Thing;
"##;
    let module = ["unit", "here"].map(str::to_owned);
    let found: Vec<String> =
        imports(text, &module).into_iter().map(|(path, line)| format!("{line} {}", path.join("::"))).collect();
    let expected = [
        "2 unit::a",
        "2 unit::a::b::C",
        "2 unit::a::b::D",
        "2 unit::a::f",
        "6 unit::core::Core",
        "8 flush",
        "9 load::x",
        "12 unit::here::g",
        "13 unit::h",
        "15 unit::here::own::Thing",
    ];
    assert_eq!(found, expected);
}

#[test]
fn rooms_an_import_upwards_or_sideways_or_from_the_root_is_refused() {
    let why = |from: &str, to: &[&str]| {
        refused(ORDER, &[from.to_owned()], &to.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(why("unit", &["flush", "Flush"]), None);
    assert_eq!(why("unit", &["unit", "core"]), None);
    for (from, to) in
        [("flush", &["unit"][..]), ("run", &["load"]), ("load", &["run"]), ("unit", &["Session"]), ("unit", &[])]
    {
        assert!(why(from, to).is_some(), "{from} {to:?}");
    }
}
