//! A store for agents' memory: nodes at `ctx://` URIs with abstract, overview and content, typed edges between them, the
//! history of every node, and an outbox that keeps a search index in step.
//!
//! It is written on [`sea_session`] and on nothing below it: every operation is one unit of work, or by [`Store::within`] a
//! part of the caller's. SQLite, PostgreSQL and MariaDB are equal.
//!
//! ```
//! use context_store::{Caller, Store, StoreError, Uri, Write};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), StoreError> {
//! let store = Store::open("sqlite::memory:").await?;            // connects and migrates
//! let alice = Caller::user("acme", "alice");
//! let tea = Uri::parse("ctx://acme/users/alice/memories/likes/tea")?;
//!
//! store.write(&alice, &tea, &Write::of("Green tea, no sugar.")).await?;
//! store.drain().await?;                                         // the outbox feeds the index
//! let hits = store.search(&alice, "sugar", &Default::default()).await?;
//! assert_eq!(hits.items[0].uri, tea);
//!
//! // Several operations as one: all of it, or nothing.
//! let archive = Uri::parse("ctx://acme/users/alice/memories/dislikes/tea")?;
//! store.unit(&alice).run(async |s: &mut sea_session::Session| -> Result<_, StoreError> {
//!     let mut here = store.within(s, &alice);
//!     here.write(&tea, &Write::of("None any more.").expecting(1)).await?;
//!     here.move_node(&tea, &archive).await
//! }).await?;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(feature = "document-features", doc = "# Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]

pub mod access;
mod dialect;
pub mod embed;
mod error;
mod glob;
mod http;
pub mod index;
mod node;
pub mod outbox;
mod page;
mod printable;
pub mod record;
#[cfg(feature = "serve")]
pub mod serve;
mod sql;
mod store;
pub mod uri;
mod words;

pub use access::{Access, Caller, Denial, Role};
pub use context_entities::{index_record::Level, node::Status, node_version::Change};
pub use error::StoreError;
pub use node::{Entry, Node, Stat};
pub use page::{Page, Paging};
pub use printable::{printable, printable_line};
pub use store::*;
pub use uri::{Uri, UriError, UriReason};
