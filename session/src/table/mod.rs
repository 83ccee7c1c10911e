//! What an entity's table is: its shape and the kinds of its columns, their values, the names in its statements, and what the
//! catalogue says of it. Nothing here knows a connection, an object or a unit.

pub(crate) mod columns;
pub(crate) mod facts;
pub(crate) mod kinds;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod row_sink;
pub(crate) mod sql;
pub(crate) mod text_form;
pub(crate) mod texts;
pub(crate) mod value;
pub mod value_ref;
