//! What this process has written, so that what it reads next is not older (U9).
//!
//! A write only counts itself. How far the primary's log is by then is asked when somebody needs to know, and once: no COMMIT
//! waits for a question.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::ReplicaSet;
use crate::dialect::Position;

/// Counts what was written, and knows the position behind it if somebody has asked.
pub(super) struct Writes {
    count: AtomicU64,
    known: Mutex<Option<Known>>,
}

/// Where the primary's log was when so much had been written.
#[derive(Clone, Copy)]
struct Known {
    count: u64,
    position: Position,
}

impl Writes {
    pub(super) fn new() -> Self {
        Self { count: AtomicU64::new(0), known: Mutex::default() }
    }

    /// How much was written. To be read before the primary is asked for its position.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// A position behind all that was written, if it is known.
    pub(super) fn position(&self) -> Option<Position> {
        let count = self.count();
        self.known.lock().filter(|known| known.count >= count).map(|known| known.position)
    }

    /// The primary's position, asked after so much was written. A later answer replaces an earlier one, even by a smaller position: a
    /// replica that was promoted in the primary's place may have lost the end of its log.
    pub(super) fn learn(&self, count: u64, position: Position) {
        let mut known = self.known.lock();
        if known.is_none_or(|known| known.count <= count) {
            *known = Some(Known { count, position });
        }
    }

    fn note(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

/// A transaction that is about to commit, or a statement that is sent alone. It counts as written once its end is known, and also
/// when it never will be: its future is dropped, or the answer is lost.
#[must_use]
pub(crate) struct Write(Option<Arc<ReplicaSet>>);

impl Write {
    pub(super) fn new(replicas: Arc<ReplicaSet>) -> Self {
        Self(Some(replicas))
    }

    /// It has turned out that nothing was written.
    pub(crate) fn wrote_nothing(mut self) {
        self.0 = None;
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(replicas) = &self.0 {
            replicas.writes.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().expect("a position")
    }

    #[test]
    fn u9_a_position_is_known_until_something_is_written() {
        let writes = Writes::new();
        assert_eq!(writes.position(), None);
        writes.learn(writes.count(), position("0/5"));
        assert_eq!(writes.position(), Some(position("0/5")));
        writes.note();
        assert_eq!(writes.position(), None);
        writes.learn(writes.count(), position("0/9"));
        assert_eq!(writes.position(), Some(position("0/9")));
    }

    #[test]
    fn u9_an_answer_to_an_earlier_question_does_not_stand_for_a_later_write() {
        let writes = Writes::new();
        let early = writes.count();
        writes.note();
        writes.learn(early, position("0/5"));
        assert_eq!(writes.position(), None);
        writes.learn(writes.count(), position("0/9"));
        writes.learn(early, position("0/5"));
        assert_eq!(writes.position(), Some(position("0/9")));
    }

    #[test]
    fn u9_a_primary_that_took_over_may_be_behind_the_one_before() {
        let writes = Writes::new();
        writes.learn(writes.count(), position("0/9"));
        writes.note();
        writes.learn(writes.count(), position("0/7"));
        assert_eq!(writes.position(), Some(position("0/7")));
    }
}
