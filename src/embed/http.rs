//! A client of embedding services that speak as OpenAI's does, which most do, those that run on one's own machine too.
//!
//! `POST {address}` with `{"model": …, "input": [text, …], "encoding_format": "float"}`; an answer of 2xx is
//! `{"data": [{"index": 0, "embedding": [number, …]}, …]}`. The key goes as `Authorization: Bearer …`, to the address that was
//! given and nowhere else.
//!
//! | Answer | What is made of it |
//! |---|---|
//! | 2xx with that body | the vectors |
//! | 2xx with anything else, or with more than such vectors take | [`EmbedError::Unavailable`]: whoever answered is no such service |
//! | 3xx | [`EmbedError::Unavailable`]: redirects are not followed |
//! | 408, 429, 5xx, no answer in 30 s | again after `Retry-After`, else after a pause that doubles; then [`EmbedError::Unavailable`] |
//! | 400, 413, 422 | [`EmbedError::Refused`]: something in the texts is bad |
//! | anything else | [`EmbedError::Unavailable`]: an operator has to look (401, 403, 404) |

use std::{fmt, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::{Deserialize, Serialize};

use super::{EmbedError, Embedder};
use crate::{
    error::StoreError,
    http::{self, Again, Retries},
};

/// Texts in one request, and bytes of them.
const TEXTS: usize = 64;
const BYTES: usize = 256 << 10;

/// Of a longer text only the beginning is sent: models take about eight thousand tokens.
const LONGEST_TEXT: usize = 24_000;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an answer may take beside its vectors, and a number in it.
const ANSWER: usize = 1 << 20;
const A_NUMBER: usize = 32;

/// Asks an embedding service over HTTP.
#[derive(Clone)]
pub struct HttpEmbedder {
    client: Client,
    url: Url,
    model: String,
    dimensions: usize,
    key: Option<HeaderValue>,
    retries: Retries,
    texts: usize,
    bytes: usize,
    patience: Duration,
}

impl fmt::Debug for HttpEmbedder {
    /// Without the key, and without what a URL may hold of one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpEmbedder");
        shown.field("host", &self.url.host_str()).field("model", &self.model).field("dimensions", &self.dimensions);
        shown.finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Request<'r> {
    model: &'r str,
    input: &'r [&'r str],
    encoding_format: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl HttpEmbedder {
    /// The service at this address (`https://api.openai.com/v1/embeddings`, say), its model, and how many dimensions the model's
    /// vectors have: 4 attempts, pauses from 200 ms to 30 s, 30 s for an answer; 64 texts and 256 KiB in a request.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for what is no `http` or `https` address (`https` needs one of the `tls` features), for a model
    /// without a name, and for no dimensions or more than 16,384.
    pub fn new(url: &str, model: &str, dimensions: usize) -> Result<Self, StoreError> {
        let (client, url) = http::client(url, "an embedding service")?;
        if model.trim().is_empty() {
            return Err(StoreError::InvalidArgument("the embedding model has no name".to_owned()));
        }
        if !(1..=16_384).contains(&dimensions) {
            let why = format!("a vector has 1 to 16384 dimensions, not {dimensions}");
            return Err(StoreError::InvalidArgument(why));
        }
        let (model, retries) = (model.to_owned(), Retries::default());
        Ok(Self { client, url, model, dimensions, key: None, retries, texts: TEXTS, bytes: BYTES, patience: PATIENCE })
    }

    /// Sends this key with every request.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for a key that cannot stand in a header.
    pub fn key(mut self, key: &str) -> Result<Self, StoreError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
            StoreError::InvalidArgument("the key of the embedding service has characters that no header takes".into())
        })?;
        value.set_sensitive(true);
        self.key = Some(value);
        Ok(self)
    }

    /// How often to try before the service counts as down, and the first and the longest pause in between.
    pub fn retries(mut self, attempts: u32, first_pause: Duration, longest_pause: Duration) -> Self {
        self.retries = Retries { attempts: attempts.max(1), first_pause, longest_pause };
        self
    }

    /// How long the service may take for one answer.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many texts go in one request at most, and how many bytes of texts. A single text goes whatever its size.
    pub fn batches(mut self, texts: usize, bytes: usize) -> Self {
        (self.texts, self.bytes) = (texts.max(1), bytes);
        self
    }

    /// How many of the texts go into the next request.
    fn next(&self, texts: &[&str]) -> usize {
        let mut bytes = 0;
        let fits = |text: &&&str| {
            bytes += text.len();
            bytes <= self.bytes
        };
        texts.iter().take(self.texts).take_while(fits).count().max(1)
    }

    async fn send(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let request = Request { model: &self.model, input: texts, encoding_format: "float" };
        let body = serde_json::to_vec(&request).map_err(|e| EmbedError::Refused(e.to_string()))?;
        let mut tries = self.retries.begin();
        loop {
            match self.send_once(&body, texts.len()).await {
                Ok(answer) => return answer,
                Err(again) => tries.wait(again).await.map_err(EmbedError::Unavailable)?,
            }
        }
    }

    async fn send_once(&self, body: &[u8], texts: usize) -> Result<Result<Vec<Vec<f32>>, EmbedError>, Again> {
        const WHO: &str = "the embedding service";
        let mut request =
            self.client.post(self.url.clone()).timeout(self.patience).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let response = request.body(body.to_vec()).send().await.map_err(Again::of)?;
        let status = response.status();
        if let Some(again) = Again::asked(WHO, &response) {
            return Err(again);
        }
        if status.is_redirection() {
            return Ok(Err(EmbedError::Unavailable(format!("{WHO} answered {status}: {}", http::NO_REDIRECTS))));
        }
        let longest = ANSWER + texts * self.dimensions * A_NUMBER;
        let text = http::body_of(response, longest).await.map_err(Again::of)?;
        Ok(match (status, text) {
            (StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY, text) => {
                let words = text.as_deref().map(http::first_words).unwrap_or_default();
                Err(EmbedError::Refused(format!("{WHO} answered {status}: {words}")))
            }
            (status, Some(text)) if status.is_success() => vectors(&text, texts)
                .map_err(|why| EmbedError::Unavailable(format!("{WHO} answered {status} with {why}"))),
            (status, None) if status.is_success() => {
                Err(EmbedError::Unavailable(format!("{WHO} answered {status} with more than {longest} bytes")))
            }
            (status, _) => Err(EmbedError::Unavailable(format!("{WHO} answered {status}"))),
        })
    }
}

