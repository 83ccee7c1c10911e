//! The transaction's id, by which a lost answer to COMMIT is settled (R9): how it is asked for on the way, and read.

use sea_orm::QueryResult;

use super::Dialect;

/// What the id is called in an answer, whose last column it is.
const NAME: &str = "sea_session_xid";

/// How a backend tells a transaction's id, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransactionIds {
    /// The id as text.
    pub(crate) id: &'static str,
    /// The question what became of the transaction with this id (`status`: `committed`, `aborted`, `in progress`), and how many
    /// seconds ago the server recovered from a crash (`recovered`).
    pub(crate) fate: &'static str,
    /// The code of the answer to an id that was never given out, or that was lost in a crash.
    pub(crate) never_given: &'static str,
}

impl Dialect {
    /// The transaction's id, as the last column of an answer; nothing where there is none.
    pub(crate) fn xid(&self) -> String {
        self.transaction_ids.map_or_else(String::new, |ids| format!("{} AS {NAME}", ids.id))
    }

    /// The transaction's id, if an answer tells it.
    pub(crate) fn xid_in(&self, answer: &[QueryResult]) -> Option<String> {
        let row = answer.first()?;
        // By place: by name, each column is looked up. That it is the id is never taken for granted.
        let names = (self.column_names)(row)?;
        let at = names.len().checked_sub(1).filter(|at| names[*at] == NAME)?;
        row.try_get_by_index(at).ok()
    }

    /// The write of one row, which answers with the transaction's id if that is wanted.
    pub(crate) fn telling_xid(&self, write: String, wanted: bool) -> String {
        if wanted { format!("{write} RETURNING {}", self.xid()) } else { write }
    }

    /// The transaction's id as one more column of an answer, if it is asked for.
    pub(crate) fn and_xid(&self, wanted: bool) -> String {
        if wanted { format!(", {}", self.xid()) } else { String::new() }
    }
}
