//! Where words begin and end.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::fold::continues;

/// How a script is written, as far as words go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Tamil,
    Hangul,
    /// Words stand side by side without a space.
    Unspaced,
    /// Words have spaces between them; digits too.
    Other,
}

/// A word, or one character of a script without spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) script: Script,
    /// The whole of what it begins, if it is the first part of more: `src/lib.rs`, `a::b`.
    pub(super) whole: Option<Range<usize>>,
}

/// The longest whole that is kept, in bytes.
const LONGEST_WHOLE: usize = 96;

/// The pieces of a text in order.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(text.len() / 6);
    let mut at = 0;
    while let Some((start, first)) = next_word_character(text, at) {
        at = if script_of(first) == Script::Unspaced {
            unspaced(text, start, &mut pieces)
        } else {
            compound(text, start, &mut pieces)
        };
    }
    pieces
}

fn next_word_character(text: &str, from: usize) -> Option<(usize, char)> {
    text[from..].char_indices().find(|(_, c)| c.is_alphanumeric()).map(|(at, c)| (from + at, c))
}

/// A run of a script without spaces: one piece a character with its marks. Returns where it ends.
fn unspaced(text: &str, start: usize, pieces: &mut Vec<Piece>) -> usize {
    let rest = &text[start..];
    let is_inside = |c: char| (c.is_alphanumeric() && script_of(c) == Script::Unspaced) || continues(c);
    let end = rest.find(|c: char| !is_inside(c)).unwrap_or(rest.len());
    for (at, cluster) in rest[..end].grapheme_indices(true) {
        let range = start + at..start + at + cluster.len();
        pieces.push(Piece { range, script: Script::Unspaced, whole: None });
    }
    start + end
}

/// Words that hang together by `_`, `-`, `.`, `/` and the like. Returns where they end.
fn compound(text: &str, start: usize, pieces: &mut Vec<Piece>) -> usize {
    let first = pieces.len();
    let mut keeps_whole = false;
    let mut at = start;
    let end = loop {
        let end = word_end(text, at);
        pieces.push(Piece { range: at..end, script: script_of_word(&text[at..end]), whole: None });
        let Some(after) = joined(text, end) else { break end };
        keeps_whole |= !matches!(text[end..].chars().next(), Some('\'' | '’'));
        at = after;
    };
    // `c++`, `c#`, `f#`: the sign is a part of the name.
    let sign = text[end..].bytes().take_while(|byte| matches!(byte, b'+' | b'#')).count();
    let is_name = (1..=2).contains(&sign) && text[start..end].bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_name = is_name && !text[end + sign..].starts_with(char::is_alphanumeric);
    let end = if is_name { end + sign } else { end };
    if (keeps_whole || is_name) && end - start <= LONGEST_WHOLE {
        pieces[first].whole = Some(start..end);
    }
    end
}

/// Where the word that begins here ends.
fn word_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let is_inside = |c: char| (c.is_alphanumeric() && script_of(c) != Script::Unspaced) || continues(c);
    start + rest.find(|c: char| !is_inside(c)).unwrap_or(rest.len())
}

/// Where the next part begins, if the text goes on after one joining sign (or `::`, `->`).
fn joined(text: &str, end: usize) -> Option<usize> {
    let rest = &text[end..];
    let sign = ["::", "->"].into_iter().find(|sign| rest.starts_with(sign)).map(str::len);
    let sign = sign.or_else(|| {
        let c = rest.chars().next()?;
        matches!(c, '_' | '-' | '.' | '/' | '\\' | ':' | '@' | '\'' | '’' | '\u{2010}' | '\u{2011}')
            .then(|| c.len_utf8())
    })?;
    let next = rest[sign..].chars().next()?;
    (next.is_alphanumeric() && script_of(next) != Script::Unspaced).then_some(end + sign)
}

/// The parts of `readHTTPBody` or `sha256`; none for a word that is all of one.
pub(super) fn camel_parts(word: &str) -> Vec<&str> {
    if !word.bytes().skip(1).any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return Vec::new();
    }
    let characters: Vec<(usize, char)> = word.char_indices().collect();
    let mut humps = Vec::new();
    let mut numbers = Vec::new();
    for i in 1..characters.len() {
        let (before, (at, c)) = (characters[i - 1].1, characters[i]);
        let lower_follows = characters.get(i + 1).is_some_and(|(_, next)| next.is_lowercase());
        if c.is_uppercase() && (before.is_lowercase() || (before.is_uppercase() && lower_follows)) {
            humps.push(at);
        }
        if before.is_alphanumeric() && c.is_alphanumeric() && before.is_numeric() != c.is_numeric() {
            numbers.push(at);
        }
    }
    // More than one change is a code or a checksum, and its pieces say nothing.
    if numbers.len() == 1 {
        humps.append(&mut numbers);
        humps.sort_unstable();
        humps.dedup();
    }
    // A text in capitals whose last letters are not: no humps but noise.
    if humps.is_empty() || humps.len() > 8 {
        return Vec::new();
    }
    let mut parts = Vec::with_capacity(humps.len() + 1);
    let mut start = 0;
    for hump in humps.into_iter().chain([word.len()]) {
        parts.push(&word[start..hump]);
        start = hump;
    }
    parts
}

/// The script of a word: that of its first letter.
fn script_of_word(word: &str) -> Script {
    word.chars().find(|c| c.is_alphabetic()).map_or(Script::Other, script_of)
}

fn script_of(c: char) -> Script {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{aa}' | '\u{ba}' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Script::Latin,
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => Script::Latin,
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Script::Greek,
        '\u{400}'..='\u{52f}' => Script::Cyrillic,
        '\u{620}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' => {
            Script::Arabic
        }
        '\u{b80}'..='\u{bff}' => Script::Tamil,
        '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7ff}' => Script::Hangul,
        // Thai, Lao, Myanmar, Khmer, Tai scripts, Balinese, Javanese.
        '\u{e01}'..='\u{e4f}'
        | '\u{e81}'..='\u{ecf}'
        | '\u{edc}'..='\u{edf}'
        | '\u{1000}'..='\u{103f}'
        | '\u{1050}'..='\u{108f}'
        | '\u{1780}'..='\u{17d3}'
        | '\u{1950}'..='\u{19df}'
        | '\u{1a20}'..='\u{1aaf}'
        | '\u{1b00}'..='\u{1b4b}'
        | '\u{a980}'..='\u{a9df}'
        | '\u{a9e0}'..='\u{a9fe}'
        | '\u{aa60}'..='\u{aa7f}' => Script::Unspaced,
        // Kana, Bopomofo, Han, kana of half width.
        '\u{3005}'..='\u{3007}'
        | '\u{3021}'..='\u{3029}'
        | '\u{3041}'..='\u{312f}'
        | '\u{31a0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'
        | '\u{1b000}'..='\u{1b16f}'
        | '\u{20000}'..='\u{3ffff}' => Script::Unspaced,
        _ => Script::Other,
    }
}
