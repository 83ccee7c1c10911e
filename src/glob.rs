//! Patterns over names: `*` and `?` within a segment, `**` over any number of segments, `[a-z]`, `[!a]`, `{one,two}`, and
//! `\` before a character that is to mean itself.
//!
//! By characters, not bytes: `?` matches an `ü`. Pure; it knows nothing of a database.

/// A pattern, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    alternatives: Vec<Vec<Segment>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of segments, none included.
    Any,
    One(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    Question,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        let alternatives =
            expand(pattern)?.iter().map(|one| one.split('/').map(segment).collect()).collect::<Result<_, _>>()?;
        Ok(Self { alternatives })
    }

    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let names: Vec<Vec<char>> = text.split('/').map(|name| name.chars().collect()).collect();
        self.alternatives.iter().any(|pattern| path_matches(pattern, &names))
    }
}

/// At most so many alternatives: braces multiply.
const MOST_ALTERNATIVES: usize = 1_000;

/// Replaces the first `{a,b}` by each of its parts, until there is none.
fn expand(pattern: &str) -> Result<Vec<String>, &'static str> {
    let mut open = vec![pattern.to_owned()];
    let mut done = Vec::new();
    while let Some(one) = open.pop() {
        match braces(&one)? {
            None => done.push(one),
            Some((start, end, parts)) => {
                open.extend(parts.iter().rev().map(|part| format!("{}{part}{}", &one[..start], &one[end + 1..])));
            }
        }
        if open.len() + done.len() > MOST_ALTERNATIVES {
            return Err("its braces have too many alternatives");
        }
    }
    Ok(done)
}

/// Where braces begin and end, and their parts.
type Braces<'a> = (usize, usize, Vec<&'a str>);

/// The first braces of a pattern.
fn braces(pattern: &str) -> Result<Option<Braces<'_>>, &'static str> {
    let (mut start, mut depth, mut cuts) = (None, 0_u32, Vec::new());
    let mut escaped = false;
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                depth += 1;
                start.get_or_insert(at);
            }
            ',' if depth == 1 => cuts.push(at),
            '}' if depth > 0 => {
                depth -= 1;
                if let (0, Some(start)) = (depth, start) {
                    let mut parts = Vec::with_capacity(cuts.len() + 1);
                    let mut from = start + 1;
                    for cut in cuts.into_iter().chain([at]) {
                        parts.push(&pattern[from..cut]);
                        from = cut + 1;
                    }
                    return Ok(Some((start, at, parts)));
                }
            }
            _ => {}
        }
    }
    if depth > 0 { Err("a `{` is never closed") } else { Ok(None) }
}

fn segment(text: &str) -> Result<Segment, &'static str> {
    if text == "**" {
        return Ok(Segment::Any);
    }
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Question,
            '\\' => Token::Char(chars.next().ok_or("it ends with a `\\`")?),
            '[' => class(&mut chars)?,
            c => Token::Char(c),
        });
    }
    Ok(Segment::One(tokens))
}

fn class(chars: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    let mut members: Vec<char> = Vec::new();
    let mut negated = false;
    loop {
        match chars.next().ok_or("a `[` is never closed")? {
            '!' | '^' if members.is_empty() && !negated => negated = true,
            ']' if !members.is_empty() => break,
            c => members.push(c),
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        let ranged = members.get(at + 1) == Some(&'-') && at + 2 < members.len();
        let last = if ranged { members[at + 2] } else { members[at] };
        ranges.push((members[at], last));
        at += if ranged { 3 } else { 1 };
    }
    Ok(Token::Class { negated, ranges })
}

fn path_matches(pattern: &[Segment], names: &[Vec<char>]) -> bool {
    match pattern.split_first() {
        None => names.is_empty(),
        Some((Segment::Any, rest)) => (0..=names.len()).any(|skip| path_matches(rest, &names[skip..])),
        Some((Segment::One(tokens), rest)) => {
            names.split_first().is_some_and(|(name, others)| name_matches(tokens, name) && path_matches(rest, others))
        }
    }
}

/// Linear but for the last star, to which a mismatch goes back.
fn name_matches(tokens: &[Token], name: &[char]) -> bool {
    let (mut t, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match tokens.get(t) {
            Some(Token::Star) => {
                star = Some((t + 1, n));
                t += 1;
            }
            Some(token) if token.matches(name[n]) => (t, n) = (t + 1, n + 1),
            _ => match star {
                Some((after, from)) => {
                    (t, n) = (after, from + 1);
                    star = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    tokens[t..].iter().all(|token| *token == Token::Star)
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::Question | Token::Star => true,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).matches(text)
    }

    #[test]
    fn v11_patterns_match_by_characters_and_segments() {
        for (pattern, text) in [
            ("a/*.rs", "a/lib.rs"),
            ("a/*.rs", "a/.rs"),
            ("**/*.rs", "lib.rs"),
            ("**/*.rs", "a/b/lib.rs"),
            ("a/**", "a"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/c/z"),
            ("Z?rich", "Zürich"),
            ("[a-c]x[!0-9]", "bxy"),
            ("{a,b{c,d}}.{x,y}", "bd.y"),
            (r"\*", "*"),
            ("*a*b*c", "xxaybzbbc"),
            ("[]]", "]"),
        ] {
            assert!(matches(pattern, text), "{pattern} must match {text}");
        }
        for (pattern, text) in [
            ("a/*.rs", "a/b/lib.rs"),
            ("*", "a/b"),
            ("?", ""),
            ("a?c", "a/c"),
            ("[!a]", "a"),
            (r"\*", "x"),
            ("*a*b*c", "xxaybzbb"),
            ("a", "A"),
        ] {
            assert!(!matches(pattern, text), "{pattern} must not match {text}");
        }
        for pattern in ["[a", "{a,b", "a\\"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
        let multiplied = "{a,b}".repeat(20);
        assert!(Glob::parse(&multiplied).is_err(), "a bound on alternatives");
    }
}
