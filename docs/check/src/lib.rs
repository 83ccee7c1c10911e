//! Compiles and runs every example of README.md and docs/guide.md: `cargo test -p docs-check`. Holds nothing of its own.

/// README.md, whose example is a whole program.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

/// docs/guide.md, with its examples made into programs by `build.rs`.
#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/guide.md"))]
pub struct Guide;
