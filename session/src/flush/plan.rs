//! The flush planner: from changes to an order of statements, as a pure function (INV5, F1, F2).
//!
//! It knows tables, rows and which row needs which; it must never know a connection, a dialect or a clock. The same
//! changes always give the same plan: ties are broken by the order in which tables and rows were handed in.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::Value;

use super::value::as_column;
use crate::meta::{ForeignKey, TableMeta};

#[cfg(test)]
mod tests;

/// Rows that hand a unique value on wait for each other in layers, one statement each; where more would be needed, the
/// values are given up through NULL first, which takes two statements whatever the number of rows (F2).
const MOST_LAYERS: usize = 4;

/// What a row needs done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Insert,
    /// A row switch: deleted and added again under the same key, sent as one upsert so that nothing cascades (I2).
    Switch,
    Update,
    Delete,
}

/// A value to write: known, or the key that another row of this flush will get.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Value(Value),
    KeyOf { op: usize, column: usize },
}

/// One row's change.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Position in the list of tables.
    pub(crate) table: usize,
    pub(crate) kind: Kind,
    /// The key that the database holds (update, delete, switch); the known key of an insert, or empty.
    pub(crate) key: Vec<Value>,
    /// The version that was loaded.
    pub(crate) version: Option<Value>,
    /// What is written, by column. For a delete: its foreign keys, which are not written but order the rows.
    pub(crate) cells: Vec<(usize, Cell)>,
    /// Columns that must still hold these values (P1).
    pub(crate) checks: Vec<(usize, Value)>,
    /// Foreign keys that an update or a switch changes, as the database holds them until then.
    pub(crate) leaves: Vec<(usize, Value)>,
    /// For each unique set of the table: the values that this row gives up.
    pub(crate) frees: Vec<Option<Vec<Value>>>,
    /// For each unique set of the table: the values that this row claims.
    pub(crate) takes: Vec<Option<Vec<Value>>>,
}

impl Op {
    fn cell(&self, column: usize) -> Option<&Cell> {
        self.cells.iter().find(|(c, _)| *c == column).map(|(_, cell)| cell)
    }

    fn columns(&self) -> Vec<usize> {
        self.cells.iter().map(|(c, _)| *c).collect()
    }

    /// What the row holds in `column`, as far as the change tells: before a delete, after an insert.
    fn held(&self, table: &TableMeta, column: usize) -> Option<&Value> {
        if let Some(at) = table.keys.iter().position(|k| *k == column)
            && let Some(value) = self.key.get(at)
        {
            return Some(value);
        }
        if let Some(Cell::Value(value)) = self.cell(column) {
            return Some(value);
        }
        let sets = table.unique.iter().zip(&self.frees);
        sets.filter_map(|(set, values)| values.as_ref()?.get(set.iter().position(|c| *c == column)?)).next()
    }
}

/// Rows that go into one statement (or into chunks of it).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) table: usize,
    pub(crate) kind: Kind,
    /// The columns written; empty for a delete.
    pub(crate) columns: Vec<usize>,
    /// The columns checked (P1).
    pub(crate) checks: Vec<usize>,
    pub(crate) ops: Vec<usize>,
    /// What a cycle postponed: this step writes only these columns of rows that were written with NULL there before.
    pub(crate) part: Part,
}

/// Which half of a row that a cycle has cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// Writes NULL to the columns so that the cycle opens.
    Open,
    /// Writes the postponed columns.
    Close,
}

/// The statements of a flush, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Cells that are NULL in the first statement of their row and written by a later one.
    pub(crate) postponed: BTreeSet<(usize, usize)>,
}

/// A cycle that no nullable key opens, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle(pub(crate) String);

/// Orders `ops`. See the module's documentation.
pub(crate) fn plan(tables: &[&TableMeta], ops: &[Op]) -> Result<Plan, Cycle> {
    Planner { tables, ops, postponed: BTreeSet::new(), opened: BTreeSet::new(), ranks: table_ranks(tables) }.run()
}

