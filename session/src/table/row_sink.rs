//! What takes the values of rows on their way to the wire.

use super::value_ref::ValueRef;
use crate::error::Error;

/// What takes rows, value by value, in the order of the statement's columns.
pub(crate) trait RowSink {
    fn begin_row(&mut self);
    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error>;
}
