//! Futures on the heap, built where they stand.

use std::pin::Pin;

use futures_util::future::BoxFuture;

/// As `Box::pin(future())`, which builds the future on the stack and copies all of it: room for what it will hold, too.
///
/// It is a wall, too: the compiler looks no further when it asks whether what awaits this can be sent to another thread. Without
/// one it looks through all of this library, several times for each body that is written.
pub(crate) fn boxed<'a, T, F: Future<Output = T> + Send + 'a>(future: impl FnOnce() -> F) -> BoxFuture<'a, T> {
    let future: Pin<Box<F>> = Box::into_pin(Box::write(Box::new_uninit(), future()));
    future
}
