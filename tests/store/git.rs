//! A git history as the store's input (V12): commits of creations, edits, renames and deletions become writes, moves and
//! deletes, and then the tree is the checkout's, the history has every version, and the index holds the live nodes.

use std::{collections::BTreeMap, fs, path::Path};

use context_store::{Caller, GitOptions, Role, StoreError, Write};

use crate::{
    on_each_backend,
    support::{admin, git, uri},
    verify,
};

const COMMITS: usize = 2_000;

fn root() -> Caller {
    Caller::user("acme", "alice").with_role(Role::Root)
}

/// The files below a folder, without git's own.
fn files(folder: &Path, below: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(below).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != ".git") {
                files(folder, &path, found);
            }
            continue;
        }
        let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
        found.insert(name, fs::read_to_string(&path).expect("a text"));
    }
}

on_each_backend! {
    async fn v12_two_thousand_commits_are_replayed_and_nothing_is_lost(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let done = git::generate(folder.path(), COMMITS, 6);
        assert!(done.creations > 200 && done.edits > 1_000 && done.renames > 300 && done.deletions > 200, "{done:?}");
        let at = uri("ctx://acme/resources/repository");
        // In two runs, the second of which goes on where the first has stopped.
        let half = GitOptions { commits: Some(COMMITS / 2), ..GitOptions::default() };
        let first = t.store.import_git(&root(), folder.path(), &at, &half, &mut |_| {}).await.expect("a replay");
        let mut seen = 0;
        let second = t.store.import_git(&root(), folder.path(), &at, &GitOptions::default(), &mut |state| seen = state.done).await.expect("a replay");
        assert_eq!((first.commits, second.before, second.commits, seen), (1_000, 1_000, 1_000, 1_000));
        assert_eq!((first.refused.len(), second.refused.len()), (0, 0));
        assert_eq!(first.moves + second.moves, done.renames);
        assert_eq!(first.deletes + second.deletes, done.deletions);
        assert_eq!(first.writes + second.writes, done.creations + done.edits);
        t.store.drain().await.expect("a drain");

        let commit = second.last.expect("a commit");
        let compared = verify::everything(&t.store, &root(), folder.path(), &commit, &at).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(compared.files, done.creations - done.deletions);
        // Of files that are gone as well: each change of a file has put one state into the history.
        let replaced = t.count("SELECT count(*) FROM node_versions WHERE uri <> 'ctx://acme/resources/repository'").await;
        assert_eq!(replaced as u64, done.edits + done.renames + done.deletions);
        let indexed = t.count("SELECT count(DISTINCT node_id) FROM index_records").await;
        assert_eq!(indexed as u64, compared.files);

        let out = tempfile::tempdir().expect("a folder");
        t.store.export_folder(&root(), &at, out.path()).await.expect("an export");
        let (mut checkout, mut exported) = (BTreeMap::new(), BTreeMap::new());
        files(folder.path(), folder.path(), &mut checkout);
        files(out.path(), out.path(), &mut exported);
        assert_eq!(checkout, exported);
        let nothing = t.store.import_git(&root(), folder.path(), &at, &GitOptions::default(), &mut |_| {}).await.expect("a replay");
        assert_eq!((nothing.before, nothing.commits, nothing.last), (2_000, 0, Some(commit)));
    }

    async fn v12_a_replay_is_refused_where_something_else_lies(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        git::generate(folder.path(), 3, 1);
        let at = uri("ctx://acme/resources/taken");
        t.store.write(&admin(), &at.child("a").expect("a name"), &Write::of("x")).await.expect("a write");
        let taken = t.store.import_git(&admin(), folder.path(), &at, &GitOptions::default(), &mut |_| {}).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })), "{taken:?}");
        let other = tempfile::tempdir().expect("a folder");
        git::generate(other.path(), 3, 2);
        let at = uri("ctx://acme/resources/one");
        t.store.import_git(&admin(), folder.path(), &at, &GitOptions::default(), &mut |_| {}).await.expect("a replay");
        let foreign = t.store.import_git(&admin(), other.path(), &at, &GitOptions::default(), &mut |_| {}).await;
        assert!(matches!(foreign, Err(StoreError::AlreadyExists { .. })), "{foreign:?}");
        let none = t.store.import_git(&admin(), &other.path().join("nowhere"), &at, &GitOptions::default(), &mut |_| {}).await;
        assert!(matches!(none, Err(StoreError::Io { .. })), "{none:?}");
        let revision = GitOptions { revision: "no-such-branch".into(), ..GitOptions::default() };
        let none = t.store.import_git(&admin(), other.path(), &at, &revision, &mut |_| {}).await;
        assert!(matches!(&none, Err(StoreError::Io { message, .. }) if message.contains("no-such-branch")), "{none:?}");
    }

    async fn v12_this_project_s_own_history_is_replayed(t: TestStore) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // A copy of the sources without their history, an unpacked archive say, replays a commit made of them.
        let made = tempfile::tempdir().expect("a folder");
        let has_history = here.join(".git").exists();
        let repository = if has_history { here } else { made.path() };
        if !has_history {
            git::generate(repository, 50, 3);
        }
        let at = uri("ctx://acme/resources/project");
        // Its beginning, however long it grows.
        let beginning = GitOptions { commits: Some(100), ..GitOptions::default() };
        let report = t.store.import_git(&root(), repository, &at, &beginning, &mut |_| {}).await.expect("a replay");
        assert!(report.commits >= 1, "{report:?}");
        t.store.drain().await.expect("a drain");
        let commit = report.last.expect("a commit");
        let compared = verify::everything(&t.store, &root(), repository, &commit, &at).await.unwrap_or_else(|e| panic!("{e}"));
        assert!(compared.files > 10, "{compared:?}");
    }
}
