//! Two-phase commit (M2): all databases are prepared before any commits, and the primary's COMMIT is the decision.
//!
//! A token row in the primary's transaction says to everybody, also after a crash, whether it decided. No other database
//! commits before the primary is known to have committed, and none rolls back before it is known not to have.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Partial, Recovered, Sessions, Several};
use crate::{
    connection::{
        Connection, Fetch,
        alone::{alone, control_alone},
        db::Db,
    },
    dialect::TwoPhase,
    error::Error,
    stats::Counters,
    unit::{
        settle::{PATIENCE, PAUSE},
        tokens::{self, Token},
    },
};

/// What every prepared transaction's name of ours begins with.
const PREFIX: &str = "sea_session";

/// Index of the database and name of its prepared transaction; the primary's is the first.
type Prepared = Vec<(usize, String)>;

/// What the primary made of the decision.
enum Decision {
    Committed,
    /// Somebody rolled it back; why the COMMIT did not work.
    RolledBack(Error),
    /// It could not be reached: it is prepared, or it has committed.
    Unknown(Error),
}

impl Several {
    /// The names under which a unit's transactions will be prepared: they share its token.
    pub(super) async fn names(&self) -> Result<Vec<String>, Error> {
        let token = Token::new();
        let mut names = Vec::with_capacity(self.databases.len());
        for (at, (_, db)) in self.databases.iter().enumerate() {
            let how = db.dialect().need(db.dialect().two_phase)?;
            let mut asking = Connection::new(db.clone(), Arc::<Counters>::default(), None, false, false);
            if how.named_at_begin && asking.is_clustered().await? {
                return Err(db.dialect().unsupported(
                    "two-phase commit in a cluster; its nodes take no part in it, commit one after the other: leave out `two_phase`",
                ));
            }
            let behind = match place_of(db, how).await? {
                Some(place) => format!("/{place}.{}", now()),
                None => String::new(),
            };
            names.push(name_of(token, at) + &behind);
        }
        Ok(names)
    }

    pub(super) async fn in_two_phases(&self, sessions: &mut Sessions, names: &[String]) -> Result<(), Error> {
        let token = names.first().and_then(|name| token_in(name));
        let token = token.ok_or_else(|| Error::usage("the primary's transaction has no name"))?;
        let prepared = match prepare_all(sessions, token, names).await {
            Ok(prepared) => prepared,
            Err((prepared, cause)) => {
                self.roll_back_prepared(sessions, &prepared).await;
                sessions.rollback_all().await;
                return Err(cause);
            }
        };
        let (primary, others) = prepared.split_first().ok_or_else(|| Error::usage("the primary was not prepared"))?;
        match self.decide(sessions, &primary.1, token).await {
            Decision::Committed => {
                sessions.0[0].1.core().ended_elsewhere(true);
                self.commit_prepared(sessions, others).await
            }
            Decision::RolledBack(cause) => {
                sessions.0[0].1.core().ended_elsewhere(false);
                self.roll_back_prepared(sessions, others).await;
                sessions.rollback_all().await;
                Err(cause)
            }
            Decision::Unknown(cause) => {
                let unknown = Error::CommitUnknown { cause: Arc::new(cause) };
                for (_, session) in &mut sessions.0 {
                    session.core().not_committed(&unknown).await;
                }
                Err(unknown)
            }
        }
    }

    /// Tells the primary to commit, and finds out what came of it if the answer is lost. Saying it twice does no harm: what
    /// has committed is not there to commit again, and its token says why.
    async fn decide(&self, sessions: &mut Sessions, gid: &str, token: Token) -> Decision {
        let primary = &self.databases[0].1;
        let cause = match self.tell(sessions, 0, gid, true).await {
            Ok(()) => return Decision::Committed,
            Err(e) if is_not_there(primary, &e) => e,
            Err(e) => return Decision::Unknown(e),
        };
        match tokens::committed(primary, token).await {
            Ok(true) => Decision::Committed,
            Ok(false) => Decision::RolledBack(cause),
            Err(e) => Decision::Unknown(e),
        }
    }

    /// The primary has decided: the others follow. One that cannot, or cannot be reached, is named; `recover` commits it later.
    async fn commit_prepared(&self, sessions: &mut Sessions, others: &[(usize, String)]) -> Result<(), Error> {
        let mut partial = Partial::default();
        for (at, (name, db)) in self.databases.iter().enumerate() {
            let outcome = match others.iter().find(|(other, _)| *other == at) {
                Some((_, gid)) => self.tell(sessions, at, gid, true).await,
                None => Ok(()),
            };
            let session = &mut sessions.0[at].1;
            let outcome = match outcome {
                // An earlier try worked and its answer was lost, or somebody's `recover` was first.
                Err(e) if is_not_there(db, &e) => Ok(()),
                // It is prepared, or has committed.
                Err(e) if e.is_connection_lost() => Err(Error::CommitUnknown { cause: Arc::new(e) }),
                outcome => outcome,
            };
            match &outcome {
                Ok(()) if session.core().usable().is_ok() => session.core().ended_elsewhere(true),
                Ok(()) => {}
                // It holds what `recover` will commit, so nothing was rolled back.
                Err(e) => session.core().not_committed(&Error::CommitUnknown { cause: Arc::new(e.clone()) }).await,
            }
            partial.note(name, outcome);
        }
        partial.outcome()
    }

