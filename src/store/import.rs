//! Importing a folder (V12): in batches whose statements do not depend on how many files they hold; what cannot be
//! imported is refused one by one, with the reason, while the rest goes on.
//!
//! Each batch is one unit of work, so an import that is killed has imported whole batches. Run again, it leaves alone
//! what has the same content, by its hash.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use context_entities::node;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, prelude::Json};
use sea_session::prelude::*;
use serde_json::Map;
use unicode_normalization::UnicodeNormalization;

use super::{Store, Within, allow_node, write::Write};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    record::content_hash,
    uri::Uri,
};

/// How to import a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Files in one unit of work.
    pub batch: usize,
    /// Larger files are refused.
    pub max_bytes: u64,
    /// Leave out what `.gitignore` files name.
    pub gitignore: bool,
    /// Also files and folders whose name begins with a dot. `.git` is always left out.
    pub hidden: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { batch: 200, max_bytes: 1 << 20, gitignore: true, hidden: true }
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportProgress {
    /// Files in the folder, or lines of the archive.
    pub files: u64,
    /// Those that were looked at.
    pub done: u64,
}

/// What an import did.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Files found.
    pub files: u64,
    /// Nodes created.
    pub created: u64,
    /// Nodes updated.
    pub updated: u64,
    /// Nodes that had this content already.
    pub unchanged: u64,
    /// Files refused, and why.
    pub refused: Vec<Refusal>,
    /// Units of work.
    pub batches: u64,
    /// Statements sent.
    pub statements: u64,
    /// Statements and transaction control.
    pub round_trips: u64,
    /// Bytes of text written.
    pub bytes: u64,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub time: Duration,
}

/// A file that was not imported.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The file, relative to the folder.
    pub path: String,
    /// Why.
    pub reason: String,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// A file that can become a node.
struct Candidate {
    path: String,
    uri: Uri,
    text: String,
    hash: String,
    /// What is kept beside where the file came from.
    metadata: Map<String, Json>,
}

/// What is at a URI already.
#[derive(Clone, Debug)]
struct Present {
    status: node::Status,
    hash: String,
    /// The file that it was imported from, as its name was spelled.
    path: Option<String>,
}

impl Present {
    /// The other spelling of this file's name that the node was imported from (W3).
    fn twin_of(&self, path: &str) -> Option<&str> {
        let held = self.path.as_deref().filter(|held| *held != path)?;
        held.nfc().eq(path.nfc()).then_some(held)
    }
}

impl Store {
    /// Imports the text files of a folder as nodes below `target`, one a file, and reports what it could not take.
    ///
    /// # Errors
    /// [`StoreError::Denied`] or [`StoreError::NotANode`] for the target, [`StoreError::Io`] if the folder cannot be read; what the
    /// database says, and then the batches before are there.
    ///
    /// # Cancel safety
    /// Dropped, whole batches are there; the next run goes on.
    pub async fn import(
        &self,
        caller: &Caller,
        folder: &Path,
        target: &Uri,
        options: &ImportOptions,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ImportReport, StoreError> {
        allow_node(caller, target, Access::Write, "be imported into")?;
        let started = Instant::now();
        let mut report = ImportReport::default();
        let paths = files(folder, options, &mut report.refused)?;
        report.files = paths.len() as u64 + report.refused.len() as u64;
        let mut done = report.refused.len() as u64;
        let twins = twins(folder, target, &paths);
        progress(ImportProgress { files: report.files, done });
        for some in paths.chunks(options.batch.max(1)) {
            let candidates = read_batch(folder, target, some, options, &twins, &mut report.refused);
            self.import_batch(caller, candidates, &mut report).await?;
            done += some.len() as u64;
            progress(ImportProgress { files: report.files, done });
        }
        report.time = started.elapsed();
        Ok(report)
    }

    /// Imports one text file: as the node at `target` if that has the file's name, and as a node of that name in `target` otherwise.
    /// `metadata` is added to what an import keeps of its own.
    ///
    /// # Errors
    /// As [`Store::import`]; a file that is no text is in the report.
    ///
    /// # Cancel safety
    /// Dropped, the node is there or not.
    pub async fn import_file(
        &self,
        caller: &Caller,
        file: &Path,
        target: &Uri,
        metadata: Map<String, Json>,
        options: &ImportOptions,
    ) -> Result<ImportReport, StoreError> {
        allow_node(caller, target, Access::Write, "be imported into")?;
        let started = Instant::now();
        let mut report = ImportReport { files: 1, ..ImportReport::default() };
        let refuse = |why: &str| StoreError::Io { path: file.display().to_string(), message: why.to_owned() };
        let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(|| refuse("its name is not UTF-8"))?;
        let named: String = name.nfc().collect();
        let uri = if target.name() == named { target.clone() } else { target.child(name)? };
        match text_of(file, options) {
            Ok(text) => {
                let candidate = Candidate { path: name.to_owned(), uri, hash: content_hash(&text), text, metadata };
                self.import_batch(caller, vec![candidate], &mut report).await?;
            }
            Err(reason) => report.refused.push(Refusal { path: name.to_owned(), reason }),
        }
        report.time = started.elapsed();
        Ok(report)
    }

    async fn import_batch(
        &self,
        caller: &Caller,
        candidates: Vec<Candidate>,
        report: &mut ImportReport,
    ) -> Result<(), StoreError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let unit = self.unit(caller);
        let asked = unit.clone();
        let outcome = unit.run(async |s: &mut Session| self.within(s, caller).import_batch(&candidates).await).await;
        let stats = asked.stats();
        report.batches += 1;
        report.statements += stats.statements;
        report.round_trips += stats.round_trips();
        let batch = outcome?;
        report.created += batch.created;
        report.updated += batch.updated;
        report.unchanged += batch.unchanged;
        report.bytes += batch.bytes;
        report.refused.extend(batch.refused);
        Ok(())
    }
}

