//! Rows into statements: inserts with parents first, updates, deletes with children first (F1, F2).

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::{
    Cycle, Kind, Known, Op, Part, Plan, PlannedValue, Step,
    levels::{Level, Need, levels},
    ranks::Ranks,
    targets::Targets,
};
use crate::table::meta::{ForeignKey, TableMeta};

/// Rows by what puts them into one statement; sorted, so that the plan is always the same.
pub(super) type Groups<K> = BTreeMap<K, Vec<usize>>;

/// The columns that a statement writes, and those that it checks.
type Columns = (Vec<usize>, Vec<usize>);

/// Rows and columns.
pub(super) type Cells = BTreeSet<(usize, usize)>;

pub(super) struct Planner<'a> {
    pub(super) tables: &'a [&'a TableMeta],
    pub(super) ops: &'a [Op],
    pub(super) known: &'a Known,
    pub(super) postponed: Cells,
    /// Cells that are NULL already when the row's own statement comes.
    pub(super) opened: Cells,
    pub(super) ranks: Ranks,
}

impl<'a> Planner<'a> {
    pub(super) fn run(mut self) -> Result<Plan, Cycle> {
        let of =
            |kinds: &[Kind]| (0..self.ops.len()).filter(|op| kinds.contains(&self.ops[*op].kind)).collect::<Vec<_>>();
        let inserts = of(&[Kind::Insert, Kind::Switch]);
        let updates = of(&[Kind::Update]);
        let deletes = of(&[Kind::Delete]);

        let frees = self.freed_values();
        let early_deletes = self.early_deletes(&deletes, &frees);
        let moves = self.moves_away(&early_deletes, &frees)?;
        let rest: Vec<usize> = updates.iter().copied().filter(|op| !moves.contains(op)).collect();
        let layers = self.update_layers(&rest, &frees)?;
        let early_deletes: Vec<usize> = early_deletes.into_iter().collect();
        let late_deletes: Vec<usize> =
            deletes.iter().copied().filter(|d| early_deletes.binary_search(d).is_err()).collect();

        // What opens a swap or leaves a deleted parent comes before everything that counts on it.
        let mut steps = self.open_steps(&self.opened.clone());
        steps.extend(self.update_steps(&moves.into_iter().collect::<Vec<_>>()));
        steps.extend(self.deletes(&early_deletes)?);
        steps.extend(layers.before.iter().flat_map(|layer| self.update_steps(layer)));
        steps.extend(self.inserts(&inserts)?);
        steps.extend(layers.after.iter().flat_map(|layer| self.update_steps(layer)));
        steps.extend(self.close_steps());
        steps.extend(self.deletes(&late_deletes)?);
        Ok(Plan { steps, postponed: self.postponed })
    }

    // ---- inserts: parents first ----------------------------------------------------------------------------------

    fn inserts(&mut self, inserts: &[usize]) -> Result<Vec<Step>, Cycle> {
        let (levels, postponed) = self.row_levels(inserts)?;
        self.postponed = postponed;
        let mut groups: Groups<(usize, usize, usize, usize, Columns)> = BTreeMap::new();
        let together = |a: &usize, b: &usize| levels.get(a) == levels.get(b) && self.is_one_shape(*a, *b);
        for run in inserts.chunk_by(together) {
            let op = run[0];
            let table = self.ops[op].table;
            let rank = self.ranks.rank[table];
            let level = levels.get(&op).copied().unwrap_or_default();
            // Rows of one statement may refer to each other: keys are checked at its end. Only across tables of a cycle,
            // or where the parent's key is not known yet, the order must be one of statements.
            let statement = if rank == self.ranks.cyclic { level.all } else { level.apart };
            // A switched row may give up what a new one takes; but one that needs a new row must wait for it.
            let turn = match self.ops[op].kind {
                Kind::Switch if level.all == 0 => 0,
                Kind::Switch => 2,
                _ => 1,
            };
            let place = (rank, statement, table, turn, (self.ops[op].columns(), self.checks(op)));
            groups.entry(place).or_default().extend(run);
        }
        let depth = |op: &usize| levels.get(op).map_or(0, |l| l.all);
        Ok(groups
            .into_iter()
            .map(|((_, _, table, turn, (columns, checks)), mut ops)| {
                ops.sort_by_key(depth);
                let kind = if turn == 1 { Kind::Insert } else { Kind::Switch };
                Step { table, kind, columns, checks, ops, part: Part::Whole }
            })
            .collect())
    }

    /// Whether rows of this table may need other rows of their own statement's rank.
    pub(super) fn is_complex(&self, table: usize) -> bool {
        self.ranks.rank[table] == self.ranks.cyclic
            || self.tables[table].parents.iter().any(|fk| fk.to_table == self.tables[table].table)
    }

    /// Which other rows of `among` each row's foreign keys point to.
    pub(super) fn needs(&self, among: &[usize]) -> FxHashMap<usize, Vec<Need>> {
        let rows: Vec<usize> = among.iter().copied().filter(|op| self.is_complex(self.ops[*op].table)).collect();
        let targets = Targets::of(self, &rows);
        let mut needs: FxHashMap<usize, Vec<Need>> = FxHashMap::default();
        for &op in &rows {
            let table = self.tables[self.ops[op].table];
            let cyclic = self.ranks.rank[self.ops[op].table] == self.ranks.cyclic;
            let keys = table.parents.iter().filter(|fk| cyclic || fk.to_table == table.table);
            let own = keys.filter_map(|fk| self.need(op, fk, &targets)).filter(|n| n.apart || n.parent != op);
            needs.entry(op).or_default().extend(own);
        }
        needs
    }

