//! Transaction control in SQL of the caller's own (D11): found before it is sent, and refused with the name of what to use.
//!
//! The session counts its blocks by what it sends itself. This module reads a text as the database would (comments, strings,
//! bodies of triggers and functions) and looks at how each statement of it begins; it never looks into literals.

use crate::{
    dialect::{Dialect, Lexing},
    error::Error,
};

/// Refuses a text in which a statement begins, ends or divides a transaction.
pub(crate) fn refuse_control(sql: &str, dialect: &Dialect) -> Result<(), Error> {
    match control_in(sql, dialect) {
        None => Ok(()),
        Some(Control { word, instead }) => Err(Error::usage(format!(
            "{word} was to be sent as SQL of its own: a unit of work controls its transaction itself; {instead}"
        ))),
    }
}

/// Whether a text is one query that a cursor can be declared for: it reads, and only that. A query that only looks as if it
/// wrote is not taken for one.
pub(crate) fn is_cursor_query(sql: &str, dialect: &Dialect) -> bool {
    let mut words = Words { rest: sql, lexing: dialect.lexing };
    let first = words.next_word().unwrap_or_default().to_ascii_uppercase();
    let writes: &[&str] = match first.as_str() {
        "SELECT" | "VALUES" => &["INTO"],
        "WITH" => &["INTO", "INSERT", "UPDATE", "DELETE", "MERGE"],
        _ => return false,
    };
    while let Some(token) = words.token() {
        match token {
            Lexeme::Word(word) if writes.iter().any(|writes| word.eq_ignore_ascii_case(writes)) => return false,
            Lexeme::Semicolon => return false,
            _ => {}
        }
    }
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Control {
    word: &'static str,
    instead: &'static str,
}

const BEGIN: &str = "the first statement begins it; a part that can be rolled back by itself is a block: `s.atomic(…)`";
const COMMIT: &str = "return `Ok` from the block, or call `commit()` on a unit that was begun by hand";
const ROLLBACK: &str = "return an error, call `set_rollback(true)`, or `rollback()` on a unit that was begun by hand; `rollback_to(…)` goes back to a savepoint";
const SAVEPOINT: &str = "use `s.atomic(…)`, or `s.savepoint()` for one by hand";
const RELEASE: &str = "use `s.release(…)` with the savepoint that `s.savepoint()` gave";
const PREPARE: &str = "use `Several::two_phase`";
const PREPARED: &str = "`Several::recover` ends what was prepared";
const COMMITS: &str = "it commits what the unit has done so far: send it outside of units, with `Db::connection()`";
const SETTINGS: &str = "open the unit with `.isolation(…)`, `.read_only()` or `.deferrable()`";

fn control_in(sql: &str, dialect: &Dialect) -> Option<Control> {
    let mut words = Words { rest: sql, lexing: dialect.lexing };
    loop {
        let first = words.next_word()?;
        if let Some(control) = control(first, &mut words.clone()) {
            return Some(control);
        }
        if dialect.implicit_commits
            && let Some(control) = implicit_commit(first, words.clone())
        {
            return Some(control);
        }
        // Most texts are one statement: what follows need not be read.
        if !words.rest.as_bytes().contains(&b';') {
            return None;
        }
        words.skip_statement(first);
    }
}

/// What a statement is that begins with `first`; `rest` is read as far as that takes.
fn control(first: &str, rest: &mut Words<'_>) -> Option<Control> {
    let found = |word, instead| Some(Control { word, instead });
    let is = |word: &str, keyword: &str| word.eq_ignore_ascii_case(keyword);
    let mut next_is =
        |keyword: &str| rest.clone().next_word().is_some_and(|word| is(word, keyword)) && rest.next_word().is_some();
    match first.to_ascii_uppercase().as_str() {
        "BEGIN" => found("BEGIN", BEGIN),
        "START" => found("START TRANSACTION", BEGIN),
        "COMMIT" if next_is("PREPARED") => found("COMMIT PREPARED", PREPARED),
        "COMMIT" => found("COMMIT", COMMIT),
        "END" => found("END", COMMIT),
        "ROLLBACK" if next_is("PREPARED") => found("ROLLBACK PREPARED", PREPARED),
        "ROLLBACK" => found("ROLLBACK", ROLLBACK),
        "ABORT" => found("ABORT", ROLLBACK),
        "SAVEPOINT" => found("SAVEPOINT", SAVEPOINT),
        "RELEASE" => found("RELEASE", RELEASE),
        "PREPARE" if next_is("TRANSACTION") => found("PREPARE TRANSACTION", PREPARE),
        "SET" => {
            let session = next_is("SESSION");
            if session && next_is("CHARACTERISTICS") {
                return found("SET SESSION CHARACTERISTICS", SETTINGS);
            }
            // `SET LOCAL` and `SET SESSION` come before the name of a setting.
            let _ = !session && next_is("LOCAL");
            let settings = ["TRANSACTION", "TRANSACTION_ISOLATION", "TRANSACTION_READ_ONLY", "TRANSACTION_DEFERRABLE"];
            settings.into_iter().any(next_is).then_some(Control { word: "SET TRANSACTION", instead: SETTINGS })
        }
        _ => None,
    }
}

/// Statements that commit where the database has no transactions of such changes. What is only about temporary tables does not.
fn implicit_commit(first: &str, mut rest: Words<'_>) -> Option<Control> {
    const COMMITTING: [&str; 18] = [
        "ALTER",
        "CREATE",
        "DROP",
        "TRUNCATE",
        "RENAME",
        "GRANT",
        "REVOKE",
        "ANALYZE",
        "OPTIMIZE",
        "REPAIR",
        "LOCK",
        "UNLOCK",
        "FLUSH",
        "RESET",
        "INSTALL",
        "UNINSTALL",
        "CACHE",
        "XA",
    ];
    let is = |word: &str, keyword: &str| word.eq_ignore_ascii_case(keyword);
    if is(first, "SET") {
        while let Some(token) = rest.token() {
            match token {
                Lexeme::Word(word) if is(word, "AUTOCOMMIT") => {
                    return Some(Control { word: "SET AUTOCOMMIT", instead: COMMITS });
                }
                Lexeme::Semicolon => break,
                _ => {}
            }
        }
        return None;
    }
    let word = COMMITTING.into_iter().find(|word| is(first, word))?;
    let mut next = rest.next_word().unwrap_or_default();
    if is(next, "OR") {
        next = rest.next_word().and_then(|_| rest.next_word()).unwrap_or_default();
    }
    let temporary = is(next, "TEMPORARY") && matches!(word, "CREATE" | "DROP");
    (!temporary).then_some(Control { word, instead: COMMITS })
}

/// The words of a text, literals and comments left out.
#[derive(Clone)]
struct Words<'s> {
    rest: &'s str,
    lexing: Lexing,
}

