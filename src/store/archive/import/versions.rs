//! The history of an archive's nodes.

use std::collections::{HashMap, HashSet};

use context_entities::{node, node_version};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Value, prelude::Uuid};
use sea_session::prelude::*;

use super::{At, Import, Outcome, node_type, plain};
use crate::store::archive::{
    check,
    format::{Texts, VersionLine},
    identity::Of,
};
use crate::{
    error::StoreError,
    node::status_word,
    sql::{Sql, text},
    store::{read::visible, set, sight},
    uri::Uri,
};

impl Import<'_> {
    pub(super) async fn versions(
        &self,
        s: &mut Session,
        lines: &[At<VersionLine>],
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &VersionLine, Uri)> = Vec::with_capacity(lines.len());
        let mut seen = HashSet::new();
        for (number, line) in lines {
            let placed = self.place(line.place.at(self.to)).and_then(|uri| check::version(line).map(|()| uri));
            match placed {
                Ok(_) if !seen.insert((line.node, line.version)) => {
                    outcome.refuse(
                        *number,
                        line.place.said(),
                        "an earlier line is of the same version of the same node",
                    );
                }
                Ok(uri) => places.push((*number, line, uri)),
                Err(reason) => outcome.refuse(*number, line.place.said(), reason),
            }
        }
        self.drop_sessions_of_others(s, &mut places, |line| line.place.said(), outcome).await?;
        if places.is_empty() {
            return Ok(());
        }
        let found = self.identities.resolve(s, Of::Node, places.iter().map(|(_, line, _)| line.node)).await?;
        // At the place that the archive is of, a history is that of a node which is there: in the archive as well, or
        // before.
        let strict = self.identities.in_place && !self.identities.free_too;
        places.retain(|(number, line, uri)| {
            let refused = strict && found.get(&line.node).is_some_and(|identity| !identity.is_own);
            if refused {
                let reason =
                    "its node was neither made by this import, nor is it in a space that is the caller's to change";
                outcome.refuse(*number, uri.as_str(), reason);
            }
            !refused
        });
        if places.is_empty() {
            return Ok(());
        }
        let ids = plain(found);
        let present = self.present_versions(s, &places, &ids).await?;
        let foreign = self.foreign(s, &places).await?;
        let mut new = Vec::new();
        for (number, line, uri) in places {
            let Some(id) = ids.get(&line.node) else {
                outcome.refuse(number, uri.as_str(), "no identity could be made for its node; try again");
                continue;
            };
            match (present.get(&(*id, line.version)), self.owner(&uri, &line.owner_space)) {
                (Some(row), _) if same_version(row, line, &uri) => {
                    outcome.report.versions += 1;
                    outcome.report.unchanged += 1;
                }
                (Some(_), _) => {
                    let reason = format!("version {} of its node is there with another state", line.version);
                    outcome.refuse(number, uri.as_str(), reason);
                }
                _ if foreign.contains(uri.as_str()) => {
                    let reason = "the place has a history of its own: the archive's was not added to it";
                    outcome.refuse(number, uri.as_str(), reason);
                }
                (None, Err(reason)) => outcome.refuse(number, uri.as_str(), reason),
                (None, Ok(owner)) => new.push((number, line, uri, *id, owner)),
            }
        }
        let added = self.add_versions(s, &new).await?;
        for (number, line, uri, id, _) in new {
            if added.contains(&(id, line.version)) {
                outcome.report.versions += 1;
            } else {
                let reason = format!(
                    "version {} is no earlier one of its node; a node's history has versions below its own",
                    line.version
                );
                outcome.refuse(number, uri.as_str(), reason);
            }
        }
        Ok(())
    }

    /// Adds versions to the history of nodes that are the caller's and have a higher one, or that are nobody's: the
    /// statement itself looks whose they are. Those that were added.
    async fn add_versions(
        &self,
        s: &mut Session,
        new: &[(u64, &VersionLine, Uri, Uuid, String)],
    ) -> Result<HashSet<(Uuid, i64)>, StoreError> {
        if new.is_empty() {
            return Ok(HashSet::new());
        }
        let (account, spaces) = (self.caller.account(), self.caller.own_spaces());
        let mut sql = Sql::of(s);
        let [insert, unless_there] = sql.dialect().insert_new;
        let columns: Vec<String> = (1..=16).map(|n| format!("column{n}")).collect();
        let columns = columns.join(", ");
        sql.push(insert);
        sql.push(
            "node_versions (node_id, version, account_id, uri, owner_space, category, node_type, status, abstract, ",
        );
        sql.push("overview, content, metadata, content_hash, \"change\", written_at, recorded_at) ");
        sql.push(&format!("WITH v({columns}) AS ("));
        for (n, (_, line, uri, id, owner)) in new.iter().enumerate() {
            let Texts { r#abstract, overview, content, metadata, sha256 } = &line.texts;
            let values: [Value; 16] = [
                (*id).into(),
                line.version.into(),
                text(account),
                text(uri.as_str()),
                text(owner),
                Value::String(uri.category().map(str::to_owned)),
                text(node_type(uri)),
                text(status_word(line.status)),
                text(r#abstract),
                text(overview),
                text(content),
                metadata.clone().into(),
                text(sha256),
                text(set::change_word(line.change)),
                check::stored(line.written_at).into(),
                check::stored(line.recorded_at).into(),
            ];
            sql.begin_row(n).with("?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?", values).end_row();
        }
        sql.push(&format!(") SELECT {columns} FROM v"));
        sql.push(
            " WHERE EXISTS (SELECT 1 FROM nodes n WHERE n.id = v.column1 AND n.version > v.column2 AND n.account_id = ",
        );
        sql.bind(account).and_owned("n.owner_space", spaces.as_deref());
        sql.push(") OR NOT (EXISTS (SELECT 1 FROM nodes n WHERE n.id = v.column1)");
        sql.push(" OR EXISTS (SELECT 1 FROM node_versions h WHERE h.node_id = v.column1 AND NOT (h.account_id = ");
        sql.bind(account).and_owned("h.owner_space", spaces.as_deref());
        sql.push(")))").push(unless_there).push(" RETURNING node_id, version");
        #[derive(FromQueryResult)]
        struct Added {
            node_id: Uuid,
            version: i64,
        }
        let added = sight::rows::<Added>(s, self.caller, sql).await?;
        Ok(added.into_iter().map(|row| (row.node_id, row.version)).collect())
    }

    /// Those of the versions that are there, in the caller's own spaces.
    async fn present_versions(
        &self,
        s: &mut Session,
        places: &[(u64, &VersionLine, Uri)],
        ids: &HashMap<Uuid, Uuid>,
    ) -> Result<HashMap<(Uuid, i64), node_version::Model>, StoreError> {
        let mut sql = Sql::of(s);
        sql.push("SELECT h.* FROM node_versions h WHERE (h.node_id, h.version) IN (").say(|d| d.list);
        for (n, (_, line, _)) in places.iter().enumerate() {
            let id = ids.get(&line.node).copied().unwrap_or_default();
            sql.push(if n == 0 { "(" } else { ", (" }).with("?, ?", [id.into(), line.version.into()]).push(")");
        }
        sql.push(") AND h.account_id = ")
            .bind(self.caller.account())
            .and_owned("h.owner_space", self.caller.owner_filter().as_deref());
        let rows = node_version::Model::find_by_statement(sql.finish()).all(s).await?;
        Ok(rows.into_iter().map(|row| ((row.node_id, row.version), row)).collect())
    }

    /// Those of the places that other nodes than the archive's have, or had.
    async fn foreign(
        &self,
        s: &mut Session,
        places: &[(u64, &VersionLine, Uri)],
    ) -> Result<HashSet<String>, StoreError> {
        let uris = || places.iter().map(|(.., uri)| uri.as_str());
        let mut past = node_version::Entity::find()
            .select_only()
            .columns([node_version::Column::Uri, node_version::Column::NodeId])
            .distinct()
            .filter(node_version::Column::AccountId.eq(self.caller.account()))
            .filter(node_version::Column::Uri.is_in(uris()));
        if let Some(spaces) = self.caller.owner_filter() {
            past = past.filter(node_version::Column::OwnerSpace.is_in(spaces));
        }
        let past: Vec<(String, Uuid)> = past.into_tuple().all(s).await?;
        let present: Vec<(String, Uuid)> = visible(self.caller)
            .select_only()
            .columns([node::Column::Uri, node::Column::Id])
            .filter(node::Column::Uri.is_in(uris()))
            .into_tuple()
            .all(s)
            .await?;
        let others = past.into_iter().chain(present).filter(|(_, id)| !self.ours.contains(id));
        Ok(others.map(|(uri, _)| uri).collect())
    }
}

/// Whether a version is what the archive has of it.
fn same_version(row: &node_version::Model, line: &VersionLine, uri: &Uri) -> bool {
    row.uri == uri.as_str()
        && row.status == line.status
        && row.change == line.change
        && row.r#abstract == line.texts.r#abstract
        && row.overview == line.texts.overview
        && row.content == line.texts.content
        && row.metadata == line.texts.metadata
}
