//! `Error::Usage` has many texts. All of them stand on its page, found in the sources.

use crate::text::{files, read};

const PAGE: &str = "docs/book/src/errors/usage.md";
const SOURCES: &str = "session/src";

/// Where a text is handed on by a function of the same file, whose calls are looked at as well.
const HANDED_ON: [(&str, &str, &str); 2] = [
    ("session/src/run/batches.rs", "why).into()", "refuse("),
    ("session/src/unit/session/nested.rs", "why));", ".refuse("),
];

/// What `usage(` and `Usage(` are followed by where no text is said: patterns, and the constructor.
const SILENT: [&str; 3] = ["_)", "message.into())", "what)"];

/// Code without comments, and without the tests at its end.
fn code(file: &str) -> String {
    let text = read(file);
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// The literal that an argument begins with, as somebody reads it: `…` for each value that is put in.
fn literal(argument: &str) -> Option<String> {
    let argument = argument.trim_start();
    let argument = argument.strip_prefix("format!(").unwrap_or(argument).trim_start();
    let mut letters = argument.strip_prefix('"')?.chars().peekable();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                '\n' => while letters.next_if(|letter| letter.is_whitespace()).is_some() {},
                escaped => text.push(escaped),
            },
            '{' => {
                while letters.next()? != '}' {}
                text.push('…');
            }
            letter => text.push(letter),
        }
    }
    None
}

/// The arguments of the calls of a function in a text.
fn arguments<'t>(text: &'t str, call: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(call).map(move |(at, _)| &text[at + call.len()..])
}

fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files(SOURCES, ".rs") {
        let code = code(&file);
        for argument in ["::usage(", "::Usage("].into_iter().flat_map(|call| arguments(&code, call)) {
            match literal(argument) {
                Some(text) => found.push((file.clone(), text)),
                None if SILENT.iter().any(|silent| argument.starts_with(silent)) => {}
                None => {
                    let known = HANDED_ON.iter().find(|(of, begins, _)| *of == file && argument.starts_with(begins));
                    let (_, _, call) = known.unwrap_or_else(|| panic!("{file}: what does this say? {:.60}", argument));
                    let handed = arguments(&code, call).filter_map(|argument| {
                        // The last argument of the call is the text.
                        let argument = argument.trim_start();
                        literal(argument).or_else(|| literal(argument.split_once(',')?.1))
                    });
                    found.extend(handed.map(|text| (file.clone(), text)));
                }
            }
        }
    }
    found
}

#[test]
fn every_text_of_a_misuse_stands_on_its_page() {
    let page = read(PAGE);
    let texts = texts();
    assert!(texts.len() > 100, "only {} texts were found", texts.len());
    let missing: Vec<String> = texts
        .iter()
        .filter(|(_, text)| !page.lines().any(|line| line == text))
        .map(|(file, text)| format!("{file}: {text}"))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "not in {PAGE}");
}

#[test]
fn the_page_of_misuses_holds_no_text_that_nobody_says() {
    let texts = texts();
    let page = read(PAGE);
    let blocks = page.split("```text\n").skip(2).filter_map(|rest| rest.split_once("\n```"));
    for line in blocks.flat_map(|(block, _)| block.lines()) {
        assert!(texts.iter().any(|(_, text)| text == line), "nobody says: {line}");
    }
}

#[test]
fn a_literal_is_read_as_somebody_sees_it() {
    assert_eq!(literal("\n    format!(\n \"a {b:?} \\\n   c \\\"d\\\"\"))"), Some("a … c \"d\"".into()));
    assert_eq!(literal("why)"), None);
}
