//! Proofs of the planner (F1, F2), without a database: generated schemas and changes are planned, and the plan is run by
//! a small judge that knows rows, keys, foreign keys (checked at the end of a statement) and unique values (checked row
//! by row, in the worst order).

mod orders;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sea_orm::sea_query::ArrayType;

use super::{planner::Cells, *};
use crate::table::{
    columns::ColumnMeta,
    meta::{ForeignKey, OnUpdate},
};

const NAMES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "epsilon"];
const ID: usize = 0;
const FKS: [usize; 2] = [1, 2];
const UNIQUE: usize = 3;
const PAIR: [usize; 2] = [4, 5];
const WIDTH: usize = 6;

/// What a generated schema may hold.
#[derive(Clone, Copy, Debug)]
struct Dice {
    tables: usize,
    rows: usize,
    /// Every foreign key and unique column may be NULL, so that everything can be ordered.
    nullable: bool,
}

fn table(index: usize, parents: [Option<usize>; 2], nullable: [bool; WIDTH]) -> TableMeta {
    let column = |(name, nullable): (&'static str, bool)| ColumnMeta::plain(name, ArrayType::BigInt, nullable);
    let names = ["id", "one_id", "two_id", "place", "left", "right"];
    let keys = parents.iter().zip(FKS).filter_map(|(to, column)| {
        let to_table = NAMES[(*to)?].to_owned();
        let on_update = OnUpdate::Refuses;
        Some(ForeignKey { columns: vec![column], to_table, to_columns: vec!["id".into()], on_update })
    });
    let columns: Vec<ColumnMeta> = names.into_iter().zip(nullable).map(column).collect();
    TableMeta {
        entity: NAMES[index],
        table: NAMES[index].to_owned(),
        keys: vec![ID],
        version: None,
        created_at: None,
        updated_at: None,
        tenant: None,
        soft_delete: None,
        not_optimistic: Default::default(),
        secret: Default::default(),
        hidden: vec![],
        read_only: vec![],
        not_brought: vec![],
        hooks: true,
        audit: false,
        outbox: None,
        schema: None,
        names: crate::table::names::Names::unlike(NAMES[index], &columns),
        columns,
        texts: crate::table::texts::KeptTexts::default(),
        joining: Default::default(),
        cascades: vec![],
        orphans: vec![],
        claimed: [ID, UNIQUE].into_iter().chain(PAIR).collect(),
        stamped: false,
        places: None,
        parents: keys.collect(),
        relations: Vec::new(),
        whole: true,
        unique: vec![vec![UNIQUE], PAIR.to_vec()],
    }
}

/// A row as a test thinks of it; `None` is NULL.
type Row = [Option<i64>; WIDTH];

/// Table and key.
type Place = (usize, i64);

/// One row's fate.
#[derive(Clone, Debug)]
struct Fate {
    table: usize,
    before: Option<Row>,
    after: Option<Row>,
    /// Deleted and added again under the same key.
    switched: bool,
    /// Its key is made by the database.
    generated: bool,
}

#[derive(Debug)]
struct Scene {
    tables: Vec<TableMeta>,
    fates: Vec<Fate>,
}

impl Scene {
    fn new(dice: Dice, rng: &mut fastrand::Rng) -> Self {
        let mut tables = Vec::new();
        for index in 0..dice.tables {
            let parents = [(); 2].map(|()| rng.bool().then(|| rng.usize(..dice.tables)));
            let mut nullable = [false, true, true, true, true, true].map(|n| n && (dice.nullable || rng.u8(..3) > 0));
            FKS.iter().zip(parents).filter(|(_, to)| to.is_none()).for_each(|(column, _)| nullable[*column] = true);
            tables.push(table(index, parents, nullable));
        }
        let mut scene = Scene { tables, fates: Vec::new() };
        let state = |rng: &mut fastrand::Rng| rng.u8(..4) > 0;
        for table in 0..dice.tables {
            for _ in 0..rng.usize(..=dice.rows) {
                let (was, is) = (state(rng), state(rng));
                let blank = |there: bool| there.then_some([None; WIDTH]);
                let switched = was && is && rng.u8(..8) == 0;
                let generated = !was && is && rng.bool();
                scene.fates.push(Fate { table, before: blank(was), after: blank(is), switched, generated });
            }
        }
        for after in [false, true] {
            scene.fill(after, rng);
        }
        scene
    }

    fn side(fate: &Fate, after: bool) -> Option<&Row> {
        if after { fate.after.as_ref() } else { fate.before.as_ref() }
    }

    fn is_referred(&self, table: usize) -> bool {
        self.tables.iter().any(|t| t.parents.iter().any(|fk| fk.to_table == NAMES[table]))
    }

    /// Gives the rows of one side their values; drops those whose parents are missing.
    fn fill(&mut self, after: bool, rng: &mut fastrand::Rng) {
        let ids: Vec<i64> = (0..self.fates.len() as i64).collect();
        // Keys may move only where nobody refers to them: nothing cascades here.
        let free = |at: &i64| {
            let fate = &self.fates[*at as usize];
            !self.is_referred(fate.table) && !fate.switched && !fate.generated
        };
        let moved: Vec<i64> = ids.iter().copied().filter(free).collect();
        let mut keys = ids;
        if after && rng.u8(..4) == 0 {
            let mut shuffled = moved.clone();
            rng.shuffle(&mut shuffled);
            let ends = |at: i64| self.fates[at as usize].after.is_none();
            let starts = |at: i64| self.fates[at as usize].before.is_none();
            // A new row under a deleted one's key would be a switch.
            let fits = |(at, to): (&i64, &i64)| !(starts(*at) && ends(*to));
            if moved.iter().zip(&shuffled).all(fits) {
                moved.iter().zip(shuffled).for_each(|(at, to)| keys[*at as usize] = to);
            }
        }
        loop {
            let orphan = (0..self.fates.len()).find(|at| {
                Self::side(&self.fates[*at], after).is_some()
                    && self.tables[self.fates[*at].table].parents.iter().any(|fk| {
                        let nullable = self.tables[self.fates[*at].table].columns[fk.columns[0]].nullable;
                        let parents = self.fates.iter().filter(|f| NAMES[f.table] == fk.to_table);
                        !nullable && parents.filter(|f| Self::side(f, after).is_some()).count() == 0
                    })
            });
            let Some(at) = orphan else { break };
            let fate = &mut self.fates[at];
            if after {
                fate.after = None
            } else {
                fate.before = None
            }
            fate.switched = false;
            fate.generated &= fate.before.is_none() && fate.after.is_some();
        }
        let mut places: Vec<i64> = (0..self.fates.len() as i64).collect();
        rng.shuffle(&mut places);
        for at in 0..self.fates.len() {
            let Some(mut row) = Self::side(&self.fates[at], after).copied() else { continue };
            // What did not change must stay the same now and then, or every row would change everything.
            let kept = self.fates[at].before.filter(|_| after);
            let table = self.fates[at].table;
            row[ID] = Some(keys[at]);
            for (column, range) in [(UNIQUE, places[at]), (PAIR[0], places[at] / 2), (PAIR[1], places[at] % 2)] {
                let null = self.tables[table].columns[column].nullable && rng.u8(..5) == 0;
                row[column] = (!null).then_some(range);
            }
            for fk in &self.tables[table].parents {
                let column = fk.columns[0];
                let parents = (0..self.fates.len()).filter(|p| {
                    NAMES[self.fates[*p].table] == fk.to_table && Self::side(&self.fates[*p], after).is_some()
                });
                let parents: Vec<usize> = parents.collect();
                let old = kept.and_then(|row| row[column]).filter(|id| parents.iter().any(|p| *p as i64 == *id));
                let null = self.tables[table].columns[column].nullable && rng.u8(..4) == 0;
                row[column] = match (old.filter(|_| rng.bool()), null || parents.is_empty()) {
                    (Some(old), _) => Some(old),
                    (None, true) => None,
                    (None, false) => Some(parents[rng.usize(..parents.len())] as i64),
                };
            }
            let fate = &mut self.fates[at];
            if after { fate.after = Some(row) } else { fate.before = Some(row) }
        }
    }

    /// The changes, in the given order of the fates, as the flush hands them in.
    fn ops(&self, order: &[usize]) -> (Vec<usize>, Vec<Op>) {
        let changed = |at: &usize| {
            let fate = &self.fates[*at];
            fate.switched || fate.before != fate.after
        };
        let order: Vec<usize> = order.iter().copied().filter(changed).collect();
        let number: BTreeMap<usize, usize> = order.iter().enumerate().map(|(op, at)| (*at, op)).collect();
        let mut ops: Vec<Op> = order.iter().map(|at| self.op(&self.fates[*at], &number)).collect();
        claim_keys(&self.tables.iter().collect::<Vec<_>>(), &mut ops);
        (order, ops)
    }

    fn op(&self, fate: &Fate, number: &BTreeMap<usize, usize>) -> Op {
        let table = &self.tables[fate.table];
        let cell = |column: usize, value: Option<i64>| {
            let is_key = table.parents.iter().any(|fk| fk.columns == [column]);
            let parent = value.map(|v| v as usize).filter(|p| is_key && self.fates[*p].generated);
            match parent.and_then(|p| number.get(&p)) {
                Some(op) => PlannedValue::KeyOf { op: *op, column: ID },
                None => PlannedValue::Value(Value::BigInt(value)),
            }
        };
        let unique = |row: Option<&Row>, other: Option<&Row>| -> Vec<Option<Vec<Value>>> {
            let sets = table.unique.iter().map(|set| {
                let row = row?;
                let touched = fate.switched || other.is_none_or(|other| set.iter().any(|c| row[*c] != other[*c]));
                let values = set.iter().map(|c| row[*c].map(|v| Value::BigInt(Some(v)))).collect::<Option<_>>();
                values.filter(|_| touched)
            });
            sets.collect()
        };
        let (before, after) = (fate.before.as_ref(), fate.after.as_ref());
        let kind = match (before, after) {
            (None, _) => Kind::Insert,
            (_, None) => Kind::Delete,
            _ if fate.switched => Kind::Switch,
            _ => Kind::Update,
        };
        let key = match kind {
            Kind::Insert if fate.generated => vec![],
            _ => vec![Value::BigInt(before.or(after).and_then(|row| row[ID]))],
        };
        let written = (0..WIDTH).filter(|c| match kind {
            // Rows that leave their NULLs to the database go into statements of their own.
            Kind::Insert if after.and_then(|row| row[UNIQUE]).unwrap_or(0) % 2 == 0 => {
                !(fate.generated && *c == ID) && after.and_then(|row| row[*c]).is_some()
            }
            Kind::Insert => !(fate.generated && *c == ID),
            Kind::Switch => true,
            Kind::Update => before.map(|row| row[*c]) != after.map(|row| row[*c]),
            Kind::Delete => table.parents.iter().any(|fk| fk.columns == [*c]),
        });
        let values = if kind == Kind::Delete { before } else { after };
        let checked = before.filter(|row| matches!(kind, Kind::Update | Kind::Delete) && row[ID].unwrap_or(0) % 3 > 0);
        Op {
            table: fate.table,
            kind,
            key,
            version: None,
            cells: written.map(|c| (c, cell(c, values.and_then(|row| row[c])))).collect(),
            checks: checked.map(|row| (1..WIDTH).map(|c| (c, Value::BigInt(row[c]))).collect()).unwrap_or_default(),
            leaves: match kind {
                Kind::Update | Kind::Switch => FKS
                    .into_iter()
                    .filter(|c| kind == Kind::Switch || before.map(|row| row[*c]) != after.map(|row| row[*c]))
                    .filter_map(|c| Some((c, Value::BigInt(before?[c]))))
                    .collect(),
                Kind::Insert | Kind::Delete => vec![],
            },
            before: vec![],
            frees: unique(before, after),
            takes: unique(after, before),
        }
    }
}

/// Runs a plan and refuses what a database would refuse.
struct Judge<'a> {
    tables: &'a [TableMeta],
    rows: BTreeMap<(usize, i64), Row>,
}

