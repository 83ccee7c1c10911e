//! Rows in an order of their own, where that of their tables gives none (E1): a row that others refer to changes its key, or
//! an update stands between an insert and an update that it waits for.
//!
//! Which row needs which is a graph, and an order exists where it has no cycle. A cycle is opened by writing NULL where a row
//! writes a value again anyway. To open one more place never takes an order away, so that a cycle in which no place is left
//! to open says that there is none. Statements are then as large as the graph lets them be.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sea_orm::Value;
use smallvec::{SmallVec, smallvec};

use super::{
    Acts, Cycle, Kind, Known, OnDelete, Op, Part, Plan, PlannedValue, Step,
    cycles::cycles,
    planner::Cells,
    queue::{Queue, StatementGroup},
    ranks::{Ranks, table_ranks},
    unique::MOST_LAYERS,
};
use crate::table::{
    meta::{OnUpdate, TableMeta},
    value::{as_column, is_null},
};

/// Whether only an order of rows will do: one row of the flush needs what another changes for those that refer to it, or
/// changes part of a foreign key of several columns.
pub(super) fn is_needed(tables: &[&TableMeta], ops: &[Op], known: &Known) -> bool {
    let foreign = foreign_keys(tables, known);
    if foreign.is_empty() {
        return false;
    }
    let writes = |op: &Op, columns: &[usize]| columns.iter().filter(|c| op.cell(**c).is_some()).count();
    let changes = || ops.iter().filter(|op| matches!(op.kind, Kind::Update | Kind::Switch));
    let partly = |op: &Op, fk: &Foreign<'_>| {
        let written = writes(op, fk.columns);
        fk.child == op.table && op.kind == Kind::Update && written > 0 && written < fk.columns.len()
    };
    let moves =
        |op: &Op, fk: &Foreign<'_>| fk.parent == op.table && writes(op, &fk.to) > 0 && tuple_moves(tables, op, &fk.to);
    changes().any(|op| foreign.iter().any(|fk| partly(op, fk)))
        || changes().any(|op| foreign.iter().any(|fk| moves(op, fk)))
            && RowGraph::new(tables, ops, known, &foreign).moved
}

/// Columns of a table beside its key whose values before a change the planner may have to know; `deletes` says of which
/// tables rows are deleted.
pub(in crate::flush) fn joined_columns(tables: &[&TableMeta], deletes: &[bool]) -> Vec<Vec<usize>> {
    let mut joined = vec![BTreeSet::new(); tables.len()];
    for fk in foreign_keys(tables, &Known::default()) {
        joined[fk.parent].extend(fk.to.iter().copied());
        if fk.columns.len() > 1 || deletes[fk.parent] {
            joined[fk.child].extend(fk.columns.iter().copied());
        }
    }
    let beside_key = |(columns, table): (BTreeSet<usize>, &&TableMeta)| -> Vec<usize> {
        columns.into_iter().filter(|c| !table.keys.contains(c)).collect()
    };
    joined.into_iter().zip(tables).map(beside_key).collect()
}

/// A foreign key between two tables of the flush.
struct Foreign<'a> {
    child: usize,
    parent: usize,
    columns: &'a [usize],
    to: Vec<usize>,
    acts: Acts,
}

fn foreign_keys<'a>(tables: &[&'a TableMeta], known: &Known) -> Vec<Foreign<'a>> {
    let mut foreign = Vec::new();
    for (child, table) in tables.iter().enumerate() {
        for (at, fk) in table.parents.iter().enumerate() {
            let parents = tables.iter().enumerate().filter(|(_, parent)| parent.table == fk.to_table);
            for (parent, meta) in parents {
                if let Some(to) = fk.to_columns.iter().map(|name| meta.column(name)).collect() {
                    let acts = known.acts(child, at, parent, fk.on_update);
                    foreign.push(Foreign { child, parent, columns: &fk.columns, to, acts });
                }
            }
        }
    }
    foreign
}

