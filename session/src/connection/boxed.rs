//! Futures on the heap, built where they stand.

use std::pin::Pin;

/// As `Box::pin(future())`, which builds the future on the stack and copies all of it: room for what it will hold, too.
pub(crate) fn boxed<F: Future>(future: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), future()))
}
