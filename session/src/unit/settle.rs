//! What became of a COMMIT whose answer was lost (R9): asked of the server by the transaction's id, never guessed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::Statement;

use super::{
    core::Core,
    fate::Fate,
    tokens::{self, Token},
};
use crate::{
    connection::{Connection, Fetch, Message, db::Db},
    dialect::TransactionIds,
    error::Class,
    stats::Counters,
};

/// For how long, and how long apart, a server is asked what became of a transaction, or told what to do with a prepared
/// one, while it is still at work on it or starting up. An attempt to reach it is as patient as the pool's
/// `acquire_timeout`; none begins after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// What became of a unit's COMMIT whose answer was lost.
pub(crate) async fn fate(core: &mut Core) -> Fate {
    match (core.dialect().transaction_ids, core.xid.as_deref()) {
        // A read-only unit had nothing to lose.
        _ if core.settings.read_only => Fate::Committed,
        _ if core.token.is_some() => ask_token(core.connection.db(), core.token).await,
        (Some(ids), Some(xid)) => ask(core.connection.db(), ids, xid, core.began).await,
        _ => Fate::Unknown,
    }
}

async fn ask_token(db: &Db, token: Option<Token>) -> Fate {
    let Some(token) = token else { return Fate::Unknown };
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match tokens::committed(db, token).await {
            Ok(true) => return Fate::Committed,
            Ok(false) => return Fate::RolledBack,
            // Lost, or in the way of another who asks or commits: what is asked is the same each time.
            Err(e) if e.class().is_some_and(Class::dooms_unit) => tokio::time::sleep(PAUSE).await,
            Err(_) => return Fate::Unknown,
        }
    }
    Fate::Unknown
}

async fn ask(db: &Db, ids: TransactionIds, xid: &str, began: Option<Instant>) -> Fate {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let mut connection = Connection::new(db.clone(), Arc::<Counters>::default(), None, false, false);
        let question = Statement::from_sql_and_values(db.dialect().backend, ids.fate, [xid.into()]);
        let answer = match connection.send(Message::Statement(question, Fetch::One)).await {
            Ok(reply) => reply.rows().into_iter().next(),
            Err(e) if e.is_connection_lost() => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            // Had the COMMIT been durable, recovery would know the id.
            Err(e) if e.sqlstate() == Some(ids.never_given) => return Fate::RolledBack,
            Err(_) => None,
        };
        let Some(row) = answer else { return Fate::Unknown };
        let status: Option<String> = row.try_get("", "status").ok().flatten();
        let recovered: Option<f64> = row.try_get("", "recovered").ok().flatten();
        match status.as_deref() {
            // An id that was in no log that survived a crash is given out again, so "committed" may be said of another.
            Some("committed") if is_same_life(recovered, began) => return Fate::Committed,
            Some("aborted") => return Fate::RolledBack,
            Some("in progress") => tokio::time::sleep(PAUSE).await,
            _ => return Fate::Unknown,
        }
    }
    Fate::Unknown
}

/// Whether the server last recovered before the transaction began. Both are durations: the clocks need not agree.
fn is_same_life(recovered: Option<f64>, began: Option<Instant>) -> bool {
    recovered.zip(began).is_some_and(|(recovered, began)| recovered > began.elapsed().as_secs_f64())
}