impl Judge<'_> {
    fn run(&mut self, plan: &Plan, ops: &[Op], made: &[i64]) -> Result<(), String> {
        for (at, step) in plan.steps.iter().enumerate() {
            self.step(plan, step, ops, made).map_err(|e| format!("step {at} ({step:?}): {e}"))?;
        }
        Ok(())
    }

    fn step(&mut self, plan: &Plan, step: &Step, ops: &[Op], made: &[i64]) -> Result<(), String> {
        let start = self.rows.clone();
        let mut written: Vec<(Option<Place>, Place, Row)> = Vec::new();
        for &op in &step.ops {
            let change = &ops[op];
            if change.table != step.table {
                return Err("a row of another table".into());
            }
            // A row that has a new key by now is found by that.
            let moved =
                (step.part == Part::Close && change.cell(ID).is_some()).then(|| value(change, ID, made)).transpose()?;
            let id = moved.flatten().unwrap_or(made[op]);
            let place = (step.table, id);
            let old = start.get(&place).copied();
            self.check(step, change, old)?;
            if step.kind == Kind::Delete {
                old.ok_or("the row is gone")?;
                self.rows.remove(&place);
                continue;
            }
            let mut row = match (step.kind, step.part) {
                (Kind::Insert, Part::Whole) if old.is_some() => return Err(format!("key {id} is taken")),
                (Kind::Insert, Part::Whole) => [None; WIDTH],
                _ => old.ok_or("the row is not there")?,
            };
            for column in &step.columns {
                let null =
                    step.part == Part::Open || step.part == Part::Whole && plan.postponed.contains(&(op, *column));
                row[*column] = if null { None } else { value(change, *column, made)? };
            }
            if row[ID].is_none() {
                row[ID] = Some(id);
            }
            let new = (step.table, row[ID].ok_or("no key")?);
            if !self.tables[step.table].columns.iter().zip(row).all(|(c, v)| c.nullable || v.is_some()) {
                return Err(format!("NULL in {row:?}"));
            }
            written.push((old.map(|_| place), new, row));
        }
        for (old, _, _) in &written {
            old.map(|old| self.rows.remove(&old));
        }
        for (old, new, row) in written {
            // Against every value of before the statement: the order inside it is the database's to choose.
            let others = start.iter().filter(|(place, _)| place.0 == new.0 && Some(**place) != old);
            for (_, other) in others {
                let clash = |set: &Vec<usize>| set.iter().all(|c| row[*c].is_some() && row[*c] == other[*c]);
                if self.tables[new.0].unique.iter().any(clash) || row[ID] == other[ID] {
                    return Err(format!("{row:?} clashes with {other:?}"));
                }
            }
            if self.rows.insert(new, row).is_some() {
                return Err(format!("key {} twice", new.1));
            }
        }
        self.foreign_keys()
    }

    fn check(&self, step: &Step, change: &Op, old: Option<Row>) -> Result<(), String> {
        for column in &step.checks {
            let loaded = change.checks.iter().find(|(c, _)| c == column).map(|(_, v)| v.clone());
            let held = old.map(|row| Value::BigInt(row[*column]));
            if loaded.is_none() || loaded != held {
                return Err(format!("column {column} was {loaded:?} and is {held:?}"));
            }
        }
        Ok(())
    }

    fn foreign_keys(&self) -> Result<(), String> {
        for ((table, id), row) in &self.rows {
            for fk in &self.tables[*table].parents {
                let parent = NAMES.iter().position(|n| *n == fk.to_table).unwrap_or_default();
                if let Some(to) = row[fk.columns[0]]
                    && !self.rows.contains_key(&(parent, to))
                {
                    return Err(format!("{} {id} refers to {} {to}", NAMES[*table], fk.to_table));
                }
            }
        }
        Ok(())
    }
}

