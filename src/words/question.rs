//! A question as it is asked, and what it asks of the index.
//!
//! ```text
//! what did the planner decide      any of these words, ranked; stop words only if there is nothing else
//! "support group"                  these words in this order: every answer has them
//! -draft   -"first draft"          no answer has them
//! migrat*                          any word that begins so
//! ```

use std::collections::HashSet;

use super::{
    Language, Word, fold, is_stop_word, language,
    split::{self, Script},
    words_in,
};
use crate::error::StoreError;

/// Words of a question whose language is unknown are looked up under every language's stem, up to this many.
const FEW: usize = 4;

/// The most words that a question is taken to have, and bytes; whoever pastes a page asks by its first ones.
const MOST_WORDS: usize = 64;
const MOST_BYTES: usize = 8_192;

/// Terms that stand for one word of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WordGroup {
    /// The terms; the chief one first.
    pub(crate) terms: Vec<String>,
    /// Whether it says nothing by itself.
    pub(crate) stop: bool,
    /// Whether an answer may have any word that begins with the first term; the others are stems of such words.
    pub(crate) prefix: bool,
}

/// Words in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phrase {
    /// As [`super::Analyzed::stream`] holds them.
    pub(crate) stream: String,
    /// The chief terms of these words: a text that has the phrase has each.
    pub(crate) terms: Vec<String>,
}

/// What no answer may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Words in a row, as [`super::Analyzed::stream`] holds them.
    Phrase(String),
    /// One word in any of its forms.
    Word(String),
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// What may match.
    pub(crate) groups: Vec<WordGroup>,
    /// What must.
    pub(crate) phrases: Vec<Phrase>,
    /// What must not.
    pub(crate) without: Vec<Demand>,
}

