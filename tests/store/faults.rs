//! docs/faults.md: each fault of an earlier system has a test here, and the two that belong nowhere else.

use std::{fs, path::Path};

use context_store::{Direction, Link, Paging, StoreError, Traverse, Uri, Write};
use sea_session::Session;

use crate::{
    on_each_backend,
    support::{admin, uri},
};

#[test]
fn each_fault_of_the_page_has_its_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("docs/faults.md")).expect("the page");
    let mut tests = String::new();
    for program in ["tests/store", "tests/store/search", "tests/command"] {
        for file in fs::read_dir(here.join(program)).expect("the tests") {
            let path = file.expect("an entry").path();
            if path.is_file() {
                tests += &fs::read_to_string(path).expect("a source");
            }
        }
    }
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).collect();
    assert!(rows.len() >= 25, "{} faults", rows.len());
    for row in rows {
        let name = row.trim_end_matches("` |").rsplit('`').next().expect("a name");
        assert!(tests.contains(&format!("fn {name}(")), "{name} is named and not there");
    }
}

on_each_backend! {
    async fn v9_relations_are_kept_in_one_place(t: TestStore) {
        let (a, b) = (uri("ctx://acme/resources/a"), uri("ctx://acme/resources/b"));
        for at in [&a, &b] {
            t.store.write(&admin(), at, &Write::of("x")).await.expect("a write");
        }
        let before = t.store.read(&admin(), &a).await.expect("a read");
        t.store.link(&admin(), &a, &b, &Link::of("next").because("a reason")).await.expect("a link");
        assert_eq!(t.store.read(&admin(), &a).await.expect("a read"), before, "the node holds nothing of its edges");
        // What the one place no longer says, nothing says.
        t.sql("DELETE FROM edges").await;
        for direction in [Direction::Outgoing, Direction::Incoming, Direction::Both] {
            for at in [&a, &b] {
                let edges = t.store.edges(&admin(), at, direction, &Paging::default()).await.expect("edges");
                let walk = Traverse { direction, ..Traverse::default() };
                let reached = t.store.traverse(&admin(), at, &walk).await.expect("a walk");
                assert!(edges.items.is_empty() && reached.items.is_empty());
            }
        }
    }

    async fn v6_a_listing_loads_what_it_returns_and_no_more(t: TestStore) {
        let folder = uri("ctx://acme/resources/big");
        let writes: Vec<(Uri, Write)> = (0..600).map(|n| (uri(&format!("{folder}/d{}/e{}/n{n}", n % 3, n % 7)), Write::of("a long text ".repeat(50)))).collect();
        t.store.write_many(&admin(), &writes).await.expect("writes");
        for limit in [1, 2, 3] {
            let unit = t.store.read_unit(&admin());
            let asked = unit.clone();
            let page = unit.run(async |s: &mut Session| -> Result<_, StoreError> { t.store.within(s, &admin()).list_children(&folder, &Paging::first(limit)).await }).await.expect("a listing");
            assert_eq!(page.items.len() as u64, limit);
            let stats = asked.stats();
            assert!(stats.rows <= limit + 1, "{} rows for a page of {limit}", stats.rows);
            assert_eq!(stats.statements, 1);
        }
    }
}
