//! What the documents show and say is so: the guide's tests pass, and the tables are those of the crate.

#[allow(dead_code, reason = "the tests use a part of the example")]
mod guide;
mod tables;
