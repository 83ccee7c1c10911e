//! What is known of a statement of MySQL's before it is sent: where it ends, and what may be said once its answer was lost.
//!
//! It must never take a statement for one that may be repeated, or whose effect can be seen, of which that is not certain.

use crate::{dialect::Effect, words::Words};

/// The statements of a text. One that has a body is not looked into: all that follows is taken for it.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut statements, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(';') && !has_body(&text[start..at]) {
            statements.push(&text[start..at]);
            start = at + 1;
        }
        at += token(rest);
    }
    statements.push(&text[start..]);
    let says_something =
        |text: &&str| Words::of(text).next().is_some() || ["/*!", "/*M!"].iter().any(|mark| text.contains(mark));
    statements.into_iter().filter(says_something).map(|text| text.trim().to_owned()).collect()
}

/// The length of the string, quoted name, comment or single character that a text begins with.
fn token(text: &str) -> usize {
    let line = || text.find('\n').unwrap_or(text.len());
    match text.chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => quoted(text, quote),
        Some('#') => line(),
        Some('-')
            if text.strip_prefix("--").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) =>
        {
            line()
        }
        Some('/') if text.starts_with("/*") => text.find("*/").map_or(text.len(), |end| end + 2),
        Some(other) => other.len_utf8(),
        None => 0,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && quote != '`' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Whether a statement has statements of its own.
fn has_body(text: &str) -> bool {
    let first: Vec<String> = Words::of(text).take(12).map(|word| word.to_ascii_uppercase()).collect();
    match first.first().map(String::as_str) {
        Some("CREATE" | "ALTER") => {
            first.iter().any(|word| ["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"].contains(&word.as_str()))
        }
        Some("BEGIN") => first.get(1).is_some_and(|word| word == "NOT"),
        Some("IF" | "CASE" | "FOR" | "LOOP" | "WHILE" | "REPEAT") => true,
        _ => false,
    }
}

pub(super) fn effect(sql: &str) -> Effect {
    let words: Vec<String> = Words::of(sql).map(|word| word.to_ascii_uppercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "SELECT" | "WITH" | "DO" | "LOAD", ..] => Effect::Rows,
        ["SET" | "USE" | "PREPARE" | "DEALLOCATE", ..] => Effect::Setting,
        ["BEGIN", "NOT", ..] => Effect::Several,
        ["START" | "BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "XA", ..] => Effect::Control,
        [
            "GRANT" | "REVOKE" | "ANALYZE" | "OPTIMIZE" | "CHECK" | "FLUSH" | "SHOW" | "EXPLAIN" | "LOCK" | "UNLOCK",
            ..,
        ] => Effect::Repeatable,
        ["RENAME" | "CREATE" | "ALTER" | "DROP", rest @ ..] if elsewhere(rest) || unclear(sql, rest) => Effect::Unseen,
        // Tables that are alike may change places.
        ["RENAME", rest @ ..] if rest.contains(&",") => Effect::Unseen,
        ["RENAME", "TABLE" | "TABLES", ..] => Effect::Schema,
        ["CREATE" | "ALTER" | "DROP", rest @ ..] => changed(words[0], rest),
        ["TRUNCATE", ..] => Effect::Unseen,
        _ => Effect::Several,
    }
}

/// Whether a name is one that the catalogue's lines, or the words of a statement, do not show as it is.
fn unclear(sql: &str, words: &[&str]) -> bool {
    sql.contains("``") || words.iter().any(|word| *word == "$" || (word.len() > 1 && word.contains(['.', ':'])))
}

/// Whether a name before the definition is one of another database's, as far as its form says: `a.b`, not `0.5`. The catalogue is
/// that of the current one.
fn elsewhere(words: &[&str]) -> bool {
    let names = words.iter().take_while(|word| !["(", "AS", "BEGIN"].contains(word));
    let names: Vec<&str> = names.copied().collect();
    names.windows(2).any(|two| two[1] == "." && !two[0].starts_with(|c: char| c.is_ascii_digit()))
}

