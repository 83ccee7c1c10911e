//! Writes and checks docs/rules.md: each rule, and the tests that prove it; and in README.md the list of rules without one.
//!
//! `cargo test --test rules_page` compares; `UPDATE=1 cargo test --test rules_page` writes.

mod performance;
mod rules;
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use rules::{GROUPS, ids};
use scan::{Backend, Backends, Function, functions, in_text, rule_ids};

const PAGE: &str = "docs/rules.md";
const README: &str = "README.md";
/// Between these lines README.md lists the rules that have no test.
const BEGIN: &str = "<!-- rules without a test: written by `UPDATE=1 cargo test --test rules_page` -->\n";
const END: &str = "<!-- end -->\n";

const HEAD: &str = "# Rules and their tests

Written by `UPDATE=1 cargo test --test rules_page`; `cargo test --test rules_page` fails when it is out of date. Do not edit.

A test belongs to a rule if its name has the rule's id between underscores: `a4_…`, `outbox_q3_…`. The page says which tests
are there, not that they pass: that is `./test a4_`.

Where a test runs is read from its text. `#[session_test(…)]` names its backends. Otherwise a function that says
`Backend::Sqlite`, `Backend::Postgres`, `Backend::MariaDb` or `Backend::ALL` runs on these; one that does not runs on what it opens (a
SQLite URL, a database or a cluster of the test PostgreSQL, a database of the test MariaDB) and on what the helpers open that it calls. A test that opens nothing needs no database.
";

/// The tests of one rule in one file on the same backends.
type Cited = BTreeMap<(PathBuf, BTreeSet<Backend>), BTreeSet<String>>;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cited(functions: &[Function]) -> BTreeMap<String, Cited> {
    let backends = Backends::new(functions);
    let mut cited: BTreeMap<String, Cited> = BTreeMap::new();
    for test in functions.iter().filter(|function| function.test.is_some()) {
        for id in rule_ids(test.short()).filter(|id| ids().any(|known| known == id)) {
            let place = (test.file.clone(), backends.of(test));
            cited.entry(id).or_default().entry(place).or_default().insert(test.short().to_owned());
        }
    }
    cited
}

fn page(cited: &BTreeMap<String, Cited>) -> String {
    let mut page = HEAD.to_owned();
    overview(&mut page, cited);
    for group in GROUPS {
        write!(page, "\n## {}\n", group.title).expect("a string takes text");
        for (id, says) in group.rules {
            section(&mut page, id, says, cited.get(*id));
        }
    }
    page
}

fn overview(page: &mut String, cited: &BTreeMap<String, Cited>) {
    page.push_str("\n| Group | Rules | With tests | None yet |\n|---|---:|---:|---|\n");
    for group in GROUPS {
        let without: Vec<&str> = group.rules.iter().map(|(id, _)| *id).filter(|id| !cited.contains_key(*id)).collect();
        let tested = group.rules.len() - without.len();
        writeln!(page, "| {} | {} | {tested} | {} |", group.title, group.rules.len(), without.join(", "))
            .expect("a string takes text");
    }
}

fn section(page: &mut String, id: &str, says: &str, cited: Option<&Cited>) {
    write!(page, "\n**{id}** {says}\n\n").expect("a string takes text");
    let Some(cited) = cited else {
        page.push_str("- none yet\n");
        return;
    };
    for ((file, backends), tests) in cited {
        let names: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        let file = file.display();
        writeln!(page, "- [{file}](../{file}) ({}): {}", shown(backends), names.join(", "))
            .expect("a string takes text");
    }
}

/// README.md with the list of rules that have no test.
fn readme(held: &str, cited: &BTreeMap<String, Cited>) -> String {
    let Some((before, rest)) = held.split_once(BEGIN) else { return held.to_owned() };
    let Some((_, after)) = rest.split_once(END) else { return held.to_owned() };
    let mut list = String::new();
    for (id, says) in GROUPS.iter().flat_map(|group| group.rules).filter(|(id, _)| !cited.contains_key(*id)) {
        writeln!(list, "- {id}: {says}").expect("a string takes text");
    }
    if list.is_empty() {
        list.push_str("- none\n");
    }
    format!("{before}{BEGIN}{list}{END}{after}")
}

