//! A yes-or-no question about the error type of a unit's body, which is known only when the unit runs.
//!
//! It never answers about another type than its own: such a question is refused before the unit begins.

use std::{
    any::{Any, TypeId, type_name},
    sync::Arc,
};

use crate::error::Error;

type Says = dyn Fn(&dyn Any) -> bool + Send + Sync;

#[derive(Clone)]
pub(crate) struct Predicate {
    about: TypeId,
    about_name: &'static str,
    says: Arc<Says>,
}

impl Predicate {
    pub(crate) fn new<E: 'static>(says: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        Self {
            about: TypeId::of::<E>(),
            about_name: type_name::<E>(),
            says: Arc::new(move |error| error.downcast_ref::<E>().is_some_and(&says)),
        }
    }

    pub(crate) fn says<E: 'static>(&self, error: &E) -> bool {
        (self.says)(error)
    }

    /// Refuses a question about another type than `E`, whose answer would always be no.
    pub(crate) fn check<E: 'static>(&self, option: &str) -> Result<(), Error> {
        if self.about == TypeId::of::<E>() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "`{option}` looks at `{}`, but this unit's error is `{}`, so it would never match: name that type in its closure",
            self.about_name,
            type_name::<E>()
        )))
    }
}