fn value(change: &Op, column: usize, made: &[i64]) -> Result<Option<i64>, String> {
    match change.cell(column) {
        Some(PlannedValue::Value(Value::BigInt(value))) => Ok(*value),
        Some(PlannedValue::KeyOf { op, .. }) => Ok(Some(made[*op])),
        other => Err(format!("column {column} is {other:?}")),
    }
}

/// Plans the scene with its changes handed in in `order`, and has the plan judged. `Ok(false)`: a named cycle.
fn judged(scene: &Scene, order: &[usize]) -> Result<bool, String> {
    let (order, ops) = scene.ops(order);
    let tables: Vec<&TableMeta> = scene.tables.iter().collect();
    let plan = match plan(&tables, &ops, &Known::default()) {
        Ok(plan) => plan,
        Err(Cycle(name)) if NAMES.iter().any(|n| name.contains(n)) => return Ok(false),
        Err(cycle) => return Err(format!("{cycle:?} names no table")),
    };
    let again = super::plan(&tables, &ops, &Known::default()).map_err(|c| c.0)?;
    if format!("{:?}", again) != format!("{plan:?}") {
        return Err("the same input has given another plan".into());
    }
    let mut times = vec![0; ops.len()];
    plan.steps.iter().filter(|s| s.part == Part::Whole).flat_map(|s| &s.ops).for_each(|op| times[*op] += 1);
    if times.iter().any(|n| *n != 1) {
        return Err(format!("not every row once: {times:?}"));
    }
    let rows = |after: bool| -> BTreeMap<(usize, i64), Row> {
        let fates = scene.fates.iter();
        fates.filter_map(|f| Scene::side(f, after).map(|row| ((f.table, row[ID].unwrap_or(-1)), *row))).collect()
    };
    // The key that a row has before its change; a new one's is its number.
    let made: Vec<i64> = order
        .iter()
        .map(|at| scene.fates[*at].before.or(scene.fates[*at].after).and_then(|row| row[ID]).unwrap_or(-1))
        .collect();
    let mut judge = Judge { tables: &scene.tables, rows: rows(false) };
    judge.run(&plan, &ops, &made).map_err(|e| format!("{e}\n{plan:?}\n{ops:?}"))?;
    match judge.rows == rows(true) {
        true => Ok(true),
        false => Err(format!("ended as {:?}, not as {:?}\n{plan:?}", judge.rows, rows(true))),
    }
}

