//! Writing an archive: one unit of work that reads one state of the database, a page at a time.

use std::path::Path;

use context_entities::{edge, node, node_version, session_archive};
use sea_orm::{
    ColumnTrait, Condition, FromQueryResult, IsolationLevel, QueryFilter, QueryOrder, QuerySelect, prelude::Json,
    prelude::Uuid,
};
use sea_session::prelude::*;

use super::{
    ExportReport, PAGE,
    format::{EdgeLine, LONGEST_LINE, Line, LogLine, NodeLine, Place, Texts, VersionLine, Writer, relative},
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    record::content_hash,
    sql::Sql,
    store::{
        Refusal, Store, allow,
        read::visible,
        set::{Extent, within},
    },
    uri::Uri,
};

impl Store {
    /// Writes everything at and below a folder into one archive: nodes, archived ones too, with their history, message logs
    /// and the edges among them, as one state of the database. The archive is complete or not there: it gets its name
    /// when it is.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; [`StoreError::Io`] for the file; what the database says.
    pub async fn export_archive(&self, caller: &Caller, from: &Uri, to: &Path) -> Result<ExportReport, StoreError> {
        allow(caller, from, Access::Read)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // One snapshot for all pages; an attempt that is run again writes a file of its own.
        let unit = self.read_unit(caller).isolation(IsolationLevel::RepeatableRead);
        let (unfinished, report) = unit
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let unfinished = tempfile::NamedTempFile::new_in(folder).map_err(|e| StoreError::io(folder, &e))?;
                let file = unfinished.as_file().try_clone().map_err(|e| StoreError::io(to, &e))?;
                let mut export =
                    Export { caller, from, archive: Writer::begin(file, to, from)?, report: ExportReport::default() };
                export.nodes(s).await?;
                export.versions(s).await?;
                export.logs(s).await?;
                export.edges(s).await?;
                export.archive.end(&export.report)?;
                let report = export.report;
                Ok((unfinished, report))
            })
            .await?;
        unfinished.persist(to).map_err(|e| StoreError::io(to, &e.error))?;
        Ok(report)
    }

    /// A page of nodes at and below a folder that are not archived, folders before what lies in them.
    pub(in crate::store) async fn exported_after(
        &self,
        caller: &Caller,
        folder: &Uri,
        after: Option<&str>,
    ) -> Result<Vec<node::Model>, StoreError> {
        let active = nodes_after(caller, folder, after).filter(node::Column::Status.ne(node::Status::Archived));
        // Not through the identity map: each row is looked at once.
        self.read_unit(caller)
            .run(async |s: &mut Session| -> Result<_, StoreError> { Ok(active.clone().all(s).await?) })
            .await
    }
}

/// The page after a URI of the nodes at and below a folder.
fn nodes_after(caller: &Caller, folder: &Uri, after: Option<&str>) -> sea_orm::Select<node::Entity> {
    let (low, high) = folder.below();
    let here = Condition::any()
        .add(node::Column::Uri.eq(folder.as_str()))
        .add(Condition::all().add(node::Column::Uri.gte(low)).add(node::Column::Uri.lt(high)));
    let rows = visible(caller).filter(here).order_by_asc(node::Column::Uri).limit(PAGE as u64);
    match after {
        Some(after) => rows.filter(node::Column::Uri.gt(after)),
        None => rows,
    }
}

/// An export under way.
struct Export<'a> {
    caller: &'a Caller,
    from: &'a Uri,
    archive: Writer,
    report: ExportReport,
}

