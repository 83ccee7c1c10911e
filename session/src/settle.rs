//! What became of a COMMIT whose answer was lost (R9): asked of the server by the transaction's id, never guessed.

use std::{sync::Arc, time::Duration};

use sea_orm::{DbBackend, Statement};

use crate::{
    Session,
    connection::{Connection, Fetch, Message},
    db::Db,
    error::Error,
    stats::Counters,
    tokens::{self, Token},
};

/// How often, and how long apart, the server is asked while it is still at work on the COMMIT or starting up.
const ASKED: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// `Ok` if the lost COMMIT worked; a retryable error if it is known not to have; [`Error::CommitUnknown`] otherwise.
pub(crate) async fn settle(session: &mut Session, cause: Arc<Error>) -> Result<(), Error> {
    let core = session.core();
    let xid = core.xid.clone().filter(|_| core.backend() == DbBackend::Postgres);
    let fate = match xid {
        // A read-only unit had nothing to lose.
        _ if core.settings.read_only => Fate::Committed,
        _ if core.token.is_some() => ask_token(core.connection.db(), core.token).await,
        Some(xid) => ask(core.connection.db(), &xid).await,
        None => Fate::Unknown,
    };
    match fate {
        Fate::Committed => core.settled(true, Ok(())).await,
        Fate::Aborted => core.settled(false, Err((*cause).clone())).await,
        Fate::Unknown => core.settled(false, Err(Error::CommitUnknown { cause })).await,
    }
}

enum Fate {
    Committed,
    Aborted,
    Unknown,
}

async fn ask_token(db: &Db, token: Option<Token>) -> Fate {
    let Some(token) = token else { return Fate::Unknown };
    for _ in 0..ASKED {
        match tokens::committed(db, token).await {
            Ok(true) => return Fate::Committed,
            Ok(false) => return Fate::Aborted,
            Err(e) if e.is_connection_lost() => tokio::time::sleep(PAUSE).await,
            Err(_) => return Fate::Unknown,
        }
    }
    Fate::Unknown
}

async fn ask(db: &Db, xid: &str) -> Fate {
    for _ in 0..ASKED {
        let mut connection = Connection::new(db.clone(), Arc::<Counters>::default(), None, false, false);
        let question = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT pg_xact_status($1::text::xid8) AS status",
            [xid.into()],
        );
        let answer = connection.send(Message::Statement(question, Fetch::One)).await;
        let status: Option<String> = match answer.map(|reply| reply.rows()) {
            Ok(rows) => rows.first().and_then(|row| row.try_get("", "status").ok().flatten()),
            Err(e) if e.is_connection_lost() => Some("in progress".to_owned()),
            Err(_) => None,
        };
        match status.as_deref() {
            Some("committed") => return Fate::Committed,
            Some("aborted") => return Fate::Aborted,
            Some("in progress") => tokio::time::sleep(PAUSE).await,
            _ => return Fate::Unknown,
        }
    }
    Fate::Unknown
}
