//! From an empty database to a searched memory in one program: `cargo run --example quickstart`.
//!
//! It imports this repository's own text files, shows what a unit of work sends, moves a folder, lets the index follow,
//! and searches. On embedded SQLite in a temporary file; with `DATABASE_URL=postgres://…` or `sqlite://…` there. Run
//! twice on the same database it neither fails nor duplicates anything.

use std::{
    io::IsTerminal,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use context_entities::node;
use context_store::{
    Caller, Entry, ImportOptions, ImportProgress, ImportReport, Role, SearchOptions, Store, StoreError, TreeOptions,
    Uri, Write,
};
use indicatif::{ProgressBar, ProgressStyle};
use sea_session::{Recorder, prelude::*};

/// More statements than these a batch never takes, whatever it holds.
const STATEMENTS_A_BATCH: u64 = 24;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = std::env::var("DATABASE_URL")
        .unwrap_or_else(|_| format!("sqlite://{}?mode=rwc", folder.path().join("quickstart.db").display()));
    run(&url).await?;
    Ok(())
}

/// What a run did, for its test.
pub struct Summary {
    /// The import.
    pub import: ImportReport,
    /// Active nodes at the end.
    pub nodes: i64,
}

/// The whole program over one database.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run(url: &str) -> Result<Summary> {
    let started = Instant::now();
    let store = Store::open(url).await?;
    let caller = Caller::user("demo", "reader").with_role(Role::Admin);
    let root = Uri::parse("ctx://demo/resources/sea-session")?;

    heading("1. Import: batches, not files, cost statements");
    let import = import(&store, &caller, &root).await?;

    heading("2. A unit of work, and what it sent");
    unit_of_work(&store, &caller).await?;

    heading("3. Move a folder, and let the index follow");
    move_and_search(&store, &caller, &root).await?;

    heading("4. The tree");
    let tree = store.tree(&caller, &root, &TreeOptions { depth: Some(1), ..Default::default() }).await?;
    for entry in &tree.items {
        println!("  {}", line(entry));
    }

    let status = store.status(&caller).await?;
    let nodes = import.created + import.updated + import.unchanged;
    ensure!(status.pending == 0 && status.dead == 0, "the outbox is not empty: {status:?}");
    heading("In all");
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.add_row(["files found", &import.files.to_string()]);
    table.add_row([
        "nodes created, updated, unchanged",
        &format!("{}, {}, {}", import.created, import.updated, import.unchanged),
    ]);
    table.add_row(["files refused", &import.refused.len().to_string()]);
    table.add_row(["batches", &import.batches.to_string()]);
    table.add_row(["statements of the import", &import.statements.to_string()]);
    table.add_row(["round trips for each node", &format!("{:.3}", import.round_trips as f64 / nodes.max(1) as f64)]);
    table.add_row(["time of the import", &format!("{:.2} s", import.time.as_secs_f64())]);
    table.add_row(["active nodes in the store", &status.active.to_string()]);
    table.add_row(["records in the index", &status.index_records.to_string()]);
    table.add_row(["time in all", &format!("{:.2} s", started.elapsed().as_secs_f64())]);
    println!("{table}");
    store.db().close().await?;
    Ok(Summary { import, nodes: status.active })
}

/// Every text file of this repository becomes a node.
async fn import(store: &Store, caller: &Caller, root: &Uri) -> Result<ImportReport> {
    // At run time cargo says where the package is; the place of the build serves a program that is started by hand.
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let bar = progress_bar();
    let mut progress = |state: ImportProgress| {
        bar.set_length(state.files);
        bar.set_position(state.done);
    };
    let options = ImportOptions { batch: 100, ..ImportOptions::default() };
    let import = store.import(caller, &PathBuf::from(folder), root, &options, &mut progress).await;
    bar.finish_and_clear();
    let import = import?;
    for refusal in &import.refused {
        println!("  refused {}: {}", refusal.path, refusal.reason);
    }
    println!("  {} files in {} batches took {} statements", import.files, import.batches, import.statements);
    ensure!(
        import.statements <= import.batches * STATEMENTS_A_BATCH,
        "{} statements for {} batches: they grow with the files",
        import.statements,
        import.batches
    );
    Ok(import)
}

