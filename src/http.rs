//! What every client of ours over HTTP does: the address that was given and no other, a bounded answer, pauses between attempts.
//!
//! What it must never do: follow a redirect, which would carry a signature or a key to somebody else; show an address in an
//! error, since it may have a password in it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
};

use crate::error::StoreError;

/// What is said of a redirect.
pub(crate) const NO_REDIRECTS: &str =
    "redirects are not followed: name the address that it leads to, if that is the one that is meant";

/// A client, and the address: 5 s for a connection, 30 s for an answer.
///
/// # Errors
/// [`StoreError::InvalidArgument`] for what is no `http` or `https` address; `https` needs one of the `tls` features.
pub(crate) fn client(address: &str, of: &str) -> Result<(Client, Url), StoreError> {
    let refuse = |why: String| StoreError::InvalidArgument(format!("this is no address of {of}: {why}"));
    let url = Url::parse(address).map_err(|e| refuse(e.to_string()))?;
    let tls = cfg!(any(feature = "tls-rustls", feature = "tls-native-tls"));
    match url.scheme() {
        "http" => {}
        "https" if tls => {}
        "https" => return Err(refuse("https needs the feature `tls-rustls` or `tls-native-tls`".to_owned())),
        other => return Err(refuse(format!("`{other}` is neither http nor https"))),
    }
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .build();
    Ok((client.map_err(|e| refuse(e.to_string()))?, url))
}

/// How often a request is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    pub(crate) attempts: u32,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Default for Retries {
    /// 4 attempts, pauses from 200 ms to 30 s.
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(30) }
    }
}

/// Why a request should be tried again, and after how long, if the receiver says so.
#[derive(Debug)]
pub(crate) struct Again {
    why: String,
    after: Option<Duration>,
}

impl Again {
    /// No answer, or a part of one.
    pub(crate) fn of(e: reqwest::Error) -> Self {
        Self { why: whole(&e.without_url()), after: None }
    }

    /// Whether an answer asks for it.
    pub(crate) fn asked(who: &str, response: &Response) -> Option<Self> {
        let status = response.status();
        let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        (again || status.is_server_error()).then(|| Self {
            why: format!("{who} answered {status}"),
            after: retry_after(response.headers(), Utc::now()),
        })
    }
}

/// An error with its causes: what reqwest says by itself is that there was one.
fn whole(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

impl Retries {
    /// For one request.
    pub(crate) fn begin(self) -> Tries {
        Tries { retries: self, attempt: 0, pause: self.first_pause }
    }
}

/// How often one request was tried.
pub(crate) struct Tries {
    retries: Retries,
    attempt: u32,
    pause: Duration,
}

impl Tries {
    /// Waits until it may be tried again; why it failed, if enough has been tried.
    pub(crate) async fn wait(&mut self, again: Again) -> Result<(), String> {
        self.attempt += 1;
        if self.attempt >= self.retries.attempts {
            return Err(again.why);
        }
        let longest = self.retries.longest_pause;
        tokio::time::sleep(again.after.unwrap_or(self.pause).min(longest)).await;
        self.pause = self.pause.saturating_mul(2).min(longest);
        Ok(())
    }
}

/// The body of an answer; none if it is longer. No more of it is held than that.
pub(crate) async fn body_of(mut response: Response, longest: usize) -> Result<Option<String>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > longest {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(String::from_utf8_lossy(&body).into_owned()))
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// The beginning of what an answer says.
pub(crate) fn first_words(text: &str) -> &str {
    const MOST: usize = 200;
    let end = text.char_indices().nth(MOST).map_or(text.len(), |(at, _)| at);
    text[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q5_retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc2822("Wed, 21 Oct 2026 07:28:00 GMT").unwrap_or_default().with_timezone(&Utc);
        let after = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, reqwest::header::HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(after("3"), Some(Duration::from_secs(3)));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:05 GMT"), Some(Duration::from_secs(5)));
        assert_eq!(after("Wed, 21 Oct 2026 07:27:05 GMT"), Some(Duration::ZERO), "long ago is now");
        assert_eq!(after("soon"), None);
    }
}
