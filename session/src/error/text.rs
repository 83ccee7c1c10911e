//! What an error says. The texts stand here, in one match; the name of the page that explains an error is put at their end in
//! one place, so that a chain of causes names one page and no more.

use std::{borrow::Cow, fmt};

use sea_orm::{DbErr, RuntimeErr};

use crate::error::{DatabaseError, Error};

/// Before and after the name of a page, at the end of a text.
const PAGE: (&str, &str) = (" (see errors/", ")");

macro_rules! pages {
    ($($variant:pat => $page:literal,)+) => {
        impl Error {
            /// The names of all pages: `docs/book/src/errors/` has a file for each.
            pub const PAGES: &[&str] = &[$($page),+];

            /// The page of the book that explains this error: `stale` is `docs/book/src/errors/stale.md`.
            ///
            /// The page is that of the error itself; [`Error::root`] leads to its first cause, which has one too.
            ///
            /// ```
            /// use sea_session::Error;
            ///
            /// let error = Error::Usage("changed my mind".into());
            /// assert_eq!(error.page(), "usage");
            /// assert_eq!(error.to_string(), "changed my mind (see errors/usage)");
            /// assert_eq!(error.text().to_string(), "changed my mind");
            /// ```
            pub fn page(&self) -> &'static str {
                match self {
                    $($variant => $page,)+
                }
            }
        }
    };
}

// Without a wildcard: a new variant does not compile before it has a page.
pages! {
    Error::Database(_) => "database",
    Error::Refused { .. } => "refused",
    Error::RolledBack { .. } => "rolled-back",
    Error::Stale { .. } => "stale",
    Error::UnrepeatableRead { .. } => "unrepeatable-read",
    Error::VersionExhausted { .. } => "version-exhausted",
    Error::TransactionEnded { .. } => "transaction-ended",
    Error::Duplicate { .. } => "duplicate",
    Error::Cycle { .. } => "cycle",
    Error::CommitUnknown { .. } => "commit-unknown",
    Error::Cancelled => "cancelled",
    Error::AfterCommit { .. } => "after-commit",
    Error::PartialCommit { .. } => "partial-commit",
    Error::Unsupported { .. } => "unsupported",
    Error::Usage(_) => "usage",
    Error::Exhausted { .. } => "exhausted",
    Error::Tenant { .. } => "tenant",
    Error::Hook { .. } => "hook",
    Error::Diverted { .. } => "diverted",
    Error::Unavailable(_) => "unavailable",
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}{}", self.text(), PAGE.0, self.page(), PAGE.1)
    }
}

impl Error {
    /// What [`Display`](fmt::Display) says, without the name of the page at its end: for a text of your own around it.
    pub fn text(&self) -> impl fmt::Display + '_ {
        Text(self)
    }
}

struct Text<'e>(&'e Error);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a caller's hook, receiver or error type says may have been made of an error of ours.
        f.write_str(without_page(&said(self.0)))
    }
}

/// The text of an error without the page that it names at its end, for errors of other crates around it.
pub fn without_page(text: &str) -> &str {
    let named = || {
        let (before, page) = text.strip_suffix(PAGE.1)?.rsplit_once(PAGE.0)?;
        page.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-').then_some(before)
    };
    named().unwrap_or(text)
}

fn said(error: &Error) -> String {
    match error {
        Error::Database(cause) => cause.to_string(),
        Error::Refused { cause } => {
            format!("refused: this block must roll back because of an earlier error: {}", Text(cause))
        }
        Error::RolledBack { cause } => {
            format!("rolled back: an error inside the block was swallowed: {}", Text(cause))
        }
        Error::Stale { entity, key, expected, found } => {
            format!("stale {entity} {key}: {}", stale_detail(*expected, *found))
        }
        Error::UnrepeatableRead { entity, key, column, change } => {
            let shown = change.as_ref().map(|change| format!(": it was {}, it is {}", change.0, change.1));
            let shown = shown.unwrap_or_default();
            format!("unrepeatable read of {entity} {key}: column `{column}` changed since it was read{shown}")
        }
        Error::VersionExhausted { entity, key, version } => format!(
            "{entity} {key}: version {version} is the last that its column can hold: widen the column before the row is changed"
        ),
        Error::TransactionEnded { cause } => {
            format!("the transaction was ended by the database, and with it the unit of work: {}", Text(cause))
        }
        Error::Duplicate { entity, key } => format!(
            "{entity} {key} is in this unit of work already: change that object, or delete it before adding another"
        ),
        Error::Cycle { cycle } => {
            format!("cannot order the flush: {cycle} (make one of these keys nullable, or flush between)")
        }
        Error::CommitUnknown { cause } => {
            format!("the answer to COMMIT was lost, and whether it was committed cannot be found out: {}", Text(cause))
        }
        Error::Cancelled => "a statement was cancelled before its answer came; its block must roll back".to_owned(),
        Error::AfterCommit { message } => format!("committed, but an on_commit hook failed afterwards: {message}"),
        Error::PartialCommit { committed, failed, unknown, cause } => {
            let unknown = match unknown.is_empty() {
                true => String::new(),
                false => format!(", not known of [{}]", unknown.join(", ")),
            };
            let (committed, failed) = (committed.join(", "), failed.join(", "));
            format!("partial commit: committed on [{committed}], not on [{failed}]{unknown}: {}", Text(cause))
        }
        Error::Unsupported { backend, what } => format!("{backend} cannot do this: {what}"),
        Error::Usage(what) => what.to_string(),
        Error::Exhausted { attempts, cause } => format!("given up after {attempts} attempts: {}", Text(cause)),
        Error::Tenant { entity, reason } => format!("{entity} belongs to tenants: {reason}"),
        Error::Hook { entity, key, hook, cause } => format!("{entity} {key}: {hook} failed: {}", Text(cause)),
        Error::Diverted { rows, what } => format!("{rows}: {what}"),
        Error::Unavailable(why) => format!("the receiver cannot be reached: {why}"),
    }
}

