//! Patterns over names: `*` and `?` within a segment, `**` over any number of segments, `[a-z]`, `[!a]`, `{one,two}`, and
//! `\` before a character that is to mean itself.
//!
//! By characters, not bytes: `?` matches an `ü`, however it was typed. In a class the first `]` is a member, and so are `[`, `{`
//! and `-` at an end. Pure; it knows nothing of a database. The work of a match is bounded by the length of the pattern times that
//! of the text (W6); `globset` matches bytes, and would not mean this.

use unicode_normalization::UnicodeNormalization;

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

/// The longest pattern, in bytes: a few times the longest URI.
const LONGEST: usize = 4_096;

/// At most so many alternatives, and so many bytes of all of them: braces multiply.
const MOST_ALTERNATIVES: usize = 1_000;
const LONGEST_EXPANDED: usize = 1 << 16;

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        if pattern.len() > LONGEST {
            return Err("it has more than 4096 bytes");
        }
        let pattern: String = pattern.nfc().collect();
        let alternatives =
            expand(&pattern)?.iter().map(|one| one.split('/').map(segment).collect()).collect::<Result<_, _>>()?;
        Ok(Self { alternatives })
    }

    /// Whether the whole text matches; its names are in Unicode's composed form, as those of URIs are.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let names: Vec<Vec<char>> = text.split('/').map(|name| name.chars().collect()).collect();
        self.alternatives.iter().any(|pattern| path_matches(pattern, &names))
    }

    /// The names with which every text that matches begins, as far as they are not patterns; the last segment of a pattern is
    /// not among them.
    pub(crate) fn literal_names(&self) -> Vec<String> {
        let mut common: Option<Vec<String>> = None;
        for alternative in &self.alternatives {
            let above = &alternative[..alternative.len().saturating_sub(1)];
            let names: Vec<String> = above.iter().map_while(literal).collect();
            common = Some(match common {
                None => names,
                Some(held) => held.into_iter().zip(names).take_while(|(a, b)| a == b).map(|(name, _)| name).collect(),
            });
        }
        common.unwrap_or_default()
    }

    /// LIKE patterns, with `\` as escape, one of which every matching text matches whose characters are spelled by `spell`. None
    /// where there are too many to be of use.
    pub(crate) fn like_supersets(&self, spell: impl Fn(&str) -> String) -> Option<Vec<String>> {
        const MOST: usize = 8;
        if self.alternatives.len() > MOST {
            return None;
        }
        Some(self.alternatives.iter().map(|pattern| like(pattern, &spell)).collect())
    }
}

/// The name that a segment without patterns stands for.
fn literal(segment: &Segment) -> Option<String> {
    let Segment::One(tokens) = segment else { return None };
    tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
}

fn like(pattern: &[Segment], spell: &impl Fn(&str) -> String) -> String {
    // A database looks for each part after a `%` from every place on.
    const MOST_PERCENT: usize = 4;
    let mut like = String::new();
    let mut percents = 0;
    let mut anything = |like: &mut String| {
        if !like.ends_with('%') || like.ends_with("\\%") {
            like.push('%');
            percents += 1;
        }
        percents >= MOST_PERCENT
    };
    let mut joined = true;
    for segment in pattern {
        let Segment::One(tokens) = segment else {
            if anything(&mut like) {
                return like;
            }
            joined = true;
            continue;
        };
        if !std::mem::take(&mut joined) {
            like.push('/');
        }
        let mut run = String::new();
        for token in tokens {
            if let Token::Char(c) = token {
                run.push(*c);
                continue;
            }
            like.push_str(&escaped(&spell(&std::mem::take(&mut run))));
            if anything(&mut like) {
                return like;
            }
        }
        like.push_str(&escaped(&spell(&run)));
    }
    like
}

/// A text in which nothing means anything to LIKE.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_")
}

/// Replaces the first `{a,b}` by each of its parts, until there is none.
fn expand(pattern: &str) -> Result<Vec<String>, &'static str> {
    let mut open = vec![pattern.to_owned()];
    let mut done = Vec::new();
    let mut bytes = pattern.len();
    while let Some(one) = open.pop() {
        bytes -= one.len();
        match braces(&one)? {
            None => {
                bytes += one.len();
                done.push(one);
            }
            Some((start, end, parts)) => {
                for part in parts.iter().rev() {
                    let more = format!("{}{part}{}", &one[..start], &one[end + 1..]);
                    bytes += more.len();
                    open.push(more);
                }
            }
        }
        if open.len() + done.len() > MOST_ALTERNATIVES || bytes > LONGEST_EXPANDED {
            return Err("its braces have too many alternatives");
        }
    }
    Ok(done)
}

