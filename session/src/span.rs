//! Work inside a `tracing` span (L2).

use std::future::Future;

use futures_util::future::Either;
use tracing::{Instrument, Span, instrument::Instrumented};

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
