//! The tests that docs/guide.md shows.

include!("../../../../session/docs/example.rs");
include!(concat!(env!("OUT_DIR"), "/guide_tests.rs"));