/// Where braces begin and end, and their parts.
type Braces<'a> = (usize, usize, Vec<&'a str>);

/// The first braces of a pattern. What is in a class, or follows a `\`, is no brace.
fn braces(pattern: &str) -> Result<Option<Braces<'_>>, &'static str> {
    let (mut start, mut depth, mut cuts) = (None, 0_u32, Vec::new());
    let mut at = 0;
    while let Some(c) = pattern[at..].chars().next() {
        let mut next = at + c.len_utf8();
        match c {
            '\\' => next += pattern[next..].chars().next().map_or(0, char::len_utf8),
            '[' => next = at + class_end(&pattern[at..]).unwrap_or(1),
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
        at = next;
    }
    if depth > 0 { Err("a `{` is never closed") } else { Ok(None) }
}

/// The length of the class that a text begins with, its brackets included; none if it is not closed in its segment.
fn class_end(text: &str) -> Option<usize> {
    let mut members = 0;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '/' => return None,
            '!' | '^' if at == 1 => {}
            ']' if members > 0 => return Some(at + 1),
            _ => members += 1,
        }
    }
    None
}

fn segment(text: &str) -> Result<Segment, &'static str> {
    if text == "**" {
        return Ok(Segment::Any);
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let mut next = at + c.len_utf8();
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Question,
            '\\' => {
                let escaped = text[next..].chars().next().ok_or("it ends with a `\\`")?;
                next += escaped.len_utf8();
                Token::Char(escaped)
            }
            '[' => {
                next = at + class_end(&text[at..]).ok_or("a `[` is never closed")?;
                class(&text[at + 1..next - 1])?
            }
            c => Token::Char(c),
        });
        at = next;
    }
    Ok(Segment::One(tokens))
}

/// A class, without its brackets.
fn class(text: &str) -> Result<Token, &'static str> {
    let rest = text.strip_prefix(['!', '^']);
    let members: Vec<char> = rest.unwrap_or(text).chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        let ranged = members.get(at + 1) == Some(&'-') && at + 2 < members.len();
        let last = if ranged { members[at + 2] } else { members[at] };
        if last < members[at] {
            return Err("a range in a `[…]` goes backwards");
        }
        ranges.push((members[at], last));
        at += if ranged { 3 } else { 1 };
    }
    Ok(Token::Class { negated: rest.is_some(), ranges })
}

/// Which numbers of names the segments so far can stand for, from one segment to the next: each segment looks at each name once.
fn path_matches(pattern: &[Segment], names: &[Vec<char>]) -> bool {
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    for segment in pattern {
        match segment {
            Segment::Any => {
                let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
                reached[first..].fill(true);
            }
            Segment::One(tokens) => {
                for at in (0..names.len()).rev() {
                    reached[at + 1] = reached[at] && name_matches(tokens, &names[at]);
                }
                reached[0] = false;
            }
        }
        if !reached.contains(&true) {
            return false;
        }
    }
    reached[names.len()]
}

