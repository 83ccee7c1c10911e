//! How much a request may bring, how often a caller may ask, and how many may watch.

use std::{num::NonZeroU32, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use sea_session_axum::Problem;

use super::Here;
use crate::access::Caller;

/// What the service takes from a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest body of a request, in bytes: 4 MiB unless said otherwise.
    pub body: usize,
    /// How many requests a second each caller may go on making: 100 unless said otherwise.
    pub per_second: NonZeroU32,
    /// How many it may make at once after a pause: 200 unless said otherwise.
    pub burst: NonZeroU32,
    /// How many live views there may be at a time: 64 unless said otherwise.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self { body: 4 << 20, per_second: number(100), burst: number(200), streams: 64 }
    }
}

impl Limits {
    /// With this longest body.
    #[must_use]
    pub fn body(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }

    /// With so many requests a second for each caller, and so many at once after a pause.
    #[must_use]
    pub fn rate(mut self, per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        (self.per_second, self.burst) = (per_second, burst);
        self
    }

    /// With so many live views at a time.
    #[must_use]
    pub fn streams(mut self, most: usize) -> Self {
        self.streams = most;
        self
    }
}

/// Counts the requests of each caller. There are as many as there are tokens, so nothing is to be forgotten.
pub(super) struct Pace(DefaultKeyedRateLimiter<(String, Option<String>, u8)>);

impl Pace {
    pub(super) fn new(limits: &Limits) -> Self {
        Self(RateLimiter::keyed(Quota::per_second(limits.per_second).allow_burst(limits.burst)))
    }

    /// How long the caller has to wait, if it has to.
    fn check(&self, caller: &Caller) -> Option<Duration> {
        let key = (caller.account().to_owned(), caller.own_space(), caller.role() as u8);
        let early = self.0.check_key(&key).err()?;
        Some(early.wait_time_from(DefaultClock::default().now()))
    }
}

/// Lets a caller's request pass if it does not come too soon.
pub(super) async fn pace(State(here): State<Here>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>().and_then(|caller| here.pace.check(caller)) {
        None => next.run(request).await,
        Some(wait) => Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            .detail("You ask more often than this service answers one caller. Wait, and repeat the request.")
            .retry_after(wait)
            .into_response(),
    }
}
