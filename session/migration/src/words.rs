//! Words of SQL, for the few questions that are asked of a statement's text. Knows no grammar.

/// Words of SQL: names without their quotes, and single signs. Strings and comments are passed over.
pub(crate) struct Words<'s> {
    rest: &'s str,
}

impl<'s> Words<'s> {
    pub(crate) fn of(sql: &'s str) -> Self {
        Self { rest: sql }
    }

    fn quoted(&mut self, quote: char) -> &'s str {
        let inner = &self.rest[1..];
        let end = inner.find(quote).unwrap_or(inner.len());
        self.rest = inner.get(end + 1..).unwrap_or_default();
        &inner[..end]
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            self.rest = self.rest.trim_start();
            let first = self.rest.chars().next()?;
            match first {
                '"' | '`' => return Some(self.quoted(first).to_owned()),
                '\'' => drop(self.quoted('\'')),
                '-' if self.rest.starts_with("--") => {
                    self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
                }
                '/' if self.rest.starts_with("/*") => {
                    self.rest = self.rest.split_once("*/").map_or("", |(_, rest)| rest);
                }
                _ if first.is_alphanumeric() || first == '_' => {
                    let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                    let (word, rest) = self.rest.split_at(end);
                    self.rest = rest;
                    return Some(word.to_owned());
                }
                _ => {
                    self.rest = &self.rest[first.len_utf8()..];
                    return Some(first.to_string());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn words_pass_over_strings_and_comments() {
        let words: Vec<String> = Words::of("-- no\nSELECT 'a b', \"C d\" /* x */ FROM t").collect();
        assert_eq!(words, ["SELECT", ",", "C d", "FROM", "t"]);
    }
}
