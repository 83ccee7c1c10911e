//! The straight way: objects whose rows need no plan, in sets, so that their values go to the wire without being taken out.
//!
//! Most flushes need no plan: no row takes what another gives up, no table refers to itself, parents come before children.
//! Whatever is not plain goes the planner's way; this module must never decide what the planner would decide otherwise.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    Member,
    plan::{Kind, Part, Ranks, table_ranks},
    set::{RowSet, RowSource},
};
use crate::{
    objects::{
        AnyObject,
        row::{RowKind, Straight},
    },
    table::{
        columns::ColumnSet,
        facts::TableFacts,
        meta::{ForeignKey, TableMeta},
    },
};

/// Rows that go the same way.
pub(super) struct Set<'a> {
    pub(super) table: &'static TableMeta,
    kind: RowKind,
    /// The columns written; none for deletes.
    columns: SmallVec<[usize; 8]>,
    objects: Vec<&'a Arc<AnyObject>>,
    /// The last object's rank; `None` once one stands before another of a higher rank.
    highest: Option<i64>,
}

/// Most flushes are one set.
type DirectSets<'a> = SmallVec<[Set<'a>; 1]>;

/// The sets of a flush, in the order in which they are sent; `None` if it needs a plan.
pub(super) fn sets(due: &[Member]) -> Option<DirectSets<'_>> {
    let mut tables: SmallVec<[&'static TableMeta; 1]> = SmallVec::new();
    let mut found: SmallVec<[(usize, ColumnSet, Set<'_>); 1]> = SmallVec::new();
    let mut last = 0;
    for (object, kind) in due {
        let table = object.table();
        let Straight { columns, rank } = object.straight(*kind)?;
        let fits = |(_, shape, set): &(usize, ColumnSet, Set<'_>)| {
            *shape == columns && set.kind == *kind && std::ptr::eq(set.table, table)
        };
        if !found.get(last).is_some_and(fits) {
            last = match found.iter().position(fits) {
                Some(at) => at,
                None => {
                    let at = number_of(table, &mut tables)?;
                    let columns_in_order = columns.columns(table.columns.len()).collect();
                    let objects = Vec::with_capacity(if found.is_empty() { due.len() } else { 0 });
                    let highest = Some(i64::MIN);
                    let set = Set { table, kind: *kind, columns: columns_in_order, objects, highest };
                    found.push((at, columns, set));
                    found.len() - 1
                }
            };
        }
        found[last].2.push(object, rank);
    }
    if found.len() > 1 {
        let ranks = table_ranks(&tables);
        if ranks.rank.contains(&ranks.cyclic) || replaces(&tables, &found) || moves_what_is_joined(&tables, &found) {
            return None;
        }
        found.sort_by(|(a, _, set_a), (b, _, set_b)| {
            turn(*a, set_a, &ranks).cmp(&turn(*b, set_b, &ranks)).then_with(|| set_a.columns.cmp(&set_b.columns))
        });
    }
    found.iter_mut().for_each(|(_, _, set)| set.put_in_order());
    Some(found.into_iter().map(|(_, _, set)| set).collect())
}

/// Where a table stands among those of this flush; `None` if only the planner can order its rows.
fn number_of(table: &'static TableMeta, tables: &mut SmallVec<[&'static TableMeta; 1]>) -> Option<usize> {
    if let Some(at) = tables.iter().position(|known| std::ptr::eq(*known, table)) {
        return Some(at);
    }
    let plain = ColumnSet::tells_apart(table.columns.len())
        && table.parents.iter().all(|fk| fk.to_table != table.table)
        && tables.iter().all(|other| other.table != table.table);
    plain.then(|| {
        tables.push(table);
        tables.len() - 1
    })
}

/// Whether rows of a table are both deleted and added: one may take the other's place.
fn replaces(tables: &[&'static TableMeta], found: &[(usize, ColumnSet, Set<'_>)]) -> bool {
    let has = |table: usize, kind: RowKind| found.iter().any(|(at, _, set)| *at == table && set.kind == kind);
    (0..tables.len()).any(|table| has(table, RowKind::Insert) && has(table, RowKind::Delete))
}

/// Whether a row changes what foreign keys of another table may join, which is written before what refers to it and after
/// what leaves it (E1).
fn moves_what_is_joined(tables: &[&'static TableMeta], found: &[(usize, ColumnSet, Set<'_>)]) -> bool {
    let changed = |at: &usize, name: &String| {
        let column = tables[*at].column(name);
        let mut sets = found.iter().filter(|(table, _, set)| table == at && set.kind == RowKind::Update);
        column.is_some_and(|column| sets.any(|(_, columns, _)| columns.contains(column)))
    };
    let joined = |fk: &ForeignKey| {
        let at = tables.iter().position(|table| table.table == fk.to_table);
        at.is_some_and(|at| fk.to_columns.iter().any(|name| changed(&at, name)))
    };
    tables.iter().flat_map(|table| &table.parents).any(joined)
}

/// Inserts parents first, then updates, then deletes children first (F1).
fn turn(table: usize, set: &Set<'_>, ranks: &Ranks) -> (u8, usize) {
    let rank = ranks.rank[table];
    match set.kind {
        RowKind::Insert => (0, rank),
        RowKind::Update => (1, rank),
        RowKind::Delete => (2, usize::MAX - rank),
    }
}

impl<'a> Set<'a> {
    fn push(&mut self, object: &'a Arc<AnyObject>, rank: i64) {
        if self.kind != RowKind::Insert {
            self.highest = self.highest.filter(|highest| *highest <= rank).map(|_| rank);
        }
        self.objects.push(object);
    }

    /// Rows that are there already are locked in one order, whoever changes them: two units that did it each in its own
    /// would wait for each other. New rows keep theirs, which their keys may follow.
    fn put_in_order(&mut self) {
        if self.highest.is_none() {
            self.objects.sort_by_cached_key(|object| object.rank());
        }
    }

    pub(super) fn with_facts(self, facts: Arc<TableFacts>) -> RowSet<'a> {
        let kind = match self.kind {
            RowKind::Insert => Kind::Insert,
            RowKind::Update => Kind::Update,
            RowKind::Delete => Kind::Delete,
        };
        RowSet {
            table: self.table,
            facts,
            kind,
            part: Part::Whole,
            columns: self.columns,
            checks: Vec::new(),
            rows: RowSource::Objects(self.objects),
            drawn: None,
        }
    }
}
