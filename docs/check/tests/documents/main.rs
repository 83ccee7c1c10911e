//! What the documents show and say is so: the guide's tests pass, and the tables are those of the crate.

mod guide;
mod tables;