/// What a row holds in `column` before its change, as far as is known.
fn old<'a>(tables: &[&TableMeta], op: &'a Op, column: usize) -> Option<&'a Value> {
    if op.kind == Kind::Insert {
        return None;
    }
    if let Some(at) = tables[op.table].keys.iter().position(|k| *k == column) {
        return op.key.get(at);
    }
    let known = op.before.iter().chain(&op.leaves).find(|(c, _)| *c == column).map(|(_, value)| value);
    match (known, op.kind) {
        (Some(value), _) => Some(value),
        (None, Kind::Delete) => match op.cell(column)? {
            PlannedValue::Value(value) => Some(value),
            PlannedValue::KeyOf { .. } => None,
        },
        _ => {
            let sets = tables[op.table].unique.iter().zip(&op.frees);
            sets.filter_map(|(set, values)| values.as_ref()?.get(set.iter().position(|c| *c == column)?)).next()
        }
    }
}

/// What a row refers to, or may be referred to by.
enum Tuple<'a> {
    /// Part of it is NULL, or not known before the database says it.
    Nothing,
    Known(Vec<&'a Value>),
    /// It follows the key that this row gets.
    Follows(usize),
}

fn old_tuple<'a>(tables: &[&TableMeta], op: &'a Op, columns: &[usize]) -> Tuple<'a> {
    let values: Option<Vec<&Value>> = columns.iter().map(|c| old(tables, op, *c).filter(|v| !is_null(v))).collect();
    values.map_or(Tuple::Nothing, Tuple::Known)
}

fn new_tuple<'a>(tables: &[&TableMeta], op: &'a Op, columns: &[usize]) -> Tuple<'a> {
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        let kept = || old(tables, op, *column);
        let value = match (op.cell(*column), op.kind) {
            (_, Kind::Delete) => None,
            (Some(PlannedValue::KeyOf { op, .. }), _) => return Tuple::Follows(*op),
            (Some(PlannedValue::Value(value)), _) => Some(value),
            (None, Kind::Update) => kept(),
            // What a switch does not write takes its default, but for the key, which stays.
            (None, Kind::Switch) => kept().filter(|_| tables[op.table].keys.contains(column)),
            (None, Kind::Insert) => None,
        };
        match value.filter(|value| !is_null(value)) {
            Some(value) => values.push(value),
            None => return Tuple::Nothing,
        }
    }
    Tuple::Known(values)
}

fn tuple_moves(tables: &[&TableMeta], op: &Op, columns: &[usize]) -> bool {
    match (old_tuple(tables, op, columns), new_tuple(tables, op, columns)) {
        (Tuple::Known(old), Tuple::Known(new)) => old != new,
        (Tuple::Nothing, Tuple::Nothing) => false,
        _ => true,
    }
}

/// What happens to the values in some columns of a row.
#[derive(Clone, Copy)]
enum Done {
    /// The row has given up what it held there before.
    Gone,
    /// The row holds there what it is to hold.
    There,
}

/// How sure a need is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Firmness {
    Firm,
    /// The database changes rows which refer to what changes or goes, so they need not come first.
    Follows,
    /// Nobody says what the database does: that it changes them is counted on only where nothing else is left.
    MayFollow,
}

/// How a cycle is opened.
#[derive(Clone, Copy)]
enum Opening {
    /// A row that the database changes need not come first.
    Follow,
    /// A row writes NULL at first, and the value later.
    Postpone,
    /// A row has NULL before its own statement.
    Open,
}

/// One row must have come so far before another may go on.
struct Precedence<'f> {
    first: usize,
    early: (Done, &'f [usize]),
    then: usize,
    late: (Done, &'f [usize]),
    firmness: Firmness,
    /// One statement may do both, in this order: the database looks at foreign keys at its end.
    together: bool,
    dropped: bool,
}

/// Rows by the values that foreign keys join.
type Holders = FxHashMap<Vec<Value>, usize>;

struct RowGraph<'a, 'f> {
    tables: &'f [&'a TableMeta],
    ops: &'f [Op],
    known: &'f Known,
    needs: Vec<Precedence<'f>>,
    /// Needs of rows that refer to themselves.
    own: FxHashMap<usize, Vec<usize>>,
    /// Places that are NULL before the row's own statement, or after it for a while, by their number among all nodes.
    opened: BTreeMap<(usize, usize), usize>,
    postponed: BTreeMap<(usize, usize), usize>,
    /// Foreign keys that the database may have changed when their row's statement comes: they are not checked (P1).
    unchecked: Cells,
    /// The nodes beside the rows' own: row, column, and which part of the row.
    parts: Vec<(usize, usize, Part)>,
    /// Columns that others refer to, by table.
    referred: Vec<BTreeSet<usize>>,
    ranks: Ranks,
    /// Whether a row needs what another changes for those that refer to it.
    moved: bool,
}

