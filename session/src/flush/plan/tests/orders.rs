//! Every order of single-row statements, tried one by one, against the planner (E1): it finds an order where there is one,
//! and says that there is none only where there is none.
//!
//! A row may be written in parts, as the planner may: NULL first where it writes the value itself anyway, or is deleted; and
//! NULL at its own statement with the value in one more. Constraints are looked at after each statement.
//!
//! 6,000 graphs, always the same; `PLANNED_GRAPHS=200000 cargo test -p sea-session --lib e1_ --release` rolls others.

use std::collections::HashSet;

use super::*;

const ID: usize = 0;
const FKS: [usize; 2] = [1, 2];
const CODE: usize = 3;
const WIDTH: usize = 4;

type Row = [Option<i64>; WIDTH];

/// A foreign key: which column of which table it joins, whether the database changes rows below a changed value, and whether
/// rows below a deleted one stay, with NULL (where that may be).
#[derive(Clone, Copy, Debug)]
struct Joins {
    to: usize,
    column: usize,
    follows: bool,
    keeps: bool,
}

#[derive(Clone, Debug)]
struct Schema {
    /// By table and foreign key.
    joins: Vec<[Option<Joins>; 2]>,
    nullable: Vec<[bool; WIDTH]>,
}

impl Schema {
    fn roll(rng: &mut fastrand::Rng) -> Self {
        let tables = rng.usize(1..=2);
        let join = |rng: &mut fastrand::Rng| {
            let column = if rng.u8(..3) > 0 { ID } else { CODE };
            (rng.u8(..5) > 0).then(|| {
                let (follows, keeps) = (rng.u8(..4) == 0, rng.u8(..3) == 0);
                Joins { to: rng.usize(..tables), column, follows, keeps }
            })
        };
        let joins: Vec<[Option<Joins>; 2]> =
            (0..tables).map(|_| [join(rng), join(rng).filter(|_| rng.bool())]).collect();
        let nullable = joins.iter().map(|joins| {
            let fk = |at: usize, rng: &mut fastrand::Rng| joins[at].is_none() || rng.bool();
            [false, fk(0, rng), fk(1, rng), rng.u8(..3) == 0]
        });
        let nullable = nullable.collect();
        Self { joins, nullable }
    }

    fn metas(&self) -> Vec<TableMeta> {
        (0..self.joins.len()).map(|table| self.meta(table)).collect()
    }

    fn meta(&self, at: usize) -> TableMeta {
        let columns = ["id", "one_id", "two_id", "code"].into_iter().zip(self.nullable[at]);
        let parents = self.joins[at].iter().zip(FKS).filter_map(|(joins, column)| {
            let joins = (*joins)?;
            Some(ForeignKey {
                columns: vec![column],
                to_table: NAMES[joins.to].to_owned(),
                to_columns: vec![["id", "one_id", "two_id", "code"][joins.column].to_owned()],
                on_update: if joins.follows { OnUpdate::Follows } else { OnUpdate::Refuses },
            })
        });
        TableMeta {
            columns: columns.map(|(name, null)| ColumnMeta::plain(name, ArrayType::BigInt, null)).collect(),
            parents: parents.collect(),
            unique: vec![vec![CODE]],
            claimed: [ID, CODE].into_iter().collect(),
            ..table(at, [None, None], [false; super::WIDTH])
        }
    }

    /// What a catalogue would say of the foreign keys.
    fn known(&self) -> Known {
        let mut known = Known::default();
        for (child, joins) in self.joins.iter().enumerate() {
            for (at, (joins, column)) in joins.iter().zip(FKS).filter_map(|(j, c)| Some(((*j)?, c))).enumerate() {
                let on_update = if joins.follows { OnUpdate::Follows } else { OnUpdate::Refuses };
                let stays = joins.keeps && self.nullable[child][column];
                let on_delete = if stays { OnDelete::Stays } else { OnDelete::Goes };
                known.note_acts(child, at, joins.to, Acts { on_update, on_delete });
            }
        }
        known
    }

