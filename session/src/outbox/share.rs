//! Which keys a dispatcher claims first (Q3): dispatchers of one stream, in whatever processes, divide them by a hash.
//!
//! Two that look at the same end of a stream find the events that the other has locked, and then those that wait for them:
//! each claim reads and locks more to take less. Who has a share, and claims from it one batch at a time, meets nobody.
//!
//! A share is a preference and nothing more: what may be claimed is decided by the claim. Whoever is wrong about the shares,
//! or has none, skips locks as if there were none; and every dispatcher looks at all keys now and then, so that the
//! share of one that is gone or stuck is delivered by the others.
//!
//! Who takes part is read from advisory locks, one a dispatcher, held by the connection that listens for wake-ups: they end
//! with it, however it ends. A server without them gives everybody everything.
//!
//! The hash is PostgreSQL's own `hashtext`. It is not documented, and need not be the same on two servers: no share is stored, and
//! the dispatchers that compare theirs ask one server. It is what hash indexes of text are built with, so a server has it.
//! What is documented and would do costs ten times as much a row (`sha256`, `md5`); a column of our own would be one more
//! that each application's table needs.
//!
//! A share has no index: who has little of a long queue reads past the events of the others to find it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Outbox;
use crate::{connection::channel::Listener, error::Error};

/// A range of the values that the hash of a key has modulo `of`: one value for each claim that a dispatcher has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) of: u32,
    pub(crate) from: u32,
    /// The last one.
    pub(crate) upto: u32,
}

/// What the others are told when one has joined them.
pub(super) const JOINED: &str = "joined";

/// The lock's second number holds a random one, and how many claims its holder has in hand.
const CLAIMS: u32 = 8;

/// The place of one dispatcher among those of its stream.
#[derive(Debug)]
pub(crate) struct StreamMember {
    /// The lock's first number: the stream.
    stream: u32,
    claims: u32,
    /// The lock's second number, while it is held.
    member: Mutex<Option<u32>>,
    /// Shares in all, and the first of ours; 0 while we have everything. None until it was looked who takes part, or found
    /// that nobody can say.
    taken: watch::Sender<Option<u64>>,
    /// Two that count at once might note the older count last.
    counting: tokio::sync::Mutex<()>,
}

/// Dispatchers that start together have joined within this time.
const TOGETHER: Duration = Duration::from_millis(4);

/// The longest that a first claim waits for its share.
const PATIENCE: Duration = Duration::from_millis(250);

impl StreamMember {
    /// A place in the stream of this channel, for so many claims side by side.
    pub(crate) fn new(channel: &str, claims: usize) -> Self {
        let claims = u32::try_from(claims).unwrap_or(u32::MAX).clamp(1, (1 << CLAIMS) - 1);
        Self {
            stream: stream(channel),
            claims,
            member: Mutex::default(),
            taken: watch::Sender::new(None),
            counting: tokio::sync::Mutex::default(),
        }
    }

    /// The dispatcher's share; none while it has everything.
    pub(crate) fn share(&self) -> Option<Share> {
        let taken = self.taken.borrow().unwrap_or_default();
        let (of, from) = ((taken >> 32) as u32, taken as u32);
        (of > 0).then_some(Share { of, from, upto: from + self.claims - 1 })
    }

    /// Waits until the shares are known, but not for long. Claims of many that start together would meet each other.
    pub(crate) async fn known(&self) {
        let mut taken = self.taken.subscribe();
        drop(tokio::time::timeout(PATIENCE, taken.wait_for(Option::is_some)).await);
    }

    /// Tells when the keys are divided anew: what was another's may be waiting, and no wake-up tells of it.
    pub(crate) fn divisions(&self) -> watch::Receiver<Option<u64>> {
        self.taken.subscribe()
    }

    /// There are no shares to be known of.
    pub(super) fn settle(&self) {
        let taken = self.taken.borrow().unwrap_or_default();
        self.take(taken);
    }

    /// Takes part, for as long as this connection lives, and tells the others. Whether it does.
    pub(super) async fn join(&self, listener: &mut Listener) -> Result<bool, Error> {
        let member = (fastrand::u32(..) >> (CLAIMS + 1)) << CLAIMS | self.claims;
        let lock = format!("SELECT pg_try_advisory_lock({}, {member})", self.stream);
        if !listener.ask(lock).await? {
            return Ok(false);
        }
        *self.member.lock() = Some(member);
        listener.tell(JOINED).await?;
        tokio::time::sleep(TOGETHER).await;
        Ok(true)
    }

    /// Takes part no longer.
    pub(super) fn leave(&self) {
        *self.member.lock() = None;
        self.take(0);
    }

    /// Looks who takes part. If the database does not say, everything stays as it was.
    pub(crate) async fn look(&self, outbox: &Outbox) {
        if let Err(e) = self.count(outbox).await {
            tracing::warn!(error = %e, "the other dispatchers could not be counted; trying again");
        }
        self.settle();
    }

    async fn count(&self, outbox: &Outbox) -> Result<(), Error> {
        let _alone = self.counting.lock().await;
        let member = *self.member.lock();
        let Some(member) = member else { return Ok(()) };
        let sql = format!(
            "SELECT objid::bigint AS member FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = {} \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            self.stream
        );
        let mut members = Vec::new();
        for row in outbox.db().send_alone(&sql).await? {
            members.push(u32::try_from(row.try_get::<i64>("", "member")?).unwrap_or_default());
        }
        self.take(divided(members, member));
        Ok(())
    }

    fn take(&self, taken: u64) {
        self.taken.send_if_modified(|held| held.replace(taken) != Some(taken));
    }
}

/// A positive number for a stream's name (FNV-1a): the same in every process and version.
fn stream(channel: &str) -> u32 {
    let hash = channel.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash >> 1
}

/// Shares in all and the first of this member's; 0 if it is the only one, or is not among them.
fn divided(mut members: Vec<u32>, member: u32) -> u64 {
    members.sort_unstable();
    let claims = |member: &u32| u64::from(*member % (1 << CLAIMS));
    let Some(at) = members.iter().position(|one| *one == member) else { return 0 };
    if members.len() == 1 {
        return 0;
    }
    let all: u64 = members.iter().map(claims).sum();
    all << 32 | members[..at].iter().map(claims).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(taken: u64, claims: usize) -> StreamMember {
        let place = StreamMember::new("stream", claims);
        place.take(taken);
        place
    }

    #[test]
    fn q3_the_shares_of_all_members_are_everything_and_none_is_anothers() {
        let member = |number: u32, claims: u32| number << CLAIMS | claims;
        let members = vec![member(7, 2), member(3, 1), member(9, 3)];
        let mut held = vec![0; 6];
        for (one, claims) in members.iter().zip([2, 1, 3]) {
            let share = place(divided(members.clone(), *one), claims).share().unwrap();
            assert_eq!((share.of, share.upto - share.from + 1), (6, claims as u32));
            (share.from..=share.upto).for_each(|at| held[at as usize] += 1);
        }
        assert_eq!(held, [1; 6]);
    }

    #[test]
    fn q3_one_alone_and_one_that_is_not_counted_have_everything() {
        for members in [vec![], vec![0x102], vec![0x302, 0x501]] {
            assert_eq!(place(divided(members, 0x102), 2).share(), None);
        }
    }

    #[test]
    fn q3_a_stream_has_one_positive_number() {
        assert_eq!(stream("sea_session_events_test"), stream("sea_session_events_test"));
        assert_ne!(stream("sea_session_events_test"), stream("sea_session_events_other"));
        assert!(i32::try_from(stream("x")).is_ok());
    }
}
