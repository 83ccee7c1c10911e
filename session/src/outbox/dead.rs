//! Dead letters: events that were given up (Q4). They are listed, shown, replayed and purged by hand; nothing here does so
//! by itself.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;

use super::{Outbox, reason::plain};
use crate::{connection::text::Text, error::Error};

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, FromQueryResult)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub account_id: String,
    /// What order was kept for.
    pub event_key: String,
    /// Its place in that order.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// The particulars.
    pub payload: serde_json::Value,
    /// How often it was tried.
    pub attempts: i32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was given up.
    pub finished_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str =
    "id, account_id, event_key, sequence, event_type, payload, attempts, last_error, created_at, finished_at";

impl Outbox {
    /// Dead letters with a number above `after`, oldest first, at most `most`: a page.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn dead(&self, after: i64, most: u64) -> Result<Vec<DeadLetter>, Error> {
        let mut text = self.text();
        let topic = text.bind(self.topic.clone().into());
        let after = text.bind(after.into());
        text.sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE topic = {topic} AND state = 'dead' AND finished_at IS NOT NULL AND last_error IS NOT NULL \
             AND id > {after} ORDER BY id LIMIT {most}",
            self.table()
        );
        let rows = self.query(text).await?;
        let letter = |row| {
            let letter = DeadLetter::from_query_result(row, "")?;
            // What an earlier version kept as the receiver said it.
            Ok(DeadLetter { last_error: letter.last_error.as_deref().map(plain), ..letter })
        };
        rows.iter().map(letter).collect()
    }

    /// One dead letter.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, Error> {
        Ok(self.dead(id - 1, 1).await?.into_iter().find(|letter| letter.id == id))
    }

    /// Has dead letters delivered after all: these, or all for `None`. They start with no attempts made, and behind what
    /// their key has delivered since. Returns how many.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, the statement may have been carried out or not.
    pub async fn replay(&self, ids: Option<&[i64]>) -> Result<u64, Error> {
        let mut text = self.text();
        let now = text.bind(Utc::now().into());
        let which = self.which(&mut text, ids);
        text.sql = format!(
            "UPDATE {} SET state = 'pending', attempts = 0, available_at = {now}, finished_at = NULL, last_error = NULL \
             WHERE {which}",
            self.table()
        );
        let replayed = self.execute(text).await?;
        self.wake();
        Ok(replayed)
    }

    /// Removes dead letters: these, or all for `None`. Returns how many.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, the statement may have been carried out or not.
    pub async fn purge_dead(&self, ids: Option<&[i64]>) -> Result<u64, Error> {
        let mut text = self.text();
        let which = self.which(&mut text, ids);
        text.sql = format!("DELETE FROM {} WHERE {which}", self.table());
        self.execute(text).await
    }

    fn which(&self, text: &mut Text, ids: Option<&[i64]>) -> String {
        let topic = text.bind(self.topic.clone().into());
        let dead = format!("topic = {topic} AND state = 'dead' AND finished_at IS NOT NULL AND last_error IS NOT NULL");
        match ids {
            None => dead,
            Some([]) => format!("{dead} AND 1 = 0"),
            Some(ids) => {
                let places: Vec<String> = ids.iter().map(|id| text.bind((*id).into())).collect();
                format!("{dead} AND id IN ({})", places.join(", "))
            }
        }
    }
}