impl Within<'_> {
    async fn import_batch(&mut self, candidates: &[Candidate]) -> Result<Batch, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let present = present(s, caller, candidates).await?;
        let mut batch = Batch::default();
        let mut writes = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            match present.get(candidate.uri.as_str()) {
                Some(held) if held.status == node::Status::Archived => batch.refused.push(Refusal {
                    path: candidate.path.clone(),
                    reason: format!("{} is archived: restore it first", candidate.uri),
                }),
                Some(held) if held.status == node::Status::Active && held.hash == candidate.hash => {
                    batch.unchanged += 1
                }
                Some(held) if let Some(twin) = held.twin_of(&candidate.path) => batch.refused.push(Refusal {
                    path: candidate.path.clone(),
                    reason: format!(
                        "{} was imported from another spelling of its name, {:?}: rename the file to that, or remove the node",
                        candidate.uri, twin
                    ),
                }),
                _ => {
                    batch.bytes += candidate.text.len() as u64;
                    writes.push((candidate.uri.clone(), write_of(candidate)));
                }
            }
        }
        for written in self.write_many(&writes).await? {
            if written.created {
                batch.created += 1;
            } else {
                batch.updated += 1;
            }
        }
        Ok(batch)
    }
}

/// What one batch did.
#[derive(Default)]
struct Batch {
    created: u64,
    updated: u64,
    unchanged: u64,
    bytes: u64,
    refused: Vec<Refusal>,
}

/// What is there already, without its texts.
async fn present(
    s: &mut Session,
    caller: &Caller,
    candidates: &[Candidate],
) -> Result<HashMap<String, Present>, StoreError> {
    // Held until the unit ends: another run must not write between this look and the write.
    let rows: Vec<(String, node::Status, String, Json)> = node::Entity::find()
        .select_only()
        .columns([node::Column::Uri, node::Column::Status, node::Column::ContentHash, node::Column::Metadata])
        .filter(node::Column::AccountId.eq(caller.account()))
        .filter(node::Column::Uri.is_in(candidates.iter().map(|candidate| candidate.uri.as_str())))
        .order_by_asc(node::Column::Uri)
        .lock_exclusive()
        .into_tuple()
        .all(s)
        .await?;
    let present = |(uri, status, hash, metadata): (String, node::Status, String, Json)| {
        let path = metadata["source"]["path"].as_str().map(str::to_owned);
        (uri, Present { status, hash, path })
    };
    Ok(rows.into_iter().map(present).collect())
}

fn write_of(candidate: &Candidate) -> Write {
    let source = serde_json::json!({ "path": candidate.path, "bytes": candidate.text.len() });
    let mut metadata = candidate.metadata.clone();
    metadata.insert("source".to_owned(), source);
    Write::of(candidate.text.clone()).with_abstract(first_line(&candidate.text)).with_metadata(metadata)
}

/// The first line that says something, without the marks of headings and comments: a file's abstract.
fn first_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("#!"))
        .map(|line| line.trim().trim_start_matches(['#', '/', '!', '*', '-', '<', '"', ';', '%']).trim());
    let line = lines.into_iter().find(|line| line.chars().any(char::is_alphanumeric)).unwrap_or_default();
    line.chars().take(LONGEST).collect()
}

