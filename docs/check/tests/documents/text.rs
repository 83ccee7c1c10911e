//! What the tests of the documents read: the repository's files, and headings as a forge names them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a file of the repository.
pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The files below a folder whose names end so, by their paths from the repository.
pub fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}")) {
        let entry = entry.expect("a folder can be read");
        let file = entry.file_name().to_string_lossy().into_owned();
        let path = if folder == "." { file.clone() } else { format!("{folder}/{file}") };
        let is_folder = entry.file_type().expect("it has a type").is_dir();
        if is_folder && !file.starts_with('.') && file != "target" && file != "node_modules" {
            found.extend(files(&path, ending));
        } else if !is_folder && file.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines of a Markdown text that are not in a block of code, with their numbers.
pub fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.starts_with("```") {
            inside = !inside;
            return None;
        }
        (!inside).then_some((at + 1, line))
    })
}

/// The anchors of a Markdown text: what a forge, and mdbook, make of its headings.
pub fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim();
        let letters = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = letters.collect::<String>().to_lowercase().replace(' ', "-");
        let again = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
    }
    anchors
}
