//! An object as the flush and the undo log know it, whatever its entity.

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use sea_orm::{QueryResult, Value};

use super::{
    changes::{Change, RowImage},
    identity::IdentityMap,
    row::{Carried, Expressed, Put, Returned, RowChange, RowKind, Stamp, Straight},
};
use crate::{
    connection::lent::FlushConnection,
    error::Error,
    table::{meta::TableMeta, row_sink::RowSink},
};

/// What the flush and the undo log do with an object of any entity.
pub(crate) trait AnyObject: Send + Sync {
    fn table(&self) -> &'static TableMeta;
    fn key_text(&self) -> String;
    fn is_pending(&self) -> bool;
    fn column_value(&self, column: usize) -> Option<Value>;

    /// Why the row's version cannot be raised, if it cannot (E7).
    fn last_version(&self) -> Option<Error>;
    fn version_exhausted(&self, version: i64) -> Error;
    /// What the database holds in a column; `None` for a new object.
    fn held_value(&self, column: usize) -> Option<Value>;

    /// Notes that foreign keys of `child` in `columns` were set to this object's `own` columns, which held `values` then (D6).
    fn lead_to(&self, child: Weak<dyn AnyObject>, columns: &[usize], own: &[usize], values: Vec<Value>);
    /// Has linked children follow what changed here since they were linked.
    fn lead(&self) -> Result<(), Error>;
    /// Sets these columns, if they still hold one of the values that a linked parent had.
    fn follow(&self, columns: &[usize], from: &[Vec<Value>], to: &[Value]) -> Result<(), Error>;

    /// Sets a column of a new object before it is written.
    fn set_before_insert(&self, column: usize, value: Value) -> Result<(), Error>;
    /// Takes the object off the dirty list; says what the flush has to do about it, if anything.
    fn due(&self) -> Option<RowKind>;
    /// Whether nothing is to be written of the row but what expressions give.
    fn only_expressed(&self) -> bool;
    /// Takes out the expressions that the row is to be changed by, and what it is found by.
    fn expressed(&self) -> Option<Expressed>;
    /// Notes that the object goes back on the dirty list. `false`: it is on it already.
    fn requeue(&self) -> bool;
    /// Sets what the flush itself sets: versions, times, tenants.
    fn stamp(&self, kind: RowKind, stamp: &Stamp<'_>) -> Result<(), Error>;
    /// Runs SeaORM's `before_save` or `before_delete` (H10).
    fn before<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
    ) -> BoxFuture<'a, Result<Carried, Error>>;
    /// The flush writes what the object is now. A change from now on is for the next one (F3).
    fn hold(&self);
    /// What is to be written.
    fn change(&self, kind: RowKind) -> Result<Option<RowChange>, Error>;
    /// What is to be written, if the row can go straight to the wire: it is found by its key and version alone, and neither
    /// gives up nor takes what is unique. `None`: only the planner can tell.
    fn straight(&self, kind: RowKind) -> Option<Straight>;
    /// Where the row stands among those of its table: [`crate::objects::identity::Key::rank`] of the key that the map has it under.
    fn rank(&self) -> i64;
    /// Puts the values of one row where they are written.
    fn put_row(&self, places: &[Put], sink: &mut dyn RowSink) -> Result<(), Error>;
    /// The key that the database holds the row under, or will.
    fn held_key(&self) -> Option<Vec<Value>>;
    /// The write worked: the object now is what the database holds.
    fn written(
        &self,
        kind: RowKind,
        returned: Option<&Returned<'_>>,
        micros: &[usize],
        frame: u64,
        map: &mut IdentityMap,
    ) -> Result<bool, Error>;
    /// What a cycle postponed is written too: these values in these columns.
    fn closed(
        &self,
        values: &mut dyn Iterator<Item = (usize, Value)>,
        returned: Option<&Returned<'_>>,
    ) -> Result<(), Error>;
    /// The database computes this column: what was set there is not sent (D4).
    fn leave_out(&self, column: usize);
    /// The row was read once more after it was written: this is what it holds (D4).
    fn told_again(&self, row: &QueryResult, map: &mut IdentityMap) -> Result<(), Error>;
    /// What the database holds in a column, as far as the object knows; nothing if it is no row, or is to be read again.
    fn stored_value(&self, column: usize) -> Option<Value>;
    /// The database has set these columns by itself (D6): changes that were not sent stay changes. True if the frame must be
    /// told.
    fn database_set(&self, values: &[(usize, Value)], frame: u64, map: &mut IdentityMap) -> Result<bool, Error>;
    /// What the row holds is not known any more (D6).
    fn doubt(&self);
    /// Whether the object is a row of which it is not known what it holds, nor whether it is still there.
    fn is_doubted(&self) -> bool;
    /// Whether nothing is to be written of an expired object but what follows a parent.
    fn is_led(&self) -> bool;
    /// Whether its row was found to be gone.
    fn is_gone(&self) -> bool;
    /// The row was found to be gone (D7). True if the frame must be told.
    fn vanish(&self, frame: u64, map: &mut IdentityMap) -> bool;
    /// Runs SeaORM's `after_save` or `after_delete`.
    fn after<'a, 'c: 'a>(
        self: Arc<Self>,
        db: &'a FlushConnection<'c>,
        kind: RowKind,
        carried: Carried,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// What the database holds of the row before it is written (U7).
    fn image(&self) -> Option<RowImage>;
    /// What was written of the row since.
    fn change_since_image(&self, kind: RowKind, before: Option<&RowImage>) -> Option<Change>;
    /// What the next flush would write of it.
    fn pending_change(&self) -> Option<Change>;
    /// Whether a delete of the row is to be sent.
    fn is_deleting(&self) -> bool;
    /// Whether a foreign key without which the row is to be deleted has become NULL (U3).
    fn is_orphan(&self) -> bool;
    /// Marks the object as deleted, as the caller might.
    fn delete(&self, map: &mut IdentityMap);

    /// Says that the object was added in `frame`.
    fn added(&self, frame: u64) -> bool;
    /// Takes back what was not flushed.
    fn revert(&self, map: &mut IdentityMap) -> bool;
    fn rollback(&self, frame: u64, map: &mut IdentityMap);
    fn release(&self, frame: u64, parent: u64) -> bool;
    fn forget(&self, map: &mut IdentityMap);
}