    /// Whether a database would have these rows.
    fn allows(&self, rows: &[Option<Row>], of: &[usize]) -> bool {
        let there = |table: usize| rows.iter().zip(of).filter(move |(_, t)| **t == table).filter_map(|(row, _)| *row);
        rows.iter().zip(of).enumerate().all(|(at, (row, table))| {
            let Some(row) = row else { return true };
            let nulls = row.iter().zip(self.nullable[*table]).all(|(value, nullable)| nullable || value.is_some());
            let others = rows.iter().zip(of).enumerate().filter(|(other, (_, t))| *other != at && *t == table);
            let unique = others
                .filter_map(|(_, (other, _))| *other)
                .all(|other| [ID, CODE].iter().all(|c| row[*c].is_none() || row[*c] != other[*c]));
            let joined = self.joins[*table].iter().zip(FKS).all(|(joins, column)| match (joins, row[column]) {
                (Some(joins), Some(value)) => there(joins.to).any(|parent| parent[joins.column] == Some(value)),
                _ => true,
            });
            nulls && unique && joined
        })
    }

    /// Changes a row; what follows its old values follows its new ones, or is kept without them.
    fn write(&self, rows: &mut [Option<Row>], of: &[usize], at: usize, row: Option<Row>) {
        let old = std::mem::replace(&mut rows[at], row);
        let Some(old) = old else { return };
        for (child, table) in of.iter().enumerate() {
            for (joins, column) in self.joins[*table].iter().zip(FKS) {
                let acts = |joins: &Joins| match row {
                    Some(_) => joins.follows,
                    None => joins.keeps && self.nullable[*table][column],
                };
                let Some(joins) = joins.filter(|joins| acts(joins) && joins.to == of[at]) else { continue };
                let (from, to) = (old[joins.column], row.and_then(|new| new[joins.column]));
                if from.is_some()
                    && from != to
                    && let Some(row) = &mut rows[child]
                    && row[column] == from
                {
                    row[column] = to;
                }
            }
        }
    }
}

/// What is to become of some rows.
#[derive(Clone, Debug)]
struct Story {
    schema: Schema,
    of: Vec<usize>,
    before: Vec<Option<Row>>,
    after: Vec<Option<Row>>,
    checked: Vec<bool>,
}

impl Story {
    /// `None` if the dice give nothing that could be.
    fn roll(rows: usize, rng: &mut fastrand::Rng) -> Option<Self> {
        let schema = Schema::roll(rng);
        let of: Vec<usize> = (0..rows).map(|_| rng.usize(..schema.joins.len())).collect();
        let there = |rng: &mut fastrand::Rng| (0..rows).map(|_| rng.u8(..5) > 0).collect::<Vec<_>>();
        let mut story = Self {
            before: vec![None; rows],
            after: vec![None; rows],
            checked: (0..rows).map(|_| rng.u8(..3) == 0).collect(),
            schema,
            of,
        };
        let was = there(rng);
        story.before = story.fill(&was, None, rng);
        let is = there(rng);
        let before = story.before.clone();
        story.after = story.fill(&is, Some(&before), rng);
        story.is_possible().then_some(story)
    }

    fn fill(&self, there: &[bool], before: Option<&[Option<Row>]>, rng: &mut fastrand::Rng) -> Vec<Option<Row>> {
        let mut rows: Vec<Option<Row>> = there.iter().map(|there| there.then_some([None; WIDTH])).collect();
        for (at, table) in self.of.iter().enumerate() {
            let old = before.and_then(|before| before[at]);
            for (column, keep) in [(ID, 5), (CODE, 2)] {
                let null = self.schema.nullable[*table][column] && rng.u8(..5) == 0;
                let kept = old.filter(|_| rng.u8(..6) < keep).and_then(|old| old[column]);
                let value = kept.or_else(|| (!null).then(|| rng.i64(0..self.of.len() as i64 + 1)));
                rows[at].iter_mut().for_each(|row| row[column] = value);
            }
        }
        for (at, table) in self.of.iter().enumerate() {
            for (joins, column) in self.schema.joins[*table].iter().zip(FKS) {
                let Some(joins) = joins else { continue };
                let parents = rows.iter().zip(&self.of).filter(|(_, t)| **t == joins.to);
                let values: Vec<i64> = parents.filter_map(|(row, _)| (*row)?[joins.column]).collect();
                let old = before.and_then(|before| before[at]?[column]).filter(|old| values.contains(old));
                let null = self.schema.nullable[*table][column] && rng.u8(..4) == 0;
                let value = match old.filter(|_| rng.u8(..3) == 0) {
                    Some(old) => Some(old),
                    None => values.get(rng.usize(..values.len().max(1))).copied().filter(|_| !null),
                };
                rows[at].iter_mut().for_each(|row| row[column] = value);
            }
        }
        rows
    }

