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

/// Cargo gives what macros are made with the profile of all the rest where tests use it as well, and its own otherwise: were the two
/// different, every third party would be built again for a test program, an example or a benchmark by itself.
#[test]
fn what_macros_are_made_with_is_built_as_all_the_rest() {
    let manifest: toml::Table = fs::read_to_string(here().join("Cargo.toml")).unwrap().parse().unwrap();
    let dev = &manifest["profile"]["dev"];
    assert_eq!(dev["build-override"]["debug"], dev["debug"]);
}

/// The crates that are published: all but those that say no.
fn published(metadata: &Value) -> Vec<&Value> {
    let members = list(metadata, "workspace_members");
    let ours = list(metadata, "packages").iter().filter(|package| members.contains(&package["id"]));
    ours.filter(|package| package["publish"].is_null()).collect()
}

#[test]
fn every_published_crate_says_what_it_is() {
    let metadata = metadata();
    let published = published(&metadata);
    assert_eq!(published.len(), 8, "{:?}", published.iter().map(|package| text(package, "name")).collect::<Vec<_>>());
    for package in published {
        let name = text(package, "name");
        for field in ["description", "license", "readme", "documentation", "rust_version"] {
            assert!(!text(package, field).is_empty(), "{name} has no {field}");
        }
        let (keywords, categories) = (list(package, "keywords"), list(package, "categories"));
        assert!((1..=5).contains(&keywords.len()) && (1..=5).contains(&categories.len()), "{name}");
        assert!(keywords.iter().all(|keyword| keyword.as_str().is_some_and(|word| word.len() <= 20)), "{name}");
        for dependency in list(package, "dependencies").iter().filter(|dependency| dependency["path"].is_string()) {
            let itself = dependency["name"] == package["name"];
            assert!(itself || dependency["req"] != "*", "{name} names no version of {}", dependency["name"]);
        }
    }
}

/// What a feature adds is found only where the documentation was made with it.
#[test]
fn the_published_documentation_has_every_feature() {
    let metadata = metadata();
    let mut with_features = 0;
    for package in published(&metadata) {
        let name = text(package, "name");
        let features = package["features"].as_object().expect("a table");
        // Nothing but a way to speak TLS.
        let add =
            features.keys().map(String::as_str).filter(|feature| !feature.starts_with("tls-") && *feature != "default");
        let add: BTreeSet<&str> = add.collect();
        let shown = features.get("default").into_iter().flat_map(|default| default.as_array().into_iter().flatten());
        let shown = shown.chain(list(&package["metadata"]["docs"]["rs"], "features")).filter_map(Value::as_str);
        let shown: BTreeSet<&str> = shown.filter(|feature| !feature.starts_with("tls-")).collect();
        assert_eq!(shown, add, "{name}");
        with_features += usize::from(!add.is_empty());
    }
    assert_eq!(with_features, 6);
}

/// The first block of a document in this language, without what stands beside the language.
fn block<'t>(document: &'t str, language: &str) -> Option<&'t str> {
    let (_, rest) = document.split_once(&format!("\n```{language}"))?;
    let (_, rest) = rest.split_once('\n')?;
    rest.split_once("\n```").map(|(block, _)| block)
}

/// What somebody has who follows a README has to be enough: `release/verify` builds it, this looks at the names.
#[test]
fn the_dependency_lines_of_a_readme_are_those_that_its_example_needs() {
    let metadata = metadata();
    let workspace: toml::Table =
        fs::read_to_string(here().join("Cargo.toml")).expect("Cargo.toml").parse().expect("TOML");
    let known = workspace["workspace"]["dependencies"].as_table().expect("the workspace's table");
    let (mut examples, mut wrong) = (0, Vec::new());
    for package in published(&metadata) {
        let name = text(package, "name");
        let readme = Path::new(text(package, "manifest_path")).with_file_name("README.md");
        let readme = fs::read_to_string(readme).expect("a README");
        let Some(example) = block(&readme, "rust") else { continue };
        examples += 1;
        let lines: toml::Table = block(&readme, "toml").unwrap_or_default().parse().expect("TOML");
        let lines = lines["dependencies"].as_table().expect("dependency lines");
        for needed in known.keys().filter(|needed| is_used(&needed.replace('-', "_"), example)) {
            if !lines.contains_key(needed) {
                wrong.push(format!("{name}: {needed} is needed"));
            }
        }
        for unused in lines.keys().filter(|given| !is_used(&given.replace('-', "_"), example) && *given != "tokio") {
            wrong.push(format!("{name}: {unused} is not used"));
        }
        let features = lines.get("sea-session").and_then(|line| line.get("features")).and_then(toml::Value::as_array);
        let testing =
            features.is_some_and(|features| features.iter().any(|feature| feature.as_str() == Some("testing")));
        assert_eq!(testing, example.contains("testing::"), "{name}: the feature `testing`");
    }
    assert_eq!((examples, wrong), (4, Vec::<String>::new()));
}

