//! Two-phase commit (M2): all databases are prepared before any commits, and the primary's COMMIT is the decision.
//!
//! A token row in the primary's transaction says to everybody, also after a crash, whether it decided. No other database
//! commits before the primary is known to have committed, and none rolls back before it is known not to have.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Partial, Recovered, Sessions, Several};
use crate::{
    connection::{Fetch, alone::alone, db::Db},
    error::Error,
    table::sql::literal,
    unit::{
        settle::{PATIENCE, PAUSE},
        tokens::{self, Token},
    },
};

/// What every prepared transaction's name of ours begins with.
const PREFIX: &str = "sea_session";
/// PostgreSQL's answer to a prepared transaction that is not there.
const NO_SUCH_TRANSACTION: &str = "42704";
/// PostgreSQL's answer while another connection, perhaps a lost one of ours, is at work on the prepared transaction.
const BUSY: &str = "55000";

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
    pub(super) async fn in_two_phases(&self, sessions: &mut Sessions) -> Result<(), Error> {
        let token = Token::new();
        let prepared = match prepare_all(sessions, token).await {
            Ok(prepared) => prepared,
            Err((prepared, cause)) => {
                self.roll_back_prepared(sessions, &prepared).await;
                sessions.rollback_all().await;
                return Err(cause);
            }
        };
        let (primary, others) = prepared.split_first().ok_or_else(|| Error::usage("the primary was not prepared"))?;
        match self.decide(&primary.1, token).await {
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
    async fn decide(&self, gid: &str, token: Token) -> Decision {
        let primary = &self.databases[0].1;
        let cause = match self.tell(0, gid, "COMMIT").await {
            Ok(()) => return Decision::Committed,
            Err(e) if e.sqlstate() == Some(NO_SUCH_TRANSACTION) => e,
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
        for (at, (name, session)) in sessions.0.iter_mut().enumerate() {
            let outcome = match others.iter().find(|(other, _)| *other == at) {
                Some((_, gid)) => self.tell(at, gid, "COMMIT").await,
                None => Ok(()),
            };
            let outcome = match outcome {
                // An earlier try worked and its answer was lost, or somebody's `recover` was first.
                Err(e) if e.sqlstate() == Some(NO_SUCH_TRANSACTION) => Ok(()),
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
            match self.tell(*at, gid, "ROLLBACK").await {
                Err(e) if e.sqlstate() != Some(NO_SUCH_TRANSACTION) => {
                    let database = &self.databases[*at].0;
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
    async fn tell(&self, at: usize, gid: &str, how: &str) -> Result<(), Error> {
        let text = format!("{how} PREPARED {}", literal(gid));
        let until = Instant::now() + PATIENCE;
        loop {
            match alone(&self.databases[at].1, &text, Fetch::Nothing).await {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() < until && (e.is_connection_lost() || e.sqlstate() == Some(BUSY)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(e) => return Err(e),
            }
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
        for (at, (name, db)) in self.databases.iter().enumerate() {
            for gid in left_prepared(db, at, grace).await? {
                let Some(token) = gid.split(':').nth(1).and_then(Token::parse) else { continue };
                // Still prepared on the primary, so within its grace: nothing is decided.
                if at != 0 && is_prepared(primary, &name_of(token, 0)).await? {
                    continue;
                }
                // The primary's own transaction holds the token uncommitted: still prepared, it never decided.
                let commit = at != 0 && tokens::committed(primary, token).await?;
                let how = if commit { "COMMIT" } else { "ROLLBACK" };
                alone(db, &format!("{how} PREPARED {}", literal(&gid)), Fetch::Nothing).await?;
                if commit { &mut recovered.committed } else { &mut recovered.rolled_back }
                    .push(format!("{name}: {gid}"));
            }
        }
        Ok(recovered)
    }
}

/// The name of a unit's prepared transaction on one of its databases.
fn name_of(token: Token, at: usize) -> String {
    format!("{PREFIX}:{token}:{at}")
}

/// Our prepared transactions of a unit's database number `at`, older than `grace`, the oldest first.
async fn left_prepared(db: &Db, at: usize, grace: Duration) -> Result<Vec<String>, Error> {
    let list = format!(
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE '{PREFIX}:%:{at}' \
         AND prepared < clock_timestamp() - interval '{} milliseconds' ORDER BY prepared",
        grace.as_millis()
    );
    let rows = alone(db, &list, Fetch::All).await?.rows();
    rows.iter().map(|row| row.try_get("", "gid").map_err(Error::from)).collect()
}

async fn is_prepared(db: &Db, gid: &str) -> Result<bool, Error> {
    // The view shows the whole cluster; what is prepared in another database of it is not this one's to judge by.
    let question =
        format!("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid = {}", literal(gid));
    Ok(!alone(db, &question, Fetch::All).await?.rows().is_empty())
}

/// Prepares every database that did something, the primary first and always: it holds the token. On an error: those
/// prepared so far, as far as is known.
async fn prepare_all(sessions: &mut Sessions, token: Token) -> Result<Prepared, (Prepared, Error)> {
    let mut prepared = Prepared::new();
    if let Err(e) = sessions.primary().core().leave_token(token).await {
        return Err((prepared, e));
    }
    for (at, (_, session)) in sessions.0.iter_mut().enumerate() {
        let gid = name_of(token, at);
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