fn shuffled(count: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    rng.shuffle(&mut order);
    order
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn f1_any_change_of_nullable_rows_is_ordered(seed: u64, tables in 1_usize..5, rows in 1_usize..7) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let scene = Scene::new(Dice { tables, rows, nullable: true }, &mut rng);
        let keys_move = scene.fates.iter().any(|f| {
            f.before.zip(f.after).is_some_and(|(before, after)| before[ID] != after[ID])
        });
        for _ in 0..3 {
            let order = shuffled(scene.fates.len(), &mut rng);
            let ordered = judged(&scene, &order).map_err(|e| TestCaseError::fail(format!("{e}\n{scene:?}")))?;
            // Keys are never NULL, so a swap of keys is the one thing that may be refused.
            prop_assert!(ordered || keys_move, "{scene:?}");
        }
    }

    #[test]
    fn f1_what_cannot_be_ordered_is_named(seed: u64, tables in 1_usize..5, rows in 1_usize..7) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let scene = Scene::new(Dice { tables, rows, nullable: false }, &mut rng);
        for _ in 0..3 {
            let order = shuffled(scene.fates.len(), &mut rng);
            judged(&scene, &order).map_err(|e| TestCaseError::fail(format!("{e}\n{scene:?}")))?;
        }
    }
}

