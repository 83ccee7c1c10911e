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
use tokio::sync::Notify;

use super::{
    Outbox,
    share::{JOINED, StreamMember},
};
use crate::connection::{channel::Channel, db::Db};

/// A commit so soon after a NOTIFY is one of many: they share the next.
const BURST: Duration = Duration::from_micros(500);

/// A task that had nothing to tell others for so long ends.
const IDLE: Duration = Duration::from_secs(1);

/// Between two NOTIFYs of a burst: twice as long each time that it goes on, up to the longest. Dispatchers that get
/// several events at once look again by themselves.
const APART: Duration = Duration::from_millis(5);
const FURTHEST_APART: Duration = Duration::from_millis(50);

struct WakeSignal {
    /// Dispatchers of this process wait here.
    local: Notify,
    /// The task that tells other processes waits here.
    remote: Notify,
    notifying: AtomicBool,
    name: String,
    /// How others are told; where there is no such thing they poll.
    channel: Option<Channel>,
}

/// Wakes the dispatchers of one stream. Cheap to clone.
#[derive(Clone)]
pub struct Waker(Arc<WakeSignal>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waker").field(&self.0.name).finish()
    }
}

/// Streams by database and channel.
type WakeSignals = FxHashMap<(usize, String), Weak<WakeSignal>>;

/// The streams of this process: writers and dispatchers that were set up apart share a signal.
static WAKE_SIGNALS: Mutex<Option<WakeSignals>> = Mutex::new(None);

impl Waker {
    pub(crate) fn new(db: &Db, table: &str, topic: &str) -> Self {
        let name = format!("sea_session_{table}_{topic}");
        let mut signals = WAKE_SIGNALS.lock();
        let signals = signals.get_or_insert_with(FxHashMap::default);
        signals.retain(|_, signal| signal.strong_count() > 0);
        let key = (db.identity(), name.clone());
        if let Some(signal) = signals.get(&key).and_then(Weak::upgrade) {
            return Self(signal);
        }
        let signal = Arc::new(WakeSignal {
            local: Notify::new(),
            remote: Notify::new(),
            notifying: AtomicBool::new(false),
            channel: db.channel(&*name),
            name,
        });
        signals.insert(key, Arc::downgrade(&signal));
        Self(signal)
    }

    /// Wakes dispatchers, here and elsewhere. Costs the caller nothing: no statement, no wait.
    pub fn wake(&self) {
        self.0.local.notify_one();
        let Some(channel) = &self.0.channel else { return };
        self.0.remote.notify_one();
        if !self.0.notifying.swap(true, Ordering::AcqRel) {
            self.start_notifying(channel.clone());
        }
    }

    fn start_notifying(&self, channel: Channel) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.0.notifying.store(false, Ordering::Release);
            return;
        };
        // It holds the signal: the outbox that was written through may be gone before the NOTIFY is sent.
        let signal = self.0.clone();
        runtime.spawn(async move {
            let mut apart = APART;
            loop {
                if tokio::time::timeout(IDLE, signal.remote.notified()).await.is_err() {
                    signal.notifying.store(false, Ordering::Release);
                    // A wake-up that came in between saw a task that was about to end.
                    if signal.remote.notified().now_or_never().is_none() {
                        return;
                    }
                    signal.remote.notify_one();
                    if signal.notifying.swap(true, Ordering::AcqRel) {
                        return;
                    }
                    continue;
                }
                if let Err(e) = channel.tell("").await {
                    tracing::debug!(error = %e, "dispatchers elsewhere were not woken; they poll");
                }
                if tokio::time::timeout(BURST, signal.remote.notified()).await.is_ok() {
                    tokio::time::sleep(apart).await;
                    apart = (apart * 2).min(FURTHEST_APART);
                    signal.remote.notify_one();
                } else {
                    apart = APART;
                }
            }
        });
    }

    /// Its name on the server.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Passes the signal on to one more dispatcher of this process: there is more than one can take.
    pub(crate) fn wake_another(&self) {
        self.0.local.notify_one();
    }

    /// Waits for a wake-up from this process.
    pub(crate) async fn woken(&self) {
        self.0.local.notified().await;
    }

    /// Passes wake-ups of other processes on to this one's dispatchers, for as long as it is polled.
    pub(crate) async fn listen(&self, place: &StreamMember, outbox: &Outbox) -> Infallible {
        let WakeSignal { local, channel, .. } = &*self.0;
        let Some(channel) = channel else {
            place.settle();
            return std::future::pending().await;
        };
        loop {
            // The first message after a lost connection may be lost with it, so a new listener rings once.
            if let Ok(mut listener) = channel.listen().await {
                local.notify_one();
                match place.join(&mut listener).await {
                    Ok(true) => place.look(outbox).await,
                    Ok(false) => place.settle(),
                    Err(e) => {
                        tracing::debug!(error = %e, "this dispatcher has no share of its own");
                        place.settle();
                    }
                }
                // A lost connection ends this rather than being silent: the loop rings once it listens again.
                while let Some(heard) = listener.heard().await {
                    match &*heard {
                        JOINED => place.look(outbox).await,
                        _ => local.notify_one(),
                    }
                }
                place.leave();
                listener.close().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
