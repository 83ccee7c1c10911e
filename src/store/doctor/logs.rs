//! The logs of sessions: where they are, whose, and what they hold.

use context_entities::session_archive;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, prelude::Uuid};
use sea_session::prelude::*;

use super::{
    super::sessions::{Message, as_json, log_hash},
    Ailment, Finding, Wrong,
};
use crate::{access::Caller, error::StoreError, sql::Sql, uri::Uri};

/// Logs that are not where their nodes are, or not whose they are.
pub(super) async fn logs(s: &mut Session, caller: &Caller, repair: bool) -> Result<Vec<Finding>, StoreError> {
    #[derive(FromQueryResult)]
    struct Log {
        id: Uuid,
        place: String,
        owner_space: String,
        uri: Option<String>,
        node_owner: Option<String>,
    }
    let sessions = Uri::account_root(caller.account())?.child("sessions")?;
    let mut sql = Sql::of(s);
    sql.push("SELECT a.id, ")
        .bind_text(&format!("{sessions}/"))
        .push(" || a.session_id || '/history/' || a.name AS place");
    sql.push(", a.owner_space, n.uri, n.owner_space AS node_owner FROM session_archives a LEFT JOIN nodes n ON n.id = a.node_id");
    sql.push(" WHERE a.account_id = ").bind(caller.account()).push(" ORDER BY a.session_id, a.sequence");
    let mut findings = Vec::new();
    for log in Log::find_by_statement(sql.finish()).all(s).await? {
        let mut wrong = Wrong { findings: &mut findings, place: &log.place };
        match (&log.uri, &log.node_owner) {
            (Some(uri), Some(owner)) if *uri == log.place => {
                if *owner == log.owner_space {
                    continue;
                }
                wrong.note(Ailment::Log, format!("it belongs to {}, and its node to {owner}", log.owner_space), repair);
                if repair && let Some(row) = s.get::<session_archive::Entity>(log.id).await? {
                    row.set_owner_space(owner.clone());
                }
            }
            (Some(uri), _) => wrong.note(Ailment::Log, format!("its node is at {uri}"), false),
            _ => wrong.note(Ailment::Log, "it has no node", false),
        }
    }
    Ok(findings)
}

/// A page of logs, with their messages; the last one's identity, if there may be more.
pub(super) async fn examine_logs(
    s: &mut Session,
    caller: &Caller,
    after: Option<Uuid>,
    repair: bool,
) -> Result<(Vec<Finding>, Option<Uuid>), StoreError> {
    const LOGS: u64 = 20;
    let mut logs = session_archive::Entity::find()
        .filter(session_archive::Column::AccountId.eq(caller.account()))
        .order_by_asc(session_archive::Column::Id)
        .limit(LOGS);
    if let Some(after) = after {
        logs = logs.filter(session_archive::Column::Id.gt(after));
    }
    let rows = logs.for_update().load(s).await?;
    let mut findings = Vec::new();
    for row in &rows {
        let place = format!("sessions/{}/history/{}", row.session_id(), row.name());
        let mut wrong = Wrong { findings: &mut findings, place: &place };
        let serde_json::Value::Array(held) = row.messages() else {
            wrong.note(Ailment::Log, "its messages are no list", false);
            continue;
        };
        let mut strange = 0;
        let messages: Vec<Message> = held
            .into_iter()
            .map(|message| {
                let text = message.to_string();
                serde_json::from_value(message).unwrap_or_else(|_| {
                    strange += 1;
                    Message::new("unknown", text)
                })
            })
            .collect();
        let hash = log_hash(&messages)?;
        if strange > 0 {
            wrong.note(Ailment::Log, format!("{strange} of its messages have no speaker and text"), repair);
        } else if !row.content_hash().is_empty() && row.content_hash() != hash {
            wrong.note(Ailment::Log, "its hash is not its messages'", repair);
        } else {
            continue;
        }
        if repair {
            row.set_messages(as_json(&messages)?);
            row.set_content_hash(hash);
        }
    }
    let full = rows.len() as u64 == LOGS;
    Ok((findings, rows.last().filter(|_| full).map(|row| row.id())))
}
