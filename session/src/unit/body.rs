//! The bounds of the closures that application code hands to a unit or a block.
//!
//! `AsyncFn(&mut Session)` alone compiles until someone calls it in `tokio::spawn`; here the closure's future has a
//! name and can therefore be asked to be `Send`.

use std::future::Future;

/// Names the future of a body that is called once, so that it can be asked to be `Send` (section 3 of the design).
#[diagnostic::on_unimplemented(
    message = "this cannot be the body of a block",
    label = "not an async closure that takes the session",
    note = "write `async |s: &mut Session| -> Result<_, YourError> {{ … }}`; `|s| async move {{ … }}` cannot lend the session"
)]
pub trait BlockOnce<A, R>: AsyncFnOnce(A) -> R + FnOnce(A) -> <Self as BlockOnce<A, R>>::Fut {
    /// The body's future.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> BlockOnce<A, R> for F
where
    F: AsyncFnOnce(A) -> R + FnOnce(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// Names the future of a body that may be called again (a retried unit), so that it can be asked to be `Send`.
#[diagnostic::on_unimplemented(
    message = "this cannot be the body of a unit of work",
    label = "not an async closure that takes the session and can be called again",
    note = "write `async |s: &mut Session| -> Result<_, YourError> {{ … }}`; `|s| async move {{ … }}` cannot lend the session"
)]
pub trait Block<A, R>: AsyncFn(A) -> R + Fn(A) -> <Self as Block<A, R>>::Fut {
    /// The body's future.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> Block<A, R> for F
where
    F: AsyncFn(A) -> R + Fn(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// As [`Block`], for a body that also gets the items of its batch ([`crate::Batches`]).
#[diagnostic::on_unimplemented(
    message = "this cannot be the body of a batch",
    label = "not an async closure that takes the session and the items of its batch",
    note = "write `async |s: &mut Session, items: &[Item]| -> Result<(), YourError> {{ … }}`"
)]
pub trait BatchBody<A, B, R>: AsyncFn(A, B) -> R + Fn(A, B) -> <Self as BatchBody<A, B, R>>::Fut {
    /// The body's future.
    type Fut: Future<Output = R>;
}

impl<F, A, B, Fut, R> BatchBody<A, B, R> for F
where
    F: AsyncFn(A, B) -> R + Fn(A, B) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}
