//! Reads the imports of a crate, and says which of them lead downwards. The runner's crate takes this file, too.
//!
//! They are read from the text, comments and strings left out: `use` trees, and paths that begin with `crate`, `super` or `self`
//! wherever they stand.

use std::{fs, path::Path};

/// Rooms from the top to the bottom, each with what it is for; those of one line stand side by side.
pub(crate) type Order = &'static [&'static [(&'static str, &'static str)]];

/// What the crate calls itself.
const OWN: &str = env!("CARGO_CRATE_NAME");

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The names and signs of a text of Rust; comments, strings and characters are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    let skip = |rest: &mut &str, length: usize, line: &mut usize| {
        let (passed, after) = rest.split_at(length);
        *line += passed.matches('\n').count();
        *rest = after;
    };
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest),
            'r' | 'b' if rest[word..].starts_with(['"', '#']) && word <= 2 && raw(rest).is_some() => {
                raw(rest).unwrap_or(word)
            }
            '\'' => character(rest),
            ':' if rest.starts_with("::") => {
                tokens.push(Token { text: "::".to_owned(), line });
                2
            }
            c if c.is_alphanumeric() || c == '_' => {
                tokens.push(Token { text: rest[..word].to_owned(), line });
                word
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => {
                tokens.push(Token { text: c.to_string(), line });
                c.len_utf8()
            }
        };
        skip(&mut rest, length, &mut line);
    }
    tokens
}

fn quoted(text: &str) -> usize {
    let mut escaped = true;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The length of a raw string, or of one of bytes, that the text begins with.
fn raw(text: &str) -> Option<usize> {
    let start = text.find(['"', '#'])?;
    let hashes = text[start..].find(|c| c != '#')?;
    let body = start + hashes;
    if !text[body..].starts_with('"') {
        return None;
    }
    if !text[..start].contains('r') {
        return Some(start + quoted(&text[start..]));
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[body + 1..].find(&close).map(|at| body + 1 + at + close.len())
}

/// A character, or the sign of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => text[at + 1..].find('\'').map_or(1, |end| at + 1 + end + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// An import: the module that it leads to, from the root of the crate, and its line.
pub(crate) type Import = (Vec<String>, usize);

/// The imports of a file that is the module `module`.
pub(crate) fn imports(text: &str, module: &[String]) -> Vec<Import> {
    let tokens = tokens(text);
    let mut imports = Vec::new();
    // Where each open brace belongs: to an inline module, or to anything else.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = || module.iter().cloned().chain(open.iter().flatten().cloned()).collect::<Vec<_>>();
        let next = |offset: usize| tokens.get(at + offset).map(|token| token.text.as_str());
        match tokens[at].text.as_str() {
            "mod" if next(2) == Some("{") => {
                open.push(Some(tokens[at + 1].text.clone()));
                at += 3;
            }
            "{" => {
                open.push(None);
                at += 1;
            }
            "}" => {
                open.pop();
                at += 1;
            }
            // What a type captures: `use<'a>`.
            "use" if next(1) == Some("<") => at += 1,
            "use" => at = tree(&tokens, at + 1, &[], &here(), &mut imports),
            "crate" | "super" | "self" | OWN if next(1) == Some("::") => {
                let mut path = vec![tokens[at].text.clone()];
                let line = tokens[at].line;
                at += 1;
                while at + 1 < tokens.len() && tokens[at].text == "::" && is_name(&tokens[at + 1].text) {
                    path.push(tokens[at + 1].text.clone());
                    at += 2;
                }
                imports.extend(resolve(&path, &here()).map(|path| (path, line)));
            }
            _ => at += 1,
        }
    }
    imports
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Reads one tree of a `use`, and says where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &[String], here: &[String], imports: &mut Vec<Import>) -> usize {
    let (mut path, mut branched) = (prefix.to_vec(), false);
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" | "," | "}" => break,
            "{" => {
                branched = true;
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &path, here, imports);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                at += 1;
            }
            "as" => at += 2,
            "::" | "*" => at += 1,
            "self" if !path.is_empty() => at += 1,
            name => {
                path.push(name.to_owned());
                at += 1;
            }
        }
    }
    if !branched {
        imports.extend(resolve(&path, here).map(|path| (path, line)));
    }
    at
}

/// The path from the root of the crate; none of one that leads into another crate, or stays in its own module.
fn resolve(path: &[String], here: &[String]) -> Option<Vec<String>> {
    let mut from = match path.first()?.as_str() {
        "crate" | OWN => Vec::new(),
        "super" | "self" => here.to_vec(),
        _ => return None,
    };
    let mut rest = &path[usize::from(path[0] != "super")..];
    while rest.first().is_some_and(|part| part == "super") {
        from.pop();
        rest = &rest[1..];
    }
    from.extend(rest.iter().cloned());
    Some(from)
}

/// The files of a folder, those of its folders too, each with its module.
fn files(folder: &Path, module: &[String], found: &mut Vec<(std::path::PathBuf, Vec<String>)>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder of the crate").map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let inner: Vec<String> = module.iter().cloned().chain([name.clone()]).collect();
        match path.is_dir() {
            true => files(&path, &inner, found),
            false if path.extension().is_none_or(|extension| extension != "rs") => {}
            false if name == "mod" => found.push((path, module.to_vec())),
            false => found.push((path, inner)),
        }
    }
}

/// The files of the rooms: all but the crate's root and the tests of the rooms.
pub(crate) fn rooms() -> Vec<(String, Vec<String>, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &[], &mut found);
    found.retain(|(_, module)| !["lib", "rooms"].contains(&module[0].as_str()));
    let read = |(path, module): (std::path::PathBuf, Vec<String>)| {
        let text = fs::read_to_string(&path).expect("a file of the crate");
        (format!("src/{}", path.strip_prefix(&source).unwrap().display()), module, text)
    };
    found.into_iter().map(read).collect()
}

fn floor(order: Order, room: &str) -> Option<usize> {
    order.iter().position(|floor| floor.iter().any(|(name, _)| *name == room))
}

/// Why an import is refused.
pub(crate) fn refused(order: Order, module: &[String], to: &[String]) -> Option<String> {
    let room = &module[0];
    let Some(to) = to.first() else {
        return Some("imports from the crate's root, which is below every room".to_owned());
    };
    if to == room {
        return None;
    }
    match (floor(order, room), floor(order, to)) {
        (Some(own), Some(other)) if other < own => None,
        (Some(own), Some(other)) if other == own => Some(format!("`{room}` and `{to}` stand side by side")),
        (Some(_), Some(_)) => Some(format!("`{to}` stands below `{room}`")),
        (Some(_), None) => Some(format!("`{to}` is no room: a name of the crate's root, say where it really stands")),
        (None, _) => Some(format!("`{room}` has no place in the order")),
    }
}

/// What is wrong with the imports of the crate, and how many lead from one room to another.
pub(crate) fn examined(order: Order) -> (Vec<String>, usize) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, module, text) in rooms() {
        for (to, line) in imports(&text, &module) {
            count += usize::from(to.first().is_some_and(|to| *to != module[0]));
            wrong.extend(refused(order, &module, &to).map(|why| format!("{name}:{line}: {}: {why}", to.join("::"))));
        }
    }
    (wrong, count)
}
