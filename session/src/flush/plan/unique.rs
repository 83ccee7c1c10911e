//! Unique values: freed before they are taken, in layers of updates, early deletes, or through NULL.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sea_orm::Value;

use super::{
    Cycle, Kind, Op, Part, Step,
    levels::{Need, levels},
    planner::{Cells, Groups, Planner},
    targets::Targets,
};

/// Rows that hand a unique value on wait for each other in layers, one statement each; where more would be needed, the
/// values are given up through NULL first, which takes two statements whatever the number of rows (F2).
pub(super) const MOST_LAYERS: usize = 4;

/// Updates in the order of their layers, before and after the inserts.
pub(super) struct Layers {
    pub(super) before: Vec<Vec<usize>>,
    pub(super) after: Vec<Vec<usize>>,
}

/// Who gives up which unique value: table, set, values.
pub(super) type Freed<'a> = FxHashMap<(usize, usize, &'a [Value]), usize>;

impl<'a> Planner<'a> {
    pub(super) fn freed_values(&self) -> Freed<'a> {
        let mut freed = FxHashMap::default();
        let ops: &'a [Op] = self.ops;
        for (op, change) in ops.iter().enumerate() {
            for (set, values) in change.frees.iter().enumerate() {
                if let Some(values) = values {
                    freed.insert((change.table, set, &values[..]), op);
                }
            }
        }
        freed
    }

    /// The rows that must give up a unique value before `op` can have it, and the set that it belongs to.
    fn waits_for<'f>(&'f self, op: usize, freed: &'f Freed<'_>) -> impl Iterator<Item = (usize, usize)> + 'f {
        let change = &self.ops[op];
        let takes = change.takes.iter().enumerate();
        takes
            .filter_map(move |(set, values)| Some((*freed.get(&(change.table, set, values.as_deref()?))?, set)))
            .filter(move |(other, _)| *other != op)
    }

    /// Deletes that give up a value which somebody else takes, with the rows that refer to them.
    pub(super) fn early_deletes(&self, deletes: &[usize], freed: &Freed<'_>) -> BTreeSet<usize> {
        let wanted = |(other, _): (usize, usize)| (self.ops[other].kind == Kind::Delete).then_some(other);
        let mut early: BTreeSet<usize> = (0..self.ops.len())
            .flat_map(|op| self.waits_for(op, freed).filter_map(wanted).collect::<Vec<_>>())
            .collect();
        if early.is_empty() {
            return early;
        }
        let mut tables: BTreeSet<usize> = early.iter().map(|op| self.ops[*op].table).collect();
        let refers = |table: usize, to: &BTreeSet<usize>| {
            let mut parents = self.tables[table].parents.iter();
            parents.any(|fk| to.iter().any(|p| self.tables[*p].table == fk.to_table))
        };
        loop {
            let referring = (0..self.tables.len()).filter(|t| !tables.contains(t) && refers(*t, &tables));
            let referring: Vec<usize> = referring.collect();
            if referring.is_empty() {
                break;
            }
            tables.extend(referring);
        }
        let below = |d: &usize| tables.contains(&self.ops[*d].table) && refers(self.ops[*d].table, &tables);
        early.extend(deletes.iter().copied().filter(below));
        early
    }

    /// Updates that take a foreign key away from a row which is deleted early: their key is NULL for a while, or, where it
    /// cannot be, they come first.
    pub(super) fn moves_away(&mut self, early: &BTreeSet<usize>, freed: &Freed<'_>) -> Result<BTreeSet<usize>, Cycle> {
        let mut first = BTreeSet::new();
        if early.is_empty() {
            return Ok(first);
        }
        let targets = Targets::of(self, &early.iter().copied().collect::<Vec<_>>());
        let inserted = self.inserted();
        let changes = |op: &Op| matches!(op.kind, Kind::Update | Kind::Switch);
        for (op, change) in self.ops.iter().enumerate().filter(|(_, change)| changes(change)) {
            let table = self.tables[change.table];
            let leaves = |column: &usize| change.leaves.iter().find(|(c, _)| c == column).map(|(_, value)| value);
            let stays = |column: &usize| change.before.iter().find(|(c, _)| c == column).map(|(_, value)| value);
            for fk in &table.parents {
                let old = fk.columns.iter().map(|c| leaves(c).or_else(|| stays(c)));
                let old: Option<Vec<&Value>> = old.collect();
                let Some(parent) = old.and_then(|old| targets.find(fk, old)) else { continue };
                if fk.columns.iter().all(|c| leaves(c).is_none()) {
                    // What the database makes of it then, only the rows' own order can tell.
                    return Err(self.name_cycle([op, parent].into_iter()));
                }
                match fk.columns.iter().copied().find(|c| self.is_openable(op, *c)) {
                    Some(column) => {
                        self.opened.insert((op, column));
                    }
                    None => {
                        let waits = self.waits_for(op, freed).next().is_some() || self.needs_insert(op, &inserted);
                        if change.kind != Kind::Update || waits {
                            return Err(self.name_cycle([op, parent].into_iter()));
                        }
                        first.insert(op);
                    }
                }
            }
        }
        Ok(first)
    }

    /// The rows that this flush inserts, as targets of foreign keys.
    fn inserted(&self) -> Targets<'a> {
        let inserts: Vec<usize> = (0..self.ops.len()).filter(|op| self.ops[*op].kind == Kind::Insert).collect();
        Targets::of(self, &inserts)
    }

    fn needs_insert(&self, op: usize, inserted: &Targets<'_>) -> bool {
        self.tables[self.ops[op].table].parents.iter().any(|fk| self.need(op, fk, inserted).is_some())
    }

    /// Updates in layers, each before the next. A swap of unique values is opened by writing NULL first, and so is a long
    /// chain of them.
    pub(super) fn update_layers(&mut self, updates: &[usize], freed: &Freed<'_>) -> Result<Layers, Cycle> {
        let mut needs: FxHashMap<usize, Vec<Need>> = FxHashMap::default();
        for &op in updates {
            let waits = self.waits_for(op, freed).filter(|(other, _)| self.ops[*other].kind == Kind::Update);
            let waits = waits.map(|(parent, set)| Need { parent, column: self.openable(parent, set), apart: false });
            let waits: Vec<Need> = waits.collect();
            if !waits.is_empty() {
                needs.insert(op, waits);
            }
        }
        let (mut level, cut) = levels(updates, &mut needs).map_err(|cycle| self.name_swap(&cycle))?;
        let mut opened: Cells = cut.into_iter().filter_map(|(_, need)| Some((need.parent, need.column?))).collect();
        if level.values().any(|level| level.all > MOST_LAYERS) {
            opened.extend(needs.values().flatten().filter_map(|need| Some((need.parent, need.column?))));
            needs.values_mut().for_each(|list| list.retain(|need| need.column.is_none()));
            // Nothing is added to what had no cycle, so there is none.
            level = levels(updates, &mut needs).map_err(|cycle| self.name_swap(&cycle))?.0;
        }
        let before = self.before_inserts(&needs, freed, &mut opened)?;
        self.open_switches(&before, freed, &mut opened)?;
        self.opened.extend(opened);

        let mut layers: BTreeMap<(bool, usize), Vec<usize>> = BTreeMap::new();
        for &op in updates {
            let depth = level.get(&op).map_or(0, |level| level.all);
            layers.entry((!before.contains(&op), depth)).or_default().push(op);
        }
        let after = layers.split_off(&(true, 0));
        Ok(Layers { before: layers.into_values().collect(), after: after.into_values().collect() })
    }

    /// Updates that give up what an insert takes, and those that these wait for. One that needs an insert itself gives the
    /// value up through NULL.
    fn before_inserts(
        &self,
        needs: &FxHashMap<usize, Vec<Need>>,
        freed: &Freed<'_>,
        opened: &mut Cells,
    ) -> Result<BTreeSet<usize>, Cycle> {
        let takers = (0..self.ops.len()).filter(|op| matches!(self.ops[*op].kind, Kind::Insert | Kind::Switch));
        let wanted = takers.flat_map(|op| self.waits_for(op, freed).collect::<Vec<_>>());
        let updates = wanted.filter(|(other, _)| self.ops[*other].kind == Kind::Update);
        let mut todo: Vec<(usize, Option<usize>)> = updates.map(|(op, set)| (op, self.openable(op, set))).collect();
        let mut before = BTreeSet::new();
        if todo.is_empty() {
            return Ok(before);
        }
        let inserted = self.inserted();
        while let Some((op, column)) = todo.pop() {
            if self.needs_insert(op, &inserted) {
                let column = column.ok_or_else(|| self.name_cycle(std::iter::once(op)))?;
                opened.insert((op, column));
            } else if before.insert(op) {
                todo.extend(needs.get(&op).into_iter().flatten().map(|need| (need.parent, need.column)));
            }
        }
        Ok(before)
    }

    /// Switched rows that give up a value do so through NULL; without it their statement must come before the taker's.
    fn open_switches(&self, before: &BTreeSet<usize>, freed: &Freed<'_>, opened: &mut Cells) -> Result<(), Cycle> {
        for op in 0..self.ops.len() {
            for (other, set) in self.waits_for(op, freed).filter(|(other, _)| self.ops[*other].kind == Kind::Switch) {
                let in_turn = match self.ops[op].kind {
                    Kind::Update => !before.contains(&op),
                    Kind::Insert => !self.is_complex(self.ops[other].table),
                    Kind::Switch | Kind::Delete => false,
                };
                match self.openable(other, set) {
                    Some(column) => {
                        opened.insert((other, column));
                    }
                    None if in_turn => {}
                    None => return Err(self.name_swap(&[other, op])),
                }
            }
        }
        Ok(())
    }

    /// A nullable column of a unique set that `op` rewrites: NULL there for a while gives the value up.
    fn openable(&self, op: usize, set: usize) -> Option<usize> {
        let table = self.tables[self.ops[op].table];
        let mut columns = table.unique.get(set)?.iter().copied();
        columns.find(|c| self.is_openable(op, *c))
    }

    /// Whether `op` may have NULL in `column` until its own statement writes it.
    fn is_openable(&self, op: usize, column: usize) -> bool {
        let change = &self.ops[op];
        let rewrites = change.kind == Kind::Switch || change.cell(column).is_some();
        rewrites && self.tables[change.table].columns[column].nullable
    }

    /// The columns that the row's own statement checks: one that was opened is checked there, where it still holds.
    pub(super) fn checks(&self, op: usize) -> Vec<usize> {
        self.ops[op].checks.iter().map(|(c, _)| *c).filter(|c| !self.opened.contains(&(op, *c))).collect()
    }

    pub(super) fn open_steps(&self, cells: &Cells) -> Vec<Step> {
        let mut groups: Groups<(usize, usize, bool)> = BTreeMap::new();
        for &(op, column) in cells {
            let checked = self.ops[op].checks.iter().any(|(c, _)| *c == column);
            groups.entry((self.ops[op].table, column, checked)).or_default().push(op);
        }
        let step = |((table, column, checked), ops)| Step {
            table,
            kind: Kind::Update,
            columns: vec![column],
            checks: if checked { vec![column] } else { vec![] },
            ops,
            part: Part::Open,
        };
        groups.into_iter().map(step).collect()
    }

    fn name_swap(&self, ops: &[usize]) -> Cycle {
        let table = self.tables[self.ops[ops[0]].table];
        let keys: Vec<String> = ops.iter().map(|op| table.show_key(&self.ops[*op].key)).collect();
        Cycle(format!("rows of {} swap a unique value: {}", table.entity, keys.join(" -> ")))
    }
}
