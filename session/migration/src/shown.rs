//! What is shown of a database's address (W8), of a statement, and of a checksum.

use std::fmt::Write as _;

/// A statement as one line of bearable length, for messages.
pub(crate) fn shortened(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// A checksum in hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A URL as it may be shown: without the password of its user, and without what its parameters hold of the kind,
/// however it is spelled (W8). Of a text that is no URL, too little is shown rather than too much.
#[must_use]
pub fn without_password(url: &str) -> String {
    let start = url.find("://").map_or_else(|| url.find(':').map_or(0, |at| at + 1), |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    // A password may hold a `/`, `?` or `@` that nobody encoded: its end is the last `@` that can be one.
    let query = rest.find('?').unwrap_or(rest.len());
    let at = rest[..query].rfind('@').or_else(|| {
        let at = rest.rfind('@')?;
        (!rest[query..at].contains('=')).then_some(at)
    });
    let (login, rest) = at.map_or(("", rest), |at| rest.split_at(at));
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    let mut shown = format!("{scheme}{user}");
    let mut hidden = false;
    for part in rest.split_inclusive(['?', '&', ';', ' ']) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        // What follows a hidden value and has no name may be more of it.
        let has_name = part.contains('=');
        if has_name {
            hidden = is_secret(name);
        }
        match (hidden, has_name) {
            (false, _) => shown.push_str(part),
            (true, true) => {
                shown.push_str(name);
                shown.push_str("=***");
                shown.extend(value.chars().last().filter(|end| matches!(end, '&' | ';' | ' ')));
            }
            (true, false) => {}
        }
    }
    shown
}

fn is_secret(name: &str) -> bool {
    let name = decoded(name).to_lowercase();
    ["pass", "pwd", "secret", "token", "key", "credential", "auth"].iter().any(|word| name.contains(word))
}

/// With `%70` as `p`; a name that is spelled with other characters than ASCII is none of these words.
fn decoded(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut decoded = String::with_capacity(name.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(char::from(byte));
                at += 3;
            }
            None => {
                decoded.push(char::from(*byte));
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn w8_no_form_of_a_url_shows_its_password() {
        for (url, shown) in [
            ("postgres://ann:hunter2@db:5432/memory", "postgres://ann@db:5432/memory"),
            ("postgres://ann:hun@ter2@db/memory", "postgres://ann@db/memory"),
            ("postgres://ann:hunter2/x@db/memory", "postgres://ann@db/memory"),
            ("postgres://ann:hunter2?x@db/memory", "postgres://ann@db/memory"),
            ("postgres://:hunter2@db/memory", "postgres://@db/memory"),
            ("postgres://ann@db/memory?password=hunter2", "postgres://ann@db/memory?password=***"),
            (
                "postgres://db/memory?password=hunter2@x&sslmode=require",
                "postgres://db/memory?password=***&sslmode=require",
            ),
            ("postgres://db/m?sslmode=require&PassWord=hunter2", "postgres://db/m?sslmode=require&PassWord=***"),
            ("postgres://db/m?pass%77ord=hunter2", "postgres://db/m?pass%77ord=***"),
            ("postgres://db/m?password=hun&ter2", "postgres://db/m?password=***&"),
            ("postgres:ann:hunter2@db/m", "postgres:ann@db/m"),
            ("host=db user=ann password=hunter2 dbname=m", "host=db user=ann password=*** dbname=m"),
            ("https://index.example/ctx?token=hunter2", "https://index.example/ctx?token=***"),
            ("sqlite://ctx.db?mode=rwc", "sqlite://ctx.db?mode=rwc"),
            ("ctx.db", "ctx.db"),
        ] {
            assert_eq!(without_password(url), shown, "{url}");
            assert!(!without_password(url).contains("ter2"), "{url}");
        }
    }
}
