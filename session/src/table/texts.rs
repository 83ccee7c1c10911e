//! The texts of a table's statements that are sent again and again. Knows no SQL of its own.

use std::{convert::Infallible, sync::Arc};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::columns::ColumnSet;

/// The texts of a table's statements that are sent again and again, once they were built: that costs more than to send them.
#[derive(Debug, Default)]
pub(crate) struct KeptTexts {
    changes: RwLock<FxHashMap<ChangeText, Arc<str>>>,
}

/// What the text of a write depends on, where nothing but key and version is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChangeText {
    /// The number of the dialect.
    pub(crate) dialect: usize,
    pub(crate) form: ChangeForm,
    /// None for a DELETE.
    pub(crate) written: ColumnSet,
    pub(crate) versioned: bool,
    /// Whether the transaction's id is asked for.
    pub(crate) xid: bool,
}

/// How rows are written, and how it is answered which were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChangeForm {
    /// No write: the row with a key is read.
    ByKey,
    /// One new row, by values.
    New,
    /// One row, by values.
    One,
    /// So many rows, each named by its values.
    Named(usize),
    /// A few rows in arrays, each answering with its place.
    Few,
    /// Rows in arrays, counted by the database, which names one that is missing.
    Many,
    /// Rows in arrays, of which the answer tells the number and nothing else.
    Bare,
    /// Rows in arrays, each answering with its place and what it holds.
    Back,
}

/// An application has few sets of columns that it changes together; one that has many builds the rest again each time.
const MOST_TEXTS: usize = 256;

impl KeptTexts {
    /// The text of a change; `build` makes it the first time.
    pub(crate) fn change(&self, what: ChangeText, build: impl FnOnce() -> String) -> Arc<str> {
        let Ok(text) = self.kept(what, || Ok::<_, Infallible>(build()));
        text
    }

    fn kept<E>(&self, what: ChangeText, build: impl FnOnce() -> Result<String, E>) -> Result<Arc<str>, E> {
        if let Some(text) = self.changes.read().get(&what) {
            return Ok(text.clone());
        }
        let text: Arc<str> = build()?.into();
        let mut changes = self.changes.write();
        if changes.len() < MOST_TEXTS {
            changes.insert(what, text.clone());
        }
        Ok(text)
    }

    /// The text of `SELECT … WHERE key = ?` in a dialect; `build` makes it the first time.
    pub(crate) fn by_key<E>(&self, dialect: usize, build: impl FnOnce() -> Result<String, E>) -> Result<Arc<str>, E> {
        let what = ChangeText {
            dialect,
            form: ChangeForm::ByKey,
            written: ColumnSet::default(),
            versioned: false,
            xid: false,
        };
        self.kept(what, build)
    }
}
