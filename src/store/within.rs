//! The store inside a unit of work of the caller's: the same operations under the same names. Here each is carried out;
//! [`Store`]'s own form opens a unit and calls it.

use sea_session::prelude::*;

use super::Store;
use crate::access::Caller;

/// What [`Store::within`] gives: the store's operations as parts of a unit of work that is open already. All of them,
/// or none, come to be with that unit's end.
#[derive(Debug)]
pub struct Within<'u> {
    pub(super) store: &'u Store,
    pub(super) s: &'u mut Session,
    pub(super) caller: &'u Caller,
}

impl Store {
    /// The store's operations as this caller's, inside the unit of `s`; best one that [`Store::unit`] opened, which
    /// binds account and spaces to the transaction.
    ///
    /// ```
    /// # use context_store::{Caller, Store, StoreError, Uri, Write};
    /// # use sea_session::Session;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), StoreError> {
    /// # let store = Store::open("sqlite::memory:").await?;
    /// # let alice = Caller::user("acme", "alice");
    /// # let (tea, old) = (Uri::parse("ctx://acme/users/alice/memories/likes/tea")?, Uri::parse("ctx://acme/users/alice/memories/liked/tea")?);
    /// store.unit(&alice).run(async |s: &mut Session| -> Result<(), StoreError> {
    ///     let mut here = store.within(s, &alice);
    ///     here.write(&tea, &Write::of("Green.")).await?;
    ///     here.move_node(&tea, &old).await?;
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn within<'u>(&'u self, s: &'u mut Session, caller: &'u Caller) -> Within<'u> {
        Within { store: self, s, caller }
    }
}
