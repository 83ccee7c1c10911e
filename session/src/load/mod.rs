//! Loading: queries, relations and streams, through the identity map or past it.

pub(crate) mod query;
pub(crate) mod relation;
pub(crate) mod row_reader;
pub(crate) mod stream;