/// Orders `ops` row by row.
pub(super) fn plan(tables: &[&TableMeta], ops: &[Op], known: &Known) -> Result<Plan, Cycle> {
    let foreign = foreign_keys(tables, known);
    let by = |ways: &[Opening; 3]| RowGraph::new(tables, ops, known, &foreign).plan(ways);
    use Opening::{Follow, Open, Postpone};
    by(&[Follow, Postpone, Open]).or_else(|cycle| {
        // The database hands NULL on to rows that follow, so that one way of opening may be in the way of another there.
        let others = [
            [Follow, Open, Postpone],
            [Postpone, Follow, Open],
            [Open, Follow, Postpone],
            [Postpone, Open, Follow],
            [Open, Postpone, Follow],
        ];
        let acts = |fk: &Foreign<'_>| fk.acts.on_update == OnUpdate::Follows || fk.acts.on_delete == OnDelete::Stays;
        let follows = foreign.iter().any(acts);
        others.iter().filter(|_| follows).find_map(|ways| by(ways).ok()).ok_or(cycle)
    })
}

impl<'a, 'f> RowGraph<'a, 'f> {
    fn new(tables: &'f [&'a TableMeta], ops: &'f [Op], known: &'f Known, foreign: &'f [Foreign<'a>]) -> Self {
        let mut referred = vec![BTreeSet::new(); tables.len()];
        foreign.iter().for_each(|fk| referred[fk.parent].extend(fk.to.iter().copied()));
        let mut rows = RowGraph {
            tables,
            ops,
            known,
            needs: Vec::new(),
            own: FxHashMap::default(),
            opened: BTreeMap::new(),
            postponed: BTreeMap::new(),
            unchecked: Cells::new(),
            parts: Vec::new(),
            referred,
            ranks: table_ranks(tables),
            moved: false,
        };
        rows.need_unique_values();
        foreign.iter().for_each(|fk| rows.need_foreign_key(fk));
        rows
    }

    /// The plan, its cycles opened in the first of these ways that opens them.
    fn plan(mut self, ways: &[Opening; 3]) -> Result<Plan, Cycle> {
        self.open_cycles(ways)?;
        let (steps, shapes) = self.steps();
        let plan = Plan { steps, postponed: self.postponed.keys().copied().collect() };
        if plan.steps.len() <= MOST_LAYERS * shapes {
            return Ok(plan);
        }
        // Long chains of rows that hand unique values on: given up through NULL first, they take two statements (F2).
        for need in 0..self.needs.len() {
            if let Precedence { early: (Done::Gone, _), late: (Done::There, _), .. } = self.needs[need] {
                self.open_place(need, Opening::Open, false);
            }
        }
        self.open_cycles(ways)?;
        let (steps, _) = self.steps();
        let opened = Plan { steps, postponed: self.postponed.into_keys().collect() };
        Ok(if opened.steps.len() < plan.steps.len() { opened } else { plan })
    }

    // ---- who needs whom --------------------------------------------------------------------------------------------

    /// Unique values are given up before they are taken; changed keys among them, as one more set of their table.
    fn need_unique_values(&mut self) {
        let mut freed: FxHashMap<(usize, usize, &[Value]), usize> = FxHashMap::default();
        for (op, change) in self.ops.iter().enumerate() {
            for (set, values) in change.frees.iter().enumerate() {
                values.iter().for_each(|values| _ = freed.insert((change.table, set, values), op));
            }
        }
        for (op, change) in self.ops.iter().enumerate() {
            let table: &'f TableMeta = self.tables[change.table];
            for (set, values) in change.takes.iter().enumerate() {
                let Some(values) = values else { continue };
                let first = freed.get(&(change.table, set, &values[..])).filter(|first| **first != op);
                if let Some(first) = first {
                    let columns: &'f [usize] = table.unique.get(set).unwrap_or(&table.keys);
                    self.need(*first, (Done::Gone, columns), op, (Done::There, columns), Firmness::Firm);
                }
            }
        }
    }

    /// What is referred to is there before, and what is left goes after.
    fn need_foreign_key(&mut self, fk: &'f Foreign<'a>) {
        let (mut makers, mut givers) = (Holders::default(), Holders::default());
        // Of values that the database holds equal one stands for all.
        let known = self.known;
        let same = |values: &[&Value]| -> Vec<Value> {
            let pairs = fk.to.iter().zip(values);
            pairs.map(|(column, value)| known.same(fk.parent, *column, value).clone()).collect()
        };
        let owned = |tuple: Tuple<'_>| match tuple {
            Tuple::Known(values) => Some(same(&values)),
            Tuple::Nothing | Tuple::Follows(_) => None,
        };
        for (op, change) in self.ops.iter().enumerate().filter(|(_, change)| change.table == fk.parent) {
            if matches!(change.kind, Kind::Update | Kind::Switch) && !tuple_moves(self.tables, change, &fk.to) {
                continue;
            }
            owned(old_tuple(self.tables, change, &fk.to)).map(|values| givers.insert(values, op));
            owned(new_tuple(self.tables, change, &fk.to)).map(|values| makers.insert(values, op));
        }
        // What is referred to is unique, whether the entity says so or not.
        let parent = self.tables[fk.parent];
        let is_declared = parent.keys == fk.to || parent.unique.contains(&fk.to);
        let mut handed_on: Vec<_> =
            makers.iter().filter_map(|(values, then)| Some((then, givers.get(values)?))).collect();
        handed_on.sort_unstable();
        if !is_declared {
            self.moved |= !handed_on.is_empty();
            for (then, first) in handed_on {
                self.need(*first, (Done::Gone, &fk.to), *then, (Done::There, &fk.to), Firmness::Firm);
            }
        }
        let is_moved = |ops: &[Op], op: usize| matches!(ops[op].kind, Kind::Update | Kind::Switch);
        let as_parent = |values: Vec<&Value>| -> Vec<Value> {
            let columns = fk.to.iter().map(|c| &parent.columns[*c].kind);
            let values: Vec<Value> =
                values.into_iter().zip(columns).map(|(value, kind)| as_column(value.clone(), kind)).collect();
            same(&values.iter().collect::<Vec<_>>())
        };
        for (op, change) in self.ops.iter().enumerate().filter(|(_, change)| change.table == fk.child) {
            let moves = match change.kind {
                Kind::Insert | Kind::Delete => true,
                Kind::Update | Kind::Switch => tuple_moves(self.tables, change, fk.columns),
            };
            let maker = match new_tuple(self.tables, change, fk.columns) {
                Tuple::Nothing => None,
                Tuple::Follows(row) => Some(row),
                Tuple::Known(values) => makers.get(&as_parent(values)).copied(),
            };
            if let Some(maker) = maker.filter(|_| moves) {
                self.moved |= is_moved(self.ops, maker);
                self.need(maker, (Done::There, &fk.to), op, (Done::There, fk.columns), Firmness::Firm);
            }
            let Tuple::Known(values) = old_tuple(self.tables, change, fk.columns) else { continue };
            let Some(giver) = givers.get(&as_parent(values)).copied() else { continue };
            let goes = self.ops[giver].kind == Kind::Delete;
            let firmness = match (self.ops[giver].kind, fk.acts) {
                (Kind::Update | Kind::Switch, Acts { on_update: OnUpdate::Follows, .. }) => Firmness::Follows,
                (Kind::Update | Kind::Switch, Acts { on_update: OnUpdate::Unknown, .. }) => Firmness::MayFollow,
                (Kind::Delete, Acts { on_delete: OnDelete::Stays, .. }) => Firmness::Follows,
                (Kind::Delete, Acts { on_delete: OnDelete::Unknown, .. }) if !moves => Firmness::MayFollow,
                _ => Firmness::Firm,
            };
            // A row that stays below a changed key goes with it; found by its old key, or by that column, it is changed
            // first. So is one that stays below a row which goes: afterwards it refers to nothing, or is gone as well.
            let found_by = |c: &usize| {
                self.tables[fk.child].keys.contains(c) || change.checks.iter().any(|(checked, _)| checked == c)
            };
            if moves || goes || firmness != Firmness::Firm && fk.columns.iter().any(found_by) {
                self.moved |= is_moved(self.ops, giver);
                self.need(op, (Done::Gone, fk.columns), giver, (Done::Gone, &fk.to), firmness);
            }
        }
    }

    fn need(
        &mut self,
        first: usize,
        early: (Done, &'f [usize]),
        then: usize,
        late: (Done, &'f [usize]),
        firmness: Firmness,
    ) {
        if first == then {
            self.own.entry(first).or_default().push(self.needs.len());
        }
        let (a, b) = (&self.ops[first], &self.ops[then]);
        let follows = |op: &Op, of: usize| {
            op.cells.iter().any(|(_, cell)| matches!(cell, PlannedValue::KeyOf { op, .. } if *op == of))
        };
        let together = match (early.0, late.0) {
            // The key that the database makes for one row is known after its statement.
            (Done::There, Done::There) => a.kind == Kind::Insert && b.kind == Kind::Insert && !follows(b, first),
            (Done::Gone, Done::Gone) => a.kind == Kind::Delete && b.kind == Kind::Delete,
            _ => false,
        };
        self.needs.push(Precedence { first, early, then, late, firmness, together, dropped: false });
    }

    // ---- cycles ----------------------------------------------------------------------------------------------------

    /// Opens cycles until there is none.
    fn open_cycles(&mut self, ways: &[Opening; 3]) -> Result<(), Cycle> {
        loop {
            let edges = self.edges();
            let cycles = cycles(&edges);
            if cycles.is_empty() {
                return Ok(());
            }
            for cycle in cycles {
                if !self.open(&cycle, ways) {
                    return Err(self.name(&cycle));
                }
            }
        }
    }

    fn is_changeable(&self, op: usize, column: usize) -> bool {
        let table = self.tables[self.ops[op].table];
        table.columns[column].nullable && !table.keys.contains(&column)
    }

    /// Whether `op` may have NULL in `column` before its own statement, which writes it again, or deletes the row. Where the
    /// row refers to itself by it, only if that can be NULL as well: otherwise one statement must do both.
    fn is_openable(&self, op: usize, column: usize) -> bool {
        let refers = |need: &Precedence<'f>| match (need.early, need.late) {
            ((Done::Gone, by), (Done::Gone, to)) => to.contains(&column).then_some(by),
            _ => None,
        };
        self.can_be_null_first(op, column)
            && self.may_hand_null_on(op, column)
            && self.own(op).filter_map(refers).all(|by| by.iter().any(|c| self.can_be_null_first(op, *c)))
    }

    /// Whether `op` may write NULL to `column` first, and its value later; otherwise as [`RowGraph::is_openable`].
    fn is_postponable(&self, op: usize, column: usize) -> bool {
        let refers = |need: &Precedence<'f>| match (need.early, need.late) {
            ((Done::There, to), (Done::There, by)) => to.contains(&column).then_some(by),
            _ => None,
        };
        self.can_be_null_meanwhile(op, column)
            && self.may_hand_null_on(op, column)
            && self.own(op).filter_map(refers).all(|by| by.iter().any(|c| self.can_be_null_meanwhile(op, *c)))
    }

    /// What a row needs of itself.
    fn own(&self, op: usize) -> impl Iterator<Item = &Precedence<'f>> {
        self.own.get(&op).into_iter().flatten().map(|need| &self.needs[*need])
    }

    fn can_be_null_first(&self, op: usize, column: usize) -> bool {
        let change = &self.ops[op];
        let rewrites = match change.kind {
            Kind::Insert => false,
            Kind::Update => change.cell(column).is_some(),
            Kind::Switch | Kind::Delete => true,
        };
        rewrites && self.is_changeable(op, column)
    }

    fn can_be_null_meanwhile(&self, op: usize, column: usize) -> bool {
        let change = &self.ops[op];
        change.kind != Kind::Delete && change.cell(column).is_some() && self.is_changeable(op, column)
    }

    /// Opens one place of a cycle, which is given as its needs. `false`: there is none to open.
    fn open(&mut self, cycle: &[usize], ways: &[Opening; 3]) -> bool {
        // An earlier cycle of the same round may have opened this one as well.
        let open = cycle.iter().any(|need| self.needs[*need].dropped);
        open || ways.iter().any(|way| match way {
            Opening::Follow => self.give_up(cycle, Firmness::Follows),
            // A place that nobody refers to opens a cycle and nothing else.
            Opening::Postpone | Opening::Open => {
                [false, true].iter().any(|referred| cycle.iter().any(|need| self.open_place(*need, *way, *referred)))
            }
        }) || self.give_up(cycle, Firmness::MayFollow)
    }

    fn open_place(&mut self, need: usize, way: Opening, referred: bool) -> bool {
        let Precedence { first, early, then, late, .. } = self.needs[need];
        let (op, columns, part) = match (way, early, late) {
            (Opening::Postpone, _, (Done::There, columns)) => (then, columns, Part::Close),
            (Opening::Open, (Done::Gone, columns), _) => (first, columns, Part::Open),
            _ => return false,
        };
        let places = if part == Part::Close { &self.postponed } else { &self.opened };
        if columns.iter().any(|c| places.contains_key(&(op, *c))) {
            return false;
        }
        let can = |c: &usize| {
            self.referred[self.ops[op].table].contains(c) == referred
                && if part == Part::Close { self.is_postponable(op, *c) } else { self.is_openable(op, *c) }
        };
        let Some(column) = columns.iter().copied().find(can) else { return false };
        let node = self.ops.len() + self.parts.len();
        let places = if part == Part::Close { &mut self.postponed } else { &mut self.opened };
        places.insert((op, column), node);
        self.parts.push((op, column, part));
        true
    }

    /// The database changes a row that refers, so that it need not come first. `false`: of none is that said.
    fn give_up(&mut self, cycle: &[usize], firmness: Firmness) -> bool {
        let may = |need: &usize| self.needs[*need].firmness == firmness && self.can_follow(&self.needs[*need]);
        let Some(need) = cycle.iter().copied().find(may) else { return false };
        let Precedence { first, early: (_, columns), .. } = self.needs[need];
        self.unchecked.extend(columns.iter().map(|c| (first, *c)));
        self.needs[need].dropped = true;
        true
    }

    /// Whether a row can be what another that it refers to makes of it: NULL, where that is NULL for a while or for good.
    fn can_follow(&self, need: &Precedence<'_>) -> bool {
        let null = |to: &usize| {
            let place = (need.then, *to);
            let written = self.ops[need.then].cell(*to);
            self.opened.contains_key(&place)
                || self.postponed.contains_key(&place)
                || matches!(written, Some(PlannedValue::Value(value)) if is_null(value))
        };
        let nullable = |column: &usize| self.is_changeable(need.first, *column);
        need.late.1.iter().zip(need.early.1).all(|(to, column)| !null(to) || nullable(column))
    }

    /// Whether rows that follow this one's value in `column` could follow it to NULL.
    fn may_hand_null_on(&self, op: usize, column: usize) -> bool {
        if !self.referred[self.ops[op].table].contains(&column) {
            return true;
        }
        let follows = self.needs.iter().filter(|need| need.dropped && need.then == op);
        let mut columns =
            follows.flat_map(|need| need.late.1.iter().zip(need.early.1).map(move |pair| (need.first, pair)));
        columns.all(|(first, (to, by))| *to != column || self.is_changeable(first, *by))
    }

    /// The nodes that each node goes before, with the need that says so; none says that a row's own parts are in order.
    fn edges(&self) -> Vec<Vec<(usize, Option<usize>)>> {
        let mut edges = vec![Vec::new(); self.ops.len() + self.parts.len()];
        for (at, need) in self.needs.iter().enumerate().filter(|(_, need)| !need.dropped) {
            // Gone with the first of its values, there with the last: one part of the one is enough, all of the other must be.
            let (any, all) = (1, usize::MAX);
            let early = self.nodes(need.first, need.early, if let Done::Gone = need.early.0 { any } else { all });
            let late = self.nodes(need.then, need.late, if let Done::Gone = need.late.0 { all } else { any });
            for node in early {
                // A row may refer to itself: one statement does both, unless one of them is put into parts.
                edges[node].extend(late.iter().filter(|late| **late != node).map(|late| (*late, Some(at))));
            }
        }
        for (at, (op, _, part)) in self.parts.iter().enumerate() {
            let node = self.ops.len() + at;
            let (first, then) = if *part == Part::Open { (node, *op) } else { (*op, node) };
            edges[first].push((then, None));
        }
        edges
    }

    /// The parts of a row that bring this about, so many at most; the row's own statement if there are none.
    fn nodes(&self, op: usize, (done, columns): (Done, &'f [usize]), most: usize) -> SmallVec<[usize; 1]> {
        let parts = match done {
            Done::Gone => &self.opened,
            Done::There => &self.postponed,
        };
        let nodes: SmallVec<[usize; 1]> =
            columns.iter().filter_map(|c| parts.get(&(op, *c)).copied()).take(most).collect();
        if nodes.is_empty() { smallvec![op] } else { nodes }
    }

    fn name(&self, cycle: &[usize]) -> Cycle {
        let needs = cycle.iter().map(|need| &self.needs[*need]);
        let mut ops: Vec<usize> = needs.clone().map(|need| need.first).collect();
        ops.dedup();
        let swap = needs.clone().all(|need| matches!((need.early.0, need.late.0), (Done::Gone, Done::There)));
        let entity = |op: &usize| self.tables[self.ops[*op].table].entity;
        if swap && let Some(first) = ops.first() {
            let keys = ops.iter().map(|op| self.tables[self.ops[*op].table].show_key(&self.ops[*op].key));
            let keys = keys.collect::<Vec<_>>().join(" -> ");
            return Cycle(format!("rows of {} swap a unique value: {keys}", entity(first)));
        }
        let mut names: Vec<&str> = ops.iter().map(entity).collect();
        names.extend(names.first().copied());
        Cycle(format!("the rows need each other: {}", names.join(" -> ")))
    }

    // ---- statements ------------------------------------------------------------------------------------------------

    /// Rows of one shape in as few statements as their needs allow, and how many shapes there are.
    fn steps(&self) -> (Vec<Step>, usize) {
        let shapes: Vec<StatementGroup> = (0..self.ops.len() + self.parts.len()).map(|node| self.shape(node)).collect();
        let distinct: BTreeSet<&StatementGroup> = shapes.iter().collect();
        let number: BTreeMap<&StatementGroup, usize> =
            distinct.into_iter().enumerate().map(|(at, shape)| (shape, at)).collect();
        let group: Vec<usize> = shapes.iter().map(|shape| number[shape]).collect();
        let deletes = number.iter().filter(|(shape, _)| shape.kind != Kind::Delete).count();
        let mut queue = Queue::new(&self.edges(), &group, number.len(), deletes, |need| self.needs[need].together);
        let mut steps = Vec::new();
        while let Some(nodes) = queue.next_statement() {
            let StatementGroup { table, kind, part, columns, checks, .. } = shapes[nodes[0]].clone();
            let row = |node: &usize| self.parts.get(node.wrapping_sub(self.ops.len())).map_or(*node, |(op, ..)| *op);
            steps.push(Step { table, kind, columns, checks, ops: nodes.iter().map(row).collect(), part });
        }
        (steps, number.len())
    }

    fn shape(&self, node: usize) -> StatementGroup {
        if let Some((op, column, part)) = self.parts.get(node.wrapping_sub(self.ops.len())) {
            let change = &self.ops[*op];
            let checked = *part == Part::Open && change.checks.iter().any(|(c, _)| c == column);
            let checked = checked && !self.unchecked.contains(&(*op, *column));
            let (turn, checks) = (if *part == Part::Open { 0 } else { 3 }, checked.then_some(*column));
            let (table, rank) = (change.table, self.ranks.rank[change.table]);
            let checks = checks.into_iter().collect();
            return StatementGroup {
                turn,
                rank,
                table,
                kind: Kind::Update,
                part: *part,
                columns: vec![*column],
                checks,
            };
        }
        let change = &self.ops[node];
        let rank = self.ranks.rank[change.table];
        let (turn, rank) = match change.kind {
            Kind::Insert | Kind::Switch => (1, rank),
            Kind::Update => (2, rank),
            Kind::Delete => (4, usize::MAX - rank),
        };
        let columns = if change.kind == Kind::Delete { Vec::new() } else { change.columns() };
        let changed = |c: &usize| self.opened.contains_key(&(node, *c)) || self.unchecked.contains(&(node, *c));
        let checks = change.checks.iter().map(|(c, _)| *c).filter(|c| !changed(c)).collect();
        StatementGroup { turn, rank, table: change.table, kind: change.kind, part: Part::Whole, columns, checks }
    }
}
