//! A service with a unit of work for each request: which answers commit, what errors are as answers, and that nothing
//! of a request is left when it ends otherwise. `cargo test -p sea-session-axum --test service -- problems::`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod bodies;
mod cancelled;
mod commits;
mod concurrent;
mod kept;
mod options;
mod problems;
mod retried;
mod routes;
mod status;
mod support;