/// A part of a question as it is written.
enum Part<'q> {
    Plain(&'q str),
    Quoted(&'q str),
    NotPlain(&'q str),
    NotQuoted(&'q str),
}

impl Question {
    /// Reads a question.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] if there is no word in it that an answer may have.
    pub(crate) fn parse(query: &str) -> Result<Self, StoreError> {
        let end = (0..=query.len().min(MOST_BYTES)).rev().find(|at| query.is_char_boundary(*at)).unwrap_or_default();
        let query = &query[..end];
        let pieces = split::pieces(query);
        let (language, english) = language::told(pieces.iter().map(|piece| &query[piece.range.clone()]));
        let unknown = language.is_none() && !english && pieces.len() <= FEW;
        let reader = Reader { language, unknown };
        let mut question = Self::default();
        for part in parts(query) {
            match part {
                Part::Plain(text) => reader.plain(text, &mut question.groups),
                Part::Quoted(text) => {
                    question.phrases.extend(reader.phrase(text));
                    reader.groups(text, &mut question.groups);
                }
                Part::NotPlain(text) | Part::NotQuoted(text) => question.without.extend(reader.demand(text)),
            }
        }
        let mut seen = HashSet::new();
        question.groups.retain(|group| seen.insert(group.terms.first().cloned()));
        question.groups.truncate(MOST_WORDS);
        if question.groups.is_empty() {
            let why = "a search needs at least one word: letters or digits, and not only words with a `-` before them";
            return Err(StoreError::InvalidArgument(why.into()));
        }
        Ok(question)
    }
}

struct Reader {
    language: Option<Language>,
    unknown: bool,
}

impl Reader {
    /// Words, each of which may end with `*`.
    fn plain(&self, text: &str, groups: &mut Vec<WordGroup>) {
        for word in text.split_whitespace() {
            let stem = word.strip_suffix('*').filter(|stem| {
                stem.chars().filter(|c| c.is_alphanumeric()).count() >= 2 && stem.ends_with(char::is_alphanumeric)
            });
            let Some(stem) = stem else {
                self.groups(word, groups);
                continue;
            };
            let mut words = words_in(stem, self.language);
            if let Some(last) = words.pop() {
                groups.push(beginning(last));
            }
            groups.extend(words.into_iter().map(|word| self.group(word, stem)));
        }
    }

    fn groups(&self, text: &str, groups: &mut Vec<WordGroup>) {
        let words = words_in(text, self.language);
        let pieces = split::pieces(text);
        for (i, (word, piece)) in words.into_iter().zip(&pieces).enumerate() {
            if piece.script == Script::Unspaced && word.covers == 1 {
                let alone =
                    i == 0 || pieces[i - 1].script != Script::Unspaced || pieces[i - 1].range.end != piece.range.start;
                if alone {
                    // One character by itself is the beginning of a pair.
                    groups.push(WordGroup { terms: word.terms, stop: false, prefix: true });
                }
                continue;
            }
            groups.push(self.group(word, text));
        }
    }

    fn group(&self, word: Word, text: &str) -> WordGroup {
        let written = &text[word.range.clone()];
        let mut terms = word.terms;
        terms.extend(word.native);
        let is_latin =
            written.chars().find(|c| c.is_alphabetic()).is_some_and(|c| fold::fold(&c.to_string()).is_ascii());
        if self.unknown && is_latin {
            terms.extend(Language::all().map(|language| language.stem(written)));
        }
        WordGroup { terms, stop: is_stop_word(&word.surface, self.language), prefix: false }
    }

    fn phrase(&self, text: &str) -> Option<Phrase> {
        let words = words_in(text, self.language);
        if words.is_empty() {
            return None;
        }
        let mut stream = " ".to_owned();
        for word in &words {
            stream.push_str(&word.surface);
            stream.push(' ');
        }
        let pieces = split::pieces(text);
        // The last character of a run without spaces begins a pair elsewhere: its term is none of the text's.
        let is_sure = |(word, piece): &(Word, &split::Piece)| piece.script != Script::Unspaced || word.covers == 2;
        let sure = words.into_iter().zip(&pieces).filter(is_sure);
        Some(Phrase { stream, terms: sure.filter_map(|(word, _)| word.terms.into_iter().next()).collect() })
    }

    fn demand(&self, text: &str) -> Option<Demand> {
        let phrase = self.phrase(text)?;
        // One word is meant in all its forms, but an ideograph is not one.
        let is_word = phrase.stream.split_whitespace().count() == 1;
        Some(match phrase.terms.into_iter().next() {
            Some(term) if is_word => Demand::Word(term),
            _ => Demand::Phrase(phrase.stream),
        })
    }
}

/// How English words go on. A term is a stem, which may be shorter than the beginning that is asked for: `migrati*` is to
/// find `migration`, whose stem is `migrat`.
const ENDINGS: &[&str] =
    &["", "s", "es", "e", "d", "ed", "y", "ly", "g", "ng", "ing", "n", "on", "ion", "ment", "ness", "ity"];

fn beginning(word: Word) -> WordGroup {
    let mut terms = vec![word.surface];
    for ending in ENDINGS {
        let complete = format!("{}{ending}", terms[0]);
        let stem = words_in(&complete, None).into_iter().next().and_then(|word| word.terms.into_iter().next());
        if let Some(stem) = stem.filter(|stem| stem.len() < terms[0].len() && !terms.contains(stem)) {
            terms.push(stem);
        }
    }
    WordGroup { terms, stop: false, prefix: true }
}

/// Takes a question apart at its quotes and signs. A quote that is not closed is an ordinary character.
fn parts(query: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = query;
    let mut plain_from = query;
    let mut at_start = true;
    while let Some(c) = rest.chars().next() {
        let plain = &plain_from[..plain_from.len() - rest.len()];
        let negated = at_start && c == '-';
        let body = if negated { &rest[1..] } else { rest };
        let quoted = (at_start || negated).then(|| quoted(body)).flatten();
        let taken = match quoted {
            Some((inside, after)) => {
                Some((if negated { Part::NotQuoted(inside) } else { Part::Quoted(inside) }, after))
            }
            None if negated && body.starts_with(char::is_alphabetic) => {
                let end = body.find(char::is_whitespace).unwrap_or(body.len());
                Some((Part::NotPlain(&body[..end]), &body[end..]))
            }
            None => None,
        };
        match taken {
            Some((part, after)) => {
                parts.push(Part::Plain(plain));
                parts.push(part);
                (rest, plain_from, at_start) = (after, after, true);
            }
            None => {
                at_start = c.is_whitespace() || c == '(';
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    parts.push(Part::Plain(plain_from));
    parts
}

/// What stands in quotes at the beginning of a text, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?;
    let closing: &[char] = match first {
        '"' => &['"'],
        '“' | '„' => &['”', '“'],
        '«' => &['»'],
        '「' => &['」'],
        _ => return None,
    };
    let inside = &text[first.len_utf8()..];
    let end = inside.find(closing)?;
    let after = &inside[end..];
    let sign = after.chars().next().map_or(0, char::len_utf8);
    Some((&inside[..end], &after[sign..]))
}
