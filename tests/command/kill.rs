//! Imports that are killed: by SIGKILL, at any moment, again and again; then run once more they end as if nothing had been.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use context_store::{Link, Paging, TreeOptions, Uri, Write};
use sea_orm::DbBackend;

use crate::{
    on_each_backend,
    support::{
        TestStore, git,
        life::{assert_same, live, root, rows},
        uri,
    },
    verify,
};

/// How often an import is killed before it may end.
const KILLS: u32 = 12;

fn ctx(database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctx"));
    command.env_remove("CTX_DATABASE").env_remove("CTX_ACCOUNT");
    command.args(["--database", database]).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs a command, kills it at some moment, and so on; then lets it end. Returns how often it was killed in the middle of its work.
fn killed(database: &str, arguments: &[&str], random: &mut fastrand::Rng) -> u32 {
    let started = Instant::now();
    let mut kills = 0;
    // The longest wait grows while kills come before the work begins, and shrinks when one comes too late.
    let mut longest = 120.0_f64;
    while kills < KILLS && started.elapsed() < Duration::from_secs(60) {
        let mut child = ctx(database, arguments).spawn().expect("ctx runs");
        std::thread::sleep(Duration::from_secs_f64(random.f64() * longest / 1_000.0));
        match child.try_wait().expect("a child") {
            Some(_) => longest *= 0.7,
            None => {
                child.kill().expect("SIGKILL");
                kills += 1;
                longest *= 1.1;
            }
        }
        child.wait().expect("a child");
    }
    let output = ctx(database, arguments).output().expect("ctx runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kills
}

async fn another(t: &TestStore) -> TestStore {
    match t.owner.backend() {
        DbBackend::Postgres => TestStore::postgres().await,
        _ => TestStore::sqlite().await,
    }
}

/// The command in a thread of its own: it blocks.
async fn kill(t: &TestStore, arguments: &[&str], seed: u64) -> u32 {
    let (url, arguments) = (t.url.clone(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        killed(&url, &arguments, &mut fastrand::Rng::with_seed(seed))
    };
    tokio::task::spawn_blocking(run).await.expect("kills")
}

/// Has the index follow. What a killed command had claimed is delivered when its lease has run out.
async fn drained(t: &TestStore) {
    let started = Instant::now();
    loop {
        t.store.drain().await.expect("a drain");
        let status = t.store.status(&root()).await.expect("a status");
        if status.pending == 0 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "the index does not follow: {status:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn healthy(t: &TestStore) {
    drained(t).await;
    let diagnosis = t.store.doctor(&root(), false).await.expect("a diagnosis");
    assert!(diagnosis.is_clean(), "{diagnosis:#?}");
}

fn texts(folder: &Path, files: usize) {
    for n in 0..files {
        let path = folder.join(format!("d{}/f{n}.txt", n % 7));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, format!("file {n}\n{}", "words ".repeat(n % 50))).expect("a file");
    }
}

on_each_backend! {
    async fn v12_an_archive_s_import_survives_kills_at_any_moment(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("archive.jsonl");
        let account = uri("ctx://acme");
        let mut random = fastrand::Rng::with_seed(3);
        live(&t.store, 200, &mut random).await;
        let many: Vec<(Uri, Write)> = (0..1_500).map(|n| (uri(&format!("ctx://acme/resources/many/n{n}")), Write::of(format!("text {n}")))).collect();
        for chunk in many.chunks(500) {
            t.store.write_many(&root(), chunk).await.expect("writes");
            t.store.write_many(&root(), chunk).await.expect("writes");
        }
        for pair in many.windows(2).take(300) {
            t.store.link(&root(), &pair[0].0, &pair[1].0, &Link::of("next")).await.expect("a link");
        }
        t.store.export_archive(&root(), &account, &file).await.expect("an export");
        let other = another(&t).await;
        let arguments = ["import", file.to_str().expect("a path"), "ctx://acme", "--user", "alice", "--role", "root"];
        let kills = kill(&other, &arguments, 5).await;
        assert_eq!(kills, KILLS);
        assert_same(&rows(&t.owner).await, &rows(&other.owner).await);
        healthy(&other).await;
    }

    async fn v12_a_folder_s_import_survives_kills_at_any_moment(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        texts(folder.path(), 1_200);
        let arguments = ["import", folder.path().to_str().expect("a path"), "ctx://acme/resources/files", "--batch", "50"];
        assert_eq!(kill(&t, &arguments, 6).await, KILLS);
        let tree = TreeOptions { paging: Paging::first(5_000), ..TreeOptions::default() };
        let tree = t.store.tree(&root(), &uri("ctx://acme/resources/files"), &tree).await.expect("a tree");
        let nodes: Vec<_> = tree.items.into_iter().filter_map(|entry| entry.node).collect();
        assert_eq!(nodes.len(), 1_200);
        assert!(nodes.iter().all(|node| node.version == 1), "no file was written twice");
        assert_eq!(t.count("SELECT count(*) FROM node_versions").await, 0);
        healthy(&t).await;
    }

    async fn v12_conversations_survive_kills_at_any_moment(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log.json");
        let turns = |n: usize| serde_json::json!([{ "speaker": "Ann", "text": format!("conversation {n}") }, { "speaker": "Bo", "text": "yes ".repeat(n % 40) }]);
        let all: Vec<_> = (1..=1_000).map(turns).collect();
        fs::write(&file, serde_json::to_string(&all).expect("JSON")).expect("a file");
        let arguments = ["conversations", file.to_str().expect("a path"), "ctx://acme/sessions/import", "--user", "alice"];
        assert_eq!(kill(&t, &arguments, 7).await, KILLS);
        assert_eq!(t.count("SELECT count(*) FROM session_archives WHERE state = 'closed' AND message_count = 2 AND version = 1").await, 1_000);
        assert_eq!(t.count("SELECT count(DISTINCT sequence) FROM session_archives").await, 1_000);
        healthy(&t).await;
    }

    async fn v12_a_git_replay_survives_kills_at_any_moment(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        git::generate(folder.path(), 300, 8);
        let arguments = ["import", "--git", folder.path().to_str().expect("a path"), "ctx://acme/resources/repository"];
        assert_eq!(kill(&t, &arguments, 9).await, KILLS);
        let at = uri("ctx://acme/resources/repository");
        let report = t.store.import_git(&root(), folder.path(), &at, &Default::default(), &mut |_| {}).await.expect("a replay");
        assert_eq!((report.before, report.commits), (300, 0));
        drained(&t).await;
        let last = report.last.expect("a commit");
        verify::everything(&t.store, &root(), folder.path(), &last, &at).await.unwrap_or_else(|e| panic!("{e}"));
    }
}
