//! `cargo bench --bench retrieval -- [--backend postgres|sqlite] [--ts-rank] FILE...`
//!
//! Reads conversations in LoCoMo's public JSON form, writes each turn as a node of its own (and, in another account, each
//! session), asks every question as it stands, and prints how often a turn or session that answers it is among the first 5
//! and the first 10, by category, on both backends. With `--ts-rank`, PostgreSQL's own ranks of the same texts beside. Without a
//! file it says how to get one and ends.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "what it compares with looks past the session, and a failure is a panic"
)]

mod locomo;
mod measure;
mod ts_rank;

use std::path::Path;

use context_migration::Runner;
use context_store::Store;
use locomo::Conversation;
use measure::{Corpus, Measured};
use sea_orm::ConnectOptions;
use sea_session::{Db, testing::cluster};

fn main() {
    let mut files = Vec::new();
    let mut backend = None;
    let mut with_ts_rank = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--backend" => backend = arguments.next(),
            "--ts-rank" => with_ts_rank = true,
            // What cargo adds.
            "--bench" => {}
            file => files.push(file.to_owned()),
        }
    }
    if files.is_empty() {
        println!("cargo bench --bench retrieval -- [--backend postgres|sqlite] [--ts-rank] FILE...");
        println!("A file is of LoCoMo's form: data/locomo10.json of the public repository, or one conversation of it.");
        return;
    }
    let conversations: Vec<Conversation> = files.iter().flat_map(|file| read(file)).collect();
    let wants = |name: &str| backend.as_ref().is_none_or(|wanted| wanted == name);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if wants("sqlite") {
        runtime.block_on(on_sqlite(&conversations));
    }
    if wants("postgres") {
        runtime.block_on(on_postgres(&conversations, with_ts_rank));
    }
}

fn read(file: &str) -> Vec<Conversation> {
    // Cargo starts a benchmark in the package's folder.
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: {e}"));
    let name = Path::new(file).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    locomo::read(&text, &name).unwrap_or_else(|e| panic!("{e}"))
}

async fn on_sqlite(conversations: &[Conversation]) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("bench.db").display());
    run("sqlite", &Store::open(&url).await.expect("a store"), conversations).await;
}

/// As a role that row-level security binds.
async fn on_postgres(conversations: &[Conversation], with_ts_rank: bool) {
    let database = cluster::fresh_database().await.expect("a database");
    let owner = sea_orm::Database::connect(database.url()).await.expect("the owner");
    Runner::new(owner.clone()).up().await.expect("migrated");
    let role = database.create_role().await.expect("a role");
    let grants = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {0}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0}",
        role.name()
    );
    if with_ts_rank {
        by_ts_rank(&owner, conversations).await;
    }
    let owner: Db = owner.into();
    owner
        .session()
        .run(async |s: &mut sea_session::Session| -> Result<(), sea_session::Error> {
            use sea_orm::ConnectionTrait;
            s.execute_unprepared(&grants).await?;
            Ok(())
        })
        .await
        .expect("grants");
    let options = ConnectOptions::new(role.url());
    run("postgres", &Store::new(Db::connect(options).await.expect("sessions")), conversations).await;
}

/// PostgreSQL's own search of the same.
async fn by_ts_rank(db: &sea_orm::DatabaseConnection, conversations: &[Conversation]) {
    ts_rank::prepare(db).await;
    for conversation in conversations {
        ts_rank::fill(db, &conversation.sessions).await;
        ts_rank::fill(db, &conversation.turns).await;
    }
    for (function, length) in ts_rank::WAYS {
        for sessions in [true, false] {
            let mut measured = Measured::default();
            let mut texts = 0;
            for conversation in conversations {
                let corpus = if sessions { &conversation.sessions } else { &conversation.turns };
                texts += corpus.texts.len();
                ts_rank::ask(db, (function, length), corpus, &mut measured).await;
            }
            let kind = if sessions { "sessions" } else { "turns" };
            print(&format!("{function}(…, {length})"), kind, texts, &measured);
        }
    }
}

async fn run(backend: &str, store: &Store, conversations: &[Conversation]) {
    for conversation in conversations {
        measure::fill(store, &conversation.turns).await;
        measure::fill(store, &conversation.sessions).await;
    }
    let sessions: Vec<&Corpus> = conversations.iter().map(|conversation| &conversation.sessions).collect();
    let turns: Vec<&Corpus> = conversations.iter().map(|conversation| &conversation.turns).collect();
    for (kind, corpora) in [("sessions", sessions), ("turns", turns)] {
        let mut measured = Measured::default();
        for corpus in &corpora {
            measure::ask(store, corpus, &mut measured).await;
        }
        print(backend, kind, corpora.iter().map(|corpus| corpus.texts.len()).sum(), &measured);
    }
}

fn print(backend: &str, kind: &str, texts: usize, measured: &Measured) {
    println!("\n{backend}, {texts} {kind}");
    println!("  category          questions   recall@5  recall@10   evidence@5  evidence@10   empty");
    let all = ("all".to_owned(), measured.all());
    let by_category = measured.categories.iter().map(|(name, found)| (name.clone(), *found));
    for (name, found) in by_category.chain([all]) {
        let ([five, ten], [some, more]) = (found.recall(), found.evidence());
        println!(
            "  {name:<16} {:>10}   {five:>8.3}  {ten:>9.3}   {some:>10.3}  {more:>11.3}   {:>5}",
            found.questions, found.empty
        );
    }
    println!("  time of a search: median {:.1?}, 95th percentile {:.1?}", measured.time(50), measured.time(95));
}
