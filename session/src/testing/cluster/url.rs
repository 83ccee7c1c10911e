//! A PostgreSQL URL taken apart, so that the same server can be named with another database, role or address.
//!
//! Text in, text out: parameters that nobody asks about stay as they were written.

use std::fmt::{self, Display, Formatter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use super::cluster_error::ClusterError;

/// `postgres://user@host/database?parameters`, in parts that are still percent-encoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PgUrl {
    user: String,
    host: String,
    database: String,
    parameters: Vec<(String, String)>,
}

impl PgUrl {
    /// The administrator of the cluster whose socket is in this folder.
    pub(super) fn on_socket(folder: &Path) -> Self {
        // Port and TLS are spelled out: PGPORT and PGSSLMODE of the environment would otherwise fill them in.
        PgUrl {
            user: "postgres".into(),
            host: "localhost:5432".into(),
            database: "postgres".into(),
            parameters: vec![
                ("host".into(), encoded(&folder.to_string_lossy()).replace("%2F", "/")),
                ("sslmode".into(), "disable".into()),
            ],
        }
    }

    pub(super) fn with_database(&self, database: &str) -> Self {
        let mut url = self.without(&["dbname"]);
        url.database = encoded(database);
        url
    }

    pub(super) fn with_user(&self, user: &str, password: Option<&str>) -> Self {
        let mut url = self.without(&["user", "password"]);
        url.user = match password {
            Some(password) => format!("{}:{}", encoded(user), encoded(password)),
            None => encoded(user),
        };
        url
    }

    /// The same database through another address, without TLS: for a proxy.
    pub(super) fn through(&self, address: SocketAddr) -> Self {
        let mut url = self.without(&["host", "hostaddr", "port", "sslmode", "ssl-mode"]);
        url.host = address.to_string();
        url.parameters.push(("sslmode".into(), "disable".into()));
        url
    }

    fn without(&self, names: &[&str]) -> Self {
        let mut url = self.clone();
        url.parameters.retain(|(name, _)| !names.contains(&name.as_str()));
        url
    }
}

impl FromStr for PgUrl {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let (place, query) = split(rest.ok_or(ClusterError::Url)?, '?');
        let (authority, database) = split(place, '/');
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let parameters = pairs.map(|pair| split(pair, '=')).map(|(name, value)| (name.into(), value.into())).collect();
        Ok(PgUrl { user: user.into(), host: host.into(), database: database.into(), parameters })
    }
}

fn split(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}

impl Display for PgUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        write!(f, "{}/{}", self.host, self.database)?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            write!(f, "{mark}{name}={value}")?;
        }
        Ok(())
    }
}

/// Percent-encodes all but what is plain in every part of a URL.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            // Writing to a String cannot fail.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> PgUrl {
        text.parse().expect("a URL")
    }

    #[test]
    fn a_url_survives_being_taken_apart() {
        for text in [
            "postgres://postgres@localhost:5432/postgres?host=/tmp/x&sslmode=disable",
            "postgres://a%40b:p%3Aw@db.example:6000/main?application_name=x%20y",
            "postgres://[::1]:5432/x",
            "postgres:///x?host=/tmp",
        ] {
            assert_eq!(parsed(text).to_string(), text);
        }
        assert!(matches!("mysql://x@y/z".parse::<PgUrl>(), Err(ClusterError::Url)));
    }

    #[test]
    fn parts_are_replaced_wherever_they_were_written() {
        let url = parsed("postgresql://me:pw@db/main?dbname=other&user=you&password=x&keep=1");
        let url = url.with_database("a b").with_user("app role", Some("s@c"));
        assert_eq!(url.to_string(), "postgres://app%20role:s%40c@db/a%20b?keep=1");
    }

    #[test]
    fn a_proxy_replaces_the_socket() {
        let url = PgUrl::on_socket(Path::new("/tmp/a b")).with_database("x");
        assert_eq!(url.to_string(), "postgres://postgres@localhost:5432/x?host=/tmp/a%20b&sslmode=disable");
        let address = "127.0.0.1:7777".parse().expect("an address");
        assert_eq!(url.through(address).to_string(), "postgres://postgres@127.0.0.1:7777/x?sslmode=disable");
    }
}
