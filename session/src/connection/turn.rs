//! Where a database has one writer, units that write take turns. The database itself has whoever waits ask again after a while, and
//! the lucky one gets it; in the line of a pool the next one is told at once, and takes no connection before.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::db::Db;

/// Those of one pool that wait for their turn, in their order.
#[derive(Debug)]
pub(super) struct Line(Arc<Semaphore>);

impl Default for Line {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// Dropped, it is the next one's.
pub(super) struct Turn(#[expect(dead_code, reason = "it is held, not looked at")] OwnedSemaphorePermit);

impl Turn {
    /// Waits for it; in vain after a while, for whoever is ahead may be waiting for this unit. Then the database is asked, and says
    /// what it says to a second writer.
    pub(super) async fn wait(db: &Db, patience: Duration) -> Option<Self> {
        let turn = timeout(patience, db.line().0.clone().acquire_owned()).await;
        turn.ok()?.ok().map(Self)
    }
}
