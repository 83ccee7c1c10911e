//! Tests and helpers of the repository, read from its text.
//!
//! It reads lines that rustfmt has laid out (a function ends at a `}` in the column where it began); it never parses more
//! of Rust than that, and never runs anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Folders without tests of rules: output, sources that other tests compile, and the tests of this page.
const SKIPPED: &[&str] = &["target", "snapshots", "ui", "wip", "rules_page"];
/// How many calls away from a test its database may be named.
const FARTHEST: usize = 4;

/// What shows that a function runs on a backend.
const SIGNS: &[(&str, Backend)] = &[
    ("Backend::Sqlite", Backend::Sqlite),
    ("Backend::Postgres", Backend::Postgres),
    ("Place::Sqlite", Backend::Sqlite),
    ("Place::Postgres", Backend::Postgres),
    ("sqlite::memory:", Backend::Sqlite),
    ("sqlite://", Backend::Sqlite),
    ("sqlite:", Backend::Sqlite),
    ("fresh_database", Backend::Postgres),
    ("Cluster::start", Backend::Postgres),
    ("cluster::database_url", Backend::Postgres),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Backend::Sqlite => "SQLite",
            Backend::Postgres => "PostgreSQL",
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
    for (at, line) in lines.iter().enumerate() {
        let (indent, code) = (line.len() - line.trim_start().len(), line.trim());
        if let Some((outer, _)) = &owner
            && code == "}"
            && indent == *outer
        {
            owner = None;
        }
        if code.starts_with("impl") && code.ends_with('{') {
            owner = Some((indent, implementor(code)));
        }
        if let Some(name) = function_name(code) {
            let name = match &owner {
                Some((outer, owner)) if indent > *outer => format!("{owner}::{name}"),
                _ => name.to_owned(),
            };
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

/// The ids of rules in a test's name: parts between underscores, in capitals.
pub fn rule_ids(name: &str) -> impl Iterator<Item = String> {
    name.split('_').map(str::to_uppercase)
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

    /// The backends that the test names, or else those that the helpers it calls name: the nearest evidence counts.
    pub fn of(&self, test: &Function) -> BTreeSet<Backend> {
        let attributes = test.test.as_deref().unwrap_or_default();
        let asked = asked_for(attributes);
        if !asked.is_empty() {
            return asked;
        }
        let mut level = vec![test];
        let mut seen: BTreeSet<(&Path, &str)> = BTreeSet::new();
        for _ in 0..=FARTHEST {
            let found: BTreeSet<Backend> = level.iter().flat_map(|function| signs(&function.body)).collect();
            if !found.is_empty() {
                return found;
            }
            level = level.iter().flat_map(|function| self.called(function)).collect();
            level.retain(|function| seen.insert((&function.file, &function.name)));
        }
        BTreeSet::new()
    }

    fn called(&self, caller: &Function) -> Vec<&'f Function> {
        calls(&caller.body).into_iter().filter_map(|name| self.nearest(&name, &caller.file)).collect()
    }

    /// The function of this name whose file is nearest to `file`, within the same folder of tests or sources.
    fn nearest(&self, name: &str, file: &Path) -> Option<&'f Function> {
        let shared = |other: &Path| file.components().zip(other.components()).take_while(|(a, b)| a == b).count();
        let candidates = self.by_name.get(name)?.iter().filter(|function| function.test.is_none());
        let near = candidates.max_by_key(|function| (function.file == file, shared(&function.file)))?;
        (shared(&near.file) > 0).then_some(*near)
    }
}

fn asked_for(attributes: &str) -> BTreeSet<Backend> {
    let Some(at) = attributes.find("session_test") else { return BTreeSet::new() };
    let arguments = &attributes[at..];
    let mut asked = BTreeSet::new();
    if arguments.contains("postgres") {
        asked.insert(Backend::Postgres);
    }
    if arguments.contains("sqlite") || asked.is_empty() {
        asked.insert(Backend::Sqlite);
    }
    asked
}

fn signs(body: &str) -> BTreeSet<Backend> {
    SIGNS.iter().filter(|(sign, _)| body.contains(sign)).map(|(_, backend)| *backend).collect()
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
