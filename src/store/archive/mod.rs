//! One archive with checksums (V12): everything that a folder holds, and the way back.
//!
//! An archive has the nodes with their texts and metadata, archived ones too, their edges, their history, and the message
//! logs of sessions. Imported where it came from, into a store that has nothing there, it makes the same rows again:
//! identities, versions, times. Imported elsewhere, a copy has identities of its own, derived from the archive's and
//! the place, so that an import that was interrupted finds what it has made already.

mod check;
mod export;
mod format;
mod identity;
mod import;

use serde::Serialize;

pub(super) use check::{MOST, stored, without_nul};
pub(super) use identity::hashed;

use super::Refusal;

/// What an export or the import of an archive did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Nodes.
    pub nodes: u64,
    /// States that were replaced, of these nodes and of those that are gone.
    pub versions: u64,
    /// Message logs.
    pub logs: u64,
    /// Edges.
    pub edges: u64,
    /// Of all these, what an import has found there already.
    pub unchanged: u64,
    /// What could not be taken, and why.
    pub refused: Vec<Refusal>,
}

impl super::Store {
    /// Whether a file is an archive that [`export_archive`](super::Store::export_archive) wrote, by its first line.
    ///
    /// # Errors
    /// [`StoreError::Io`](crate::StoreError::Io) if it cannot be read.
    pub fn is_archive(file: &std::path::Path) -> Result<bool, crate::StoreError> {
        format::is_archive(file).map_err(|e| crate::StoreError::io(file, &e))
    }
}

/// Rows fetched or written at a time.
const PAGE: usize = 200;