/// A piece of a text.
enum Lexeme<'s> {
    Word(&'s str),
    Semicolon,
    /// A literal, a quoted name, a sign.
    Other,
}

impl<'s> Words<'s> {
    /// The next word of the statement, after what may stand before it.
    fn next_word(&mut self) -> Option<&'s str> {
        loop {
            let opens = self.rest.trim_start().starts_with('(');
            match self.token()? {
                Lexeme::Word(word) => return Some(word),
                Lexeme::Semicolon => {}
                Lexeme::Other if opens => {}
                Lexeme::Other => return Some(""),
            }
        }
    }

    /// Goes past the end of the statement that began with `first`. The body of a trigger or function has semicolons of its own.
    fn skip_statement(&mut self, first: &str) {
        let (mut head, mut has_body, mut depth) = (first.eq_ignore_ascii_case("CREATE").then_some(0), false, 0_usize);
        while let Some(token) = self.token() {
            match token {
                Lexeme::Semicolon if depth == 0 => return,
                Lexeme::Word(word) => {
                    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
                    // CREATE OR REPLACE TEMPORARY TRIGGER
                    if let Some(words) = head.filter(|words| *words < 4) {
                        head = Some(words + 1);
                        has_body |= is("TRIGGER") || is("FUNCTION") || is("PROCEDURE");
                    }
                    let begins = || {
                        is("BEGIN")
                            && (self.lexing.bare_bodies
                                || self.clone().next_word().is_some_and(|next| next.eq_ignore_ascii_case("ATOMIC")))
                    };
                    if has_body && (begins() || depth > 0 && is("CASE")) {
                        depth += 1;
                    } else if is("END") {
                        depth = depth.saturating_sub(1);
                    }
                }
                _ => {}
            }
        }
    }

    fn token(&mut self) -> Option<Lexeme<'s>> {
        loop {
            // SQLite takes the mark of the byte order for a space.
            self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            if let Some(comment) = self.line_comment() {
                self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
            } else if let Some(carried_out) = self.carried_out() {
                self.rest = carried_out;
            } else if self.rest.starts_with("/*") {
                self.skip_comment();
            } else {
                break;
            }
        }
        let first = self.rest.chars().next()?;
        if is_word(first) && !first.is_ascii_digit() && first != '$' {
            let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            // E'…' has escapes; other words may stand before a string as well (N'…', U&'…', x'…').
            if word.eq_ignore_ascii_case("E") && self.lexing.escape_strings && rest.starts_with('\'') {
                self.skip_string(true);
                return Some(Lexeme::Other);
            }
            return Some(Lexeme::Word(word));
        }
        match first {
            ';' => {
                self.rest = &self.rest[1..];
                return Some(Lexeme::Semicolon);
            }
            '\'' => self.skip_string(self.lexing.backslashes),
            '"' => self.skip_quoted('"'),
            '`' if self.lexing.backticks => self.skip_quoted('`'),
            '[' if self.lexing.brackets => self.skip_past("]", 1),
            '$' if self.lexing.dollar_quotes => self.skip_dollars(),
            '0'..='9' => {
                let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            }
            other => self.rest = &self.rest[other.len_utf8()..],
        }
        Some(Lexeme::Other)
    }

    /// What stands in a comment up to the end of the line.
    fn line_comment(&self) -> Option<&'s str> {
        match (self.rest.strip_prefix("--"), self.lexing.hash_comments) {
            (Some(comment), false) => Some(comment),
            (Some(comment), true) => comment.chars().next().is_none_or(char::is_whitespace).then_some(comment),
            (None, true) => self.rest.strip_prefix('#'),
            (None, false) => None,
        }
    }

    /// What follows the beginning of a comment that is no comment to the database: `/*!50700 … */`, `/*M! … */`.
    fn carried_out(&self) -> Option<&'s str> {
        let comment = self.rest.strip_prefix("/*").filter(|_| self.lexing.executable_comments)?;
        let text = comment.strip_prefix('M').unwrap_or(comment).strip_prefix('!')?;
        Some(text.trim_start_matches(|c: char| c.is_ascii_digit()))
    }

    /// PostgreSQL's comments hold comments, SQLite's do not.
    fn skip_comment(&mut self) {
        let nested = self.lexing.nested_comments;
        let mut depth = 0;
        while !self.rest.is_empty() {
            if self.rest.starts_with("/*") && (nested || depth == 0) {
                depth += 1;
                self.rest = &self.rest[2..];
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.rest = &self.rest[2..];
                if depth == 0 {
                    return;
                }
            } else {
                let next = self.rest.char_indices().nth(1).map_or(self.rest.len(), |(at, _)| at);
                self.rest = &self.rest[next..];
            }
        }
    }

    fn skip_string(&mut self, escapes: bool) {
        let mut escaped = true;
        for (at, sign) in self.rest.char_indices() {
            match sign {
                // The first is the quote that opens it; a doubled one closes it and opens the next.
                _ if escaped => escaped = false,
                '\\' if escapes => escaped = true,
                '\'' => {
                    self.rest = &self.rest[at + 1..];
                    return;
                }
                _ => {}
            }
        }
        self.rest = "";
    }

    fn skip_quoted(&mut self, quote: char) {
        let end = self.rest[1..].find(quote);
        self.rest = end.map_or("", |end| &self.rest[end + 2..]);
    }

    fn skip_past(&mut self, end: &str, from: usize) {
        self.rest = self.rest[from..].find(end).map_or("", |at| &self.rest[from + at + end.len()..]);
    }

    /// `$tag$ … $tag$`, or a parameter.
    fn skip_dollars(&mut self) {
        let tag = self.rest[1..].find(|c: char| !is_word(c) || c == '$');
        match tag
            .map(|end| &self.rest[..end + 2])
            .filter(|tag| tag.ends_with('$') && !tag[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            Some(tag) => self.skip_past(tag, tag.len()),
            None => self.rest = &self.rest[1..],
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() && !c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::DIALECTS;

    fn word(sql: &str, backend: &str) -> Option<&'static str> {
        let dialect = DIALECTS.iter().find(|dialect| dialect.name == backend).unwrap();
        control_in(sql, dialect).map(|control| control.word)
    }

    #[test]
    fn d11_control_is_found_wherever_a_statement_begins() {
        for (sql, expected) in [
            ("BEGIN", "BEGIN"),
            ("begin immediate", "BEGIN"),
            ("  \n\tCommit;", "COMMIT"),
            ("commit work and chain", "COMMIT"),
            ("END TRANSACTION", "END"),
            ("end", "END"),
            ("-- why\nROLLBACK", "ROLLBACK"),
            ("/* a; b */ rollback to savepoint x", "ROLLBACK"),
            ("abort", "ABORT"),
            ("savepoint x", "SAVEPOINT"),
            ("RELEASE x", "RELEASE"),
            ("((commit))", "COMMIT"),
            (";;; ;commit", "COMMIT"),
            ("start transaction isolation level serializable", "START TRANSACTION"),
            ("PREPARE/* */TRANSACTION 'x'", "PREPARE TRANSACTION"),
            ("commit prepared 'x'", "COMMIT PREPARED"),
            ("Rollback Prepared 'x'", "ROLLBACK PREPARED"),
            ("SET TRANSACTION READ ONLY", "SET TRANSACTION"),
            ("set local transaction_isolation = 'serializable'", "SET TRANSACTION"),
            ("set session characteristics as transaction read only", "SET SESSION CHARACTERISTICS"),
            ("SELECT 1; COMMIT", "COMMIT"),
            ("INSERT INTO t VALUES ('a;''b'), (\"c;\") ; /* ; */ -- ;\n COMMIT", "COMMIT"),
            ("UPDATE t SET a = 1;;\n;rollback;", "ROLLBACK"),
            ("\u{feff}COMMIT", "COMMIT"),
            ("CREATE TABLE t (a int); COMMIT", "COMMIT"),
            ("SELECT CASE a WHEN 1 THEN 2 END; COMMIT", "COMMIT"),
        ] {
            for backend in ["SQLite", "PostgreSQL"] {
                assert_eq!(word(sql, backend), Some(expected), "{backend:?}: {sql}");
            }
        }
        assert_eq!(word("SELECT $a$ ; $b$; $a$; COMMIT", "PostgreSQL"), Some("COMMIT"));
        assert_eq!(word(r"SELECT E'\'; '; COMMIT", "PostgreSQL"), Some("COMMIT"));
        assert_eq!(word(r"SELECT '\'; COMMIT", "PostgreSQL"), Some("COMMIT"));
        assert_eq!(word("SELECT `a;`, [b;]; COMMIT", "SQLite"), Some("COMMIT"));
        assert_eq!(word("/* /* */ COMMIT", "SQLite"), Some("COMMIT"));
        let trigger =
            "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; DELETE FROM b; END; COMMIT";
        assert_eq!(word(trigger, "SQLite"), Some("COMMIT"));
        let function = "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; COMMIT";
        assert_eq!(word(function, "PostgreSQL"), Some("COMMIT"));
    }

    #[test]
    fn d11_what_commits_without_saying_so_is_control_where_it_does() {
        if !DIALECTS.iter().any(|dialect| dialect.implicit_commits) {
            return;
        }
        for (sql, expected) in [
            ("CREATE TABLE t (a int)", "CREATE"),
            ("create or replace view v as select 1", "CREATE"),
            ("SELECT 1; drop table t", "DROP"),
            ("truncate t", "TRUNCATE"),
            ("/*!50000 ALTER */ TABLE t ADD b int", "ALTER"),
            ("/*M!100600 COMMIT */", "COMMIT"),
            ("SET @@session.autocommit = 1", "SET AUTOCOMMIT"),
            ("set autocommit=0", "SET AUTOCOMMIT"),
            ("lock tables t write", "LOCK"),
            ("SELECT 5--1; COMMIT", "COMMIT"),
            (r"SELECT 'a\'; ', 1; COMMIT", "COMMIT"),
            ("# a comment; it's\nCOMMIT", "COMMIT"),
            ("start transaction", "START TRANSACTION"),
        ] {
            assert_eq!(word(sql, "MySQL"), Some(expected), "{sql}");
        }
        for sql in [
            "CREATE TEMPORARY TABLE t (a int)",
            "create or replace temporary table t (a int)",
            "DROP TEMPORARY TABLE t",
            "-- COMMIT",
            "# COMMIT",
            r"SELECT 'a\'; COMMIT'",
            "SET @a = 1; SELECT `commit`",
            "UPDATE t SET autocommit = 1",
        ] {
            assert_eq!(word(sql, "MySQL"), None, "{sql}");
        }
        assert_eq!(word("CREATE TABLE t (a int)", "PostgreSQL"), None);
    }

    #[test]
    fn d11_what_only_holds_such_words_is_no_control() {
        for sql in [
            "",
            ";",
            "-- COMMIT",
            "/* COMMIT",
            "SELECT 'COMMIT; ROLLBACK'",
            "SELECT 1; SELECT '; COMMIT'; -- COMMIT",
            "SELECT \"commit\" FROM t; SELECT \"; commit\" FROM t",
            "SELECT begin, commit FROM t",
            "INSERT INTO t VALUES (1); UPDATE commits SET a = 1",
            "COMMITTED",
            "SELECT 1 AS x; SELECT 2 AS \"end\"",
            "SET CONSTRAINTS ALL DEFERRED",
            "SET LOCAL statement_timeout = 1; SET search_path = a",
            "set session statement_timeout = 1",
            "EXPLAIN SELECT 1",
            "ROLLBACKS",
            "_commit",
        ] {
            for backend in ["SQLite", "PostgreSQL"] {
                assert_eq!(word(sql, backend), None, "{backend:?}: {sql}");
            }
        }
        for sql in [
            "SELECT $$; COMMIT; $$",
            "DO $do$ BEGIN PERFORM 1; END; $do$",
            "SELECT $1; SELECT $2",
            "/* /* */ COMMIT */ SELECT 1",
            r"SELECT E'\'; COMMIT'",
            "PREPARE plan AS SELECT 1",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 2; END",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$; SELECT 1",
        ] {
            assert_eq!(word(sql, "PostgreSQL"), None, "{sql}");
        }
        for sql in [
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; SELECT CASE 1 WHEN 1 THEN 2 END; END",
            "CREATE TRIGGER IF NOT EXISTS t AFTER INSERT ON a BEGIN DELETE FROM b; END; SELECT 1;",
            "SELECT `; commit`, [; commit]",
        ] {
            assert_eq!(word(sql, "SQLite"), None, "{sql}");
        }
    }

    #[test]
    fn u8_a_stream_knows_which_texts_only_read() {
        let cases = [
            ("SELECT a FROM t", true),
            ("(select 1) union (select 2)", true),
            ("SELECT 'a; INTO b' FROM t FOR UPDATE", true),
            ("-- why\nVALUES (1)", true),
            ("WITH x AS (SELECT 1) SELECT * FROM x", true),
            ("WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x", false),
            ("SELECT a INTO b FROM t", false),
            ("SELECT 1; SELECT 2", false),
            ("INSERT INTO t (a) VALUES (1) RETURNING a", false),
            ("UPDATE t SET a = 1 RETURNING a", false),
            ("EXPLAIN SELECT 1", false),
            ("", false),
        ];
        for dialect in DIALECTS {
            for (sql, reads) in cases {
                assert_eq!(is_cursor_query(sql, dialect), reads, "{}: {sql}", dialect.name);
            }
        }
    }
}
