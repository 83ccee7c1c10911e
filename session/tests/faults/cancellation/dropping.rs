//! Futures that are dropped at one of their polls.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A future that is dropped after so many polls that did not complete it.
struct DropAt<F> {
    inner: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> Future for DropAt<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(output) = inner.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.left -= 1;
        if self.left > 0 {
            return Poll::Pending;
        }
        Poll::Ready(None)
    }
}

/// When a future is dropped, once its last poll is over.
#[derive(Clone, Copy, Debug)]
pub enum Timing {
    /// At once: the message may not even have left.
    AtOnce,
    /// After a pause: the answer is there and unread.
    Late,
}

pub async fn dropped<F: Future>(future: F, polls: usize, timing: Timing) -> Option<F::Output> {
    let mut future = DropAt { inner: Some(Box::pin(future)), left: polls };
    let output = std::future::poll_fn(|context| Pin::new(&mut future).poll(context)).await;
    if output.is_none() && matches!(timing, Timing::Late) {
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    output
}
