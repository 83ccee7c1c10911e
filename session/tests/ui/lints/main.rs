//! Each module is a case that must not compile: `tests/faults/ui.rs`.

mod options_without_run;

fn main() {}
