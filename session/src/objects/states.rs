//! Where an object goes (S, I), declared as a table: what each operation does to an object in each state.
//! `docs/book/src/states.md` prints the table, and a test tries every cell on both backends.
//!
//! This module decides; it never touches an object. The handle and the session carry the decision out.

/// Where an object stands. See the table in `docs/book/src/states.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Not in a unit of work: never added, or the block that added it was rolled back.
    Transient,
    /// Added; the next flush inserts it.
    Pending,
    /// A row of the database, in the identity map.
    Persistent,
    /// Deleted by this unit, flushed or not.
    Deleted,
    /// Its unit has ended, or it was taken out of it: readable, and nothing about it is sent.
    Detached,
}

/// What is done to an object, or to the unit that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A setter, `set` or `update`.
    Set,
    /// [`crate::Session::flush`], which works.
    Flush,
    /// [`crate::Session::delete`].
    Delete,
    /// [`crate::Session::expunge`].
    Expunge,
    /// [`crate::Session::refresh`] or [`crate::Session::lock`].
    Refresh,
    /// [`crate::Session::add_again`].
    AddAgain,
    /// A block is rolled back in which the object came into its state; before, it was new or a row of the map.
    RollbackTo,
    /// The unit commits.
    Commit,
    /// The unit rolls back.
    Rollback,
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct StateCell {
    /// The object's state.
    pub state: State,
    /// What is done.
    pub operation: Operation,
    /// Its state then; `None`: the operation is refused with an error, and the state stays.
    pub next: Option<State>,
    /// Why, where it is not plain.
    pub reason: &'static str,
}

const fn cell(state: State, operation: Operation, next: Option<State>, reason: &'static str) -> StateCell {
    StateCell { state, operation, next, reason }
}

/// Every cell.
pub const STATE_TABLE: &[StateCell] = {
    use Operation::*;
    use State::*;
    &[
        cell(Transient, Set, Some(Transient), "its values may be mended before it is added again"),
        cell(Transient, Flush, Some(Transient), "no unit knows it"),
        cell(Transient, Delete, Some(Transient), "there is no row to delete"),
        cell(Transient, Expunge, Some(Detached), "it is given up for good"),
        cell(Transient, Refresh, None, "there is no row to read"),
        cell(Transient, AddAgain, Some(Pending), "with the values it has, a generated key too (S3)"),
        cell(Transient, RollbackTo, Some(Transient), ""),
        cell(Transient, Commit, Some(Transient), "the unit that ends is not its own"),
        cell(Transient, Rollback, Some(Transient), "the unit that ends is not its own"),
        cell(Pending, Set, Some(Pending), "the INSERT carries it"),
        cell(Pending, Flush, Some(Persistent), "inserted; generated values come back (F5)"),
        cell(Pending, Delete, Some(Transient), "nothing was sent, so nothing is (F6)"),
        cell(Pending, Expunge, Some(Detached), "it is not inserted"),
        cell(Pending, Refresh, None, "there is no row yet: flush first"),
        cell(Pending, AddAgain, None, "it is added already"),
        cell(Pending, RollbackTo, Some(Transient), "readable, and may be added again (S3)"),
        cell(Pending, Commit, Some(Detached), "inserted by the flush of the commit (S11)"),
        cell(Pending, Rollback, Some(Transient), "readable, and may be added again (S3)"),
        cell(Persistent, Set, Some(Persistent), "dirty until the next flush"),
        cell(Persistent, Flush, Some(Persistent), "changed columns are sent (F3)"),
        cell(Persistent, Delete, Some(Deleted), "the flush sends it"),
        cell(Persistent, Expunge, Some(Detached), "it keeps its values; no rollback brings it back (S7)"),
        cell(Persistent, Refresh, Some(Persistent), "overwritten, changes included (I3)"),
        cell(Persistent, AddAgain, None, "it is a row already"),
        cell(Persistent, RollbackTo, Some(Persistent), "with its values and key from before, without a query (S5, S6)"),
        cell(Persistent, Commit, Some(Detached), "readable (S12)"),
        cell(Persistent, Rollback, Some(Detached), "readable, with its values from before the unit (INV4)"),
        cell(Deleted, Set, Some(Deleted), "warned of; never sent"),
        cell(Deleted, Flush, Some(Deleted), "the DELETE is sent, and the map forgets it"),
        cell(Deleted, Delete, Some(Deleted), ""),
        cell(Deleted, Expunge, Some(Detached), "a DELETE that was not sent yet is not"),
        cell(Deleted, Refresh, None, "the row is gone, or about to be"),
        cell(Deleted, AddAgain, None, "add a new object with its key: that becomes an UPDATE (I2)"),
        cell(Deleted, RollbackTo, Some(Persistent), "the same instance, its values from before (S4)"),
        cell(Deleted, Commit, Some(Detached), "readable (S12)"),
        cell(Deleted, Rollback, Some(Detached), "readable, with its values from before the unit (INV4)"),
        cell(Detached, Set, Some(Detached), "warned of, or a panic in a strict unit (S12)"),
        cell(Detached, Flush, Some(Detached), "nothing about it is sent (S12)"),
        cell(Detached, Delete, Some(Detached), "nothing about it is sent (S12)"),
        cell(Detached, Expunge, Some(Detached), ""),
        cell(Detached, Refresh, None, "load it in the unit that wants it"),
        cell(Detached, AddAgain, None, "it may be a row: load it, or merge its model"),
        cell(Detached, RollbackTo, Some(Detached), "what was expunged stays out (S7)"),
        cell(Detached, Commit, Some(Detached), ""),
        cell(Detached, Rollback, Some(Detached), ""),
    ]
};

/// Where an object goes; the table's answer. `None`: the operation is refused.
pub fn next_state(state: State, operation: Operation) -> Option<State> {
    // The table is total (`s2_state_table_is_total_and_without_doubles`); refusing is what an impossible cell would deserve.
    STATE_TABLE.iter().find(|cell| cell.state == state && cell.operation == operation)?.next
}

/// Why an operation is refused, or what is particular about it.
pub(crate) fn reason(state: State, operation: Operation) -> &'static str {
    STATE_TABLE.iter().find(|cell| cell.state == state && cell.operation == operation).map_or("", |cell| cell.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_state_table_is_total_and_without_doubles() {
        use Operation::*;
        for state in [State::Transient, State::Pending, State::Persistent, State::Deleted, State::Detached] {
            for operation in [Set, Flush, Delete, Expunge, Refresh, AddAgain, RollbackTo, Commit, Rollback] {
                let cells =
                    STATE_TABLE.iter().filter(|cell| cell.state == state && cell.operation == operation).count();
                assert_eq!(cells, 1, "{state:?} {operation:?}");
            }
        }
        assert_eq!(STATE_TABLE.len(), 5 * 9);
    }
}
