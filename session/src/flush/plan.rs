//! The flush planner: from changes to an order of statements, as a pure function (INV5, F1, F2).
//!
//! It knows tables, rows and which row needs which; it must never know a connection, a dialect or a clock. The same
//! changes always give the same plan: ties are broken by the order in which tables and rows were handed in.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sea_orm::Value;

use crate::meta::TableMeta;

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
    Planner { tables, ops, postponed: BTreeSet::new(), ranks: table_ranks(tables) }.run()
}

/// Where a table stands: parents before children. Tables of a cycle (and those behind it) share the last rank, and only
/// their rows are ordered.
struct Ranks {
    rank: Vec<usize>,
    cyclic: usize,
}

fn table_ranks(tables: &[&TableMeta]) -> Ranks {
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
    /// Whether the parent's key is generated, so that it must be in an earlier statement, not only earlier in the same.
    generated: bool,
}

/// Rows by what puts them into one statement; sorted, so that the plan is always the same.
type Groups<K> = BTreeMap<K, Vec<usize>>;

struct Planner<'a> {
    tables: &'a [&'a TableMeta],
    ops: &'a [Op],
    postponed: BTreeSet<(usize, usize)>,
    ranks: Ranks,
}

/// How deep a row stands: over all its needs, and over those that need an earlier statement.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    all: usize,
    generated: usize,
}

