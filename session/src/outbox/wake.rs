//! The wake-up of dispatchers after a commit (Q6): free for writers, coalesced, and never needed: polling finds what a lost
//! wake-up missed.
//!
//! Dispatchers of this process are told directly. Those of other processes hear a NOTIFY that a task of its own sends,
//! one at a time, outside of every business transaction.

use std::{
    convert::Infallible,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;

use super::{
    Outbox,
    share::{JOINED, Place},
};
use crate::{
    connection::{Fetch, alone::alone, db::Db},
    table::sql::literal,
};

/// A commit so soon after a NOTIFY is one of many: they share the next.
const BURST: Duration = Duration::from_micros(500);

/// A task that had nothing to tell for so long ends.
const IDLE: Duration = Duration::from_secs(1);

/// Between two NOTIFYs of a burst: twice as long each time that it goes on, up to the longest. Dispatchers that get
/// several events at once look again by themselves.
const APART: Duration = Duration::from_millis(5);
const FURTHEST_APART: Duration = Duration::from_millis(50);

struct Bell {
    /// Dispatchers of this process wait here.
    ring: Notify,
    /// The task that tells other processes waits here.
    tell: Notify,
    telling: AtomicBool,
    channel: String,
    db: Db,
}

/// Wakes the dispatchers of one stream. Cheap to clone.
#[derive(Clone)]
pub struct Waker(Arc<Bell>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waker").field(&self.0.channel).finish()
    }
}

/// Streams by database and channel.
type Bells = FxHashMap<(usize, String), Weak<Bell>>;

/// The streams of this process: writers and dispatchers that were set up apart share a bell.
static BELLS: Mutex<Option<Bells>> = Mutex::new(None);

impl Waker {
    pub(crate) fn new(db: &Db, table: &str, topic: &str) -> Self {
        let channel = format!("sea_session_{table}_{topic}");
        let mut bells = BELLS.lock();
        let bells = bells.get_or_insert_with(FxHashMap::default);
        bells.retain(|_, bell| bell.strong_count() > 0);
        let key = (db.identity(), channel.clone());
        if let Some(bell) = bells.get(&key).and_then(Weak::upgrade) {
            return Self(bell);
        }
        let bell = Arc::new(Bell {
            ring: Notify::new(),
            tell: Notify::new(),
            telling: AtomicBool::new(false),
            channel,
            db: db.clone(),
        });
        bells.insert(key, Arc::downgrade(&bell));
        Self(bell)
    }

    /// Wakes dispatchers, here and elsewhere. Costs the caller nothing: no statement, no wait.
    pub fn wake(&self) {
        self.0.ring.notify_one();
        if !self.0.db.dialect().queues {
            return;
        }
        self.0.tell.notify_one();
        if !self.0.telling.swap(true, Ordering::AcqRel) {
            self.start_telling();
        }
    }

    fn start_telling(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.0.telling.store(false, Ordering::Release);
            return;
        };
        // It holds the bell: the outbox that was written through may be gone before the NOTIFY is sent.
        let bell = self.0.clone();
        runtime.spawn(async move {
            let sql = format!("SELECT pg_notify({}, '')", literal(&bell.channel));
            let mut apart = APART;
            loop {
                if tokio::time::timeout(IDLE, bell.tell.notified()).await.is_err() {
                    bell.telling.store(false, Ordering::Release);
                    // A wake-up that came in between saw a task that was about to end.
                    if bell.tell.notified().now_or_never().is_none() {
                        return;
                    }
                    bell.tell.notify_one();
                    if bell.telling.swap(true, Ordering::AcqRel) {
                        return;
                    }
                    continue;
                }
                if let Err(e) = alone(&bell.db, &sql, Fetch::One).await {
                    tracing::debug!(error = %e, "dispatchers elsewhere were not woken; they poll");
                }
                if tokio::time::timeout(BURST, bell.tell.notified()).await.is_ok() {
                    tokio::time::sleep(apart).await;
                    apart = (apart * 2).min(FURTHEST_APART);
                    bell.tell.notify_one();
                } else {
                    apart = APART;
                }
            }
        });
    }

    /// Its name on the server.
    pub(crate) fn channel(&self) -> &str {
        &self.0.channel
    }

    /// Passes the bell on to one more dispatcher of this process: there is more than one can take.
    pub(crate) fn ring(&self) {
        self.0.ring.notify_one();
    }

    /// Waits for a wake-up from this process.
    pub(crate) async fn rung(&self) {
        self.0.ring.notified().await;
    }

    /// Passes wake-ups of other processes on to this one's dispatchers, for as long as it is polled. It listens on a
    /// connection that is not the pool's, which may be as small as it likes.
    #[expect(
        clippy::disallowed_methods,
        reason = "LISTEN needs a connection of its own, outside of every unit of work"
    )]
    pub(crate) async fn listen(&self, place: &Place, outbox: &Outbox) -> Infallible {
        if !self.0.db.dialect().queues {
            place.settle();
            return std::future::pending().await;
        }
        loop {
            let pool = self.0.db.connection().get_postgres_connection_pool();
            let own = PgPoolOptions::new().max_connections(1).connect_lazy_with((*pool.connect_options()).clone());
            // The first message after a lost connection may be lost with it, so a new listener rings once.
            if let Ok(mut listener) = PgListener::connect_with(&own).await
                && listener.listen(&self.0.channel).await.is_ok()
            {
                self.0.ring.notify_one();
                match place.join(&mut listener, &self.0.channel).await {
                    Ok(true) => place.look(outbox).await,
                    Ok(false) => place.settle(),
                    Err(e) => {
                        tracing::debug!(error = %e, "this dispatcher has no share of its own");
                        place.settle();
                    }
                }
                // A lost connection is an error here rather than silence: the loop rings once it listens again.
                while let Ok(Some(heard)) = listener.try_recv().await {
                    match heard.payload() {
                        JOINED => place.look(outbox).await,
                        _ => self.0.ring.notify_one(),
                    }
                }
                place.leave();
            }
            own.close().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
