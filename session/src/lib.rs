#![doc = include_str!("../docs/crate.md")]

extern crate self as sea_session;

mod batches;
mod block;
mod body;
mod boxed;
mod connection;
mod core;
mod db;
mod error;
mod facts;
mod fate;
mod flush;
mod hooks;
mod identity;
mod meta;
mod names;
mod options;
pub mod outbox;
mod predicate;
mod query;
mod raw;
mod relation;
mod retry;
mod rows;
mod session;
mod settle;
mod several;
mod shared;
mod shown;
mod span;
mod states;
mod stats;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod tracked;
mod undo;
#[doc(hidden)]
pub mod value_ref;

pub use batches::{BatchError, Batches, Progress};
pub use block::{Action, BlockKind, BlockState, Cell as BlockCell, Event, TABLE as BLOCK_TABLE, decide};
pub use body::{BatchBody, Block, BlockOnce};
pub use core::UnitState;
pub use db::Db;
pub use error::{Class, DatabaseError, Error, class_of_sqlstate};
pub use fate::Fate;
pub use hooks::{HookBody, HookOutcome, Hooks, Registered};
pub use meta::{EntitySpec, Shape, TrackedEntity};
pub use options::UnitOptions;
pub use query::{LoadExt, Loader};
pub use relation::Junction;
pub use retry::Retry;
/// `sea_session::atomic!(s, { … })`: a nested block in place. The attribute `#[atomic]` is in the prelude: one module cannot
/// hold two macros of one name.
pub use sea_session_macros::atomic_block as atomic;
pub use sea_session_macros::*;
pub use session::{NestedBlock, NoAutoflush, Savepoint, Session};
pub use several::{Recovered, Sessions, Several};
pub use states::{Cell as StateCell, Operation, TABLE as STATE_TABLE, next as next_state};
pub use stats::{Paths, Recorder, Stats};
pub use stream::Rows;
pub use tracked::{Object, State, Tracked};

/// What an application needs in scope.
pub mod prelude {
    pub use crate::{Db, Error as SessionError, LoadExt, Retry, Session, State, Tracked, TrackedEntity, UnitOptions};
    pub use sea_orm::IsolationLevel;
    pub use sea_session_macros::*;
}
