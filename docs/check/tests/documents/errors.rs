//! Every error that the crates return has a page, whose example produces it: `build.rs` compares what the error says with what the page
//! shows, and here it is seen that each page shows its own error.

use std::collections::BTreeSet;

use context_store::StoreError;

use crate::text::{files, read};

const ERRORS: &str = "docs/book/src/errors";

/// What a page shows that its error says; none if it has no example.
fn shown(page: &str) -> Option<&str> {
    let (_, after) = page.split_once("```rust error\n")?;
    let (_, after) = after.split_once("```\n")?;
    let (between, after) = after.split_once("```text\n")?;
    assert!(between.trim().is_empty(), "something stands between an example and what it says: {between}");
    after.split_once("\n```").map(|(said, _)| said)
}

/// The pages of errors that name their page, by the crates' own lists, which the compiler keeps complete.
fn pages() -> Vec<String> {
    let store = StoreError::CODES.iter().filter(|code| !["migration", "database"].contains(code));
    let mut pages: Vec<String> = store.map(|code| format!("store-{}", code.replace('_', "-"))).collect();
    pages.extend(sea_session::Error::PAGES.iter().map(|page| (*page).to_owned()));
    pages.extend(sea_session_migration::Error::PAGES.iter().map(|page| (*page).to_owned()));
    pages.push("request-unit".to_owned());
    pages
}

#[test]
fn each_error_has_a_page_whose_example_produces_it() {
    for name in pages() {
        let page = read(&format!("{ERRORS}/{name}.md"));
        let said = shown(&page).unwrap_or_else(|| panic!("{name}.md has no example"));
        assert!(said.ends_with(&format!("(see errors/{name})")), "{name}.md shows another error: {said}");
        assert_eq!(said.matches("(see errors/").count(), 1, "{name}.md: {said}");
        for part in ["**What was wrong.**", "**Where.**", "**What to do.**"] {
            assert!(page.contains(part), "{name}.md does not say {part}");
        }
    }
}

#[test]
fn no_page_is_of_an_error_that_does_not_exist() {
    let mut known: BTreeSet<String> = pages().into_iter().collect();
    // Errors that end with the page of their cause, or are met in tests only.
    known.extend(["batch", "problem", "test-server"].map(str::to_owned));
    let there =
        files(ERRORS, ".md").into_iter().map(|file| file[ERRORS.len() + 1..].trim_end_matches(".md").to_owned());
    let there: BTreeSet<String> = there.filter(|page| page != "index").collect();
    assert_eq!(there, known);
    let index = read(&format!("{ERRORS}/index.md"));
    for name in &known {
        assert!(index.contains(&format!("({name}.md)")), "index.md does not list {name}");
    }
}

#[test]
fn an_example_that_makes_its_error_by_hand_names_the_test_that_meets_it() {
    let sources: String = ["session", "migration", "tests"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .map(|file| read(&file))
        .collect();
    let mut named = 0;
    for file in files(ERRORS, ".md").into_iter().filter(|file| !file.ends_with("index.md")) {
        let page = read(&file);
        let Some((_, rest)) = page.split_once("the test `") else {
            assert!(!page.contains("makes the value"), "{file}");
            continue;
        };
        let (test, _) = rest.split_once('`').expect("a name ends");
        assert!(sources.contains(&format!("fn {test}(")), "{file}: there is no test {test}");
        named += 1;
    }
    assert_eq!(named, 4, "errors that no embedded database can be brought to");
}
