//! What goes to a database and what comes back: the words between the connection and the drivers.

use std::{any::Any, sync::Arc};

use sea_orm::{ExecResult, QueryResult, Statement, sea_query::Values};

/// One message to the database.
pub(crate) enum Message<'a> {
    /// Transaction control: simple protocol, never prepared (A2).
    Control(&'a str),
    /// A caller's text without parameters, never prepared.
    Unprepared(&'a str),
    /// A statement with the values that SeaORM built.
    Statement(Statement, Fetch),
    /// A statement whose text was built before.
    Built { sql: Arc<str>, values: Values, fetch: Fetch },
    /// A statement whose rows are handed over as they come. Rows that pile up first are read again from cold memory, and
    /// SQLite's, which its own thread has allocated, cannot be used again by that thread meanwhile.
    Read(Statement, Taker<'a>),
    /// A question about a table to the catalogue (D1): counted by itself, and kept from recorders.
    Facts(Statement),
    /// A statement of the flush whose values stand in the driver's own form already, without a detour through `Value`.
    Bound { sql: Arc<str>, arguments: Arguments, fetch: Fetch },
    /// Binary COPY, encoded piece by piece while the server takes in the one before.
    Copy { sql: &'a str, piece: Piece<'a> },
}

/// Values in the form of the driver that they are for, which alone knows the type. On the heap, since every future on the way
/// to the driver has room for a message.
pub(crate) type Arguments = Box<dyn Any + Send>;

/// Writes the next piece of a COPY into an empty buffer; says whether more follow, or why the COPY must be given up.
pub(crate) type Piece<'a> = &'a mut (dyn FnMut(&mut Vec<u8>) -> Result<bool, String> + Send);

/// Takes a row of the answer.
pub(crate) type Taker<'a> = &'a mut (dyn FnMut(QueryResult) + Send);

/// How much of the answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    Nothing,
    One,
    All,
}

/// The answer to a message.
pub(crate) enum Reply {
    Done(ExecResult),
    Rows(Vec<QueryResult>),
    /// So many rows were copied, or handed over.
    Counted(u64),
}

impl Reply {
    pub(crate) fn rows(self) -> Vec<QueryResult> {
        match self {
            Reply::Rows(rows) => rows,
            Reply::Done(_) | Reply::Counted(_) => Vec::new(),
        }
    }

    /// The number that the server gave to the new row; to be asked only where it counts them and says so.
    pub(crate) fn last_number(&self) -> u64 {
        match self {
            Reply::Done(done) => done.last_insert_id(),
            Reply::Rows(_) | Reply::Counted(_) => 0,
        }
    }

    pub(crate) fn affected(&self) -> u64 {
        match self {
            Reply::Rows(rows) => rows.len() as u64,
            Reply::Done(done) => done.rows_affected(),
            Reply::Counted(rows) => *rows,
        }
    }
}