    pub(super) fn need(&self, op: usize, fk: &ForeignKey, targets: &Targets<'_>) -> Option<Need> {
        let table = self.tables[self.ops[op].table];
        let cells: Vec<&PlannedValue> = fk.columns.iter().map(|c| self.ops[op].cell(*c)).collect::<Option<_>>()?;
        let column = fk.columns.iter().copied().find(|c| table.columns[*c].nullable && !table.keys.contains(c));
        let generated = cells.iter().find_map(|cell| match cell {
            PlannedValue::KeyOf { op, .. } => Some(*op),
            PlannedValue::Value(_) => None,
        });
        if let Some(parent) = generated {
            return Some(Need { parent, column, apart: true });
        }
        let values = cells.into_iter().filter_map(|cell| match cell {
            PlannedValue::Value(value) => Some(value),
            PlannedValue::KeyOf { .. } => None,
        });
        let parent = targets.find(fk, values.collect())?;
        Some(Need { parent, column, apart: !self.go_together(op, parent) })
    }

    /// Whether two rows of one table go into the same statement, as far as their own shape says.
    fn go_together(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.ops[a], &self.ops[b]);
        let columns = |op: &'a Op| op.cells.iter().map(|(c, _)| *c).filter(|_| op.kind != Kind::Delete);
        let checks = |op: &'a Op| op.checks.iter().map(|(c, _)| *c);
        (a.table, a.kind) == (b.table, b.kind) && columns(a).eq(columns(b)) && checks(a).eq(checks(b))
    }

    /// As [`Planner::go_together`], of rows whose cycles are opened.
    pub(super) fn is_one_shape(&self, a: usize, b: usize) -> bool {
        self.go_together(a, b) && self.checks(a) == self.checks(b)
    }

    /// The level of every row that takes part in a self-reference or a cycle, and the nullable keys that open cycles.
    pub(super) fn row_levels(&self, among: &[usize]) -> Result<(FxHashMap<usize, Level>, Cells), Cycle> {
        let mut needs = self.needs(among);
        let (levels, cut) = levels(among, &mut needs).map_err(|cycle| self.name_cycle(cycle.into_iter()))?;
        Ok((levels, cut.into_iter().filter_map(|(op, need)| Some((op, need.column?))).collect()))
    }

    pub(super) fn name_cycle(&self, ops: impl Iterator<Item = usize>) -> Cycle {
        let mut names: Vec<&str> = ops.map(|op| self.tables[self.ops[op].table].entity).collect();
        names.extend(names.first().copied());
        Cycle(format!("the rows need each other: {}", names.join(" -> ")))
    }

    fn close_steps(&self) -> Vec<Step> {
        let mut groups: BTreeMap<(usize, Vec<usize>), Vec<usize>> = BTreeMap::new();
        let mut by_op: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (op, column) in &self.postponed {
            by_op.entry(*op).or_default().push(*column);
        }
        for (op, columns) in by_op {
            groups.entry((self.ops[op].table, columns)).or_default().push(op);
        }
        groups
            .into_iter()
            .map(|((table, columns), ops)| Step {
                table,
                kind: Kind::Update,
                columns,
                checks: vec![],
                ops,
                part: Part::Close,
            })
            .collect()
    }

    fn update_steps(&self, layer: &[usize]) -> Vec<Step> {
        let mut groups: Groups<(usize, usize, Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for run in layer.chunk_by(|a, b| self.is_one_shape(*a, *b)) {
            let change = &self.ops[run[0]];
            let place = (self.ranks.rank[change.table], change.table, change.columns(), self.checks(run[0]));
            groups.entry(place).or_default().extend(run);
        }
        groups
            .into_iter()
            .map(|((_, table, columns, checks), ops)| Step {
                table,
                kind: Kind::Update,
                columns,
                checks,
                ops,
                part: Part::Whole,
            })
            .collect()
    }

    // ---- deletes: children first -----------------------------------------------------------------------------------

    fn deletes(&mut self, deletes: &[usize]) -> Result<Vec<Step>, Cycle> {
        if deletes.is_empty() {
            return Ok(vec![]);
        }
        let (levels, opened) = self.row_levels(deletes)?;
        let (mut steps, cut) = (self.open_steps(&opened), opened);
        self.opened.extend(cut.iter().copied());
        let mut groups: Groups<(usize, usize, usize, Vec<usize>)> = BTreeMap::new();
        for &op in deletes {
            let change = &self.ops[op];
            let rank = self.ranks.rank[change.table];
            let level = levels.get(&op).copied().unwrap_or_default();
            // An opened row has lost a check, and with it the company that it was ordered in.
            let strictly = rank == self.ranks.cyclic || !cut.is_empty();
            let statement = if strictly { level.all } else { level.apart };
            let place = (usize::MAX - rank, usize::MAX - statement, change.table, self.checks(op));
            groups.entry(place).or_default().push(op);
        }
        for ((_, _, table, checks), mut ops) in groups {
            ops.sort_by_key(|op| std::cmp::Reverse(levels.get(op).map_or(0, |l| l.all)));
            steps.push(Step { table, kind: Kind::Delete, columns: vec![], checks, ops, part: Part::Whole });
        }
        Ok(steps)
    }
}