    async fn roll_back_prepared(&self, sessions: &mut Sessions, prepared: &[(usize, String)]) {
        for (at, gid) in prepared {
            let (database, db) = &self.databases[*at];
            match self.tell(sessions, *at, gid, false).await {
                Err(e) if !is_not_there(db, &e) => {
                    tracing::error!(database, gid, error = %e, "a prepared transaction is left; `recover` settles it");
                }
                _ => {}
            }
            let core = sessions.0[*at].1.core();
            if core.usable().is_ok() {
                core.ended_elsewhere(false);
            }
        }
    }

    /// Ends a prepared transaction, again and again while its database cannot be reached or is still at work on it.
    async fn tell(&self, sessions: &mut Sessions, at: usize, gid: &str, commit: bool) -> Result<(), Error> {
        let db = &self.databases[at].1;
        let how = db.dialect().need(db.dialect().two_phase)?;
        let text = (how.end)(commit, gid);
        if let Some(outcome) = sessions.0[at].1.core().end_prepared(&text).await {
            return outcome;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let e = match control_alone(db, &text).await {
                Ok(_) => return Ok(()),
                Err(e) => e,
            };
            // The server has not noticed yet that the connection which prepared it is gone.
            let another_has_it = how.named_at_begin && is_not_there(db, &e) && is_prepared(db, gid).await?;
            let e = if another_has_it {
                Error::connection_lost("another connection has the prepared transaction")
            } else {
                e
            };
            let again = e.is_connection_lost() || e.sqlstate() == Some(how.busy);
            if !again || Instant::now() >= until {
                return Err(e);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Settles what a crash left prepared: for every unit of ours, on every database, commits if the primary did and rolls
    /// back otherwise. Units that run right now are not disturbed, unless they were prepared longer than `grace` ago.
    ///
    /// # Errors
    /// What a database says; what was settled before stays settled, and the call may be repeated.
    ///
    /// # Cancel safety
    /// Safe: call it again.
    pub async fn recover(&self, grace: Duration) -> Result<Recovered, Error> {
        let mut recovered = Recovered::default();
        let primary = &self.databases[0].1;
        for (_, db) in &self.databases {
            db.dialect().need(db.dialect().two_phase)?;
        }
        for (at, (name, db)) in self.databases.iter().enumerate() {
            let how = db.dialect().need(db.dialect().two_phase)?;
            for prepared in left_prepared(db, grace).await? {
                let gid = gid_of(&prepared);
                let Some(token) = token_in(gid).filter(|token| gid == name_of(*token, at)) else { continue };
                // Still prepared on the primary, so within its grace: nothing is decided.
                if at != 0 && is_prepared(primary, &name_of(token, 0)).await? {
                    continue;
                }
                // The primary's own transaction holds the token uncommitted: still prepared, it never decided.
                let commit = at != 0 && tokens::committed(primary, token).await?;
                control_alone(db, &(how.end)(commit, &prepared)).await?;
                if commit { &mut recovered.committed } else { &mut recovered.rolled_back }
                    .push(format!("{name}: {gid}"));
            }
        }
        Ok(recovered)
    }
}

/// The name of a unit's prepared transaction on one of its databases, without what the dialect has behind it.
fn name_of(token: Token, at: usize) -> String {
    format!("{PREFIX}:{token}:{at}")
}

fn gid_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn token_in(name: &str) -> Option<Token> {
    gid_of(name).strip_prefix(PREFIX)?.split(':').nth(1).and_then(Token::parse)
}

/// When a name was given, for databases that do not say since when a transaction is prepared.
fn now() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis())
}

fn is_not_there(db: &Db, error: &Error) -> bool {
    db.dialect().two_phase.is_ok_and(|how| error.sqlstate() == Some(how.not_there))
}

/// What the names in a database say of it, where the server does not tell its databases apart.
async fn place_of(db: &Db, how: TwoPhase) -> Result<Option<String>, Error> {
    let Some(question) = how.place else { return Ok(None) };
    let rows = control_alone(db, question).await?.rows();
    Ok(rows.first().map(|row| row.try_get("", "place")).transpose()?)
}

/// Our prepared transactions in a database, older than `grace`, the oldest first.
async fn left_prepared(db: &Db, grace: Duration) -> Result<Vec<String>, Error> {
    let how = db.dialect().need(db.dialect().two_phase)?;
    let place = place_of(db, how).await?;
    let question = (how.prepared)(PREFIX, grace);
    // What tells no databases apart is no query either, and not to be prepared everywhere.
    let rows = match place.is_some() {
        true => control_alone(db, &question).await?.rows(),
        false => alone(db, &question, Fetch::All).await?.rows(),
    };
    Ok((how.names)(&rows, &place.unwrap_or_default(), grace)?)
}

async fn is_prepared(db: &Db, name: &str) -> Result<bool, Error> {
    Ok(left_prepared(db, Duration::ZERO).await?.iter().any(|prepared| gid_of(prepared) == gid_of(name)))
}

/// Prepares every database that did something, the primary first and always: it holds the token. On an error: those
/// prepared so far, as far as is known.
async fn prepare_all(sessions: &mut Sessions, token: Token, names: &[String]) -> Result<Prepared, (Prepared, Error)> {
    let mut prepared = Prepared::new();
    if let Err(e) = sessions.primary().core().leave_token(token).await {
        return Err((prepared, e));
    }
    for ((at, (_, session)), gid) in sessions.0.iter_mut().enumerate().zip(names) {
        let gid = gid.clone();
        match session.core().prepare(&gid).await {
            Ok(true) => prepared.push((at, gid)),
            Ok(false) => {}
            Err(e) => {
                // An answer that was lost may have been a yes.
                if e.is_connection_lost() {
                    prepared.push((at, gid));
                }
                return Err((prepared, e));
            }
        }
    }
    Ok(prepared)
}
