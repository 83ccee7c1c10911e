//! Compiles and runs every example of README.md and the book: `cargo test -p docs-check`.
//!
//! Holds nothing of its own but what the examples use; `build.rs` makes programs of the examples.

pub mod event;
pub mod migrations;

/// The tables that the book's examples use.
pub mod example {
    include!("../../../session/docs/example.rs");
}

/// Whether an error says what its page shows: word for word, but for each `…` of the page, which stands for any text.
///
/// # Panics
/// It says something else.
#[track_caller]
pub fn says(error: &impl std::fmt::Display, shown: &str) {
    let said = error.to_string();
    let parts: Vec<&str> = shown.split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let mut rest = said.strip_prefix(first);
    if parts.len() == 1 {
        rest = rest.filter(|rest| rest.is_empty());
    } else {
        for part in &parts[1..parts.len() - 1] {
            rest = rest.and_then(|rest| Some(&rest[rest.find(part)? + part.len()..]));
        }
        rest = rest.filter(|rest| rest.ends_with(last));
    }
    assert!(rest.is_some(), "the page shows\n  {shown}\nand the error says\n  {said}");
}

/// README.md, whose example is a whole program.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

/// The pages of docs/book.
#[cfg(doctest)]
pub mod book {
    include!(concat!(env!("OUT_DIR"), "/book.rs"));
}
