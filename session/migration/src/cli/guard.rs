//! Leave to destroy data (G5).
//!
//! What it must never do: let a program without a terminal answer for a person, or take an unknown server for
//! somebody's laptop.

use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Write},
};

use super::Consent;

/// What is about to be destroyed.
pub(super) struct Guard<'a> {
    pub url: &'a str,
    pub environment: Option<&'a str>,
}

/// Why it was not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody said yes.
    NotConfirmed,
    /// Not in development, and the database was not named.
    NotNamed { database: String, named: Option<String> },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfirmed => f.write_str("nothing was done: answer the question on a terminal, or give --yes"),
            Self::NotNamed { database, named: None } => write!(
                f,
                "nothing was done: this is not a development database; if you mean it, name it: --confirm {database}"
            ),
            Self::NotNamed { database, named: Some(named) } => {
                write!(f, "nothing was done: --confirm names `{named}`, but this database is `{database}`")
            }
        }
    }
}

impl Guard<'_> {
    /// Asks where it must, refuses where it may not.
    pub fn allow(&self, what: &str, consent: &Consent) -> Result<(), Refusal> {
        let database = database_name(self.url);
        if (!self.is_development() || consent.confirm.is_some())
            && consent.confirm.as_deref() != Some(database.as_str())
        {
            return Err(Refusal::NotNamed { database, named: consent.confirm.clone() });
        }
        if consent.yes || ask(what, &database) { Ok(()) } else { Err(Refusal::NotConfirmed) }
    }

    fn is_development(&self) -> bool {
        match self.environment {
            Some(name) => ["development", "dev", "test", "local"].iter().any(|dev| dev.eq_ignore_ascii_case(name)),
            None => is_local(self.url),
        }
    }
}

fn ask(what: &str, database: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    eprint!("This will {what}, in `{database}`. Type `yes` to go on: ");
    let mut answer = String::new();
    io::stderr().flush().is_ok() && io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// The database's name: the last part of a server URL's path, the file's name on SQLite.
fn database_name(url: &str) -> String {
    let without_query = url.split('?').next().unwrap_or_default();
    let rest = without_query
        .split_once("://")
        .map_or_else(|| without_query.split_once(':').map_or(without_query, |(_, rest)| rest), |(_, rest)| rest);
    rest.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// A file, or a server on this machine.
fn is_local(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once(':') else { return false };
    if scheme == "sqlite" {
        return true;
    }
    let rest = rest.trim_start_matches('/');
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let given =
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| matches!(*key, "host" | "hostaddr"));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let in_authority = authority.rsplit('@').next().unwrap_or_default();
    let host = given.map_or(in_authority, |(_, host)| host);
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    host.is_empty()
        || host.starts_with('/')
        || host.to_ascii_lowercase().starts_with("%2f")
        || matches!(host, "localhost" | "127.0.0.1" | "::1")
        || host.starts_with("[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(yes: bool, confirm: Option<&str>) -> Consent {
        Consent { yes, confirm: confirm.map(str::to_owned) }
    }

    #[test]
    fn g5_destruction_needs_a_yes_and_outside_development_the_name() {
        let local = Guard { url: "postgres://u:p@localhost:5432/shop", environment: None };
        let remote = Guard { url: "postgres://u:p@db.internal/shop?sslmode=require", environment: None };
        let named = Guard { url: "sqlite://data/shop.db?mode=rwc", environment: Some("production") };
        assert_eq!(local.allow("x", &consent(true, None)), Ok(()));
        assert_eq!(local.allow("x", &consent(false, None)), Err(Refusal::NotConfirmed));
        let not_named = |database: &str, named: Option<&str>| {
            Err(Refusal::NotNamed { database: database.to_owned(), named: named.map(str::to_owned) })
        };
        assert_eq!(remote.allow("x", &consent(true, None)), not_named("shop", None));
        assert_eq!(remote.allow("x", &consent(true, Some("shop2"))), not_named("shop", Some("shop2")));
        assert_eq!(remote.allow("x", &consent(true, Some("shop"))), Ok(()));
        assert_eq!(named.allow("x", &consent(true, None)), not_named("shop.db", None));
        assert_eq!(local.allow("x", &consent(true, Some("other"))), not_named("shop", Some("other")));
    }

    #[test]
    fn g5_only_this_machine_is_taken_for_development() {
        for url in [
            "sqlite::memory:",
            "postgres:///x?host=/tmp/s",
            "postgres://u@localhost/x",
            "postgres://u@[::1]:1/x",
            "postgres://u@%2Ftmp/x",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in [
            "postgres://localhost.evil.example/x",
            "postgres://10.0.0.1/x",
            "postgres://localhost/x?host=db.example",
            "nonsense",
        ] {
            assert!(!is_local(url), "{url}");
        }
    }
}