fn shown(backends: &BTreeSet<Backend>) -> String {
    match backends.is_empty() {
        true => "no database".to_owned(),
        false => backends.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", "),
    }
}

/// Compares a file with what it should hold, or writes it.
fn compare(name: &str, write: impl Fn(&str) -> String) {
    let path = root().join(name);
    let held = fs::read_to_string(&path).unwrap_or_default();
    let page = write(&held);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
        return;
    }
    let first = page.lines().zip(held.lines().chain(std::iter::repeat(""))).find(|(new, old)| new != old);
    assert!(
        held == page,
        "{name} is out of date; `UPDATE=1 cargo test --test rules_page` writes it. First difference: {first:?}"
    );
}

#[test]
fn the_page_and_the_readme_are_up_to_date() {
    let cited = cited(&functions(root()));
    compare(PAGE, |_| page(&cited));
    compare(README, |held| readme(held, &cited));
}

#[test]
fn the_readme_has_a_place_for_the_list() {
    let held = fs::read_to_string(root().join(README)).unwrap_or_default();
    let nothing: BTreeMap<String, Cited> = BTreeMap::new();
    assert!(readme(&held, &nothing).contains("- A1: "), "{README} lacks the lines between which the list goes");
}

#[test]
fn every_test_that_begins_with_a_rule_begins_with_a_known_one() {
    let groups: BTreeSet<char> = ids().filter_map(|id| id.chars().next()).collect();
    let looks_like_a_rule = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|letter| groups.contains(&letter))
            && (1..=2).contains(&chars.clone().count())
            && chars.all(|c| c.is_ascii_digit())
    };
    let functions = functions(root());
    let unknown: Vec<&str> = functions
        .iter()
        .filter(|function| function.test.is_some())
        .map(Function::short)
        .filter(|name| {
            rule_ids(name).next().is_some_and(|part| looks_like_a_rule(&part) && ids().all(|known| known != part))
        })
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn rules_are_listed_once() {
    let all: Vec<&str> = ids().collect();
    let different: BTreeSet<&str> = ids().collect();
    assert_eq!(all.len(), different.len());
}

#[test]
fn the_scan_finds_tests_and_their_backends() {
    let text = r#"
fn on_both(test: impl AsyncFn(Db)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {}
}

struct Rig;

impl Rig {
    async fn new() -> Self {
        fresh_database().await
    }
}

#[test]
fn a1_on_both() {
    on_both(async |db: Db| {});
}

/// Words.
#[tokio::test]
async fn outbox_q3_by_a_helper() {
    let rig = Rig::new().await;
}

#[session_test(sqlite, postgres)]
async fn l4_asked_for(s: &mut Session) {
    on_both(x);
}

#[test]
fn f1_without_a_database() {
    assert_eq!(1, 1);
}

fn not_a_test() {}

on_each_backend! {
    async fn v4_of_the_store(t: TestStore) {
        t.write().await;
    }
}

fn v5_behind_it_is_none() {}

#[test]
fn y2_on_all() {
    for backend in Backend::ALL {}
}

#[test]
fn y2_of_its_own() {
    block_on(async { cluster::mariadb::fresh_database().await });
}
"#;
    let functions = in_text(text, Path::new("tests/sample.rs"));
    let backends = Backends::new(&functions);
    let tests: Vec<(&str, String)> = functions
        .iter()
        .filter(|function| function.test.is_some())
        .map(|test| (test.short(), shown(&backends.of(test))))
        .collect();
    let expected = [
        ("a1_on_both", "SQLite, PostgreSQL"),
        ("outbox_q3_by_a_helper", "PostgreSQL"),
        ("l4_asked_for", "SQLite, PostgreSQL"),
        ("f1_without_a_database", "no database"),
        ("v4_of_the_store", "SQLite, PostgreSQL, MariaDB"),
        ("y2_on_all", "SQLite, PostgreSQL, MariaDB"),
        ("y2_of_its_own", "MariaDB"),
    ];
    assert_eq!(tests, expected.map(|(name, shown)| (name, shown.to_owned())));
    assert_eq!(rule_ids("outbox_q3_by").nth(1).as_deref(), Some("Q3"));
}
