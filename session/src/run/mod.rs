//! Ways of running units: their options, those that a framework holds, batches of them, and several databases at once.

pub(crate) mod batches;
pub(crate) mod db;
pub(crate) mod held;
pub(crate) mod options;
pub(crate) mod retry_loop;
pub(crate) mod several;
pub(crate) mod single_read;
