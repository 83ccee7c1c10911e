//! Exporting (V12): to a folder of files, for people, and to one archive with checksums, from which a store is made again.
//!
//! An archive is a text of JSON lines: a head, a line a node in the order of the tree, a line an edge, and an end that
//! has the counts and the SHA-256 of everything before it. Addresses are relative to the exported folder, so that it may
//! be imported somewhere else. It has the active nodes with their texts and metadata, and the edges among them; history
//! and message logs stay where they are.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use context_entities::node;
use sea_orm::{ColumnTrait, Condition, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use sea_session::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{Link, Refusal, Store, Write, allow, read::visible};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    record::content_hash,
    sql::Sql,
    uri::Uri,
};

/// Nodes fetched or written at a time.
const PAGE: usize = 200;

/// The name of the format, and its version.
const FORMAT: &str = "context-store archive 1";

/// What an export or the import of an archive did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Nodes.
    pub nodes: u64,
    /// Edges.
    pub edges: u64,
    /// Nodes that could not be taken, and why.
    pub refused: Vec<Refusal>,
}

/// One line of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Head { format: String, from: String },
    Node { path: String, r#abstract: String, overview: String, content: String, metadata: Json, sha256: String },
    Edge { from: String, to: String, edge_type: String, weight: String, reason: String, metadata: Json },
    End { nodes: u64, edges: u64, sha256: String },
}

impl Store {
    /// Writes the content of every active node at and below a folder as a file. What a file system cannot hold is reported.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; [`StoreError::Io`] if the folder cannot be made, or is not empty; what the database says.
    pub async fn export_folder(&self, caller: &Caller, from: &Uri, to: &Path) -> Result<ExportReport, StoreError> {
        allow(caller, from, Access::Read)?;
        fs::create_dir_all(to).map_err(|e| StoreError::io(to, &e))?;
        if fs::read_dir(to).map_err(|e| StoreError::io(to, &e))?.next().is_some() {
            return Err(StoreError::Io { path: to.display().to_string(), message: "the folder is not empty".into() });
        }
        let mut report = ExportReport::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.nodes_after(caller, from, after.as_deref()).await?;
            for row in page.iter().filter(|row| is_node(row)) {
                match write_file(from, to, row) {
                    Ok(()) => report.nodes += 1,
                    Err(reason) => report.refused.push(Refusal { path: row.uri.clone(), reason }),
                }
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after = Some(last.uri.clone()),
                None => return Ok(report),
            }
        }
    }

    /// Writes the active nodes at and below a folder, and the edges among them, into one archive. The archive is complete
    /// or not there: it gets its name when it is.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; [`StoreError::Io`] for the file; what the database says.
    pub async fn export_archive(&self, caller: &Caller, from: &Uri, to: &Path) -> Result<ExportReport, StoreError> {
        allow(caller, from, Access::Read)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let unfinished = tempfile::NamedTempFile::new_in(folder).map_err(|e| StoreError::io(folder, &e))?;
        let mut archive =
            Archive { out: BufWriter::new(unfinished.as_file()), hash: Sha256::new(), path: to.to_owned() };
        let mut report = ExportReport::default();
        archive.line(&Line::Head { format: FORMAT.into(), from: from.to_string() })?;
        let mut after: Option<String> = None;
        loop {
            let page = self.nodes_after(caller, from, after.as_deref()).await?;
            for row in page.iter().filter(|row| is_node(row)) {
                archive.line(&Line::Node {
                    path: row.uri[from.as_str().len()..].to_owned(),
                    r#abstract: row.r#abstract.clone(),
                    overview: row.overview.clone(),
                    content: row.content.clone(),
                    metadata: row.metadata.clone(),
                    sha256: content_hash(&row.content),
                })?;
                report.nodes += 1;
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after = Some(last.uri.clone()),
                None => break,
            }
        }
        for edge in self.read_unit(caller).run(async |s: &mut Session| edges_within(s, caller, from).await).await? {
            archive.line(&Line::Edge {
                from: edge.from_uri[from.as_str().len()..].to_owned(),
                to: edge.to_uri[from.as_str().len()..].to_owned(),
                edge_type: edge.edge_type,
                // As text, which Rust reads back to the same number; a JSON number may come back as its neighbour.
                weight: edge.weight.to_string(),
                reason: edge.reason,
                metadata: edge.metadata,
            })?;
            report.edges += 1;
        }
        archive.end(&report)?;
        unfinished.persist(to).map_err(|e| StoreError::io(to, &e.error))?;
        Ok(report)
    }

    /// Makes the nodes and edges of an archive at and below `to`. The whole file is checked before anything is written;
    /// then whole batches are, and a run again writes what is there once more as a new version.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a file that cannot be read, is no archive, or is damaged: nothing was written then;
    /// [`StoreError::Denied`], [`StoreError::InvalidUri`]; what the database says.
    pub async fn import_archive(&self, caller: &Caller, file: &Path, to: &Uri) -> Result<ExportReport, StoreError> {
        allow(caller, to, Access::Write)?;
        verify(file)?;
        let mut report = ExportReport::default();
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        for line in lines(file)? {
            match parse(file, &line?)? {
                Line::Node { path, r#abstract, overview, content, metadata, .. } => {
                    let write = Write {
                        r#abstract: Some(r#abstract),
                        overview: Some(overview),
                        content: Some(content),
                        metadata: metadata.as_object().cloned(),
                        ..Write::default()
                    };
                    nodes.push((at(to, &path)?, write));
                    if nodes.len() == PAGE {
                        report.nodes += self.write_many(caller, &std::mem::take(&mut nodes)).await?.len() as u64;
                    }
                }
                Line::Edge { from, to: target, edge_type, weight, reason, metadata } => {
                    let metadata = metadata.as_object().cloned().unwrap_or_default();
                    let weight = weight.parse().map_err(|_| damaged(file, &format!("{weight:?} is no weight")))?;
                    edges.push((at(to, &from)?, at(to, &target)?, Link { edge_type, weight, reason, metadata }));
                }
                Line::Head { .. } | Line::End { .. } => {}
            }
        }
        report.nodes += self.write_many(caller, &nodes).await?.len() as u64;
        for some in edges.chunks(PAGE) {
            self.unit(caller)
                .run(async |s: &mut Session| -> Result<(), StoreError> {
                    for (from, to, link) in some {
                        self.link_in(s, caller, from, to, link).await?;
                    }
                    Ok(())
                })
                .await?;
            report.edges += some.len() as u64;
        }
        Ok(report)
    }

    /// A page of active nodes at and below a folder, folders before what lies in them.
    async fn nodes_after(
        &self,
        caller: &Caller,
        folder: &Uri,
        after: Option<&str>,
    ) -> Result<Vec<node::Model>, StoreError> {
        let (low, high) = folder.below();
        let here = Condition::any()
            .add(node::Column::Uri.eq(folder.as_str()))
            .add(Condition::all().add(node::Column::Uri.gte(low)).add(node::Column::Uri.lt(high)));
        let mut rows = visible(caller).filter(node::Column::Status.eq(node::Status::Active)).filter(here);
        if let Some(after) = after {
            rows = rows.filter(node::Column::Uri.gt(after));
        }
        let rows = rows.order_by_asc(node::Column::Uri).limit(PAGE as u64);
        // Not through the identity map: each row is looked at once.
        self.read_unit(caller)
            .run(async |s: &mut Session| -> Result<_, StoreError> { Ok(rows.clone().all(s).await?) })
            .await
    }
}

