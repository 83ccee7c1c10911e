//! Message logs of an archive.

use std::collections::HashSet;

use context_entities::session_archive;
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Set,
    prelude::{Json, Uuid},
};
use sea_session::prelude::*;

use super::{At, Import, Outcome, plain};
use crate::store::archive::{
    check,
    format::{LogLine, at},
    identity::Of,
};
use crate::{error::StoreError, uri::Uri};

impl Import<'_> {
    pub(super) async fn logs(
        &self,
        s: &mut Session,
        lines: &[At<LogLine>],
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &LogLine, Uri)> = Vec::with_capacity(lines.len());
        let (mut ids, mut uris) = (HashSet::new(), HashSet::new());
        for (number, line) in lines {
            let placed = self.place(at(self.to, &line.path)).and_then(|uri| check::log(line, &uri).map(|()| uri));
            match placed {
                Ok(uri) if !uris.insert(uri.clone()) || !ids.insert(line.id) => {
                    outcome.refuse(*number, &line.path, "an earlier line is of the same log");
                }
                Ok(uri) => places.push((*number, line, uri)),
                Err(reason) => outcome.refuse(*number, &line.path, reason),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let nodes = self.present(s, places.iter().map(|(.., uri)| uri.as_str())).await?;
        let ids = plain(self.identities.resolve(s, Of::Log, places.iter().map(|(_, line, _)| line.id)).await?);
        for (number, line, uri) in places {
            let (Some(node), Some(root)) = (nodes.get(uri.as_str()), uri.session_root()) else {
                outcome.refuse(number, &line.path, "its node is not there, so its messages were not taken");
                continue;
            };
            use session_archive::Column;
            let held: Vec<(String, i64, String)> = session_archive::Entity::find()
                .select_only()
                .columns([Column::Name, Column::Sequence, Column::ContentHash])
                .filter(Column::AccountId.eq(self.caller.account()))
                .filter(Column::SessionId.eq(root.encoded_name()))
                .into_tuple()
                .all(s)
                .await?;
            match held.iter().find(|(name, ..)| name == uri.encoded_name()) {
                Some((.., hash)) if *hash == line.sha256 => {
                    outcome.report.logs += 1;
                    outcome.report.unchanged += 1;
                }
                Some(_) => outcome.refuse(number, &line.path, format!("{uri} holds another log")),
                None => {
                    let Some(id) = ids.get(&line.id) else {
                        outcome.refuse(number, &line.path, "no identity could be made for it; try again");
                        continue;
                    };
                    let last = held.iter().map(|(_, sequence, _)| *sequence).max().unwrap_or_default();
                    let taken = held.iter().any(|(_, sequence, _)| *sequence == line.sequence);
                    let sequence = if taken { last.saturating_add(1) } else { line.sequence };
                    self.add_log(s, line, *id, &uri, &root, node, sequence);
                    outcome.report.logs += 1;
                    // The next one asks the database for what is taken.
                    s.flush().await?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a row is made of")]
    fn add_log(
        &self,
        s: &mut Session,
        line: &LogLine,
        id: Uuid,
        uri: &Uri,
        root: &Uri,
        (node, owner): &(Uuid, String),
        sequence: i64,
    ) {
        let state = if line.open { session_archive::State::Open } else { session_archive::State::Closed };
        s.add(session_archive::ActiveModel {
            id: Set(id),
            account_id: Set(self.caller.account().to_owned()),
            session_id: Set(root.encoded_name().to_owned()),
            sequence: Set(sequence),
            name: Set(uri.encoded_name().to_owned()),
            owner_space: Set(owner.clone()),
            node_id: Set(Some(*node)),
            state: Set(state),
            messages: Set(Json::Array(line.messages.clone())),
            message_count: Set(i64::try_from(line.messages.len()).unwrap_or(i64::MAX)),
            content_hash: Set(line.sha256.clone()),
            version: Set(line.version),
            started_at: Set(line.started_at.map(check::stored)),
            ended_at: Set(line.ended_at.map(check::stored)),
            created_at: Set(check::stored(line.created_at)),
            updated_at: Set(check::stored(line.updated_at)),
        });
    }
}
