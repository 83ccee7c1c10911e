//! The order of this crate's rooms, and the test that holds it: a room imports from those above it and from itself, nothing else.
//!
//! The imports are read from the text, comments and strings left out: `use` trees, and paths that begin with `crate`, `super`
//! or `self` wherever they stand. `docs/ARCHITECTURE.md` prints the order.

use std::{fs, path::Path};

/// The rooms from the top to the bottom; those of one line stand side by side, and do not import from each other.
const ORDER: &[&[(&str, &str)]] = &[
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

fn floor(room: &str) -> Option<usize> {
    ORDER.iter().position(|floor| floor.iter().any(|(name, _)| *name == room))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// The names and signs of a text of Rust; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    let skip = |rest: &mut &str, length: usize, line: &mut usize| {
        let (passed, after) = rest.split_at(length);
        *line += passed.matches('\n').count();
        *rest = after;
    };
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest),
            'r' | 'b' if rest[word..].starts_with(['"', '#']) && word <= 2 && raw(rest).is_some() => {
                raw(rest).unwrap_or(word)
            }
            '\'' => character(rest),
            ':' if rest.starts_with("::") => {
                tokens.push(Token { text: "::".to_owned(), line });
                2
            }
            c if c.is_alphanumeric() || c == '_' => {
                tokens.push(Token { text: rest[..word].to_owned(), line });
                word
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => {
                tokens.push(Token { text: c.to_string(), line });
                c.len_utf8()
            }
        };
        skip(&mut rest, length, &mut line);
    }
    tokens
}

fn quoted(text: &str) -> usize {
    let mut escaped = true;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The length of a raw string, or of one of bytes, that the text begins with.
fn raw(text: &str) -> Option<usize> {
    let start = text.find(['"', '#'])?;
    let hashes = text[start..].find(|c| c != '#')?;
    let body = start + hashes;
    if !text[body..].starts_with('"') {
        return None;
    }
    if !text[..start].contains('r') {
        return Some(start + quoted(&text[start..]));
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[body + 1..].find(&close).map(|at| body + 1 + at + close.len())
}

/// A character, or the sign of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => text[at + 1..].find('\'').map_or(1, |end| at + 1 + end + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// An import: the module that it leads to, from the root of the crate, and its line.
type Import = (Vec<String>, usize);

/// The imports of a file that is the module `module`.
fn imports(text: &str, module: &[String]) -> Vec<Import> {
    let tokens = tokens(text);
    let mut imports = Vec::new();
    // Where each open brace belongs: to an inline module, or to anything else.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = || module.iter().cloned().chain(open.iter().flatten().cloned()).collect::<Vec<_>>();
        let next = |offset: usize| tokens.get(at + offset).map(|token| token.text.as_str());
        match tokens[at].text.as_str() {
            "mod" if next(2) == Some("{") => {
                open.push(Some(tokens[at + 1].text.clone()));
                at += 3;
            }
            "{" => {
                open.push(None);
                at += 1;
            }
            "}" => {
                open.pop();
                at += 1;
            }
            "use" => at = tree(&tokens, at + 1, &[], &here(), &mut imports),
            "crate" | "super" | "self" | "sea_session" if next(1) == Some("::") => {
                let mut path = vec![tokens[at].text.clone()];
                let line = tokens[at].line;
                at += 1;
                while at + 1 < tokens.len() && tokens[at].text == "::" && is_name(&tokens[at + 1].text) {
                    path.push(tokens[at + 1].text.clone());
                    at += 2;
                }
                imports.extend(resolve(&path, &here()).map(|path| (path, line)));
            }
            _ => at += 1,
        }
    }
    imports
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Reads one tree of a `use`, and says where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &[String], here: &[String], imports: &mut Vec<Import>) -> usize {
    let (mut path, mut branched) = (prefix.to_vec(), false);
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" | "," | "}" => break,
            "{" => {
                branched = true;
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &path, here, imports);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                at += 1;
            }
            "as" => at += 2,
            "::" | "*" => at += 1,
            "self" if !path.is_empty() => at += 1,
            name => {
                path.push(name.to_owned());
                at += 1;
            }
        }
    }
    if !branched {
        imports.extend(resolve(&path, here).map(|path| (path, line)));
    }
    at
}

/// The path from the root of the crate; none of one that leads into another crate, or stays in its own module.
fn resolve(path: &[String], here: &[String]) -> Option<Vec<String>> {
    let mut from = match path.first()?.as_str() {
        "crate" | "sea_session" => Vec::new(),
        "super" | "self" => here.to_vec(),
        _ => return None,
    };
    let mut rest = &path[usize::from(path[0] != "super")..];
    while rest.first().is_some_and(|part| part == "super") {
        from.pop();
        rest = &rest[1..];
    }
    from.extend(rest.iter().cloned());
    Some(from)
}

/// The files of a folder, those of its folders too, each with its module.
fn files(folder: &Path, module: &[String], found: &mut Vec<(std::path::PathBuf, Vec<String>)>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder of the crate").map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let inner: Vec<String> = module.iter().cloned().chain([name.clone()]).collect();
        match path.is_dir() {
            true => files(&path, &inner, found),
            false if path.extension().is_none_or(|extension| extension != "rs") => {}
            false if name == "mod" => found.push((path, module.to_vec())),
            false => found.push((path, inner)),
        }
    }
}

/// The files of the rooms: all but the crate's root and this one.
fn rooms() -> Vec<(String, Vec<String>, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &[], &mut found);
    found.retain(|(_, module)| !["lib", "rooms"].contains(&module[0].as_str()));
    let read = |(path, module): (std::path::PathBuf, Vec<String>)| {
        let text = fs::read_to_string(&path).expect("a file of the crate");
        (format!("src/{}", path.strip_prefix(&source).unwrap().display()), module, text)
    };
    found.into_iter().map(read).collect()
}

/// Why an import is refused.
fn refused(module: &[String], to: &[String]) -> Option<String> {
    let room = &module[0];
    let Some(to) = to.first() else {
        return Some("imports from the crate's root, which is below every room".to_owned());
    };
    if to == room {
        return None;
    }
    match (floor(room), floor(to)) {
        (Some(own), Some(other)) if other < own => None,
        (Some(own), Some(other)) if other == own => Some(format!("`{room}` and `{to}` stand side by side")),
        (Some(_), Some(_)) => Some(format!("`{to}` stands below `{room}`")),
        (Some(_), None) => Some(format!("`{to}` is no room: a name of the crate's root, say where it really stands")),
        (None, _) => Some(format!("`{room}` has no place in the order")),
    }
}

#[test]
fn rooms_stand_in_an_order_and_none_imports_from_below() {
    let files = rooms();
    assert!(files.len() > 80, "only {} files were read", files.len());
    let mut count = 0;
    let mut wrong = Vec::new();
    for (name, module, text) in &files {
        for (to, line) in imports(text, module) {
            count += usize::from(to.first().is_some_and(|to| *to != module[0]));
            wrong.extend(refused(module, &to).map(|why| format!("{name}:{line}: {}: {why}", to.join("::"))));
        }
    }
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
        refused(&[from.to_owned()], &to.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(why("unit", &["flush", "Flush"]), None);
    assert_eq!(why("unit", &["unit", "core"]), None);
    for (from, to) in
        [("flush", &["unit"][..]), ("run", &["load"]), ("load", &["run"]), ("unit", &["Session"]), ("unit", &[])]
    {
        assert!(why(from, to).is_some(), "{from} {to:?}");
    }
}
