//! The place of a text that answers a question, the words marked with `[` and `]`.

use std::collections::HashMap;

use super::{Word, words};

/// What is marked, and how much each is worth.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) terms: HashMap<String, f64>,
    pub(crate) prefixes: Vec<String>,
}

/// How much of a text is shown, in characters.
const WINDOW: usize = 160;
/// How much of it is before the first marked word.
const BEFORE: usize = 40;
/// How much of a text is looked at, in bytes.
const LOOKED_AT: usize = 1 << 20;

/// A marked word.
struct Found<'w> {
    first: &'w Word,
    last: &'w Word,
    worth: f64,
    term: &'w str,
}

impl Marks {
    fn find<'w>(&self, words: &'w [Word]) -> Vec<Found<'w>> {
        let mut found = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let all = word.terms.iter().chain(&word.native);
            let best =
                all.filter_map(|term| Some((term.as_str(), self.worth(term)?))).max_by(|a, b| a.1.total_cmp(&b.1));
            let begins = self.prefixes.iter().any(|prefix| word.surface.starts_with(prefix.as_str()));
            let best = best.or_else(|| begins.then_some((word.surface.as_str(), 1.0)));
            if let Some((term, worth)) = best {
                // A pair is marked as far as both of its characters are the question's.
                let last = words.get(i + word.covers - 1).unwrap_or(word);
                let last = if self.terms.contains_key(term) { last } else { word };
                found.push(Found { first: word, last, worth, term });
            }
        }
        found
    }

    fn worth(&self, term: &str) -> Option<f64> {
        self.terms.get(term).copied()
    }
}

/// A whole text, its words marked.
pub(crate) fn marked(text: &str, marks: &Marks) -> String {
    let words = words(text);
    let found = marks.find(&words);
    with_signs(text, 0, text.len(), &found)
}

/// The part of a text that has most of what is asked for; its beginning if it has none.
pub(crate) fn snippet(text: &str, marks: &Marks) -> String {
    let looked_at = &text[..floor(text, LOOKED_AT)];
    let words = words(looked_at);
    let found = marks.find(&words);
    let (start, end) = best_window(looked_at, &found);
    let mut shown = with_signs(looked_at, start, end, &found);
    if start > 0 {
        shown.insert(0, '…');
    }
    if end < text.trim_end().len() {
        shown.push('…');
    }
    shown
}

/// Where the window begins and ends, in bytes.
fn best_window(text: &str, found: &[Found<'_>]) -> (usize, usize) {
    let mut best = (0.0, 0);
    for (i, first) in found.iter().enumerate() {
        let mut seen: Vec<&str> = Vec::new();
        let mut worth = 0.0;
        let near =
            found[i..].iter().take_while(|next| next.last.range.end - first.first.range.start <= WINDOW - BEFORE);
        for next in near {
            if !seen.contains(&next.term) {
                seen.push(next.term);
                worth += next.worth;
            }
        }
        if worth > best.0 {
            best = (worth, first.first.range.start);
        }
    }
    let start = back(text, best.1, BEFORE);
    let end = text[start..].char_indices().nth(WINDOW).map_or(text.len(), |(at, _)| start + at);
    // Not in the middle of a word, if one ends nearby.
    let end = match text[end..].chars().next() {
        Some(c) if !c.is_whitespace() => text[start..end]
            .rfind(char::is_whitespace)
            .map_or(end, |at| start + at)
            .max(floor(text, end.saturating_sub(24))),
        _ => end,
    };
    (start, end)
}

/// About `characters` before a place, at the beginning of a word if one is near.
fn back(text: &str, at: usize, characters: usize) -> usize {
    let before = &text[..at];
    let Some((far, _)) = before.char_indices().rev().nth(characters) else { return 0 };
    let near = &before[far..];
    near.char_indices().find(|(_, c)| c.is_whitespace()).map_or(far, |(space, c)| far + space + c.len_utf8())
}

/// The greatest place at or before this that is between two characters.
fn floor(text: &str, at: usize) -> usize {
    if at >= text.len() { text.len() } else { (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0) }
}

/// A part of a text on one line, with signs around what was found.
fn with_signs(text: &str, start: usize, end: usize, found: &[Found<'_>]) -> String {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for one in found {
        let (from, to) = (one.first.range.start, one.last.range.end);
        match places.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => places.push((from, to)),
        }
    }
    let mut shown = String::with_capacity(end - start + 16);
    let mut at = start;
    for (from, to) in places.into_iter().filter(|(from, to)| *from >= start && *to <= end) {
        shown.push_str(&text[at..from]);
        shown.push('[');
        shown.push_str(&text[from..to]);
        shown.push(']');
        at = to;
    }
    shown.push_str(&text[at..end]);
    let mut line = String::with_capacity(shown.len());
    for word in shown.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}
