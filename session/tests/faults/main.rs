//! What kills processes, servers and connections, and what has to be alone in a process: crashes, hazards, cancellation,
//! counted memory, code that must not compile. A module is chosen by its name:
//! `cargo test -p sea-session --test faults -- crash_commit`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod again;
mod blocks_many;
mod cancellation;
mod crash_blocks;
mod crash_commit;
mod crash_mariadb;
mod crash_messages;
mod crash_server;
mod crash_several;
mod crash_sqlite;
mod crash_sqlstate;
mod fault_proxy;
mod hazards;
mod hazards_outbox;
mod hazards_values;
#[path = "../support_item/mod.rs"]
mod item;
mod loopback;
mod macros_ui;
mod memory;
mod mysql_cuts;
mod proxy;
mod session_ui;
mod stream_memory;
#[path = "../support_load/mod.rs"]
mod support_load;
#[path = "../support_outbox/mod.rs"]
mod support_outbox;
#[path = "../support_proof/mod.rs"]
mod support_proof;
mod ui;
