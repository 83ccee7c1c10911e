//! Work inside a `tracing` span (L2).

use std::future::Future;

use futures_util::future::Either;
use tracing::{Instrument, Level, Span, instrument::Instrumented, level_filters::LevelFilter};

/// As `tracing::debug_span!`, whose fields are read only if somebody listens: without a subscriber `tracing` would still
/// look at each of them, for the `log` crate.
macro_rules! debug_span {
    ($($span:tt)+) => {
        if $crate::connection::span::is_heard() { ::tracing::debug_span!($($span)+) } else { ::tracing::Span::none() }
    };
}
pub(crate) use debug_span;

/// Whether any subscriber of the process may want a span.
pub(crate) fn is_heard() -> bool {
    LevelFilter::current() >= Level::DEBUG
}

/// `work` in its span, which is entered at every poll; not at all if nobody listens.
pub(crate) fn in_span<F: Future>(span: &Span, work: F) -> Either<Instrumented<F>, F> {
    if span.is_disabled() { Either::Right(work) } else { Either::Left(work.instrument(span.clone())) }
}

/// Tells a span a number; not if nobody listens.
pub(crate) fn record(span: &Span, field: &'static str, number: u64) {
    if !span.is_disabled() {
        span.record(field, number);
    }
}
