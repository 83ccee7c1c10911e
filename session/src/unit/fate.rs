//! What became of a unit's COMMIT, told to somebody who may outlive the unit's future (B6).
//!
//! A unit that is dropped cannot say how far it had come. Here it leaves word before COMMIT is sent and after its answer;
//! this module only keeps the cell, it never decides what to do about it.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// What is known of a transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// Nothing of it is in the database.
    RolledBack,
    /// It is in the database, whatever happened afterwards.
    Committed,
    /// COMMIT was sent and its answer never came: it is in the database, or it is not.
    Unknown,
}

/// A cell in which a unit leaves word of its [`Fate`]; clones are one cell.
#[derive(Clone, Debug)]
pub(crate) struct FateCell(Arc<AtomicU8>);

impl Default for FateCell {
    /// Before COMMIT is sent a unit that goes away is rolled back.
    fn default() -> Self {
        Self(Arc::new(AtomicU8::new(Fate::RolledBack as u8)))
    }
}

impl FateCell {
    pub(crate) fn note(&self, fate: Fate) {
        self.0.store(fate as u8, Ordering::Release);
    }

    pub(crate) fn fate(&self) -> Fate {
        match self.0.load(Ordering::Acquire) {
            known if known == Fate::RolledBack as u8 => Fate::RolledBack,
            known if known == Fate::Committed as u8 => Fate::Committed,
            _ => Fate::Unknown,
        }
    }
}
