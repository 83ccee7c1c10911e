//! Tests and helpers of the repository, read from its text.
//!
//! It reads lines that rustfmt has laid out (a function ends at a `}` in the column where it began); it never parses more
//! of Rust than that, and never runs anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Folders without tests of rules: output, sources that other tests compile, the tests of this page, and a checker whose own
/// tests are named after Adya's anomalies (G0, G1a, G2).
const SKIPPED: &[&str] = &["target", "snapshots", "ui", "wip", "rules_page", "checker"];
/// How many calls away from a test its database may be named.
const FARTHEST: usize = 4;

/// A backend by its name: what else the function calls does not count then, because it is told the backend.
const NAMES: &[(&str, Backend)] = &[
    ("Backend::Sqlite", Backend::Sqlite),
    ("Backend::Postgres", Backend::Postgres),
    ("Backend::MariaDb", Backend::MariaDb),
    ("Backend::ALL", Backend::Sqlite),
    ("Backend::ALL", Backend::Postgres),
    ("Backend::ALL", Backend::MariaDb),
];

/// A database that is opened.
const OPENED: &[(&str, Backend)] = &[
    ("sqlite::memory:", Backend::Sqlite),
    ("sqlite://", Backend::Sqlite),
    ("fresh_database", Backend::Postgres),
    ("Cluster::start", Backend::Postgres),
    ("cluster::database_url", Backend::Postgres),
    ("mariadb::fresh_database", Backend::MariaDb),
    ("mariadb::Server::start", Backend::MariaDb),
    ("GaleraCluster::start", Backend::MariaDb),
];

/// The store's tests: each function in it is run on both backends.
const ON_EACH_BACKEND: &str = "on_each_backend! {";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Backend::Sqlite => "SQLite",
            Backend::Postgres => "PostgreSQL",
            Backend::MariaDb => "MariaDB",
        }
    }
}

/// A function as the scan sees it.
#[derive(Clone, Debug)]
pub struct Function {
    /// `name`, or `Type::name` in an `impl`.
    pub name: String,
    /// The attributes above it, if it is a test.
    pub test: Option<String>,
    pub body: String,
    pub file: PathBuf,
}

impl Function {
    /// The last part of its name, as `cargo test` shows it.
    pub fn short(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }
}