/// Where an update changes a primary key, keys are freed and taken like any other unique value: as one more set of the
/// table, after its declared ones.
pub(crate) fn claim_keys(tables: &[&TableMeta], ops: &mut [Op]) {
    let moves = |op: &Op| op.kind == Kind::Update && tables[op.table].keys.iter().any(|k| op.cell(*k).is_some());
    let moved: BTreeSet<usize> = ops.iter().filter(|op| moves(op)).map(|op| op.table).collect();
    for op in ops.iter_mut().filter(|op| moved.contains(&op.table)) {
        let table = tables[op.table];
        op.frees.resize(table.unique.len(), None);
        op.takes.resize(table.unique.len(), None);
        let old = (!op.key.is_empty()).then(|| op.key.clone());
        let (free, take) = match op.kind {
            Kind::Insert => (None, old),
            Kind::Delete => (old, None),
            // The row keeps its key.
            Kind::Switch => (None, None),
            Kind::Update if moves(op) => (old, new_key(table, op)),
            Kind::Update => (None, None),
        };
        op.frees.push(free);
        op.takes.push(take);
    }
}

fn new_key(table: &TableMeta, op: &Op) -> Option<Vec<Value>> {
    let value = |(at, column): (usize, &usize)| match op.cell(*column) {
        Some(Cell::Value(value)) => Some(value.clone()),
        Some(Cell::KeyOf { .. }) => None,
        None => op.key.get(at).cloned(),
    };
    table.keys.iter().enumerate().map(value).collect()
}

/// Where a table stands: parents before children. Tables of a cycle (and those behind it) share the last rank, and only
/// their rows are ordered.
pub(super) struct Ranks {
    pub(super) rank: Vec<usize>,
    pub(super) cyclic: usize,
}

pub(super) fn table_ranks(tables: &[&TableMeta]) -> Ranks {
    let parents = |t: usize| {
        tables[t]
            .parents
            .iter()
            .flat_map(move |fk| (0..tables.len()).filter(move |p| *p != t && tables[*p].entity == fk.to_table))
    };
    let mut rank = vec![usize::MAX; tables.len()];
    let mut next = 0;
    loop {
        let ready: Vec<usize> = (0..tables.len())
            .filter(|t| rank[*t] == usize::MAX && parents(*t).all(|p| rank[p] != usize::MAX))
            .collect();
        if ready.is_empty() {
            break;
        }
        for table in ready {
            rank[table] = next;
            next += 1;
        }
    }
    for r in rank.iter_mut().filter(|r| **r == usize::MAX) {
        *r = next;
    }
    Ranks { rank, cyclic: next }
}

/// One row that needs another row written first.
#[derive(Clone, Copy, Debug)]
struct Need {
    parent: usize,
    /// The column that could be NULL for a while, if there is one.
    column: Option<usize>,
    /// Whether the parent must be in an earlier statement, not only earlier in the same: its key is generated, or it
    /// goes into another one anyway.
    apart: bool,
}

/// Rows by what puts them into one statement; sorted, so that the plan is always the same.
type Groups<K> = BTreeMap<K, Vec<usize>>;

/// The columns that a statement writes, and those that it checks.
type Columns = (Vec<usize>, Vec<usize>);

/// Who gives up which unique value: table, set, values.
type Freed<'a> = FxHashMap<(usize, usize, &'a [Value]), usize>;

/// Rows and columns.
type Cells = BTreeSet<(usize, usize)>;

struct Planner<'a> {
    tables: &'a [&'a TableMeta],
    ops: &'a [Op],
    postponed: Cells,
    /// Cells that are NULL already when the row's own statement comes.
    opened: Cells,
    ranks: Ranks,
}

/// How deep a row stands: over all its needs, and over those that need an earlier statement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Level {
    all: usize,
    apart: usize,
}

