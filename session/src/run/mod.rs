//! Ways of running units: their options, batches of them, and several databases at once.

pub(crate) mod batches;
pub(crate) mod db;
pub(crate) mod options;
pub(crate) mod retry_loop;
pub(crate) mod several;
pub(crate) mod single_read;