// ---- named cases -----------------------------------------------------------------------------------------------------

/// One table whose `place` is unique; nullable or not.
fn places(nullable: bool) -> TableMeta {
    table(0, [None, None], [false, true, true, nullable, true, true])
}

fn int(value: i64) -> Value {
    Value::BigInt(Some(value))
}

/// Row `id` goes from place `from` to place `to`.
fn moves(id: i64, from: i64, to: i64) -> Op {
    Op {
        table: 0,
        kind: Kind::Update,
        key: vec![int(id)],
        version: None,
        cells: vec![(UNIQUE, PlannedValue::Value(int(to)))],
        checks: vec![],
        leaves: vec![],
        before: vec![],
        frees: vec![Some(vec![int(from)]), None],
        takes: vec![Some(vec![int(to)]), None],
    }
}

fn shape(plan: &Plan) -> Vec<(Kind, Part, usize)> {
    plan.steps.iter().map(|step| (step.kind, step.part, step.ops.len())).collect()
}

#[test]
fn f1_a_swap_is_opened_through_null() {
    let plan = plan(&[&places(true)], &[moves(1, 10, 20), moves(2, 20, 10)], &Known::default()).unwrap();
    assert_eq!(
        shape(&plan),
        [(Kind::Update, Part::Open, 1), (Kind::Update, Part::Whole, 1), (Kind::Update, Part::Whole, 1)]
    );
}