impl Export<'_> {
    fn path(&self, uri: &str) -> Result<String, StoreError> {
        relative(self.from, uri).ok_or_else(|| StoreError::InvalidArgument(format!("{uri} lies outside {}", self.from)))
    }

    /// Counts what was written, and says what was not (W9).
    fn counted(&mut self, written: bool, uri: &str, count: impl Fn(&mut ExportReport) -> &mut u64) {
        if written {
            *count(&mut self.report) += 1;
        } else {
            let reason = format!("it takes more than {LONGEST_LINE} bytes: no line of an archive is that long");
            self.report.refused.push(Refusal { path: uri.to_owned(), reason });
        }
    }

    async fn nodes(&mut self, s: &mut Session) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = nodes_after(self.caller, self.from, after.as_deref()).all(s).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|row| row.uri.clone());
            for row in page {
                let line = NodeLine {
                    path: self.path(&row.uri)?,
                    id: row.id,
                    version: row.version,
                    status: row.status,
                    owner_space: row.owner_space,
                    created_at: row.created_at,
                    updated_at: row.updated_at,
                    texts: texts(row.r#abstract, row.overview, row.content, row.metadata),
                };
                let written = self.archive.line(&Line::Node(Box::new(line)))?;
                self.counted(written, &row.uri, |report| &mut report.nodes);
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The history of the nodes, and of those that were in the folder and are gone.
    async fn versions(&mut self, s: &mut Session) -> Result<(), StoreError> {
        let mut after: Option<(Uuid, i64)> = None;
        loop {
            let page = self.versions_after(s, after).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|row| (row.node_id, row.version));
            for row in page {
                let line = VersionLine {
                    place: Place::of(self.from, &row.uri),
                    node: row.node_id,
                    version: row.version,
                    status: row.status,
                    change: row.change,
                    owner_space: row.owner_space,
                    written_at: row.written_at,
                    recorded_at: row.recorded_at,
                    texts: texts(row.r#abstract, row.overview, row.content, row.metadata),
                };
                let written = self.archive.line(&Line::Version(Box::new(line)))?;
                self.counted(written, &row.uri, |report| &mut report.versions);
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn versions_after(
        &self,
        s: &mut Session,
        after: Option<(Uuid, i64)>,
    ) -> Result<Vec<node_version::Model>, StoreError> {
        let mut sql = Sql::of(s);
        sql.push("SELECT v.* FROM node_versions v WHERE v.account_id = ").bind(self.caller.account());
        sql.and_owned("v.owner_space", self.caller.owner_filter().as_deref());
        sql.push(" AND (EXISTS (SELECT 1 FROM nodes n WHERE n.id = v.node_id AND ");
        within(&mut sql, "n", self.from, Extent::Subtree);
        sql.push(") OR (NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = v.node_id)");
        sql.push(" AND EXISTS (SELECT 1 FROM node_versions x WHERE x.node_id = v.node_id AND ");
        within(&mut sql, "x", self.from, Extent::Subtree);
        sql.push(")))");
        if let Some((node, version)) = after {
            sql.with(" AND (v.node_id, v.version) > (?, ?)", [node.into(), version.into()]);
        }
        sql.push(" ORDER BY v.node_id, v.version LIMIT ").bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
        Ok(node_version::Model::find_by_statement(sql.finish()).all(s).await?)
    }

    async fn logs(&mut self, s: &mut Session) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let (low, high) = self.from.below();
            let here = Condition::any()
                .add(node::Column::Uri.eq(self.from.as_str()))
                .add(Condition::all().add(node::Column::Uri.gte(low)).add(node::Column::Uri.lt(high)));
            let mut logs = visible(self.caller).filter(here).order_by_asc(node::Column::Uri).limit(PAGE as u64);
            if let Some(after) = &after {
                logs = logs.filter(node::Column::Uri.gt(after));
            }
            let page = logs.find_also_related(session_archive::Entity);
            let page = page.filter(session_archive::Column::Id.is_not_null()).all(s).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|(node, _)| node.uri.clone());
            for (node, log) in page {
                let Some(log) = log else { continue };
                self.log(&node.uri, log)?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn log(&mut self, uri: &str, log: session_archive::Model) -> Result<(), StoreError> {
        let Json::Array(messages) = log.messages else {
            return Err(StoreError::InvalidArgument(format!("the log at {uri} is damaged: it is no list")));
        };
        let line = LogLine {
            path: self.path(uri)?,
            id: log.id,
            sequence: log.sequence,
            version: log.version,
            open: log.state == session_archive::State::Open,
            owner_space: log.owner_space,
            messages,
            started_at: log.started_at,
            ended_at: log.ended_at,
            created_at: log.created_at,
            updated_at: log.updated_at,
            sha256: log.content_hash,
        };
        let written = self.archive.line(&Line::Log(Box::new(line)))?;
        self.counted(written, uri, |report| &mut report.logs);
        Ok(())
    }

    /// The edges whose both ends are in the folder.
    async fn edges(&mut self, s: &mut Session) -> Result<(), StoreError> {
        let mut after: Option<Uuid> = None;
        loop {
            let page = self.edges_after(s, after).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|row| row.edge.id);
            for EdgeRow { edge, from_uri, to_uri } in page {
                let line = EdgeLine {
                    from: self.path(&from_uri)?,
                    to: self.path(&to_uri)?,
                    id: edge.id,
                    edge_type: edge.edge_type,
                    weight: edge.weight.to_string(),
                    reason: edge.reason,
                    metadata: edge.metadata,
                    created_at: edge.created_at,
                    updated_at: edge.updated_at,
                };
                let written = self.archive.line(&Line::Edge(Box::new(line)))?;
                self.counted(written, &from_uri, |report| &mut report.edges);
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn edges_after(&self, s: &mut Session, after: Option<Uuid>) -> Result<Vec<EdgeRow>, StoreError> {
        let mut sql = Sql::of(s);
        sql.push("SELECT e.*, f.uri AS from_uri, t.uri AS to_uri FROM edges e");
        sql.push(" JOIN nodes f ON f.id = e.from_id JOIN nodes t ON t.id = e.to_id WHERE e.account_id = ");
        sql.bind(self.caller.account()).push(" AND ");
        within(&mut sql, "f", self.from, Extent::Subtree);
        sql.push(" AND ");
        within(&mut sql, "t", self.from, Extent::Subtree);
        let spaces = self.caller.owner_filter();
        sql.and_owned("f.owner_space", spaces.as_deref()).and_owned("t.owner_space", spaces.as_deref());
        if let Some(after) = after {
            sql.push(" AND e.id > ").bind(after);
        }
        sql.push(" ORDER BY e.id LIMIT ").bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
        Ok(EdgeRow::find_by_statement(sql.finish()).all(s).await?)
    }
}

#[derive(FromQueryResult)]
struct EdgeRow {
    #[sea_orm(nested)]
    edge: edge::Model,
    from_uri: String,
    to_uri: String,
}

fn texts(r#abstract: String, overview: String, content: String, metadata: Json) -> Texts {
    Texts { sha256: content_hash(&content), r#abstract, overview, content, metadata }
}
