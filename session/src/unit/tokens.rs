//! Commit tokens: a row that a transaction writes with its COMMIT, so that anybody can find out later whether it
//! committed (R9, M2).
//!
//! Asking is fenced: whoever asks first writes the token itself, marked as a fence, if it is not there, and a transaction
//! that comes late with the same token can then only fail. So the answer never changes afterwards, however often it is asked.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    connection::{Fetch, alone::alone, db::Db},
    dialect::CommitTokens,
    error::Error,
};

const TABLE: &str = "sea_session_commits";

/// Names one transaction for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(Uuid);

impl Token {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// The statement that leaves the token in the transaction that it rides with.
    pub(crate) fn insert_text(self) -> String {
        format!("INSERT INTO {TABLE} (token) VALUES ('{}')", self.0)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Db {
    /// Creates the table of commit tokens, once a database: `settle_by_token` and two-phase units need it.
    ///
    /// # Errors
    /// What the database says; SQLite has no need of it and refuses.
    ///
    /// # Cancel safety
    /// Safe: it exists or it does not, and may be called again.
    pub async fn create_commit_tokens(&self) -> Result<(), Error> {
        let tokens = self.dialect().need(self.dialect().commit_tokens)?;
        alone(self, tokens.create, Fetch::Nothing).await.map(|_| ())
    }

    /// Forgets tokens older than `age`; nothing that is still undecided may be that old. Returns how many.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, the statement may have been carried out or not.
    pub async fn purge_commit_tokens(&self, age: Duration) -> Result<u64, Error> {
        let (before, after) = self.dialect().need(self.dialect().commit_tokens)?.seconds;
        let sql = format!("DELETE FROM {TABLE} WHERE at < CURRENT_TIMESTAMP(6) - {before}{}{after}", age.as_secs());
        Ok(alone(self, &sql, Fetch::Nothing).await?.affected())
    }
}

/// Whether the transaction with this token committed. Waits for one that is still under way; fences one that is not.
pub(crate) async fn committed(db: &Db, token: Token) -> Result<bool, Error> {
    let CommitTokens { insert_unless_there: (insert, unless_there), reads_all, .. } =
        db.dialect().need(db.dialect().commit_tokens)?;
    let fence = format!("{insert} INTO {TABLE} (token, fence) VALUES ('{token}', true){unless_there}");
    if alone(db, &fence, Fetch::Nothing).await?.affected() > 0 {
        return Ok(false);
    }
    // Somebody was there first: the transaction, or another who asked. A statement of its own sees what the first waited for, also
    // where another node answers it (Y3).
    let left = format!("{reads_all}SELECT fence FROM {TABLE} WHERE token = '{token}'");
    match alone(db, &left, Fetch::One).await?.rows().first() {
        Some(row) => Ok(!row.try_get::<bool>("", "fence")?),
        None => Err(Error::usage("a commit token was purged while its transaction was being settled")),
    }
}
