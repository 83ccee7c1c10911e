//! The store as a web service: each endpoint, who may ask, what is refused, MCP, pages, and how it ends. Without a network where
//! nothing is of the network. A module is chosen by its name: `cargo test --test serve -- agents::`.

#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

mod agents;
mod asking;
mod callers;
mod command;
mod document;
mod ends;
mod limits;
mod live;
#[path = "../../examples/memory_service/main.rs"]
#[allow(dead_code, reason = "its `main` is for people")]
mod memory_service;
mod operations;
mod pages;
mod refusals;
#[path = "../support/mod.rs"]
mod support;
