//! Every link of every document leads somewhere, and the book has the shape that mdbook wants.

use std::{collections::BTreeSet, fs, path::Path};

use crate::text::{anchors, files, prose, read, root};

const BOOK: &str = "docs/book/src";

/// What `](…)` holds in a line, code in backticks left out.
fn targets(line: &str) -> Vec<String> {
    let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let after = plain.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// Why a link from a file leads nowhere.
fn trouble(file: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let folder = root().join(file);
    let folder = folder.parent().expect("a file has a folder");
    let whole = if path.is_empty() { root().join(file) } else { folder.join(path) };
    if !whole.exists() {
        return Some(format!("{file}: {target} is not there"));
    }
    let anchor = anchor.filter(|_| whole.extension().is_some_and(|ending| ending == "md"))?;
    let text = fs::read_to_string(&whole).expect("a document");
    (!anchors(&text).iter().any(|known| known == anchor)).then(|| format!("{file}: {path} has no heading #{anchor}"))
}

#[test]
fn every_link_of_every_document_leads_somewhere() {
    // A crate's `docs/crate.md` is its documentation, whose links rustdoc follows.
    let documents = files(".", ".md").into_iter().filter(|file| !file.ends_with("docs/crate.md"));
    let (mut links, mut wrong) = (0, Vec::new());
    for file in documents {
        let text = read(&file);
        for (at, line) in prose(&text) {
            for target in targets(line) {
                links += 1;
                wrong.extend(trouble(&file, &target).map(|why| format!("line {at}, {why}")));
            }
        }
    }
    assert!(links > 300, "only {links} links were read");
    assert_eq!(wrong, Vec::<String>::new());
}

/// What `mdbook build` writes has the book's folder in it and nothing else.
#[test]
fn no_link_of_the_book_leads_out_of_it() {
    let leaves = |page: &str, target: &str| {
        let path = target.split_once('#').map_or(target, |(path, _)| path);
        let mut depth = page.matches('/').count();
        !target.contains("://")
            && path.split('/').any(|part| match part {
                ".." if depth == 0 => true,
                ".." => {
                    depth -= 1;
                    false
                }
                "." | "" => false,
                _ => {
                    depth += 1;
                    false
                }
            })
    };
    assert!(leaves("index.md", "../../rules.md") && leaves("errors/stale.md", "../../SUMMARY.md"));
    assert!(!leaves("errors/stale.md", "../web.md#errors") && !leaves("index.md", "https://docs.rs/../x"));
    let (mut inside, mut out) = (0, Vec::new());
    for file in files(BOOK, ".md") {
        let page = &file[BOOK.len() + 1..];
        for (at, line) in prose(&read(&file)) {
            for target in targets(line) {
                inside += 1;
                if leaves(page, &target) {
                    out.push(format!("{page}, line {at}: {target}"));
                }
            }
        }
    }
    assert!(inside > 200, "only {inside} links were read");
    assert_eq!(out, Vec::<String>::new(), "name the path of the repository instead");
}

/// A block that is left open takes the rest of the page, and mdbook colours only what it knows.
#[test]
fn each_block_of_the_book_is_closed_and_of_a_known_language() {
    const LANGUAGES: [&str; 9] = ["rust", "text", "sh", "sql", "toml", "json", "python", "java", "csharp"];
    let mut blocks = 0;
    for file in files(BOOK, ".md") {
        let text = read(&file);
        let mut open = None;
        for (at, line) in text.lines().enumerate() {
            let Some(info) = line.trim_start().strip_prefix("```") else { continue };
            match open.take() {
                Some(begun) => {
                    assert_eq!(info, "", "{file}: the block of line {begun} is not closed before {}", at + 1)
                }
                None => {
                    let language = info.split([' ', ',']).next().unwrap_or_default();
                    assert!(LANGUAGES.contains(&language), "{file}, line {}: {language:?} is no language", at + 1);
                    open = Some(at + 1);
                    blocks += 1;
                }
            }
        }
        assert_eq!(open, None, "{file} ends in a block");
    }
    assert!(blocks > 150, "only {blocks} blocks were read");
}

#[test]
fn a_link_that_leads_nowhere_would_be_found() {
    assert_eq!(targets("see [a](b.md#c), `[not](this)`, ![d](e.svg)"), ["b.md#c", "e.svg"]);
    assert!(trouble("README.md", "docs/none.md").is_some());
    assert!(trouble("README.md", "docs/book/src/units.md#no-such-heading").is_some());
    assert_eq!(trouble("README.md", "docs/book/src/units.md#blocks"), None);
}

#[test]
fn the_summary_names_each_page_of_the_book_once() {
    let summary = read(&format!("{BOOK}/SUMMARY.md"));
    let named: Vec<String> = summary.lines().flat_map(targets).collect();
    let once: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(named.len(), once.len(), "a page stands twice in the summary");
    let pages = files(BOOK, ".md").into_iter().map(|file| file[BOOK.len() + 1..].to_owned());
    let pages: BTreeSet<String> = pages.filter(|page| page != "SUMMARY.md").collect();
    assert_eq!(once, pages);
}

#[test]
fn each_page_has_one_title_and_is_short() {
    for file in files(BOOK, ".md") {
        let text = read(&file);
        let titles = prose(&text).filter(|(_, line)| line.starts_with("# ")).count();
        assert!(titles == 1 || file.ends_with("SUMMARY.md"), "{file} has {titles} titles");
        assert!(text.lines().count() <= 300, "{file} takes more than ten minutes");
    }
}

#[test]
fn pictures_are_shown_described_and_readable_in_light_and_dark() {
    let pictures = files(&format!("{BOOK}/pictures"), ".svg");
    assert_eq!(pictures.len(), 4);
    let pages: String = files(BOOK, ".md").iter().map(|file| read(file)).collect();
    for file in pictures {
        let name = Path::new(&file).file_name().expect("a name").to_string_lossy().into_owned();
        assert!(pages.contains(&format!("](pictures/{name})")), "{name} is shown nowhere");
        let picture = read(&file);
        for part in ["<title ", "<desc ", "prefers-color-scheme: dark", "role=\"img\"", "viewBox="] {
            assert!(picture.contains(part), "{name} has no {part}");
        }
        assert!(
            !picture.contains("http://www.w3.org/1999/xlink") && !picture.contains("<script"),
            "{name} asks for more"
        );
    }
}