/// The row that a session keeps for itself is none: it is made again with the session.
fn is_node(row: &node::Model) -> bool {
    Uri::parse(&row.uri).is_ok_and(|uri| uri.holds_nodes())
}

/// An archive that is being written.
struct Archive<'f> {
    out: BufWriter<&'f File>,
    hash: Sha256,
    path: PathBuf,
}

impl Archive<'_> {
    fn line(&mut self, line: &Line) -> Result<(), StoreError> {
        let mut text = serde_json::to_string(line).map_err(|e| StoreError::InvalidArgument(e.to_string()))?;
        text.push('\n');
        self.hash.update(text.as_bytes());
        self.out.write_all(text.as_bytes()).map_err(|e| StoreError::io(&self.path, &e))
    }

    fn end(mut self, report: &ExportReport) -> Result<(), StoreError> {
        let sha256 = digest(self.hash.clone());
        self.line(&Line::End { nodes: report.nodes, edges: report.edges, sha256 })?;
        self.out.flush().map_err(|e| StoreError::io(&self.path, &e))
    }
}

fn digest(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lines(file: &Path) -> Result<impl Iterator<Item = Result<String, StoreError>>, StoreError> {
    let reader = BufReader::new(File::open(file).map_err(|e| StoreError::io(file, &e))?);
    let file = file.to_owned();
    Ok(reader.lines().map(move |line| line.map_err(|e| StoreError::io(&file, &e))))
}

fn parse(file: &Path, line: &str) -> Result<Line, StoreError> {
    serde_json::from_str(line).map_err(|e| damaged(file, &format!("a line is not of its format: {e}")))
}

fn damaged(file: &Path, what: &str) -> StoreError {
    StoreError::Io { path: file.display().to_string(), message: format!("not a whole archive: {what}") }
}

/// Reads the whole archive once and compares every sum.
fn verify(file: &Path) -> Result<(), StoreError> {
    let mut hash = Sha256::new();
    let (mut nodes, mut edges, mut ended) = (0, 0, false);
    for (number, line) in lines(file)?.enumerate() {
        let line = line?;
        if ended {
            return Err(damaged(file, "something follows its end"));
        }
        match (number, parse(file, &line)?) {
            (0, Line::Head { format, .. }) if format == FORMAT => {}
            (0, _) => return Err(damaged(file, "it does not begin as one")),
            (_, Line::Node { content, sha256, path, .. }) => {
                nodes += 1;
                if content_hash(&content) != sha256 {
                    return Err(damaged(file, &format!("the text of {path:?} is not what was exported")));
                }
            }
            (_, Line::Edge { .. }) => edges += 1,
            (_, Line::End { nodes: n, edges: m, sha256 }) => {
                ended = true;
                if (n, m) != (nodes, edges) || sha256 != digest(hash.clone()) {
                    return Err(damaged(file, "its sums do not agree"));
                }
            }
            (_, Line::Head { .. }) => return Err(damaged(file, "it begins twice")),
        }
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    if ended { Ok(()) } else { Err(damaged(file, "its end is missing")) }
}

/// A relative address of an archive below a folder.
fn at(folder: &Uri, path: &str) -> Result<Uri, StoreError> {
    let uri = Uri::parse(&format!("{folder}{path}"))?;
    if uri.starts_with_folder(folder) {
        return Ok(uri);
    }
    Err(StoreError::InvalidArgument(format!("{path:?} does not lie in the archive's folder")))
}

fn write_file(from: &Uri, to: &Path, row: &node::Model) -> Result<(), String> {
    let uri = Uri::parse(&row.uri).map_err(|e| e.to_string())?;
    let mut names: Vec<String> = Vec::new();
    let mut at = uri;
    while at != *from {
        names.push(at.name().into_owned());
        at = at.parent().ok_or("it lies outside the folder")?;
    }
    let mut path = to.to_owned();
    path.extend(names.iter().rev());
    if names.is_empty() || path.is_dir() {
        return if row.content.is_empty() {
            Ok(())
        } else {
            Err("it is a folder as well: export an archive to keep its text".into())
        };
    }
    if let Some(folder) = path.parent() {
        // A node above may have been written as a file before it was known to have nodes below.
        if folder.is_file() {
            let text = fs::metadata(folder).map_err(|e| e.to_string())?.len();
            fs::remove_file(folder).map_err(|e| e.to_string())?;
            fs::create_dir_all(folder).map_err(|e| e.to_string())?;
            fs::write(&path, &row.content).map_err(|e| e.to_string())?;
            return if text == 0 {
                Ok(())
            } else {
                Err(format!("{} is a folder as well: export an archive to keep its text", folder.display()))
            };
        }
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    fs::write(&path, &row.content).map_err(|e| e.to_string())
}

#[derive(FromQueryResult)]
struct EdgeRow {
    from_uri: String,
    to_uri: String,
    edge_type: String,
    weight: f64,
    reason: String,
    metadata: Json,
}

/// The edges whose both ends are active and in the folder.
async fn edges_within(s: &mut Session, caller: &Caller, folder: &Uri) -> Result<Vec<EdgeRow>, StoreError> {
    let mut sql = Sql::new(super::backend(s));
    sql.push("SELECT f.uri AS from_uri, t.uri AS to_uri, e.edge_type, e.weight, e.reason, e.metadata FROM edges e");
    sql.push(" JOIN nodes f ON f.id = e.from_id AND f.status = 'active' JOIN nodes t ON t.id = e.to_id AND t.status = 'active'");
    sql.push(" WHERE e.account_id = ").bind(caller.account()).push(" AND ");
    super::set::within(&mut sql, "f", folder, super::set::Extent::Subtree);
    sql.push(" AND ");
    super::set::within(&mut sql, "t", folder, super::set::Extent::Subtree);
    let spaces = caller.owner_filter();
    sql.and_owned("f.owner_space", spaces.as_deref()).and_owned("t.owner_space", spaces.as_deref());
    sql.push(" ORDER BY f.uri, t.uri, e.edge_type");
    Ok(EdgeRow::find_by_statement(sql.finish()).all(s).await?)
}