fn stale_detail(expected: Option<i64>, found: Option<i64>) -> String {
    match (expected, found) {
        (Some(expected), Some(found)) => format!("version {expected} was loaded, the database holds {found}"),
        (Some(expected), None) => format!("version {expected} was loaded, the row is gone"),
        (None, _) => "the row is gone".to_owned(),
    }
}

/// The database's sentence without the value that errors of class 22 (data exceptions) quote at its end.
fn without_value<'m>(message: &'m str, code: Option<&str>) -> Cow<'m, str> {
    // `Duplicate entry '…' for key 'name'`, `Incorrect integer value: '…' for column …`.
    let quotes = [("entry '", "' for key "), ("value: '", "' for ")];
    let quoted = quotes.into_iter().find_map(|(before, after)| {
        let (from, to) = (message.find(before)? + before.len() - 1, message.rfind(after)? + 1);
        (from < to).then(|| format!("{}(not shown){}", &message[..from], &message[to..]))
    });
    if let Some(hidden) = quoted.filter(|_| matches!(code, Some("23000" | "22007" | "22018" | "HY000"))) {
        return hidden.into();
    }
    match message.find(": \"") {
        Some(at) if code.is_some_and(|code| code.starts_with("22")) => {
            format!("{} (its value is not shown)", &message[..at]).into()
        }
        _ => message.into(),
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match &self.source {
            DbErr::Conn(RuntimeErr::SqlxError(e))
            | DbErr::Exec(RuntimeErr::SqlxError(e))
            | DbErr::Query(RuntimeErr::SqlxError(e)) => match e.as_database_error() {
                Some(db) => write!(f, "{}", without_value(db.message(), self.code.as_deref()))?,
                None => write!(f, "{e}")?,
            },
            other => write!(f, "{other}")?,
        }
        if let Some(constraint) = &self.constraint
            && !self.source_mentions(constraint)
        {
            write!(f, " (constraint {constraint})")?;
        }
        if let Some(code) = &self.code {
            write!(f, " [{code}]")?;
        }
        Ok(())
    }
}

impl DatabaseError {
    fn source_mentions(&self, what: &str) -> bool {
        self.source.to_string().contains(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_text_names_one_page_however_many_causes_it_has() {
        let stale = Error::Stale { entity: "note", key: "7".into(), expected: Some(1), found: None };
        let refused = Error::Refused { cause: Arc::new(stale.clone()) };
        let lost = Error::RolledBack { cause: Arc::new(refused) };
        let told = lost.to_string();
        assert!(told.ends_with("version 1 was loaded, the row is gone (see errors/rolled-back)"), "{told}");
        assert_eq!(told.matches("(see errors/").count(), 1, "{told}");
        // In the words of somebody else's error, too.
        let after = Error::AfterCommit { message: stale.to_string().into() };
        assert!(after.to_string().ends_with("the row is gone (see errors/after-commit)"), "{after}");
        let mine = Error::Usage("brackets (see errors/HERE)".into());
        assert_eq!(mine.text().to_string(), "brackets (see errors/HERE)");
    }

    #[test]
    fn no_two_variants_share_a_page() {
        let mut pages = Error::PAGES.to_vec();
        pages.sort_unstable();
        pages.dedup();
        assert_eq!(pages.len(), Error::PAGES.len());
    }
}