impl<'a> Planner<'a> {
    fn run(mut self) -> Result<Plan, Cycle> {
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
    fn is_complex(&self, table: usize) -> bool {
        self.ranks.rank[table] == self.ranks.cyclic
            || self.tables[table].parents.iter().any(|fk| fk.to_table == self.tables[table].entity)
    }

    /// Which other rows of `among` each row's foreign keys point to.
    fn needs(&self, among: &[usize]) -> FxHashMap<usize, Vec<Need>> {
        let rows: Vec<usize> = among.iter().copied().filter(|op| self.is_complex(self.ops[*op].table)).collect();
        let targets = Targets::of(self, &rows);
        let mut needs: FxHashMap<usize, Vec<Need>> = FxHashMap::default();
        for &op in &rows {
            let table = self.tables[self.ops[op].table];
            let cyclic = self.ranks.rank[self.ops[op].table] == self.ranks.cyclic;
            let keys = table.parents.iter().filter(|fk| cyclic || fk.to_table == table.entity);
            let own = keys.filter_map(|fk| self.need(op, fk, &targets)).filter(|n| n.apart || n.parent != op);
            needs.entry(op).or_default().extend(own);
        }
        needs
    }

    fn need(&self, op: usize, fk: &ForeignKey, targets: &Targets<'_>) -> Option<Need> {
        let table = self.tables[self.ops[op].table];
        let cells: Vec<&Cell> = fk.columns.iter().map(|c| self.ops[op].cell(*c)).collect::<Option<_>>()?;
        let column = fk.columns.iter().copied().find(|c| table.columns[*c].nullable && !table.keys.contains(c));
        let generated = cells.iter().find_map(|cell| match cell {
            Cell::KeyOf { op, .. } => Some(*op),
            Cell::Value(_) => None,
        });
        if let Some(parent) = generated {
            return Some(Need { parent, column, apart: true });
        }
        let values = cells.into_iter().filter_map(|cell| match cell {
            Cell::Value(value) => Some(value),
            Cell::KeyOf { .. } => None,
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
    fn is_one_shape(&self, a: usize, b: usize) -> bool {
        self.go_together(a, b) && self.checks(a) == self.checks(b)
    }

    /// The level of every row that takes part in a self-reference or a cycle, and the nullable keys that open cycles.
    fn row_levels(&self, among: &[usize]) -> Result<(FxHashMap<usize, Level>, Cells), Cycle> {
        let mut needs = self.needs(among);
        let (levels, cut) = levels(among, &mut needs).map_err(|cycle| self.name_cycle(cycle.into_iter()))?;
        Ok((levels, cut.into_iter().filter_map(|(op, need)| Some((op, need.column?))).collect()))
    }

    fn name_cycle(&self, ops: impl Iterator<Item = usize>) -> Cycle {
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

    // ---- unique values: freed before they are taken ----------------------------------------------------------------

    fn freed_values(&self) -> Freed<'a> {
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
    fn early_deletes(&self, deletes: &[usize], freed: &Freed<'_>) -> BTreeSet<usize> {
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
            parents.any(|fk| to.iter().any(|p| self.tables[*p].entity == fk.to_table))
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
    fn moves_away(&mut self, early: &BTreeSet<usize>, freed: &Freed<'_>) -> Result<BTreeSet<usize>, Cycle> {
        let mut first = BTreeSet::new();
        if early.is_empty() {
            return Ok(first);
        }
        let targets = Targets::of(self, &early.iter().copied().collect::<Vec<_>>());
        let inserted = self.inserted();
        for (op, change) in self.ops.iter().enumerate().filter(|(_, change)| !change.leaves.is_empty()) {
            let table = self.tables[change.table];
            let leaves = |column: &usize| change.leaves.iter().find(|(c, _)| c == column).map(|(_, value)| value);
            for fk in &table.parents {
                let old: Option<Vec<&Value>> = fk.columns.iter().map(leaves).collect();
                let Some(parent) = old.and_then(|old| targets.find(fk, old)) else { continue };
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
    fn update_layers(&mut self, updates: &[usize], freed: &Freed<'_>) -> Result<Layers, Cycle> {
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
    fn checks(&self, op: usize) -> Vec<usize> {
        self.ops[op].checks.iter().map(|(c, _)| *c).filter(|c| !self.opened.contains(&(op, *c))).collect()
    }

    fn open_steps(&self, cells: &Cells) -> Vec<Step> {
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

/// Updates in the order of their layers, before and after the inserts.
struct Layers {
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

/// Rows by what foreign keys may point to: their primary keys, or other columns.
struct Targets<'a> {
    tables: FxHashMap<&'a str, &'a TableMeta>,
    keys: FxHashMap<(&'a str, &'a [Value]), usize>,
    others: FxHashMap<(&'a str, &'a [String], Vec<&'a Value>), usize>,
}

impl<'a> Targets<'a> {
    fn of(planner: &Planner<'a>, rows: &[usize]) -> Self {
        let tables = planner.tables.iter().map(|table| (table.entity, *table)).collect();
        let mut targets = Self { tables, keys: FxHashMap::default(), others: FxHashMap::default() };
        let parents = planner.tables.iter().flat_map(|table| &table.parents);
        let others: FxHashSet<(&str, &[String])> = parents
            .filter(|fk| targets.tables.get(fk.to_table.as_str()).is_some_and(|table| !table.is_key(&fk.to_columns)))
            .map(|fk| (fk.to_table.as_str(), &fk.to_columns[..]))
            .collect();
        for &op in rows {
            let change = &planner.ops[op];
            let table = planner.tables[change.table];
            if !change.key.is_empty() {
                targets.keys.insert((table.entity, &change.key), op);
            }
            for (_, columns) in others.iter().filter(|(entity, _)| *entity == table.entity) {
                let values = columns.iter().map(|name| change.held(table, table.column(name)?)).collect::<Option<_>>();
                if let Some(values) = values {
                    targets.others.insert((table.entity, columns, values), op);
                }
            }
        }
        targets
    }

    /// The row that a foreign key with these (known) values points to.
    fn find(&self, fk: &ForeignKey, values: Vec<&Value>) -> Option<usize> {
        let table = *self.tables.get(fk.to_table.as_str())?;
        let values = values.into_iter().zip(&fk.to_columns);
        let values: Vec<Value> = values
            .map(|(value, name)| Some(as_column(value.clone(), &table.columns[table.column(name)?].kind)))
            .collect::<Option<_>>()?;
        if table.is_key(&fk.to_columns) {
            return self.keys.get(&(table.entity, &values[..])).copied();
        }
        self.others.get(&(table.entity, &fk.to_columns[..], values.iter().collect())).copied()
    }
}

/// Needs that were cut to open cycles, with the rows that had them.
type Cut = Vec<(usize, Need)>;

/// Longest paths. A cycle is cut at its first need that can wait; one without such a need is returned, as its rows.
fn levels(
    among: &[usize],
    needs: &mut FxHashMap<usize, Vec<Need>>,
) -> Result<(FxHashMap<usize, Level>, Cut), Vec<usize>> {
    let mut done: FxHashMap<usize, Level> = FxHashMap::default();
    let mut cut = Cut::new();
    if needs.is_empty() {
        return Ok((done, cut));
    }
    for &root in among {
        if done.contains_key(&root) || !needs.contains_key(&root) {
            continue;
        }
        // An explicit stack: a chain of rows may be as long as the flush.
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        let mut on_path: FxHashMap<usize, usize> = FxHashMap::default();
        on_path.insert(root, 0);
        while let Some((op, next)) = path.last_mut() {
            let op = *op;
            let list = needs.get(&op).map_or(&[][..], |n| n);
            let Some(need) = list.get(*next).copied() else {
                done.insert(op, level_of(list, &done));
                on_path.remove(&op);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(start) = on_path.get(&need.parent).copied() {
                cut.push(open_cycle(&mut path, start, needs, &mut on_path)?);
            } else if !done.contains_key(&need.parent) && needs.contains_key(&need.parent) {
                on_path.insert(need.parent, path.len());
                path.push((need.parent, 0));
            }
        }
    }
    Ok((done, cut))
}

fn level_of(needs: &[Need], done: &FxHashMap<usize, Level>) -> Level {
    needs.iter().fold(Level::default(), |level, need| {
        let parent = done.get(&need.parent).copied().unwrap_or_default();
        Level { all: level.all.max(parent.all + 1), apart: level.apart.max(parent.apart + usize::from(need.apart)) }
    })
}

/// Cuts the cycle that the path from `start` is, and goes back to the row that no longer needs the next.
fn open_cycle(
    path: &mut Vec<(usize, usize)>,
    start: usize,
    needs: &mut FxHashMap<usize, Vec<Need>>,
    on_path: &mut FxHashMap<usize, usize>,
) -> Result<(usize, Need), Vec<usize>> {
    let cycle = || path[start..].iter().map(|(op, _)| *op).collect::<Vec<_>>();
    let can_wait = |at: &usize| {
        let (op, next) = path[*at];
        needs.get(&op).is_some_and(|list| list[next - 1].column.is_some())
    };
    let at = (start..path.len()).find(can_wait).ok_or_else(cycle)?;
    for (left, _) in path.drain(at + 1..) {
        on_path.remove(&left);
    }
    let (op, next) = &mut path[at];
    *next -= 1;
    let list = needs.get_mut(op).ok_or_else(Vec::new)?;
    Ok((*op, list.remove(*next)))
}
