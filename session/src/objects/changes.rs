//! What was done, or is to be done, to a row (U7): its table, key and kind, and the columns with what they held and what they hold.
//!
//! It is put together only where somebody looks; a flush that nobody observes makes none. Values of secret columns are never in it.

use std::{fmt, sync::Arc};

use sea_orm::Value;

use super::{
    AnyObject, Phase,
    any_object::Inner,
    entity::{TrackedEntity, table_of},
    inner::{same, values_in},
    row::RowKind,
    values::{AnyModel, Data},
};
use crate::table::{
    meta::TableMeta,
    value::{as_integer, is_null, json_of},
};

/// What is done to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The row is new.
    Insert,
    /// Columns of the row change; a soft delete is one of these.
    Update,
    /// The row is gone.
    Delete,
}

impl ChangeKind {
    /// `insert`, `update` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Insert => "insert",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
        }
    }
}

impl From<RowKind> for ChangeKind {
    fn from(kind: RowKind) -> Self {
        match kind {
            RowKind::Insert => ChangeKind::Insert,
            RowKind::Update => ChangeKind::Update,
            RowKind::Delete => ChangeKind::Delete,
        }
    }
}

/// What was done to one row by a flush, or is to be done by the next one (U7).
#[derive(Clone)]
pub struct Change {
    table: &'static TableMeta,
    kind: ChangeKind,
    key: Vec<Value>,
    columns: Vec<ColumnChange>,
}

/// One column of a [`Change`].
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ColumnChange {
    /// The column's name.
    pub name: &'static str,
    /// What the row held; none of a new row, and of a column that is secret.
    pub old: Option<Value>,
    /// What it holds; none of a deleted row, and of a column that is secret.
    pub new: Option<Value>,
    /// Whether the column is `#[tracked(secret)]`: that it changed is told, and nothing else.
    pub secret: bool,
}

impl fmt::Debug for ColumnChange {
    /// The name; never values (L1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Change {
    /// Table, key, kind and the columns' names; never values (L1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {:?}", self.kind.as_str(), self.entity(), self.key_text(), self.columns)
    }
}

impl Change {
    /// The name of the table.
    pub fn entity(&self) -> &'static str {
        self.table.entity
    }

    /// The table's schema, if the entity names one.
    pub fn schema(&self) -> Option<&'static str> {
        self.table.schema.as_deref()
    }

    /// Whether it is a row of `E`.
    pub fn is<E: TrackedEntity>(&self) -> bool {
        std::ptr::eq(self.table, table_of::<E>())
    }

    /// What is done to the row.
    pub fn kind(&self) -> ChangeKind {
        self.kind
    }

    /// The row's key, after the change; empty while the database has yet to make it. A secret part of it is NULL.
    pub fn key(&self) -> &[Value] {
        &self.key
    }

    /// The key as a text; `(new)` while the database has yet to make it.
    pub fn key_text(&self) -> String {
        match self.key.is_empty() {
            true => "(new)".to_owned(),
            false => self.table.show_key(&self.key),
        }
    }

    /// The key's columns by name, with their values.
    pub(crate) fn named_key(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.table.keys.iter().map(|at| self.table.columns[*at].name).zip(&self.key)
    }

    /// The version that the change gave the row, if the entity has one; of a row that is gone, the one after that which it had. While a
    /// unit holds the row, a number for the order of its changes.
    pub fn version(&self) -> Option<i64> {
        let column = self.column(self.table.columns[self.table.version?].name)?;
        match (&column.new, &column.old) {
            (Some(new), _) => as_integer(new),
            (None, old) => as_integer(old.as_ref()?).and_then(|version| version.checked_add(1)),
        }
    }

    /// The columns: of an update those whose values differ, else all.
    pub fn columns(&self) -> &[ColumnChange] {
        &self.columns
    }

    /// One of the columns, if it is among them.
    pub fn column(&self, name: &str) -> Option<&ColumnChange> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The topic of the entity's events, from `#[tracked(outbox = "…")]`.
    pub fn topic(&self) -> Option<&'static str> {
        self.table.outbox
    }

    /// The change as what it means: `insert`, `update` or `delete` as its kind, but a soft delete is a `delete`, and what takes one
    /// back a `restore`.
    pub fn meaning(&self) -> &'static str {
        let marks = self.table.soft_delete.and_then(|at| self.column(self.table.columns[at].name));
        match (self.kind, marks.and_then(|column| column.new.as_ref())) {
            (ChangeKind::Update, Some(mark)) if is_null(mark) => "restore",
            (ChangeKind::Update, Some(_)) => "delete",
            (kind, _) => kind.as_str(),
        }
    }

    /// The columns as JSON: `{"title": {"old": "a", "new": "b"}}`; of a new row without `old`, of a deleted one without `new`, of a
    /// secret column with neither. Numbers that JSON has no exact form for are texts, and so are moments (RFC 3339) and bytes
    /// (hexadecimal).
    pub fn to_json(&self) -> serde_json::Value {
        let mut columns = serde_json::Map::new();
        for column in &self.columns {
            let mut sides = serde_json::Map::new();
            for (name, value) in [("new", &column.new), ("old", &column.old)] {
                if let Some(value) = value {
                    sides.insert(name.to_owned(), json_of(value));
                }
            }
            columns.insert(column.name.to_owned(), sides.into());
        }
        columns.into()
    }

    /// Whether it goes into the audit table.
    pub(crate) fn is_audited(&self) -> bool {
        self.table.audit
    }
}

