//! Rows for the context store's tables.

use sea_orm::ConnectionTrait;

use crate::common::Fresh;

/// Puts a row into every table of the context store that exists.
pub async fn fill(fresh: &Fresh) {
    let uuid = |n: u8| {
        if fresh.is_postgres() {
            format!("'00000000-0000-0000-0000-0000000000{n:02x}'")
        } else {
            format!("x'{n:032x}'")
        }
    };
    // A reserved word there.
    let change = if fresh.is_mariadb() { "status, `change`," } else { "status, change," };
    let rows = [
        (
            "nodes",
            format!(
                "INSERT INTO nodes (id, account_id, uri, owner_space, node_type) VALUES ({}, 'a', 'ctx://a/x', 's', 't'), ({}, 'a', 'ctx://a/y', 's', 't') ON CONFLICT DO NOTHING",
                uuid(1),
                uuid(2)
            ),
        ),
        (
            "node_versions",
            format!(
                "INSERT INTO node_versions (node_id, version, account_id, uri, owner_space, node_type, status, change, written_at) VALUES ({}, 1, 'a', 'ctx://a/x', 's', 't', 'active', 'write', '2026-01-01 00:00:00') ON CONFLICT DO NOTHING",
                uuid(1)
            ),
        ),
        (
            "edges",
            format!(
                "INSERT INTO edges (id, account_id, from_id, to_id, edge_type) VALUES ({}, 'a', {}, {}, 'cites') ON CONFLICT DO NOTHING",
                uuid(3),
                uuid(1),
                uuid(2)
            ),
        ),
        (
            "session_archives",
            format!(
                "INSERT INTO session_archives (id, account_id, session_id, sequence, name, owner_space, node_id) VALUES ({}, 'a', 's', 1, 'n', 's', {}) ON CONFLICT DO NOTHING",
                uuid(4),
                uuid(1)
            ),
        ),
        (
            "outbox_events",
            "INSERT INTO outbox_events (account_id, event_key, sequence, event_type) VALUES ('a', 'k', 1, 't')"
                .to_owned(),
        ),
        (
            "inbox",
            "INSERT INTO inbox (consumer, message_id, account_id) VALUES ('c', 'm', 'a') ON CONFLICT DO NOTHING"
                .to_owned(),
        ),
        (
            "index_records",
            format!(
                "INSERT INTO index_records (account_id, record_id, node_id, uri, level, owner_space, node_type, version, body) VALUES ('a', '0123456789abcdef', {}, 'ctx://a/x', 0, 's', 't', 1, 'some words') ON CONFLICT DO NOTHING",
                uuid(1)
            ),
        ),
    ];
    for (table, sql) in rows {
        let there = if fresh.is_postgres() {
            format!("SELECT count(*) FROM pg_class WHERE relname = '{table}' AND relkind = 'r'")
        } else if fresh.is_mariadb() {
            format!(
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{table}'"
            )
        } else {
            format!("SELECT count(*) FROM sqlite_master WHERE name = '{table}'")
        };
        if fresh.count(&there).await == 1 {
            let sql = match fresh.is_mariadb() {
                true => sql.replace("INSERT INTO", "INSERT IGNORE INTO").replace(" ON CONFLICT DO NOTHING", ""),
                false => sql,
            };
            let sql = sql.replace("status, change,", change);
            fresh.db.execute_unprepared(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }
}
