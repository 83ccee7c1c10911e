//! Exporting a folder of the store to a folder of files, for people (V12). To keep everything, there is the archive.
//!
//! Each node is written, or it is said which was not and why (W9): a file system has no file that is a folder as well.

use std::{collections::HashSet, fs, io::Write as _, path::Path};

use context_entities::{node, session_archive};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, prelude::Uuid};
use sea_session::prelude::*;

use super::{ExportReport, Refusal, Store, allow};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    sql::Sql,
    uri::Uri,
};

impl Store {
    /// Writes the content of every active node at and below a folder as a file, and reports each that was not written:
    /// what a file system cannot hold, what is broken, and the messages of open logs, which are no text of a node yet.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; [`StoreError::Io`] if the folder cannot be made, or is not empty; what the database
    /// says.
    pub async fn export_folder(&self, caller: &Caller, from: &Uri, to: &Path) -> Result<ExportReport, StoreError> {
        allow(caller, from, Access::Read)?;
        fs::create_dir_all(to).map_err(|e| StoreError::io(to, &e))?;
        if fs::read_dir(to).map_err(|e| StoreError::io(to, &e))?.next().is_some() {
            return Err(StoreError::Io { path: to.display().to_string(), message: "the folder is not empty".into() });
        }
        let mut report = ExportReport::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.exported_after(caller, from, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(report) };
            after = Some(last.uri.clone());
            let folders = self.with_nodes_below(caller, &page).await?;
            let open = self.open_logs(caller, &page).await?;
            // The row that a session keeps for itself is none: it is made again with the session.
            for row in page.iter().filter(|row| is_node(row)) {
                let written = match row.status {
                    node::Status::Broken => Err("it is broken: its text is not to be trusted".to_owned()),
                    _ if open.contains(&row.id) => {
                        Err("its log is open, and no text yet: close it, or export an archive".to_owned())
                    }
                    _ => write_file(from, to, row, folders.contains(&row.uri)),
                };
                match written {
                    Ok(()) => report.nodes += 1,
                    Err(reason) => report.refused.push(Refusal { path: row.uri.clone(), reason }),
                }
            }
        }
    }

    /// Those of the nodes that have active ones below them.
    async fn with_nodes_below(&self, caller: &Caller, page: &[node::Model]) -> Result<HashSet<String>, StoreError> {
        #[derive(FromQueryResult)]
        struct Found {
            uri: String,
        }
        let ids: Vec<Uuid> = page.iter().map(|row| row.id).collect();
        let found = self
            .read_unit(caller)
            .run(async |s: &mut Session| -> Result<Vec<Found>, StoreError> {
                let spaces = caller.owner_filter();
                let mut sql = Sql::of(s);
                sql.push("SELECT n.uri FROM nodes n WHERE ").is_in("n.id", ids.iter().copied());
                sql.push(" AND EXISTS (SELECT 1 FROM nodes c WHERE c.account_id = ").bind(caller.account());
                let [convert, converted] = sql.dialect().key;
                let than = |last: char| format!("{convert}n.uri || '{last}'{converted}");
                sql.push(" AND c.status = 'active' AND c.uri >= ")
                    .push(&than('/'))
                    .push(" AND c.uri < ")
                    .push(&than('0'));
                sql.and_owned("c.owner_space", spaces.as_deref()).push(")");
                Ok(Found::find_by_statement(sql.finish()).all(s).await?)
            })
            .await?;
        Ok(found.into_iter().map(|row| row.uri).collect())
    }

    /// Those of the nodes whose log has messages and is open.
    async fn open_logs(&self, caller: &Caller, page: &[node::Model]) -> Result<HashSet<Uuid>, StoreError> {
        if !page.iter().any(|row| row.node_type == "session") {
            return Ok(HashSet::new());
        }
        let ids: Vec<Uuid> = page.iter().map(|row| row.id).collect();
        let found: Vec<Option<Uuid>> = self
            .read_unit(caller)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                Ok(session_archive::Entity::find()
                    .select_only()
                    .column(session_archive::Column::NodeId)
                    .filter(session_archive::Column::AccountId.eq(caller.account()))
                    .filter(session_archive::Column::NodeId.is_in(ids.iter().copied()))
                    .filter(session_archive::Column::State.eq(session_archive::State::Open))
                    .filter(session_archive::Column::MessageCount.gt(0))
                    .into_tuple()
                    .all(s)
                    .await?)
            })
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn is_node(row: &node::Model) -> bool {
    Uri::parse(&row.uri).is_ok_and(|uri| uri.holds_nodes())
}

fn write_file(from: &Uri, to: &Path, row: &node::Model, is_folder: bool) -> Result<(), String> {
    let uri = Uri::parse(&row.uri).map_err(|e| e.to_string())?;
    let mut names: Vec<String> = Vec::new();
    let mut at = uri;
    while at != *from {
        names.push(at.name().into_owned());
        at = at.parent().ok_or("it lies outside the folder")?;
    }
    let mut path = to.to_owned();
    path.extend(names.iter().rev());
    if names.is_empty() || is_folder {
        fs::create_dir_all(&path).map_err(|e| e.to_string())?;
        return match row.content.is_empty() {
            true => Ok(()),
            false => Err("it is a folder as well: export an archive to keep its text".into()),
        };
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    let mut file = fs::File::create_new(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => "another name is the same to this file system".to_owned(),
        _ => e.to_string(),
    })?;
    file.write_all(row.content.as_bytes()).and_then(|()| file.flush()).map_err(|e| e.to_string())
}
