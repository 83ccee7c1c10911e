//! The command `ctx`, as people and scripts use it: what it prints, what it leaves, and what is there after it was killed.
//! A module is chosen by its name: `cargo test --test command -- outbox::`.

mod ctx;
#[cfg(unix)]
mod kill;
mod outbox;
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
#[path = "../../examples/replay/verify.rs"]
mod verify;
