//! What holds of the workspace as a whole. What it depends on is what `deny.toml` allows: licences, sources, bans. No member
//! names a crate that it does not use, and none needs a newer compiler than the workspace promises. No test stands where
//! cargo does not look for tests.
//!
//! Read from `cargo metadata` in a moment, because building cargo-deny would take minutes of every run on a new machine.
//! `.ci/run` runs cargo-deny beside this where it is installed: it knows the advisories, too.
//! `DEPENDENCIES=all cargo test --test workspace` looks at what any feature of ours brings, which may have to be downloaded.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn metadata() -> Value {
    let compiler = Command::new("rustc").arg("-vV").output().expect("rustc");
    let about = String::from_utf8_lossy(&compiler.stdout).into_owned();
    let platform = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("a platform");
    let mut cargo = Command::new(env!("CARGO"));
    // Of this platform's dependencies only: those of others need not be on this machine.
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", platform]).current_dir(here());
    if std::env::var_os("DEPENDENCIES").is_some_and(|what| what == "all") {
        cargo.arg("--all-features");
    }
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn rules() -> toml::Table {
    fs::read_to_string(here().join("deny.toml")).expect("deny.toml").parse().expect("TOML")
}

/// Whether somebody who accepts these licences may use what is offered under an SPDX expression; `A/B` is an old way to
/// write `A OR B`.
fn permitted(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (answer, rest) = any_of(&words, allowed);
    answer && rest.is_empty()
}

fn any_of<'w, 't>(words: &'w [&'t str], allowed: &BTreeSet<&str>) -> (bool, &'w [&'t str]) {
    let (mut answer, mut rest) = all_of(words, allowed);
    while let ["OR", more @ ..] = rest {
        let (other, left) = all_of(more, allowed);
        (answer, rest) = (answer | other, left);
    }
    (answer, rest)
}

fn all_of<'w, 't>(words: &'w [&'t str], allowed: &BTreeSet<&str>) -> (bool, &'w [&'t str]) {
    let (mut answer, mut rest) = one(words, allowed);
    while let ["AND", more @ ..] = rest {
        let (other, left) = one(more, allowed);
        (answer, rest) = (answer & other, left);
    }
    (answer, rest)
}

fn one<'w, 't>(words: &'w [&'t str], allowed: &BTreeSet<&str>) -> (bool, &'w [&'t str]) {
    match words {
        ["(", inner @ ..] => match any_of(inner, allowed) {
            (answer, [")", rest @ ..]) => (answer, rest),
            (_, rest) => (false, rest),
        },
        [name, "WITH", exception, rest @ ..] => (allowed.contains(format!("{name} WITH {exception}").as_str()), rest),
        [name, rest @ ..] => (allowed.contains(name), rest),
        // Something must stand here: what is returned is never the end.
        [] => (false, &["a licence"]),
    }
}

#[test]
fn every_licence_is_one_that_we_allow() {
    let (metadata, rules) = (metadata(), rules());
    let allowed = rules["licenses"]["allow"].as_array().expect("a list of licences");
    let allowed: BTreeSet<&str> = allowed.iter().filter_map(toml::Value::as_str).collect();
    let packages = list(&metadata, "packages");
    assert!(packages.len() > 100, "{} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !permitted(text(package, "license"), &allowed))
        .map(|package| format!("{}: {:?}", text(package, "id"), text(package, "license")))
        .collect();
    assert_eq!(refused, [""; 0]);
}

#[test]
fn a_licence_expression_is_read_as_it_is_written() {
    let allowed = BTreeSet::from(["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"]);
    let yes = ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(MIT OR X) AND Zlib", "Apache-2.0 WITH LLVM-exception OR X"];
    let no = ["", "GPL-3.0", "MIT AND X", "MIT OR", "(MIT", "MIT)", "Apache-2.0", "MIT WITH X", "X OR MIT AND X"];
    assert_eq!(yes.map(|expression| permitted(expression, &allowed)), [true; 5]);
    assert_eq!(no.map(|expression| permitted(expression, &allowed)), [false; 9]);
}

#[test]
fn every_crate_comes_from_crates_io_or_from_here() {
    let metadata = metadata();
    let members = list(&metadata, "workspace_members");
    for package in list(&metadata, "packages") {
        match package["source"].as_str() {
            None => assert!(members.contains(&package["id"]), "{} is on a path outside", text(package, "id")),
            Some(source) => {
                assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{}", text(package, "id"));
            }
        }
    }
}

#[test]
fn what_deny_toml_bans_is_not_there() {
    let (metadata, rules) = (metadata(), rules());
    let packages = list(&metadata, "packages");
    for ban in rules["bans"]["deny"].as_array().expect("a list of bans") {
        let name = ban["crate"].as_str().expect("a name");
        let found = packages.iter().filter(|package| text(package, "name") == name).count();
        let wrappers = ban.get("wrappers").and_then(toml::Value::as_array);
        if ban.get("deny-multiple-versions").is_some() {
            assert!(found <= 1, "{found} versions of {name}");
        } else if let Some(wrappers) = wrappers {
            // What is resolved, not what is declared: a dependency that is optional may not be there.
            let name_of = |id: &Value| packages.iter().find(|package| package["id"] == *id).map(|of| text(of, "name"));
            let through: Vec<&str> = list(&metadata["resolve"], "nodes")
                .iter()
                .filter(|node| list(node, "deps").iter().any(|needed| name_of(&needed["pkg"]) == Some(name)))
                .filter_map(|node| name_of(&node["id"]))
                .filter(|parent| !wrappers.iter().any(|wrapper| wrapper.as_str() == Some(parent)))
                .collect();
            assert_eq!(through, [""; 0], "{name} comes through these");
        } else {
            assert_eq!(found, 0, "{name} is banned");
        }
    }
}

#[test]
fn no_dependency_needs_a_newer_compiler_than_we_promise() {
    let metadata = metadata();
    let version = |package: &Value| -> Vec<u32> {
        text(package, "rust_version").split('.').filter_map(|part| part.parse().ok()).take(2).collect()
    };
    let packages = list(&metadata, "packages");
    let ours = packages.iter().find(|package| text(package, "name") == "sea-session").map(version).expect("ours");
    assert_eq!(ours.len(), 2, "{ours:?}");
    let newer: Vec<&str> =
        packages.iter().filter(|package| version(package) > ours).map(|package| text(package, "id")).collect();
    assert_eq!(newer, [""; 0], "the workspace promises {ours:?}");
}

/// The Rust text below a folder, or of a file, without lines that are comments.
fn code(place: &Path, into: &mut String) {
    if let Ok(entries) = fs::read_dir(place) {
        entries.flatten().for_each(|entry| code(&entry.path(), into));
    } else if place.extension().is_some_and(|ending| ending == "rs")
        && let Ok(text) = fs::read_to_string(place)
    {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            into.push_str(line);
            into.push('\n');
        }
    }
}

