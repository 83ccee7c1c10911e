//! The archive's format: JSON lines, each read and written here only.
//!
//! A head, then nodes in the order of their URIs, versions, logs, edges, and an end with the counts and the SHA-256 of
//! everything before it. Addresses are relative to the exported folder, so that it may be imported somewhere else; a
//! version from before a move may lie outside, and is then relative to the account.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use context_entities::{node::Status, node_version::Change};
use sea_orm::prelude::{DateTimeUtc, Uuid};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::ExportReport;
use crate::{error::StoreError, node::status_word, record::content_hash, store::set::change_word, uri::Uri};

/// The name of the format, and its version.
const FORMAT: &str = "context-store archive 2";

/// One line of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line {
    Head { format: String, from: String },
    Node(Box<NodeLine>),
    Version(Box<VersionLine>),
    Log(Box<LogLine>),
    Edge(Box<EdgeLine>),
    End { nodes: u64, versions: u64, logs: u64, edges: u64, sha256: String },
}

/// The texts of a node or a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Texts {
    pub(super) r#abstract: String,
    pub(super) overview: String,
    pub(super) content: String,
    pub(super) metadata: Json,
    /// Of the content.
    pub(super) sha256: String,
}

impl Texts {
    /// None at all.
    pub(super) fn emptied() -> Self {
        let none = String::new;
        Self {
            r#abstract: none(),
            overview: none(),
            sha256: content_hash(""),
            content: none(),
            metadata: Json::Object(Default::default()),
        }
    }
}

/// A node. What follows from its URI is not said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeLine {
    pub(super) path: String,
    pub(super) id: Uuid,
    pub(super) version: i64,
    #[serde(with = "status")]
    pub(super) status: Status,
    pub(super) owner_space: String,
    pub(super) created_at: DateTimeUtc,
    pub(super) updated_at: DateTimeUtc,
    #[serde(flatten)]
    pub(super) texts: Texts,
}

/// A state that was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct VersionLine {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) node: Uuid,
    pub(super) version: i64,
    #[serde(with = "status")]
    pub(super) status: Status,
    #[serde(with = "change")]
    pub(super) change: Change,
    pub(super) owner_space: String,
    pub(super) written_at: DateTimeUtc,
    pub(super) recorded_at: DateTimeUtc,
    #[serde(flatten)]
    pub(super) texts: Texts,
}

/// A message log; its session and name are in its path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LogLine {
    pub(super) path: String,
    pub(super) id: Uuid,
    pub(super) sequence: i64,
    pub(super) version: i64,
    pub(super) open: bool,
    pub(super) owner_space: String,
    pub(super) messages: Vec<Json>,
    pub(super) started_at: Option<DateTimeUtc>,
    pub(super) ended_at: Option<DateTimeUtc>,
    pub(super) created_at: DateTimeUtc,
    pub(super) updated_at: DateTimeUtc,
    pub(super) sha256: String,
}

/// An edge between two nodes of the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EdgeLine {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) id: Uuid,
    pub(super) edge_type: String,
    /// As text, which Rust reads back to the same number.
    pub(super) weight: String,
    pub(super) reason: String,
    pub(super) metadata: Json,
    pub(super) created_at: DateTimeUtc,
    pub(super) updated_at: DateTimeUtc,
}

/// Where a version was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// Relative to the exported folder.
    Path(String),
    /// Relative to its account: the node has moved into the folder since.
    Outside(String),
}

impl Place {
    pub(super) fn of(folder: &Uri, uri: &str) -> Self {
        match relative(folder, uri) {
            Some(path) => Self::Path(path),
            None => Self::Outside(uri.splitn(4, '/').nth(3).map(|rest| format!("/{rest}")).unwrap_or_default()),
        }
    }

    /// The place again, below `to`.
    pub(super) fn at(&self, to: &Uri) -> Result<Uri, StoreError> {
        match self {
            Self::Path(path) => at(to, path),
            Self::Outside(path) => {
                let account: String = to.as_str().splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                Ok(Uri::parse(&format!("{account}{path}"))?)
            }
        }
    }
}

/// The path of a URI relative to a folder that it lies in.
pub(super) fn relative(folder: &Uri, uri: &str) -> Option<String> {
    let rest = uri.strip_prefix(folder.as_str())?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
}

/// A relative address of an archive below a folder.
pub(super) fn at(folder: &Uri, path: &str) -> Result<Uri, StoreError> {
    let uri = Uri::parse(&format!("{folder}{path}"))?;
    if uri.starts_with_folder(folder) && (path.is_empty() || path.starts_with('/')) {
        return Ok(uri);
    }
    Err(StoreError::InvalidArgument(format!("{path:?} does not lie in the archive's folder")))
}

/// An archive that is being written.
pub(super) struct Writer {
    out: BufWriter<File>,
    hash: Sha256,
    path: PathBuf,
}

