//! How results look: tables and trees for people, JSON for programs. Colour only on a terminal.

use std::io::IsTerminal;

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use context_store::{Entry, StoreError, printable_line};
use serde::Serialize;

/// One JSON document and a newline.
pub fn json(value: &impl Serialize) -> Result<String, StoreError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| StoreError::InvalidArgument(format!("cannot be shown as JSON: {e}")))?;
    Ok(text + "\n")
}

/// A table without lines.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| printable_line(&cell).into_owned()));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A name as it can be pasted behind its folder's address; a folder's with a slash.
pub fn name(entry: &Entry) -> String {
    let name = entry.uri.pasteable_name();
    if entry.is_folder { format!("{name}/") } else { name }
}

/// A name, coloured where that is seen.
pub fn coloured(entry: &Entry) -> String {
    match entry.is_folder && colours() {
        true => format!("\u{1b}[34m{}\u{1b}[0m", name(entry)),
        false => name(entry),
    }
}

/// The lines of a tree, given in the order of the tree.
pub fn tree(root_depth: usize, entries: &[Entry]) -> String {
    let depths: Vec<usize> = entries.iter().map(|entry| entry.uri.depth() - root_depth).collect();
    let mut text = String::new();
    // Whether, at each level, a later sibling follows: looked up from the end.
    let mut follows: Vec<bool> = Vec::new();
    let mut lasts = vec![false; entries.len()];
    for (at, depth) in depths.iter().enumerate().rev() {
        follows.resize(follows.len().max(*depth + 1), false);
        lasts[at] = !follows[*depth];
        follows[*depth] = true;
        follows.truncate(*depth + 1);
    }
    let mut open: Vec<bool> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        open.truncate(depths[at] - 1);
        for more in &open {
            text.push_str(if *more { "│   " } else { "    " });
        }
        text.push_str(if lasts[at] { "└── " } else { "├── " });
        text.push_str(&coloured(entry));
        text.push('\n');
        open.push(!lasts[at]);
    }
    text
}

/// A time to the second.
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
