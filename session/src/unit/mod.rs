//! A unit of work from its first statement to its end: blocks, the session's core and its public face, what runs afterwards, and
//! how a lost COMMIT is settled.

pub mod audit;
pub(crate) mod block_table;
pub(crate) mod body;
pub(crate) mod core;
pub(crate) mod fate;
pub(crate) mod filters;
pub(crate) mod frame;
pub(crate) mod hooks;
pub(crate) mod observer;
pub(crate) mod predicate;
pub(crate) mod retry;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod settle;
pub(crate) mod tokens;
