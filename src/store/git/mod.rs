//! Replaying a git history (V12): each commit on the first-parent line is one unit of work, whose creations and edits are
//! writes, whose renames are moves, and whose deletions are deletes; so a node's history has what its file's history has.
//!
//! The target folder's own node carries, in its metadata, the last commit that was replayed. It changes in the unit of
//! that commit, so an import that is killed goes on where it stopped, and one of a repository that has grown takes
//! only what is new.

mod log;
mod plan;

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use context_entities::node;
use sea_orm::{ColumnTrait, QueryFilter, QuerySelect, prelude::Json};
use sea_session::prelude::*;
use serde_json::json;

use super::{DeleteOptions, Refusal, Store, Within, Write, allow_node, read::visible};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    uri::Uri,
};
use log::{Commit, Listed};
use plan::{Plan, Tree};

/// Commits that are read ahead of the store.
const AHEAD: usize = 16;

/// How to replay a git history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitOptions {
    /// The branch, tag or commit whose first-parent line is replayed.
    pub revision: String,
    /// At most so many commits in this run, the oldest first; none for all.
    pub commits: Option<usize>,
    /// Larger files are refused.
    pub max_bytes: u64,
}

impl Default for GitOptions {
    fn default() -> Self {
        Self { revision: "HEAD".into(), commits: None, max_bytes: 1 << 20 }
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitProgress {
    /// Commits of this run.
    pub commits: u64,
    /// Commits that were replayed.
    pub done: u64,
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct GitReport {
    /// Commits replayed.
    pub commits: u64,
    /// Commits that an earlier run had replayed.
    pub before: u64,
    /// Files created or changed.
    pub writes: u64,
    /// Files renamed.
    pub moves: u64,
    /// Files deleted.
    pub deletes: u64,
    /// Statements sent.
    pub statements: u64,
    /// The commit whose files the folder holds now.
    pub last: Option<String>,
    /// Files that could not be taken at some commit, and why; each once.
    pub refused: Vec<Refusal>,
}

impl Store {
    /// Replays a git repository's history below `target`, a commit at a time, and goes on where an earlier run of the
    /// same repository has stopped. Needs the program `git`.
    ///
    /// Taken are text files. Symbolic links, submodules, binary and large files, and names that a URI cannot have, are
    /// refused one by one while the rest goes on.
    ///
    /// # Errors
    /// [`StoreError::Denied`] or [`StoreError::NotANode`] for the target; [`StoreError::AlreadyExists`] if something lies there that is
    /// no replay of this line of commits; [`StoreError::Io`] if `git` is missing or refuses; what the database says, and then the commits before
    /// are there.
    ///
    /// # Cancel safety
    /// Dropped, whole commits are there; the next run goes on.
    pub async fn import_git(
        &self,
        caller: &Caller,
        repository: &Path,
        target: &Uri,
        options: &GitOptions,
        progress: &mut (dyn FnMut(GitProgress) + Send),
    ) -> Result<GitReport, StoreError> {
        allow_node(caller, target, Access::Write, "be imported into")?;
        let listed = list(repository.to_owned(), options.revision.clone()).await?;
        let mut state = self.replayed(caller, repository, target, &listed).await?;
        let mut due = listed;
        due.drain(..state.commits);
        due.truncate(options.commits.unwrap_or(usize::MAX));
        let mut report = GitReport { before: state.commits as u64, last: state.last.take(), ..GitReport::default() };
        let commits = due.len() as u64;
        progress(GitProgress { commits, done: 0 });

        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Commit>(AHEAD);
        let (folder, max_bytes) = (repository.to_owned(), options.max_bytes);
        // Reading blocks, and waits while the channel is full: memory holds a few commits, whatever the history has.
        let reading = tokio::task::spawn_blocking(move || log::stream(&folder, &due, max_bytes, &sender));
        let mut refused = BTreeSet::new();
        while let Some(commit) = receiver.recv().await {
            let number = report.before + report.commits + 1;
            let plan = state.tree.plan(target, commit.changes);
            let unit = self.unit(caller);
            let asked = unit.clone();
            unit.run(async |s: &mut Session| self.within(s, caller).replay(target, &commit.id, number, &plan).await)
                .await?;
            report.statements += asked.stats().statements;
            report.commits += 1;
            report.writes += plan.writes.len() as u64;
            report.moves += plan.moves.len() as u64;
            report.deletes += plan.deletes.len() as u64;
            report.last = Some(commit.id);
            refused.extend(plan.refused.into_iter().map(|refusal| (refusal.path, refusal.reason)));
            progress(GitProgress { commits, done: report.commits });
        }
        reading.await.map_err(|e| log::refused(repository, e.to_string()))??;
        report.refused = refused.into_iter().map(|(path, reason)| Refusal { path, reason }).collect();
        Ok(report)
    }

    /// What earlier runs have left at the target.
    async fn replayed(
        &self,
        caller: &Caller,
        repository: &Path,
        target: &Uri,
        listed: &[Listed],
    ) -> Result<State, StoreError> {
        let (low, high) = target.below();
        let mark =
            visible(caller).filter(node::Column::Uri.eq(target.as_str())).select_only().column(node::Column::Metadata);
        let files = visible(caller)
            .filter(node::Column::Uri.gte(low))
            .filter(node::Column::Uri.lt(high))
            .filter(node::Column::Status.eq(node::Status::Active))
            .select_only()
            .column(node::Column::Uri);
        let (mark, files) = self
            .read_unit(caller)
            .run(async |s: &mut Session| -> Result<(Option<Json>, Vec<String>), StoreError> {
                let mark = mark.clone().into_tuple().one(s).await?;
                Ok((mark, files.clone().into_tuple().all(s).await?))
            })
            .await?;
        let occupied = || StoreError::AlreadyExists { uri: target.clone() };
        let Some(mark) = mark else {
            return if files.is_empty() { Ok(State::default()) } else { Err(occupied()) };
        };
        let last = mark["git"]["commit"].as_str().ok_or_else(occupied)?;
        let at = listed.iter().position(|commit| commit.id == last).ok_or_else(occupied)?;
        let paths = paths(repository.to_owned(), last.to_owned()).await?;
        let present: HashSet<String> = files.into_iter().collect();
        let tree = Tree::of(target, &paths, &present);
        Ok(State { tree, commits: at + 1, last: Some(last.to_owned()) })
    }
}

impl Within<'_> {
    /// One commit: first what goes, then what moves, then what is written.
    async fn replay(&mut self, target: &Uri, commit: &str, number: u64, plan: &Plan) -> Result<(), StoreError> {
        for uri in &plan.deletes {
            self.delete(uri, DeleteOptions::default()).await?;
        }
        for (from, to) in &plan.moves {
            self.move_node(from, to).await?;
        }
        let mut writes: Vec<(Uri, Write)> = Vec::with_capacity(plan.writes.len() + 1);
        for file in &plan.writes {
            let source = json!({ "source": { "commit": commit } });
            let metadata = source.as_object().cloned().unwrap_or_default();
            writes.push((file.uri.clone(), Write::of(file.text.clone()).with_metadata(metadata)));
        }
        let mark = json!({ "git": { "commit": commit, "commits": number } });
        writes.push((target.clone(), Write::new().with_metadata(mark.as_object().cloned().unwrap_or_default())));
        self.write_many(&writes).await?;
        Ok(())
    }
}

/// Where a replay stands.
#[derive(Default)]
struct State {
    tree: Tree,
    commits: usize,
    last: Option<String>,
}

async fn list(repository: PathBuf, revision: String) -> Result<Vec<Listed>, StoreError> {
    let place = repository.clone();
    let listing = tokio::task::spawn_blocking(move || log::list(&repository, &revision));
    listing.await.map_err(|e| log::refused(&place, e.to_string()))?
}

async fn paths(repository: PathBuf, commit: String) -> Result<Vec<String>, StoreError> {
    let place = repository.clone();
    let listing = tokio::task::spawn_blocking(move || log::paths(&repository, &commit));
    listing.await.map_err(|e| log::refused(&place, e.to_string()))?
}
