//! Agents' memory as a web service: `cargo run --features serve --example memory_service`.
//!
//! On embedded SQLite in a temporary file, with a few memories to look at; with `DATABASE_URL=sqlite://…` or `postgres://…`
//! there. It prints where it listens, and ends by Ctrl-C: requests that are under way are answered first. A real one is
//! `ctx serve` (the command with the feature `serve`), or twenty lines as these.
//!
//! ```text
//! curl 'http://127.0.0.1:PORT/api/v1/search?q=what+does+alice+drink'
//! curl -X PUT 'http://127.0.0.1:PORT/api/v1/nodes?uri=ctx://demo/users/alice/memories/likes/jazz' \
//!      -H 'content-type: application/json' -d '{"content": "Coltrane, in the evening."}'
//! ```
//!
//! A browser shows the tree, the edges as a picture, what changed from version to version, and the outbox as it drains. Agents
//! find their tools at `/mcp`.

#![allow(missing_docs, reason = "a program has no interface")]

use std::net::SocketAddr;

use anyhow::Result;
use context_store::{
    Caller, Link, Role, Store, Uri, Write,
    serve::{Callers, Service},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("memory.db");
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| format!("sqlite://{}?mode=rwc", file.display()));
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:7700".to_owned());
    let announce = |address: SocketAddr| {
        println!("pages      http://{address}/");
        println!("interface  http://{address}/openapi.json");
        println!("agents     http://{address}/mcp");
        println!("Ctrl-C ends it.");
    };
    run(&url, &address, announce, async { drop(tokio::signal::ctrl_c().await) }).await
}

/// The whole program over one database.
///
/// # Errors
/// The database cannot be used, or the address is taken.
pub async fn run(
    url: &str,
    address: &str,
    announce: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let store = Store::open(url).await?;
    let alice = Caller::user("demo", "alice").with_role(Role::Admin);
    remember(&store, &alice).await?;
    let listener = TcpListener::bind(address).await?;
    announce(listener.local_addr()?);
    Service::new(store.clone(), Callers::everybody(alice)).serve(listener, shutdown).await?;
    store.db().close().await?;
    Ok(())
}

/// Something to look at.
async fn remember(store: &Store, alice: &Caller) -> Result<()> {
    let memories = Uri::parse("ctx://demo/users/alice/memories")?;
    let (tea, trip) = (memories.child("likes")?.child("tea")?, memories.child("plans")?.child("trip")?);
    let handbook = Uri::parse("ctx://demo/resources/handbook")?;
    store.write(alice, &tea, &Write::of("Black tea, with milk.\n").with_abstract("What Alice drinks")).await?;
    store.write(alice, &tea, &Write::of("Green tea, no sugar.\nNever after six.\n")).await?;
    store.write(alice, &trip, &Write::of("Kyoto in May, for the tea.\n").with_abstract("Where she goes next")).await?;
    store
        .write(alice, &handbook, &Write::of("# The handbook\n\nAsk before you book.\n").with_abstract("How we work"))
        .await?;
    store.link(alice, &trip, &tea, &Link::of("because of").weighing(0.9).because("she said so")).await?;
    store.link(alice, &trip, &handbook, &Link::of("follows").weighing(0.4)).await?;
    Ok(())
}
