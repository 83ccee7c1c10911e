//! A yes-or-no question about the error type of a unit's body, which is known only when the unit runs.
//!
//! The type that a unit's questions are about stands in the type of its options ([`About`]), so that one about another type than
//! the body's does not compile (X3).

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

type Says = dyn Fn(&dyn Any) -> bool + Send + Sync;

#[derive(Clone)]
pub(crate) struct Predicate(Arc<Says>);

impl Predicate {
    pub(crate) fn new<E: 'static>(says: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |error| error.downcast_ref::<E>().is_some_and(&says)))
    }

    pub(crate) fn says(&self, error: &dyn Any) -> bool {
        (self.0)(error)
    }
}

/// Nothing was asked about the body's error yet: it may be of any type.
#[derive(Clone, Copy, Debug)]
pub struct AboutAny;

/// `allow` or `retry_on` ask about `E`, which must be the body's error (X3).
pub struct About<E>(PhantomData<fn(&E)>);

impl<E> fmt::Debug for About<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("About")
    }
}

/// Options under which a body may run whose error is `E`.
#[diagnostic::on_unimplemented(
    message = "`allow` or `retry_on` asks about another error than `{E}`",
    label = "this unit's options ask about another error type",
    note = "the closure of `allow` and of `retry_on` names the error type of the unit's body: `|e: &{E}| …`"
)]
pub trait Accepts<E>: sealed::Sealed {}

impl<E> Accepts<E> for AboutAny {}
impl<E> Accepts<E> for About<E> {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::AboutAny {}
    impl<E> Sealed for super::About<E> {}
}
