//! Languages: which one a text is in, its stop words, its stems.
//!
//! A language is told by the stop words that a text has, which is cheap and right for a sentence; where there is none, or
//! English has as many, it counts as English. A single word tells nothing: a question of such words is looked up under the
//! stems of every language ([`super::Question`]).

use std::{collections::HashMap, sync::LazyLock};

use rust_stemmers::{Algorithm, Stemmer};

use super::{
    english,
    fold::{fold, lower},
    split::Script,
};

/// A language of Latin script with a stemmer of its own, other than English.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Language(usize);

/// Code, stemmer.
const LANGUAGES: [(&str, Algorithm); 13] = [
    ("da", Algorithm::Danish),
    ("de", Algorithm::German),
    ("es", Algorithm::Spanish),
    ("fi", Algorithm::Finnish),
    ("fr", Algorithm::French),
    ("hu", Algorithm::Hungarian),
    ("it", Algorithm::Italian),
    ("nl", Algorithm::Dutch),
    ("no", Algorithm::Norwegian),
    ("pt", Algorithm::Portuguese),
    ("ro", Algorithm::Romanian),
    ("sv", Algorithm::Swedish),
    ("tr", Algorithm::Turkish),
];

/// The bit of English among the stop words, and that of scripts that tell the language.
const ENGLISH: u32 = 1 << 30;
const BY_SCRIPT: u32 = 1 << 31;

/// How many words of a text are looked at.
const LOOKED_AT: usize = 400;

/// Which languages have a word, folded, as a stop word.
static STOP_WORDS: LazyLock<HashMap<String, u32>> = LazyLock::new(|| {
    let mut all: HashMap<String, u32> = HashMap::new();
    let mut add = |code: &str, bit: u32| {
        for word in stop_words::lookup(code).unwrap_or_default() {
            // "don't" is met as its parts.
            for part in word.split(['\'', '’', '-', ' ']).filter(|part| !part.is_empty()) {
                *all.entry(fold(part)).or_default() |= bit;
            }
        }
    };
    for (n, (code, _)) in LANGUAGES.iter().enumerate() {
        add(code, 1 << n);
    }
    add("en", ENGLISH);
    ["ru", "be", "el", "ar", "he", "ta", "bn", "ne"].into_iter().for_each(|code| add(code, BY_SCRIPT));
    for word in english::ALSO_STOP_WORDS {
        *all.entry((*word).to_owned()).or_default() |= ENGLISH;
    }
    all
});

impl Language {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..LANGUAGES.len()).map(Language)
    }

    /// The stem of a word, marked with the language.
    pub(crate) fn stem(self, word: &str) -> String {
        let (code, algorithm) = LANGUAGES[self.0];
        format!("{code}={}", fold(&Stemmer::create(algorithm).stem(&lower(word))))
    }
}

/// The language of a text, if it is neither English nor unknown.
pub(super) fn of<'t>(words: impl Iterator<Item = &'t str>) -> Option<Language> {
    told(words).0
}

/// The language, and whether anything told it to be English.
pub(super) fn told<'t>(words: impl Iterator<Item = &'t str>) -> (Option<Language>, bool) {
    let mut counts = [0_u32; LANGUAGES.len()];
    let mut english = 0_u32;
    for word in words.take(LOOKED_AT) {
        let Some(languages) = STOP_WORDS.get(&fold(word)) else { continue };
        english += u32::from(languages & ENGLISH != 0);
        for (n, count) in counts.iter_mut().enumerate() {
            *count += languages >> n & 1;
        }
    }
    let best = (0..counts.len()).max_by_key(|n| (counts[*n], std::cmp::Reverse(*n))).unwrap_or_default();
    if counts[best] > english { (Some(Language(best)), false) } else { (None, english > 0) }
}

/// Whether a folded word says nothing by itself in a text of this language (English for none).
pub(crate) fn is_stop_word(surface: &str, language: Option<Language>) -> bool {
    let own = language.map_or(ENGLISH, |language| 1 << language.0) | BY_SCRIPT;
    STOP_WORDS.get(surface).is_some_and(|languages| languages & own != 0)
}

/// The term under which a word is found whatever the language of its text: from the word alone.
pub(super) fn chief(written: &str, surface: &str, script: Script) -> String {
    let stem = |algorithm, word: &str| Stemmer::create(algorithm).stem(word).into_owned();
    match script {
        Script::Latin => {
            let base = english::base(surface);
            if base.bytes().any(|byte| byte.is_ascii_digit()) {
                base.to_owned()
            } else {
                stem(Algorithm::English, base)
            }
        }
        Script::Cyrillic => fold(&stem(Algorithm::Russian, &lower(written).replace('ё', "е"))),
        Script::Greek => stem(Algorithm::Greek, surface),
        Script::Arabic => stem(Algorithm::Arabic, surface),
        Script::Tamil => stem(Algorithm::Tamil, surface),
        Script::Hangul | Script::Unspaced | Script::Other => surface.to_owned(),
    }
}