    fn is_possible(&self) -> bool {
        let rows = || 0..self.of.len();
        let given_up = |table: usize, column: usize, value: i64| {
            rows().any(|at| {
                let held = |rows: &[Option<Row>]| rows[at].and_then(|row| row[column]);
                self.of[at] == table && held(&self.before) == Some(value) && held(&self.after) != Some(value)
            })
        };
        // What is not written is nothing that the planner could order: its row would have to be there all the time.
        let stays_below = |at: usize| {
            self.schema.joins[self.of[at]].iter().zip(FKS).any(|(joins, column)| {
                match (joins, self.before[at], self.after[at]) {
                    (Some(joins), Some(before), Some(after)) => {
                        before[column] == after[column]
                            && before[column].is_some_and(|value| given_up(joins.to, joins.column, value))
                    }
                    _ => false,
                }
            })
        };
        // A new row under a deleted one's key is a switch.
        let switched = |at: usize| {
            let (Some(row), None) = (self.after[at], self.before[at]) else { return false };
            let ends = |other: usize| self.after[other].is_none() && self.of[other] == self.of[at];
            rows().any(|other| ends(other) && self.before[other].is_some_and(|old| old[ID] == row[ID]))
        };
        self.schema.allows(&self.before, &self.of)
            && self.schema.allows(&self.after, &self.of)
            && !rows().any(|at| stays_below(at) || switched(at))
            && self.changed().count() > 1
    }

    fn changed(&self) -> impl Iterator<Item = usize> {
        (0..self.of.len()).filter(|at| self.before[*at] != self.after[*at])
    }

    /// The columns that a row's own statement writes.
    fn written(&self, at: usize) -> Vec<usize> {
        match (self.before[at], self.after[at]) {
            (Some(before), Some(after)) => (0..WIDTH).filter(|c| before[*c] != after[*c]).collect(),
            (None, Some(_)) => (0..WIDTH).collect(),
            _ => vec![],
        }
    }

    fn ops(&self) -> (Vec<usize>, Vec<Op>) {
        let tables = self.schema.metas();
        let order: Vec<usize> = self.changed().collect();
        let mut ops: Vec<Op> = order.iter().map(|at| self.op(*at)).collect();
        let tables: Vec<&TableMeta> = tables.iter().collect();
        claim_values(&tables, &mut ops, &self.schema.known());
        (order, ops)
    }

