//! What a test asks of the proxy: which message, the how-manieth of them, and what is to happen to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::protocol::{Direction, Kind};

/// How the client is made to notice that its connection is gone. The server always sees an orderly end, so that
/// what was forwarded to it before the cut is still carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// RST: the client's next read or write fails with "connection reset".
    Reset,
    /// FIN: the client reads the end of the stream.
    Finish,
}

/// What happens to a message that a rule has picked.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Both sides are disconnected before the message is forwarded: the receiver never sees it.
    CutBefore(Cut),
    /// Both sides are disconnected once the message was forwarded: the receiver sees it, the sender never an answer.
    CutAfter(Cut),
    /// The message, and what follows it in its direction, waits this long.
    Delay(Duration),
    /// The message is dropped; the connection stays up.
    Swallow,
    /// From this message on nothing passes in either direction, and nobody is told.
    Stall,
    /// The client is sent a FATAL error with this SQLSTATE instead, and both sides are disconnected.
    Fatal(&'static str),
    /// The message is forwarded. For a rule that only counts, or waits for its moment.
    Pass,
}

/// A message that went through, as a rule sees it.
pub(super) struct Passing<'a> {
    pub direction: Direction,
    pub kind: Kind,
    pub text: &'a str,
}

/// Picks messages by direction, kind, text and count. Without a restriction it picks every message after startup.
#[derive(Clone, Debug)]
pub struct Rule {
    direction: Option<Direction>,
    kind: Option<Kind>,
    text: Option<String>,
    nth: usize,
    times: usize,
    fault: Fault,
}

impl Rule {
    /// A rule for every message in both directions, the startup excepted.
    pub fn any(fault: Fault) -> Self {
        Self { direction: None, kind: None, text: None, nth: 1, times: 1, fault }
    }

    /// A rule for the client's messages of this type (`b'Q'`, `b'P'`, `b'B'`, `b'E'`, `b'S'`, …).
    pub fn client(kind: u8, fault: Fault) -> Self {
        Self { direction: Some(Direction::ToServer), kind: Some(Kind::Typed(kind)), ..Self::any(fault) }
    }

    /// A rule for the server's messages of this type (`b'C'`, `b'Z'`, `b'E'`, `b'D'`, …).
    pub fn server(kind: u8, fault: Fault) -> Self {
        Self { direction: Some(Direction::ToClient), kind: Some(Kind::Typed(kind)), ..Self::any(fault) }
    }

    /// A rule for the startup message of new connections.
    pub fn startup(fault: Fault) -> Self {
        Self { direction: Some(Direction::ToServer), kind: Some(Kind::Startup), ..Self::any(fault) }
    }

    /// Only messages whose text holds this one, letter case aside: SQL, a completion's tag, an error's SQLSTATE.
    pub fn text(mut self, part: &str) -> Self {
        self.text = Some(part.to_lowercase());
        self
    }

    /// Lets the first `n - 1` of them through.
    pub fn nth(mut self, n: usize) -> Self {
        assert!(n > 0, "messages are counted from 1");
        self.nth = n;
        self
    }

    /// Strikes this often instead of once.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn picks(&self, passing: &Passing<'_>) -> bool {
        let kind = match self.kind {
            Some(kind) => kind == passing.kind,
            None => matches!(passing.kind, Kind::Typed(_)),
        };
        kind && self.direction.is_none_or(|direction| direction == passing.direction)
            && self.text.as_ref().is_none_or(|part| passing.text.to_lowercase().contains(part))
    }
}

/// A rule at work in a proxy.
pub(super) struct Armed {
    rule: Rule,
    seen: AtomicUsize,
    pub struck: Arc<Struck>,
}

/// How often a rule has struck; what a test holds after [`super::Proxy::inject`].
#[derive(Default)]
pub struct Struck {
    times: AtomicUsize,
    changed: Notify,
}

impl Struck {
    /// How often the rule has struck.
    pub fn times(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }

    /// Waits until the rule has struck at least once. Dropping the future loses nothing.
    pub async fn once(&self) {
        loop {
            let changed = self.changed.notified();
            if self.times() > 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Armed {
    pub fn new(rule: Rule) -> Self {
        Self { rule, seen: AtomicUsize::new(0), struck: Arc::default() }
    }

    /// The fault for this message, when it is one that the rule strikes.
    pub fn strike(&self, passing: &Passing<'_>) -> Option<Fault> {
        if !self.rule.picks(passing) {
            return None;
        }
        let count = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if count < self.rule.nth || count - self.rule.nth >= self.rule.times {
            return None;
        }
        self.struck.times.fetch_add(1, Ordering::SeqCst);
        self.struck.changed.notify_waiters();
        Some(self.rule.fault.clone())
    }
}
