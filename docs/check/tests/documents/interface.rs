//! What a caller has to know of a function of the crates stands at it: its errors, and what is left when its future is dropped.
//! That everything public is documented at all the compiler sees to (`missing_docs`).

use crate::text::{files, read};

/// Functions that are public or in a public trait: a place, the lines of documentation above it, its head.
fn functions(file: &str, text: &str) -> Vec<(String, String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let start = line.trim_start();
        if !(start.starts_with("pub async fn ") || start.starts_with("pub fn ") || start.starts_with("fn ")) {
            continue;
        }
        let above = lines[..at].iter().rev().map(|line| line.trim_start());
        let above = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let documentation: Vec<&str> = above.filter(|line| line.starts_with("///")).collect();
        let end = lines[at..].iter().position(|line| line.ends_with('{') || line.ends_with(';')).unwrap_or(0);
        let head = lines[at..=at + end].join(" ");
        let is_public = start.starts_with("pub ") || !documentation.is_empty() && head.contains("-> impl Future");
        if is_public {
            found.push((format!("{file}:{}", at + 1), documentation.join("\n"), head));
        }
    }
    found
}

/// What is missing at a function.
fn missing(documentation: &str, head: &str) -> Vec<&'static str> {
    let returned = head.rsplit_once("->").map_or("", |(_, returned)| returned);
    // The arrow may be that of a closure among the arguments, whose list then ends behind it.
    let is_argument = returned.matches(')').count() > returned.matches('(').count();
    let returned = if is_argument { "" } else { returned.split(" where ").next().unwrap_or_default().trim_start() };
    let boxed =
        returned.strip_prefix("BoxFuture<").and_then(|inside| inside.split_once(", ")).map(|(_, output)| output);
    let waits = head.contains("async fn ") || returned.starts_with("impl Future") || boxed.is_some();
    let output = returned.strip_prefix("impl Future<Output = ").or(boxed).unwrap_or(returned);
    let fails = output.starts_with("Result<");
    let mut missing = Vec::new();
    if fails && !documentation.contains("# Errors") {
        missing.push("# Errors");
    }
    if waits && !documentation.contains("# Cancel safety") {
        missing.push("# Cancel safety");
    }
    missing
}

#[test]
fn each_public_function_of_the_session_says_its_errors_and_what_a_drop_leaves() {
    let (mut read_of, mut wrong) = (0, Vec::new());
    for folder in ["session/src", "session/axum/src"] {
        for file in files(folder, ".rs") {
            for (place, documentation, head) in functions(&file, &read(&file)) {
                read_of += 1;
                wrong.extend(missing(&documentation, &head).into_iter().map(|part| format!("{place} has no `{part}`")));
            }
        }
    }
    assert!(read_of > 300, "only {read_of} functions were read");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_function_that_says_nothing_would_be_found() {
    let text = "    /// Sends it.\n    pub async fn send(&self) -> Result<(), Error> {\n    fn own() {\n    /// Waits.\n    fn wait(&self)\n    \
                -> impl Future<Output = u8>;\n    /// # Errors\n    pub fn check(&self) -> Result<(), Error> {\n    pub fn hook(&self, f: impl Fn() -> Result<(), Error>) {\n    \
                pub fn run<'u>(self) -> BoxFuture<'u, Result<(), Error>> {";
    let found: Vec<_> =
        functions("a.rs", text).into_iter().map(|(place, text, head)| (place, missing(&text, &head))).collect();
    let expected = [
        ("a.rs:2".to_owned(), vec!["# Errors", "# Cancel safety"]),
        ("a.rs:5".to_owned(), vec!["# Cancel safety"]),
        ("a.rs:8".to_owned(), vec![]),
        ("a.rs:9".to_owned(), vec![]),
        ("a.rs:10".to_owned(), vec!["# Errors", "# Cancel safety"]),
    ];
    assert_eq!(found, expected);
}
