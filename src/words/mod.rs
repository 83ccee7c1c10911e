//! What a word is, for the index and for a question: one tokenizer of ours, so that both backends find the same (W5).
//!
//! What it is for: to turn a text into words, and each word into the terms under which it is found. It is pure, and a
//! function of the text alone: it never asks a database, and the same text gives the same terms on every machine. Whoever
//! changes what it gives raises [`VERSION`], so that the doctor sees which records are of an older one.
//!
//! | What | How |
//! |---|---|
//! | case, accents, width | folded ([`fold`]): `İstanbul`, `istanbul`; `cafe\u{301}`, `café`, `cafe`; `ΟΔΟΣ`, `οδος`; `ﾃ`, `テ` |
//! | stemming | by script, from the word alone: Latin as English, Cyrillic as Russian, Greek, Arabic, Tamil. A text that is in another language of Latin script, by its stop words, has each word under that language's stem as well, marked `de=haus` |
//! | irregular and informal English | `went` is `go`, `mum` is `mother`, `colour` is `color` ([`english`]) |
//! | code | `readHTTPBody`, `read_body`, `a::b`, `src/lib.rs`, `well-known`: the parts, and the whole |
//! | scripts without spaces | Han, kana, Thai, Lao, Khmer, Myanmar: every two neighbours; Hangul: the word, and every two |
//! | combining marks | belong to their word: `हिन्दी` is one |
//! | stop words | indexed, and left out of a question that has other words |

mod english;
mod fold;
mod language;
mod question;
mod snippet;
mod split;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

pub(crate) use language::{Language, is_stop_word};
pub(crate) use question::{Demand, Phrase, Question};
pub(crate) use snippet::{Marks, marked, snippet};

use split::{Piece, Script};

/// Which words a record was indexed by. Raised with every change of what this module gives.
pub const VERSION: i16 = 1;

/// Occurrences in the title count this many times.
const TITLE_WEIGHT: u32 = 3;

/// A term is cut here, in bytes; a longer word is still found by its beginning.
const LONGEST_TERM: usize = 128;

/// A word in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its bytes in the text.
    pub(crate) range: Range<usize>,
    /// What a phrase compares: folded, not stemmed.
    pub(crate) surface: String,
    /// The terms under which it is found, the chief one first. None for a pure accident of spelling.
    pub(crate) terms: Vec<String>,
    /// What it is in the text's own language, if that is neither English nor told by the script.
    pub(crate) native: Option<String>,
    /// How many words its chief term covers: two for a pair of ideographs.
    pub(crate) covers: usize,
}

/// A record's words, as the embedded index holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Analyzed {
    /// Each term under which it is found, and how often it is there; those of the title count three times.
    pub terms: BTreeMap<String, u32>,
    /// The words in order, each between two spaces; what a phrase is looked up in.
    pub stream: String,
    /// How many words there are.
    pub length: u32,
}

/// The words of a record with this title and this text, as the embedded index holds them: for looking why something is
/// found, or is not (W5).
pub fn analyze(title: &str, body: &str) -> Analyzed {
    let mut all = Analyzed { stream: " ".to_owned(), ..Analyzed::default() };
    for (text, weight) in [(title, TITLE_WEIGHT), (body, 1)] {
        for word in words(text) {
            all.length += 1;
            all.stream.push_str(&word.surface);
            all.stream.push(' ');
            for term in word.terms.into_iter().chain(word.native) {
                *all.terms.entry(term).or_default() += weight;
            }
        }
        // Two spaces: no phrase begins in the title and ends in the text.
        all.stream.push(' ');
    }
    all
}

/// The words of a text in order.
pub(crate) fn words(text: &str) -> Vec<Word> {
    words_in(text, None)
}

/// The same, in a language that is known.
fn words_in(text: &str, language: Option<Language>) -> Vec<Word> {
    let pieces = split::pieces(text);
    let language = language.or_else(|| language::of(pieces.iter().map(|piece| &text[piece.range.clone()])));
    let mut terms = Terms { language, known: HashMap::new() };
    let mut words: Vec<Word> = Vec::with_capacity(pieces.len());
    for (i, piece) in pieces.iter().enumerate() {
        let written = &text[piece.range.clone()];
        let mut word = match piece.script {
            Script::Unspaced => pair(text, piece, pieces.get(i + 1)),
            script => terms.of_word(written, piece, script),
        };
        if let Some(whole) = &piece.whole {
            word.terms.push(cut(fold::fold(&text[whole.clone()]).replace('\\', "/")));
        }
        words.push(word);
    }
    words
}

/// The terms of words that were met already: a text says most of its words more than once.
struct Terms<'t> {
    language: Option<Language>,
    known: HashMap<&'t str, (String, Vec<String>, Option<String>)>,
}

impl<'t> Terms<'t> {
    fn of_word(&mut self, written: &'t str, piece: &Piece, script: Script) -> Word {
        let language = self.language;
        let (surface, terms, native) = self.known.entry(written).or_insert_with(|| {
            let surface = cut(fold::fold(written));
            let chief = cut(language::chief(written, &surface, script));
            let mut terms = vec![chief];
            let mut add = |term: String| {
                if !term.is_empty() && !terms.contains(&term) {
                    terms.push(term);
                }
            };
            for part in split::camel_parts(written) {
                add(cut(language::chief(part, &fold::fold(part), script)));
            }
            if script == Script::Hangul {
                let syllables: Vec<char> = surface.chars().collect();
                syllables.windows(2).filter(|_| syllables.len() > 2).for_each(|two| add(two.iter().collect()));
                syllables.last().filter(|_| syllables.len() > 1).into_iter().for_each(|last| add(last.to_string()));
            }
            let native = (script == Script::Latin).then_some(language).flatten();
            (surface, terms, native.map(|language| cut(language.stem(written))))
        });
        Word {
            range: piece.range.clone(),
            surface: surface.clone(),
            terms: terms.clone(),
            native: native.clone(),
            covers: 1,
        }
    }
}

/// A character of a script without spaces, with the next one if that follows at once. The last of a run stands alone, so
/// that every character begins a term.
fn pair(text: &str, piece: &Piece, next: Option<&Piece>) -> Word {
    let surface = fold::fold(&text[piece.range.clone()]);
    let next = next.filter(|next| next.script == Script::Unspaced && next.range.start == piece.range.end);
    let (term, covers) = match next {
        Some(next) => (format!("{surface}{}", fold::fold(&text[next.range.clone()])), 2),
        None => (surface.clone(), 1),
    };
    Word { range: piece.range.clone(), surface, terms: vec![term], native: None, covers }
}

/// At most [`LONGEST_TERM`] bytes.
fn cut(mut term: String) -> String {
    if term.len() > LONGEST_TERM {
        let end = (0..=LONGEST_TERM).rev().find(|at| term.is_char_boundary(*at)).unwrap_or_default();
        term.truncate(end);
    }
    term
}

#[cfg(test)]
mod tests;