#[test]
fn f1_a_swap_without_null_is_named() {
    let error = plan(&[&places(false)], &[moves(1, 10, 20), moves(2, 20, 10)], &Known::default()).unwrap_err();
    assert!(error.0.contains("alpha") && error.0.contains("1") && error.0.contains("2"), "{error:?}");
}

#[test]
fn f1_a_row_that_waits_for_two_others_comes_after_both() {
    let mut tables = places(false);
    tables.unique = vec![vec![UNIQUE], vec![PAIR[0]]];
    let pair = |id: i64, from: (i64, i64), to: (i64, i64)| Op {
        cells: vec![(UNIQUE, PlannedValue::Value(int(to.0))), (PAIR[0], PlannedValue::Value(int(to.1)))],
        frees: vec![Some(vec![int(from.0)]), Some(vec![int(from.1)])],
        takes: vec![Some(vec![int(to.0)]), Some(vec![int(to.1)])],
        ..moves(id, 0, 0)
    };
    // Row 1 takes one value from row 2 and the other from row 3, which itself waits for row 2.
    let ops = [pair(1, (1, 1), (2, 3)), pair(2, (2, 2), (20, 20)), pair(3, (3, 3), (30, 2))];
    let plan = plan(&[&tables], &ops, &Known::default()).unwrap();
    let order: Vec<usize> = plan.steps.iter().flat_map(|step| step.ops.clone()).collect();
    assert_eq!(order, [1, 2, 0], "{plan:?}");
}

#[test]
fn f2_a_shift_of_ten_thousand_places_is_two_statements() {
    let ops: Vec<Op> = (0..10_000).map(|i| moves(i, i, i + 1)).collect();
    let plan = plan(&[&places(true)], &ops, &Known::default()).unwrap();
    assert_eq!(shape(&plan), [(Kind::Update, Part::Open, 9_999), (Kind::Update, Part::Whole, 10_000)]);
}

#[test]
fn f2_ten_thousand_swaps_are_three_statements() {
    let ops: Vec<Op> = (0..10_000).map(|i| moves(i, i, i ^ 1)).collect();
    let plan = plan(&[&places(true)], &ops, &Known::default()).unwrap();
    assert_eq!(plan.steps.len(), 3, "{:?}", shape(&plan));
}

#[test]
fn f1_a_set_is_opened_only_where_the_row_writes_it_again() {
    let mut tables = places(true);
    tables.columns[PAIR[1]].nullable = false;
    // `left` is nullable but stays; NULL there would never be taken back. `right` changes but may not be NULL.
    let pair = |id: i64, from: i64, to: i64| Op {
        cells: vec![(PAIR[1], PlannedValue::Value(int(to)))],
        frees: vec![None, Some(vec![int(7), int(from)])],
        takes: vec![None, Some(vec![int(7), int(to)])],
        ..moves(id, 0, 0)
    };
    let error = plan(&[&tables], &[pair(1, 1, 2), pair(2, 2, 1)], &Known::default()).unwrap_err();
    assert!(error.0.contains("alpha"), "{error:?}");
}

