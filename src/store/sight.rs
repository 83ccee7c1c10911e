//! Questions that have to be asked of all tenants and spaces: whether an identity is taken, and by whom.
//!
//! What it is for: an identity is unique in the whole database, and under row-level security a caller sees only its own
//! rows. What it must never do: hand anything on to the caller but a decision; no answer, error or count may differ
//! with what is somebody else's.

use sea_orm::{ConnectionTrait, ExecResult, FromQueryResult};
use sea_session::prelude::*;

use crate::{access::Caller, error::StoreError, sql::Sql};

/// The rows that a statement gives when it sees every tenant's and every space's.
pub(super) async fn rows<T: FromQueryResult>(s: &mut Session, caller: &Caller, sql: Sql) -> Result<Vec<T>, StoreError> {
    widen(s).await?;
    let rows = T::find_by_statement(sql.finish()).all(s).await?;
    narrow(s, caller).await?;
    Ok(rows)
}

/// Carries a statement out that sees every tenant's and every space's rows, for the conditions that it has.
pub(super) async fn execute(s: &mut Session, caller: &Caller, sql: Sql) -> Result<ExecResult, StoreError> {
    widen(s).await?;
    let done = s.execute_raw(sql.finish()).await?;
    narrow(s, caller).await?;
    Ok(done)
}

/// For the transaction, and put back after the one statement. Where that statement fails, so has the transaction.
async fn widen(s: &mut Session) -> Result<(), StoreError> {
    let (key, value) = crate::outbox::DISPATCHER;
    set(s, value, key, "").await
}

async fn narrow(s: &mut Session, caller: &Caller) -> Result<(), StoreError> {
    let spaces = caller.owner_filter().map(|spaces| spaces.join(",")).unwrap_or_default();
    set(s, "", crate::outbox::DISPATCHER.0, &spaces).await
}

async fn set(s: &mut Session, dispatcher: &str, key: &str, spaces: &str) -> Result<(), StoreError> {
    // Without row-level security every statement sees everything.
    if !super::dialect(s).policies {
        return Ok(());
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT set_config(").bind(key).push(", ").bind(dispatcher);
    sql.push(", true), set_config('app.owner_spaces', ").bind(spaces).push(", true)");
    s.execute_raw(sql.finish()).await?;
    Ok(())
}