/// The files of a folder, sorted, so that a run again meets the same batches. What is no file is refused here.
fn files(folder: &Path, options: &ImportOptions, refused: &mut Vec<Refusal>) -> Result<Vec<PathBuf>, StoreError> {
    let metadata = fs::metadata(folder).map_err(|e| StoreError::io(folder, &e))?;
    if !metadata.is_dir() {
        return Err(StoreError::Io { path: folder.display().to_string(), message: "it is not a folder".into() });
    }
    let walk = ignore::WalkBuilder::new(folder)
        .standard_filters(false)
        .git_ignore(options.gitignore)
        .git_exclude(options.gitignore)
        .require_git(false)
        .parents(false)
        .hidden(!options.hidden)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let mut paths = Vec::new();
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                refused.push(Refusal { path: folder.display().to_string(), reason: e.to_string() });
                continue;
            }
        };
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_file() {
            paths.push(entry.into_path());
        } else if !kind.is_dir() {
            let reason = if kind.is_symlink() { "a symbolic link" } else { "not a regular file" };
            refused.push(Refusal { path: relative(folder, entry.path()), reason: reason.into() });
        }
    }
    Ok(paths)
}

/// Those files whose names are other spellings of an earlier one's, which a file system keeps apart and a URI does not; and
/// that earlier one. Of all files of the run, whichever batches they are in (W3).
fn twins(folder: &Path, target: &Uri, paths: &[PathBuf]) -> HashMap<PathBuf, String> {
    let mut first: HashMap<Uri, &PathBuf> = HashMap::with_capacity(paths.len());
    let mut twins = HashMap::new();
    for path in paths {
        let Ok(uri) = place(folder, target, path) else { continue };
        match first.entry(uri) {
            std::collections::hash_map::Entry::Occupied(held) => {
                twins.insert(path.clone(), relative(folder, held.get()));
            }
            std::collections::hash_map::Entry::Vacant(vacant) => drop(vacant.insert(path)),
        }
    }
    twins
}

/// The files of a batch that are text, read.
fn read_batch(
    folder: &Path,
    target: &Uri,
    paths: &[PathBuf],
    options: &ImportOptions,
    twins: &HashMap<PathBuf, String>,
    refused: &mut Vec<Refusal>,
) -> Vec<Candidate> {
    let mut taken: Vec<Candidate> = Vec::with_capacity(paths.len());
    for path in paths {
        match candidate(folder, target, path, options) {
            Ok(new) => match twins.get(path) {
                Some(held) => refused
                    .push(Refusal { path: new.path, reason: format!("{} has the same URI as {held:?}", new.uri) }),
                None => taken.push(new),
            },
            Err(reason) => refused.push(Refusal { path: relative(folder, path), reason }),
        }
    }
    taken
}

/// Where a file goes.
fn place(folder: &Path, target: &Uri, path: &Path) -> Result<Uri, String> {
    let inner = path.strip_prefix(folder).map_err(|_| "it lies outside the folder".to_owned())?;
    let mut uri = target.clone();
    for part in inner.components() {
        let name = part.as_os_str().to_str().ok_or("its name is not UTF-8")?;
        uri = uri.child(name).map_err(|e| format!("its name: {}", e.reason))?;
    }
    Ok(uri)
}

fn candidate(folder: &Path, target: &Uri, path: &Path, options: &ImportOptions) -> Result<Candidate, String> {
    let uri = place(folder, target, path)?;
    let text = text_of(path, options)?;
    Ok(Candidate { path: relative(folder, path), uri, hash: content_hash(&text), text, metadata: Map::new() })
}

fn text_of(path: &Path, options: &ImportOptions) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > options.max_bytes {
        return Err(format!("{size} bytes, more than {}", options.max_bytes));
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    // It may have grown since it was looked at.
    if bytes.len() as u64 > options.max_bytes {
        return Err(format!("{} bytes, more than {}", bytes.len(), options.max_bytes));
    }
    if bytes.contains(&0) {
        return Err("binary: it has a NUL byte".into());
    }
    String::from_utf8(bytes).map_err(|e| format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to()))
}

fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v12_a_file_s_abstract_is_its_first_line_that_says_something() {
        assert_eq!(first_line("\n\n# Title \nbody"), "Title");
        assert_eq!(first_line("//! A module.\n"), "A module.");
        assert_eq!(first_line("#!/bin/sh\n# Runs it.\n"), "Runs it.");
        assert_eq!(first_line("----\n\n***\n"), "");
    }
}