#[test]
fn f1_an_opened_column_is_checked_where_it_still_holds() {
    let check = |op: Op, from: i64| Op { checks: vec![(UNIQUE, int(from))], ..op };
    let ops = [check(moves(1, 10, 20), 10), check(moves(2, 20, 10), 20)];
    let plan = plan(&[&places(true)], &ops, &Known::default()).unwrap();
    let checks: Vec<(Part, Vec<usize>)> = plan.steps.iter().map(|s| (s.part, s.checks.clone())).collect();
    assert_eq!(checks[0], (Part::Open, vec![UNIQUE]));
    assert_eq!(checks.iter().filter(|(part, checks)| *part == Part::Whole && checks.is_empty()).count(), 1);
}

#[test]
fn f1_a_chain_of_ten_thousand_rows_goes_into_one_statement_parents_first() {
    let tables = table(0, [Some(0), None], [false, true, true, true, true, true]);
    let row = |id: i64| Op {
        kind: Kind::Insert,
        cells: vec![
            (ID, PlannedValue::Value(int(id))),
            (FKS[0], PlannedValue::Value(Value::BigInt((id > 0).then_some(id - 1)))),
        ],
        frees: vec![None, None],
        takes: vec![None, None],
        ..moves(id, 0, 0)
    };
    let ops: Vec<Op> = (0..10_000).rev().map(row).collect();
    let plan = plan(&[&tables], &ops, &Known::default()).unwrap();
    assert_eq!(shape(&plan), [(Kind::Insert, Part::Whole, 10_000)]);
    assert_eq!(plan.steps[0].ops, (0..10_000).rev().collect::<Vec<_>>());
}

#[test]
fn f1_a_cycle_of_rows_without_null_is_named() {
    let mut tables = [
        table(0, [Some(1), None], [false, false, true, true, true, true]),
        table(1, [Some(0), None], [false, false, true, true, true, true]),
    ];
    let row = |table: usize| Op {
        table,
        kind: Kind::Insert,
        cells: vec![(ID, PlannedValue::Value(int(1))), (FKS[0], PlannedValue::Value(int(1)))],
        frees: vec![None, None],
        takes: vec![None, None],
        ..moves(1, 0, 0)
    };
    let error = plan(&tables.iter().collect::<Vec<_>>(), &[row(0), row(1)], &Known::default()).unwrap_err();
    assert!(error.0.contains("alpha -> beta -> alpha"), "{error:?}");
    tables[1].columns[FKS[0]].nullable = true;
    let plan = plan(&tables.iter().collect::<Vec<_>>(), &[row(0), row(1)], &Known::default()).unwrap();
    assert_eq!(plan.postponed, BTreeSet::from([(1, FKS[0])]));
    assert_eq!(plan.steps.last().map(|step| (step.part, step.table)), Some((Part::Close, 1)));
}

#[test]
fn f1_a_foreign_key_of_another_width_or_to_another_unique_column_orders_rows() {
    let mut tables = table(0, [Some(0), None], [false, true, true, true, true, true]);
    tables.parents.push(ForeignKey {
        columns: vec![FKS[1]],
        to_table: NAMES[0].into(),
        to_columns: vec!["place".into()],
        on_update: OnUpdate::Refuses,
    });
    let row = |id: i64, cells: Vec<(usize, PlannedValue)>| Op {
        kind: Kind::Insert,
        cells,
        frees: vec![None, None],
        takes: vec![None, None],
        ..moves(id, 0, 0)
    };
    let ops = [
        row(1, vec![(FKS[0], PlannedValue::Value(Value::Int(Some(2)))), (UNIQUE, PlannedValue::Value(int(9)))]),
        row(2, vec![(FKS[1], PlannedValue::Value(Value::Int(Some(70)))), (UNIQUE, PlannedValue::Value(int(8)))]),
        row(3, vec![(UNIQUE, PlannedValue::Value(int(70)))]),
    ];
    let tables = [&tables];
    let known = Known::default();
    let planner = Planner {
        tables: &tables,
        ops: &ops,
        known: &known,
        postponed: Cells::new(),
        opened: Cells::new(),
        ranks: table_ranks(&tables),
    };
    let (levels, _) = planner.row_levels(&[0, 1, 2]).unwrap();
    let depth = |op: usize| levels.get(&op).map(|level| level.all);
    assert_eq!((depth(0), depth(1), depth(2)), (Some(2), Some(1), Some(0)));
}
