//! One replica: what it says of itself, and whether it is left out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sea_orm::QueryResult;
use tokio::{runtime::Handle, time::timeout};
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

use super::options::Patience;
use crate::{
    connection::{MOST_DEAD, Message, Reply, acquire, boxed::boxed, db::Db, holds_values, is_dead},
    dialect::{Driver, Unfinished},
    error::Error,
};

/// A replica's numbers since the process started; see [`Db::replica_stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStats {
    /// Units that were sent to it, each attempt by itself.
    pub units: u64,
    /// Units that went elsewhere because it had not replayed what they must see.
    pub passed_over: u64,
    /// Units that ran here after they had waited for it.
    pub waits: u64,
    /// How often it was found to be gone, or to follow no primary, and was left out.
    pub losses: u64,
    /// Whether it is left out now.
    pub left_out: bool,
}

pub(super) struct Replica {
    /// Its place in the list, by which logs and numbers name it: its address may hold a password.
    pub(super) number: usize,
    pub(super) db: Db,
    standing: Mutex<Standing>,
    pub(super) units: AtomicU64,
    pub(super) passed_over: AtomicU64,
    pub(super) waits: AtomicU64,
    losses: AtomicU64,
}

/// How units deal with it.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// It is left out, and tried again at this time.
    retry_at: Option<Instant>,
    /// It was waited for in vain, and is not waited for until then.
    hurried_until: Option<Instant>,
}

/// What a replica says of itself.
pub(super) enum Answer {
    /// It has replayed what was asked for. If a message was sent along, it was carried out, or refused.
    Ready(Box<dyn Driver>, Option<Result<Reply, Error>>),
    /// It has not, yet.
    Behind,
    /// It takes no units of this kind.
    Unsuitable,
    /// It is gone, or follows no primary; why.
    Gone(String),
}

/// What is asked of a replica.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) check: &'a str,
    /// Whether the unit says which isolation it has.
    pub(super) isolated: bool,
    pub(super) within: Duration,
    /// The code of what a replica cannot do.
    pub(super) not_here: &'static str,
}

impl Replica {
    pub(super) fn new(number: usize, db: Db) -> Self {
        Self {
            number,
            db,
            standing: Mutex::default(),
            units: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        }
    }

    pub(super) fn stats(&self) -> ReplicaStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ReplicaStats {
            units: read(&self.units),
            passed_over: read(&self.passed_over),
            waits: read(&self.waits),
            losses: read(&self.losses),
            left_out: self.standing.lock().retry_at.is_some(),
        }
    }

    /// Whether it may be asked. One that was left out for long enough is tried in the background first.
    pub(super) fn is_in(self: &Arc<Self>, question: Question<'_>, patience: Patience) -> bool {
        let now = Instant::now();
        let mut standing = self.standing.lock();
        match standing.retry_at {
            None => return true,
            Some(at) if at > now => return false,
            // No other unit has it tried meanwhile.
            Some(_) => standing.retry_at = Some(now + patience.retry_after.max(patience.reach_within)),
        }
        drop(standing);
        let (replica, check) = (self.clone(), question.check.to_owned());
        let Question { isolated, within, not_here, .. } = question;
        tokio::spawn(async move {
            match replica.ask(Question { check: &check, isolated, within, not_here }, None).await {
                Answer::Gone(why) => replica.leave_out(&why, patience),
                Answer::Ready(..) | Answer::Behind | Answer::Unsuitable => replica.take_back(),
            }
        });
        false
    }

    pub(super) fn leave_out(&self, why: &str, patience: Patience) {
        let before = self.standing.lock().retry_at.replace(Instant::now() + patience.retry_after);
        if before.is_none() {
            self.losses.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(replica = self.number, why, "a replica is left out");
        }
    }

    fn take_back(&self) {
        if self.standing.lock().retry_at.take().is_some() {
            tracing::info!(replica = self.number, "a replica is taken back");
        }
    }

    /// Whether units wait for it to replay what they must see.
    pub(super) fn is_waited_for(&self) -> bool {
        self.standing.lock().hurried_until.is_none_or(|until| until <= Instant::now())
    }

    pub(super) fn waited_in_vain(&self, patience: Patience) {
        self.standing.lock().hurried_until = Some(Instant::now() + patience.retry_after);
    }

    /// Asks whether a unit may run here, and begins it in the same message if its BEGIN is given.
    ///
    /// Cancel safety: a connection whose answer did not come is closed.
    pub(super) async fn ask(&self, question: Question<'_>, begin: Option<&str>) -> Answer {
        match timeout(question.within, self.ask_at_leisure(question, begin)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Gone(format!("it gave no answer within {:?}", question.within)),
        }
    }

    async fn ask_at_leisure(&self, question: Question<'_>, begin: Option<&str>) -> Answer {
        let text = match begin {
            Some(begin) => format!("{}; {begin}", question.check),
            None => question.check.to_owned(),
        };
        let (mut connection, outcome) = match first_answer(&self.db, &text).await {
            Ok(answer) => answer,
            Err(e) => return Answer::Gone(e.to_string()),
        };
        let reply = match outcome {
            Ok(reply) => reply,
            // A unit that does not say which isolation it has may be one that only the primary can run.
            Err(e) if e.sqlstate() == Some(question.not_here) => return Answer::Unsuitable,
            // What the server refuses is the unit's own BEGIN, as the primary would.
            Err(e) if begin.is_some() && !e.is_connection_lost() => return ready(connection, Some(Err(e))),
            Err(e) => return Answer::Gone(e.to_string()),
        };
        let rows = reply.rows();
        let said = |what| rows.first().is_some_and(|row: &QueryResult| row.try_get("", what).unwrap_or(false));
        if said("replayed") && said("follows") && (question.isolated || !said("needs_isolation")) {
            return ready(connection, begin.map(|_| Ok(Reply::Rows(Vec::new()))));
        }
        // It goes back to its pool; or is closed, if it is not known to be clean.
        if begin.is_none() || connection.roll_back().await {
            drop(connection.finish());
        }
        match (said("follows"), said("replayed")) {
            (false, _) => Answer::Gone("it follows no primary: it was promoted, or is one".to_owned()),
            (true, false) => Answer::Behind,
            (true, true) => Answer::Unsuitable,
        }
    }
}

fn ready(connection: Unfinished, answer: Option<Result<Reply, Error>>) -> Answer {
    match connection.finish() {
        Some(driver) => Answer::Ready(driver, answer),
        None => Answer::Gone("its connection was given up".to_owned()),
    }
}

/// Sends a text on a connection of this pool. One that died while it was idle is passed over, as for the first message of a unit.
pub(super) async fn first_answer(db: &Db, text: &str) -> Result<(Unfinished, Result<Reply, Error>), Error> {
    for _ in 0..MOST_DEAD {
        let mut connection = Unfinished::new(boxed(|| acquire(db)).await?, Handle::current());
        let sent = connection.dispatch(Message::Control(text));
        // The driver would log the values in it.
        let outcome = match holds_values(text) {
            true => sent.with_subscriber(NoSubscriber::default()).await,
            false => sent.await,
        };
        match outcome {
            Err(e) if is_dead(&e) => {}
            outcome => return Ok((connection, outcome.map_err(Error::from))),
        }
    }
    Err(Error::connection_lost("every pooled connection was dead"))
}
