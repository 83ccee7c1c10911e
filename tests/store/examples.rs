//! The examples print what they say at their head.

#![allow(
    clippy::module_inception,
    dead_code,
    missing_docs,
    reason = "their `main` is for people, nobody reads their documentation here, and an order has orders"
)]

use std::fs;

#[path = "../../examples/audit.rs"]
mod audit;
#[path = "../../examples/edit_form.rs"]
mod edit_form;
#[path = "../../examples/graph.rs"]
mod graph;
#[path = "../../examples/order.rs"]
mod order;
#[path = "../../examples/outbox.rs"]
mod outbox;
#[path = "../../examples/soft_delete.rs"]
mod soft_delete;
#[path = "../../examples/tenants.rs"]
mod tenants;
#[path = "../../examples/transfer.rs"]
mod transfer;

/// The text block at the head of an example.
fn promised(name: &str) -> String {
    let path = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let block = head.split(|line| line.trim() == "```" || line.trim() == "```text").nth(1);
    let lines = block.unwrap_or_else(|| panic!("{path} shows no output at its head"));
    lines.iter().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

fn compare(name: &str, printed: anyhow::Result<String>) {
    let printed = printed.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    assert_eq!(printed, promised(name), "examples/{name}.rs prints\n{printed}");
}

#[tokio::test]
async fn audit_prints_what_it_says() {
    compare("audit", audit::run().await);
}

#[tokio::test]
async fn edit_form_prints_what_it_says() {
    compare("edit_form", edit_form::run().await);
}

#[tokio::test]
async fn graph_prints_what_it_says() {
    compare("graph", graph::run().await);
}

#[tokio::test]
async fn order_prints_what_it_says() {
    compare("order", order::run().await);
}

#[tokio::test]
async fn outbox_prints_what_it_says() {
    compare("outbox", outbox::run().await);
}

#[tokio::test]
async fn soft_delete_prints_what_it_says() {
    compare("soft_delete", soft_delete::run().await);
}

#[tokio::test]
async fn tenants_prints_what_it_says() {
    compare("tenants", tenants::run().await);
}

#[tokio::test]
async fn transfer_prints_what_it_says() {
    compare("transfer", transfer::run().await);
}
