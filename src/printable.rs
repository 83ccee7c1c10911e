//! Text of others as it may be shown on a terminal.
//!
//! A name, a reason or a message may hold whatever somebody wrote: a control character that moves the cursor, an escape
//! sequence that colours what follows, a mark that turns the direction of the line. Shown raw, it could forge what the
//! reader takes for ours. Pure; what is stored is never changed here.

use std::borrow::Cow;

/// The text with its control characters, and those that change the direction of a line or are not seen, written as
/// `\u{…}`. A newline and a tab are kept, so that a text of several lines stays one.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && is_hidden(c))
}

/// As [`printable`], for what has to stay on its line: newlines and tabs are escaped as well.
#[must_use]
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Controls, line and paragraph separators, and the marks that order or hide text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w2_what_moves_the_cursor_or_turns_the_line_is_written_out() {
        assert_eq!(printable("plain ü 水\n\tstays"), "plain ü 水\n\tstays");
        assert_eq!(printable("\u{1b}[31mred\u{7}"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(printable("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
        assert_eq!(printable_line("one\ntwo\r"), "one\\u{a}two\\u{d}");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m", "a control of eight bits");
    }
}
