//! Streaming replicas (U9).

use crate::dialect::replication::{Position, Replication};

pub(super) const REPLICATION: Replication = Replication {
    // The insert position: that of what is written out is behind a commit that did not wait for the disk. If the last record ends
    // with its page, the next one's place is behind the page's header (of 24 bytes, of 40 where a segment begins), which no replica
    // reports before there is a next one.
    written: "SELECT (CASE WHEN bytes % pg_size_bytes(current_setting('wal_segment_size')) = 40 THEN lsn - 40 \
              WHEN bytes % current_setting('wal_block_size')::bigint = 24 THEN lsn - 24 ELSE lsn END)::text AS position \
              FROM (SELECT lsn, lsn - '0/0'::pg_lsn AS bytes FROM pg_current_wal_insert_lsn() AS lsn) AS log",
    check,
    not_on_replicas: "0A000",
    wrote: "SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS wrote",
};

/// In a transaction of its own: a snapshot that is kept must be taken after the answer, not with the question. A standby knows
/// no serializable transactions.
fn check(position: Position) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT pg_is_in_recovery() AS follows, \
         coalesce(pg_last_wal_replay_lsn() >= '{position}', false) AS replayed, \
         current_setting('default_transaction_isolation') = 'serializable' AS needs_isolation; COMMIT"
    )
}
