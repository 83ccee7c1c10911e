//! The context store's tables as SeaORM entities, one module a table.
//!
//! What it is for: to give each column its Rust type, each enumeration its own `enum`, and the session what it needs to
//! know of an entity (version, instants, tenant). What it must never do: hold behaviour of the store, or differ from
//! the schema of `context-migration`, where the reason of each column is written down (`migrate doctor` compares the two).
//!
//! Every module has the same shape: `Entity`, `Model`, `ActiveModel`, `Column`, `Relation`, and the enumerations of that
//! table. Columns that the database fills (`search` of the index records) are not part of an entity.
#![cfg_attr(feature = "document-features", doc = "# Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]

pub mod edge;
pub mod inbox;
pub mod index_record;
pub mod node;
pub mod node_version;
pub mod outbox_event;
pub mod session_archive;
