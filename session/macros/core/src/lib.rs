//! Parsing and code generation of sea-session's macros, as a plain library.
//!
//! Every macro is a function from tokens to tokens here, so that tests call it without a compiler in between; the
//! `sea-session-macros` crate is a shell that hands tokens through. What is written by these functions names only
//! public items of `::sea_session` (or of what `crate = "…"` says in its place) and of the user's own module.
//!
//! This library must never panic on any input: a wrong use becomes a [`syn::Error`] that points at the user's own
//! tokens, says in one sentence what to write instead, and names nothing that the user cannot see.

mod atomic;
mod blocks;
mod crate_path;
mod db_session;
mod function;
mod names;
mod options;
mod session_test;
mod suggest;
mod tracked;

pub use atomic::atomic;
pub use blocks::{atomic_block, unit_block};
pub use db_session::db_session;
pub use session_test::session_test;
pub use tracked::derive_tracked;