/// Whether a crate is named in the text as one: `called::…`, `use called;`, `use called as …`.
fn is_used(called: &str, rust: &str) -> bool {
    rust.match_indices(called).any(|(at, _)| {
        let after = &rust[at + called.len()..];
        let before = rust[..at].chars().next_back();
        let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        whole && ["::", ";", " as "].iter().any(|sign| after.starts_with(sign))
    })
}

/// `docs-check` depends on what the documents' examples use, which is not Rust text of its own.
const OF_DOCUMENTS: &str = "docs-check";

#[test]
fn every_dependency_of_ours_is_used() {
    let metadata = metadata();
    let members = list(&metadata, "workspace_members");
    let mut unused = Vec::new();
    for package in list(&metadata, "packages") {
        let name = text(package, "name");
        if !members.contains(&package["id"]) || name == OF_DOCUMENTS {
            continue;
        }
        let folder = Path::new(text(package, "manifest_path")).parent().expect("a folder");
        let of = |places: &[&str]| {
            let mut rust = String::new();
            places.iter().for_each(|place| code(&folder.join(place), &mut rust));
            rust
        };
        let (product, build, tests) = (of(&["src"]), of(&["build.rs"]), of(&["src", "tests", "benches", "examples"]));
        for dependency in list(package, "dependencies") {
            let called = dependency["rename"].as_str().unwrap_or(text(dependency, "name")).replace('-', "_");
            let rust = match dependency["kind"].as_str() {
                None => &product,
                Some("build") => &build,
                Some(_) => &tests,
            };
            if !is_used(&called, rust) {
                unused.push(format!("{name}: {called}"));
            }
        }
    }
    assert_eq!(unused, [""; 0], "named in a Cargo.toml and used nowhere that it is for");
}

/// A target with `test = false` builds no test program, so a test in it would never run.
#[test]
fn no_test_stands_in_a_target_that_is_not_tested() {
    let metadata = metadata();
    let members = list(&metadata, "workspace_members");
    let mut looked_at = 0;
    for package in list(&metadata, "packages").iter().filter(|package| members.contains(&package["id"])) {
        for target in list(package, "targets").iter().filter(|target| target["test"] == Value::Bool(false)) {
            if !list(target, "kind")
                .iter()
                .any(|kind| ["lib", "bin", "proc-macro", "example"].iter().any(|of| kind == of))
            {
                continue;
            }
            let source = Path::new(text(target, "src_path"));
            let mut rust = String::new();
            code(source.parent().expect("a folder"), &mut rust);
            assert!(!rust.is_empty(), "{}", source.display());
            let test = rust.lines().find(|line| line.contains("#[test]") || line.contains("#[tokio::test"));
            assert_eq!(test, None, "{} has `test = false`, or is an example", source.display());
            looked_at += 1;
        }
    }
    assert!(looked_at >= 5, "{looked_at} targets");
}

/// Third parties that a crate of ours is built with, without its default features but with this one.
fn built_with(package: &str, feature: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    cargo.args(["--package", package, "--no-default-features", "--features", feature]).current_dir(here());
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn y4_a_build_with_one_driver_has_no_code_of_the_others() {
    for package in ["sea-session", "sea-session-migration", "context-entities", "context-migration", "context-store"] {
        for (driver, own, other) in
            [("sqlite", "sqlx-sqlite", "sqlx-postgres"), ("postgres", "sqlx-postgres", "sqlx-sqlite")]
        {
            let crates = built_with(package, driver);
            assert!(crates.contains(own), "{package} with {driver}: {crates:?}");
            assert!(!crates.contains(other), "{package} with {driver} alone is built with {other}");
        }
    }
}