/// What a unit has changed, and what it would change (U7).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ChangeSet {
    /// What the next flush would do: as far as it is known before the flush has set versions and times, and the database what it
    /// makes itself.
    pub pending: Vec<Change>,
    /// What the unit's flushes have done since it was first asked for its changes, in their order; without what was rolled back.
    pub flushed: Vec<Change>,
}

/// What the database held of a row before a flush: shared with the object, not copied.
pub(crate) type RowImage = Arc<dyn AnyModel>;

impl AnyObject {
    /// The row as the database holds it, before it is written; none of a new object.
    pub(crate) fn image(&self) -> Option<RowImage> {
        self.inner.lock().held_when_sent().cloned()
    }

    /// What a flush has made of the row since `before`; none if that is nothing.
    pub(crate) fn change_since_image(&self, kind: RowKind, before: Option<&RowImage>) -> Option<Change> {
        let inner = self.inner.lock();
        let old = before.filter(|_| kind != RowKind::Insert).map(|image| &**image);
        match kind {
            RowKind::Delete => self.change_between(&inner, kind, old, None),
            // Its row was found to be gone: nothing was written.
            _ if inner.phase == Phase::Deleted => None,
            // What was set since is for the next flush.
            _ => match &inner.base {
                Some(base) => self.change_between(&inner, kind, old, Some(&Data::Full(base.clone()))),
                None => self.change_between(&inner, kind, old, Some(&inner.data)),
            },
        }
    }

    /// What the next flush would do to the row; none if that is nothing.
    pub(crate) fn pending_change(&self) -> Option<Change> {
        let inner = self.inner.lock();
        let held = inner.held().map(|held| &**held);
        match inner.phase {
            Phase::Pending => self.change_between(&inner, RowKind::Insert, None, Some(&inner.data)),
            Phase::Persistent => self.change_between(&inner, RowKind::Update, held, Some(&inner.data)),
            Phase::Deleting => self.change_between(&inner, RowKind::Delete, held, None),
            Phase::Transient | Phase::Deleted | Phase::Detached => None,
        }
    }

    fn change_between(
        &self,
        inner: &Inner,
        kind: RowKind,
        old: Option<&dyn AnyModel>,
        new: Option<&Data>,
    ) -> Option<Change> {
        let table = self.table;
        let mut columns = Vec::new();
        for at in (0..table.columns.len()).filter(|at| table.columns[*at].held) {
            let lent = (old.map(|model| model.lent(at)), new.and_then(|data| data.lent(at)));
            match &lent {
                (None, None) => continue,
                (Some(old), Some(new)) if same(table, inner.unit.as_deref(), at, old, new) => continue,
                _ => {}
            }
            let secret = table.secret.contains(at);
            let shown = |value: Option<Value>| value.filter(|_| !secret);
            columns.push(ColumnChange {
                name: table.columns[at].name,
                old: shown(old.map(|model| model.value(at))),
                new: shown(new.and_then(|data| data.value(at))),
                secret,
            });
        }
        if kind == RowKind::Update && columns.is_empty() {
            return None;
        }
        let key = match (new, old) {
            (Some(data), _) => data.values(&table.keys),
            (None, old) => old.map(|old| values_in(old, &table.keys)),
        };
        let mut key = key.unwrap_or_default();
        for (at, value) in table.keys.iter().zip(&mut key).filter(|(at, _)| table.secret.contains(**at)) {
            *value = table.columns[*at].kind_null();
        }
        Some(Change { table, kind: kind.into(), key, columns })
    }
}
