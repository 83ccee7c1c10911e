//! A sink that posts JSON to an index elsewhere.
//!
//! `POST {url}` with `{"operation": "upsert", "records": […]}` or `{"operation": "delete", "records": […]}`. Headers:
//! `X-Ctx-Timestamp`, the seconds since 1970, and `X-Ctx-Signature: sha256=…`, HMAC-SHA256 in hexadecimal over
//! `{timestamp}.{body}` with the shared secret, so that a receiver can tell who sends and refuse what is old.
//!
//! Nothing counts as taken but what the receiver says it took, record by record (W4): an answer of `2xx` has the body
//! `{"taken": [id, …], "refused": [{"id": …, "reason": …, "again": false}]}`. Where there is `refused` and no `taken`,
//! all the others are taken. A record that is in neither comes again.
//!
//! | Answer | What is made of it |
//! |---|---|
//! | 2xx with that body | what it says |
//! | 2xx with anything else, or with nothing | [`Unavailable`]: whoever answered is no index |
//! | 3xx | [`Unavailable`]: redirects are not followed, since a signed request is for the address that was given |
//! | 408, 429, 5xx, no answer | again after `Retry-After`, else after a pause that doubles; then [`Unavailable`] |
//! | 400, 413, 422 | something in it is bad: each half by itself, down to the record that is refused |
//! | anything else | [`Unavailable`]: an operator has to look (401, 403, 404), and no record is to blame |
//!
//! Of an answer no more than a mebibyte is read, and a request has no more than eight, but for a single record.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, time::Duration};

use async_trait::async_trait;
use chrono::Utc;
use hmac::{Hmac, Mac};
use reqwest::{Client, StatusCode, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Gone, IndexSink, Refused, Unavailable};
use crate::{
    error::StoreError,
    http::{self, Again, Retries},
    record::{Record, hex},
};

/// Posts to an index elsewhere.
#[derive(Clone)]
pub struct HttpSink {
    client: Client,
    url: Url,
    secret: Option<String>,
    retries: Retries,
}

impl fmt::Debug for HttpSink {
    /// Without the secret, and without what a URL may hold of one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Request<'r, T> {
    operation: &'static str,
    records: &'r [T],
}

#[derive(Debug, Deserialize)]
struct Answer {
    taken: Option<Vec<Named>>,
    refused: Option<Vec<RefusedRecord>>,
}

/// A record that was taken: its id, or its id and account where the same id may be of two.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Named {
    Id(String),
    Full { id: String, account_id: Option<String> },
}

impl Named {
    fn names(&self, account: &str, record: &str) -> bool {
        match self {
            Named::Id(id) => id == record,
            Named::Full { id, account_id } => {
                id == record && account_id.as_deref().is_none_or(|named| named == account)
            }
        }
    }
}

/// Of an answer no more is read.
const LONGEST_ANSWER: usize = 1 << 20;

/// A request with several records is no longer.
const LONGEST_REQUEST: usize = 8 << 20;

#[derive(Debug, Deserialize)]
struct RefusedRecord {
    id: String,
    #[serde(default)]
    account_id: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    again: bool,
}

/// What a post came to.
enum Posted {
    Taken(Answer),
    /// Something in it is bad.
    Bad(String),
}

/// A record or a [`Gone`].
trait Item: Serialize + Sync {
    fn names(&self) -> (&str, &str, sea_orm::prelude::Uuid);

    fn refused(&self, reason: &str, again: bool) -> Refused {
        let (_, id, node_id) = self.names();
        Refused { node_id, record_id: id.to_owned(), reason: reason.to_owned(), again }
    }
}

impl Item for Record {
    fn names(&self) -> (&str, &str, sea_orm::prelude::Uuid) {
        (&self.account_id, &self.id, self.node_id)
    }
}

impl Item for Gone {
    fn names(&self) -> (&str, &str, sea_orm::prelude::Uuid) {
        (&self.account_id, &self.id, self.node_id)
    }
}

