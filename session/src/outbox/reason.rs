//! Why a delivery failed, in the words of a receiver: data, whatever bytes it holds (E4).
//!
//! A NUL cannot be stored by PostgreSQL and ends a text early in SQLite's JSON; an escape sequence moves the cursor of
//! who lists dead letters; a page of HTML fills a table. So a reason is made plain once, before it is kept or shown,
//! and nothing that a receiver says can fail the acknowledgement of a batch.

/// The most characters of a reason that are kept.
const MOST: usize = 2_000;

/// A reason in one line: control characters, and those that order or hide text, become spaces, of which one is left;
/// what is too long is cut, and says so.
pub(super) fn plain(reason: &str) -> String {
    let mut kept = String::with_capacity(reason.len().min(MOST));
    let (mut length, mut space) = (0, false);
    for c in reason.chars() {
        if is_hidden(c) || c.is_whitespace() {
            space = length > 0;
            continue;
        }
        if length >= MOST {
            kept.push_str(" …");
            return kept;
        }
        if std::mem::take(&mut space) {
            kept.push(' ');
            length += 1;
        }
        kept.push(c);
        length += 1;
    }
    kept
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn e4_a_reason_is_one_line_without_control_characters() {
        assert_eq!(plain("upstream said: \0oops"), "upstream said: oops");
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\r\n\tnext"), "[31mred [0m next");
        assert_eq!(plain("\u{1b}"), "");
        assert_eq!(plain("a\u{202e}b"), "a b");
        assert_eq!(plain("  Zürich 水 🦀  "), "Zürich 水 🦀");
    }

    #[test]
    fn e4_a_reason_has_a_bound() {
        let long = plain(&"x".repeat(1 << 20));
        assert_eq!(long.chars().count(), super::MOST + 2);
        assert!(long.ends_with(" …"));
        assert_eq!(plain(&"\0".repeat(1 << 20)), "");
    }
}
