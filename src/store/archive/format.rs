//! The archive's format: JSON lines, each read and written here only.
//!
//! A head, then nodes in the order of their URIs, versions, logs, edges, and an end with the counts and the SHA-256 of
//! everything before it. Addresses are relative to the exported folder, so that it may be imported somewhere else; a
//! version from before a move may lie outside, and is then relative to the account.

use std::{
    collections::HashSet,
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

/// The longest line. What an archive says is read a line at a time, so this bounds the memory that any file can ask
/// for.
pub(super) const LONGEST_LINE: usize = 64 << 20;

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

    /// The address as the archive has it.
    pub(super) fn said(&self) -> &str {
        match self {
            Self::Path(path) | Self::Outside(path) => path,
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

/// Whether a file begins as an archive does, of whatever version.
pub(super) fn is_archive(file: &Path) -> std::io::Result<bool> {
    const HEAD: usize = 4_096;
    let mut head = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(File::open(file)?, HEAD as u64), &mut head)?;
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(first);
    Ok(text.contains("\"context-store archive ") && kind_of(&text).as_deref() == Some("head"))
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

    /// Writes a line; false for one that no reader would take, which is not written.
    pub(super) fn line(&mut self, line: &Line) -> Result<bool, StoreError> {
        let mut text = serde_json::to_string(line).map_err(|e| StoreError::InvalidArgument(e.to_string()))?;
        if text.len() > LONGEST_LINE {
            return Ok(false);
        }
        text.push('\n');
        self.hash.update(text.as_bytes());
        self.out.write_all(text.as_bytes()).map_err(|e| StoreError::io(&self.path, &e))?;
        Ok(true)
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

/// A line between the head and the end of an archive: what it says, or why it says nothing.
pub(super) struct Numbered {
    /// From 1, as an editor counts.
    pub(super) number: u64,
    pub(super) bytes: usize,
    pub(super) line: Result<Line, String>,
}

/// The lines of an archive that [`verify`] has found whole. Each stands for itself: one that cannot be read is told,
/// and the next ones are read.
pub(super) fn lines(file: &Path) -> Result<impl Iterator<Item = Result<Numbered, StoreError>> + Send, StoreError> {
    let mut texts = FileLines::open(file)?;
    let file = file.to_owned();
    Ok(std::iter::from_fn(move || match texts.next(|_| ()) {
        Ok(None) => None,
        Ok(Some(text)) => {
            let bytes = text.as_ref().map_or(0, String::len);
            Some(Ok(Numbered { number: texts.number, bytes, line: text.and_then(|text| parse(&text)) }))
        }
        Err(e) => Some(Err(StoreError::io(&file, &e))),
    })
    .filter(|line| !matches!(line, Ok(Numbered { line: Ok(Line::Head { .. } | Line::End { .. }), .. }))))
}

/// The lines of a file, none of which takes more memory than the longest may.
struct FileLines {
    reader: BufReader<File>,
    number: u64,
}

impl FileLines {
    fn open(file: &Path) -> Result<Self, StoreError> {
        let reader = BufReader::new(File::open(file).map_err(|e| StoreError::io(file, &e))?);
        Ok(Self { reader, number: 0 })
    }

    /// The next line, or what is wrong with it; its bytes are shown to `seen` whatever they are, without the end of the
    /// line.
    fn next(&mut self, mut seen: impl FnMut(&[u8])) -> std::io::Result<Option<Result<String, String>>> {
        let (mut line, mut length, mut ended) = (Vec::new(), 0_u64, false);
        while !ended {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            seen(part);
            length += part.len() as u64;
            if length <= LONGEST_LINE as u64 {
                line.extend_from_slice(part);
            } else {
                line = Vec::new();
            }
            ended = end.is_some();
            let used = part.len() + usize::from(ended);
            self.reader.consume(used);
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.number += 1;
        if length > LONGEST_LINE as u64 {
            return Ok(Some(Err(format!("it has {length} bytes; a line has at most {LONGEST_LINE}"))));
        }
        Ok(Some(String::from_utf8(line).map_err(|e| {
            format!("it is not UTF-8 at byte {}; a line is one JSON object in UTF-8", e.utf8_error().valid_up_to())
        })))
    }
}

fn parse(line: &str) -> Result<Line, String> {
    serde_json::from_str(line).map_err(|e| match kind_of(line).as_deref() {
        Some("head" | "end" | "node" | "version" | "log" | "edge") => format!("it is not of its format: {e}"),
        Some(other) => format!("`{other}` is no kind of line; there are node, version, log and edge"),
        None => format!("it is not of its format: {e}; a line is a JSON object with a `kind`"),
    })
}

/// The kind that a line says it is of, whatever else it says.
fn kind_of(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    serde_json::from_str::<Kind>(line).ok().map(|kind| kind.kind)
}

fn damaged(file: &Path, what: &str) -> StoreError {
    StoreError::Io { path: file.display().to_string(), message: format!("not a whole archive: {what}") }
}

/// What an archive says of itself.
pub(super) struct Contents {
    /// The folder that it is of.
    pub(super) from: Uri,
    /// Its nodes, those that are gone included.
    pub(super) ids: HashSet<Uuid>,
    /// How many lines it has, the first and the last not counted.
    pub(super) lines: u64,
}

/// Reads the whole archive once and compares its sums: a file that was cut, or changed on its way, is no archive. What
/// the lines say is checked line by line, when they are carried out.
pub(super) fn verify(file: &Path) -> Result<Contents, StoreError> {
    let mut texts = FileLines::open(file)?;
    let (mut hash, mut seen) = (Sha256::new(), ExportReport::default());
    let (mut contents, mut ended): (Option<Contents>, bool) = (None, false);
    loop {
        let before = hash.clone();
        let Some(text) = texts.next(|bytes| hash.update(bytes)).map_err(|e| StoreError::io(file, &e))? else { break };
        hash.update(b"\n");
        if ended {
            return Err(damaged(file, "something follows its end"));
        }
        let kind = text.as_ref().ok().and_then(|text| kind_of(text));
        let line = text.and_then(|text| parse(&text));
        match (&mut contents, line) {
            (None, Ok(Line::Head { format, from })) if format == FORMAT => {
                contents = Some(Contents { from: Uri::parse(&from)?, ids: HashSet::new(), lines: 0 });
            }
            (None, _) => return Err(damaged(file, "it does not begin as one")),
            (Some(_), Ok(Line::Head { .. })) => return Err(damaged(file, "it begins twice")),
            (Some(_), Ok(Line::End { nodes, versions, logs, edges, sha256 })) => {
                let counted = (seen.nodes, seen.versions, seen.logs, seen.edges);
                if (nodes, versions, logs, edges) != counted || sha256 != digest(before) {
                    return Err(damaged(file, "its sums do not agree"));
                }
                ended = true;
            }
            (Some(contents), line) => {
                contents.lines += 1;
                match kind.as_deref() {
                    Some("node") => seen.nodes += 1,
                    Some("version") => seen.versions += 1,
                    Some("log") => seen.logs += 1,
                    Some("edge") => seen.edges += 1,
                    _ => {}
                }
                match line {
                    Ok(Line::Node(node)) => drop(contents.ids.insert(node.id)),
                    Ok(Line::Version(version)) => drop(contents.ids.insert(version.node)),
                    _ => {}
                }
            }
        }
    }
    contents.filter(|_| ended).ok_or_else(|| damaged(file, "its end is missing"))
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