/// The vectors of an answer, in the order of the texts.
fn vectors(text: &str, texts: usize) -> Result<Vec<Vec<f32>>, String> {
    const RIGHT: &str = r#"it says {"data": [{"index": 0, "embedding": [number, …]}, …]}"#;
    let answer: Answer = serde_json::from_str(text).map_err(|e| format!("what is no answer: {e}; {RIGHT}"))?;
    let given = answer.data.len();
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts];
    for (n, vector) in answer.data.into_iter().enumerate() {
        let at = vector.index.unwrap_or(n);
        match vectors.get_mut(at) {
            Some(place @ None) => *place = Some(vector.embedding),
            Some(_) => return Err(format!("two vectors for text {at}; {RIGHT}")),
            None => return Err(format!("a vector for text {at}, and {texts} text(s) were sent")),
        }
    }
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    vectors.ok_or_else(|| format!("{given} vector(s) for {texts} text(s)"))
}

/// The beginning of a text that is too long.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

#[async_trait]
impl Embedder for HttpEmbedder {
    fn model(&self) -> &str {
        &self.model
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).map(beginning).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = texts.as_slice();
        while !rest.is_empty() {
            let (some, others) = rest.split_at(self.next(rest));
            vectors.extend(self.send(some).await?);
            rest = others;
        }
        Ok(vectors)
    }
}
