//! What of a statement's text may be seen in logs and records: the text without the values that stand in it (L1).
//!
//! It must never show a value of a setting that rides with BEGIN; a caller's own literals it hides unless asked not to.

use std::borrow::Cow;

/// Which literals are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hide {
    /// `E'…'` only: the form in which this crate writes values into control messages.
    Escaped,
    /// Every string.
    Strings,
}

/// `sql` with `?` for each literal that is to be hidden. Borrowed if there is none.
pub(crate) fn without_literals(sql: &str, hide: Hide) -> Cow<'_, str> {
    let quoted = sql.contains('\'') || (hide == Hide::Strings && sql.contains("$$"));
    if !quoted {
        return sql.into();
    }
    let mut shown = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['\'', '"', '$']) {
        let (before, literal) = rest.split_at(at);
        shown += before;
        let escaped = before.ends_with(['E', 'e']) && !before[..before.len() - 1].ends_with(is_name);
        let (length, hidden) = match literal.as_bytes().first() {
            Some(b'"') => (quoted_length(literal, '"', false), None),
            Some(b'\'') if escaped || hide == Hide::Strings => (quoted_length(literal, '\'', escaped), Some("'?'")),
            Some(b'\'') => (quoted_length(literal, '\'', false), None),
            _ => match dollar_length(literal, before).filter(|_| hide == Hide::Strings) {
                Some(length) => (length, Some("'?'")),
                None => (1, None),
            },
        };
        let (literal, after) = literal.split_at(length);
        shown += hidden.unwrap_or(literal);
        rest = after;
    }
    shown += rest;
    shown.into()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of a quoted stretch that `text` begins with; all of it if it does not end.
fn quoted_length(text: &str, quote: char, backslash: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if backslash && c == '\\' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => drop(chars.next()),
                _ => return at + quote.len_utf8(),
            }
        }
    }
    text.len()
}

/// The length of a dollar-quoted string that `text` begins with, if it begins with one and is no parameter.
fn dollar_length(text: &str, before: &str) -> Option<usize> {
    if before.ends_with(is_name) {
        return None;
    }
    let tag_end = text[1..].find('$')? + 2;
    let tag = &text[..tag_end];
    let name = &tag[1..tag_end - 1];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
        return None;
    }
    Some(text[tag_end..].find(tag).map_or(text.len(), |end| tag_end + end + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_values_of_settings_are_hidden_and_their_names_are_not() {
        let begin = r"BEGIN; SELECT set_config('app.tenant', E'it''s \\\' a; SECRET', true); SAVEPOINT a";
        let shown = without_literals(begin, Hide::Escaped);
        assert_eq!(shown, "BEGIN; SELECT set_config('app.tenant', E'?', true); SAVEPOINT a");
    }

    #[test]
    fn l1_a_callers_literals_are_hidden_and_quoted_names_and_parameters_are_not() {
        let cases = [
            ("SELECT 'SECRET'", "SELECT '?'"),
            ("SELECT 'a''SECRET', \"it's\", $1", "SELECT '?', \"it's\", $1"),
            ("SELECT e'\\'SECRET', some'x'", "SELECT e'?', some'?'"),
            ("DO $$ SECRET 'x' $$; SELECT 1", "DO '?'; SELECT 1"),
            ("DO $t$ SECRET $$ $t$", "DO '?'"),
            ("SELECT $1 || 'a' || $2", "SELECT $1 || '?' || $2"),
            ("SELECT 'never closed SECRET", "SELECT '?'"),
            ("SELECT 'ä''ö' || 'ü'", "SELECT '?' || '?'"),
            ("SELECT 1", "SELECT 1"),
        ];
        for (sql, shown) in cases {
            assert_eq!(without_literals(sql, Hide::Strings), shown);
        }
    }
}