/// A mismatch goes back to the last star only, so a name is gone through once for each token at most.
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

    #[test]
    fn w6_a_class_may_hold_a_bracket_and_a_brace() {
        for (pattern, text) in [
            ("[]x]", "]"),
            ("[]x]", "x"),
            ("[!]a]", "~"),
            ("[{]", "{"),
            ("[{,}]", ","),
            ("[[]", "["),
            ("{[}],b}", "}"),
            ("[a-]", "-"),
            ("[-a]", "-"),
            ("[^a]", "b"),
            ("[!!]", "a"),
            (r"[\]", r"\"),
            ("C#/*", "C#/f"),
            ("100%/*", "100%/f"),
            (r"\{a\}", "{a}"),
            ("a]b}", "a]b}"),
        ] {
            assert!(matches(pattern, text), "{pattern} must match {text}");
        }
        for (pattern, text) in [("[!]a]", "]"), ("[!]a]", "a"), ("[!!]", "!"), ("[{]", "["), ("[a-c]", "-")] {
            assert!(!matches(pattern, text), "{pattern} must not match {text}");
        }
        for pattern in ["[]", "[!]", "[z-a]", "{[}", "a[b/c]"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn w6_a_pattern_means_the_same_however_it_was_typed() {
        assert!(matches("e\u{301}*", "\u{e9}a"));
        assert!(matches("[e\u{301}]", "\u{e9}"));
        assert!(matches("?", "\u{e9}"));
    }

    #[test]
    fn w6_the_work_is_linear_in_pattern_times_path() {
        let text = vec!["a"; 500].join("/");
        let started = std::time::Instant::now();
        for stars in [2, 10, 100] {
            assert!(!matches(&format!("{}[bc]", "**/a/".repeat(stars)), &text));
            assert!(!matches(&format!("{}[z]", "**/".repeat(stars)), &text));
        }
        let name = "a".repeat(1_000);
        assert!(!matches(&format!("{}b", "*a".repeat(500)), &name));
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    }

    /// Every text that matches is found by the LIKE of the database.
    fn like_matches(like: &str, text: &str) -> bool {
        let (mut pattern, mut chars) = (String::new(), like.chars());
        while let Some(c) = chars.next() {
            match c {
                '%' => pattern.push('*'),
                '\\' => pattern.extend(['\\', chars.next().unwrap_or('\\')]),
                c if "*?[{}],!".contains(c) => pattern.extend(['\\', c]),
                c => pattern.push(c),
            }
        }
        // As one name: LIKE knows no segments.
        let name = |text: &str| text.replace('/', "\u{1}");
        matches(&name(&pattern), &name(text))
    }

    #[test]
    fn w6_ten_thousand_pairs_mean_what_globset_says_and_what_the_prefilter_lets_through() {
        let mut random = fastrand::Rng::with_seed(6);
        let (mut pairs, mut matched) = (0, 0);
        while pairs < 10_000 {
            // A negated class of globset's matches a slash, and ours matches within a name.
            let names = random.usize(1..4);
            let negated = names == 1 && random.bool();
            let word = |random: &mut fastrand::Rng| {
                (0..random.usize(1..4)).map(|_| b"abc]_%.-{"[random.usize(..9)] as char).collect::<String>()
            };
            let text = (0..names).map(|_| word(&mut random)).collect::<Vec<_>>().join("/");
            let mut pattern = String::new();
            for (n, name) in text.split('/').enumerate() {
                if n > 0 {
                    pattern.push('/');
                }
                if names > 1 && n + 1 < names && random.u8(..4) == 0 {
                    pattern.push_str("**");
                    continue;
                }
                for c in name.chars() {
                    match random.u8(..10) {
                        0 => pattern.push('*'),
                        1 => pattern.push('?'),
                        2 if negated => pattern.push_str("[!ab]"),
                        2 => pattern.push_str("[a-c_]"),
                        3 => pattern.push_str("[]ab]"),
                        4 => pattern.push_str("{a,bc,[{]}"),
                        5 => pattern.push(b"abc"[random.usize(..3)] as char),
                        _ if "{]".contains(c) => pattern.extend(['\\', c]),
                        _ => pattern.push(c),
                    }
                }
            }
            if pattern.split('/').any(|name| name.contains("**") && name != "**") {
                continue;
            }
            let built = globset::GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            let Ok(oracle) = built else { continue };
            let expected = oracle.compile_matcher().is_match(&text);
            let glob = Glob::parse(&pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(glob.matches(&text), expected, "{pattern:?} on {text:?}");
            if expected {
                matched += 1;
                let likes = glob.like_supersets(str::to_owned);
                assert!(
                    likes.is_none_or(|likes| likes.iter().any(|like| like_matches(like, &text))),
                    "{pattern:?} {text:?}"
                );
                assert!(text.starts_with(&glob.literal_names().join("/")), "{pattern:?} {text:?}");
            }
            pairs += 1;
        }
        assert!(matched > 1_000, "{matched} of them match");
    }

    #[test]
    fn w6_whatever_is_given_as_a_pattern_is_a_pattern_or_refused() {
        let mut random = fastrand::Rng::with_seed(66);
        let alphabet: Vec<char> = "a/*?[]{},!^-\\%_é\u{301}\u{0}🦀".chars().collect();
        for _ in 0..20_000 {
            let pattern: String = (0..random.usize(..24)).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            let text: String = (0..random.usize(..12)).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(&text);
                glob.literal_names();
            }
        }
        assert!(Glob::parse(&"{a,b}".repeat(900)).is_err());
        assert!(Glob::parse(&"{".repeat(4_000)).is_err());
        assert!(Glob::parse(&"a".repeat(5_000)).is_err());
    }
}