    fn op(&self, at: usize) -> Op {
        let (before, after) = (self.before[at], self.after[at]);
        let kind = match (before, after) {
            (None, _) => Kind::Insert,
            (_, None) => Kind::Delete,
            _ => Kind::Update,
        };
        let cell = |c: usize, row: Option<Row>| (c, PlannedValue::Value(Value::BigInt(row.and_then(|row| row[c]))));
        let held = |c: usize| (c, Value::BigInt(before.and_then(|row| row[c])));
        let code = |row: Option<Row>, other: Option<Row>| {
            let value =
                row.and_then(|row| row[CODE]).filter(|code| other.is_none_or(|other| other[CODE] != Some(*code)));
            vec![value.map(|code| vec![int(code)])]
        };
        let foreign: Vec<usize> =
            self.schema.joins[self.of[at]].iter().zip(FKS).filter_map(|(joins, c)| joins.map(|_| c)).collect();
        let written = self.written(at);
        Op {
            table: self.of[at],
            kind,
            key: vec![Value::BigInt(before.or(after).and_then(|row| row[ID]))],
            version: None,
            cells: match kind {
                Kind::Delete => foreign.iter().map(|c| cell(*c, before)).collect(),
                _ => written.iter().map(|c| cell(*c, after)).collect(),
            },
            checks: match before {
                Some(_) if self.checked[at] => (1..WIDTH).map(held).collect(),
                _ => vec![],
            },
            leaves: match kind {
                Kind::Update => foreign.iter().filter(|c| written.contains(c)).map(|c| held(*c)).collect(),
                _ => vec![],
            },
            before: if kind == Kind::Insert { vec![] } else { vec![held(CODE)] },
            frees: code(before, after),
            takes: code(after, before),
        }
    }
}

/// How far a row has come: places that were opened, its own statement, places that are still to be closed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Progress {
    opened: u8,
    done: bool,
    open: u8,
}

/// Looks for any order at all.
struct Search<'s> {
    story: &'s Story,
    seen: HashSet<(Vec<Progress>, Vec<Option<Row>>)>,
}

impl Search<'_> {
    fn finds(&mut self, progress: Vec<Progress>, rows: Vec<Option<Row>>) -> bool {
        if !self.seen.insert((progress.clone(), rows.clone())) {
            return false;
        }
        let story = self.story;
        if rows == story.after
            && progress.iter().zip(&story.before).zip(&story.after).all(|((p, b), a)| p.done || a == b)
        {
            return true;
        }
        for at in story.changed() {
            for (next, row) in self.moves(at, progress[at], rows[at]) {
                let (mut progress, mut rows) = (progress.clone(), rows.clone());
                story.schema.write(&mut rows, &story.of, at, row);
                progress[at] = next;
                if story.schema.allows(&rows, &story.of) && self.finds(progress, rows) {
                    return true;
                }
            }
        }
        false
    }

    /// What may be done to a row next.
    fn moves(&self, at: usize, progress: Progress, row: Option<Row>) -> Vec<(Progress, Option<Row>)> {
        let story = self.story;
        let nullable = |c: &usize| story.schema.nullable[story.of[at]][*c];
        let written = story.written(at);
        let mut moves = Vec::new();
        if progress.done {
            for c in (0..WIDTH).filter(|c| progress.open & 1 << c != 0) {
                let (Some(mut row), Some(after)) = (row, story.after[at]) else { continue };
                row[c] = after[c];
                moves.push((Progress { open: progress.open & !(1 << c), ..progress }, Some(row)));
            }
            return moves;
        }
        let rewritten: Vec<usize> = match story.after[at] {
            None => (0..WIDTH).filter(nullable).collect(),
            Some(_) => written.iter().copied().filter(nullable).collect(),
        };
        if let Some(row) = row {
            for c in rewritten.iter().filter(|c| progress.opened & 1 << **c == 0 && row[**c].is_some()) {
                let mut row = row;
                row[*c] = None;
                moves.push((Progress { opened: progress.opened | 1 << c, ..progress }, Some(row)));
            }
        }
        let Some(after) = story.after[at] else {
            moves.push((Progress { done: true, ..progress }, None));
            return moves;
        };
        let later: Vec<usize> = written.iter().copied().filter(nullable).filter(|c| after[*c].is_some()).collect();
        for some in 0..1_u8 << later.len() {
            let mut row = row.unwrap_or([None; WIDTH]);
            let mut open = 0;
            written.iter().for_each(|c| row[*c] = after[*c]);
            for (_, c) in later.iter().enumerate().filter(|(bit, _)| some & 1 << bit != 0) {
                row[*c] = None;
                open |= 1 << c;
            }
            moves.push((Progress { done: true, open, ..progress }, Some(row)));
        }
        moves
    }
}

