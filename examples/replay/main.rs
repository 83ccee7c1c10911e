//! A git history as the history of a store: `cargo run --release --example replay -- REPOSITORY [COMMITS]`.
//!
//! It replays a repository's first-parent line, each commit as writes, moves and deletes, lets the index follow, and then
//! asks `git` and the store the same questions: is the tree the checkout's, has every file every version, does the index
//! hold exactly the live nodes. On embedded SQLite in a temporary folder, or with `DATABASE_URL=postgres://…` there. It
//! ends with an error when one answer differs.

mod verify;

use std::{path::PathBuf, time::Instant};

use anyhow::{Context, Result, ensure};
use context_store::{Caller, GitOptions, Role, Store, Uri};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let repository = PathBuf::from(arguments.next().context("which repository? replay REPOSITORY [COMMITS]")?);
    let commits = arguments.next().map(|n| n.parse()).transpose().context("COMMITS is a number")?;
    let folder = tempfile::tempdir()?;
    let url = std::env::var("DATABASE_URL")
        .unwrap_or_else(|_| format!("sqlite://{}?mode=rwc", folder.path().join("replay.db").display()));
    let store = Store::open(&url).await?;
    let caller = Caller::user("replay", "replay").with_role(Role::Root);
    let target = Uri::parse("ctx://replay/resources/repository")?;

    let started = Instant::now();
    let options = GitOptions { commits, ..GitOptions::default() };
    let report = store.import_git(&caller, &repository, &target, &options, &mut |_| {}).await?;
    let replayed = started.elapsed();
    println!(
        "{} commits in {:.1} s: {} writes, {} moves, {} deletes, {} statements; {} paths refused",
        report.commits,
        replayed.as_secs_f64(),
        report.writes,
        report.moves,
        report.deletes,
        report.statements,
        report.refused.len()
    );
    let started = Instant::now();
    let delivered = store.drain().await?.delivered;
    println!("{delivered} events delivered to the index in {:.1} s", started.elapsed().as_secs_f64());

    let last = report.last.context("the repository has no commit")?;
    let started = Instant::now();
    let seen = verify::everything(&store, &caller, &repository, &last, &target).await?;
    println!(
        "{} files and {} versions of them are git's, the doctor finds nothing, in {:.1} s; {} bytes of text",
        seen.files,
        seen.versions,
        started.elapsed().as_secs_f64(),
        seen.bytes
    );
    ensure!(seen.files > 0, "there was nothing to compare");
    store.db().close().await?;
    Ok(())
}