impl HttpSink {
    /// A sink to this address: 4 attempts, pauses from 200 ms to 30 s, 30 s for an answer.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for what is no `http` or `https` address; `https` needs one of the `tls`
    /// features.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let (client, url) = http::client(url, "an index")?;
        Ok(Self { client, url, secret: None, retries: Retries::default() })
    }

    /// Signs every request with this secret.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// How often to try before the receiver counts as down, and the first and the longest pause in between.
    pub fn retries(mut self, attempts: u32, first_pause: Duration, longest_pause: Duration) -> Self {
        self.retries = Retries { attempts: attempts.max(1), first_pause, longest_pause };
        self
    }

    /// Sends a batch; where it is refused as a whole, each half by itself.
    fn send<'a, T: Item>(
        &'a self,
        operation: &'static str,
        records: &'a [T],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Refused>, Unavailable>> + Send + 'a>> {
        Box::pin(async move {
            let body = serde_json::to_vec(&Request { operation, records }).map_err(|e| Unavailable(e.to_string()))?;
            if body.len() > LONGEST_REQUEST && records.len() > 1 {
                return self.halves(operation, records).await;
            }
            match self.post(body).await? {
                Posted::Taken(answer) => Ok(refused(records, &answer)),
                Posted::Bad(reason) if records.len() <= 1 => {
                    Ok(records.iter().map(|record| record.refused(&reason, false)).collect())
                }
                Posted::Bad(_) => self.halves(operation, records).await,
            }
        })
    }

    async fn halves<T: Item>(&self, operation: &'static str, records: &[T]) -> Result<Vec<Refused>, Unavailable> {
        let (left, right) = records.split_at(records.len() / 2);
        let mut refused = self.send(operation, left).await?;
        refused.extend(self.send(operation, right).await?);
        Ok(refused)
    }

    async fn post(&self, body: Vec<u8>) -> Result<Posted, Unavailable> {
        let mut tries = self.retries.begin();
        loop {
            match self.post_once(&body).await {
                Ok(posted) => return posted,
                Err(again) => tries.wait(again).await.map_err(Unavailable)?,
            }
        }
    }

    /// One request: what came of it, or why it should be tried again and after how long, if the receiver says so.
    async fn post_once(&self, body: &[u8]) -> Result<Result<Posted, Unavailable>, Again> {
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(secret) = &self.secret {
            let at = Utc::now().timestamp().to_string();
            let signature = signature(secret.as_bytes(), &at, body);
            request = request.header("X-Ctx-Timestamp", at).header("X-Ctx-Signature", signature);
        }
        let response = request.body(body.to_vec()).send().await.map_err(Again::of)?;
        let status = response.status();
        if let Some(again) = Again::asked("the index", &response) {
            return Err(again);
        }
        if status.is_redirection() {
            return Ok(Err(Unavailable(format!("the index answered {status}: {}", http::NO_REDIRECTS))));
        }
        let text = http::body_of(response, LONGEST_ANSWER).await.map_err(Again::of)?;
        Ok(match (status, text) {
            (StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY, text) => {
                let words = text.as_deref().unwrap_or_default();
                Ok(Posted::Bad(format!("the index answered {status}: {}", http::first_words(words))))
            }
            (status, Some(text)) if status.is_success() => taken(status, &text),
            (status, None) if status.is_success() => {
                Err(Unavailable(format!("the index answered {status} with more than {LONGEST_ANSWER} bytes")))
            }
            (status, _) => Err(Unavailable(format!("the index answered {status}"))),
        })
    }
}

/// What an answer says, if it is the contract's.
fn taken(status: StatusCode, text: &str) -> Result<Posted, Unavailable> {
    const RIGHT: &str = r#"it says {"taken": [id, …], "refused": [{"id": …, "reason": …}]}"#;
    match serde_json::from_str::<Answer>(text) {
        Ok(Answer { taken: None, refused: None }) => {
            Err(Unavailable(format!("the index answered {status}, and not what it took: {RIGHT}")))
        }
        Ok(answer) => Ok(Posted::Taken(answer)),
        Err(_) if text.trim().is_empty() => {
            Err(Unavailable(format!("the index answered {status} without a body: {RIGHT}")))
        }
        Err(e) => Err(Unavailable(format!("the index answered {status} with what is no answer: {e}; {RIGHT}"))),
    }
}

/// The records that the answer refuses, and those that it says nothing of: they come again.
fn refused<T: Item>(records: &[T], answer: &Answer) -> Vec<Refused> {
    let none = Vec::new();
    let told = answer.refused.as_ref().unwrap_or(&none);
    let mut refused: HashMap<&str, Vec<&RefusedRecord>> = HashMap::new();
    for record in told {
        refused.entry(&record.id).or_default().push(record);
    }
    let mut taken: HashMap<&str, Vec<&Named>> = HashMap::new();
    for named in answer.taken.iter().flatten() {
        let (Named::Id(id) | Named::Full { id, .. }) = named;
        taken.entry(id).or_default().push(named);
    }
    let mut out = Vec::new();
    for record in records {
        let (account, id, _) = record.names();
        let of_account = |refused: &&&RefusedRecord| refused.account_id.as_deref().is_none_or(|named| named == account);
        let no = refused.get(id).and_then(|some| some.iter().find(of_account));
        let yes = answer.taken.is_none() || taken.get(id).is_some_and(|some| some.iter().any(|n| n.names(account, id)));
        match no {
            Some(told) => out.push(record.refused(&told.reason, told.again)),
            None if yes => {}
            None => out.push(record.refused("the index did not say that it took it", true)),
        }
    }
    out
}

/// `sha256=` and the HMAC over `{timestamp}.{body}`.
fn signature(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

#[async_trait]
impl IndexSink for HttpSink {
    async fn delete(&self, gone: &[Gone]) -> Result<Vec<Refused>, Unavailable> {
        self.send("delete", gone).await
    }

    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable> {
        self.send("upsert", records).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q5_the_signature_is_the_one_that_openssl_makes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        assert_eq!(signature(b"secret", "1700000000", br#"{"a":1}"#), SIGNATURE);
    }

    const SIGNATURE: &str = "sha256=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
}
