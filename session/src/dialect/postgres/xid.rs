//! The transaction's id, by which a lost answer to COMMIT is settled (R9): how it is asked for on the way, and read.

use sea_orm::{
    QueryResult,
    sqlx::{Column, Row},
};

/// The transaction's id, as the last column of an answer (R9).
pub(crate) const XID: &str = "pg_current_xact_id()::text AS sea_session_xid";
const XID_NAME: &str = "sea_session_xid";

/// The transaction's id, if an answer tells it.
pub(crate) fn xid_in(answer: &[QueryResult]) -> Option<String> {
    let row = answer.first()?;
    // By place: by name, each column is looked up. That it is the id is never taken for granted.
    let last = row.try_as_pg_row()?.columns().last().filter(|column| column.name() == XID_NAME)?;
    row.try_get_by_index(last.ordinal()).ok()
}

/// The write of one row, which answers with the transaction's id if that is wanted.
pub(crate) fn telling_xid(write: String, wanted: bool) -> String {
    if wanted { write + " RETURNING " + XID } else { write }
}

/// The transaction's id as one more column of an answer, if it is asked for.
pub(crate) fn and_xid(wanted: bool) -> String {
    if wanted { format!(", {XID}") } else { String::new() }
}

/// What the server says of a transaction's id, and how long ago it recovered from a crash (which resets its statistics).
pub(crate) const STATUS: &str = "SELECT pg_xact_status($1::text::xid8) AS status, \
     extract(epoch FROM clock_timestamp() - stats_reset)::float8 AS recovered FROM pg_stat_archiver";
/// The answer to an id that was never given out, or that was lost in a crash.
pub(crate) const IN_THE_FUTURE: &str = "22023";
