//! The conformance suite: one set of rules, on SQLite, PostgreSQL and MariaDB, plain, inside an outer block, and begun by hand.
//! Each test is named after the rule that it proves; a module is chosen by its name:
//! `cargo test -p sea-session --test conformance -- a_blocks`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod a_blocks;
mod a_table;
mod b_batches;
mod b_manual;
mod d_control;
mod d_facts;
mod d_folding;
mod d_memory;
mod d_names;
mod d_values;
mod e_actions;
mod e_drops;
mod e_merge;
mod e_orders;
mod e_plans;
mod e_versions;
#[path = "../../benches/unit_of_work/entities.rs"]
#[allow(dead_code, reason = "the benchmark's entities, not all of which are used here")]
mod entities;
mod f_flush;
mod flush_ways;
mod h_hooks;
mod i_identity;
mod i_relations;
mod l_looking;
mod m_several;
mod o_optimistic;
mod r_retry;
mod s_objects;
mod support;
mod t_tenants;
mod workloads;
mod x_allowed;
mod y_refusals;
