//! What the documents show and say is so: the book's tests pass, the tables are those of the crate, links lead somewhere, and
//! every error has a page that produces it.

mod book;
mod errors;
mod interface;
mod links;
mod tables;
mod text;
mod usage;
