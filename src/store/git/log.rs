//! What `git` says of a repository: its commits, and what each changed, with the texts.
//!
//! It runs `git` as a program, so that every repository that the reader's own `git` can read can be replayed, and it
//! blocks: it belongs on a thread of its own. It never changes a repository.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::error::StoreError;

/// A commit on the first-parent line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    parent: Option<String>,
}

/// A commit with what it changed.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) changes: Vec<Change>,
}

/// What a commit did to one path.
#[derive(Debug)]
pub(super) struct Change {
    /// The path before, of a rename.
    pub(super) from: Option<String>,
    /// The path; of a deletion the one that is gone.
    pub(super) path: String,
    /// What is there now.
    pub(super) now: Content,
    /// Whether the bytes are what they were before.
    pub(super) same: bool,
}

/// What a path holds.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    Gone,
    /// A text.
    Text(String),
    /// Something that is no text of the store, and why.
    Refused(String),
}

/// What `git` refuses, or why it cannot be asked.
pub(super) fn refused(repository: &Path, message: String) -> StoreError {
    StoreError::Io { path: repository.display().to_string(), message }
}

/// The commits of a revision's first-parent line, oldest first.
pub(super) fn list(repository: &Path, revision: &str) -> Result<Vec<Listed>, StoreError> {
    let arguments = ["rev-list", "--first-parent", "--reverse", "--parents", "--end-of-options", revision, "--"];
    let output = said(repository, &arguments)?;
    let text = String::from_utf8_lossy(&output);
    let commit = |line: &str| {
        let mut ids = line.split_ascii_whitespace().map(str::to_owned);
        Some(Listed { id: ids.next()?, parent: ids.next() })
    };
    Ok(text.lines().filter_map(commit).collect())
}