/// Every function of every Rust file of the repository.
pub fn functions(root: &Path) -> Vec<Function> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    files.iter().flat_map(|file| in_file(root, file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name) {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn in_file(root: &Path, file: &Path) -> Vec<Function> {
    let text = fs::read_to_string(file).unwrap_or_default();
    in_text(&text, file.strip_prefix(root).unwrap_or(file))
}

/// The functions of one file's text.
pub fn in_text(text: &str, file: &Path) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut attributes = String::new();
    let mut owner: Option<(usize, String)> = None;
    let mut on_each_backend = false;
    for (at, line) in lines.iter().enumerate() {
        let (indent, code) = (line.len() - line.trim_start().len(), line.trim());
        if let Some((outer, _)) = &owner
            && code == "}"
            && indent == *outer
        {
            owner = None;
        }
        on_each_backend = *line == ON_EACH_BACKEND || (on_each_backend && *line != "}");
        if code.starts_with("impl") && code.ends_with('{') {
            owner = Some((indent, implementor(code)));
        }
        if let Some(name) = function_name(code) {
            let name = match &owner {
                Some((outer, owner)) if indent > *outer => format!("{owner}::{name}"),
                _ => name.to_owned(),
            };
            if on_each_backend && indent == 4 {
                attributes.push_str("#[session_test(sqlite, postgres, mariadb)]\n");
            }
            let test = is_test(&attributes).then(|| std::mem::take(&mut attributes));
            found.push(Function { name, test, body: body(&lines[at..], indent), file: file.to_owned() });
        }
        let belongs_to_what_follows = code.starts_with("#[") || code.starts_with("//");
        let continues = !attributes.is_empty() && !attributes.trim_end().ends_with(']') && !code.starts_with("//");
        if belongs_to_what_follows || continues {
            if !code.starts_with("//") {
                attributes.push_str(code);
                attributes.push('\n');
            }
        } else {
            attributes.clear();
        }
    }
    found
}

fn is_test(attributes: &str) -> bool {
    ["#[test]", "#[tokio::test", "#[session_test", "#[sea_session::session_test"]
        .iter()
        .any(|sign| attributes.contains(sign))
}

/// `Rig` of `impl Rig {`, `impl<T> Trait for Rig<T> {`.
fn implementor(code: &str) -> String {
    let head = code.trim_end_matches('{').trim();
    let head = head.split(" where").next().unwrap_or(head);
    let typed = head.rsplit(" for ").next().unwrap_or(head);
    let typed = typed.trim_start_matches("impl").trim();
    let last = typed.split_whitespace().last().unwrap_or(typed);
    let plain = last.split('<').next().unwrap_or(last);
    plain.rsplit("::").next().unwrap_or(plain).to_owned()
}

fn function_name(code: &str) -> Option<&str> {
    let mut words = code
        .split_whitespace()
        .skip_while(|word| matches!(*word, "pub" | "async" | "const" | "unsafe") || word.starts_with("pub("));
    if words.next() != Some("fn") {
        return None;
    }
    let name = words.next()?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

/// The text from a function's first line to its closing brace.
fn body(lines: &[&str], indent: usize) -> String {
    let one_line = lines[0].trim_end().ends_with('}') || lines[0].trim_end().ends_with(';');
    let last = match one_line {
        true => 0,
        false => lines.iter().position(|l| l.trim() == "}" && l.len() == indent + 1).unwrap_or(lines.len() - 1),
    };
    lines[..=last].join("\n")
}

/// Tests that are named after an anomaly of the Hermitage suite, where P4 is a lost update and G2 a cycle.
const OTHER_NAMES: &str = "hermitage_";

/// What may be ids of rules in a test's name: parts between underscores, in capitals.
pub fn rule_ids(name: &str) -> impl Iterator<Item = String> {
    let parts = (!name.starts_with(OTHER_NAMES)).then(|| name.split('_').map(str::to_uppercase));
    parts.into_iter().flatten()
}

/// Finds out which backends a test runs on.
pub struct Backends<'f> {
    by_name: BTreeMap<&'f str, Vec<&'f Function>>,
}

impl<'f> Backends<'f> {
    pub fn new(functions: &'f [Function]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
        functions.iter().for_each(|function| by_name.entry(&function.name).or_default().push(function));
        Self { by_name }
    }

    /// The backends that the test asks for, names or opens, itself or through the helpers that it calls.
    pub fn of(&self, test: &Function) -> BTreeSet<Backend> {
        let asked = asked_for(test.test.as_deref().unwrap_or_default());
        match asked.is_empty() {
            true => self.reached(test, 0),
            false => asked,
        }
    }

    fn reached(&self, function: &Function, distance: usize) -> BTreeSet<Backend> {
        let named = signs(&function.body, NAMES);
        if !named.is_empty() || distance > FARTHEST {
            return named;
        }
        // Beside the code, a URL in a function that waits for nothing is text, not a database.
        let opens = of_tests(&function.file) || function.body.contains("async") || function.body.contains(".await");
        let mut reached = if opens { signs(&function.body, OPENED) } else { BTreeSet::new() };
        // What MariaDB's own tests open is called by a shorter name there.
        if function.file.components().any(|part| part.as_os_str() == "mariadb") && reached.remove(&Backend::Postgres) {
            reached.insert(Backend::MariaDb);
        }
        // A helper that opens its database tells the helpers behind it which.
        let behind = if distance > 0 && !reached.is_empty() { Vec::new() } else { self.called(function) };
        for helper in behind {
            reached.append(&mut self.reached(helper, distance + 1));
        }
        reached
    }

    fn called(&self, caller: &Function) -> Vec<&'f Function> {
        let owner = caller.name.rsplit_once("::").map_or("Self", |(owner, _)| owner);
        calls(&caller.body)
            .into_iter()
            .map(|name| name.replace("Self::", &format!("{owner}::")))
            .filter_map(|name| self.nearest(&name, &caller.file))
            .collect()
    }

    /// The helper of this name whose file is nearest to `file`: in that file, or in a folder of tests. What the library
    /// calls is the same for every backend.
    fn nearest(&self, name: &str, file: &Path) -> Option<&'f Function> {
        let shared = |other: &Path| file.components().zip(other.components()).take_while(|(a, b)| a == b).count();
        self.by_name
            .get(name)?
            .iter()
            .filter(|function| function.test.is_none())
            .filter(|function| function.file == file || (of_tests(&function.file) && shared(&function.file) > 0))
            .max_by_key(|function| (function.file == file, shared(&function.file)))
            .copied()
    }
}

fn of_tests(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests")
}

fn asked_for(attributes: &str) -> BTreeSet<Backend> {
    let Some(at) = attributes.find("session_test") else { return BTreeSet::new() };
    let arguments = &attributes[at..];
    let mut asked = BTreeSet::new();
    if arguments.contains("postgres") {
        asked.insert(Backend::Postgres);
    }
    if arguments.contains("mariadb") {
        asked.insert(Backend::MariaDb);
    }
    if arguments.contains("sqlite") || asked.is_empty() {
        asked.insert(Backend::Sqlite);
    }
    asked
}

/// Which of the signs stand in the text as words of their own (`DbBackend::Sqlite` is no `Backend::Sqlite`, and
/// `mariadb::fresh_database` is not PostgreSQL's).
fn signs(body: &str, signs: &[(&str, Backend)]) -> BTreeSet<Backend> {
    let stands = |sign: &str| {
        let ends =
            |before: &str| before.ends_with("mariadb::") || before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        body.match_indices(sign).any(|(at, _)| !ends(&body[..at]))
    };
    signs.iter().filter(|(sign, _)| stands(sign)).map(|(_, backend)| *backend).collect()
}

/// Names that are called: `helper(`, `Type::function(`, `helper::<T>(`; methods are left out.
fn calls(body: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut called = BTreeSet::new();
    for (at, _) in body.match_indices('(') {
        let before = body[..at].trim_end_matches('!');
        let before = before.rsplit_once("::<").map_or(before, |(head, generic)| match generic.ends_with('>') {
            true => head,
            false => before,
        });
        let start =
            before.rfind(|c: char| !is_name(c)).map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let (path, method) = (&before[start..], before[..start].ends_with('.'));
        if path.is_empty() || method {
            continue;
        }
        let mut parts = path.rsplit("::");
        let name = parts.next().unwrap_or_default();
        match parts.next() {
            Some(owner) if owner.starts_with(char::is_uppercase) => called.insert(format!("{owner}::{name}")),
            _ => called.insert(name.to_owned()),
        };
    }
    called
}