/// Runs a plan as a database would: constraints at the end of each statement, unique values against all rows of before.
fn run(story: &Story, plan: &Plan, order: &[usize], ops: &[Op]) -> Result<Vec<Option<Row>>, String> {
    let mut rows = story.before.clone();
    for (number, step) in plan.steps.iter().enumerate() {
        let fail = |why: String| Err(format!("step {number} ({step:?}): {why}"));
        let start = rows.clone();
        for op in &step.ops {
            let (at, change) = (order[*op], &ops[*op]);
            for column in &step.checks {
                let loaded = change.checks.iter().find(|(c, _)| c == column).map(|(_, value)| value.clone());
                let held = start[at].map(|row| Value::BigInt(row[*column]));
                if held.is_none() || held != loaded {
                    return fail(format!("column {column} was {loaded:?} and is {held:?}"));
                }
            }
            let row = match (step.kind, step.part) {
                (Kind::Delete, _) => None,
                (Kind::Insert, _) if rows[at].is_some() => return fail("it is there already".into()),
                (Kind::Insert, _) => Some([None; WIDTH]),
                _ if rows[at].is_none() => return fail("it is not there".into()),
                _ => rows[at],
            };
            let row = row.map(|mut row: Row| {
                for column in &step.columns {
                    let null =
                        step.part == Part::Open || step.part == Part::Whole && plan.postponed.contains(&(*op, *column));
                    row[*column] = story.after[at].filter(|_| !null).and_then(|after| after[*column]);
                }
                row
            });
            story.schema.write(&mut rows, &story.of, at, row);
            let others =
                start.iter().zip(&story.of).enumerate().filter(|(other, (_, t))| *other != at && **t == step.table);
            for other in others.filter_map(|(_, (other, _))| *other) {
                let clash = |c: &usize| row.is_some_and(|row| row[*c].is_some() && row[*c] == other[*c]);
                if [ID, CODE].iter().any(clash) {
                    return fail(format!("{row:?} clashes with {other:?}"));
                }
            }
        }
        if !story.schema.allows(&rows, &story.of) {
            return fail(format!("{rows:?} is refused"));
        }
    }
    Ok(rows)
}

#[test]
fn e1_an_order_is_found_where_any_order_is_and_only_there() {
    let others = std::env::var("PLANNED_GRAPHS").ok().map(|graphs| graphs.parse::<usize>().unwrap());
    let mut rng = others.map_or_else(|| fastrand::Rng::with_seed(1), |_| fastrand::Rng::new());
    let (mut found, mut none, mut in_parts) = (0, 0, 0);
    while found + none < others.unwrap_or(6_000) {
        let seed = rng.u64(..);
        let mut dice = fastrand::Rng::with_seed(seed);
        let Some(story) = Story::roll(dice.usize(2..=6), &mut dice) else { continue };
        let exists = Search { story: &story, seen: HashSet::new() }
            .finds(vec![Progress::default(); story.of.len()], story.before.clone());
        let (order, ops) = story.ops();
        let tables = story.schema.metas();
        match plan(&tables.iter().collect::<Vec<_>>(), &ops, &story.schema.known()) {
            Ok(plan) => {
                let end = run(&story, &plan, &order, &ops);
                assert_eq!(
                    end.as_ref(),
                    Ok(&story.after),
                    "seed {seed}, an order exists: {exists}\n{plan:?}\n{story:?}"
                );
                assert!(exists, "seed {seed}: the plan works, and no order was found\n{plan:?}\n{story:?}");
                found += 1;
                in_parts += usize::from(plan.steps.iter().any(|step| step.part != Part::Whole));
            }
            Err(cycle) => {
                assert!(!exists, "seed {seed}: {cycle:?}, and an order exists\n{story:?}\n{ops:?}");
                none += 1;
            }
        }
    }
    println!("{found} orders found, {in_parts} of them in parts; {none} graphs without any");
    assert!(found > 1_000 && in_parts > 100 && none > 100, "{found} {in_parts} {none}");
}