impl Writer {
    pub(super) fn begin(file: File, path: &Path, from: &Uri) -> Result<Self, StoreError> {
        let mut writer = Self { out: BufWriter::new(file), hash: Sha256::new(), path: path.to_owned() };
        writer.line(&Line::Head { format: FORMAT.into(), from: from.to_string() })?;
        Ok(writer)
    }

    pub(super) fn line(&mut self, line: &Line) -> Result<(), StoreError> {
        let mut text = serde_json::to_string(line).map_err(|e| StoreError::InvalidArgument(e.to_string()))?;
        text.push('\n');
        self.hash.update(text.as_bytes());
        self.out.write_all(text.as_bytes()).map_err(|e| StoreError::io(&self.path, &e))
    }

    pub(super) fn end(mut self, report: &ExportReport) -> Result<(), StoreError> {
        let sha256 = digest(self.hash.clone());
        let ExportReport { nodes, versions, logs, edges, .. } = *report;
        self.line(&Line::End { nodes, versions, logs, edges, sha256 })?;
        self.out.flush().map_err(|e| StoreError::io(&self.path, &e))
    }
}

fn digest(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of an archive that [`verify`] has found whole.
pub(super) fn lines(file: &Path) -> Result<impl Iterator<Item = Result<Line, StoreError>> + Send, StoreError> {
    let read = texts(file)?;
    let file = file.to_owned();
    Ok(read.map(move |line| parse(&file, &line?)))
}

fn texts(file: &Path) -> Result<impl Iterator<Item = Result<String, StoreError>> + Send, StoreError> {
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

/// What an archive says of itself.
pub(super) struct Contents {
    /// The folder that it is of.
    pub(super) from: Uri,
    /// Its nodes, those that are gone included.
    pub(super) ids: std::collections::HashSet<Uuid>,
    /// How many lines it has, the first and the last not counted.
    pub(super) lines: u64,
}

/// Reads the whole archive once and compares every sum.
pub(super) fn verify(file: &Path) -> Result<Contents, StoreError> {
    let mut hash = Sha256::new();
    let mut seen = ExportReport::default();
    let (mut contents, mut ended): (Option<Contents>, bool) = (None, false);
    for line in texts(file)? {
        let text = line?;
        if ended {
            return Err(damaged(file, "something follows its end"));
        }
        match (&mut contents, parse(file, &text)?) {
            (None, Line::Head { format, from }) if format == FORMAT => {
                let from = Uri::parse(&from)?;
                contents = Some(Contents { from, ids: std::collections::HashSet::new(), lines: 0 });
            }
            (None, _) => return Err(damaged(file, "it does not begin as one")),
            (Some(contents), line) => {
                ended = check(file, contents, line, &mut seen, &hash)?;
            }
        }
        hash.update(text.as_bytes());
        hash.update(b"\n");
    }
    contents.filter(|_| ended).ok_or_else(|| damaged(file, "its end is missing"))
}

/// Checks one line after the head; whether it is the end.
fn check(
    file: &Path,
    contents: &mut Contents,
    line: Line,
    seen: &mut ExportReport,
    hash: &Sha256,
) -> Result<bool, StoreError> {
    let whole = |texts: &Texts, path: &str| match content_hash(&texts.content) == texts.sha256 {
        true => Ok(()),
        false => Err(damaged(file, &format!("the text of {path:?} is not what was exported"))),
    };
    contents.lines += 1;
    match line {
        Line::Node(node) => {
            whole(&node.texts, &node.path)?;
            contents.ids.insert(node.id);
            seen.nodes += 1;
        }
        Line::Version(version) => {
            whole(&version.texts, &format!("{:?}", version.place))?;
            contents.ids.insert(version.node);
            seen.versions += 1;
        }
        Line::Log(_) => seen.logs += 1,
        Line::Edge(_) => seen.edges += 1,
        Line::End { nodes, versions, logs, edges, sha256 } => {
            contents.lines -= 1;
            let counted = (seen.nodes, seen.versions, seen.logs, seen.edges);
            if (nodes, versions, logs, edges) != counted || sha256 != digest(hash.clone()) {
                return Err(damaged(file, "its sums do not agree"));
            }
            return Ok(true);
        }
        Line::Head { .. } => return Err(damaged(file, "it begins twice")),
    }
    Ok(false)
}

/// A status as the database has it.
mod status {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(status_word(*status))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let word = String::deserialize(deserializer)?;
        let all = [Status::Active, Status::Archived, Status::Broken];
        let found = all.into_iter().find(|status| status_word(*status) == word);
        found.ok_or_else(|| D::Error::custom(format!("{word:?} is no status")))
    }
}

/// A change as the database has it.
mod change {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(change: &Change, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(change_word(*change))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Change, D::Error> {
        let word = String::deserialize(deserializer)?;
        let all = [Change::Write, Change::Move, Change::Archive, Change::Restore, Change::Delete, Change::Revert];
        let found = all.into_iter().find(|change| change_word(*change) == word);
        found.ok_or_else(|| D::Error::custom(format!("{word:?} is no change")))
    }
}
