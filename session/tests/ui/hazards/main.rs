//! Each module is a case that must not compile: `tests/faults/ui.rs`.

mod parent_commit_while_child_lives;

fn main() {}
