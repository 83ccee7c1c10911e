//! Savepoints by hand (B1). One that no longer exists is an error, never SQL.

use std::sync::Arc;

use super::Session;
use crate::{error::Error, unit::block_table::BlockKind};

/// A savepoint made by hand (B1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(u64);

impl Session {
    /// A savepoint by hand (B1). Pending changes are flushed first and stay when it is rolled back to.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// let mut s = db.begin().await?;
    /// let before = s.savepoint().await?;
    /// s.add(draft("a try"));
    /// s.flush().await?;
    /// s.rollback_to(before).await?;
    /// assert_eq!(note::Entity::find().count(&s).await?, 1);
    /// s.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The flush fails, or the block must roll back.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn savepoint(&mut self) -> Result<Savepoint, Error> {
        if let Some(flag) = self.core().flag_around().cloned() {
            return Err(Error::Refused { cause: Arc::new(flag.cause) });
        }
        let at = self.core().enter(BlockKind::Savepoint, true).await?;
        Ok(Savepoint(self.core().frames[at].id))
    }

    /// Rolls back to a savepoint, objects included; the savepoint stays and can be rolled back to again (B1).
    ///
    /// # Errors
    /// The savepoint no longer exists or belongs to a block outside; nothing is sent then.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), Error> {
        self.core().rollback_to(savepoint.0).await
    }

    /// Ends a savepoint and keeps what was done since (B1).
    ///
    /// # Errors
    /// The savepoint no longer exists or belongs to a block outside; or the flush fails.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn release(&mut self, savepoint: Savepoint) -> Result<(), Error> {
        self.core().release(savepoint.0).await
    }
}