/// A row of one table that refers to itself by `one_id`, and whose `code` is unique.
fn codes(nullable: bool) -> TableMeta {
    let joins = Some(Joins { to: 0, column: ID, follows: false, keeps: false });
    Schema { joins: vec![[joins, None]], nullable: vec![[false, false, true, nullable]] }.meta(0)
}

fn change(id: i64, cells: Vec<(usize, i64)>, codes: [Option<i64>; 2]) -> Op {
    let set = |code: Option<i64>| vec![code.map(|code| vec![int(code)])];
    Op {
        table: 0,
        kind: Kind::Update,
        key: vec![int(id)],
        version: None,
        cells: cells.into_iter().map(|(column, value)| (column, PlannedValue::Value(int(value)))).collect(),
        checks: vec![],
        leaves: vec![],
        before: vec![],
        frees: set(codes[0]),
        takes: set(codes[1]),
    }
}

#[test]
fn f2_a_long_chain_beside_rows_in_an_order_of_their_own_is_opened_through_null() {
    let joins = Some(Joins { to: 0, column: ID, follows: false, keeps: false });
    let schema =
        Schema { joins: vec![[None, None], [joins, None]], nullable: vec![[false, true, true, true], [false; WIDTH]] };
    let mut metas = schema.metas();
    metas[1].unique = vec![vec![FKS[0]]];
    // All hand their codes on; a desk moves to the new row, and another takes its place, which may not be NULL.
    let mut ops: Vec<Op> = (0..10_000).map(|id| change(id, vec![(CODE, id + 1)], [Some(id), Some(id + 1)])).collect();
    ops.push(Op { kind: Kind::Insert, ..change(20_000, vec![(ID, 20_000)], [None, None]) });
    let mut moves = change(0, vec![(FKS[0], 20_000)], [Some(0), Some(20_000)]);
    (moves.table, moves.leaves) = (1, vec![(FKS[0], int(0))]);
    ops.push(moves);
    ops.push(Op { table: 1, kind: Kind::Insert, ..change(1, vec![(ID, 1), (FKS[0], 0), (CODE, 1)], [None, Some(0)]) });
    let tables: Vec<&TableMeta> = metas.iter().collect();
    assert!(by_table(&tables, &ops, &Known::default()).is_err());
    let plan = super::plan(&tables, &ops, &Known::default()).unwrap();
    assert!(plan.steps.len() <= 6, "{:?}", shape(&plan));
}

#[test]
fn e1_ten_thousand_children_of_renamed_parents_take_a_statement_each_for_the_two_tables() {
    let joins = Some(Joins { to: 0, column: CODE, follows: false, keeps: false });
    let schema = Schema { joins: vec![[None, None], [joins, None]], nullable: vec![[false, true, true, false]; 2] };
    let parents = (0..10_000).map(|id| change(id, vec![(CODE, id + 20_000)], [Some(id), Some(id + 20_000)]));
    let children = (0..10_000).map(|id| {
        let cells = vec![(ID, id), (FKS[0], id + 20_000), (CODE, id)];
        Op { table: 1, kind: Kind::Insert, ..change(id, cells, [None, Some(id)]) }
    });
    let mut ops: Vec<Op> = parents.chain(children).collect();
    ops.iter_mut().filter(|op| op.kind == Kind::Update).for_each(|op| {
        let code = op.frees[0].as_ref().map(|code| code[0].clone());
        op.before = code.map(|code| (CODE, code)).into_iter().collect();
    });
    let metas = schema.metas();
    let plan = super::plan(&metas.iter().collect::<Vec<_>>(), &ops, &Known::default()).unwrap();
    assert_eq!(shape(&plan), [(Kind::Update, Part::Whole, 10_000), (Kind::Insert, Part::Whole, 10_000)]);
}

#[test]
fn f2_a_changed_key_that_nobody_of_the_flush_refers_to_is_ordered_by_tables() {
    let tables = codes(true);
    let ops: Vec<Op> = (0..10_000).map(|id| change(id, vec![(ID, id + 20_000)], [None, None])).collect();
    assert!(!by_row::is_needed(&[&tables], &ops, &Known::default()));
}