impl Planner<'_> {
    fn run(mut self) -> Result<Plan, Cycle> {
        let of =
            |kinds: &[Kind]| (0..self.ops.len()).filter(|op| kinds.contains(&self.ops[*op].kind)).collect::<Vec<_>>();
        let inserts = of(&[Kind::Insert, Kind::Switch]);
        let updates = of(&[Kind::Update]);
        let deletes = of(&[Kind::Delete]);

        let frees = self.freed_values();
        let early_deletes = self.early_deletes(&deletes, &frees);
        let (early_updates, mut opened) = self.update_layers(&updates, &frees)?;
        let insert_steps = self.inserts(&inserts)?;
        let late_deletes: Vec<usize> = deletes.iter().copied().filter(|d| !early_deletes.contains(d)).collect();

        let mut steps = Vec::new();
        steps.extend(self.deletes(&early_deletes.iter().copied().collect::<Vec<_>>())?);
        let (before, after): (Vec<_>, Vec<_>) =
            early_updates.into_iter().partition(|(before_inserts, _)| *before_inserts);
        steps.append(&mut opened);
        steps.extend(before.into_iter().flat_map(|(_, layer)| self.update_steps(&layer)));
        steps.extend(insert_steps);
        steps.extend(after.into_iter().flat_map(|(_, layer)| self.update_steps(&layer)));
        steps.extend(self.close_steps());
        steps.extend(self.deletes(&late_deletes)?);
        Ok(Plan { steps, postponed: self.postponed })
    }

    // ---- inserts: parents first ----------------------------------------------------------------------------------

    fn inserts(&mut self, inserts: &[usize]) -> Result<Vec<Step>, Cycle> {
        let levels = self.row_levels(inserts, true)?;
        let mut groups: Groups<(usize, usize, usize, Kind, Vec<usize>)> = BTreeMap::new();
        for &op in inserts {
            let table = self.ops[op].table;
            let rank = self.ranks.rank[table];
            let level = levels.get(&op).copied().unwrap_or_default();
            // Rows of one statement may refer to each other: keys are checked at its end. Only across tables of a cycle,
            // or where the parent's key is not known yet, the order must be one of statements.
            let statement = if rank == self.ranks.cyclic { level.all } else { level.generated };
            groups.entry((rank, statement, table, self.ops[op].kind, self.ops[op].columns())).or_default().push(op);
        }
        let depth = |op: &usize| levels.get(op).map_or(0, |l| l.all);
        Ok(groups
            .into_iter()
            .map(|((_, _, table, kind, columns), mut ops)| {
                ops.sort_by_key(depth);
                Step { table, kind, columns, checks: vec![], ops, part: Part::Whole }
            })
            .collect())
    }

    /// Which other rows of `among` each row's foreign keys point to.
    fn needs(&self, among: &[usize], may_postpone: bool) -> FxHashMap<usize, Vec<Need>> {
        let complex = |op: usize| {
            let table = self.ops[op].table;
            self.ranks.rank[table] == self.ranks.cyclic
                || self.tables[table].parents.iter().any(|fk| fk.to_table == self.tables[table].entity)
        };
        let rows: Vec<usize> = among.iter().copied().filter(|op| complex(*op)).collect();
        let mut by_key: FxHashMap<(&str, &[Value]), usize> = FxHashMap::default();
        for &op in &rows {
            if !self.ops[op].key.is_empty() {
                by_key.insert((self.tables[self.ops[op].table].entity, &self.ops[op].key), op);
            }
        }
        let mut needs: FxHashMap<usize, Vec<Need>> = FxHashMap::default();
        for &op in &rows {
            let table = self.tables[self.ops[op].table];
            let cyclic = self.ranks.rank[self.ops[op].table] == self.ranks.cyclic;
            for fk in table.parents.iter().filter(|fk| cyclic || fk.to_table == table.entity) {
                let cells: Option<Vec<&Cell>> = fk.columns.iter().map(|c| self.ops[op].cell(*c)).collect();
                let Some(cells) = cells else { continue };
                let column = fk.columns.iter().copied().find(|c| {
                    may_postpone
                        && table.columns[*c].nullable
                        && !table.keys.contains(c)
                        && !self.postponed.contains(&(op, *c))
                });
                if fk.columns.iter().any(|c| self.postponed.contains(&(op, *c))) {
                    continue;
                }
                let need = match cells[..] {
                    [Cell::KeyOf { op: parent, .. }, ..] => Some(Need { parent: *parent, column, generated: true }),
                    _ => {
                        let values: Option<Vec<Value>> =
                            cells.iter().map(|c| if let Cell::Value(v) = c { Some(v.clone()) } else { None }).collect();
                        values
                            .and_then(|values| by_key.get(&(fk.to_table.as_str(), &values[..])).copied())
                            .filter(|parent| self.tables[self.ops[*parent].table].is_key(&fk.to_columns))
                            .map(|parent| Need { parent, column, generated: false })
                    }
                };
                needs.entry(op).or_default().extend(need.filter(|n| n.generated || n.parent != op));
            }
        }
        needs
    }

    /// The level of every row that takes part in a self-reference or a cycle; opens cycles through nullable keys.
    fn row_levels(&mut self, among: &[usize], may_postpone: bool) -> Result<FxHashMap<usize, Level>, Cycle> {
        loop {
            let needs = self.needs(among, may_postpone);
            match levels(among, &needs) {
                Ok(levels) => return Ok(levels),
                Err(cycle) => {
                    let open = cycle.iter().find_map(|(op, need)| need.column.map(|column| (*op, column)));
                    match open {
                        Some(cell) => {
                            self.postponed.insert(cell);
                        }
                        None => return Err(self.name_cycle(cycle.iter().map(|(op, _)| *op))),
                    }
                }
            }
        }
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

    fn freed_values(&self) -> FxHashMap<(usize, usize, &[Value]), usize> {
        let mut freed = FxHashMap::default();
        for (op, change) in self.ops.iter().enumerate() {
            for (set, values) in change.frees.iter().enumerate() {
                if let Some(values) = values {
                    freed.insert((change.table, set, &values[..]), op);
                }
            }
        }
        freed
    }

    /// The row that must give up a unique value before `op` can have it.
    fn waits_for<'f>(
        &'f self,
        op: usize,
        freed: &'f FxHashMap<(usize, usize, &[Value]), usize>,
    ) -> impl Iterator<Item = usize> + 'f {
        let change = &self.ops[op];
        change
            .takes
            .iter()
            .enumerate()
            .filter_map(move |(set, values)| freed.get(&(change.table, set, values.as_deref()?)).copied())
            .filter(move |other| *other != op)
    }

    /// Deletes that give up a value which somebody else takes, with the rows that refer to them.
    fn early_deletes(&self, deletes: &[usize], freed: &FxHashMap<(usize, usize, &[Value]), usize>) -> BTreeSet<usize> {
        let mut tables: BTreeSet<usize> = BTreeSet::new();
        let mut early: BTreeSet<usize> = BTreeSet::new();
        for op in 0..self.ops.len() {
            for other in self.waits_for(op, freed).filter(|other| self.ops[*other].kind == Kind::Delete) {
                early.insert(other);
                tables.insert(self.ops[other].table);
            }
        }
        if early.is_empty() {
            return early;
        }
        let mut grown = true;
        while grown {
            let referring: Vec<usize> = (0..self.tables.len())
                .filter(|t| !tables.contains(t))
                .filter(|t| {
                    self.tables[*t]
                        .parents
                        .iter()
                        .any(|fk| tables.iter().any(|p| self.tables[*p].entity == fk.to_table))
                })
                .collect();
            grown = !referring.is_empty();
            tables.extend(referring);
        }
        let freeing = early.iter().map(|op| self.ops[*op].table).collect::<BTreeSet<_>>();
        early.extend(
            deletes
                .iter()
                .copied()
                .filter(|d| tables.contains(&self.ops[*d].table) && !freeing.contains(&self.ops[*d].table)),
        );
        early
    }

    /// Updates in layers, each before the next; the flag says whether a layer must precede the inserts. A swap of unique
    /// values is opened by writing NULL first.
    #[expect(clippy::type_complexity, reason = "the layers and the statements that open a swap belong together")]
    fn update_layers(
        &self,
        updates: &[usize],
        freed: &FxHashMap<(usize, usize, &[Value]), usize>,
    ) -> Result<(Vec<(bool, Vec<usize>)>, Vec<Step>), Cycle> {
        let wanted_by_inserts: BTreeSet<usize> = (0..self.ops.len())
            .filter(|op| matches!(self.ops[*op].kind, Kind::Insert | Kind::Switch))
            .flat_map(|op| self.waits_for(op, freed).collect::<Vec<_>>())
            .filter(|other| self.ops[*other].kind == Kind::Update)
            .collect();
        let mut opened: BTreeMap<(usize, Vec<usize>), Vec<usize>> = BTreeMap::new();
        let mut level: FxHashMap<usize, usize> = FxHashMap::default();
        for &op in updates {
            let (mut at, mut seen, mut depth) = (op, vec![op], 0);
            while let Some(next) =
                self.waits_for(at, freed).find(|o| self.ops[*o].kind == Kind::Update && !is_opened(&opened, *o))
            {
                if seen.contains(&next) {
                    let set = self.nullable_set(at, freed).ok_or_else(|| self.name_swap(&seen))?;
                    opened.entry((self.ops[next].table, set)).or_default().push(next);
                    break;
                }
                seen.push(next);
                at = next;
                depth += 1;
            }
            level.insert(op, depth);
        }
        // Those that inserts wait for, and everything these wait for, come before the inserts.
        let mut before = wanted_by_inserts;
        let mut todo: Vec<usize> = before.iter().copied().collect();
        while let Some(op) = todo.pop() {
            for other in self.waits_for(op, freed).filter(|o| self.ops[*o].kind == Kind::Update) {
                if before.insert(other) {
                    todo.push(other);
                }
            }
        }
        let mut layers: BTreeMap<(bool, usize), Vec<usize>> = BTreeMap::new();
        for &op in updates {
            layers.entry((!before.contains(&op), level[&op])).or_default().push(op);
        }
        let layers = layers.into_iter().map(|((after, _), ops)| (!after, ops)).collect();
        let opened = opened
            .into_iter()
            .map(|((table, columns), ops)| Step {
                table,
                kind: Kind::Update,
                columns,
                checks: vec![],
                ops,
                part: Part::Open,
            })
            .collect();
        Ok((layers, opened))
    }

    /// A nullable column of the unique set that `op` waits for.
    fn nullable_set(&self, op: usize, freed: &FxHashMap<(usize, usize, &[Value]), usize>) -> Option<Vec<usize>> {
        let change = &self.ops[op];
        let table = self.tables[change.table];
        let set = change.takes.iter().enumerate().find_map(|(set, values)| {
            let values = values.as_deref()?;
            freed.contains_key(&(change.table, set, values)).then_some(set)
        })?;
        table.unique[set].iter().copied().find(|c| table.columns[*c].nullable).map(|c| vec![c])
    }

    fn name_swap(&self, ops: &[usize]) -> Cycle {
        let table = self.tables[self.ops[ops[0]].table];
        let keys: Vec<String> = ops.iter().map(|op| super::show_key(&self.ops[*op].key)).collect();
        Cycle(format!("rows of {} swap a unique value: {}", table.entity, keys.join(" -> ")))
    }

    fn update_steps(&self, layer: &[usize]) -> Vec<Step> {
        let mut groups: Groups<(usize, usize, Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for &op in layer {
            let change = &self.ops[op];
            let checks = change.checks.iter().map(|(c, _)| *c).collect();
            groups.entry((self.ranks.rank[change.table], change.table, change.columns(), checks)).or_default().push(op);
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
        let kept = std::mem::take(&mut self.postponed);
        let levels = self.row_levels(deletes, true);
        let opened = std::mem::replace(&mut self.postponed, kept);
        let levels = levels?;

        let mut steps: Vec<Step> = Vec::new();
        let mut nulls: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (op, column) in opened {
            nulls.entry((self.ops[op].table, column)).or_default().push(op);
        }
        for ((table, column), ops) in nulls {
            steps.push(Step {
                table,
                kind: Kind::Update,
                columns: vec![column],
                checks: vec![],
                ops,
                part: Part::Open,
            });
        }
        let mut groups: Groups<(usize, usize, usize, Vec<usize>)> = BTreeMap::new();
        for &op in deletes {
            let change = &self.ops[op];
            let rank = self.ranks.rank[change.table];
            let level = levels.get(&op).map_or(0, |l| l.all);
            let statement = if rank == self.ranks.cyclic { level } else { 0 };
            let checks = change.checks.iter().map(|(c, _)| *c).collect();
            groups.entry((usize::MAX - rank, usize::MAX - statement, change.table, checks)).or_default().push(op);
        }
        for ((_, _, table, checks), mut ops) in groups {
            ops.sort_by_key(|op| std::cmp::Reverse(levels.get(op).map_or(0, |l| l.all)));
            steps.push(Step { table, kind: Kind::Delete, columns: vec![], checks, ops, part: Part::Whole });
        }
        Ok(steps)
    }
}

fn is_opened(opened: &BTreeMap<(usize, Vec<usize>), Vec<usize>>, op: usize) -> bool {
    opened.values().any(|ops| ops.contains(&op))
}

/// Longest paths, or the first cycle found, as the rows on it with the need that leads to the next.
fn levels(among: &[usize], needs: &FxHashMap<usize, Vec<Need>>) -> Result<FxHashMap<usize, Level>, Vec<(usize, Need)>> {
    let mut done: FxHashMap<usize, Level> = FxHashMap::default();
    if needs.is_empty() {
        return Ok(done);
    }
    for &root in among {
        // An explicit stack: a chain of rows may be as long as the flush.
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut on_path: FxHashMap<usize, usize> = FxHashMap::default();
        if !done.contains_key(&root) && needs.contains_key(&root) {
            on_path.insert(root, 0);
            path.push((root, 0));
        }
        while let Some((op, next)) = path.last_mut() {
            let op = *op;
            let list = needs.get(&op).map_or(&[][..], |n| n);
            match list.get(*next) {
                Some(need) => {
                    *next += 1;
                    if let Some(start) = on_path.get(&need.parent) {
                        return Err(path[*start..].iter().map(|(op, next)| (*op, needs[op][next - 1])).collect());
                    }
                    if !done.contains_key(&need.parent) && needs.contains_key(&need.parent) {
                        on_path.insert(need.parent, path.len());
                        path.push((need.parent, 0));
                    }
                }
                None => {
                    let level = list.iter().fold(Level::default(), |level, need| {
                        let parent = done.get(&need.parent).copied().unwrap_or_default();
                        Level {
                            all: level.all.max(parent.all + 1),
                            generated: level.generated.max(parent.generated + usize::from(need.generated)),
                        }
                    });
                    done.insert(op, level);
                    on_path.remove(&op);
                    path.pop();
                }
            }
        }
    }
    Ok(done)
}