/// One object a row, only what changed, a nested block that takes its objects back, a conflict, an event a change.
async fn unit_of_work(store: &Store, caller: &Caller) -> Result<()> {
    let uri = Uri::parse("ctx://demo/users/reader/memories/quickstart/greeting")?;
    let first = store.write(caller, &uri, &Write::of("Hello.").with_abstract("a greeting")).await?;
    let events = store.status(caller).await?.pending;
    let recorder = Recorder::new();

    store
        .unit(caller)
        .record(&recorder)
        .run(async |s: &mut Session| -> Result<(), StoreError> {
            let node = s
                .get::<node::Entity>(first.id)
                .await?
                .ok_or_else(|| StoreError::InvalidArgument("the node is gone".into()))?;
            let again = s.get::<node::Entity>(first.id).await?;
            println!("  two gets, one object: {}", again.is_some_and(|again| Tracked::ptr_eq(&node, &again)));

            store.within(s, caller).write(&uri, &Write::new().with_abstract("a friendly greeting")).await?;
            s.flush().await?;
            println!("  the object follows the write: {:?}, version {}", node.r#abstract(), node.version());

            let tentative = s
                .atomic(async |s: &mut Session| -> Result<(), StoreError> {
                    store.within(s, caller).write(&uri, &Write::of("Go away.")).await?;
                    s.flush().await?;
                    Err(StoreError::InvalidArgument("changed my mind".into()))
                })
                .await;
            println!("  a nested block that fails ({}) leaves {:?}", tentative.is_err(), node.content());
            Ok(())
        })
        .await?;

    println!("  sent:");
    let sent = recorder.take();
    for statement in &sent {
        println!("    {}", shortened(statement));
    }
    let update =
        sent.iter().find(|sql| sql.starts_with("UPDATE") && sql.contains("nodes")).context("no UPDATE was sent")?;
    // What a trigger of the table may have made of the row comes back with it.
    let written = update.split(" RETURNING ").next().unwrap_or(update);
    ensure!(written.contains("abstract") && !written.contains("content"), "only the changed column: {update}");

    let node = store.read(caller, &uri).await?;
    ensure!(
        node.content == "Hello." && node.r#abstract == "a friendly greeting",
        "the block's change is gone, the unit's is there"
    );
    ensure!(store.status(caller).await?.pending == events + 1, "one change that stayed, one event");
    match store.write(caller, &uri, &Write::of("Too late.").expecting(first.version)).await {
        Err(e @ StoreError::VersionConflict { .. }) => println!("  a stale write is refused: {e}"),
        other => anyhow::bail!("a stale write must be refused, and was answered {other:?}"),
    }
    Ok(())
}

/// A folder moves in a handful of statements, whatever is in it; the index follows through the outbox.
async fn move_and_search(store: &Store, caller: &Caller, root: &Uri) -> Result<()> {
    let (from, to) = (root.child("session")?, root.child("framework")?);
    let unit = store.unit(caller);
    let asked = unit.clone();
    let moved = unit.run(async |s: &mut Session| store.within(s, caller).move_node(&from, &to).await).await?;
    println!("  moved {} nodes to {} in {} statements", moved.nodes, moved.to, asked.stats().statements);
    let delivered = store.drain().await?;
    println!("  the outbox delivered {} events in {} batches", delivered.delivered, delivered.batches);

    let options = SearchOptions { within: Some(to.clone()), ..Default::default() };
    let found = store.search(caller, "identity map", &options).await?;
    ensure!(!found.items.is_empty(), "the moved files are found where they are now");
    for hit in found.items.iter().take(3) {
        println!("  {}", hit.uri.pretty());
        println!("      {}", shortened(&hit.snippet.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    let stale = SearchOptions { within: Some(from.clone()), ..Default::default() };
    ensure!(store.search(caller, "identity map", &stale).await?.items.is_empty(), "nothing is found where they were");

    // Back again, so that a second run finds what the first one imported.
    store.move_node(caller, &to, &from).await?;
    store.drain().await?;
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn line(entry: &Entry) -> String {
    let about = entry.node.as_ref().map(|node| node.r#abstract.as_str()).unwrap_or_default();
    let name = format!("{}{}", entry.name, if entry.is_folder { "/" } else { "" });
    format!("{name:<24} {}", shortened(about)).trim_end().to_owned()
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    let cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() { cut + " …" } else { cut }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("  {bar:40} {pos}/{len} files, {per_sec}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