/// What is not for users stays out of what is published: tests, their tables, benchmarks.
#[test]
fn a_published_crate_has_its_sources_and_no_tests() {
    let metadata = metadata();
    for package in published(&metadata) {
        let name = text(package, "name");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["package", "--locked", "--offline", "--allow-dirty", "--list", "--package", name])
            .current_dir(here());
        let output = cargo.output().expect("cargo");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let files = String::from_utf8_lossy(&output.stdout).into_owned();
        let files: BTreeSet<&str> = files.lines().collect();
        for file in ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"] {
            assert!(files.contains(file), "{name} has no {file}: {files:?}");
        }
        let from_cargo = ["Cargo.toml", "Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json", "README.md"];
        let expected = |file: &str| {
            from_cargo.contains(&file)
                || ["src/", "docs/", "examples/", "LICENSE-"].iter().any(|of| file.starts_with(of))
        };
        let stray: Vec<&&str> = files.iter().filter(|file| !expected(file) || file.ends_with(".sql")).collect();
        assert!(stray.is_empty(), "{name} is published with {stray:?}");
    }
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
    for package in [
        "sea-session",
        "sea-session-migration",
        "sea-session-axum",
        "context-entities",
        "context-migration",
        "context-store",
    ] {
        for (driver, own, other) in
            [("sqlite", "sqlx-sqlite", "sqlx-postgres"), ("postgres", "sqlx-postgres", "sqlx-sqlite")]
        {
            let crates = built_with(package, driver);
            assert!(crates.contains(own), "{package} with {driver}: {crates:?}");
            assert!(!crates.contains(other), "{package} with {driver} alone is built with {other}");
        }
    }
}

/// Lines with code on them.
fn lines_of_code(file: &str) -> usize {
    let text = fs::read_to_string(here().join(file)).expect(file);
    text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count()
}

#[test]
fn the_book_says_how_many_lines_the_adopted_application_has() {
    let (before, after) = (lines_of_code("examples/adopt/before.rs"), lines_of_code("examples/adopt/after.rs"));
    assert!(after < before, "{after} lines with sessions, {before} without");
    let page = fs::read_to_string(here().join("docs/book/src/from/seaorm.md")).expect("the book");
    let said = format!("{before} lines of code before and {after} after");
    assert!(page.contains(&said), "docs/book/src/from/seaorm.md is to say {said:?}");
}

/// The files below a folder, but for a room of that name.
fn sources(folder: &Path, but: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.file_stem().is_some_and(|stem| stem == but) {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path, but));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn y1_the_store_names_no_backend_outside_of_its_dialect() {
    let backends = ["DbBackend", "DatabaseBackend", "Sqlite", "Postgres", "MySql"];
    let drivers = ["sqlite", "postgres", "mysql"].map(|driver| format!("feature = \"{driver}\""));
    let names = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| backends.contains(&word)) || drivers.iter().any(|driver| line.contains(driver))
    };
    assert!(names("    DbBackend::Sqlite => self.sqlite,"), "what is looked for is found");
    let (mut wrong, mut read) = (Vec::new(), 0);
    for folder in ["src", "migration/src", "entities/src"] {
        for file in sources(&here().join(folder), "dialect") {
            read += 1;
            let text = fs::read_to_string(&file).expect("a source");
            let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
            let named = code.filter(|(_, line)| names(line));
            wrong.extend(named.map(|(at, line)| format!("{}:{}: {}", file.display(), at + 1, line.trim())));
        }
    }
    assert!(read > 60, "only {read} files were read");
    assert_eq!(wrong, Vec::<String>::new());
}