/// The paths of a commit's files.
pub(super) fn paths(repository: &Path, commit: &str) -> Result<Vec<String>, StoreError> {
    let output = said(repository, &["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit])?;
    let paths = output.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}

/// Everything that a `git` says.
fn said(repository: &Path, arguments: &[&str]) -> Result<Vec<u8>, StoreError> {
    let output = git(repository, arguments).output().map_err(|e| missing(repository, &e))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    // One sentence: what follows the first line is advice.
    let message = String::from_utf8_lossy(&output.stderr);
    Err(refused(repository, message.lines().next().unwrap_or("`git` refuses").to_owned()))
}

/// Sends each commit with what it changed, until all are sent or nobody listens any more.
pub(super) fn stream(
    repository: &Path,
    commits: &[Listed],
    max_bytes: u64,
    sender: &tokio::sync::mpsc::Sender<Commit>,
) -> Result<(), StoreError> {
    let mut lines = String::new();
    for commit in commits {
        lines.push_str(&commit.id);
        if let Some(parent) = &commit.parent {
            lines.push(' ');
            lines.push_str(parent);
        }
        lines.push('\n');
    }
    let mut blobs = Blobs::open(repository, max_bytes)?;
    let arguments = [
        "diff-tree",
        "--stdin",
        "--always",
        "--root",
        "-r",
        "-M",
        "-l2000",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-ext-diff",
    ];
    let mut diffs = Running::start(repository, &arguments)?;
    std::thread::scope(|scope| {
        let mut input = diffs.input.take();
        // Beside the reading, because `git` writes while it reads. It fails when `git` ends early, which the reading tells.
        scope.spawn(move || input.as_mut().map(|input| input.write_all(lines.as_bytes())));
        let sent = send(repository, &mut diffs, &mut blobs, sender);
        // Whoever stops early must not leave the writer waiting.
        diffs.end();
        sent
    })
}

fn send(
    repository: &Path,
    diffs: &mut Running,
    blobs: &mut Blobs,
    sender: &tokio::sync::mpsc::Sender<Commit>,
) -> Result<(), StoreError> {
    let mut open: Option<Commit> = None;
    while let Some(token) = diffs.token(repository)? {
        let Some(record) = token.strip_prefix(b":") else {
            let next = Commit { id: String::from_utf8_lossy(&token).into_owned(), changes: Vec::new() };
            if open.replace(next).is_some_and(|done| sender.blocking_send(done).is_err()) {
                return Ok(());
            }
            continue;
        };
        let change = change(repository, record, diffs, blobs)?;
        let commit = open.as_mut().ok_or_else(|| refused(repository, "`git diff-tree` names no commit".into()))?;
        commit.changes.extend(change);
    }
    if let Some(done) = open {
        // An error: nobody listens any more, and nobody misses it.
        let _ = sender.blocking_send(done);
    }
    Ok(())
}

/// Reads `old-mode new-mode old-id new-id status` and the paths that follow it.
fn change(
    repository: &Path,
    record: &[u8],
    diffs: &mut Running,
    blobs: &mut Blobs,
) -> Result<Option<Change>, StoreError> {
    let odd = || refused(repository, "`git diff-tree` says what is not understood".into());
    let record = String::from_utf8_lossy(record).into_owned();
    let fields: Vec<&str> = record.split(' ').collect();
    let [_, mode, old, new, status] = fields[..] else { return Err(odd()) };
    let mut path = || -> Result<String, StoreError> {
        let path = diffs.token(repository)?.ok_or_else(odd)?;
        // A name that is not UTF-8 cannot be part of a URI; the replacement character makes it refused by its name.
        Ok(String::from_utf8_lossy(&path).into_owned())
    };
    let renamed = status.starts_with(['R', 'C']);
    let from = if renamed { Some(path()?) } else { None };
    let path = path()?;
    let now = match (status, mode) {
        ("D", _) => Content::Gone,
        (_, "120000") => Content::Refused("a symbolic link".into()),
        (_, "160000") => Content::Refused("a submodule".into()),
        _ => blobs.text(repository, new)?,
    };
    Ok(Some(Change { from: from.filter(|_| status.starts_with('R')), path, now, same: old == new }))
}

/// `git cat-file --batch`, asked for one blob after another.
struct Blobs {
    running: Running,
    max_bytes: u64,
}

impl Blobs {
    fn open(repository: &Path, max_bytes: u64) -> Result<Self, StoreError> {
        Ok(Self { running: Running::start(repository, &["cat-file", "--batch"])?, max_bytes })
    }

    fn text(&mut self, repository: &Path, id: &str) -> Result<Content, StoreError> {
        let failed = |e: std::io::Error| refused(repository, e.to_string());
        let input = self.running.input.as_mut().ok_or_else(|| refused(repository, "`git cat-file` is gone".into()))?;
        writeln!(input, "{id}").and_then(|()| input.flush()).map_err(failed)?;
        let mut head = String::new();
        self.running.output.read_line(&mut head).map_err(failed)?;
        let size = head.trim_end().rsplit_once(' ').and_then(|(_, size)| size.parse::<u64>().ok());
        let size =
            size.ok_or_else(|| refused(repository, format!("`git cat-file` has no {id}: {}", head.trim_end())))?;
        if size > self.max_bytes {
            std::io::copy(&mut (&mut self.running.output).take(size + 1), &mut std::io::sink()).map_err(failed)?;
            return Ok(Content::Refused(format!("more than {} bytes", self.max_bytes)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        (&mut self.running.output).take(size + 1).read_to_end(&mut bytes).map_err(failed)?;
        // The newline that ends the answer.
        bytes.pop();
        if bytes.contains(&0) {
            return Ok(Content::Refused("binary: it has a NUL byte".into()));
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => Content::Text(text),
            Err(_) => Content::Refused("not UTF-8".into()),
        })
    }
}

/// A `git` that runs, and is ended with this.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(repository: &Path, arguments: &[&str]) -> Result<Self, StoreError> {
        let mut command = git(repository, arguments);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|e| missing(repository, &e))?;
        let input = child.stdin.take();
        match child.stdout.take() {
            Some(output) => Ok(Self { child, input, output: BufReader::new(output) }),
            None => Err(refused(repository, "`git` has no output".into())),
        }
    }

    /// What comes up to the next NUL; none at the end of a run that went well.
    fn token(&mut self, repository: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let mut token = Vec::new();
        let failed = |e: std::io::Error| refused(repository, e.to_string());
        if self.output.read_until(0, &mut token).map_err(failed)? > 0 {
            token.pop_if(|last| *last == 0);
            return Ok(Some(token));
        }
        let status = self.child.wait().map_err(failed)?;
        if status.success() { Ok(None) } else { Err(refused(repository, format!("`git` has ended with {status}"))) }
    }

    fn end(&mut self) {
        // It may have ended by itself already, and then there is nobody to end or to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// `git` on this repository and no other, whatever the environment says.
fn git(repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(arguments).stdin(Stdio::null());
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(variable);
    }
    command
}

fn missing(repository: &Path, e: &std::io::Error) -> StoreError {
    if e.kind() == std::io::ErrorKind::NotFound {
        return refused(repository, "the program `git` is not installed: it reads the repository".into());
    }
    refused(repository, format!("`git` does not start: {e}"))
}
