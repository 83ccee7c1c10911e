//! Loading: queries, relations and streams, through the identity map or past it.

pub(crate) mod admit;
mod among;
pub(crate) mod by_key;
pub(crate) mod graph;
pub(crate) mod joined;
pub(crate) mod merge;
pub(crate) mod page;
pub(crate) mod query;
pub(crate) mod relation;
pub(crate) mod reread;
pub(crate) mod row_reader;
pub(crate) mod stream;
