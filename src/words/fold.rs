//! One form for every spelling of a word: case, accents and width do not count.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Folds a word. Marks that make another letter (those of Indic scripts, Thai, kana) stay.
pub(super) fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(word.len());
    for c in word.nfkd().filter(|c| !is_dropped(*c)) {
        for c in c.to_lowercase() {
            match c {
                'ς' => folded.push('σ'),
                'ı' => folded.push('i'),
                'ß' => folded.push_str("ss"),
                'æ' => folded.push_str("ae"),
                'œ' => folded.push_str("oe"),
                'þ' => folded.push_str("th"),
                'ø' => folded.push('o'),
                'đ' | 'ð' => folded.push('d'),
                'ł' => folded.push('l'),
                'ħ' => folded.push('h'),
                'ŧ' => folded.push('t'),
                c => folded.push(c),
            }
        }
    }
    folded.nfc().collect()
}

/// Lower case in the composed form, accents kept: what the stemmers were written for.
pub(super) fn lower(word: &str) -> String {
    let lower = word.nfkc().collect::<String>().to_lowercase();
    // `İ` becomes `i` with a dot of its own.
    lower.replace("i\u{307}", "i").chars().filter(|c| !is_joiner(*c)).collect()
}

/// Whether a character continues a word without being a letter or a digit.
pub(super) fn continues(c: char) -> bool {
    is_combining_mark(c) || is_joiner(c)
}

/// Joins or splits what is written, and is nothing itself: soft hyphen, joiner and non-joiner.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}')
}

/// Accents, Hebrew points, Arabic vowel signs and the Arabic stretcher.
fn is_dropped(c: char) -> bool {
    is_joiner(c)
        || matches!(c,
            '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}'
            | '\u{5c4}'..='\u{5c5}' | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
            | '\u{6d6}'..='\u{6dc}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}')
}