/// Of CREATE, ALTER and DROP.
fn changed(verb: &str, rest: &[&str]) -> Effect {
    // Between the verb and the kind of thing stand a few words, and who defines it.
    let kinds = [
        "TABLE",
        "INDEX",
        "VIEW",
        "TRIGGER",
        "PROCEDURE",
        "FUNCTION",
        "EVENT",
        "SEQUENCE",
        "DATABASE",
        "SCHEMA",
        "USER",
        "ROLE",
    ];
    let at = rest.iter().take(16).position(|word| kinds.contains(word));
    let tolerant = rest.iter().take(14).any(|word| *word == "EXISTS") || rest.starts_with(&["OR", "REPLACE"]);
    let has = |what: &[&str]| rest.iter().any(|word| what.contains(word));
    match at.map(|at| rest[at]) {
        None | Some("DATABASE" | "SCHEMA" | "USER" | "ROLE") => {
            if tolerant && verb != "ALTER" {
                Effect::Repeatable
            } else {
                Effect::Unseen
            }
        }
        Some(_) if verb == "ALTER" && has(&["EXCHANGE", "TRUNCATE", "DISCARD", "IMPORT", "COALESCE", "RESTART"]) => {
            Effect::Unseen
        }
        // What is dropped may come again as it was, without its rows.
        Some("TABLE") if verb == "ALTER" && has(&["DROP"]) && has(&["ADD"]) => Effect::Unseen,
        Some("TABLE" | "SEQUENCE") if rest.starts_with(&["OR", "REPLACE"]) => Effect::Unseen,
        // The table may be there before all of its rows are, and some of several tables may be gone.
        Some("TABLE") if verb == "CREATE" && has(&["SELECT"]) => Effect::Unseen,
        Some("TABLE" | "VIEW") if verb == "DROP" && has(&[","]) => {
            if tolerant {
                Effect::Repeatable
            } else {
                Effect::Unseen
            }
        }
        Some(_) if has(&["TEMPORARY"]) => Effect::Unseen,
        Some(_) => Effect::Schema,
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, effect, split};

    #[test]
    fn y2_a_text_is_split_at_the_ends_of_its_statements() {
        for (text, statements) in [
            ("CREATE TABLE a (b int)", vec!["CREATE TABLE a (b int)"]),
            (
                "INSERT INTO a VALUES (';'); ; UPDATE a SET b = 'it\\'s;';",
                vec!["INSERT INTO a VALUES (';')", "UPDATE a SET b = 'it\\'s;'"],
            ),
            ("SELECT 1 -- a; b\n; SELECT `a;b`, \"c;\" # d;\n", vec!["SELECT 1 -- a; b", "SELECT `a;b`, \"c;\" # d;"]),
            ("SELECT 5--1; SELECT 'a''b;'", vec!["SELECT 5--1", "SELECT 'a''b;'"]),
            ("/* only; this */", vec![]),
            ("/*!40101 SET NAMES utf8 */; DROP TABLE ü", vec!["/*!40101 SET NAMES utf8 */", "DROP TABLE ü"]),
            (
                "DROP TRIGGER t; CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.b = 1; END; DROP TABLE c",
                vec![
                    "DROP TRIGGER t",
                    "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.b = 1; END; DROP TABLE c",
                ],
            ),
            ("", vec![]),
        ] {
            assert_eq!(split(text), statements, "{text}");
        }
    }

    #[test]
    fn y2_what_is_known_of_a_statement_whose_answer_was_lost() {
        for (sql, expected) in [
            ("insert into t values (1)", Effect::Rows),
            ("WITH x AS (SELECT 1) UPDATE t SET a = 1", Effect::Rows),
            ("SET FOREIGN_KEY_CHECKS = 0", Effect::Setting),
            ("START TRANSACTION", Effect::Control),
            ("BEGIN NOT ATOMIC DROP TABLE t; END", Effect::Several),
            ("CREATE TABLE t (a int)", Effect::Schema),
            (
                "CREATE OR REPLACE ALGORITHM = MERGE DEFINER = `u`@`h` SQL SECURITY DEFINER VIEW v AS SELECT 1",
                Effect::Schema,
            ),
            ("CREATE TABLE t SELECT * FROM u", Effect::Unseen),
            ("CREATE TEMPORARY TABLE t (a int)", Effect::Unseen),
            ("CREATE UNIQUE INDEX i ON t (a)", Effect::Schema),
            ("CREATE FULLTEXT INDEX i ON t (a)", Effect::Schema),
            ("ALTER ONLINE TABLE t ADD COLUMN a int", Effect::Schema),
            ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", Effect::Unseen),
            ("RENAME TABLE t TO u", Effect::Schema),
            ("RENAME TABLE t TO u, v TO t, u TO v", Effect::Unseen),
            ("ALTER TABLE t DROP COLUMN a, ADD COLUMN a int", Effect::Unseen),
            ("CREATE OR REPLACE TABLE t (a int)", Effect::Unseen),
            ("ALTER SEQUENCE s RESTART", Effect::Unseen),
            ("ALTER TABLE `a.b` ADD INDEX (a)", Effect::Unseen),
            ("ALTER TABLE `a``b` ADD INDEX (a)", Effect::Unseen),
            ("ALTER TABLE a$b ADD INDEX (a)", Effect::Unseen),
            ("# don't\nALTER TABLE t ADD INDEX (a)", Effect::Several),
            ("DROP TABLE t", Effect::Schema),
            ("ALTER TABLE d.t ADD INDEX (a)", Effect::Unseen),
            ("CREATE INDEX i ON `d`.`t` (a)", Effect::Unseen),
            ("RENAME TABLE t TO d.t", Effect::Unseen),
            ("ALTER TABLE t ADD COLUMN a double DEFAULT 0.5", Effect::Schema),
            ("CREATE VIEW v AS SELECT t.a FROM t", Effect::Schema),
            ("DROP TABLE t, u", Effect::Unseen),
            ("DROP TABLE IF EXISTS t, u", Effect::Repeatable),
            ("DROP INDEX i ON t", Effect::Schema),
            ("CREATE DATABASE d", Effect::Unseen),
            ("CREATE USER IF NOT EXISTS u", Effect::Repeatable),
            ("TRUNCATE TABLE t", Effect::Unseen),
            ("CALL p()", Effect::Several),
            ("LOAD DATA INFILE 'x' INTO TABLE t", Effect::Rows),
            ("GRANT SELECT ON t TO u", Effect::Repeatable),
            ("/*!40101 SET NAMES utf8 */", Effect::Several),
            ("", Effect::Several),
        ] {
            assert_eq!(effect(sql), expected, "{sql}");
        }
    }
}
