//! The ways of opening a unit of work that a pool has: by options, at once, or by hand.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::options::UnitOptions;
use crate::{
    connection::db::Db,
    error::Error,
    stats::Counters,
    unit::{body::Block, session::Session, settings::Settings},
};

impl Db {
    /// A unit of work with options.
    pub fn session(&self) -> UnitOptions {
        UnitOptions::new(self.clone())
    }

    /// Runs one unit of work with the default options: one transaction, one identity map; commits on `Ok`, rolls back on
    /// `Err`. See [`UnitOptions::run`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let id = db.run(async |s: &mut Session| -> Result<i64, Error> {
    ///     let note = s.add(draft("second"));
    ///     s.flush().await?;                                    // the key is the database's
    ///     Ok(note.id())
    /// }).await?;                                               // COMMIT
    /// assert_eq!(id, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the body returns, or what the database says at flush or commit.
    ///
    /// # Cancel safety
    /// Dropped at any await, the unit is rolled back and its connection is clean or closed (C1).
    pub fn run<'u, T, E, F>(&self, body: F) -> BoxFuture<'u, Result<T, E>>
    where
        F: for<'a> Block<&'a mut Session, Result<T, E>, Fut: Send> + Send + Sync + 'u,
        E: From<Error> + Send + 'static,
        T: Send + 'u,
    {
        self.session().run(body)
    }

    /// Begins a unit of work that is ended by hand with [`Session::commit`] or [`Session::rollback`] (B2). Dropped
    /// without either, it is rolled back. Never retried (R4).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let mut s = db.begin().await?;
    /// s.add(draft("second"));
    /// s.rollback().await?;
    /// assert_eq!(note::Entity::find().count(db.connection()).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// None before the first statement: BEGIN waits for it.
    ///
    /// # Cancel safety
    /// Safe: nothing is sent.
    pub async fn begin(&self) -> Result<Session, Error> {
        self.session().begin().await
    }

    pub(crate) fn open(&self, settings: &Arc<Settings>, counters: &Arc<Counters>) -> Session {
        Session::new(self.clone(), settings.clone(), counters.clone())
    }
}
